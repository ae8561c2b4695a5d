#include "loader/bzimage_header.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "synthetic_bzimage.hpp"

namespace bhyve::loader {
namespace {

std::string error_of(const std::vector<u8>& file) {
  const Result<BzimageHeader> header = parse_bzimage("kernel k", file);
  if (header) return "accepted";
  EXPECT_EQ(header.error().code, ENOEXEC);
  EXPECT_EQ(header.error().message.find("kernel k: "), 0u) << header.error().message;
  EXPECT_EQ(header.error().message.find('\n'), std::string::npos);
  return header.error().message.substr(10);
}

template <class T>
std::vector<u8> with(usize offset, T value) {
  std::vector<u8> file = synthetic_bzimage();
  store_le<T>(file, offset, value);
  return file;
}

TEST(BzimageHeader, ACorrectFileGivesItsParts) {
  const BzimageHeader header = parse_bzimage("k", synthetic_bzimage()).value();
  EXPECT_EQ(header.header_end, 0x26cu);
  EXPECT_EQ(header.payload_offset, 1536u);
  EXPECT_EQ(header.payload_size, 4096u);
  EXPECT_EQ(header.load_address, 16 * MiB);
  EXPECT_EQ(header.init_size, 1 * MiB);
  EXPECT_TRUE(header.initrd_above_4g);
}

TEST(BzimageHeader, ZeroSetupSectorsMeansFour) {
  std::vector<u8> file = with<u8>(setup::setup_sects, 0);
  file.resize(file.size() + 1024);
  EXPECT_EQ(parse_bzimage("k", file)->payload_offset, 2560u);
}

TEST(BzimageHeader, ARelocatableKernelIsAlignedUpAndAnotherIsNot) {
  EXPECT_EQ(parse_bzimage("k", with<u64>(setup::pref_address, 17 * MiB))->load_address, 18 * MiB);
  std::vector<u8> fixed = with<u64>(setup::pref_address, 17 * MiB);
  fixed[setup::relocatable_kernel] = 0;
  EXPECT_EQ(parse_bzimage("k", fixed)->load_address, 17 * MiB);
}

TEST(BzimageHeader, EveryShorterFileIsRefused) {
  const std::vector<u8> file = synthetic_bzimage();
  // Up to 15 bytes less is a last paragraph that is not full.
  for (usize size = 0; size <= file.size() - 16; ++size) {
    ASSERT_FALSE(parse_bzimage("k", std::span(file).first(size))) << size;
  }
  EXPECT_TRUE(parse_bzimage("k", std::span(file).first(file.size() - 15)));
}

TEST(BzimageHeader, ASignatureBehindTheKernelIsLeftOut) {
  std::vector<u8> file = synthetic_bzimage();
  file.resize(file.size() + 3000, 0xcc);
  EXPECT_EQ(parse_bzimage("k", file)->payload_size, 4096u);
}

TEST(BzimageHeader, WithoutA64BitEntryPointThe32BitOneMovesWithTheKernel) {
  std::vector<u8> file = with<u16>(setup::xloadflags, 0);
  store_le<u32>(file, setup::code32_start, 1 * MiB + 0x40);
  const BzimageHeader header = parse_bzimage("k", file).value();
  EXPECT_FALSE(header.has_entry_64);
  EXPECT_EQ(header.entry_32, 16 * MiB + 0x40);
}

TEST(BzimageHeader, OldProtocolsLoadAtOneMegabyteWithTheLimitsOfTheirTime) {
  std::vector<u8> file = with<u16>(setup::version, 0x202);
  store_le<u32>(file, setup::code32_start, 1 * MiB);
  const BzimageHeader header = parse_bzimage("k", file).value();
  EXPECT_EQ(header.load_address, 1 * MiB);
  EXPECT_EQ(header.entry_32, 1 * MiB);
  EXPECT_EQ(header.init_size, header.payload_size);
  EXPECT_EQ(header.initrd_addr_max, 0x37ff'ffffu);
  EXPECT_EQ(header.cmdline_size, 255u);
  EXPECT_FALSE(header.initrd_above_4g);
}

TEST(BzimageHeader, OtherFilesAreNamedForWhatTheyAre) {
  EXPECT_EQ(error_of({0x7f, 'E', 'L', 'F', 2}),
            "is an ELF file (64-bit), expected a Linux bzImage");
  EXPECT_EQ(error_of({1, 2, 3}), "is no known image, expected a Linux bzImage");
}

TEST(BzimageHeader, WrongFieldsGetTheirOwnSentence) {
  EXPECT_EQ(error_of(with<u16>(setup::version, 0x201)),
            "boot protocol 2.01, expected 2.02 or newer");
  EXPECT_EQ(error_of(with<u16>(setup::xloadflags, 0)),
            "its 32-bit entry point 0x0 lies outside of it");
  EXPECT_EQ(error_of(with<u8>(setup::loadflags, 0)),
            "is a zImage for conventional memory, expected a bzImage");
  EXPECT_EQ(error_of(with<u16>(setup::boot_flag, 0)),
            "the bzImage header is cut short or has no boot flag");
  EXPECT_EQ(error_of(with<u8>(setup::jump + 1, 0x10)), "the bzImage header has a wrong length");
  EXPECT_EQ(error_of(with<u8>(setup::setup_sects, 0xff)), "is cut short: 5632 bytes, expected 135168");
  EXPECT_EQ(error_of(with<u32>(setup::syssize, 0xffff'ffff)),
            "is cut short: 5632 bytes, expected 68719478256");
  EXPECT_EQ(error_of(with<u32>(setup::syssize, 0)), "has no kernel behind its header");
  EXPECT_EQ(error_of(with<u64>(setup::pref_address, ~u64{0})),
            "wants to be at 0xffffffffffffffff, expected 1 MiB to 4 GiB");
  EXPECT_EQ(error_of(with<u64>(setup::pref_address, 0x8000)),
            "wants to be at 0x8000, expected 1 MiB to 4 GiB");
  EXPECT_EQ(error_of(with<u32>(setup::kernel_alignment, 0x300000)),
            "wants an alignment of 0x300000, expected a power of two");
  EXPECT_EQ(error_of(with<u32>(setup::init_size, 100)),
            "init_size 100 is below the kernel's 4096 bytes");
}

}  // namespace
}  // namespace bhyve::loader
