#include "loader/bzimage.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/bzimage_header.hpp"
#include "loader/long_mode.hpp"
#include "loader/protected_mode.hpp"

namespace bhyve::loader {
namespace {

constexpr u64 entry_offset_64 = 0x200;
constexpr u64 high_base = 4 * GiB;

/// Offsets in boot_params (Documentation/arch/x86/zero-page.rst).
namespace zero_page {
constexpr usize acpi_rsdp_addr = 0x070, ext_ramdisk_image = 0x0c0, ext_ramdisk_size = 0x0c4,
                e820_entries = 0x1e8, e820_table = 0x2d0;
constexpr usize e820_entry_size = 20, e820_max = 128;
}  // namespace zero_page

/// Where everything goes.
struct Plan {
  BzimageHeader header;
  u64 initrd = 0;
  u64 initrd_size = 0;
};

[[nodiscard]] Result<void> check_sizes(const GuestMemory& memory, const LinuxBoot& boot,
                                       const BzimageHeader& header,
                                       std::span<const x86::E820Entry> map) {
  const u64 kernel_end = header.load_address + header.init_size;
  if (kernel_end > memory.lowmem() || memory.lowmem() < low_area::end) {
    return fail(ENOMEM, "{}: needs {} MiB of memory below 4 GiB, the guest has {} MiB",
                boot.kernel.what, align_up(kernel_end, MiB) / MiB, memory.lowmem() / MiB);
  }
  const u64 longest = std::min<u64>(header.cmdline_size, low_area::command_line_size - 1);
  if (boot.command_line.size() > longest) {
    return fail(E2BIG, "kernel command line: {} bytes, the kernel takes at most {}",
                boot.command_line.size(), longest);
  }
  if (boot.command_line.find('\0') != std::string::npos) {
    return fail(EINVAL, "kernel command line: holds a zero byte");
  }
  if (map.size() > zero_page::e820_max) {
    return fail(E2BIG, "memory map: {} entries, at most {}", map.size(), zero_page::e820_max);
  }
  return {};
}

/// As high as the kernel and RAM allow, away from the kernel's own range.
[[nodiscard]] Result<void> place_initrd(const GuestMemory& memory, const BootFile& initrd,
                                        Plan& plan) {
  const u64 size = initrd.bytes.size();
  const u64 kernel_end = align_up(plan.header.load_address + plan.header.init_size, page_size);
  const u64 top = std::min(memory.lowmem(), u64{plan.header.initrd_addr_max} + 1);
  plan.initrd_size = size;
  if (size <= top && align_down(top - size, page_size) >= kernel_end) {
    plan.initrd = align_down(top - size, page_size);
    return {};
  }
  if (plan.header.initrd_above_4g && size <= memory.highmem()) {
    plan.initrd = align_down(high_base + memory.highmem() - size, page_size);
    return {};
  }
  return fail(ENOMEM, "{}: {} bytes do not fit in guest memory between {:#x} and {:#x}",
              initrd.what, size, kernel_end, top);
}

[[nodiscard]] Result<Plan> make_plan(const GuestMemory& memory, const LinuxBoot& boot,
                                     std::span<const x86::E820Entry> map) {
  Result<BzimageHeader> header = parse_bzimage(boot.kernel.what, boot.kernel.bytes);
  if (!header) return tl::make_unexpected(header.error());
  Plan plan{*header};
  Result<void> checked = check_sizes(memory, boot, plan.header, map);
  if (checked && boot.initrd) checked = place_initrd(memory, *boot.initrd, plan);
  if (!checked) return tl::make_unexpected(checked.error());
  return plan;
}

void put_e820(std::span<u8> page, std::span<const x86::E820Entry> map) {
  page[zero_page::e820_entries] = static_cast<u8>(map.size());
  usize at = zero_page::e820_table;
  for (const x86::E820Entry& entry : map) {
    store_le<u64>(page, at, entry.base);
    store_le<u64>(page, at + 8, entry.size);
    store_le<u32>(page, at + 16, static_cast<u32>(entry.type));
    at += zero_page::e820_entry_size;
  }
}

/// boot_params: zero, then the file's setup header, then what a boot loader fills in.
std::array<u8, page_size> make_boot_params(const LinuxBoot& boot, const Plan& plan,
                                           std::span<const x86::E820Entry> map) {
  constexpr u8 loader_undefined = 0xff, can_use_heap = 0x80;
  constexpr usize header_room_end = 0x290;  // a longer header would run into the next field
  std::array<u8, page_size> page{};
  const std::span<const u8> file = boot.kernel.bytes;
  const usize header_end = std::min(plan.header.header_end, header_room_end);
  const auto header = file.subspan(setup::setup_sects, header_end - setup::setup_sects);
  std::copy(header.begin(), header.end(), page.begin() + setup::setup_sects);

  page[setup::type_of_loader] = loader_undefined;
  page[setup::loadflags] &= static_cast<u8>(~can_use_heap);  // no real-mode code runs
  store_le<u32>(page, setup::cmd_line_ptr, static_cast<u32>(low_area::command_line.value()));
  store_le<u32>(page, setup::ramdisk_image, static_cast<u32>(plan.initrd));
  store_le<u32>(page, setup::ramdisk_size, static_cast<u32>(plan.initrd_size));
  store_le<u32>(page, zero_page::ext_ramdisk_image, static_cast<u32>(plan.initrd >> 32));
  store_le<u32>(page, zero_page::ext_ramdisk_size, static_cast<u32>(plan.initrd_size >> 32));
  store_le<u64>(page, zero_page::acpi_rsdp_addr, boot.rsdp.value());
  put_e820(page, map);
  return page;
}

[[nodiscard]] Result<void> write_all(GuestMemory& memory, const LinuxBoot& boot, const Plan& plan,
                                     std::span<const x86::E820Entry> map) {
  const std::span<const u8> file = boot.kernel.bytes;
  std::vector<u8> command_line(boot.command_line.begin(), boot.command_line.end());
  command_line.push_back(0);
  const auto params = make_boot_params(boot, plan, map);
  const auto tables = plan.header.has_entry_64 ? make_identity_map(high_base + memory.highmem())
                                               : std::vector<u8>();
  const auto gdt = plan.header.has_entry_64 ? make_flat_gdt() : make_flat_gdt_32();
  const auto initrd = boot.initrd ? std::span<const u8>(boot.initrd->bytes) : std::span<const u8>();
  const std::pair<Gpa, std::span<const u8>> parts[] = {
      {Gpa(plan.header.load_address),
       file.subspan(plan.header.payload_offset, plan.header.payload_size)},
      {Gpa(plan.initrd), initrd},
      {low_area::command_line, command_line},
      {low_area::boot_params, params},
      {low_area::page_tables, tables},
      {low_area::gdt, gdt},
  };
  for (const auto& [gpa, bytes] : parts) {
    if (bytes.empty()) continue;
    if (Result<void> written = memory.write(gpa, bytes); !written) return written;
  }
  return {};
}

}  // namespace

Result<EntryState> load_bzimage(GuestMemory& memory, const LinuxBoot& boot,
                                std::span<const x86::E820Entry> map) {
  const Result<Plan> plan = make_plan(memory, boot, map);
  if (!plan) return tl::make_unexpected(plan.error());
  return write_all(memory, boot, *plan, map).map([&] {
    EntryState state =
        plan->header.has_entry_64 ? make_long_mode_state() : make_protected_mode_state();
    state.rip = plan->header.has_entry_64 ? plan->header.load_address + entry_offset_64
                                          : plan->header.entry_32;
    if (!plan->header.has_entry_64) state.gdt = {low_area::gdt.value(), flat_gdt_32_limit};
    state.rsi = low_area::boot_params.value();
    return state;
  });
}

}  // namespace bhyve::loader
