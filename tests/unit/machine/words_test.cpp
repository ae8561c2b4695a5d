#include "bhyve/words.hpp"

#include <gtest/gtest.h>

namespace bhyve {
namespace {

const std::vector<std::string_view> known{"hostbridge", "lpc", "virtio-net", "virtio-blk", "com1"};

TEST(Words, NearestIsFoundOverEachKindOfSlip) {
  EXPECT_EQ(nearest_word("hostbrige", known), "hostbridge");
  EXPECT_EQ(nearest_word("virtio-bkl", known), "virtio-blk");
  EXPECT_EQ(nearest_word("lpcc", known), "lpc");
  EXPECT_EQ(nearest_word("virtio_net", known), "virtio-net");
}

TEST(Words, NothingIsNearToAStrangeWord) {
  EXPECT_EQ(nearest_word("frobnicate", known), "");
  EXPECT_EQ(nearest_word("", known), "");
  EXPECT_EQ(nearest_word(std::string(1000, 'x'), known), "");
  EXPECT_EQ(did_you_mean("xyz", known), "");
  EXPECT_EQ(did_you_mean("lpd", known), ", did you mean 'lpc'?");
}

}  // namespace
}  // namespace bhyve
