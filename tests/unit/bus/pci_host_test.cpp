#include "bus/pci_host.hpp"

#include <gtest/gtest.h>

#include "bus/pci_config_ports.hpp"
#include "bus/pci_ecam.hpp"
#include "fakes.hpp"

namespace bhyve::bus {
namespace {

using pci::Bdf;

class Plain final : public PciFunction {
 public:
  explicit Plain(u16 device) : PciFunction({"pci.plain", nullptr, {}, {}}, {0x8086, device, 0x060100}) {}
};

struct PciHostTest : testing::Test {
  PciHost host;
  Plain a{1}, b{2};
  test::FakePio cf9;
  PciConfigPorts ports{host, &cf9};
  PciEcam ecam{host};
};

TEST_F(PciHostTest, AbsentFunctionReadsAllOnes) {
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0, 4), ~u32{0});
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0, 2), 0xffffu);
  host.write(Bdf(0, 1, 0), 4, 2, 7);
}

TEST_F(PciHostTest, PlaceIsTakenOnceAndFreeAfterRemoval) {
  ASSERT_TRUE(host.add(Bdf(0, 1, 0), a));
  EXPECT_EQ(host.add(Bdf(0, 1, 0), b).error().code, EEXIST);
  EXPECT_TRUE(host.remove(Bdf(0, 1, 0)));
  EXPECT_FALSE(host.remove(Bdf(0, 1, 0)));
  EXPECT_TRUE(host.add(Bdf(0, 1, 0), b));
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 2, 2), 2u);
}

TEST_F(PciHostTest, MultiFunctionBitFollowsTheSlot) {
  ASSERT_TRUE(host.add(Bdf(0, 1, 0), a));
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0x0e, 1), 0u);
  ASSERT_TRUE(host.add(Bdf(0, 1, 3), b));
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0x0e, 1), 0x80u);
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0x0c, 4), 0x00800000u);
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0x0f, 1), 0u);
  host.remove(Bdf(0, 1, 3));
  EXPECT_EQ(host.read(Bdf(0, 1, 0), 0x0e, 1), 0u);
}

TEST_F(PciHostTest, MechanismOneReachesRegistersByDwordWordAndByte) {
  ASSERT_TRUE(host.add(Bdf(2, 31, 5), a));
  ports.pio_write(0, 4, 0x80000000 | Bdf(2, 31, 5).raw() << 8);
  EXPECT_EQ(ports.pio_read(4, 4), 0x00018086u);
  EXPECT_EQ(ports.pio_read(6, 2), 0x0001u);
  EXPECT_EQ(ports.pio_read(5, 1), 0x80u);
  ports.pio_write(0, 4, 0x80000000 | Bdf(2, 31, 5).raw() << 8 | 0x3c);
  ports.pio_write(4, 1, 0x0b);
  EXPECT_EQ(a.config_read(0x3c, 1), 0x0bu);
}

TEST_F(PciHostTest, AddressPortTakesOnlyDwordsAndKeepsReservedBitsZero) {
  ports.pio_write(0, 4, 0xffffffff);
  EXPECT_EQ(ports.pio_read(0, 4), 0x80fffffcu);
  ports.pio_write(0, 2, 0);
  ports.pio_write(0, 1, 0);
  EXPECT_EQ(ports.pio_read(0, 4), 0x80fffffcu);
  EXPECT_EQ(ports.pio_read(0, 2), 0xffffu);
}

TEST_F(PciHostTest, DisabledAddressReadsOnes) {
  ASSERT_TRUE(host.add(Bdf(0, 0, 0), a));
  ports.pio_write(0, 4, 0);
  EXPECT_EQ(ports.pio_read(4, 4), ~u32{0});
}

TEST_F(PciHostTest, ByteAtCf9BelongsToResetControl) {
  cf9.answer = 0x02;
  EXPECT_EQ(ports.pio_read(1, 1), 2u);
  ports.pio_write(1, 1, 6);
  EXPECT_EQ(cf9.written, 6u);
  EXPECT_EQ(cf9.offset, 0);
}

TEST_F(PciHostTest, EcamAddressesBusSlotFunctionAndRegister) {
  ASSERT_TRUE(host.add(Bdf(1, 2, 3), a));
  const u64 base = u64{1} << 20 | 2 << 15 | 3 << 12;
  EXPECT_EQ(ecam.mmio_read(base, 4, 0), 0x00018086u);
  EXPECT_EQ(ecam.mmio_read(base + 0x100, 4, 0), 0u);
  EXPECT_EQ(ecam.mmio_read(base + 0x104, 4, 0), ~u32{0});
  EXPECT_EQ(ecam.mmio_read(base + 1, 2, 0), 0xffffu);
  EXPECT_EQ(ecam.mmio_read(base + 8, 8, 0), 0x0080000006010000u);  // a lone function 3
  ecam.mmio_write(base + 0x3c, 1, 5, 0);
  EXPECT_EQ(a.config_read(0x3c, 1), 5u);
  EXPECT_EQ(ecam.mmio_read(base + 0x1000, 4, 0), ~u32{0});
}

TEST_F(PciHostTest, AddressSurvivesSaveAndLoad) {
  ports.pio_write(0, 4, 0x80001234);
  StateWriter out;
  ports.save(out);
  ports.reset();
  EXPECT_EQ(ports.pio_read(0, 4), 0u);
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && ports.load(*in));
  EXPECT_EQ(ports.pio_read(0, 4), 0x80001234u);
}

}  // namespace
}  // namespace bhyve::bus
