#include "loader/multiboot_header.hpp"

#include <algorithm>

#include "base/bits.hpp"
#include "base/bytes.hpp"

namespace bhyve::loader {
namespace {

constexpr usize search_limit = 8192, header_size = 12, address_header_size = 32;
constexpr u32 magic = 0x1bad'b002;
constexpr u32 flag_page_align = 1u << 0, flag_memory_info = 1u << 1, flag_video = 1u << 2,
              flag_addresses = 1u << 16;
/// Bits 0-15 must be understood, all others may be ignored. There is no video mode to set: a kernel
/// that asks for one looks at the information and finds none.
constexpr u32 understood = flag_page_align | flag_memory_info | flag_video;
constexpr u32 must_understand = 0xffff;

}  // namespace

Result<std::optional<MultibootHeader>> find_multiboot(std::string_view what,
                                                      std::span<const u8> file) {
  const usize end = std::min(file.size(), search_limit);
  for (usize at = 0; at + header_size <= end; at += 4) {
    if (load_le<u32>(file, at) != magic) continue;
    const u32 flags = load_le<u32>(file, at + 4);
    if (magic + flags + load_le<u32>(file, at + 8) != 0) continue;
    if ((flags & must_understand & ~understood) != 0)
      return fail(ENOEXEC, "{}: its multiboot header asks for unknown features ({:#x})", what,
                  flags & must_understand & ~understood);
    MultibootHeader header;
    header.offset = at;
    header.page_aligned = (flags & flag_page_align) != 0;
    header.has_addresses = (flags & flag_addresses) != 0;
    if (!header.has_addresses) return std::optional(header);
    if (at + address_header_size > file.size())
      return fail(ENOEXEC, "{}: its multiboot header is cut short", what);
    header.header_address = load_le<u32>(file, at + 12);
    header.load_address = load_le<u32>(file, at + 16);
    header.load_end = load_le<u32>(file, at + 20);
    header.bss_end = load_le<u32>(file, at + 24);
    header.entry = load_le<u32>(file, at + 28);
    return std::optional(header);
  }
  return std::optional<MultibootHeader>();
}

}  // namespace bhyve::loader
