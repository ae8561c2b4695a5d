#include "platform/bios_data.hpp"

#include "platform/byte_writer.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

/// Where IBM's BIOS has its dummy return; nothing else of ours is near.
constexpr Gpa stubs{0xf'ff40};
constexpr u16 segment = 0xf000;
constexpr u8 just_return[] = {0xcf};  // iret
// push bp; mov bp,sp; or byte [bp+6],1 (CF of the caller's flags); pop bp; mov ah,86h; iret
constexpr u8 no_such_function[] = {0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xb4, 0x86, 0xcf};

GuestBlob vectors() {
  constexpr unsigned count = 256, first_call = 0x10, last_call = 0x1a;
  ByteWriter out;
  for (unsigned vector = 0; vector < count; ++vector) {
    const bool call = vector >= first_call && vector <= last_call;
    const u64 offset = (stubs.value() & 0xffff) + (call ? sizeof just_return : 0);
    out.put_u16(offset).put_u16(segment);
  }
  return {Gpa(0), out.take()};
}

GuestBlob data_area(const std::array<bool, 4>& com) {
  constexpr u16 ports[] = {layout::port_com1, layout::port_com2, layout::port_com3, layout::port_com4};
  ByteWriter out;
  for (unsigned n = 0; n < com.size(); ++n) out.put_u16(com[n] ? ports[n] : 0);
  out.put_zeros(6);                            // 408h: no printers
  out.put_u16(layout::ebda.value() >> 4);      // 40Eh
  unsigned uarts = 0;
  for (const bool there : com) uarts += there;
  out.put_u16(uarts << 9 | 2);                 // 410h: equipment: serial ports, FPU
  out.put_u8(0).put_u16(layout::ebda.value() / KiB);  // 413h: KiB of base memory
  return {Gpa(0x400), out.take()};
}

}  // namespace

std::vector<GuestBlob> make_bios_data(const std::array<bool, 4>& com) {
  ByteWriter code;
  for (const u8 byte : just_return) code.put_u8(byte);
  for (const u8 byte : no_such_function) code.put_u8(byte);
  const u8 ebda_kib = 1;
  return {vectors(), data_area(com), {layout::ebda, {ebda_kib}}, {stubs, code.take()}};
}

}  // namespace bhyve::platform
