#include "platform/smbios.hpp"

#include "platform/byte_writer.hpp"
#include "platform/layout.hpp"
#include "platform/smbios_structures.hpp"

namespace bhyve::platform {
namespace {

constexpr u8 major = 2, minor = 7;
constexpr usize entry_size = 0x1f, entry_room = 0x20;

/// The 32-bit entry point (DSP0134, 5.2.1): an anchor, and inside it the older DMI anchor.
std::vector<u8> entry_point(const SmbiosStructures& structures, Gpa table) {
  constexpr usize checksum_offset = 4, dmi_offset = 0x10, dmi_checksum_offset = 0x15;
  ByteWriter out;
  out.put_text("_SM_", 4).put_u8(0).put_u8(entry_size).put_u8(major).put_u8(minor);
  out.put_u16(structures.largest).put_u8(0).put_zeros(5);
  out.put_text("_DMI_", 5).put_u8(0).put_u16(structures.bytes.size()).put_u32(table.value());
  out.put_u16(structures.count).put_u8(major << 4 | minor);
  out.set_checksum(dmi_checksum_offset, dmi_offset, entry_size - dmi_offset);
  out.set_checksum(checksum_offset, 0, entry_size);
  return out.take();
}

}  // namespace

Result<std::vector<GuestBlob>> make_smbios(const SmbiosConfig& config) {
  SmbiosStructures structures = make_smbios_structures(config);
  const bool few = structures.bytes.size() <= layout::acpi - layout::smbios - entry_room;
  const Gpa table = few ? layout::smbios + entry_room : layout::bios_area;
  if (structures.bytes.size() > 0xffff) {
    return fail(E2BIG, "SMBIOS structures take {} bytes, more than 65535: use fewer sockets",
                structures.bytes.size());
  }
  std::vector<GuestBlob> blobs;
  blobs.push_back({layout::smbios, entry_point(structures, table)});
  blobs.push_back({table, std::move(structures.bytes)});
  return blobs;
}

}  // namespace bhyve::platform
