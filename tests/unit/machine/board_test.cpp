#include "board_fixture.hpp"

namespace bhyve::machine {
namespace {

using test::BoardTest;

TEST_F(BoardTest, CmosTellsMemoryEquipmentAndCpus) {
  make_board();
  EXPECT_EQ(cmos(0x15) | cmos(0x16) << 8, 640);
  EXPECT_EQ(cmos(0x17) | cmos(0x18) << 8, 1024);
  EXPECT_EQ(cmos(0x30) | cmos(0x31) << 8, 1024);
  EXPECT_EQ(cmos(0x14), 0x06);
  EXPECT_EQ(cmos(0x5f), 0);
  unsigned sum = 0;
  for (u8 at = 0x10; at <= 0x2d; ++at) sum += cmos(at);
  EXPECT_EQ(unsigned{cmos(0x2e)} << 8 | cmos(0x2f), sum);
}

TEST_F(BoardTest, LegacyPortsAnswer) {
  make_board();
  EXPECT_EQ(in(0x92, 1), 2u);
  EXPECT_EQ(in(0x84, 1), 0xffu);
  out(0x64, 1, 0xaa);  // self test of the keyboard controller
  EXPECT_EQ(in(0x64, 1) & 1, 1u);
  EXPECT_EQ(in(0x60, 1), 0x55u);
}

TEST_F(BoardTest, VgaWindowIsPlainMemoryWithoutADisplay) {
  make_board();
  EXPECT_FALSE(board->memory().contains(Gpa(0xa'0000)));
  const std::array<u8, 4> bytes{1, 2, 3, 4};
  for (const u64 gpa : {u64{0xa'0000}, u64{0xb'8000}, u64{0xb'fffc}}) {
    std::array<u8, 4> back{};
    EXPECT_TRUE(vm->space().write(Gpa(gpa), bytes));
    EXPECT_TRUE(vm->space().read(Gpa(gpa), back));
    EXPECT_EQ(back, bytes);
  }
}

TEST_F(BoardTest, TestDevicePortsAreThereOnlyWhenAskedFor) {
  make_board();
  out(0xe0, 4, 0x1234);
  EXPECT_EQ(in(0xe0, 4), 0xffff'ffffu);
  board.reset();
  machine = {};
  machine.testdev = true;
  make_board();
  out(0xe0, 4, 0x1234);
  EXPECT_EQ(in(0xe8, 4), 0x1234u);
  store(0xff00'0010, 4, 99);
  EXPECT_EQ(fetch(0xff00'0010, 4), 99u);
  out(0x2000 + 5, 1, 1);
  out(0x20, 1, 0x0a);  // read the request register
  EXPECT_NE(in(0x20, 1) & 1u << 5, 0u);
}

TEST_F(BoardTest, DebugConsoleAndTestDeviceShareTheirPorts) {
  machine.testdev = true;
  machine.debugcon = "pty";
  make_board();
  EXPECT_EQ(in(0xe9, 1), 0xe9u);
  out(0xe0, 1, 0x77);
  EXPECT_EQ(in(0xe8, 1), 0x77u);
}

TEST_F(BoardTest, DebugExitEndsTheVmOnceWithItsStatus) {
  machine.testdev = true;
  make_board();
  EXPECT_FALSE(board->debug_exit());
  out(0xf4, 4, 0x10);
  out(0xf4, 4, 0x7f);
  EXPECT_EQ(vm->suspended(), abi::SuspendHow::poweroff);
  EXPECT_EQ(board->debug_exit(), u8{0x21});
}

TEST_F(BoardTest, FirmwareConfigurationIsAtItsPorts) {
  machine.fw_cfg = true;
  machine.firmware_items.push_back({"opt/greeting", "hi", false});
  make_board();
  out(0x510, 2, 0);
  std::string text;
  for (int i = 0; i < 4; ++i) text.push_back(static_cast<char>(in(0x511, 1)));
  EXPECT_EQ(text, "QEMU");
  EXPECT_EQ(in(0x514, 4), 0x554d'4551u);
}

TEST_F(BoardTest, MissingFirmwareItemFileIsNamed) {
  machine.fw_cfg = true;
  machine.firmware_items.push_back({"opt/x", "/nonexistent/item", true});
  config.lowmem = 2 * MiB;
  make(1);
  const auto made = Board::create(*vm, loop, machine);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "-f opt/x: cannot read /nonexistent/item");
}

}  // namespace
}  // namespace bhyve::machine
