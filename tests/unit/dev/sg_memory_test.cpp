#include "dev/testdev/sg_memory.hpp"

#include <gtest/gtest.h>

#include <set>

namespace bhyve::dev {
namespace {

struct SgMemoryTest : testing::Test {
  bus::PioMap ports;
  bus::MmioMap memory;
  bus::PciDecoder decoder{ports, memory};
  std::set<u64> shown;
  bool room = true;
  SgMemory device{{"pci.0.5.0", &decoder, {}, {}},
                  3 * page_size,
                  {[this](u64 at) { return room && shown.insert(at).second; },
                   [this](u64 at) { EXPECT_EQ(shown.erase(at), 1u) << "was not there"; }}};

  void place(u32 address) {
    device.config_write(0x10, 4, address);
    device.config_write(4, 2, 2);
  }
};

TEST_F(SgMemoryTest, IsAMemoryControllerWithOneWindow) {
  EXPECT_EQ(device.config_read(0, 4), u32{SgMemory::device} << 16 | SgMemory::vendor);
  EXPECT_EQ(device.config_read(8, 4) >> 8, 0x05'00'00u);
  EXPECT_EQ(device.bar_size(0), 4 * page_size);
}

TEST_F(SgMemoryTest, TheWindowFollowsTheRegisters) {
  place(0xc000'0000);
  EXPECT_EQ(shown, std::set<u64>{0xc000'0000});
  place(0xd000'0000);
  EXPECT_EQ(shown, std::set<u64>{0xd000'0000});
  device.config_write(4, 2, 0);
  EXPECT_TRUE(shown.empty());
  device.config_write(4, 2, 2);
  device.reset();
  EXPECT_TRUE(shown.empty());
}

TEST_F(SgMemoryTest, WhatCouldNotBeShownIsNotTakenAway) {
  room = false;
  place(0xc000'0000);
  room = true;
  place(0xd000'0000);
  EXPECT_EQ(shown, std::set<u64>{0xd000'0000});
}

}  // namespace
}  // namespace bhyve::dev
