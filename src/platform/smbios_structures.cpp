#include "platform/smbios_structures.hpp"

#include <algorithm>
#include <string_view>

#include "platform/byte_writer.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

/// Structure types (DSP0134, table 3).
enum class Type : u8 {
  bios = 0, system = 1, board = 2, chassis = 3, processor = 4, memory_array = 16,
  memory_device = 17, memory_mapped = 19, boot_information = 32, end = 127
};

constexpr u16 no_handle = 0xffff, no_error_information = 0xfffe;
constexpr u8 header_size = 4;

/// One structure: fields, then its strings; str() gives the number a field refers to a string by.
class Structure final {
 public:
  Structure(Type type, u16 handle) {
    out_.put_u8(static_cast<u8>(type)).put_u8(header_size).put_u16(handle);
  }
  [[nodiscard]] ByteWriter& fields() { return out_; }
  /// Adds a string field. An empty string is number 0, "none".
  void put_string(std::string_view text) {
    if (!text.empty()) {
      strings_.insert(strings_.end(), text.begin(), text.end());
      strings_.push_back(0);
      ++count_;
    }
    out_.put_u8(text.empty() ? 0 : count_);
  }
  [[nodiscard]] std::vector<u8> finish() {
    constexpr usize length_offset = 1;
    out_.set_u8(length_offset, static_cast<u8>(out_.size()));
    if (strings_.empty()) strings_.push_back(0);
    return out_.put_bytes(strings_).put_u8(0).take();
  }

 private:
  ByteWriter out_;
  std::vector<u8> strings_;
  u8 count_ = 0;
};

/// Collects structures and numbers their handles.
class Table final {
 public:
  [[nodiscard]] u16 next_handle() { return handle_++; }
  void add(Structure& structure) {
    const std::vector<u8> bytes = structure.finish();
    table_.largest = std::max(table_.largest, bytes.size());
    table_.bytes.insert(table_.bytes.end(), bytes.begin(), bytes.end());
    ++table_.count;
  }
  [[nodiscard]] SmbiosStructures take() { return std::move(table_); }

 private:
  SmbiosStructures table_;
  u16 handle_ = 0;
};

void add_bios(Table& table, const SmbiosConfig& c) {
  constexpr u64 isa = 1u << 4, pci = 1u << 7;
  constexpr u8 acpi_supported = 1, virtual_machine = 1u << 4;
  constexpr u16 start_segment = 0xf000;
  Structure s(Type::bios, table.next_handle());
  s.put_string(c.bios_vendor);
  s.put_string(c.bios_version);
  s.fields().put_u16(start_segment);
  s.put_string(c.bios_release_date);
  s.fields().put_u8(0).put_u64(isa | pci).put_u8(acpi_supported).put_u8(virtual_machine);
  s.fields().put_u8(0).put_u8(0).put_u8(0xff).put_u8(0xff);  // releases of BIOS, no controller
  table.add(s);
}

void add_system(Table& table, const SmbiosConfig& c) {
  constexpr u8 wake_power_switch = 6;
  Structure s(Type::system, table.next_handle());
  s.put_string(c.system_manufacturer);
  s.put_string(c.system_product_name);
  s.put_string(c.system_version);
  s.put_string(c.system_serial_number);
  // The first three fields of a UUID are little-endian here (7.2.1).
  for (const unsigned i : {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}) {
    s.fields().put_u8(c.uuid[i]);
  }
  s.fields().put_u8(wake_power_switch);
  s.put_string(c.system_sku);
  s.put_string(c.system_family_name);
  table.add(s);
}

void add_board(Table& table, const SmbiosConfig& c, u16 chassis) {
  constexpr u8 hosting = 1, replaceable = 1u << 3, motherboard = 0x0a;
  Structure s(Type::board, table.next_handle());
  s.put_string(c.board_manufacturer);
  s.put_string(c.board_product_name);
  s.put_string(c.board_version);
  s.put_string(c.board_serial_number);
  s.put_string(c.board_asset_tag);
  s.fields().put_u8(hosting | replaceable);
  s.put_string(c.board_location);
  s.fields().put_u16(chassis).put_u8(motherboard).put_u8(0);
  table.add(s);
}

void add_chassis(Table& table, const SmbiosConfig& c, u16 handle) {
  constexpr u8 unknown = 2, safe = 3, no_security = 3;
  Structure s(Type::chassis, handle);
  s.put_string(c.chassis_manufacturer);
  s.fields().put_u8(unknown);
  s.put_string(c.chassis_version);
  s.put_string(c.chassis_serial_number);
  s.put_string(c.chassis_asset_tag);
  s.fields().put_u8(safe).put_u8(safe).put_u8(safe).put_u8(no_security).put_u32(0);
  s.fields().put_u8(0).put_u8(0).put_u8(0).put_u8(0);  // height, cords, contained elements
  s.put_string(c.chassis_sku);
  table.add(s);
}

