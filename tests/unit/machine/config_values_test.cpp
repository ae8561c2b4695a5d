#include <gtest/gtest.h>

#include "base/types.hpp"
#include "bhyve/config.hpp"

namespace bhyve {
namespace {

TEST(ConfigValues, BooleansHaveFourSpellingsEach) {
  for (const char* text : {"true", "on", "yes", "1", "TRUE"}) EXPECT_EQ(parse_bool(text), true);
  for (const char* text : {"false", "off", "no", "0", "No"}) EXPECT_EQ(parse_bool(text), false);
  for (const char* text : {"", "2", "tru", "enable"}) EXPECT_FALSE(parse_bool(text)) << text;
}

TEST(ConfigValues, IntegersAreDecimalHexadecimalOrOctal) {
  EXPECT_EQ(parse_integer("42"), 42u);
  EXPECT_EQ(parse_integer("0x2a"), 42u);
  EXPECT_EQ(parse_integer("052"), 42u);
  EXPECT_EQ(parse_integer("0"), 0u);
  EXPECT_EQ(parse_integer("18446744073709551615"), ~u64{0});
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "0x", "08", "18446744073709551616", "1e3"})
    EXPECT_FALSE(parse_integer(text)) << text;
}

TEST(ConfigValues, BareMemorySizeIsMegabytesBelowOneMebi) {
  EXPECT_EQ(parse_memory_size("256"), 256 * MiB);
  EXPECT_EQ(parse_memory_size("1048575"), 1048575 * MiB);
  EXPECT_EQ(parse_memory_size("1048576"), MiB);
}

TEST(ConfigValues, MemorySizeSuffixes) {
  EXPECT_EQ(parse_memory_size("64k"), 64 * KiB);
  EXPECT_EQ(parse_memory_size("64K"), 64 * KiB);
  EXPECT_EQ(parse_memory_size("512m"), 512 * MiB);
  EXPECT_EQ(parse_memory_size("3G"), 3 * GiB);
  EXPECT_EQ(parse_memory_size("2t"), 2048 * GiB);
  for (const char* text : {"", "G", "12Q", "1GB", "-1G", "1.5G", "99999999999T"})
    EXPECT_FALSE(parse_memory_size(text)) << text;
}

TEST(ConfigValues, NumberSetsTakeRanges) {
  EXPECT_EQ(parse_number_set("0,2-5,3", 16), (std::vector<unsigned>{0, 2, 3, 4, 5}));
  for (const char* text : {"", "1,", "5-2", "16", "0-16", "a", "1--2", "0-18446744073709551615"})
    EXPECT_FALSE(parse_number_set(text, 16)) << text;
}

}  // namespace
}  // namespace bhyve
