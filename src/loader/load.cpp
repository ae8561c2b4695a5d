#include "loader/load.hpp"

#include "loader/bzimage.hpp"
#include "loader/detect.hpp"
#include "loader/elf.hpp"
#include "loader/freebsd.hpp"
#include "loader/multiboot.hpp"
#include "loader/pvh.hpp"

namespace bhyve::loader {
namespace {

[[nodiscard]] Result<EntryState> load_linux(GuestMemory& memory, BootRequest boot,
                                            std::span<const x86::E820Entry> map) {
  LinuxBoot linux_boot;
  linux_boot.kernel = std::move(boot.kernel);
  linux_boot.command_line = std::move(boot.command_line);
  linux_boot.rsdp = boot.rsdp;
  if (boot.modules.size() > 1)
    return fail(EINVAL, "{}: a Linux kernel takes one initrd and no further module",
                boot.modules[1].file.what);
  if (!boot.modules.empty()) linux_boot.initrd = std::move(boot.modules[0].file);
  return load_bzimage(memory, linux_boot, map);
}

[[nodiscard]] Result<EntryState> load_elf(GuestMemory& memory, const BootRequest& boot,
                                          std::span<const x86::E820Entry> map) {
  const auto image = parse_elf(boot.kernel.what, boot.kernel.bytes);
  if (!image) return tl::make_unexpected(image.error());
  // FreeBSD's kernels have a PVH note as well; their loader tells them more.
  if (is_freebsd_kernel(*image)) return load_freebsd(memory, boot, *image, map);
  if (const auto entry = find_pvh_entry(*image)) return load_pvh(memory, boot, *image, *entry, map);
  return fail(ENOEXEC, "{}: is an ELF file with no multiboot header, no PVH note and no FreeBSD "
                       "kernel in it", boot.kernel.what);
}

}  // namespace

Result<EntryState> load_kernel(GuestMemory& memory, BootRequest boot,
                               std::span<const x86::E820Entry> map) {
  const std::span<const u8> bytes = boot.kernel.bytes;
  const ImageKind kind = detect_image(bytes);
  if (kind == ImageKind::bzimage) return load_linux(memory, std::move(boot), map);
  const auto multiboot = find_multiboot(boot.kernel.what, bytes);
  if (!multiboot) return tl::make_unexpected(multiboot.error());
  if (*multiboot) return load_multiboot(memory, boot, **multiboot, map);
  if (kind == ImageKind::elf32 || kind == ImageKind::elf64) return load_elf(memory, boot, map);
  return fail(ENOEXEC, "{}: is {}, expected a Linux bzImage, a multiboot, PVH or FreeBSD kernel",
              boot.kernel.what, describe(kind));
}

}  // namespace bhyve::loader
