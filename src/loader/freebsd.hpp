#pragma once
#include <span>

#include "base/error.hpp"
#include "loader/boot_request.hpp"
#include "loader/elf.hpp"
#include "loader/entry_state.hpp"
#include "loader/guest_memory.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// FreeBSD's amd64 kernels are linked into the last 2 GiB of the address space.
inline constexpr u64 freebsd_kernel_base = 0xffff'ffff'8000'0000;

/// The scratch area of bhyveload's loader, in the first pages: the kernel has its own soon.
namespace freebsd_area {
inline constexpr u64 stack = 0x1000, page_tables = 0x2000, gdt = 0x5000, end = 0x6000;
}

/// An ELF64 executable of ABI FreeBSD in the kernel's part of the address space.
[[nodiscard]] bool is_freebsd_kernel(const ElfImage& image);

/// Loads a FreeBSD/amd64 kernel as bhyveload does: the kernel and its symbols at their physical
/// places, files beside it ("FILE,TYPE", e.g. mfs_root), the environment, the metadata; then stack,
/// a page table that repeats the first GiB through the whole address space, GDT and long mode. On
/// the stack lie a return address, modulep and kernend (32 bits each), as amd64's btext expects.
/// Checks and failures as load_multiboot().
[[nodiscard]] Result<EntryState> load_freebsd(GuestMemory& memory, const BootRequest& boot,
                                              const ElfImage& image,
                                              std::span<const x86::E820Entry> map);

}  // namespace bhyve::loader
