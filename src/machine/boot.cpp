#include "machine/boot.hpp"

#include "loader/load.hpp"
#include "machine/boot_files.hpp"
#include "machine/boot_rom.hpp"
#include "machine/firmware_tables.hpp"
#include "machine/stopped_vm.hpp"
#include "machine/vm_memory.hpp"
#include "platform/e820.hpp"
#include "platform/layout.hpp"

namespace bhyve::machine {
namespace {

using engine::StateGroups;
using x86::Seg;

void enter_at(vmm::Vcpu& vcpu, const loader::EntryState& entry) {
  const auto groups = StateGroups::gprs | StateGroups::control | StateGroups::segments;
  engine::VcpuState state;
  vcpu.store(groups, state);
  const auto gpr = [&](x86::Gpr reg) -> u64& { return state.gpr[static_cast<usize>(reg)]; };
  state.gpr = {};
  gpr(x86::Gpr::rsp) = entry.rsp;
  gpr(x86::Gpr::rax) = entry.rax;
  gpr(x86::Gpr::rbx) = entry.rbx;
  gpr(x86::Gpr::rsi) = entry.rsi;
  state.rip = entry.rip;
  state.rflags = entry.rflags;
  state.cr0 = entry.cr0;
  state.cr2 = 0;
  state.cr3 = entry.cr3;
  state.cr4 = entry.cr4;
  state.efer = entry.efer;
  state.gdtr = entry.gdt;
  state.idtr = entry.idt;
  const auto set = [&](Seg seg, const x86::Segment& value) {
    state.seg[static_cast<usize>(seg)] = value;
  };
  set(Seg::cs, entry.cs);
  set(Seg::ds, entry.ds);
  set(Seg::es, entry.es);
  set(Seg::ss, entry.ss);
  set(Seg::fs, entry.fs);
  set(Seg::gs, entry.gs);
  set(Seg::ldtr, entry.ldtr);
  set(Seg::tr, entry.tr);
  vcpu.load(groups, state);
}

/// Memory types as firmware leaves them on every processor (SDM vol. 3, 12.11): write-back, but for
/// the VGA window and the PCI hole.
void set_memory_types(vmm::Vm& vm) {
  constexpr u64 enabled_wb = 0xc06;  // MTRRs and fixed ranges on, default write-back
  constexpr u64 all_wb = 0x0606'0606'0606'0606, all_uc = 0, uncacheable = 0, valid = bit(11);
  constexpr usize vga_range = 2;  // MTRR_FIX16K_A0000
  // One MTRR of a power of two: the largest that begins above RAM and ends at 4 GiB. A lowmem beyond
  // 3 GiB leaves a gap below it, which its devices' drivers map as they need it.
  const u64 hole = vm.config().lowmem <= 3 * GiB ? 3 * GiB : 4 * GiB - 512 * MiB;
  const u64 width = bit(vm.config().physical_bits) - 1;
  for (VcpuId id = 0; id < vm.vcpu_count(); ++id) {
    engine::VcpuState state;
    vm.vcpu(id).store(StateGroups::msrs, state);
    state.mtrr_def_type = enabled_wb;
    state.mtrr_fixed.fill(all_wb);
    state.mtrr_fixed[vga_range] = all_uc;
    state.mtrr_variable[0] = hole | uncacheable;
    state.mtrr_variable[1] = (~(4 * GiB - hole - 1) & width) | valid;
    vm.vcpu(id).load(StateGroups::msrs, state);
  }
}

[[nodiscard]] Result<loader::EntryState> restore_loaded(vmm::Vm& vm, const MachineConfig& config,
                                                        const LoadedGuest& loaded) {
  const auto state = parse_loaded_state(loaded.state);
  if (!state) return tl::make_unexpected(state.error());
  if (state->lowmem != config.lowmem || state->highmem != config.highmem)
    return fail(EINVAL, "guest memory of {} MiB: expected {} MiB, as bhyveload made it",
                config.memory / MiB, (state->lowmem + state->highmem) / MiB);
  if (auto ok = restore_memory(vm.space(), loaded.memory.get()); !ok)
    return tl::make_unexpected(ok.error());
  return state->entry;
}

/// Memory as a user of the library left it, all pages of it.
[[nodiscard]] Result<void> restore_left_memory(vmm::Vm& vm, const MachineConfig& config,
                                               const LoadedGuest& left) {
  const auto head = stopped_head(left.vcpus);
  if (!head) return tl::make_unexpected(head.error());
  if (head->lowmem != config.lowmem || head->highmem != config.highmem)
    return fail(EINVAL, "guest memory of {} MiB: expected {} MiB, as the VM was left",
                config.memory / MiB, (head->lowmem + head->highmem) / MiB);
  return restore_memory(vm.space(), left.memory.get());
}

[[nodiscard]] Result<loader::EntryState> load_direct(vmm::Vm& vm, const MachineConfig& config,
                                                     const Config& variables) {
  auto boot = read_boot_request(config, variables);
  if (!boot) return tl::make_unexpected(boot.error());
  VmMemory memory(vm.space());
  const auto map = platform::make_e820(config.lowmem, config.highmem);
  return loader::load_kernel(memory, std::move(*boot), map);
}

}  // namespace

Result<void> load_guest(vmm::Vm& vm, const MachineConfig& config, const Config& variables,
                        const LoadedGuest* loaded, u8 lpc_slot,
                        const std::vector<unsigned>& pci_slots) {
  const auto rom = variables.get_text("lpc.bootrom", "");
  const auto rom_variables = variables.get_text("lpc.bootvars", "");
  for (const auto* text : {&rom, &rom_variables})
    if (!*text) return tl::make_unexpected(text->error());
  if (config.kernel.empty() && rom->empty() && loaded == nullptr)
    return fail(EINVAL, "nothing to boot: expected --kernel FILE (or the variable boot.kernel), "
                        "-l bootrom,FILE or a VM that bhyveload has filled");
  const bool left = config.kernel.empty() && rom->empty() && !loaded->vcpus.empty();
  const bool direct = !left && (!config.kernel.empty() || rom->empty());
  if (left)
    if (auto ok = restore_left_memory(vm, config, *loaded); !ok) return ok;
  Result<loader::EntryState> entry;
  if (direct) {
    entry = config.kernel.empty() ? restore_loaded(vm, config, *loaded)
                                  : load_direct(vm, config, variables);
    if (!entry) return tl::make_unexpected(entry.error());
  }
  VmMemory memory(vm.space());
  if (auto ok = place_firmware_tables(memory, config, lpc_slot, pci_slots); !ok)
    return ok;
  // After the tables: a BIOS that wants its window below 1 MiB makes its own.
  if (!rom->empty())
    if (auto ok = map_boot_rom(vm.space(), *rom, *rom_variables); !ok) return ok;
  if (left) return restore_stopped(vm, loaded->vcpus);
  if (!direct) return {};
  if (auto ok = place_bios_data(memory, config); !ok) return ok;
  set_memory_types(vm);
  enter_at(vm.vcpu(0), *entry);
  return {};
}

Result<void> restore_guest(vmm::Vm& vm, const MachineConfig& config, const LoadedGuest& loaded) {
  if (!loaded.vcpus.empty()) {
    if (auto ok = restore_left_memory(vm, config, loaded); !ok) return ok;
    return restore_stopped(vm, loaded.vcpus);
  }
  const auto entry = restore_loaded(vm, config, loaded);
  if (!entry) return tl::make_unexpected(entry.error());
  set_memory_types(vm);
  enter_at(vm.vcpu(0), *entry);
  return {};
}

}  // namespace bhyve::machine
