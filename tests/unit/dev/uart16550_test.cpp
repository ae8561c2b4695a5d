#include "dev/uart/uart16550.hpp"

#include <gtest/gtest.h>

#include <string>

namespace bhyve::dev {
namespace {

using U = Uart16550;

struct UartTest : testing::Test {
  std::string sent;
  bool room = true;
  U uart{[this](u8 b) {
    if (room) sent += static_cast<char>(b);
    return room;
  }};
  u8 cause() { return uart.read(U::iir) & 0x0f; }
  void feed(const std::string& s) {
    for (const char c : s) uart.receive(static_cast<u8>(c));
  }
};

TEST_F(UartTest, ResetStateIsIdleAndEmpty) {
  EXPECT_EQ(uart.read(U::iir), 0x01);
  EXPECT_EQ(uart.read(U::lsr), 0x60);
  EXPECT_EQ(uart.read(U::ier), 0);
  EXPECT_EQ(uart.read(9), 0xff);
  EXPECT_FALSE(uart.interrupt());
}

TEST_F(UartTest, DivisorHidesDataAndInterruptEnable) {
  uart.write(U::lcr, 0x83);
  EXPECT_EQ(uart.read(U::dll), 12);
  uart.write(U::dll, 1);
  uart.write(U::dlm, 2);
  EXPECT_EQ(uart.read(U::dlm), 2);
  uart.write(U::lcr, 3);
  EXPECT_EQ(uart.read(U::ier), 0);
  EXPECT_EQ(sent, "");
}

TEST_F(UartTest, ScratchHoldsAnyByte) {
  uart.write(U::scr, 0xa5);
  EXPECT_EQ(uart.read(U::scr), 0xa5);
}

TEST_F(UartTest, IirShowsFifosOnlyWhileEnabled) {
  uart.write(U::fcr, 1);
  EXPECT_EQ(uart.read(U::iir), 0xc1);
  uart.write(U::fcr, 0);
  EXPECT_EQ(uart.read(U::iir), 0x01);
}

TEST_F(UartTest, ThreInterruptByEnablingIsClearedByReadingIir) {
  uart.write(U::ier, 2);
  EXPECT_TRUE(uart.interrupt());
  EXPECT_EQ(cause(), 0x02);
  EXPECT_EQ(cause(), 0x01);
  uart.write(U::ier, 2);  // no edge
  EXPECT_FALSE(uart.interrupt());
}

TEST_F(UartTest, ThreInterruptComesAgainWhenWrittenDataIsGone) {
  uart.write(U::ier, 2);
  cause();
  uart.write(U::thr, 'a');
  EXPECT_EQ(sent, "a");
  EXPECT_EQ(cause(), 0x02);
}

TEST_F(UartTest, FullBackEndKeepsTransmitterBusyAndLosesNothing) {
  uart.write(U::fcr, 1);
  uart.write(U::ier, 2);
  cause();
  room = false;
  for (int i = 0; i < 16; ++i) uart.write(U::thr, static_cast<u8>('a' + i));
  EXPECT_EQ(uart.read(U::lsr) & 0x60, 0);
  EXPECT_FALSE(uart.interrupt());
  room = true;
  uart.transmit_ready();
  EXPECT_EQ(sent, "abcdefghijklmnop");
  EXPECT_EQ(uart.read(U::lsr) & 0x60, 0x60);
  EXPECT_EQ(cause(), 0x02);
}

TEST_F(UartTest, DataInterruptFollowsTriggerLevel) {
  static constexpr unsigned levels[] = {1, 4, 8, 14};
  for (unsigned i = 0; i < 4; ++i) {
    uart.reset();
    uart.write(U::fcr, static_cast<u8>(1 | i << 6));
    uart.write(U::ier, 1);
    feed(std::string(levels[i] - 1, 'x'));
    EXPECT_FALSE(uart.interrupt()) << i;
    feed("x");
    EXPECT_EQ(cause(), 0x04) << i;
    uart.read(U::rbr);
    EXPECT_FALSE(uart.interrupt()) << i;
  }
}

TEST_F(UartTest, CharactersBelowTheTriggerTimeOut) {
  uart.write(U::fcr, 0xc1);
  uart.write(U::ier, 1);
  feed("ab");
  EXPECT_EQ(cause(), 0x01);
  uart.line_idle();
  EXPECT_EQ(cause(), 0x0c);
  EXPECT_EQ(uart.read(U::rbr), 'a');
  EXPECT_EQ(uart.read(U::rbr), 'b');
  EXPECT_EQ(cause(), 0x01);
}

TEST_F(UartTest, FullFifoOverrunsAndKeepsOldData) {
  uart.write(U::fcr, 1);
  EXPECT_EQ(uart.receive_room(), 16u);
  feed("0123456789abcdef");
  EXPECT_FALSE(uart.can_receive());
  feed("!");
  EXPECT_EQ(uart.read(U::lsr) & 0x03, 0x03);
  EXPECT_EQ(uart.read(U::lsr) & 0x02, 0);  // cleared by reading
  std::string got;
  while ((uart.read(U::lsr) & 1) != 0) got += static_cast<char>(uart.read(U::rbr));
  EXPECT_EQ(got, "0123456789abcdef");
}

TEST_F(UartTest, WithoutFifoOverrunReplacesTheCharacter) {
  feed("ab");
  EXPECT_EQ(uart.read(U::lsr) & 0x03, 0x03);
  EXPECT_EQ(uart.read(U::rbr), 'b');
}

TEST_F(UartTest, LineErrorsAppearWithTheirCharacter) {
  uart.write(U::fcr, 1);
  uart.write(U::ier, 4);
  uart.receive('a');
  uart.receive(0, U::lsr_bi);
  uart.receive('c', U::lsr_pe);
  EXPECT_FALSE(uart.interrupt());
  EXPECT_EQ(uart.read(U::lsr) & 0x9f, 0x81);  // an error somewhere in the FIFO
  uart.read(U::rbr);
  EXPECT_EQ(cause(), 0x06);
  EXPECT_EQ(uart.read(U::lsr) & 0x1e, U::lsr_bi);
  EXPECT_FALSE(uart.interrupt());
  uart.read(U::rbr);
  EXPECT_EQ(uart.read(U::lsr) & 0x1e, U::lsr_pe);
  uart.read(U::rbr);
  EXPECT_EQ(uart.read(U::lsr), 0x60);
}

TEST_F(UartTest, InterruptsAreReportedByPriority) {
  uart.write(U::ier, 0x0f);
  uart.set_modem_lines(0);
  feed("ab");  // overrun and data; the transmitter is empty
  EXPECT_EQ(cause(), 0x06);
  uart.read(U::lsr);
  EXPECT_EQ(cause(), 0x04);
  uart.read(U::rbr);
  EXPECT_EQ(cause(), 0x02);
  EXPECT_EQ(cause(), 0x00);
  uart.read(U::msr);
  EXPECT_EQ(cause(), 0x01);
}

TEST_F(UartTest, ReadingIirClearsThreOnlyWhenItWasReported) {
  uart.write(U::ier, 3);
  feed("a");
  EXPECT_EQ(cause(), 0x04);
  uart.read(U::rbr);
  EXPECT_EQ(cause(), 0x02);
}

TEST_F(UartTest, LoopbackReturnsDataAndModemOutputs) {
  uart.write(U::mcr, 0x10);
  uart.read(U::msr);
  uart.write(U::thr, 0x5a);
  EXPECT_EQ(sent, "");
  EXPECT_EQ(uart.read(U::rbr), 0x5a);
  uart.write(U::mcr, 0x1a);  // RTS, OUT2
  EXPECT_EQ(uart.read(U::msr), U::msr_cts | U::msr_dcd | U::msr_dcts | U::msr_ddcd);
  EXPECT_EQ(uart.read(U::msr), U::msr_cts | U::msr_dcd);
  EXPECT_FALSE(uart.can_receive());
  feed("x");
  EXPECT_EQ(uart.read(U::lsr) & 1, 0);
}

TEST_F(UartTest, RingIndicatorReportsItsTrailingEdgeOnly) {
  uart.set_modem_lines(U::msr_ri);
  EXPECT_EQ(uart.read(U::msr) & U::msr_teri, 0);
  uart.set_modem_lines(0);
  EXPECT_NE(uart.read(U::msr) & U::msr_teri, 0);
}

TEST_F(UartTest, BreakInLoopbackIsReceived) {
  uart.write(U::mcr, 0x10);
  uart.write(U::lcr, 0x40);
  EXPECT_EQ(uart.read(U::lsr) & (U::lsr_bi | U::lsr_dr), U::lsr_bi | U::lsr_dr);
}

TEST_F(UartTest, SaveAndLoadKeepEverything) {
  uart.write(U::fcr, 0x81);
  uart.write(U::ier, 5);
  uart.write(U::scr, 9);
  feed("abc");
  room = false;
  uart.write(U::thr, 'T');
  StateWriter out;
  out.section("u", 1, [&](StateWriter& w) { uart.save(w); });
  std::string later;
  U other([&](u8 b) { return later += static_cast<char>(b), true; });
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in);
  ASSERT_TRUE(in->section("u", 1, [&](StateSection& s) { other.load(s); }));
  other.transmit_ready();
  EXPECT_EQ(later, "T");
  EXPECT_EQ(other.read(U::scr), 9);
  EXPECT_EQ(other.read(U::ier), 5);
  EXPECT_EQ(other.read(U::rbr), 'a');
}

TEST_F(UartTest, LoadRejectsAFifoThatIsTooLong) {
  StateWriter out;
  out.section("u", 1, [&](StateWriter& w) { w.put_u8(17); });
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in);
  EXPECT_FALSE(in->section("u", 1, [&](StateSection& s) { uart.load(s); }));
}

TEST_F(UartTest, AnyAccessSequenceIsSafe) {
  u32 seed = 1;
  for (int i = 0; i < 200000; ++i) {
    seed = seed * 1664525 + 1013904223;
    const unsigned reg = seed >> 28 & 7;
    room = (seed >> 8 & 3) != 0;
    if ((seed >> 27 & 1) != 0)
      uart.write(reg, static_cast<u8>(seed >> 16));
    else
      uart.read(reg);
    if ((seed >> 9 & 3) == 0) uart.receive(static_cast<u8>(seed), static_cast<u8>(seed >> 3));
    if ((seed >> 11 & 7) == 0) uart.transmit_ready();
    ASSERT_LE(uart.receive_room(), 16u);
  }
}

}  // namespace
}  // namespace bhyve::dev
