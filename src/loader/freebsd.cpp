#include "loader/freebsd.hpp"

#include <array>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/freebsd_metadata.hpp"
#include "loader/load_plan.hpp"

namespace bhyve::loader {
namespace {

using Kind = FreebsdMetadata::Kind;

/// All that the page tables show.
constexpr u64 mapped = 1 * GiB;
constexpr std::array<u64, 3> gdt_words{0, 0x0020'9800'0000'0000, 0x0000'9000'0000'0000};

/// Where the kernel's parts went.
struct Kernel {
  u64 first = ~u64{0}, end = 0;
  u64 symbols_start = 0, symbols_end = 0;
};

[[nodiscard]] Result<Kernel> place_kernel(LoadPlan& plan, const BootFile& file,
                                          const ElfImage& image) {
  Kernel kernel;
  bool inside = false;
  for (const ElfSegment& segment : image.segments) {
    const u64 at = segment.virtual_address - freebsd_kernel_base;
    if (segment.virtual_address < freebsd_kernel_base || at >= mapped ||
        segment.memory_size > mapped - at)
      return fail(ENOEXEC, "{}: wants to be at {:#x}, expected the first GiB from {:#x}", file.what,
                  segment.virtual_address, freebsd_kernel_base);
    if (auto ok = plan.place(file.what, at, segment.bytes, segment.memory_size); !ok)
      return tl::make_unexpected(ok.error());
    kernel.first = std::min(kernel.first, at);
    kernel.end = std::max(kernel.end, at + segment.memory_size);
    inside = inside || image.entry - segment.virtual_address < segment.memory_size;
  }
  if (!inside)
    return fail(ENOEXEC, "{}: its entry point {:#x} lies outside of it", file.what, image.entry);
  return kernel;
}

void append_table(std::vector<u8>& out, std::span<const u8> table) {
  const usize at = out.size();
  out.resize(at + sizeof(u64) + align_up(table.size(), sizeof(u64)));
  store_le<u64>(out, at, table.size());
  std::copy(table.begin(), table.end(),
            out.begin() + static_cast<std::ptrdiff_t>(at + sizeof(u64)));
}

/// The symbol table and its strings behind the kernel, each with its size in front: for the
/// kernel's debugger and for modules that it links later.
[[nodiscard]] Result<void> place_symbols(LoadPlan& plan, const BootFile& file, Kernel& kernel) {
  const auto sections = elf_sections(file.bytes);
  for (const ElfSection& symbols : sections) {
    if (symbols.type != elf_section_symbols || symbols.bytes.empty()) continue;
    if (symbols.link >= sections.size()) continue;
    const ElfSection& strings = sections[symbols.link];
    if (strings.type != elf_section_strings || strings.bytes.empty()) continue;
    std::vector<u8> bytes;
    append_table(bytes, symbols.bytes);
    append_table(bytes, strings.bytes);
    const u64 size = bytes.size();
    const auto at = plan.put(file.what, std::move(bytes), page_size, kernel.end, mapped);
    if (!at) return tl::make_unexpected(at.error());
    kernel.symbols_start = *at;
    kernel.symbols_end = *at + size;
    return {};
  }
  return {};
}

/// Zero-terminated assignments and an empty one.
std::vector<u8> make_environment(const BootRequest& boot) {
  std::vector<u8> block;
  const auto add = [&block](std::string_view text) {
    block.insert(block.end(), text.begin(), text.end());
    block.push_back(0);
  };
  // Those that bhyveload always sets; the user's come later and win.
  const auto given = [&boot](std::string_view name) {
    for (const std::string& text : boot.environment)
      if (text.starts_with(name)) return true;
    return false;
  };
  for (const std::string_view text :
       {"smbios.bios.vendor=BHYVE", "boot_serial=1", "kernelname=/boot/kernel/kernel"})
    if (!given(text.substr(0, text.find('=') + 1))) add(text);
  for (const std::string& text : boot.environment) add(text);
  block.push_back(0);
  return block;
}

/// Preloaded files, above what is there; their records go into `list`.
[[nodiscard]] Result<void> place_files(LoadPlan& plan, const BootRequest& boot, u64 from,
                                       FreebsdMetadata& list) {
  constexpr std::string_view default_type = "mfs_root";
  for (const BootModule& module : boot.modules) {
    const u64 size = module.file.bytes.size();
    const auto at = plan.find_low(size, page_size, from, mapped);
    if (!at)
      return fail(ENOMEM, "{}: no room for {} bytes in the first GiB of guest memory",
                  module.file.what, size);
    if (auto ok = plan.place(module.file.what, *at, module.file.bytes, size); !ok) return ok;
    list.begin(module.path, module.arguments.empty() ? default_type : module.arguments, {}, *at,
               size);
  }
  return {};
}

/// Metadata knows its own address and its end, so that it is made when its place is known.
struct Handover {
  u64 modulep = 0, kernend = 0;
};
[[nodiscard]] Result<Handover> place_handover(LoadPlan& plan, const BootRequest& boot,
                                              const ElfImage& image, const Kernel& kernel,
                                              std::span<const x86::E820Entry> map) {
  const u64 from = std::max(kernel.end, kernel.symbols_end);
  FreebsdMetadata files;
  if (auto ok = place_files(plan, boot, from, files); !ok) return tl::make_unexpected(ok.error());
  const auto environment =
      plan.put("kernel environment", make_environment(boot), page_size, from, mapped);
  if (!environment) return tl::make_unexpected(environment.error());
  const auto make = [&](Handover where) {
    FreebsdMetadata list;
    list.begin("/boot/kernel/kernel", "elf kernel", boot.command_line, kernel.first,
               kernel.end - kernel.first);
    list.add(Kind::elf_header, image.header);
    if (kernel.symbols_start != 0) {
      list.add_word(Kind::symbols_start, kernel.symbols_start);
      list.add_word(Kind::symbols_end, kernel.symbols_end);
    }
    list.add_howto(freebsd_howto(boot.command_line));
    list.add_word(Kind::environment, *environment);
    list.add_word(Kind::kernel_end, where.kernend);
    list.add_word(Kind::modulep, where.modulep);
    list.add_memory_map(map);
    list.append(files);
    return list.finish();
  };
  const auto modulep = plan.put("kernel metadata", make({}), page_size, from, mapped);
  if (!modulep) return tl::make_unexpected(modulep.error());
  const Handover where{*modulep, align_up(plan.end(), page_size)};
  const auto final_bytes = make(where);
  const auto kept = plan.kept(*modulep);
  std::copy(final_bytes.begin(), final_bytes.end(), kept.begin());
  return where;
}

/// PML4, PDPT and directory: each slot of the upper two points to the same next table, so that the
/// first GiB appears everywhere, at 0 and at the kernel's base alike.
std::vector<u8> make_page_tables() {
  constexpr u64 entries = page_size / sizeof(u64), present_write_user = x86::pte::p | x86::pte::rw |
                                                                        x86::pte::us;
  std::vector<u8> bytes(3 * page_size);
  for (u64 i = 0; i < entries; ++i) {
    const u64 pdpt = freebsd_area::page_tables + page_size, directory = pdpt + page_size;
    store_le<u64>(bytes, i * 8, pdpt | present_write_user);
    store_le<u64>(bytes, page_size + i * 8, directory | present_write_user);
    store_le<u64>(bytes, 2 * page_size + i * 8,
                  i * superpage_size | present_write_user | x86::pte::ps);
  }
  return bytes;
}

EntryState make_state(u64 entry) {
  using x86::Segment;
  EntryState state;
  state.rip = entry;
  state.rsp = freebsd_area::stack;
  state.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne | x86::cr0::pg;
  state.cr3 = freebsd_area::page_tables;
  state.cr4 = x86::cr4::pae;
  state.efer = x86::efer::lme | x86::efer::lma;
  state.gdt = {freebsd_area::gdt, sizeof gdt_words - 1};
  constexpr u32 code = 0x209b, data = 0x93, busy_tss = 0x8b;  // vm_setup_freebsd_registers()
  state.cs = {0x08, code, 0, 0};
  state.ds = state.es = state.ss = state.fs = state.gs = {0x10, data, 0, 0};
  state.tr = {0, busy_tss, 0, 0};
  state.ldtr = {0, Segment::unusable, 0, 0};
  return state;
}

}  // namespace

bool is_freebsd_kernel(const ElfImage& image) {
  return image.is_64 && image.os_abi == elf_os_abi_freebsd && image.entry >= freebsd_kernel_base;
}

Result<EntryState> load_freebsd(GuestMemory& memory, const BootRequest& boot,
                                const ElfImage& image, std::span<const x86::E820Entry> map) {
  LoadPlan plan(memory, map);
  const auto tables = make_page_tables();
  std::array<u8, sizeof gdt_words> gdt{};
  for (usize i = 0; i < gdt_words.size(); ++i) store_le<u64>(gdt, i * 8, gdt_words[i]);
  std::array<u8, 12> stack{};
  for (const auto& [at, bytes] : {std::pair<u64, std::span<const u8>>{freebsd_area::stack, stack},
                                  {freebsd_area::page_tables, tables},
                                  {freebsd_area::gdt, gdt}})
    if (auto ok = plan.place("loader tables", at, bytes, align_up(bytes.size(), page_size)); !ok)
      return tl::make_unexpected(ok.error());
  auto kernel = place_kernel(plan, boot.kernel, image);
  if (!kernel) return tl::make_unexpected(kernel.error());
  if (auto ok = place_symbols(plan, boot.kernel, *kernel); !ok)
    return tl::make_unexpected(ok.error());
  const auto handover = place_handover(plan, boot, image, *kernel, map);
  if (!handover) return tl::make_unexpected(handover.error());
  store_le<u32>(stack, 4, static_cast<u32>(handover->modulep));
  store_le<u32>(stack, 8, static_cast<u32>(handover->kernend));
  return plan.commit().map([&] { return make_state(image.entry); });
}

}  // namespace bhyve::loader
