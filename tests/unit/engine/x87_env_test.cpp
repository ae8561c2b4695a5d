#include "engine/soft/replay/x87_env.hpp"

#include <gtest/gtest.h>

#include "engine/soft/replay/xsave_format.hpp"

namespace bhyve::soft {
namespace {

TEST(X87Environment, FullTagsAreThoseOfTheHost) {
  alignas(16) u8 image[512] = {};
  u8 env[28] = {};
  const double values[] = {0.0, -1.5, 1e-320, __builtin_inf()};
  asm volatile(
      "fninit\n\tfldl %2\n\tfldl %3\n\tfldl %4\n\tfldl %5\n\t"
      "fxsave64 %0\n\tfnstenv %1\n\tfninit"
      : "=m"(image), "=m"(env)
      : "m"(values[0]), "m"(values[1]), "m"(values[2]), "m"(values[3])
      : "memory");
  const auto& x87 = *reinterpret_cast<const LegacyRegion*>(image);
  u16 tags;
  std::memcpy(&tags, env + 8, 2);
  EXPECT_EQ(full_tags(x87), tags);
  EXPECT_EQ(abridged_tags(tags), x87.head.ftw);
}

TEST(X87Environment, EveryFormatReadsBackWhatItHolds) {
  const X87Environment e{
      .fcw = 0x27f, .fsw = 0x3801, .tags = 0x3fff, .fip = 0xa1234, .fdp = 0xb5678, .fop = 0x5d9};
  for (const bool wide : {false, true})
    for (const bool real : {false, true}) {
      const X87Format format{wide, real};
      u8 image[28];
      e.encode(format, image);
      const X87Environment back = X87Environment::decode(format, image);
      EXPECT_EQ(back.fcw, e.fcw);
      EXPECT_EQ(back.fsw, e.fsw);
      EXPECT_EQ(back.tags, e.tags);
      EXPECT_EQ(back.fip, wide || real ? e.fip : e.fip & 0xffff);
      EXPECT_EQ(back.fdp, wide || real ? e.fdp : e.fdp & 0xffff);
      EXPECT_EQ(back.fop, wide || real ? e.fop : 0);
    }
}

TEST(X87Environment, SummaryBitsFollowTheUnmaskedExceptions) {
  EXPECT_EQ(with_summary(0x0001, 0x037e), 0x8081);
  EXPECT_EQ(with_summary(0x8081, 0x037f), 0x0001);
}

TEST(XsaveImage, CompactedComponentsFollowEachOther) {
  const XsaveImage image = XsaveImage::compacted(0x87);
  EXPECT_EQ(image.offset[2], 576);
  EXPECT_EQ(image.offset[7], 832);
  EXPECT_EQ(image.size, 832 + 1024);
  EXPECT_EQ(XsaveImage::standard(0x83).size, 1664 + 1024);
}

TEST(XsaveHeader, ReservedBitsMakeItInvalid) {
  const u64 xcr0 = 0xe7;
  EXPECT_TRUE(xsave_header_valid({7, 0, {}}, xcr0, true, false));
  EXPECT_FALSE(xsave_header_valid({8, 0, {}}, xcr0, true, false));
  EXPECT_FALSE(xsave_header_valid({7, 7, {}}, xcr0, true, false)) << "XCOMP_BV in standard format";
  EXPECT_TRUE(xsave_header_valid({7, 0, {0, 1}}, xcr0, true, false)) << "bytes 63:24 are ignored";
  EXPECT_FALSE(xsave_header_valid({7, 0, {}}, xcr0, true, true)) << "XRSTORS takes compacted only";
  const u64 compacted = xcomp_compacted | 7;
  EXPECT_TRUE(xsave_header_valid({3, compacted, {}}, xcr0, true, true));
  EXPECT_FALSE(xsave_header_valid({3, compacted, {}}, xcr0, false, false));
  EXPECT_FALSE(xsave_header_valid({0x27, compacted, {}}, xcr0, true, false));
  EXPECT_FALSE(xsave_header_valid({3, compacted | 8, {}}, xcr0, true, false));
  EXPECT_FALSE(xsave_header_valid({3, compacted, {0, 1}}, xcr0, true, false));
}

}  // namespace
}  // namespace bhyve::soft
