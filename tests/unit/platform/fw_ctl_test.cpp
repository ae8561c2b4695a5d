#include "platform/fw_ctl.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <span>
#include <string>

namespace bhyve::platform {
namespace {

struct FwCtlTest : testing::Test {
  FwCtl ctl;
  FwCtlTest() { ctl.set_value("hw.ncpu", {5, 0, 0, 0}); }
  void identify() {
    ctl.select(0);
    std::string text;
    for (int i = 0; i < 4; ++i) text += static_cast<char>(ctl.next_byte());
    EXPECT_EQ(text, "BHYV");
  }
  /// Sends a request with a text as its data and takes the whole answer.
  std::vector<u32> ask(u32 operation, const std::string& text) {
    ctl.write(static_cast<u32>(12 + text.size()));
    ctl.write(operation);
    ctl.write(0x77);
    for (usize at = 0; at < text.size(); at += 4) {
      u32 word = 0;
      for (usize i = 0; i < 4 && at + i < text.size(); ++i)
        word |= u32{static_cast<u8>(text[at + i])} << (8 * i);
      ctl.write(word);
    }
    std::vector<u32> answer{ctl.read()};
    for (u32 left = answer[0] / 4; left > 1 && left < 100; --left) answer.push_back(ctl.read());
    return answer;
  }
};

TEST_F(FwCtlTest, NothingAnswersBeforeTheSignatureWasRead) {
  EXPECT_EQ(ctl.next_byte(), 0xff);
  EXPECT_EQ(ctl.read(), ~u32{0});
  ctl.write(12);
  EXPECT_EQ(ctl.read(), ~u32{0});
}

TEST_F(FwCtlTest, GetGivesSizeAndValue) {
  identify();
  using Words = std::vector<u32>;
  EXPECT_EQ(ask(FwCtl::op_get, std::string("hw.ncpu\0", 8)), (Words{28, 3, 0x77, 0, 4, 0, 5}));
  EXPECT_EQ(ask(FwCtl::op_get_length, std::string("hw.ncpu\0", 8)), (Words{24, 4, 0x77, 0, 4, 0}));
  EXPECT_EQ(ctl.read(), ~u32{0});
}

TEST_F(FwCtlTest, UnknownNamesAndOperationsAreErrors) {
  identify();
  using Words = std::vector<u32>;
  EXPECT_EQ(ask(FwCtl::op_get, std::string("hw.none\0", 8)), (Words{16, 3, 0x77, ENOENT}));
  EXPECT_EQ(ask(2, "abcd"), (Words{16, 2, 0x77, ENOENT}));
  EXPECT_EQ(ask(FwCtl::op_get, std::string(84, 'x')), (Words{16, 3, 0x77, E2BIG}));
  EXPECT_EQ(ask(FwCtl::op_get, std::string("hw.ncpu\0", 8))[3], 0u);
}

TEST_F(FwCtlTest, SelectingStartsOver) {
  identify();
  ctl.write(20);
  ctl.write(FwCtl::op_get);
  identify();
  EXPECT_EQ(ask(FwCtl::op_get, std::string("hw.ncpu\0", 8)).back(), 5u);
}

TEST_F(FwCtlTest, AnyWordsAreTaken) {
  std::mt19937 random(3);
  for (int i = 0; i < 200'000; ++i) {
    switch (random() % 4) {
      case 0: ctl.select(static_cast<u16>(random() % 3)); break;
      case 1: (void)ctl.next_byte(); break;
      case 2: ctl.write(random() % 2 ? random() % 64 : static_cast<u32>(random())); break;
      default: (void)ctl.read(); break;
    }
  }
  identify();
  EXPECT_EQ(ask(FwCtl::op_get, std::string("hw.ncpu\0", 8)).back(), 5u);
}

TEST_F(FwCtlTest, AnAnswerIsSavedInTheMiddle) {
  identify();
  ctl.write(20), ctl.write(FwCtl::op_get), ctl.write(1);
  ctl.write(0x6e2e7768), ctl.write(0x00757063);
  EXPECT_EQ(ctl.read(), 28u);
  StateWriter out;
  out.section("x", 1, [this](StateWriter& w) { ctl.save(w); });
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in);
  FwCtl other;
  ASSERT_TRUE(in->section("x", 1, [&](StateSection& s) { other.load(s); }));
  EXPECT_EQ(other.read(), 3u);
  for (int i = 0; i < 4; ++i) (void)other.read();
  EXPECT_EQ(other.read(), 5u);
}

}  // namespace
}  // namespace bhyve::platform
