#include "machine/boot.hpp"

#include "loader/bzimage.hpp"
#include "platform/acpi.hpp"
#include "platform/e820.hpp"
#include "platform/mptable.hpp"
#include "platform/smbios.hpp"
#include "platform/uuid.hpp"

namespace bhyve::machine {
namespace {

using engine::StateGroups;
using x86::Seg;

/// No kernel is near this; an endless pipe must not fill the host's memory.
constexpr u64 kernel_limit = 1 * GiB;

class VmMemory final : public loader::GuestMemory {
 public:
  explicit VmMemory(mem::Vmspace& space) : space_(space) {}
  Result<void> write(Gpa gpa, std::span<const u8> bytes) override {
    if (space_.write(gpa, bytes)) return {};
    return fail(ENOMEM, "{} bytes at guest address {:#x} do not lie in memory", bytes.size(),
                gpa.value());
  }
  [[nodiscard]] u64 lowmem() const override { return space_.lowmem(); }
  [[nodiscard]] u64 highmem() const override { return space_.highmem(); }

 private:
  mem::Vmspace& space_;
};

Result<void> place(VmMemory& memory, const platform::GuestBlob& blob) {
  return memory.write(blob.address, blob.bytes);
}

/// The variables bios.*, system.*, board.* and chassis.* (bhyve_config(5)).
Result<platform::SmbiosConfig> smbios_config(const MachineConfig& config, const Config& variables) {
  platform::SmbiosConfig out;
  const struct {
    const char* name;
    std::string* text;
  } texts[] = {
      {"bios.vendor", &out.bios_vendor},
      {"bios.version", &out.bios_version},
      {"bios.release_date", &out.bios_release_date},
      {"system.manufacturer", &out.system_manufacturer},
      {"system.product_name", &out.system_product_name},
      {"system.version", &out.system_version},
      {"system.serial_number", &out.system_serial_number},
      {"system.sku", &out.system_sku},
      {"system.family_name", &out.system_family_name},
      {"board.manufacturer", &out.board_manufacturer},
      {"board.product_name", &out.board_product_name},
      {"board.version", &out.board_version},
      {"board.serial_number", &out.board_serial_number},
      {"board.asset_tag", &out.board_asset_tag},
      {"board.location", &out.board_location},
      {"chassis.manufacturer", &out.chassis_manufacturer},
      {"chassis.version", &out.chassis_version},
      {"chassis.serial_number", &out.chassis_serial_number},
      {"chassis.asset_tag", &out.chassis_asset_tag},
      {"chassis.sku", &out.chassis_sku},
  };
  for (const auto& [name, text] : texts) {
    auto value = variables.get_text(name, *text);
    if (!value) return tl::make_unexpected(value.error());
    *text = std::move(*value);
  }
  out.sockets = config.cpu.sockets;
  out.cores = config.cpu.cores;
  out.threads = config.cpu.threads;
  out.lowmem = config.lowmem;
  out.highmem = config.highmem;
  const auto given = platform::parse_uuid(config.uuid);
  if (!config.uuid.empty() && !given)
    return fail(EINVAL, "uuid={}: expected a UUID such as "
                        "123e4567-e89b-12d3-a456-426614174000", config.uuid);
  out.uuid = given ? *given : platform::uuid_from_name(config.name);
  return out;
}

Result<Gpa> place_acpi(VmMemory& memory, const MachineConfig& config, u8 lpc_slot) {
  platform::AcpiConfig acpi;
  for (u32 id = 0; id < config.vcpus; ++id) acpi.cpus.push_back({id, true});
  acpi.lowmem = config.lowmem;
  acpi.highmem = config.highmem;
  for (unsigned n = 0; n < com_ports; ++n) acpi.uarts[n] = !config.com[n].empty();
  acpi.lpc_slot = lpc_slot;
  auto tables = platform::make_acpi_tables(acpi);
  if (!tables) return tl::make_unexpected(tables.error());
  for (const auto& blob : tables->blobs)
    if (auto ok = place(memory, blob); !ok) return tl::make_unexpected(ok.error());
  return tables->rsdp;
}

Result<void> place_tables(VmMemory& memory, const MachineConfig& config, const Config& variables,
                          const std::vector<unsigned>& pci_slots) {
  if (config.mptable) {
    platform::MpTableConfig mp;
    for (u32 id = 0; id < config.vcpus; ++id) mp.apic_ids.push_back(id);
    mp.pci_slots = pci_slots;
    const auto table = platform::make_mptable(mp);
    if (!table) return tl::make_unexpected(table.error());
    if (auto ok = place(memory, *table); !ok) return ok;
  }
  const auto smbios = smbios_config(config, variables);
  if (!smbios) return tl::make_unexpected(smbios.error());
  const auto blobs = platform::make_smbios(*smbios);
  if (!blobs) return tl::make_unexpected(blobs.error());
  for (const auto& blob : *blobs)
    if (auto ok = place(memory, blob); !ok) return ok;
  return {};
}

void enter_at(vmm::Vcpu& vcpu, const loader::EntryState& entry) {
  const auto groups = StateGroups::gprs | StateGroups::control | StateGroups::segments;
  engine::VcpuState state;
  vcpu.store(groups, state);
  state.gpr = {};
  state.gpr[static_cast<usize>(x86::Gpr::rsp)] = entry.rsp;
  state.gpr[static_cast<usize>(x86::Gpr::rsi)] = entry.rsi;
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

/// Reads the files that the guest starts from.
Result<loader::LinuxBoot> read_boot_files(const MachineConfig& config) {
  if (config.kernel.empty())
    return fail(EINVAL, "nothing to boot: expected --kernel FILE (or the variable boot.kernel)");
  loader::LinuxBoot boot;
  auto kernel = loader::read_boot_file("kernel " + config.kernel, config.kernel, kernel_limit);
  if (!kernel) return tl::make_unexpected(kernel.error());
  boot.kernel = std::move(*kernel);
  if (!config.initrd.empty()) {
    auto initrd = loader::read_boot_file("initrd " + config.initrd, config.initrd, config.memory);
    if (!initrd) return tl::make_unexpected(initrd.error());
    boot.initrd = std::move(*initrd);
  }
  boot.command_line = config.cmdline;
  return boot;
}

}  // namespace

Result<void> load_guest(vmm::Vm& vm, const MachineConfig& config, const Config& variables,
                        u8 lpc_slot, const std::vector<unsigned>& pci_slots) {
  auto boot = read_boot_files(config);
  if (!boot) return tl::make_unexpected(boot.error());
  VmMemory memory(vm.space());
  if (config.acpi) {
    const auto rsdp = place_acpi(memory, config, lpc_slot);
    if (!rsdp) return tl::make_unexpected(rsdp.error());
    boot->rsdp = *rsdp;
  }
  if (auto ok = place_tables(memory, config, variables, pci_slots); !ok) return ok;
  const auto map = platform::make_e820(config.lowmem, config.highmem);
  const auto entry = loader::load_bzimage(memory, *boot, map);
  if (!entry) return tl::make_unexpected(entry.error());
  enter_at(vm.vcpu(0), *entry);
  return {};
}

}  // namespace bhyve::machine
