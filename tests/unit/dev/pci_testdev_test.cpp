#include "dev/testdev/pci_testdev.hpp"

#include <gtest/gtest.h>

#include <deque>

namespace bhyve::dev {
namespace {

using Device = PciTestDev;

struct PciTestDevTest : testing::Test {
  bus::PioMap ports;
  bus::MmioMap memory;
  bus::PciDecoder decoder{ports, memory};
  std::vector<bus::MsiMessage> messages;
  bool line = false;
  std::deque<std::function<void()>> posted;

  std::unique_ptr<Device> make(const Device::Options& options = {}) {
    bus::PciWiring wiring{"pci.0.5.0", &decoder, [this](u64 a, u32 d) { messages.push_back({a, d}); },
                          [this](bool level) { line = level; }};
    return std::make_unique<Device>(
        std::move(wiring), options,
        Device::Worker{[this](auto f) { posted.push_back(std::move(f)); }, [this] { work(); }});
  }
  void work() {
    for (; !posted.empty(); posted.pop_front()) posted.front()();
  }
  static void place(Device& device) {
    device.config_write(0x10, 4, 0x3000);
    device.config_write(0x14, 4, 0xc000'0000);
    device.config_write(0x18, 4, 0xc100'0000);
    device.config_write(4, 2, 7);
  }
  u32 in(unsigned reg, unsigned size = 4) {
    u32 value = 0;
    EXPECT_TRUE(ports.read(static_cast<u16>(0x3000 + reg), size, value));
    return value;
  }
  void out(unsigned reg, u32 value, unsigned size = 4) {
    EXPECT_TRUE(ports.write(static_cast<u16>(0x3000 + reg), size, value));
  }
  u64 fetch(u64 address, unsigned size) {
    u64 value = 0;
    EXPECT_TRUE(memory.read(Gpa(address), size, 0, value));
    return value;
  }
};

TEST_F(PciTestDevTest, RegistersAreTheSameInPortsAndMemory) {
  const auto device = make();
  place(*device);
  EXPECT_EQ(in(Device::reg_identity), Device::identity_value);
  out(Device::reg_scratch, 0x1234'5678);
  EXPECT_EQ(fetch(0xc000'0004, 4), 0x1234'5678u);
  EXPECT_TRUE(memory.write(Gpa(0xc000'0004), 4, 0, 5));
  EXPECT_EQ(in(Device::reg_scratch), 5u);
  EXPECT_EQ(in(Device::reg_scratch, 2), 0xffffu);
  out(Device::reg_scratch, 0, 1);
  EXPECT_TRUE(memory.write(Gpa(0xc000'0004), 8, 0, 0));
  EXPECT_EQ(in(Device::reg_scratch), 5u);
  EXPECT_EQ(fetch(0xc000'0000, 8), ~u64{0});
}

TEST_F(PciTestDevTest, WithoutMessagesTheLineRisesUntilItIsCleared) {
  const auto device = make();
  place(*device);
  out(Device::reg_notify, 3);
  EXPECT_TRUE(line);
  EXPECT_EQ(in(Device::reg_notify), u32{Device::sent_line});
  out(Device::reg_line, 0);
  EXPECT_FALSE(line);
  EXPECT_TRUE(messages.empty());
}

TEST_F(PciTestDevTest, WhatIsRaisedLaterIsRaisedByTheWorkerAndNotAfterAPause) {
  const auto device = make();
  place(*device);
  out(Device::reg_later, 0);
  EXPECT_FALSE(line);
  work();
  EXPECT_TRUE(line);
  out(Device::reg_line, 0);
  out(Device::reg_later, 0);
  device->pause();
  EXPECT_TRUE(posted.empty());
  EXPECT_TRUE(line);
  EXPECT_EQ(in(Device::reg_count), 2u);
}

TEST_F(PciTestDevTest, ItDiesWithItsWorkDone) {
  auto device = make();
  place(*device);
  out(Device::reg_later, 0);
  device.reset();
  EXPECT_TRUE(posted.empty());
  u32 value = 0;
  EXPECT_FALSE(ports.read(0x3000, 4, value));
}

TEST_F(PciTestDevTest, OptionsSayWhatItHas) {
  const auto device = make({.msi = 0, .msix = 0, .window = 256 * MiB, .rom = false});
  EXPECT_EQ(device->bar_size(Device::bar_memory), 256 * MiB);
  EXPECT_EQ(device->bar_kind(Device::bar_msix), bus::PciBar::Kind::none);
  EXPECT_EQ(device->bar_kind(Device::rom_bar), bus::PciBar::Kind::none);
  std::vector<u32> ids;
  for (u32 at = device->config_read(0x34, 1); at != 0; at = device->config_read(at + 1, 1))
    ids.push_back(device->config_read(at, 1));
  EXPECT_EQ(ids, (std::vector<u32>{bus::pci::cap_vendor, bus::pci::cap_express}));
}

TEST_F(PciTestDevTest, StateSurvivesSaveAndLoad) {
  StateWriter out_state;
  {
    const auto device = make();
    place(*device);
    out(Device::reg_scratch, 77);
    out(Device::reg_notify, 0);
    EXPECT_TRUE(memory.write(Gpa(0xc100'0ff8), 8, 0, 0x1122'3344'5566'7788));
    device->save(out_state);
  }
  line = false;
  const auto reader = StateReader::parse(out_state.bytes());
  ASSERT_TRUE(reader);
  const auto device = make();
  ASSERT_TRUE(device->load(*reader));
  EXPECT_TRUE(line);
  EXPECT_EQ(in(Device::reg_scratch), 77u);
  EXPECT_EQ(in(Device::reg_count), 1u);
  EXPECT_EQ(fetch(0xc100'0ffc, 4), 0x1122'3344u);
  device->reset();
  EXPECT_FALSE(line);
  const StateWriter nothing;
  const auto empty = StateReader::parse(nothing.bytes());
  ASSERT_TRUE(empty);
  EXPECT_FALSE(device->load(*empty));
}

}  // namespace
}  // namespace bhyve::dev
