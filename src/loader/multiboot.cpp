#include "loader/multiboot.hpp"

#include <algorithm>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/elf.hpp"
#include "loader/load_plan.hpp"
#include "loader/protected_mode.hpp"

namespace bhyve::loader {
namespace {

constexpr u32 loader_magic = 0x2bad'b002;
constexpr u64 top = 4 * GiB;
/// Structures go into conventional memory when there is room; the first page is the BIOS's.
constexpr u64 structures_from = 0x8000;

/// Offsets in the information structure (3.3).
namespace info {
constexpr usize flags = 0, mem_lower = 4, mem_upper = 8, cmdline = 16, mods_count = 20,
                mods_addr = 24, mmap_length = 44, mmap_addr = 48, boot_loader_name = 64, size = 116;
constexpr u32 has_memory = 1u << 0, has_cmdline = 1u << 2, has_mods = 1u << 3, has_mmap = 1u << 6,
              has_loader_name = 1u << 9;
}  // namespace info

std::string command_of(const std::string& path, const std::string& arguments) {
  return arguments.empty() ? path : path + ' ' + arguments;
}

/// The header's address fields say what of the file goes where ("a.out kludge").
[[nodiscard]] Result<u64> place_by_addresses(LoadPlan& plan, const BootFile& kernel,
                                             const MultibootHeader& header) {
  const u64 skipped = u64{header.header_address} - header.load_address;
  if (header.header_address < header.load_address || skipped > header.offset)
    return fail(ENOEXEC, "{}: its multiboot addresses disagree with the header's place",
                kernel.what);
  const auto rest = std::span<const u8>(kernel.bytes).subspan(header.offset - skipped);
  u64 loaded = rest.size();
  if (header.load_end != 0) {
    if (header.load_end < header.load_address || header.load_end - header.load_address > loaded)
      return fail(ENOEXEC, "{}: its multiboot addresses tell of {} bytes, the file has {}",
                  kernel.what, u64{header.load_end} - header.load_address, loaded);
    loaded = header.load_end - header.load_address;
  }
  u64 size = loaded;
  if (header.bss_end != 0) {
    if (header.bss_end < header.load_address + loaded)
      return fail(ENOEXEC, "{}: its multiboot bss ends before its data", kernel.what);
    size = header.bss_end - header.load_address;
  }
  if (header.entry < header.load_address || header.entry - header.load_address >= size)
    return fail(ENOEXEC, "{}: its entry point {:#x} lies outside of it", kernel.what,
                header.entry);
  if (auto ok = plan.place(kernel.what, header.load_address, rest.first(loaded), size); !ok)
    return tl::make_unexpected(ok.error());
  return header.entry;
}

/// By physical addresses; the entry point may be written as a physical or a virtual address.
[[nodiscard]] Result<u64> place_elf(LoadPlan& plan, const BootFile& kernel) {
  const auto image = parse_elf(kernel.what, kernel.bytes);
  if (!image) return tl::make_unexpected(image.error());
  std::optional<u64> by_virtual, by_physical;
  for (const ElfSegment& segment : image->segments) {
    if (segment.physical_address >= top || segment.memory_size > top - segment.physical_address)
      return fail(ENOEXEC, "{}: wants to be at {:#x}, expected below 4 GiB", kernel.what,
                  segment.physical_address);
    if (auto ok = plan.place(kernel.what, segment.physical_address, segment.bytes,
                             segment.memory_size);
        !ok)
      return tl::make_unexpected(ok.error());
    if (image->entry - segment.physical_address < segment.memory_size) by_physical = image->entry;
    if (image->entry - segment.virtual_address < segment.memory_size)
      by_virtual = image->entry - segment.virtual_address + segment.physical_address;
  }
  const auto entry = by_physical ? by_physical : by_virtual;
  if (!entry)
    return fail(ENOEXEC, "{}: its entry point {:#x} lies outside of it", kernel.what, image->entry);
  return *entry;
}

/// The table of modules, each on a page boundary above the kernel.
[[nodiscard]] Result<u64> place_modules(LoadPlan& plan, const BootRequest& boot) {
  constexpr usize entry_size = 16;
  std::vector<u8> table(boot.modules.size() * entry_size);
  const u64 from = std::max<u64>(align_up(plan.end(), page_size), MiB);
  for (usize i = 0; i < boot.modules.size(); ++i) {
    const BootModule& module = boot.modules[i];
    const u64 size = module.file.bytes.size();
    const auto at = plan.find_low(size, page_size, from, top);
    if (!at)
      return fail(ENOMEM, "{}: no room for {} bytes in guest memory above {:#x}", module.file.what,
                  size, from);
    if (auto ok = plan.place(module.file.what, *at, module.file.bytes, size); !ok)
      return tl::make_unexpected(ok.error());
    const auto text = plan.put(module.file.what, zero_terminated(command_of(module.path,
                               module.arguments)), 1, structures_from, top);
    if (!text) return text;
    store_le<u32>(table, i * entry_size, static_cast<u32>(*at));
    store_le<u32>(table, i * entry_size + 4, static_cast<u32>(*at + size));
    store_le<u32>(table, i * entry_size + 8, static_cast<u32>(*text));
  }
  if (table.empty()) return 0;
  return plan.put("multiboot modules", std::move(table), 8, structures_from, top);
}

std::vector<u8> make_memory_map(std::span<const x86::E820Entry> map) {
  constexpr usize entry_size = 24;
  std::vector<u8> bytes(map.size() * entry_size);
  for (usize i = 0; i < map.size(); ++i) {
    const usize at = i * entry_size;
    store_le<u32>(bytes, at, entry_size - 4);  // its own field does not count
    store_le<u64>(bytes, at + 4, map[i].base);
    store_le<u64>(bytes, at + 12, map[i].size);
    store_le<u32>(bytes, at + 20, static_cast<u32>(map[i].type));
  }
  return bytes;
}

/// KiB of RAM from `start` on without a hole.
u32 kib_from(std::span<const x86::E820Entry> map, u64 start) {
  for (const x86::E820Entry& entry : map)
    if (entry.type == x86::E820Type::ram && entry.base == start)
      return static_cast<u32>(std::min<u64>(entry.size, top) / KiB);
  return 0;
}

[[nodiscard]] Result<u64> place_info(LoadPlan& plan, const BootRequest& boot,
                                     std::span<const x86::E820Entry> map) {
  const auto modules = place_modules(plan, boot);
  if (!modules) return modules;
  const auto put = [&](std::vector<u8> bytes) {
    return plan.put("multiboot information", std::move(bytes), 8, structures_from, top);
  };
  auto memory_map = make_memory_map(map);
  const u32 map_size = static_cast<u32>(memory_map.size());
  const auto table = put(std::move(memory_map));
  if (!table) return table;
  const auto command = put(zero_terminated(command_of(boot.path, boot.command_line)));
  if (!command) return command;
  const auto name = put(zero_terminated("bhyve"));
  if (!name) return name;
  std::vector<u8> bytes(info::size);
  store_le<u32>(bytes, info::flags, info::has_memory | info::has_cmdline | info::has_mods |
                                        info::has_mmap | info::has_loader_name);
  store_le<u32>(bytes, info::mem_lower, kib_from(map, 0));
  store_le<u32>(bytes, info::mem_upper, kib_from(map, MiB));
  store_le<u32>(bytes, info::cmdline, static_cast<u32>(*command));
  store_le<u32>(bytes, info::mods_count, static_cast<u32>(boot.modules.size()));
  store_le<u32>(bytes, info::mods_addr, static_cast<u32>(*modules));
  store_le<u32>(bytes, info::mmap_length, map_size);
  store_le<u32>(bytes, info::mmap_addr, static_cast<u32>(*table));
  store_le<u32>(bytes, info::boot_loader_name, static_cast<u32>(*name));
  return put(std::move(bytes));
}

}  // namespace

Result<EntryState> load_multiboot(GuestMemory& memory, const BootRequest& boot,
                                  const MultibootHeader& header,
                                  std::span<const x86::E820Entry> map) {
  LoadPlan plan(memory, map);
  const auto entry = header.has_addresses ? place_by_addresses(plan, boot.kernel, header)
                                          : place_elf(plan, boot.kernel);
  if (!entry) return tl::make_unexpected(entry.error());
  const auto information = place_info(plan, boot, map);
  if (!information) return tl::make_unexpected(information.error());
  return plan.commit().map([&] {
    EntryState state = make_protected_mode_state();
    state.rip = *entry;
    state.rax = loader_magic;
    state.rbx = *information;
    return state;
  });
}

}  // namespace bhyve::loader
