#include "dev/uart/uart_lpc.hpp"

#include <gtest/gtest.h>

#include <string>

#include "fakes.hpp"

namespace bhyve::dev {
namespace {

struct Wire {
  std::string out;
  usize room = ~usize{0};
  int resumed = 0, flushed = 0;
  host::CharClient* client = nullptr;
};

class FakeBackend final : public host::CharBackend {
 public:
  explicit FakeBackend(Wire& w) : wire_(w) {}
  void attach(host::CharClient* client) override { wire_.client = client; }
  usize write(std::span<const u8> bytes) override {
    const usize n = std::min(bytes.size(), wire_.room);
    wire_.room -= n;
    wire_.out.append(bytes.begin(), bytes.begin() + static_cast<long>(n));
    return n;
  }
  void resume_input() override { ++wire_.resumed; }
  void flush() override {
    ++wire_.flushed;
    wire_.room = 1000;
  }

 private:
  Wire& wire_;
};

struct UartLpcTest : testing::Test {
  Wire wire;
  test::FakePin pin;
  UartLpc uart{"uart.com1", pin, std::make_unique<FakeBackend>(wire)};
  void SetUp() override { uart.start(); }
  void give(const std::string& s) {
    wire.client->receive({reinterpret_cast<const u8*>(s.data()), s.size()});
  }
};

TEST_F(UartLpcTest, InterruptPinFollowsTheChip) {
  uart.pio_write(1, 1, 1);
  give("a");
  EXPECT_TRUE(pin.level);
  EXPECT_EQ(uart.pio_read(0, 1), 'a');
  EXPECT_FALSE(pin.level);
}

TEST_F(UartLpcTest, InputResumesOnceTheGuestMadeRoom) {
  EXPECT_EQ(wire.client->can_receive(), 1u);
  give("a");
  EXPECT_EQ(wire.client->can_receive(), 0u);
  EXPECT_EQ(wire.resumed, 0);
  uart.pio_read(0, 1);
  EXPECT_EQ(wire.resumed, 1);
  uart.pio_read(0, 1);
  EXPECT_EQ(wire.resumed, 1);
}

TEST_F(UartLpcTest, WideAccessesAreBytes) {
  EXPECT_EQ(uart.pio_read(4, 2), 0x6000u);  // MCR, LSR
  uart.pio_write(6, 2, 0x7700);
  EXPECT_EQ(uart.pio_read(7, 1), 0x77u);
}

TEST_F(UartLpcTest, RefusedOutputGoesOutWhenThereIsRoom) {
  wire.room = 0;
  uart.pio_write(0, 1, 'x');
  EXPECT_EQ(uart.pio_read(5, 1) & 0x20, 0u);
  wire.room = 10;
  wire.client->writable();
  EXPECT_EQ(wire.out, "x");
  EXPECT_EQ(uart.pio_read(5, 1) & 0x20, 0x20u);
}

TEST_F(UartLpcTest, PauseFlushesWhatChipAndBackEndHold) {
  wire.room = 0;
  uart.pio_write(0, 1, 'x');
  uart.pause();
  EXPECT_EQ(wire.out, "x");
  EXPECT_EQ(wire.flushed, 2);
  EXPECT_EQ(wire.client, nullptr);
}

TEST_F(UartLpcTest, BadStateLeavesItReset) {
  uart.pio_write(7, 1, 9);
  StateWriter good, bad;
  uart.save(good);
  bad.section("uart.com1", 1, [](StateWriter& w) { w.put_u8(17); });
  const auto in = StateReader::parse(bad.bytes());
  ASSERT_TRUE(in);
  EXPECT_FALSE(uart.load(*in));
  EXPECT_EQ(uart.pio_read(7, 1), 0u);
  const auto parsed = StateReader::parse(good.bytes());
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(uart.load(*parsed));
  EXPECT_EQ(uart.pio_read(7, 1), 9u);
}

TEST(UartLpc, WithoutABackEndOutputVanishes) {
  test::FakePin pin;
  UartLpc uart("uart.com2", pin, nullptr);
  uart.start();
  uart.pio_write(0, 1, 'x');
  EXPECT_EQ(uart.pio_read(5, 1), 0x60u);
  uart.pause();
}

}  // namespace
}  // namespace bhyve::dev
