#include "base/state.hpp"
#include "intc_fakes.hpp"

namespace bhyve::intc {
namespace {

class VlapicStateTest : public LapicFixture {
 protected:
  std::vector<u8> saved(unsigned n, Nanos now) {
    StateWriter out;
    apic(n).save(out, now);
    return out.bytes();
  }
  bool load(unsigned n, const std::vector<u8>& bytes, Nanos now) {
    auto reader = StateReader::parse(bytes);
    return reader && apic(n).load(*reader, now).has_value();
  }
};

TEST_F(VlapicStateTest, RegistersSurviveAndSaveAgainTheSame) {
  enable(1);
  write(LapicReg::tpr, 0x20, 1);
  write(LapicReg::ldr, 0x0200'0000, 1);
  write(LapicReg::lvt_lint0, 0x700, 1);
  write(LapicReg::icr_high, 0x0300'0000, 1);
  apic(1).set_irr(0x31, true);
  EXPECT_EQ(take(1), 0x31);
  apic(1).set_irr(0x42, false);
  apic(1).set_irr(7, false);
  apic(1).post_extint();
  const auto bytes = saved(1, 0);
  apic(1).reset();
  ASSERT_TRUE(load(1, bytes, 0));
  EXPECT_EQ(saved(1, 0), bytes);
  EXPECT_EQ(read(LapicReg::ppr, 1), 0x30u);
  EXPECT_EQ(apic(1).pending_vector(), 0x42);
  EXPECT_EQ(errors(1), 0x40u) << "errors that nobody has latched yet";
  write(LapicReg::eoi, 0, 1);
  EXPECT_EQ(eois.vectors, std::vector<u8>{0x31}) << "the trigger mode";
}

TEST_F(VlapicStateTest, X2ApicModeSurvives) {
  enable(2);
  enter_x2apic(2);
  ASSERT_TRUE(apic(2).msr_write(0x830, u64{9} << 32 | 0x4055, 0));
  const auto bytes = saved(2, 0);
  apic(2).reset();
  ASSERT_TRUE(load(2, bytes, 0));
  EXPECT_EQ(apic(2).mode(), Vlapic::Mode::x2apic);
  EXPECT_TRUE(apic(2).matches_logical(4, true));
  EXPECT_EQ(saved(2, 0), bytes);
}

TEST_F(VlapicStateTest, APeriodicTimerGoesOnWhereItWas) {
  enable(0);
  write(LapicReg::timer_divide, 0xb);
  write(LapicReg::lvt_timer, 0x200ec);
  write(LapicReg::timer_initial, 1'000'000, 0, 0);
  const auto bytes = saved(0, 400'000);
  apic().reset();
  ASSERT_TRUE(load(0, bytes, 77'000'000));
  EXPECT_EQ(apic().timer_deadline(), 77'600'000u);
  EXPECT_EQ(read(LapicReg::timer_current, 0, 77'000'000), 600'000u);
  apic().timer_expired(77'600'000);
  EXPECT_EQ(take(), 0xec);
  EXPECT_EQ(apic().timer_deadline(), 78'600'000u);
}

TEST_F(VlapicStateTest, ATscDeadlineIsConvertedAnew) {
  enable(0);
  write(LapicReg::lvt_timer, 0x400ec);
  apic().set_tsc_deadline(5000, 0);
  const auto bytes = saved(0, 0);
  apic().reset();
  ASSERT_TRUE(load(0, bytes, 10));
  EXPECT_EQ(apic().tsc_deadline(0), 5000u);
  EXPECT_EQ(apic().timer_deadline(), 2000u);
}

TEST_F(VlapicStateTest, AFailedLoadLeavesTheResetState) {
  enable(0);
  apic().set_irr(0x50, false);
  EXPECT_FALSE(load(0, saved(1, 0), 0)) << "the section of another vCPU";
  EXPECT_FALSE(apic().enabled());
  EXPECT_EQ(apic().pending_vector(), -1);
}

TEST_F(VlapicStateTest, ImpossibleValuesAreRejectedOrMasked) {
  auto write_section = [](u64 base, u64 remaining) {
    StateWriter out;
    out.section("vlapic.0", 1, [&](StateWriter& w) {
      w.put_u64(base);
      w.put_u32(~u32{0});
      w.put_bool(false);
      w.put_bytes(std::vector<u8>(4096, 0xff));
      w.put_bool(true);
      w.put_u64(remaining);
      w.put_u64(0);
    });
    return out.bytes();
  };
  EXPECT_FALSE(load(0, write_section(0xfee0'0400, 0), 0)) << "x2APIC without enable";
  EXPECT_FALSE(load(0, write_section(bit(60) | 0x800, 0), 0));
  EXPECT_FALSE(load(0, write_section(0xfee0'0900, ~u64{0}), 0));
  ASSERT_TRUE(load(0, write_section(0xfee0'0900, 100), 0));
  EXPECT_EQ(read(LapicReg::version), 0x0106'0014u);
  EXPECT_EQ(read(LapicReg::id), 0u);
  EXPECT_EQ(read(LapicReg::irr), 0xffff'0000u) << "vectors below 16 cannot be";
  EXPECT_EQ(apic().pending_vector(), -1);
}

}  // namespace
}  // namespace bhyve::intc
