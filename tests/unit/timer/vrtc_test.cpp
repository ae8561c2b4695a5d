#include "timer/vrtc.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "chip_state.hpp"

namespace bhyve::timer {
namespace {

constexpr Nanos second = nanos_per_second, ms = 1'000'000;
/// 2024-02-28 23:59:58 UTC, a Wednesday.
constexpr i64 start_time = 1'709'164'798;
constexpr u8 reg_a = 10, reg_b = 11, reg_c = 12, reg_d = 13, century = 0x32;
constexpr u8 set = 0x80, pie = 0x40, aie = 0x20, uie = 0x10, binary = 0x04, hours24 = 0x02;

class VrtcTest : public testing::Test {
 protected:
  u8 get(u8 reg) {
    rtc.write(0, reg, now);
    return rtc.read(1, now);
  }
  void put(u8 reg, u8 value) {
    rtc.write(0, reg, now);
    rtc.write(1, value, now);
  }

  Nanos now = 1000 * second + 250 * ms;
  Vrtc rtc{start_time, now};
};

TEST_F(VrtcTest, ShowsTheTimeInBcdAnd24Hours) {
  EXPECT_EQ(get(0), 0x58);
  EXPECT_EQ(get(2), 0x59);
  EXPECT_EQ(get(4), 0x23);
  EXPECT_EQ(get(6), 4);
  EXPECT_EQ(get(7), 0x28);
  EXPECT_EQ(get(8), 0x02);
  EXPECT_EQ(get(9), 0x24);
  EXPECT_EQ(get(century), 0x20);
  EXPECT_EQ(get(reg_d), 0x80);
  now += 2 * second;
  EXPECT_EQ(get(0), 0x00);
  EXPECT_EQ(get(4), 0x00);
  EXPECT_EQ(get(7), 0x29) << "leap year";
}

TEST_F(VrtcTest, BinaryAnd12HourFormats) {
  put(reg_b, binary);
  EXPECT_EQ(get(0), 58);
  EXPECT_EQ(get(4), 0x80 | 11);
  now += 2 * second;
  EXPECT_EQ(get(4), 12) << "midnight is 12 AM";
  put(reg_b, 0);
  now += 13 * 3600 * second;
  EXPECT_EQ(get(4), 0x81);
}

TEST_F(VrtcTest, SetStopsTheClockAndItGoesOnFromWhatWasWritten) {
  put(reg_b, set | hours24);
  now += 10 * second;
  EXPECT_EQ(get(0), 0x58);
  put(0, 0x30);
  put(2, 0x15);
  put(4, 0x08);
  put(7, 0x31);
  put(8, 0x12);
  put(9, 0x99);
  put(century, 0x19);
  EXPECT_EQ(get(0), 0x30);
  put(reg_b, hours24);
  EXPECT_EQ(rtc.time(now), 946'628'130);
  now += second;
  EXPECT_EQ(get(0), 0x31);
}

TEST_F(VrtcTest, NonsenseIsKeptUntilARealTimeIsWritten) {
  put(7, 0x3f);
  now += 5 * second;
  EXPECT_EQ(get(7), 0x3f);
  EXPECT_EQ(get(0), 0x58);
  put(7, 0x28);
  now += second;
  EXPECT_EQ(get(0), 0x59);
}

TEST_F(VrtcTest, UpdateInProgressJustBeforeTheSecondChanges) {
  EXPECT_EQ(get(reg_a) & 0x80, 0);
  now += second - 244'000;
  EXPECT_EQ(get(reg_a) & 0x80, 0x80);
  EXPECT_EQ(get(0), 0x58);
  now += 244'000;
  EXPECT_EQ(get(reg_a) & 0x80, 0);
  EXPECT_EQ(get(0), 0x59);
  put(reg_b, set | hours24);
  now += second - 1;
  EXPECT_EQ(get(reg_a) & 0x80, 0) << "no update while SET";
}

TEST_F(VrtcTest, FirstUpdateIsHalfASecondAfterDividerReset) {
  put(reg_a, 0x70);
  now += 3 * second;
  EXPECT_EQ(get(0), 0x58);
  put(reg_a, 0x20);
  now += 499 * ms;
  EXPECT_EQ(get(0), 0x58);
  now += ms;
  EXPECT_EQ(get(0), 0x59);
}

TEST_F(VrtcTest, IdleClockAsksForNoEvent) {
  EXPECT_EQ(rtc.next_event(now), never);
  now += 100 * second;
  EXPECT_FALSE(rtc.irq(now));
  // The alarm registers stand at 00:00:00, which has passed.
  EXPECT_EQ(get(reg_c), 0x70) << "flags rise although nothing is enabled";
}

TEST_F(VrtcTest, UpdateInterruptAtEverySecondUntilCIsRead) {
  put(reg_b, uie | hours24);
  get(reg_c);
  EXPECT_EQ(rtc.next_event(now), now + second);
  now += second;
  EXPECT_TRUE(rtc.irq(now));
  EXPECT_EQ(rtc.next_event(now), never) << "the output is high until C is read";
  now += 10 * second;
  EXPECT_EQ(get(reg_c) & 0x90, 0x90);
  EXPECT_FALSE(rtc.irq(now));
  EXPECT_EQ(get(reg_c), 0);
  EXPECT_EQ(rtc.next_event(now), now + second);
}

TEST_F(VrtcTest, PeriodicInterruptAtTheProgrammedRateWithoutDrift) {
  put(reg_a, 0x26);  // 1024 Hz
  put(reg_b, pie | hours24);
  get(reg_c);
  const Nanos begin = now;
  for (int n = 0; n < 1024; ++n) {
    now = rtc.next_event(now);
    ASSERT_TRUE(rtc.irq(now));
    ASSERT_EQ(get(reg_c) & 0xc0, 0xc0);
  }
  EXPECT_EQ(now, begin + second);
  put(reg_a, 0x2f);  // 2 Hz
  EXPECT_EQ(rtc.next_event(now), now + 500 * ms);
  put(reg_a, 0x21);  // 256 Hz
  EXPECT_EQ(rtc.next_event(now), now + second / 256);
  put(reg_a, 0x20);  // none
  EXPECT_EQ(rtc.next_event(now), never);
}

TEST_F(VrtcTest, AlarmAtATimeOfDay) {
  put(1, 0x10);
  put(3, 0x30);
  put(5, 0x07);
  put(reg_b, aie | hours24);
  const Nanos expected = now + (2 + 7 * 3600 + 30 * 60 + 10) * second;
  EXPECT_EQ(rtc.next_event(now), expected);
  now = expected - 1;
  EXPECT_FALSE(rtc.irq(now));
  now = expected;
  EXPECT_TRUE(rtc.irq(now));
  EXPECT_EQ(get(reg_c) & 0xa0, 0xa0);
  EXPECT_EQ(rtc.next_event(now), expected + 86'400 * second);
}

TEST_F(VrtcTest, AlarmDontCareCodes) {
  put(1, 0x05);
  put(3, 0xff);
  put(5, 0xc0);
  put(reg_b, aie | hours24);
  EXPECT_EQ(rtc.next_event(now), now + 7 * second);
  put(1, 0xff);
  EXPECT_EQ(rtc.next_event(now), now + second);
  put(3, 0x30);
  EXPECT_EQ(rtc.next_event(now), now + (2 + 30 * 60) * second);
  put(3, 0x77);
  EXPECT_EQ(rtc.next_event(now), never) << "minute 77 never comes";
}

TEST_F(VrtcTest, AlarmIn12HourBinaryMode) {
  put(reg_b, binary);
  put(1, 0);
  put(3, 0);
  put(5, 0x80 | 1);  // 1 PM
  put(reg_b, binary | aie);
  EXPECT_EQ(rtc.next_event(now), now + (2 + 13 * 3600) * second);
}

TEST_F(VrtcTest, MissedAlarmsCollapseIntoOne) {
  put(1, 0);
  put(3, 0);
  put(5, 0);
  put(reg_b, aie | hours24);
  now += 30 * 86'400 * second;
  EXPECT_TRUE(rtc.irq(now));
  EXPECT_EQ(get(reg_c) & 0xa0, 0xa0);
  EXPECT_FALSE(rtc.irq(now));
}

TEST_F(VrtcTest, MemoryKeepsBytesAndProtectsRegistersFromTheApi) {
  EXPECT_TRUE(rtc.set_nvram(0x34, 0x12));
  EXPECT_EQ(get(0x34), 0x12);
  put(0x7f, 0x55);
  EXPECT_EQ(rtc.nvram(0x7f), 0x55);
  for (const unsigned offset : {0u, 13u, 0x32u, 128u, ~0u}) {
    EXPECT_FALSE(rtc.set_nvram(offset, 1));
    EXPECT_FALSE(rtc.nvram(offset).has_value());
  }
  rtc.write(2, 0x10, now);
  rtc.write(3, 0x99, now);
  EXPECT_EQ(rtc.read(3, now), 0x99);
  EXPECT_NE(get(0x10), 0x99);
  EXPECT_EQ(rtc.read(0, now), 0xff);
  rtc.write(0, 0x80 | 0x34, now);
  EXPECT_EQ(rtc.read(1, now), 0x12) << "bit 7 is the NMI mask";
}

TEST_F(VrtcTest, ResetDisablesInterruptsAndKeepsTimeAndMemory) {
  put(0x40, 7);
  put(reg_b, uie | pie | aie | hours24);
  now += 2 * second;
  rtc.reset(now);
  EXPECT_FALSE(rtc.irq(now));
  EXPECT_EQ(get(reg_b), hours24);
  EXPECT_EQ(get(0x40), 7);
  EXPECT_EQ(rtc.time(now), start_time + 2);
}

TEST_F(VrtcTest, SetTimeIsClampedToWhatTheRegistersShow) {
  rtc.set_time(~(i64{1} << 63), now);
  EXPECT_EQ(rtc.time(now), calendar_last);
  now += 5 * second;
  EXPECT_EQ(rtc.time(now), calendar_last);
  EXPECT_EQ(get(century), 0x99);
  rtc.set_time(0, now);
  EXPECT_EQ(rtc.time(now), 0);
}

TEST_F(VrtcTest, SavedStateGoesOnAtAnotherTime) {
  put(reg_a, 0x2a);
  put(reg_b, uie | binary | hours24);
  get(reg_c);
  put(0x50, 0x77);
  now += 3 * second + 300 * ms;
  get(reg_c);
  Vrtc copy(0, 5);
  const Nanos later = 77 * second;
  ASSERT_TRUE(copy_state(rtc, now, copy, later));
  EXPECT_EQ(copy.time(later), rtc.time(now));
  EXPECT_EQ(copy.next_event(later) - later, rtc.next_event(now) - now);
  EXPECT_EQ(copy.nvram(0x50), 0x77);
  EXPECT_EQ(copy.read(1, later), rtc.read(1, now));
}

TEST_F(VrtcTest, StateOutOfRangeIsRefused) {
  for (const u8 filler : {u8{0x81}, u8{0xff}}) {
    const std::vector<u8> body(512, filler);
    StateSection section(1, body);
    Vrtc copy(0, 0);
    copy.load(section, now);
    EXPECT_FALSE(section.ok());
  }
}

TEST_F(VrtcTest, AnyAccessIsSafeAndEventsLieAhead) {
  std::minstd_rand random(3);
  for (int n = 0; n < 50'000; ++n) {
    const auto r = random();
    const auto value = static_cast<u8>(r >> 16);
    const auto port = static_cast<unsigned>(r % 5);
    if (r / 8 % 2) rtc.write(port, r / 16 % 2 ? value % 16 : value, now);
    else (void)rtc.read(port, now);
    (void)rtc.irq(now);
    ASSERT_GT(rtc.next_event(now), now);
    if (n % 8 == 0) now += r;
  }
}

}  // namespace
}  // namespace bhyve::timer
