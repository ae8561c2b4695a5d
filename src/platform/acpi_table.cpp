#include "platform/acpi_table.hpp"

#include <string>

namespace bhyve::platform {
namespace {

constexpr usize length_offset = 4, checksum_offset = 9;

enum class AddressSpace : u8 { memory = 0, io = 1 };

}  // namespace

AcpiTable::AcpiTable(std::string_view signature, u8 revision) {
  constexpr u32 oem_revision = 1, creator_revision = 1;
  out_.put_text(signature, 4).put_u32(0).put_u8(revision).put_u8(0).put_text("BHYVE", 6);
  out_.put_text("BV" + std::string(signature), 8).put_u32(oem_revision);
  out_.put_text("BHYV", 4).put_u32(creator_revision);
}

std::vector<u8> AcpiTable::finish() {
  out_.set_u32(length_offset, static_cast<u32>(out_.size()));
  out_.set_checksum(checksum_offset, 0, out_.size());
  return out_.take();
}

void put_gas_io(ByteWriter& out, u16 port, u8 bits) {
  if (port == 0) {
    out.put_zeros(12);
    return;
  }
  // Access size 0 (undefined) lets the OS choose by the width.
  out.put_u8(static_cast<u8>(AddressSpace::io)).put_u8(bits).put_u8(0).put_u8(0).put_u64(port);
}

void put_gas_memory(ByteWriter& out, u64 address, u8 bits) {
  out.put_u8(static_cast<u8>(AddressSpace::memory)).put_u8(bits).put_u8(0).put_u8(0)
      .put_u64(address);
}

}  // namespace bhyve::platform
