#pragma once
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::loader {

/// A PT_LOAD segment. `bytes` is what the file has of it; the rest up to `memory_size` is zero.
struct ElfSegment final {
  u64 virtual_address = 0;
  u64 physical_address = 0;
  u64 memory_size = 0;
  std::span<const u8> bytes;
};

/// A section that a loader hands on to the kernel: symbols and their names.
struct ElfSection final {
  u32 type = 0;
  u32 link = 0;
  std::span<const u8> bytes;  ///< empty for sections without contents
};

/// An x86 ELF program (System V ABI, ELF-32/64 Object File Format), checked: all spans lie in the
/// file and memory_size is at least what the file has. Refers to the file's bytes.
struct ElfImage final {
  bool is_64 = false;
  u8 os_abi = 0;
  u64 entry = 0;
  std::span<const u8> header;
  std::vector<ElfSegment> segments;
  std::vector<std::span<const u8>> notes;  ///< contents of the PT_NOTE segments

  /// The description of the note of that owner and type.
  [[nodiscard]] std::optional<std::span<const u8>> find_note(std::string_view owner,
                                                             u32 type) const;
};

inline constexpr u8 elf_os_abi_freebsd = 9;
inline constexpr u32 elf_section_symbols = 2, elf_section_strings = 3;

/// Reads an executable for the 386 or x86-64. ENOEXEC and one sentence beginning with `what`.
[[nodiscard]] Result<ElfImage> parse_elf(std::string_view what, std::span<const u8> file);
/// The sections of a file that parse_elf() took; none when its section table is damaged.
[[nodiscard]] std::vector<ElfSection> elf_sections(std::span<const u8> file);

}  // namespace bhyve::loader
