#include "timer/vatpit.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "chip_state.hpp"

namespace bhyve::timer {
namespace {

constexpr unsigned control = 3;

/// A PIT and a clock that is moved in ticks of its input.
class VatpitTest : public testing::Test {
 protected:
  void program(u8 word, u16 count) {
    pit.write(control, word, now());
    pit.write(word >> 6, static_cast<u8>(count), now());
    if ((word & 0x30) == 0x30) pit.write(word >> 6, static_cast<u8>(count >> 8), now());
  }
  u16 read_word(unsigned channel) {
    const u8 low = pit.read(channel, now());
    return static_cast<u16>(pit.read(channel, now()) << 8 | low);
  }
  u16 latch_and_read(unsigned channel) {
    pit.write(control, static_cast<u8>(channel << 6), now());
    return read_word(channel);
  }
  [[nodiscard]] Nanos now() const { return nanos_from_ticks(tick, Vatpit::hz); }
  bool out(unsigned channel) { return pit.output(channel, now()); }
  /// Ticks from now to the next rising edge of channel 0.
  u64 edge() { return ticks_from_nanos(pit.next_edge(now()), Vatpit::hz) - tick; }

  Vatpit pit;
  u64 tick = 5'000'000'000;
};

TEST_F(VatpitTest, NothingCountsAtPowerOn) {
  EXPECT_EQ(pit.next_edge(now()), never);
  EXPECT_FALSE(out(0));
}

TEST_F(VatpitTest, Mode0RisesOnceAtTerminalCountAndCountsOn) {
  program(0x30, 1000);
  EXPECT_FALSE(out(0));
  EXPECT_EQ(edge(), 1000u);
  tick += 999;
  EXPECT_FALSE(out(0));
  EXPECT_EQ(latch_and_read(0), 1);
  tick += 1;
  EXPECT_TRUE(out(0));
  EXPECT_EQ(pit.next_edge(now()), never);
  tick += 2;
  EXPECT_EQ(latch_and_read(0), 0xfffe);
}

TEST_F(VatpitTest, Mode0FirstByteOfAWordStopsTheCount) {
  program(0x30, 10);
  tick += 20;
  ASSERT_TRUE(out(0));
  pit.write(0, 5, now());
  EXPECT_FALSE(out(0));
  EXPECT_EQ(pit.next_edge(now()), never);
  pit.write(0, 0, now());
  EXPECT_EQ(edge(), 5u);
}

TEST_F(VatpitTest, Mode2IsLowForTheLastClockOfEachPeriod) {
  program(0x34, 100);
  EXPECT_TRUE(out(0));
  EXPECT_EQ(latch_and_read(0), 100);
  tick += 99;
  EXPECT_FALSE(out(0));
  EXPECT_EQ(latch_and_read(0), 1);
  EXPECT_EQ(edge(), 1u);
  tick += 1;
  EXPECT_TRUE(out(0));
  EXPECT_EQ(edge(), 100u) << "the edge at `now` is past";
}

TEST_F(VatpitTest, PeriodicEdgesDoNotDriftAndLateOnesCollapse) {
  program(0x34, 1193);
  const u64 start = tick;
  Nanos at = now();
  for (u64 n = 1; n <= 10'000; ++n) at = pit.next_edge(at);
  EXPECT_EQ(at, nanos_from_ticks(start + 10'000 * 1193, Vatpit::hz));
  tick += 50 * 1193 + 7;
  EXPECT_EQ(edge(), 1193u - 7);
}

TEST_F(VatpitTest, Mode2NewCountWaitsForTheEndOfThePeriod) {
  program(0x34, 100);
  tick += 30;
  pit.write(0, 200, now());
  pit.write(0, 0, now());
  EXPECT_EQ(latch_and_read(0), 70);
  EXPECT_EQ(edge(), 70u);
  tick += 70;
  EXPECT_EQ(latch_and_read(0), 200);
  EXPECT_EQ(edge(), 200u);
}

TEST_F(VatpitTest, Mode3IsHighForTheFirstHalfAndCountsByTwo) {
  program(0x36, 10);
  EXPECT_TRUE(out(0));
  tick += 4;
  EXPECT_TRUE(out(0));
  EXPECT_EQ(latch_and_read(0), 2);
  tick += 1;
  EXPECT_FALSE(out(0));
  EXPECT_EQ(latch_and_read(0), 10);
  EXPECT_EQ(edge(), 5u);
}

TEST_F(VatpitTest, Mode3OddCountIsHighOneClockLonger) {
  program(0x36, 5);
  tick += 2;
  EXPECT_TRUE(out(0));
  EXPECT_EQ(latch_and_read(0), 0);
  tick += 1;
  EXPECT_FALSE(out(0));
  EXPECT_EQ(latch_and_read(0), 4);
  tick += 2;
  EXPECT_TRUE(out(0));
}

TEST_F(VatpitTest, Mode3NewCountTakesOverAtTheHalfPeriod) {
  program(0x36, 100);
  tick += 10;
  pit.write(0, 20, now());
  pit.write(0, 0, now());
  EXPECT_EQ(edge(), 40u + 10) << "low half of the new count follows the old high half";
  tick += 40;
  EXPECT_FALSE(out(0));
  tick += 10;
  EXPECT_TRUE(out(0));
  EXPECT_EQ(edge(), 20u);
}

TEST_F(VatpitTest, Mode4StrobesLowForOneClock) {
  program(0x38, 50);
  EXPECT_TRUE(out(0));
  EXPECT_EQ(edge(), 51u);
  tick += 50;
  EXPECT_FALSE(out(0));
  tick += 1;
  EXPECT_TRUE(out(0));
  EXPECT_EQ(pit.next_edge(now()), never);
}

TEST_F(VatpitTest, Modes1And5StartAtARisingGate) {
  program(0xb2, 100);  // channel 2, mode 1
  EXPECT_TRUE(out(2));
  pit.write_speaker(1, now());
  EXPECT_FALSE(out(2));
  tick += 60;
  pit.write_speaker(0, now());
  pit.write_speaker(1, now());  // retrigger
  tick += 99;
  EXPECT_FALSE(out(2));
  tick += 1;
  EXPECT_TRUE(out(2));

  pit.write_speaker(0, now());
  program(0xba, 10);  // mode 5
  pit.write_speaker(1, now());
  tick += 10;
  EXPECT_FALSE(out(2));
  tick += 1;
  EXPECT_TRUE(out(2));
}

TEST_F(VatpitTest, Mode0CountOfChannel2PausesWhileItsGateIsLow) {
  pit.write_speaker(1, now());
  program(0xb0, 100);
  tick += 40;
  pit.write_speaker(0, now());
  tick += 1000;
  EXPECT_EQ(latch_and_read(2), 60);
  EXPECT_FALSE(out(2));
  pit.write_speaker(1, now());
  tick += 60;
  EXPECT_TRUE(out(2));
}

TEST_F(VatpitTest, SpeakerPortShowsGateOutputAndRefresh) {
  pit.write_speaker(0xff, now());
  EXPECT_EQ(pit.read_speaker(now()) & 0x0f, 0x0f);
  EXPECT_EQ(pit.read_speaker(now()) & 0xc0, 0);
  program(0xb0, 100);
  EXPECT_EQ(pit.read_speaker(now()) & 0x20, 0);
  tick += 100;
  EXPECT_EQ(pit.read_speaker(now()) & 0x20, 0x20);
  const Nanos t = now();
  EXPECT_NE(pit.read_speaker(t) & 0x10, pit.read_speaker(t + 15'085) & 0x10);
}

TEST_F(VatpitTest, LinuxCalibrationLoopEndsAfterTheProgrammedTime) {
  // pit_hpet_ptimer_calibrate_cpu: gate on, speaker off, mode 0, wait for bit 5.
  pit.write_speaker(static_cast<u8>((pit.read_speaker(now()) & ~2) | 1), now());
  program(0xb0, 11932);
  const u64 start = tick;
  while ((pit.read_speaker(now()) & 0x20) == 0) ++tick;
  EXPECT_EQ(tick - start, 11932u);
}

TEST_F(VatpitTest, AccessModesReadAndWriteTheirByteOnly) {
  program(0x14, 0x80);  // low byte, mode 2
  EXPECT_EQ(pit.read(0, now()), 0x80);
  EXPECT_EQ(pit.read(0, now()), 0x80);
  program(0x24, 0x02);  // high byte, mode 2: count 0200h
  EXPECT_EQ(pit.read(0, now()), 0x02);
  EXPECT_EQ(edge(), 0x200u);
}

TEST_F(VatpitTest, LatchHoldsUntilReadAndASecondLatchIsIgnored) {
  program(0x34, 1000);
  pit.write(control, 0x00, now());
  tick += 10;
  pit.write(control, 0x00, now());
  EXPECT_EQ(read_word(0), 1000);
  EXPECT_EQ(read_word(0), 990);
}

TEST_F(VatpitTest, ReadBackGivesStatusThenCount) {
  pit.write(control, 0x34, now());
  pit.write(control, 0xe2, now());  // status of channel 0
  EXPECT_EQ(pit.read(0, now()), 0x40 | 0x80 | 0x34) << "null count until a count is written";
  program(0x34, 1000);
  pit.write(control, 0xc2, now());  // both
  tick += 5;
  EXPECT_EQ(pit.read(0, now()), 0x80 | 0x34);
  EXPECT_EQ(read_word(0), 1000);
}

TEST_F(VatpitTest, BcdCountsInDecimal) {
  program(0x35, 0x1234);
  EXPECT_EQ(edge(), 1234u);
  tick += 5;
  EXPECT_EQ(latch_and_read(0), 0x1229);
  program(0x35, 0);
  EXPECT_EQ(edge(), 10'000u);
  program(0x31, 0x0002);
  tick += 3;
  EXPECT_EQ(latch_and_read(0), 0x9999);
}

TEST_F(VatpitTest, ControlPortReadsAllOnes) { EXPECT_EQ(pit.read(3, now()), 0xff); }

TEST_F(VatpitTest, SavedStateGoesOnAtAnotherTime) {
  program(0x34, 1000);
  program(0xb0, 500);
  pit.write(1, 7, now());
  tick += 300;
  pit.write(0, 0x10, now());
  pit.write(0, 0x20, now());  // pending count
  const Nanos later = now() + 123'456'789;
  Vatpit copy;
  ASSERT_TRUE(copy_state(pit, now(), copy, later));
  EXPECT_NEAR(static_cast<double>(copy.next_edge(later) - later),
              static_cast<double>(pit.next_edge(now()) - now()), 900);
  pit.write(control, 0xce, now());
  copy.write(control, 0xce, later);
  for (unsigned channel = 0; channel < 3; ++channel)
    for (int n = 0; n < 3; ++n) EXPECT_EQ(copy.read(channel, later), pit.read(channel, now()));
  EXPECT_EQ(copy.read_speaker(later) & 0x2f, pit.read_speaker(now()) & 0x2f);
}

TEST_F(VatpitTest, StateOutOfRangeIsRefused) {
  for (const u8 filler : {u8{0}, u8{0xff}}) {
    const std::vector<u8> body(512, filler);
    StateSection section(1, body);
    Vatpit copy;
    copy.load(section, now());
    EXPECT_FALSE(section.ok());
  }
}

TEST_F(VatpitTest, AnyAccessIsSafe) {
  std::minstd_rand random(1);
  for (int n = 0; n < 200'000; ++n) {
    const auto r = random();
    const unsigned port = r % 5;
    switch (r / 8 % 4) {
      case 0: (void)pit.read(port, now()); break;
      case 1: pit.write_speaker(static_cast<u8>(r >> 16), now()); break;
      default: pit.write(port, static_cast<u8>(r >> 16), now()); break;
    }
    const Nanos edge_at = pit.next_edge(now());
    ASSERT_GT(edge_at, now());
    if (n % 16 == 0) tick += r % 70'000;
  }
}

}  // namespace
}  // namespace bhyve::timer
