#include "dev/testdev/testdev.hpp"

#include <gtest/gtest.h>

#include <string>

#include "dev/testdev/debug_console.hpp"
#include "dev/testdev/debug_exit.hpp"
#include "fakes.hpp"

namespace bhyve::dev {
namespace {

struct TestDevTest : testing::Test {
  test::FakePin pin3, pin23;
  std::array<intc::IrqPin*, TestDev::lines> pins{};
  std::unique_ptr<TestDev> dev;
  TestDevTest() {
    pins[3] = &pin3;
    pins[23] = &pin23;
    dev = std::make_unique<TestDev>(pins);
  }
};

TEST_F(TestDevTest, LatchTakesEveryWidthAtItsPlace) {
  dev->echo().pio_write(0, 4, 0x1122'3344);
  EXPECT_EQ(dev->echo().pio_read(0, 4), 0x1122'3344u);
  dev->echo().pio_write(1, 1, 0xffff'ffaa);
  EXPECT_EQ(dev->echo().pio_read(0, 4), 0x1122'aa44u);
  dev->echo().pio_write(2, 2, 0xbeef);
  EXPECT_EQ(dev->echo().pio_read(0, 4), 0xbeef'aa44u);
  EXPECT_EQ(dev->echo().pio_read(2, 2), 0xbeefu);
  EXPECT_EQ(dev->echo_bytes().pio_read(0, 4), 0xbeef'aa44u);
  dev->echo_bytes().pio_write(3, 1, 0x55);
  EXPECT_EQ(dev->echo().pio_read(3, 1), 0x55u);
}

TEST_F(TestDevTest, LinePortsSetLevelsAndUnwiredLinesDoNothing) {
  dev->line_ports().pio_write(3, 1, 0x80);
  EXPECT_TRUE(pin3.level);
  dev->line_ports().pio_write(23, 1, 1);
  EXPECT_TRUE(pin23.level);
  dev->line_ports().pio_write(3, 1, 0);
  EXPECT_FALSE(pin3.level);
  dev->line_ports().pio_write(5, 1, 1);
  EXPECT_EQ(pin3.edges, 1);
}

TEST_F(TestDevTest, WindowIsMemoryOfEveryWidth) {
  bus::Mmio& window = dev->window();
  window.mmio_write(0, 8, 0x8877'6655'4433'2211, 0);
  EXPECT_EQ(window.mmio_read(0, 8, 0), 0x8877'6655'4433'2211u);
  EXPECT_EQ(window.mmio_read(3, 2, 0), 0x5544u);
  window.mmio_write(TestDev::window_size - 1, 1, 0x7f, 0);
  EXPECT_EQ(window.mmio_read(TestDev::window_size - 1, 1, 0), 0x7fu);
}

TEST_F(TestDevTest, StateSurvivesSaveAndLoadWithItsLines) {
  dev->echo().pio_write(0, 4, 0xcafe);
  dev->line_ports().pio_write(3, 1, 1);
  dev->window().mmio_write(100, 4, 77, 0);
  StateWriter out;
  dev->save(out);
  dev->reset();
  EXPECT_FALSE(pin3.level);
  EXPECT_EQ(dev->window().mmio_read(100, 4, 0), 0u);
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && dev->load(*in));
  EXPECT_TRUE(pin3.level);
  EXPECT_EQ(dev->echo().pio_read(0, 4), 0xcafeu);
  EXPECT_EQ(dev->window().mmio_read(100, 4, 0), 77u);
}

TEST(DebugExit, StatusIsTwiceTheValuePlusOneInEightBits) {
  int status = -1;
  DebugExit exit([&](u8 s) { status = s; });
  exit.pio_write(0, 1, 0);
  EXPECT_EQ(status, 1);
  exit.pio_write(0, 4, 0x10);
  EXPECT_EQ(status, 0x21);
  exit.pio_write(0, 4, 0xffff'ffff);
  EXPECT_EQ(status, 0xff);
}

struct StringBackend final : host::CharBackend {
  explicit StringBackend(std::string& text) : text_(text) {}
  void attach(host::CharClient*) override {}
  usize write(std::span<const u8> bytes) override {
    text_.append(bytes.begin(), bytes.end());
    return bytes.size();
  }
  void resume_input() override {}
  void flush() override {}
  std::string& text_;
};

TEST(DebugConsole, WritesGoOutAndReadsTellThatItIsThere) {
  std::string text;
  DebugConsole console(std::make_unique<StringBackend>(text));
  for (const char c : std::string("hi\n")) console.pio_write(0, 1, static_cast<u8>(c));
  EXPECT_EQ(text, "hi\n");
  EXPECT_EQ(console.pio_read(0, 1), 0xe9u);
}

}  // namespace
}  // namespace bhyve::dev
