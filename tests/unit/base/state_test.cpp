#include "base/state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace bhyve {
namespace {

using testing::HasSubstr;

std::vector<u8> sample() {
  StateWriter out;
  out.section("vlapic.0", 1, [](StateWriter& w) {
    w.put_u8(0x12);
    w.put_u16(0x3456);
    w.put_u32(0x789abcde);
    w.put_u64(0x1122334455667788);
    w.put_bool(true);
    w.put_string("name");
    w.put_bytes(std::array<u8, 3>{1, 2, 3});
  });
  out.section("empty", 2, [](StateWriter&) {});
  return out.bytes();
}

/// Runs `body` on a section of `bytes`; returns the error's sentence, or "" if it succeeded.
std::string read(const std::vector<u8>& bytes, std::string_view name, u32 max_version,
                 const std::function<void(StateSection&)>& body) {
  const Result<StateReader> reader = StateReader::parse(bytes);
  if (!reader) return reader.error().message;
  const Result<void> result = reader->section(name, max_version, body);
  return result ? "" : result.error().message;
}

/// The one-section file whose body is `put`.
std::vector<u8> file(const std::function<void(StateWriter&)>& put) {
  StateWriter out;
  out.section("s", 1, put);
  return out.bytes();
}

TEST(State, RoundTripKeepsEveryKindOfValue) {
  const std::vector<u8> bytes = sample();
  EXPECT_EQ(read(bytes, "vlapic.0", 1, [](StateSection& s) {
    EXPECT_EQ(s.version(), 1u);
    EXPECT_EQ(s.get_u8(), 0x12);
    EXPECT_EQ(s.get_u16(), 0x3456);
    EXPECT_EQ(s.get_u32(), 0x789abcdeu);
    EXPECT_EQ(s.get_u64(), 0x1122334455667788u);
    EXPECT_TRUE(s.get_bool());
    EXPECT_EQ(s.get_string(4), "name");
    std::array<u8, 3> raw{};
    s.get_bytes(raw);
    EXPECT_EQ(raw, (std::array<u8, 3>{1, 2, 3}));
  }), "");
}

TEST(State, IntegersAreLittleEndian) {
  const std::vector<u8> bytes = file([](StateWriter& w) { w.put_u32(0x04030201); });
  EXPECT_EQ(std::vector<u8>(bytes.end() - 4, bytes.end()), (std::vector<u8>{1, 2, 3, 4}));
}

TEST(State, FileWithoutSectionsIsValid) {
  const std::vector<u8> bytes = StateWriter().bytes();
  const Result<StateReader> reader = StateReader::parse(bytes);
  ASSERT_TRUE(reader.has_value());
  EXPECT_FALSE(reader->has("vlapic.0"));
}

TEST(State, EveryTruncationIsRefused) {
  const std::vector<u8> bytes = sample();
  for (usize n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(StateReader::parse(std::span(bytes).first(n)).has_value()) << n;
}

TEST(State, EveryBitFlipIsRefused) {
  std::vector<u8> bytes = sample();
  for (usize n = 0; n < bytes.size() * 8; ++n) {
    bytes[n / 8] ^= static_cast<u8>(1u << n % 8);
    EXPECT_FALSE(StateReader::parse(bytes).has_value()) << "bit " << n;
    bytes[n / 8] ^= static_cast<u8>(1u << n % 8);
  }
  EXPECT_TRUE(StateReader::parse(bytes).has_value());
}

TEST(State, BytesAfterTheEndAreRefused) {
  std::vector<u8> bytes = sample();
  bytes.push_back(0);
  EXPECT_FALSE(StateReader::parse(bytes).has_value());
}

TEST(State, WrongChecksumNamesTheSection) {
  std::vector<u8> bytes = file([](StateWriter& w) { w.put_u32(1); });
  bytes.back() ^= 1;
  EXPECT_THAT(StateReader::parse(bytes).error().message,
              HasSubstr("wrong checksum of the section"));
}

TEST(State, NameUsedTwiceIsRefused) {
  StateWriter out;
  out.section("pit", 1, [](StateWriter&) {});
  out.section("pit", 1, [](StateWriter&) {});
  EXPECT_THAT(StateReader::parse(out.bytes()).error().message, HasSubstr("'pit' appears twice"));
}

TEST(State, UnknownSectionIsSkipped) {
  StateWriter out;
  out.section("from.the.future", 99, [](StateWriter& w) { w.put_u64(1); });
  out.section("pit", 1, [](StateWriter& w) { w.put_u8(7); });
  EXPECT_EQ(read(out.bytes(), "pit", 1, [](StateSection& s) { EXPECT_EQ(s.get_u8(), 7); }), "");
}

TEST(State, MissingSectionIsNamed) {
  EXPECT_THAT(read(sample(), "vrtc", 1, [](StateSection&) {}), HasSubstr("'vrtc' is missing"));
}

TEST(State, NewerVersionIsRefusedAndOlderIsHandedOut) {
  EXPECT_THAT(read(sample(), "empty", 1, [](StateSection&) {}), HasSubstr("has version 2"));
  EXPECT_EQ(read(sample(), "empty", 3, [](StateSection& s) { EXPECT_EQ(s.version(), 2u); }), "");
}

TEST(State, LeftOverBytesAreRefused) {
  const std::vector<u8> bytes = file([](StateWriter& w) { w.put_u16(1); });
  EXPECT_THAT(read(bytes, "s", 1, [](StateSection& s) { s.get_u8(); }),
              HasSubstr("1 bytes too many"));
}

TEST(State, ReadingPastTheEndFailsAndGivesZero) {
  const std::vector<u8> bytes = file([](StateWriter& w) { w.put_u8(0xff); });
  EXPECT_THAT(read(bytes, "s", 1, [](StateSection& s) {
    EXPECT_EQ(s.get_u16(), 0);
    EXPECT_FALSE(s.ok());
    EXPECT_EQ(s.get_u8(), 0) << "after a failure every get gives zero";
    std::array<u8, 2> raw{9, 9};
    s.get_bytes(raw);
    EXPECT_EQ(raw, (std::array<u8, 2>{0, 0}));
  }), HasSubstr("bad contents"));
}

TEST(State, BadBoolStringAndRejectedValueFail) {
  const std::vector<u8> two = file([](StateWriter& w) { w.put_u8(2); });
  EXPECT_NE(read(two, "s", 1, [](StateSection& s) { EXPECT_FALSE(s.get_bool()); }), "");
  const std::vector<u8> text = file([](StateWriter& w) { w.put_string("abcd"); });
  EXPECT_NE(read(text, "s", 1, [](StateSection& s) { EXPECT_EQ(s.get_string(3), ""); }), "");
  const std::vector<u8> lie = file([](StateWriter& w) { w.put_u32(0xffffffff); });
  EXPECT_NE(read(lie, "s", 1, [](StateSection& s) { EXPECT_EQ(s.get_string(~usize{0}), ""); }), "");
  EXPECT_NE(read(two, "s", 1, [](StateSection& s) { s.get_u8(); s.reject(); }), "");
}

}  // namespace
}  // namespace bhyve
