#include "machine/firmware_tables.hpp"

#include "platform/bios_data.hpp"
#include "platform/mptable.hpp"
#include "platform/smbios.hpp"
#include "platform/uuid.hpp"
#include "timer/vhpet.hpp"

namespace bhyve::machine {
namespace {

Result<void> place(loader::GuestMemory& memory, const platform::GuestBlob& blob) {
  return memory.write(blob.address, blob.bytes);
}

}  // namespace

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

Result<platform::AcpiTables> make_acpi(const MachineConfig& config, u8 lpc_slot) {
  platform::AcpiConfig acpi;
  for (u32 id = 0; id < config.vcpus; ++id) acpi.cpus.push_back({id, true});
  acpi.lowmem = config.lowmem;
  acpi.highmem = config.highmem;
  for (unsigned n = 0; n < com_ports; ++n) acpi.uarts[n] = !config.com[n].empty();
  acpi.lpc_slot = lpc_slot;
  acpi.hpet_id = timer::Vhpet::capabilities();
  return platform::make_acpi_tables(acpi);
}

Result<void> place_bios_data(loader::GuestMemory& memory, const MachineConfig& config) {
  std::array<bool, com_ports> com{};
  for (unsigned n = 0; n < com_ports; ++n) com[n] = !config.com[n].empty();
  for (const auto& blob : platform::make_bios_data(com))
    if (auto ok = place(memory, blob); !ok) return ok;
  return {};
}

Result<void> place_firmware_tables(loader::GuestMemory& memory, const MachineConfig& config,
                                   u8 lpc_slot, const std::vector<unsigned>& pci_slots) {
  if (config.acpi) {
    const auto tables = make_acpi(config, lpc_slot);
    if (!tables) return tl::make_unexpected(tables.error());
    for (const auto& blob : tables->blobs)
      if (auto ok = place(memory, blob); !ok) return ok;
  }
  if (config.mptable) {
    platform::MpTableConfig mp;
    for (u32 id = 0; id < config.vcpus; ++id) mp.apic_ids.push_back(id);
    mp.pci_slots = pci_slots;
    const auto table = platform::make_mptable(mp);
    if (!table) return tl::make_unexpected(table.error());
    if (auto ok = place(memory, *table); !ok) return ok;
  }
  const auto blobs = platform::make_smbios(config.smbios);
  if (!blobs) return tl::make_unexpected(blobs.error());
  for (const auto& blob : *blobs)
    if (auto ok = place(memory, blob); !ok) return ok;
  return {};
}

}  // namespace bhyve::machine
