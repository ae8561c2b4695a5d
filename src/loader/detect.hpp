#pragma once
#include <span>
#include <string_view>

#include "base/types.hpp"

namespace bhyve::loader {

/// What a boot image is, by its first bytes.
enum class ImageKind { bzimage, elf32, elf64, pe, gzip, xz, zstd, unknown };

/// Looks at no more than the bytes given; any input is fine.
[[nodiscard]] ImageKind detect_image(std::span<const u8> bytes);
/// For sentences: "a Linux bzImage", "an ELF file (64-bit)" ...
[[nodiscard]] std::string_view describe(ImageKind kind);

}  // namespace bhyve::loader
