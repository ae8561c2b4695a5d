#include "timer/vpmtmr.hpp"

#include <gtest/gtest.h>

#include "chip_state.hpp"

namespace bhyve::timer {
namespace {

TEST(Vpmtmr, CountsAtItsFrequencyAndWrapsAt32Bits) {
  const Nanos start = 77'000'000'001;
  const Vpmtmr timer(start);
  EXPECT_EQ(timer.read(start), 0u);
  EXPECT_NEAR(timer.read(start + nanos_per_second), 3'579'545.0, 1);
  const Nanos wrap = nanos_from_ticks(u64{1} << 32, Vpmtmr::hz);
  EXPECT_LE(timer.read(start + wrap), 2u);
}

TEST(Vpmtmr, SavedCountGoesOnAtAnotherTime) {
  const Vpmtmr timer(0);
  Vpmtmr copy(0);
  ASSERT_TRUE(copy_state(timer, 5'000'000'000, copy, 1'000));
  EXPECT_EQ(copy.read(1'000), timer.read(5'000'000'000));
}

TEST(VpmtmrPio, NarrowAndOutsideReadsAreSafeAndWritesAreLost) {
  VpmtmrPio pio;
  const u32 first = pio.pio_read(0, 4);
  pio.pio_write(0, 4, 0xffff'ffff);
  const u32 second = pio.pio_read(0, 4);
  EXPECT_LT(second - first, Vpmtmr::hz * 20);
  EXPECT_EQ(pio.pio_read(3, 4) >> 8, 0xff'ffffu);
  EXPECT_EQ(pio.pio_read(0xffff, 1), 0xffu);
}

}  // namespace
}  // namespace bhyve::timer
