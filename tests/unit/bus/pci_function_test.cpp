#include "bus/pci_function.hpp"

#include <gtest/gtest.h>

#include "fakes.hpp"

namespace bhyve::bus {
namespace {

using namespace pci;
using test::FakeMmio;
using test::FakePio;

struct Machine {
  PioMap ports;
  MmioMap memory;
  PciDecoder decoder{ports, memory};
  std::vector<MsiMessage> messages;
  std::vector<bool> levels;
  PciWiring wiring(const char* name) {
    return {name, &decoder, [this](u64 a, u32 d) { messages.push_back({a, d}); },
            [this](bool l) { levels.push_back(l); }};
  }
};

class Function final : public PciFunction {
 public:
  explicit Function(PciWiring w) : PciFunction(std::move(w), {0x1af4, 0x1041, 0x020000, 1, 0x1af4, 1}) {
    add_io_bar(0, 0x20, io);
    add_memory_bar(1, PciBar::Kind::mem32, 0x2000, &m32);
    add_memory_bar(2, PciBar::Kind::mem64, 0x10000, &m64, true);
    add_msix(3, 4);
    add_msi(4);
    add_rom(0x800, rom);
  }
  ~Function() override { detach(); }
  using PciFunction::notify;
  using PciFunction::set_intx;
  FakePio io;
  FakeMmio m32, m64, rom;
};

struct PciFunctionTest : testing::Test {
  Machine m;
  Function f{m.wiring("pci.test")};
  void command(u16 bits) { f.config_write(reg_command, 2, bits); }
  unsigned capability(u8 id) {
    for (unsigned at = f.config_read(reg_capabilities, 1); at != 0; at = f.config_read(at + 1, 1))
      if (f.config_read(at, 1) == id) return at;
    return 0;
  }
};

TEST_F(PciFunctionTest, HeaderShowsIdentity) {
  EXPECT_EQ(f.config_read(0, 4), 0x10411af4u);
  EXPECT_EQ(f.config_read(8, 4), 0x02000001u);
  EXPECT_EQ(f.config_read(reg_subvendor, 4), 0x00011af4u);
  f.config_write(0, 4, 0);
  EXPECT_EQ(f.config_read(0, 4), 0x10411af4u);
}

TEST_F(PciFunctionTest, WritingOnesToABarReadsItsSizeAndKind) {
  for (unsigned bar = 0; bar < 6; ++bar) f.config_write(reg_bar0 + 4 * bar, 4, ~u32{0});
  EXPECT_EQ(f.config_read(0x10, 4), 0xffffffe1u);
  EXPECT_EQ(f.config_read(0x14, 4), 0xffffe000u);
  EXPECT_EQ(f.config_read(0x18, 4), 0xffff000cu);
  EXPECT_EQ(f.config_read(0x1c, 4), 0xffffffffu);
  EXPECT_EQ(f.config_read(0x24, 4), 0u);  // no BAR 5
  f.config_write(reg_rom, 4, ~u32{0});
  EXPECT_EQ(f.config_read(reg_rom, 4), 0xfffff801u);
}

TEST_F(PciFunctionTest, BarsDecodeOnlyWhileTheCommandEnablesThem) {
  ASSERT_TRUE(f.set_bar_address(0, 0x2000));
  ASSERT_TRUE(f.set_bar_address(1, 0xc0000000));
  u32 v = 0;
  u64 w = 0;
  EXPECT_FALSE(m.ports.read(0x2000, 4, v));
  command(command_io);
  EXPECT_TRUE(m.ports.read(0x2004, 4, v));
  EXPECT_EQ(f.io.offset, 4);
  EXPECT_FALSE(m.memory.read(Gpa(0xc0000000), 4, 0, w));
  command(command_memory);
  EXPECT_FALSE(m.ports.read(0x2000, 4, v));
  EXPECT_TRUE(m.memory.read(Gpa(0xc0001ff8), 8, 0, w));
}

TEST_F(PciFunctionTest, GuestMovesA64BitBar) {
  command(command_memory);
  f.config_write(0x18, 4, 0x10000);
  EXPECT_TRUE(m.memory.contains(Gpa(0x10000)));
  f.config_write(0x1c, 4, 0x8);
  EXPECT_FALSE(m.memory.contains(Gpa(0x10000)));
  EXPECT_TRUE(m.memory.contains(Gpa(0x8'0001'0000)));
  EXPECT_EQ(f.bar_address(2), 0x8'0001'0000u);
}

TEST_F(PciFunctionTest, IoBarBeyond64KiBDecodesNothing) {
  command(command_io);
  f.config_write(0x10, 4, 0x12000);
  u32 v = 0;
  EXPECT_FALSE(m.ports.read(0x2000, 4, v));
  f.config_write(0x10, 4, 0xffe0);
  EXPECT_TRUE(m.ports.read(0xfffc, 4, v));
}

TEST_F(PciFunctionTest, RomNeedsItsOwnEnableBitToo) {
  command(command_memory);
  f.config_write(reg_rom, 4, 0xc0100000);
  EXPECT_FALSE(m.memory.contains(Gpa(0xc0100000)));
  f.config_write(reg_rom, 4, 0xc0100001);
  EXPECT_TRUE(m.memory.contains(Gpa(0xc0100000)));
}

TEST_F(PciFunctionTest, OverlappingBarAppearsOnceThereIsRoom) {
  Function g(m.wiring("pci.other"));
  ASSERT_TRUE(f.set_bar_address(1, 0xc0000000));
  ASSERT_TRUE(g.set_bar_address(1, 0xc0000000));
  f.set_command(command_memory);
  g.set_command(command_memory);
  u64 w = 0;
  EXPECT_TRUE(m.memory.read(Gpa(0xc0000000), 4, 0, w));
  EXPECT_EQ(f.m32.reads, 1);
  f.config_write(0x14, 4, 0xd0000000);
  EXPECT_TRUE(m.memory.read(Gpa(0xc0000000), 4, 0, w));
  EXPECT_EQ(g.m32.reads, 1);
}

TEST_F(PciFunctionTest, MisalignedOrMissingBarAddressIsRefused) {
  EXPECT_FALSE(f.set_bar_address(1, 0xc0001000));
  EXPECT_FALSE(f.set_bar_address(5, 0xc0000000));
  EXPECT_FALSE(f.set_bar_address(99, 0));
}

TEST_F(PciFunctionTest, MsiSendsVectorInLowDataBitsAndHonoursMasks) {
  const unsigned at = capability(cap_msi);
  ASSERT_NE(at, 0u);
  EXPECT_FALSE(f.notify(0));  // not enabled: INTx it is
  f.config_write(at + 4, 4, 0xfee01000);
  f.config_write(at + 12, 2, 0x41);
  f.config_write(at + 2, 2, 1 | 2 << 4);  // four vectors
  command(command_master);
  EXPECT_TRUE(f.notify(3));
  ASSERT_EQ(m.messages.size(), 1u);
  EXPECT_EQ(m.messages[0], (MsiMessage{0xfee01000, 0x43}));
  f.config_write(at + 16, 4, 1 << 2);
  EXPECT_TRUE(f.notify(2));
  EXPECT_EQ(m.messages.size(), 1u);
  EXPECT_EQ(f.config_read(at + 20, 4), 4u);
  f.config_write(at + 16, 4, 0);
  ASSERT_EQ(m.messages.size(), 2u);
  EXPECT_EQ(m.messages[1].data, 0x42u);
  EXPECT_EQ(f.config_read(at + 20, 4), 0u);
}

TEST_F(PciFunctionTest, MessagesWaitForBusMastering) {
  const unsigned at = capability(cap_msi);
  f.config_write(at + 2, 2, 1);
  EXPECT_TRUE(f.notify(0));
  EXPECT_TRUE(m.messages.empty());
  command(command_master);
  EXPECT_EQ(m.messages.size(), 1u);
}

TEST_F(PciFunctionTest, MsixTableMaskAndPendingBits) {
  const unsigned at = capability(cap_msix);
  ASSERT_NE(at, 0u);
  EXPECT_EQ(f.config_read(at + 2, 2), 2u);  // three vectors
  ASSERT_TRUE(f.set_bar_address(4, 0xc0200000));
  command(command_memory | command_master);
  const Gpa table(0xc0200000), pba(0xc0201000);
  ASSERT_TRUE(m.memory.write(table + 16, 8, 0, 0x1'fee02000));
  ASSERT_TRUE(m.memory.write(table + 24, 4, 0, 0x55));
  f.config_write(at + 2, 2, 0x8000);
  EXPECT_TRUE(f.notify(1));  // entry still masked after reset
  u64 v = 0;
  m.memory.read(pba, 8, 0, v);
  EXPECT_EQ(v, 2u);
  m.memory.write(table + 28, 4, 0, 0);
  ASSERT_EQ(m.messages.size(), 1u);
  EXPECT_EQ(m.messages[0], (MsiMessage{0x1'fee02000, 0x55}));
  m.memory.read(pba, 8, 0, v);
  EXPECT_EQ(v, 0u);
  f.config_write(at + 2, 2, 0xc000);  // function mask
  f.notify(1);
  EXPECT_EQ(m.messages.size(), 1u);
  f.config_write(at + 2, 2, 0x8000);
  EXPECT_EQ(m.messages.size(), 2u);
  EXPECT_TRUE(f.notify(999));  // beyond the table: nothing
  EXPECT_EQ(m.messages.size(), 2u);
}

TEST_F(PciFunctionTest, MsixTableRefusesNarrowAccesses) {
  ASSERT_TRUE(f.set_bar_address(4, 0xc0200000));
  command(command_memory);
  u64 v = 0;
  m.memory.read(Gpa(0xc020000c), 1, 0, v);
  EXPECT_EQ(v, 0xffu);
  m.memory.write(Gpa(0xc020000c), 1, 0, 0);
  m.memory.read(Gpa(0xc020000c), 4, 0, v);
  EXPECT_EQ(v, 1u);
}

TEST_F(PciFunctionTest, IntxIsGatedByCommandAndMsiAndShownInStatus) {
  f.set_intx(true);
  EXPECT_EQ(m.levels, std::vector<bool>({true}));
  EXPECT_NE(f.config_read(reg_status, 2) & status_interrupt, 0u);
  command(command_intx_disable);
  EXPECT_EQ(m.levels, std::vector<bool>({true, false}));
  EXPECT_NE(f.config_read(reg_status, 2) & status_interrupt, 0u);
  command(0);
  EXPECT_TRUE(m.levels.back());
  f.config_write(capability(cap_msi) + 2, 2, 1);
  EXPECT_FALSE(m.levels.back());
}

TEST_F(PciFunctionTest, ResetRestoresHomeAddressesAndDropsTheLine) {
  ASSERT_TRUE(f.set_bar_address(1, 0xc0000000));
  f.set_command(command_memory);
  f.config_write(0x14, 4, 0xd0000000);
  f.set_intx(true);
  f.reset();
  EXPECT_TRUE(m.memory.contains(Gpa(0xc0000000)));
  EXPECT_FALSE(m.memory.contains(Gpa(0xd0000000)));
  EXPECT_FALSE(m.levels.back());
}

TEST_F(PciFunctionTest, LoadBringsBackBarsMessagesAndLine) {
  const unsigned at = capability(cap_msi);
  f.config_write(0x14, 4, 0xd0000000);
  f.config_write(at + 2, 2, 1);
  f.config_write(at + 16, 4, 1);
  command(command_memory | command_master);
  f.notify(0);
  StateWriter out;
  f.save(out);
  f.reset();
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in);
  ASSERT_TRUE(f.load(*in));
  EXPECT_TRUE(m.memory.contains(Gpa(0xd0000000)));
  EXPECT_EQ(f.config_read(at + 20, 4), 1u);
  f.config_write(at + 16, 4, 0);
  EXPECT_EQ(m.messages.size(), 1u);
}

TEST_F(PciFunctionTest, DetachTakesEveryWindowAway) {
  ASSERT_TRUE(f.set_bar_address(1, 0xc0000000));
  f.set_command(command_memory);
  f.detach();
  EXPECT_FALSE(m.memory.contains(Gpa(0xc0000000)));
}

}  // namespace
}  // namespace bhyve::bus
