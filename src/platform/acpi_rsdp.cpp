#include "platform/acpi_rsdp.hpp"

#include "platform/byte_writer.hpp"

namespace bhyve::platform {

std::vector<u8> make_rsdp(Gpa rsdt, Gpa xsdt) {
  constexpr u8 revision = 2;
  constexpr usize length = 36, length_acpi1 = 20, checksum_offset = 8, extended_offset = 32;
  ByteWriter out;
  out.put_text("RSD PTR ", 8).put_u8(0).put_text("BHYVE", 6).put_u8(revision);
  out.put_u32(rsdt.value()).put_u32(length).put_u64(xsdt.value()).put_u32(0);
  out.set_checksum(checksum_offset, 0, length_acpi1);
  out.set_checksum(extended_offset, 0, length);
  return out.take();
}

}  // namespace bhyve::platform