void add_processor(Table& table, const SmbiosConfig& c, unsigned socket) {
  constexpr u8 central = 3, family_other = 1, upgrade_none = 6, populated_enabled = 0x41;
  constexpr u16 characteristics_64bit = 1u << 2;
  const auto byte_count = [](unsigned n) { return std::min(n, 0xffu); };
  Structure s(Type::processor, table.next_handle());
  s.put_string("CPU #" + std::to_string(socket));
  s.fields().put_u8(central).put_u8(family_other);
  s.put_string("");
  s.fields().put_u32(c.cpu_signature).put_u32(c.cpu_features);
  s.put_string("");
  s.fields().put_u8(0).put_u16(0).put_u16(0).put_u16(0);  // voltage, clocks: unknown
  s.fields().put_u8(populated_enabled).put_u8(upgrade_none);
  s.fields().put_u16(no_handle).put_u16(no_handle).put_u16(no_handle);  // caches
  for (int i = 0; i < 3; ++i) s.put_string("");                         // serial, asset, part
  s.fields().put_u8(byte_count(c.cores)).put_u8(byte_count(c.cores));
  s.fields().put_u8(byte_count(c.cores * c.threads)).put_u16(characteristics_64bit);
  s.fields().put_u16(family_other);
  table.add(s);
}

void add_memory_array(Table& table, u16 handle, u64 bytes, u16 devices) {
  constexpr u8 system_board = 3, system_memory = 3, no_ecc = 3;
  constexpr u32 in_extended_field = 0x8000'0000;
  const u64 kib = bytes / KiB;
  Structure s(Type::memory_array, handle);
  s.fields().put_u8(system_board).put_u8(system_memory).put_u8(no_ecc);
  s.fields().put_u32(kib < in_extended_field ? kib : in_extended_field);
  s.fields().put_u16(no_error_information).put_u16(devices);
  s.fields().put_u64(kib < in_extended_field ? 0 : bytes);
  table.add(s);
}

void add_memory_device(Table& table, u16 array, u64 bytes) {
  constexpr u8 dimm = 9, ram = 7;
  constexpr u16 type_unknown = 1u << 2, in_extended_field = 0x7fff;
  const u64 mib = bytes / MiB;
  const bool big = mib >= in_extended_field;
  Structure s(Type::memory_device, table.next_handle());
  s.fields().put_u16(array).put_u16(no_error_information).put_u16(64).put_u16(64);
  s.fields().put_u16(big ? in_extended_field : mib).put_u8(dimm).put_u8(0);
  s.put_string("DIMM 0");
  s.put_string("");
  s.fields().put_u8(ram).put_u16(type_unknown).put_u16(0);
  for (int i = 0; i < 4; ++i) s.put_string("");  // manufacturer, serial, asset, part
  s.fields().put_u8(0).put_u32(big ? mib : 0).put_u16(0);
  table.add(s);
}

void add_mapped_range(Table& table, u16 array, u64 first, u64 bytes) {
  constexpr u32 in_extended_fields = 0xffff'ffff;
  const u64 last = first + bytes - 1;
  const bool big = last / KiB >= in_extended_fields;
  Structure s(Type::memory_mapped, table.next_handle());
  s.fields().put_u32(big ? in_extended_fields : first / KiB);
  s.fields().put_u32(big ? in_extended_fields : last / KiB);
  s.fields().put_u16(array).put_u8(1).put_u64(big ? first : 0).put_u64(big ? last : 0);
  table.add(s);
}

void add_memory(Table& table, const SmbiosConfig& c) {
  const u16 array = table.next_handle();
  const u64 bytes = c.lowmem + c.highmem;
  add_memory_array(table, array, bytes, 1);
  add_memory_device(table, array, bytes);
  if (c.lowmem != 0) add_mapped_range(table, array, 0, c.lowmem);
  if (c.highmem != 0) {
    add_mapped_range(table, array, layout::highmem_base.value(), c.highmem);
  }
}

}  // namespace

SmbiosStructures make_smbios_structures(const SmbiosConfig& config) {
  Table table;
  add_bios(table, config);
  add_system(table, config);
  const u16 chassis = table.next_handle();
  add_board(table, config, chassis);
  add_chassis(table, config, chassis);
  for (unsigned i = 0; i < config.sockets; ++i) add_processor(table, config, i);
  add_memory(table, config);
  Structure boot(Type::boot_information, table.next_handle());
  boot.fields().put_zeros(6).put_u8(0);  // no errors detected
  table.add(boot);
  Structure end(Type::end, table.next_handle());
  table.add(end);
  return table.take();
}

}  // namespace bhyve::platform
