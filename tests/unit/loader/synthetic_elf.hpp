#pragma once
#include <string_view>
#include <vector>

#include "base/bits.hpp"
#include "base/bytes.hpp"

namespace bhyve::loader {

struct SyntheticSegment {
  u64 virtual_address, physical_address;
  std::vector<u8> bytes;
  u64 memory_size;
};

struct SyntheticElf {
  bool is_64 = true;
  u8 os_abi = 0;
  u64 entry = 0;
  std::vector<SyntheticSegment> segments = {};
  std::vector<u8> note = {};  ///< contents of a PT_NOTE segment; empty: none
};

/// A note record (System V ABI, "Note Section").
inline std::vector<u8> synthetic_note(std::string_view owner, u32 type, u64 value) {
  std::vector<u8> note(12 + align_up(owner.size() + 1, 4) + 8);
  store_le<u32>(note, 0, static_cast<u32>(owner.size() + 1));
  store_le<u32>(note, 4, 8);
  store_le<u32>(note, 8, type);
  for (usize i = 0; i < owner.size(); ++i) note[12 + i] = static_cast<u8>(owner[i]);
  store_le<u64>(note, note.size() - 8, value);
  return note;
}

/// A correct executable for the 386 or x86-64.
inline std::vector<u8> synthetic_elf(const SyntheticElf& elf) {
  const usize header = elf.is_64 ? 0x40 : 0x34, entry_size = elf.is_64 ? 0x38 : 0x20;
  const usize count = elf.segments.size() + (elf.note.empty() ? 0 : 1);
  std::vector<u8> file(header + count * entry_size);
  const auto wide = [&](usize at, u64 value) {
    if (elf.is_64) store_le<u64>(file, at, value);
    else store_le<u32>(file, at, static_cast<u32>(value));
  };
  store_le<u32>(file, 0, 0x464c'457f);
  store_le<u32>(file, 4, (elf.is_64 ? 2u : 1u) | 0x101'00u | u32{elf.os_abi} << 24);
  store_le<u16>(file, 0x10, 2);
  store_le<u16>(file, 0x12, elf.is_64 ? 62 : 3);
  store_le<u32>(file, 0x14, 1);
  wide(0x18, elf.entry);
  wide(elf.is_64 ? 0x20 : 0x1c, header);
  store_le<u16>(file, elf.is_64 ? 0x36 : 0x2a, static_cast<u16>(entry_size));
  store_le<u16>(file, elf.is_64 ? 0x38 : 0x2c, static_cast<u16>(count));
  usize at = header;
  const auto add = [&](u32 type, u64 va, u64 pa, const std::vector<u8>& bytes, u64 memory) {
    const u64 offset = file.size();
    const bool w = elf.is_64;
    store_le<u32>(file, at, type);
    wide(at + (w ? 0x08 : 0x04), offset);
    wide(at + (w ? 0x10 : 0x08), va);
    wide(at + (w ? 0x18 : 0x0c), pa);
    wide(at + (w ? 0x20 : 0x10), bytes.size());
    wide(at + (w ? 0x28 : 0x14), memory);
    at += entry_size;
    file.insert(file.end(), bytes.begin(), bytes.end());
  };
  for (const auto& s : elf.segments)
    add(1, s.virtual_address, s.physical_address, s.bytes, s.memory_size);
  if (!elf.note.empty()) add(4, 0, 0, elf.note, elf.note.size());
  return file;
}

/// A multiboot 1 header without address fields, and `code` behind it.
inline std::vector<u8> synthetic_multiboot(u32 flags, const std::vector<u8>& code) {
  std::vector<u8> bytes(12 + code.size());
  store_le<u32>(bytes, 0, 0x1bad'b002);
  store_le<u32>(bytes, 4, flags);
  store_le<u32>(bytes, 8, 0u - 0x1bad'b002 - flags);
  for (usize i = 0; i < code.size(); ++i) bytes[12 + i] = code[i];
  return bytes;
}

/// One with address fields, that loads itself at 1 MiB with 64 KiB of bss.
inline std::vector<u8> synthetic_flat_multiboot() {
  constexpr u32 flags = 1u << 16, at = 0x10'0000;
  std::vector<u8> bytes = synthetic_multiboot(flags, std::vector<u8>(84, 0x90));
  store_le<u32>(bytes, 12, at);            // header_addr
  store_le<u32>(bytes, 16, at);            // load_addr
  store_le<u32>(bytes, 20, at + 96);       // load_end_addr
  store_le<u32>(bytes, 24, at + 0x1'0000); // bss_end_addr
  store_le<u32>(bytes, 28, at + 32);       // entry_addr
  return bytes;
}

}  // namespace bhyve::loader
