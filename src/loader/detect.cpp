#include "loader/detect.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace bhyve::loader {
namespace {

struct Magic {
  usize offset;
  std::string_view bytes;
  ImageKind kind;
};

/// In this order: a bzImage with an EFI stub is a PE file as well.
constexpr std::array magics{
    Magic{0x202, "HdrS", ImageKind::bzimage},
    Magic{0, "\x7f" "ELF\x01", ImageKind::elf32},
    Magic{0, "\x7f" "ELF\x02", ImageKind::elf64},
    Magic{0, "MZ", ImageKind::pe},
    Magic{0, "\x1f\x8b", ImageKind::gzip},
    Magic{0, "\xfd" "7zXZ", ImageKind::xz},
    Magic{0, "\x28\xb5\x2f\xfd", ImageKind::zstd},
};

bool holds(std::span<const u8> bytes, const Magic& magic) {
  if (bytes.size() < magic.offset + magic.bytes.size()) return false;
  return std::equal(magic.bytes.begin(), magic.bytes.end(),
                    bytes.begin() + static_cast<std::ptrdiff_t>(magic.offset),
                    [](char a, u8 b) { return static_cast<u8>(a) == b; });
}

}  // namespace

ImageKind detect_image(std::span<const u8> bytes) {
  const auto* found = std::find_if(magics.begin(), magics.end(),
                                   [bytes](const Magic& m) { return holds(bytes, m); });
  return found == magics.end() ? ImageKind::unknown : found->kind;
}

std::string_view describe(ImageKind kind) {
  switch (kind) {
    case ImageKind::bzimage: return "a Linux bzImage";
    case ImageKind::elf32: return "an ELF file (32-bit)";
    case ImageKind::elf64: return "an ELF file (64-bit)";
    case ImageKind::pe: return "a PE/EFI program";
    case ImageKind::gzip: return "a gzip file";
    case ImageKind::xz: return "an xz file";
    case ImageKind::zstd: return "a zstd file";
    case ImageKind::unknown: break;
  }
  return "no known image";
}

}  // namespace bhyve::loader
