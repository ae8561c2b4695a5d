#include "bus/pci_config.hpp"

#include <gtest/gtest.h>

namespace bhyve::bus {
namespace {

TEST(PciConfig, WriteChangesOnlyAllowedBits) {
  PciConfig c;
  c.set32(0x40, 0x11223344);
  c.allow(0x40, 4, 0x00ff00f0);
  c.write(0x40, 4, 0xffffffff);
  EXPECT_EQ(c.get32(0x40), 0x11ff33f4u);
  c.write(0x42, 1, 0);
  EXPECT_EQ(c.get32(0x40), 0x110033f4u);
}

TEST(PciConfig, OneClearsAndZeroKeepsRw1cBits) {
  PciConfig c;
  c.set16(0x06, 0xf010);
  c.allow_clear(0x06, 2, 0xf000);
  c.write(0x06, 2, 0x5010);
  EXPECT_EQ(c.get16(0x06), 0xa010);
}

TEST(PciConfig, UnalignedCrossingAndOddAccessesReadOnesAndAreDropped) {
  PciConfig c;
  c.allow(0, 4, ~u32{0});
  EXPECT_EQ(c.read(1, 2), 0xffffu);
  EXPECT_EQ(c.read(2, 4), ~u32{0});
  EXPECT_EQ(c.read(0, 3), 0xffffffu);
  EXPECT_EQ(c.read(~0u, 4), ~u32{0});
  c.write(1, 2, 0xffff);
  c.write(4096, 4, 1);
  EXPECT_EQ(c.get32(0), 0u);
}

TEST(PciConfig, ExtendedSpaceOfAConventionalFunctionHasAnEmptyHeader) {
  PciConfig c;
  EXPECT_EQ(c.read(0x100, 4), 0u);
  EXPECT_EQ(c.read(0x103, 1), 0u);
  EXPECT_EQ(c.read(0x104, 4), ~u32{0});
  EXPECT_EQ(c.read(0xffc, 4), ~u32{0});
}

TEST(PciConfig, ResetRestoresWhatTheGuestChanged) {
  PciConfig c;
  c.set32(0x10, 0xc0000000);
  c.allow(0x10, 4, 0xfffff000);
  c.write(0x10, 4, 0xd0000000);
  c.reset();
  EXPECT_EQ(c.get32(0x10), 0xc0000000u);
}

}  // namespace
}  // namespace bhyve::bus
