#include "platform/acpi_loader.hpp"

#include <array>
#include <cstring>
#include <span>

#include "base/bytes.hpp"
#include "platform/byte_writer.hpp"

namespace bhyve::platform {
namespace {

constexpr const char* rsdp_file = "etc/acpi/rsdp";
constexpr const char* tables_file = "etc/acpi/tables";
constexpr usize name_size = 56, command_size = 128;
constexpr u32 alignment = 64;
constexpr usize header_size = 36, checksum_at = 9;  // ACPI 6.4, table 5.4

enum class Zone : u8 { high = 1, f_segment = 2 };

/// One list of commands, little-endian, each padded to 128 bytes.
class Script final {
 public:
  void allocate(const char* file, u32 align, Zone zone) {
    ByteWriter c = command(1, file);
    c.put_u32(align).put_u8(static_cast<u64>(zone));
    append(c);
  }
  /// Adds the address of `source` to a pointer of `size` bytes in `file`.
  void add_pointer(const char* file, const char* source, usize offset, unsigned size) {
    ByteWriter c = command(2, file);
    c.put_text(source, name_size, '\0').put_u32(offset).put_u8(size);
    append(c);
  }
  void add_checksum(const char* file, usize offset, usize start, usize length) {
    ByteWriter c = command(3, file);
    c.put_u32(offset).put_u32(start).put_u32(length);
    append(c);
  }
  std::vector<u8> take() { return std::move(bytes_); }

 private:
  static ByteWriter command(u32 code, const char* file) {
    ByteWriter c;
    c.put_u32(code).put_text(file, name_size, '\0');
    return c;
  }
  void append(ByteWriter& c) {
    std::vector<u8> bytes = c.take();
    bytes.resize(command_size);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  std::vector<u8> bytes_;
};

/// A pointer of a table.
struct Pointer final {
  usize offset;
  unsigned size;
};

bool is(std::span<const u8> table, const char* signature) {
  return table.size() >= 4 && std::memcmp(table.data(), signature, 4) == 0;
}

std::vector<Pointer> pointers_of(std::span<const u8> table) {
  std::vector<Pointer> out;
  if (is(table, "FACP")) return {{36, 4}, {40, 4}, {132, 8}, {140, 8}};  // FACS, DSDT: ACPI 6.4, 5.2.9
  const unsigned size = is(table, "RSDT") ? 4 : is(table, "XSDT") ? 8 : 0;
  if (size != 0)
    for (usize at = header_size; at + size <= table.size(); at += size) out.push_back({at, size});
  return out;
}

u64 load(const std::vector<u8>& bytes, usize at, unsigned size) {
  u64 value = 0;
  std::memcpy(&value, bytes.data() + at, size);
  return value;
}

/// Makes the addresses at `pointers` offsets from `base`, which the firmware adds anew.
void relocate(std::vector<u8>& bytes, usize at, std::span<const Pointer> pointers, u64 base,
              const char* file, Script& script) {
  for (const Pointer& p : pointers) {
    const u64 address = load(bytes, at + p.offset, p.size);
    if (address == 0) continue;
    const u64 offset = address - base;
    std::memcpy(bytes.data() + at + p.offset, &offset, p.size);
    script.add_pointer(file, tables_file, at + p.offset, p.size);
  }
}

}  // namespace

std::vector<std::pair<std::string, std::vector<u8>>> make_acpi_files(const AcpiTables& tables) {
  constexpr std::array rsdp_pointers{Pointer{16, 4}, Pointer{24, 8}};  // ACPI 6.4, 5.2.5.3
  constexpr usize rsdp_checksum = 8, rsdp_first = 20, rsdp_extended = 32, rsdp_size = 36;
  Script script;
  script.allocate(rsdp_file, 16, Zone::f_segment);
  script.allocate(tables_file, alignment, Zone::high);
  std::vector<u8> rsdp = tables.blobs.front().bytes, all;
  const u64 base = tables.blobs[1].address.value();
  for (usize n = 1; n < tables.blobs.size(); ++n) {
    const GuestBlob& blob = tables.blobs[n];
    const usize at = blob.address.value() - base;
    all.resize(at);
    all.insert(all.end(), blob.bytes.begin(), blob.bytes.end());
    const auto pointers = pointers_of(blob.bytes);
    relocate(all, at, pointers, base, tables_file, script);
    if (pointers.empty()) continue;
    all[at + checksum_at] = 0;
    script.add_checksum(tables_file, at + checksum_at, at, blob.bytes.size());
  }
  relocate(rsdp, 0, rsdp_pointers, base, rsdp_file, script);
  rsdp[rsdp_checksum] = rsdp[rsdp_extended] = 0;
  script.add_checksum(rsdp_file, rsdp_checksum, 0, rsdp_first);
  script.add_checksum(rsdp_file, rsdp_extended, 0, rsdp_size);
  return {{rsdp_file, std::move(rsdp)}, {tables_file, std::move(all)}, {"etc/table-loader", script.take()}};
}

}  // namespace bhyve::platform
