#include "platform/uuid.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "platform/md5.hpp"

namespace bhyve::platform {
namespace {

std::array<u8, 16> md5_of(const std::string& s) { return md5(std::vector<u8>(s.begin(), s.end())); }

TEST(Md5, GivesTheDigestsOfRfc1321) {
  EXPECT_EQ(md5_of(""), parse_uuid("d41d8cd9-8f00-b204-e980-0998ecf8427e"));
  EXPECT_EQ(md5_of("abc"), parse_uuid("90015098-3cd2-4fb0-d696-3f7d28e17f72"));
  EXPECT_EQ(md5_of("1234567890123456789012345678901234567890123456789012345678901234567890"
                   "1234567890"),
            parse_uuid("57edf4a2-2be3-c955-ac49-da2e2107b67a"));
}

TEST(Uuid, NamesGiveVersion3OfTheDnsNameSpace) {
  EXPECT_EQ(uuid_from_name("python.org"), parse_uuid("6fa459ea-ee8a-3ca4-894e-db77e160355e"));
}

TEST(Uuid, TextIsReadInEitherCaseAndRefusedWhenMalformed) {
  EXPECT_EQ(parse_uuid("6FA459EA-ee8a-3ca4-894e-db77e160355e"), uuid_from_name("python.org"));
  EXPECT_FALSE(parse_uuid(""));
  EXPECT_FALSE(parse_uuid("6fa459ea-ee8a-3ca4-894e-db77e160355"));
  EXPECT_FALSE(parse_uuid("6fa459eaeee8a-3ca4-894e-db77e160355e"));
  EXPECT_FALSE(parse_uuid("6fa459eg-ee8a-3ca4-894e-db77e160355e"));
}

}  // namespace
}  // namespace bhyve::platform
