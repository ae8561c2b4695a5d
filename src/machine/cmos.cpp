#include "machine/cmos.hpp"

#include <algorithm>

namespace bhyve::machine {
namespace {

constexpr u8 equipment_fpu = 0x02, equipment_mouse = 0x04;
constexpr u64 base_memory = 640 * KiB;

enum Offset : unsigned {
  first_summed = 0x10, equipment = 0x14, base_size = 0x15, extended_size = 0x17, last_summed = 0x2d,
  checksum = 0x2e, extended_found = 0x30, cpus = 0x5f
};

void put16(timer::VrtcPio& rtc, unsigned offset, u64 value) {
  (void)rtc.set_nvram(offset, static_cast<u8>(value));
  (void)rtc.set_nvram(offset + 1, static_cast<u8>(value >> 8));
}

}  // namespace

void fill_cmos(timer::VrtcPio& rtc, u64 lowmem, u32 vcpus) {
  const u64 extended = lowmem > MiB ? std::min<u64>((lowmem - MiB) / KiB, 0xffff) : 0;
  (void)rtc.set_nvram(equipment, equipment_fpu | equipment_mouse);
  put16(rtc, base_size, std::min(lowmem, base_memory) / KiB);
  put16(rtc, extended_size, extended);
  put16(rtc, extended_found, extended);
  (void)rtc.set_nvram(cpus, static_cast<u8>(vcpus - 1));
  unsigned sum = 0;
  for (unsigned at = first_summed; at <= last_summed; ++at) sum += rtc.nvram(at).value_or(0);
  // The checksum alone is stored high byte first.
  (void)rtc.set_nvram(checksum, static_cast<u8>(sum >> 8));
  (void)rtc.set_nvram(checksum + 1, static_cast<u8>(sum));
}

}  // namespace bhyve::machine
