#include "loader/bzimage_header.hpp"

#include <algorithm>
#include <bit>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/detect.hpp"

namespace bhyve::loader {
namespace {

constexpr u16 boot_flag_value = 0xaa55;
constexpr u16 protocol_2_12 = 0x020c;  ///< the first with xloadflags
constexpr usize sector = 512;
constexpr u64 entry_offset_64 = 0x200;

/// loadflags and xloadflags.
constexpr u8 loaded_high = 1u << 0;
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
  if (version < protocol_2_12) {
    return fail(ENOEXEC, "{}: boot protocol {}.{:02}, expected 2.12 or newer", what, version >> 8,
                version & 0xff);
  }
  const bool high = (file[setup::loadflags] & loaded_high) != 0;
  if (!high || (load_le<u16>(file, setup::xloadflags) & xlf_kernel_64) == 0) {
    return fail(ENOEXEC, "{}: has no 64-bit entry point (XLF_KERNEL_64)", what);
  }
  return {};
}

/// The jump instruction at 200h tells where the header ends.
[[nodiscard]] Result<void> find_parts(std::string_view what, std::span<const u8> file,
                                      BzimageHeader& header) {
  constexpr u8 default_setup_sects = 4, jump_short = 0xeb;
  header.header_end = setup::magic + file[setup::jump + 1];
  const usize sects = file[setup::setup_sects] != 0 ? file[setup::setup_sects] : default_setup_sects;
  header.payload_offset = (sects + 1) * sector;
  if (file[setup::jump] != jump_short || header.header_end < setup::min_end ||
      header.header_end > header.payload_offset) {
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
  const u64 preferred = load_le<u64>(file, setup::pref_address);
  const u32 alignment = load_le<u32>(file, setup::kernel_alignment);
  const bool relocatable = file[setup::relocatable_kernel] != 0;
  header.init_size = load_le<u32>(file, setup::init_size);
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

}  // namespace

Result<BzimageHeader> parse_bzimage(std::string_view what, std::span<const u8> file) {
  BzimageHeader header;
  return check_kind(what, file)
      .and_then([&] { return find_parts(what, file, header); })
      .and_then([&] { return find_place(what, file, header); })
      .map([&] {
        header.initrd_addr_max = load_le<u32>(file, setup::initrd_addr_max);
        header.cmdline_size = load_le<u32>(file, setup::cmdline_size);
        header.initrd_above_4g =
            (load_le<u16>(file, setup::xloadflags) & xlf_can_be_loaded_above_4g) != 0;
        return header;
      });
}

}  // namespace bhyve::loader
