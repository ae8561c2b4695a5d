#include "loader/detect.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "synthetic_bzimage.hpp"

namespace bhyve::loader {
namespace {

TEST(Detect, TellsImagesByTheirMagic) {
  EXPECT_EQ(detect_image(synthetic_bzimage()), ImageKind::bzimage);
  EXPECT_EQ(detect_image(std::vector<u8>{0x7f, 'E', 'L', 'F', 2, 1}), ImageKind::elf64);
  EXPECT_EQ(detect_image(std::vector<u8>{0x7f, 'E', 'L', 'F', 1, 1}), ImageKind::elf32);
  EXPECT_EQ(detect_image(std::vector<u8>{0x1f, 0x8b, 8}), ImageKind::gzip);
  EXPECT_EQ(detect_image(std::vector<u8>{0xfd, '7', 'z', 'X', 'Z', 0}), ImageKind::xz);
  EXPECT_EQ(detect_image(std::vector<u8>{0x28, 0xb5, 0x2f, 0xfd}), ImageKind::zstd);
  EXPECT_EQ(detect_image(std::vector<u8>{'M', 'Z', 0}), ImageKind::pe);
}

TEST(Detect, AnEfiStubKernelIsABzimageNotAPeFile) {
  std::vector<u8> file = synthetic_bzimage();
  file[0] = 'M';
  file[1] = 'Z';
  EXPECT_EQ(detect_image(file), ImageKind::bzimage);
}

TEST(Detect, ShortInputsAreUnknown) {
  EXPECT_EQ(detect_image({}), ImageKind::unknown);
  EXPECT_EQ(detect_image(std::vector<u8>{0x7f, 'E', 'L', 'F'}), ImageKind::unknown);
  const std::vector<u8> file = synthetic_bzimage();
  EXPECT_EQ(detect_image(std::span(file).first(setup::magic + 3)), ImageKind::unknown);
}

}  // namespace
}  // namespace bhyve::loader
