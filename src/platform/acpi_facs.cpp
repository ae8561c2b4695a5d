#include "platform/acpi_facs.hpp"

#include "platform/byte_writer.hpp"

namespace bhyve::platform {

std::vector<u8> make_facs() {
  // Not a system description table: no checksum, no OEM fields. Hardware signature, waking vectors,
  // global lock and flags are all zero.
  constexpr u32 length = 64;
  constexpr u8 version = 2;
  ByteWriter out;
  out.put_text("FACS", 4).put_u32(length).put_zeros(24).put_u8(version).put_zeros(31);
  return out.take();
}

}  // namespace bhyve::platform
