#include <thread>

#include "board_fixture.hpp"
#include "dev/testdev/pci_testdev.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::machine {
namespace {

/// A card with everything: a latch behind an I/O BAR and a 64-bit memory BAR, MSI-X, INTx.
class Card final : public bus::PciFunction, public bus::Pio, public bus::Mmio {
 public:
  static constexpr unsigned vectors = 4, msix_bar = 4;

  explicit Card(bus::PciWiring wiring) : PciFunction(std::move(wiring), identity()) {
    add_io_bar(0, 16, *this);
    add_memory_bar(2, bus::PciBar::Kind::mem64, 64 * KiB, this);
    add_msix(vectors, msix_bar);
  }
  ~Card() override { detach(); }
  using PciFunction::notify;
  using PciFunction::set_intx;

  u32 pio_read(u16, unsigned) override { return latch; }
  void pio_write(u16, unsigned, u32 value) override { latch = value; }
  u64 mmio_read(u64 offset, unsigned, VcpuId) override { return latch + offset; }
  void mmio_write(u64, unsigned, u64 value, VcpuId) override { latch = static_cast<u32>(value); }
  void start() override { running = true; }
  void pause() override { running = false; }

  u32 latch = 0;
  bool running = false;

 private:
  static bus::PciIdentity identity() {
    bus::PciIdentity id;
    id.vendor = 0x1234;
    id.device = 0x5678;
    id.class_code = 0xff'00'00;
    return id;
  }
};

struct BoardPciTest : test::BoardTest {
  static constexpr unsigned slot = 3;
  static constexpr bus::pci::Bdf at{0, slot, 0};
  static constexpr unsigned io_and_memory = 3, master = 4;
  Card* card = nullptr;

