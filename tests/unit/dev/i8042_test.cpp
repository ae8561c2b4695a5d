#include <gtest/gtest.h>

#include "dev/ps2/i8042_lpc.hpp"
#include "fakes.hpp"

namespace bhyve::dev {
namespace {

struct I8042Test : testing::Test {
  test::FakePin kbd, aux;
  int resets = 0;
  I8042Lpc chip{kbd, aux, [this] { ++resets; }};
  void command(u8 v) { chip.command_port().pio_write(0, 1, v); }
  void data(u8 v) { chip.data_port().pio_write(0, 1, v); }
  u8 read() { return static_cast<u8>(chip.data_port().pio_read(0, 1)); }
  u8 status() { return static_cast<u8>(chip.command_port().pio_read(0, 1)); }
  void command_byte(u8 v) {
    command(0x60);
    data(v);
  }
};

TEST_F(I8042Test, SelfAndInterfaceTestsPass) {
  EXPECT_EQ(status() & 0x05, 0);
  command(0xaa);
  EXPECT_EQ(status() & 0x05, 0x05);
  EXPECT_EQ(read(), 0x55);
  command(0xab);
  EXPECT_EQ(read(), 0);
  command(0xa9);
  EXPECT_EQ(read(), 0);
  EXPECT_EQ(status() & 0x01, 0);
}

TEST_F(I8042Test, CommandByteAndRamReadBack) {
  command_byte(0x47);
  command(0x20);
  EXPECT_EQ(read(), 0x47);
  command(0x7f);
  data(0x99);
  command(0x3f);
  EXPECT_EQ(read(), 0x99);
}

TEST_F(I8042Test, EvenPulsesOfLineZeroReset) {
  command(0xff);
  EXPECT_EQ(resets, 0);
  command(0xfe);
  EXPECT_EQ(resets, 1);
  command(0xd1);
  data(0x02);
  EXPECT_EQ(resets, 2);
  command(0xd1);
  data(0x03);
  EXPECT_EQ(resets, 2);
}

TEST_F(I8042Test, KeyboardAnswersResetAndIdentifyWithOneEdgeAByte) {
  command_byte(0x01);
  kbd.edges = 0;
  data(0xff);
  EXPECT_EQ(read(), 0xfa);
  EXPECT_EQ(read(), 0xaa);
  EXPECT_EQ(kbd.edges, 2);
  data(0xf2);
  EXPECT_EQ(read(), 0xfa);
  EXPECT_EQ(read(), 0xab);
  EXPECT_EQ(read(), 0x83);
  EXPECT_FALSE(kbd.level);
}

TEST_F(I8042Test, TranslationTurnsSetTwoIntoSetOne) {
  command_byte(0x41);
  static constexpr u8 a_down_up[] = {0x1c, 0xf0, 0x1c};
  chip.key(a_down_up);
  EXPECT_EQ(read(), 0x1e);
  EXPECT_EQ(read(), 0x9e);
  EXPECT_EQ(status() & 1, 0);
}

TEST_F(I8042Test, DisabledKeyboardHoldsItsBytes) {
  command_byte(0x01);
  command(0xad);
  static constexpr u8 code[] = {0x1c};
  chip.key(code);
  EXPECT_EQ(status() & 1, 0);
  command(0xae);
  EXPECT_EQ(read(), 0x1c);
}

TEST_F(I8042Test, MouseAnswersThroughTheAuxiliaryPort) {
  command_byte(0x02);
  command(0xd4);
  data(0xff);
  EXPECT_EQ(status() & 0x21, 0x21);
  EXPECT_TRUE(aux.level);
  EXPECT_EQ(read(), 0xfa);
  EXPECT_EQ(read(), 0xaa);
  EXPECT_EQ(read(), 0x00);
  command(0xd3);
  data(0x5a);
  EXPECT_EQ(status() & 0x21, 0x21);
  EXPECT_EQ(read(), 0x5a);
}

TEST_F(I8042Test, AnswersOfTheControllerWaitForAByteThatWasNotRead) {
  command_byte(0x01);
  static constexpr u8 codes[] = {0x1c, 0x1d};
  chip.key(codes);
  command(0x20);  // the command byte, while a key waits
  EXPECT_EQ(read(), 0x1c);
  EXPECT_EQ(read(), 0x01) << "before what the keyboard has yet";
  EXPECT_EQ(read(), 0x1d);
  EXPECT_EQ(status() & 1, 0);
  chip.key(codes);
  command(0xd3);
  data(0x77);
  StateWriter out;
  chip.save(out);
  chip.reset();
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && chip.load(*in));
  EXPECT_EQ(read(), 0x1c);
  EXPECT_EQ(status() & 0x21, 0x21);
  EXPECT_EQ(read(), 0x77);
  EXPECT_EQ(read(), 0x1d);
}

TEST_F(I8042Test, StateOfTheFirstVersionIsRead) {
  StateWriter out;
  out.section("i8042", 1, [](StateWriter& w) {
    I8042 old({});
    old.write_command(0x60);
    old.write_data(0x01);
    old.write_command(0xab);
    StateWriter now;
    now.section("x", 2, [&](StateWriter& body) { old.save(body); });
    constexpr usize held = 3;  // bytes that version 2 has behind those of version 1
    std::vector<u8> body;
    const auto reader = StateReader::parse(now.bytes());
    ASSERT_TRUE(reader);
    ASSERT_TRUE(reader->section("x", 2, [&](StateSection& s) {
      body.resize(s.remaining());
      s.get_bytes(body);
    }));
    w.put_bytes(std::span(body).first(body.size() - held));
  });
  command(0x20);
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && chip.load(*in));
  EXPECT_EQ(read(), 0x00) << "the interface test's answer";
  EXPECT_EQ(status() & 1, 0);
}

TEST(I8042, AbsentMouseTimesOut) {
  I8042 chip({}, false);
  chip.write_command(0xd4);
  chip.write_data(0xf4);
  EXPECT_EQ(chip.read_status() & 0x61, 0x61);
  EXPECT_EQ(chip.read_data(), 0xfe);
  EXPECT_EQ(chip.read_status() & 0x61, 0);
}

TEST_F(I8042Test, WaitingBytesSurviveSaveAndLoad) {
  command_byte(0x01);
  data(0xf2);
  StateWriter out;
  chip.save(out);
  chip.reset();
  EXPECT_EQ(status() & 1, 0);
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && chip.load(*in));
  EXPECT_TRUE(kbd.level);
  EXPECT_EQ(read(), 0xfa);
  EXPECT_EQ(read(), 0xab);
  EXPECT_EQ(read(), 0x83);
}

TEST_F(I8042Test, AnyAccessSequenceIsSafe) {
  u32 seed = 7;
  for (int i = 0; i < 200000; ++i) {
    seed = seed * 1664525 + 1013904223;
    const auto v = static_cast<u8>(seed >> 16);
    switch (seed >> 28 & 3) {
      case 0: command(v); break;
      case 1: data(v); break;
      case 2: read(); break;
      default: status(); break;
    }
  }
  command(0xaa);
  EXPECT_EQ(read(), 0x55);
}

}  // namespace
}  // namespace bhyve::dev
