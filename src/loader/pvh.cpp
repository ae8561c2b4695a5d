#include "loader/pvh.hpp"

#include <algorithm>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/load_plan.hpp"
#include "loader/protected_mode.hpp"

namespace bhyve::loader {
namespace {

constexpr u32 note_phys32_entry = 18;
constexpr u64 top = 4 * GiB, structures_from = 0x8000;

/// hvm_start_info (Xen's arch-x86/hvm/start_info.h).
namespace start_info {
constexpr usize magic = 0, version = 4, nr_modules = 12, modlist = 16, cmdline = 24, rsdp = 32,
                memmap = 40, memmap_entries = 48, size = 56;
constexpr u32 magic_value = 0x336e'c578, version_value = 1;
}  // namespace start_info

[[nodiscard]] Result<void> place_segments(LoadPlan& plan, const BootFile& kernel,
                                          const ElfImage& image, u32 entry) {
  bool inside = false;
  for (const ElfSegment& segment : image.segments) {
    if (segment.physical_address >= top || segment.memory_size > top - segment.physical_address)
      return fail(ENOEXEC, "{}: wants to be at {:#x}, expected below 4 GiB", kernel.what,
                  segment.physical_address);
    if (auto ok = plan.place(kernel.what, segment.physical_address, segment.bytes,
                             segment.memory_size);
        !ok)
      return ok;
    inside = inside || entry - segment.physical_address < segment.memory_size;
  }
  if (!inside)
    return fail(ENOEXEC, "{}: its PVH entry point {:#x} lies outside of it", kernel.what, entry);
  return {};
}

/// The list of modules, each on a page boundary above the kernel.
[[nodiscard]] Result<u64> place_modules(LoadPlan& plan, const BootRequest& boot) {
  constexpr usize entry_size = 32;
  std::vector<u8> list(boot.modules.size() * entry_size);
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
    store_le<u64>(list, i * entry_size, *at);
    store_le<u64>(list, i * entry_size + 8, size);
    if (module.arguments.empty()) continue;
    const auto text = plan.put(module.file.what, zero_terminated(module.arguments), 1,
                               structures_from, top);
    if (!text) return text;
    store_le<u64>(list, i * entry_size + 16, *text);
  }
  if (list.empty()) return 0;
  return plan.put("PVH modules", std::move(list), 8, structures_from, top);
}

std::vector<u8> make_memory_map(std::span<const x86::E820Entry> map) {
  constexpr usize entry_size = 24;
  std::vector<u8> bytes(map.size() * entry_size);
  for (usize i = 0; i < map.size(); ++i) {
    store_le<u64>(bytes, i * entry_size, map[i].base);
    store_le<u64>(bytes, i * entry_size + 8, map[i].size);
    store_le<u32>(bytes, i * entry_size + 16, static_cast<u32>(map[i].type));
  }
  return bytes;
}

[[nodiscard]] Result<u64> place_start_info(LoadPlan& plan, const BootRequest& boot,
                                           std::span<const x86::E820Entry> map) {
  const auto modules = place_modules(plan, boot);
  if (!modules) return modules;
  const auto put = [&](std::vector<u8> bytes) {
    return plan.put("PVH start information", std::move(bytes), 8, structures_from, top);
  };
  const auto memory_map = put(make_memory_map(map));
  if (!memory_map) return memory_map;
  const auto command = put(zero_terminated(boot.command_line));
  if (!command) return command;
  std::vector<u8> bytes(start_info::size);
  store_le<u32>(bytes, start_info::magic, start_info::magic_value);
  store_le<u32>(bytes, start_info::version, start_info::version_value);
  store_le<u32>(bytes, start_info::nr_modules, static_cast<u32>(boot.modules.size()));
  store_le<u64>(bytes, start_info::modlist, *modules);
  store_le<u64>(bytes, start_info::cmdline, *command);
  store_le<u64>(bytes, start_info::rsdp, boot.rsdp.value());
  store_le<u64>(bytes, start_info::memmap, *memory_map);
  store_le<u32>(bytes, start_info::memmap_entries, static_cast<u32>(map.size()));
  return put(std::move(bytes));
}

}  // namespace

std::optional<u32> find_pvh_entry(const ElfImage& image) {
  const auto note = image.find_note("Xen", note_phys32_entry);
  if (!note || note->size() < sizeof(u32)) return std::nullopt;
  return load_le<u32>(*note, 0);
}

Result<EntryState> load_pvh(GuestMemory& memory, const BootRequest& boot, const ElfImage& image,
                            u32 entry, std::span<const x86::E820Entry> map) {
  LoadPlan plan(memory, map);
  if (auto ok = place_segments(plan, boot.kernel, image, entry); !ok)
    return tl::make_unexpected(ok.error());
  const auto information = place_start_info(plan, boot, map);
  if (!information) return tl::make_unexpected(information.error());
  return plan.commit().map([&] {
    EntryState state = make_protected_mode_state();
    state.rip = entry;
    state.rbx = *information;
    return state;
  });
}

}  // namespace bhyve::loader