  void plug() {
    const auto added = board->add_function(at, true, [this](bus::PciWiring wiring) {
      auto made = std::make_unique<Card>(std::move(wiring));
      card = made.get();
      return made;
    });
    ASSERT_TRUE(added) << added.error().message;
  }
  void make_with_card() {
    make_board();
    plug();
  }
  u64 msix_window() { return config_read(slot, 0x20) & ~0xfu; }
  /// Offset of the MSI-X capability.
  unsigned msix() {
    unsigned offset = config_read(slot, 0x34, 1);
    while (offset != 0 && config_read(slot, offset, 1) != 0x11)
      offset = config_read(slot, offset + 1, 1);
    return offset;
  }
  /// Whether the I/O APIC's input, programmed as level, saw the line: remote IRR after unmasking.
  bool ioapic_delivered(unsigned input) {
    store(0xfec0'0000, 4, 0x10 + 2 * input);
    return (fetch(0xfec0'0010, 4) & 1u << 14) != 0;
  }
  void program_ioapic(unsigned input, u8 vector) {
    store(0xfec0'0000, 4, 0x11 + 2 * input);
    store(0xfec0'0010, 4, 0);
    store(0xfec0'0000, 4, 0x10 + 2 * input);
    store(0xfec0'0010, 4, 1u << 15 | 1u << 13 | vector);  // level, active low
  }
  bool requested(u8 vector) {
    return (fetch(0xfee0'0200 + vector / 32 * 0x10, 4) >> (vector % 32) & 1) != 0;
  }
};

TEST_F(BoardPciTest, GuestFindsTheBoardAndTheCardByPortsAndEcam) {
  make_with_card();
  EXPECT_EQ(config_read(0, 0), 0x1275'1275u);
  EXPECT_EQ(config_read(31, 0), 0x7000'8086u);
  EXPECT_EQ(config_read(slot, 0), 0x5678'1234u);
  EXPECT_EQ(fetch(0xe000'0000 + (slot << 15), 4), 0x5678'1234u);
  EXPECT_EQ(config_read(4, 0), 0xffff'ffffu);
}

TEST_F(BoardPciTest, WindowsHavePlacesAndDecodeFromTheStart) {
  make_with_card();
  EXPECT_EQ(config_read(slot, 4, 2) & 3u, 3u);
  const u32 ports = config_read(slot, 0x10) & ~3u;
  EXPECT_EQ(ports, 0x2000u);
  out(static_cast<u16>(ports), 4, 0x77);
  const u64 memory = config_read(slot, 0x18) & ~0xfu;
  EXPECT_EQ(memory, 0xc000'0000u);
  EXPECT_EQ(fetch(memory + 4, 4), 0x7bu);
}

TEST_F(BoardPciTest, WithFirmwareWindowsHavePlacesButDoNotDecode) {
  machine.enable_bars = false;
  make_with_card();
  EXPECT_EQ(config_read(slot, 4, 2) & 3u, 0u);
  EXPECT_EQ(config_read(slot, 0x10) & ~3u, 0x2000u);
  EXPECT_EQ(in(0x2000, 4), 0xffff'ffffu);
}

TEST_F(BoardPciTest, GuestPlacesAndMovesWindowsWhileTheyDecode) {
  make_with_card();
  config_write(slot, 4, 2, 0);
  config_write(slot, 0x10, 4, 0x2100);
  config_write(slot, 0x18, 4, 0xc201'0000);
  EXPECT_EQ(in(0x2100, 4), 0xffff'ffffu);
  config_write(slot, 4, 2, io_and_memory);
  out(0x2104, 4, 0x55);
  EXPECT_EQ(in(0x2100, 4), 0x55u);
  EXPECT_EQ(fetch(0xc201'0010, 4), 0x65u);
  config_write(slot, 0x10, 4, 0x3000);
  EXPECT_EQ(in(0x2100, 4), 0xffff'ffffu);
  EXPECT_EQ(in(0x3000, 4), 0x55u);
  config_write(slot, 4, 2, 0);  // as software does: move a 64-bit BAR with decoding off
  config_write(slot, 0x18, 4, 0);
  config_write(slot, 0x1c, 4, 0x10);
  config_write(slot, 4, 2, io_and_memory);
  EXPECT_EQ(fetch(0xc201'0000, 4), 0xffff'ffffu);
  EXPECT_EQ(fetch(0x10'0000'0000 + 8, 4), 0x5du);
}

TEST_F(BoardPciTest, IntxReachesTheIoApicAndThroughItsLinkThePic) {
  make_with_card();
  enable_lapic(0);
  const unsigned input = platform::ioapic_pin_for(slot, 1);
  program_ioapic(input, 0x41);
  EXPECT_EQ(config_read(slot, 0x3d, 1), 1u);
  const u32 irq = config_read(slot, 0x3c, 1);
  ASSERT_LT(irq, 16u);
  EXPECT_EQ(config_read(31, platform::pirq_register(platform::pirq_link_for(slot, 1)), 1), irq);
  card->set_intx(true);
  EXPECT_TRUE(ioapic_delivered(input));
  EXPECT_TRUE(requested(0x41));
  const u16 pic = irq < 8 ? 0x20 : 0xa0;
  out(pic, 1, 0x0a);
  EXPECT_NE(in(pic, 1) & 1u << (irq & 7), 0u);
  config_write(slot, 4, 2, 1u << 10);  // INTx disable
  EXPECT_EQ(in(pic, 1) & 1u << (irq & 7), 0u);
}

TEST_F(BoardPciTest, MsixIsMaskedPendsAndIsDeliveredAsAnInterrupt) {
  make_with_card();
  enable_lapic(0);
  config_write(slot, 0x20, 4, 0xc100'0000);
  config_write(slot, 4, 2, io_and_memory | master);
  const unsigned capability = msix();
  ASSERT_NE(capability, 0u);
  const u64 table = msix_window();
  const u64 pending = table + (config_read(slot, capability + 8) & ~7u);
  store(table + 16, 4, 0xfee0'0000);
  store(table + 24, 4, 0x51);
  store(table + 28, 4, 1);  // masked
  config_write(slot, capability + 2, 2, 0x8000);
  EXPECT_TRUE(card->notify(1));
  EXPECT_FALSE(requested(0x51));
  EXPECT_EQ(fetch(pending, 4), 2u);
  store(table + 28, 4, 0);
  EXPECT_TRUE(requested(0x51));
  EXPECT_EQ(fetch(pending, 4), 0u);
}

/// -s 4,pci-testdev: a slot before the bridge's.
struct BoardTestCardTest : BoardPciTest {
  void SetUp() override { machine.pci.push_back({0, 4, 0, "pci-testdev", "pci.0.4.0"}); }
  /// A level follows its line there.
  bool pic_requests(u32 irq) {
    const u16 pic = irq < 8 ? 0x20 : 0xa0;
    out(pic, 1, 0x0a);
    return (in(pic, 1) >> (irq & 7) & 1) != 0;
  }
  u32 pirq() { return config_read(31, platform::pirq_register(platform::pirq_link_for(4, 1)), 1); }
};

TEST_F(BoardTestCardTest, AFunctionBeforeTheBridgeIsRoutedToo) {
  make_board();
  EXPECT_LT(config_read(4, 0x3c, 1), 16u);
  EXPECT_EQ(config_read(4, 0x3c, 1), pirq());
}

TEST_F(BoardTestCardTest, ItsInterruptIsNoSerialPorts) {
  machine.com[0] = machine.com[1] = "pty";
  make_board();
  EXPECT_NE(pirq(), 3u);
  EXPECT_NE(pirq(), 4u);
  EXPECT_LT(pirq(), 16u);
}

TEST_F(BoardTestCardTest, ItsPortsAreNotThoseOfTheOtherTestDevice) {
  machine.testdev = true;
  make_board();
  const u32 ports = config_read(4, 0x10) & ~3u;
  EXPECT_EQ(ports, 0x2020u);
  EXPECT_EQ(in(static_cast<u16>(ports), 4), dev::PciTestDev::identity_value);
}

TEST_F(BoardTestCardTest, PulledWhileItsGuestDrivesItItLetsGoOfItsLine) {
  make_board();
  board->start();
  const u32 irq = pirq();
  const auto ports = static_cast<u16>(config_read(4, 0x10) & ~3u);
  std::atomic<bool> stop{false};
  std::thread guest([&] {
    while (!stop) {
      out(static_cast<u16>(ports + dev::PciTestDev::reg_line), 4, 1);
      out(static_cast<u16>(ports + dev::PciTestDev::reg_later), 4, 0);
      (void)fetch(0xe000'0000 + (4 << 15), 4);
    }
  });
  const bus::pci::Bdf place(0, 4, 0);
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_TRUE(board->remove_function(place));
    EXPECT_FALSE(pic_requests(irq)) << "nobody is there to assert it";
    ASSERT_TRUE(board->add_function(place, true, [this](bus::PciWiring wiring) {
      auto made = std::make_unique<dev::PciTestDev>(
          std::move(wiring), dev::PciTestDev::Options{},
          dev::PciTestDev::Worker{[this](auto f) { loop.post(std::move(f)); }, [this] { loop.sync(); }});
      EXPECT_TRUE(made->set_bar_address(0, 0x2000));
      made->set_command(io_and_memory);
      return made;
    }));
  }
  stop = true;
  guest.join();
}

TEST_F(BoardPciTest, CardMayBePulledAndAnotherPluggedWhileTheMachineRuns) {
  make_board();
  board->start();
  plug();
  EXPECT_TRUE(card->running);
  EXPECT_EQ(board->interrupt_slots(), std::vector<unsigned>{slot});
  const unsigned input = platform::ioapic_pin_for(slot, 1);
  config_write(slot, 0x10, 4, 0x2100);
  config_write(slot, 4, 2, io_and_memory);
  card->set_intx(true);
  EXPECT_EQ(board->add_function(at, true, [](bus::PciWiring) { return nullptr; }).error().code,
            EEXIST);
  ASSERT_TRUE(board->remove_function(at));
  EXPECT_EQ(config_read(slot, 0), 0xffff'ffffu);
  EXPECT_EQ(in(0x2100, 4), 0xffff'ffffu);
  enable_lapic(0);
  program_ioapic(input, 0x42);  // the line was let go: nothing is delivered
  EXPECT_FALSE(ioapic_delivered(input));
  EXPECT_EQ(board->remove_function(at).error().code, ENOENT);
  plug();
  EXPECT_EQ(config_read(slot, 0), 0x5678'1234u);
  card->set_intx(true);
  EXPECT_TRUE(ioapic_delivered(input));
  EXPECT_EQ(board->remove_function(bus::pci::Bdf(0, 31, 0)).error().code, ENOENT);
}

}  // namespace
}  // namespace bhyve::machine
