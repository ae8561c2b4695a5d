#pragma once
#include <cstring>
#include <vector>

#include "base/bytes.hpp"
#include "loader/bzimage_header.hpp"

namespace bhyve::loader {

inline constexpr usize synthetic_setup_sects = 2, synthetic_payload = 4096;

/// A correct bzImage of boot protocol 2.15: three sectors of set-up code, a payload of 4 KiB whose
/// bytes count up. Relocatable, wants to be at 16 MiB with 1 MiB of room.
inline std::vector<u8> synthetic_bzimage() {
  std::vector<u8> file((synthetic_setup_sects + 1) * 512 + synthetic_payload);
  for (usize i = 0; i < synthetic_payload; ++i) {
    file[(synthetic_setup_sects + 1) * 512 + i] = static_cast<u8>(i);
  }
  file[setup::setup_sects] = synthetic_setup_sects;
  store_le<u32>(file, setup::syssize, synthetic_payload / 16);
  store_le<u16>(file, setup::boot_flag, 0xaa55);
  file[setup::jump] = 0xeb;
  file[setup::jump + 1] = 0x6a;  // header ends at 26Ch
  std::memcpy(&file[setup::magic], "HdrS", 4);
  store_le<u16>(file, setup::version, 0x020f);
  file[setup::loadflags] = 0x81;
  store_le<u32>(file, setup::initrd_addr_max, 0x7fff'ffff);
  store_le<u32>(file, setup::kernel_alignment, 2 * MiB);
  file[setup::relocatable_kernel] = 1;
  store_le<u16>(file, setup::xloadflags, 0x3);
  store_le<u32>(file, setup::cmdline_size, 2047);
  store_le<u64>(file, setup::pref_address, 16 * MiB);
  store_le<u32>(file, setup::init_size, 1 * MiB);
  return file;
}

}  // namespace bhyve::loader
