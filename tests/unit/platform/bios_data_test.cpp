#include "platform/bios_data.hpp"

#include <gtest/gtest.h>

#include <map>

#include "base/bytes.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

TEST(BiosData, TellsOfPortsAndBaseMemory) {
  std::map<u64, std::vector<u8>> at;
  for (const auto& blob : make_bios_data({true, false, true, false})) at[blob.address.value()] = blob.bytes;
  const auto& area = at.at(0x400);
  EXPECT_EQ(load_le<u16>(area, 0), 0x3f8);
  EXPECT_EQ(load_le<u16>(area, 2), 0);
  EXPECT_EQ(load_le<u16>(area, 4), 0x3e8);
  EXPECT_EQ(load_le<u16>(area, 0xe) << 4, static_cast<int>(layout::ebda.value()));
  EXPECT_EQ(load_le<u16>(area, 0x13), 639);
  EXPECT_EQ(load_le<u16>(area, 0x10) >> 9 & 7, 2);
  EXPECT_EQ(at.at(layout::ebda.value()).front(), 1);
}

TEST(BiosData, EveryVectorLeadsToAStub) {
  const auto blobs = make_bios_data({});
  const auto& vectors = blobs.front().bytes;
  const auto& stubs = blobs.back();
  ASSERT_EQ(vectors.size(), 1024u);
  for (usize n = 0; n < 256; ++n) {
    const u64 target = u64{load_le<u16>(vectors, 4 * n + 2)} * 16 + load_le<u16>(vectors, 4 * n);
    ASSERT_GE(target, stubs.address.value());
    ASSERT_LT(target, stubs.address.value() + stubs.bytes.size());
  }
  EXPECT_EQ(stubs.bytes.front(), 0xcf);
  EXPECT_EQ(stubs.bytes.back(), 0xcf);
}

}  // namespace
}  // namespace bhyve::platform
