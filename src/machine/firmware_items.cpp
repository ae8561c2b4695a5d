#include "machine/firmware_items.hpp"

#include <fstream>
#include <iterator>

#include "machine/firmware_tables.hpp"
#include "platform/acpi_loader.hpp"
#include "platform/byte_writer.hpp"
#include "platform/e820.hpp"
#include "platform/uuid.hpp"

namespace bhyve::machine {
namespace {

using platform::FwCfg;

constexpr usize item_limit = 64 * MiB;

std::vector<u8> memory_map(const MachineConfig& config) {
  platform::ByteWriter out;
  for (const x86::E820Entry& entry : platform::make_e820(config.lowmem, config.highmem))
    out.put_u64(entry.base).put_u64(entry.size).put_u32(static_cast<u32>(entry.type));
  return out.take();
}

Result<std::vector<u8>> read_item(const FirmwareItem& item) {
  if (!item.file) return std::vector<u8>(item.value.begin(), item.value.end());
  std::ifstream in(item.value, std::ios::binary);
  std::vector<u8> bytes;
  char byte = 0;
  while (bytes.size() <= item_limit && in.get(byte)) bytes.push_back(static_cast<u8>(byte));
  if (in.bad() || !in.is_open())
    return fail(ENOENT, "-f {}: cannot read {}", item.name, item.value);
  if (bytes.size() > item_limit)
    return fail(EFBIG, "-f {}: {} has more than {} MiB", item.name, item.value, item_limit / MiB);
  return bytes;
}

/// Tables for firmware that places them itself.
Result<void> add_tables(FwCfg& out, const MachineConfig& config, u8 lpc_slot) {
  if (config.acpi) {
    const auto tables = make_acpi(config, lpc_slot);
    if (!tables) return tl::make_unexpected(tables.error());
    for (auto& [name, bytes] : platform::make_acpi_files(*tables))
      if (auto ok = out.add_file(name, std::move(bytes)); !ok) return ok;
  }
  auto smbios = platform::make_smbios(config.smbios);
  if (!smbios) return tl::make_unexpected(smbios.error());
  if (auto ok = out.add_file("etc/smbios/smbios-anchor", std::move((*smbios)[0].bytes)); !ok) return ok;
  return out.add_file("etc/smbios/smbios-tables", std::move((*smbios)[1].bytes));
}

}  // namespace

Result<FwCfg> make_firmware_items(const MachineConfig& config, u8 lpc_slot) {
  FwCfg out;
  const auto uuid = platform::parse_uuid(config.uuid);
  const auto id = uuid ? *uuid : platform::uuid_from_name(config.name);
  out.set_item(FwCfg::key_uuid, {id.begin(), id.end()});
  out.set_number(FwCfg::key_ram_size, config.memory, 8);
  out.set_number(FwCfg::key_nographic, 1, 2);
  out.set_number(FwCfg::key_cpus, config.vcpus, 2);
  out.set_number(FwCfg::key_max_cpus, config.vcpus, 2);
  out.set_number(FwCfg::key_boot_menu, 0, 2);
  if (auto ok = out.add_file("etc/e820", memory_map(config)); !ok)
    return tl::make_unexpected(ok.error());
  for (const FirmwareItem& item : config.firmware_items) {
    auto bytes = read_item(item);
    if (!bytes) return tl::make_unexpected(bytes.error());
    if (auto ok = out.add_file(item.name, std::move(*bytes)); !ok)
      return fail(ok.error().code, "-f {}: {}", item.name, ok.error().message);
  }
  if (auto ok = add_tables(out, config, lpc_slot); !ok) return tl::make_unexpected(ok.error());
  return out;
}

}  // namespace bhyve::machine
