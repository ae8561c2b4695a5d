#include "loader/bzimage_header.hpp"

#include <algorithm>
#include <bit>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/detect.hpp"

namespace bhyve::loader {
namespace {

constexpr u16 boot_flag_value = 0xaa55;
/// Protocol versions and what they brought: the command line pointer, initrd_addr_max, relocation,
/// cmdline_size, pref_address with init_size, xloadflags.
constexpr u16 v2_02 = 0x0202, v2_03 = 0x0203, v2_05 = 0x0205, v2_06 = 0x0206, v2_10 = 0x020a,
              v2_12 = 0x020c;
constexpr usize sector = 512;
constexpr u64 classic_address = 1 * MiB;  ///< where a kernel lies that does not say

/// loadflags and xloadflags.
constexpr u8 loaded_high = 1u << 0;
constexpr u64 entry_offset_64 = 0x200;
constexpr u16 xlf_kernel_64 = 1u << 0, xlf_can_be_loaded_above_4g = 1u << 1;

[[nodiscard]] Result<void> check_kind(std::string_view what, std::span<const u8> file) {
  const ImageKind kind = detect_image(file);
  if (kind != ImageKind::bzimage) {
    return fail(ENOEXEC, "{}: is {}, expected a Linux bzImage", what, describe(kind));
  }
  if (file.size() < setup::min_end || load_le<u16>(file, setup::boot_flag) != boot_flag_value) {
    return fail(ENOEXEC, "{}: the bzImage header is cut short or has no boot flag", what);
  }
  const u16 version = load_le<u16>(file, setup::version);
  if (version < v2_02) {
    return fail(ENOEXEC, "{}: boot protocol {}.{:02}, expected 2.02 or newer", what, version >> 8,
                version & 0xff);
  }
  if ((file[setup::loadflags] & loaded_high) == 0) {
    return fail(ENOEXEC, "{}: is a zImage for conventional memory, expected a bzImage", what);
  }
  return {};
}

/// Bytes of the setup header that a version has at least.
usize least_header_end(u16 version) {
  if (version >= v2_10) return setup::min_end;
  if (version >= v2_06) return setup::cmdline_size + sizeof(u32);
  if (version >= v2_05) return setup::relocatable_kernel + sizeof(u8);
  return version >= v2_03 ? setup::initrd_addr_max + sizeof(u32)
                          : setup::cmd_line_ptr + sizeof(u32);
}

/// The jump instruction at 200h tells where the header ends.
[[nodiscard]] Result<void> find_parts(std::string_view what, std::span<const u8> file,
                                      BzimageHeader& header) {
  constexpr u8 default_setup_sects = 4, jump_short = 0xeb;
  header.header_end = setup::magic + file[setup::jump + 1];
  const usize sects = file[setup::setup_sects] != 0 ? file[setup::setup_sects] : default_setup_sects;
  header.payload_offset = (sects + 1) * sector;
  if (file[setup::jump] != jump_short || header.header_end > header.payload_offset ||
      header.header_end < least_header_end(load_le<u16>(file, setup::version))) {
    return fail(ENOEXEC, "{}: the bzImage header has a wrong length", what);
  }
  // syssize counts paragraphs. The last may be cut, and a signature may follow.
  const u64 payload = u64{load_le<u32>(file, setup::syssize)} * 16;
  const u64 rest = file.size() < header.payload_offset ? 0 : file.size() - header.payload_offset;
  if (rest + 15 < payload) {
    return fail(ENOEXEC, "{}: is cut short: {} bytes, expected {}", what, file.size(),
                header.payload_offset + payload);
  }
  header.payload_size = std::min(payload, rest);
  if (header.payload_size <= entry_offset_64) {
    return fail(ENOEXEC, "{}: has no kernel behind its header", what);
  }
  return {};
}

[[nodiscard]] Result<void> find_place(std::string_view what, std::span<const u8> file,
                                      BzimageHeader& header) {
  const u16 version = load_le<u16>(file, setup::version);
  const bool says_where = version >= v2_10;
  const u64 preferred = says_where ? load_le<u64>(file, setup::pref_address) : classic_address;
  const u32 alignment = load_le<u32>(file, setup::kernel_alignment);
  const bool relocatable = says_where && file[setup::relocatable_kernel] != 0;
  // An old kernel does not tell how much it needs to unpack itself.
  header.init_size = says_where ? load_le<u32>(file, setup::init_size)
                                : static_cast<u32>(header.payload_size);
  if (preferred < MiB || preferred >= 4 * GiB) {
    return fail(ENOEXEC, "{}: wants to be at {:#x}, expected 1 MiB to 4 GiB", what, preferred);
  }
  if (relocatable && !std::has_single_bit(alignment)) {
    return fail(ENOEXEC, "{}: wants an alignment of {:#x}, expected a power of two", what,
                alignment);
  }
  if (header.init_size < header.payload_size) {
    return fail(ENOEXEC, "{}: init_size {} is below the kernel's {} bytes", what, header.init_size,
                header.payload_size);
  }
  // A lower place would not help a small guest: the kernel moves itself up to pref_address.
  header.load_address = relocatable ? align_up(preferred, alignment) : preferred;
  return {};
}

/// The entry points; the 32-bit one is written for a kernel at 1 MiB and moves with it.
[[nodiscard]] Result<void> find_entries(std::string_view what, std::span<const u8> file,
                                        BzimageHeader& header) {
  const u16 xloadflags = load_le<u16>(file, setup::xloadflags);
  const bool has_xloadflags = load_le<u16>(file, setup::version) >= v2_12;
  header.has_entry_64 = has_xloadflags && (xloadflags & xlf_kernel_64) != 0 &&
                        header.payload_size > entry_offset_64;
  header.initrd_above_4g = has_xloadflags && (xloadflags & xlf_can_be_loaded_above_4g) != 0;
  if (header.has_entry_64) return {};
  const u64 into = u64{load_le<u32>(file, setup::code32_start)} - classic_address;
  if (into >= header.payload_size) {
    return fail(ENOEXEC, "{}: its 32-bit entry point {:#x} lies outside of it", what,
                load_le<u32>(file, setup::code32_start));
  }
  if (header.load_address + into >= 4 * GiB) {
    return fail(ENOEXEC, "{}: wants to be at {:#x}, expected below 4 GiB", what,
                header.load_address);
  }
  header.entry_32 = static_cast<u32>(header.load_address + into);
  return {};
}

}  // namespace

Result<BzimageHeader> parse_bzimage(std::string_view what, std::span<const u8> file) {
  constexpr u32 old_initrd_max = 0x37ff'ffff, old_cmdline_size = 255;
  BzimageHeader header;
  return check_kind(what, file)
      .and_then([&] { return find_parts(what, file, header); })
      .and_then([&] { return find_place(what, file, header); })
      .and_then([&] { return find_entries(what, file, header); })
      .map([&] {
        const u16 version = load_le<u16>(file, setup::version);
        header.initrd_addr_max =
            version >= v2_03 ? load_le<u32>(file, setup::initrd_addr_max) : old_initrd_max;
        header.cmdline_size =
            version >= v2_06 ? load_le<u32>(file, setup::cmdline_size) : old_cmdline_size;
        return header;
      });
}

}  // namespace bhyve::loader
