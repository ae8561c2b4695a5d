#pragma once
#include <span>
#include <string_view>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::loader {

/// Offsets of the setup header, the same in the file and in boot_params (the Linux/x86 boot
/// protocol, "The Real-Mode Kernel Header").
namespace setup {
inline constexpr usize setup_sects = 0x1f1, syssize = 0x1f4, boot_flag = 0x1fe, jump = 0x200,
                       magic = 0x202, version = 0x206, type_of_loader = 0x210, loadflags = 0x211,
                       code32_start = 0x214,
                       ramdisk_image = 0x218, ramdisk_size = 0x21c, heap_end_ptr = 0x224,
                       cmd_line_ptr = 0x228, initrd_addr_max = 0x22c, kernel_alignment = 0x230,
                       relocatable_kernel = 0x234, xloadflags = 0x236, cmdline_size = 0x238,
                       pref_address = 0x258, init_size = 0x260, min_end = 0x264;
}  // namespace setup

/// What the loader needs from the header of a bzImage, checked: nothing here is out of the file's
/// bounds or overflows. Fields that an old protocol version does not have get the values that the
/// boot protocol gives them.
struct BzimageHeader final {
  usize header_end = 0;     ///< the header is [setup_sects, header_end) of the file
  usize payload_offset = 0; ///< the protected-mode kernel in the file
  usize payload_size = 0;
  u64 load_address = 0;     ///< aligned as the kernel wants it
  u32 entry_32 = 0;         ///< 32-bit entry point, moved with the kernel
  bool has_entry_64 = false;  ///< 64-bit entry point at load_address + 200h
  u32 init_size = 0;        ///< bytes of RAM it uses from load_address on
  u32 initrd_addr_max = 0;  ///< highest address of the initrd's last byte
  u32 cmdline_size = 0;     ///< longest command line, without the final zero
  bool initrd_above_4g = false;
};

/// Fails with ENOEXEC and one sentence beginning with `what`.
[[nodiscard]] Result<BzimageHeader> parse_bzimage(std::string_view what, std::span<const u8> file);

}  // namespace bhyve::loader
