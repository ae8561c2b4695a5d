#include "timer/vatpit_pio.hpp"

#include <gtest/gtest.h>

#include <string>

#include "fake_pins.hpp"

namespace bhyve::timer {
namespace {

class VatpitPioTest : public testing::Test {
 protected:
  void program_100_hz() {
    pit.pio_write(3, 1, 0x34);
    pit.pio_write(0, 1, 11932 & 0xff);
    pit.pio_write(0, 1, 11932 >> 8);
  }

  CalloutWheel wheel;
  FakePin irq0;
  VatpitPio pit{wheel, irq0};
};

TEST_F(VatpitPioTest, Channel0RaisesIrq0AtItsRate) {
  pit.start();
  const Nanos begin = monotonic_now();
  program_100_hz();
  ASSERT_TRUE(irq0.wait_for_edges(5));
  EXPECT_GE(monotonic_now() - begin, 40'000'000u) << "first edge at once, then four periods";
  pit.pause();
}

TEST_F(VatpitPioTest, NothingFiresWhilePaused) {
  program_100_hz();
  const unsigned edges = irq0.edges();
  FakePin witness;
  Callout later(wheel, [&] { witness.assert_pin(); });
  later.arm(monotonic_now() + 30'000'000);
  ASSERT_TRUE(witness.wait_for_edges(1));
  EXPECT_EQ(irq0.edges(), edges);
  pit.start();
  EXPECT_TRUE(irq0.wait_for_edges(edges + 1));
  pit.pause();
}

TEST_F(VatpitPioTest, CutOffFromIrq0ByTheHpet) {
  pit.start();
  pit.set_irq_enabled(false);
  program_100_hz();
  EXPECT_EQ(irq0.edges(), 0u);
  EXPECT_FALSE(irq0.level());
  pit.set_irq_enabled(true);
  EXPECT_TRUE(irq0.wait_for_edges(2));
  pit.pause();
}

TEST_F(VatpitPioTest, WideAndOutsideAccessesAreByteWise) {
  pit.pio_write(0, 4, 0x3412'1234);  // bytes to ports 0..3; the last is a control word
  EXPECT_EQ(pit.pio_read(2, 4) >> 8, 0xff'ffffu);
  EXPECT_EQ(pit.pio_read(0xffff, 1), 0xffu);
  EXPECT_EQ(pit.speaker().pio_read(0, 2) >> 8, 0xffu);
  pit.speaker().pio_write(0, 1, 3);
  EXPECT_EQ(pit.speaker().pio_read(0, 1) & 0x0f, 3u);
}

TEST_F(VatpitPioTest, StateIsKeptAndABadOneLeavesResetState) {
  program_100_hz();
  pit.speaker().pio_write(0, 1, 2);
  StateWriter out;
  pit.save(out);
  FakePin pin;
  VatpitPio copy(wheel, pin);
  ASSERT_TRUE(copy.load(*StateReader::parse(out.bytes())).has_value());
  EXPECT_EQ(copy.speaker().pio_read(0, 1) & 0x0f, 2u);
  copy.start();
  EXPECT_TRUE(pin.wait_for_edges(2));
  copy.pause();

  StateWriter bad;
  bad.section("vatpit", 1, [](StateWriter& w) { w.put_u8(9); });
  const Result<void> result = copy.load(*StateReader::parse(bad.bytes()));
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().message.find("vatpit"), std::string::npos);
  EXPECT_EQ(copy.speaker().pio_read(0, 1) & 0x0f, 0u);
}

}  // namespace
}  // namespace bhyve::timer
