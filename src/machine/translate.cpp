#include "machine/translate.hpp"

#include <cstring>

namespace bhyve::machine {
namespace {

namespace pte = x86::pte;

/// How one paging mode indexes its tables.
struct Mode {
  unsigned levels, index_bits, entry_size;
};

Mode mode_of(const engine::VcpuState& s) {
  if (s.efer & x86::efer::lma) return {4, 9, 8};
  if (s.cr4 & x86::cr4::pae) return {3, 9, 8};
  return {2, 10, 4};
}

Result<u64> read_entry(mem::Vmspace& space, u64 at, unsigned size) {
  u8 bytes[8] = {};
  if (!space.read(Gpa(at), std::span(bytes).first(size)))
    return fail(EFAULT, "the page table entry at {:#x} is not in memory", at);
  u64 entry;
  std::memcpy(&entry, bytes, sizeof entry);
  return entry;
}

/// A leaf above the last level, whose bits above 12 the page size decides (4.3, table 4-4: with
/// 4-byte entries bits 20:13 are address bits 39:32).
u64 large_frame(u64 entry, unsigned shift, unsigned entry_size) {
  const u64 low = entry & pte::frame & ~((u64{1} << shift) - 1);
  if (entry_size == 8) return low;
  return (low & 0xffff'ffff) | (entry >> 13 & 0xff) << 32;
}

}  // namespace

Result<u64> translate(mem::Vmspace& space, const engine::VcpuState& s, u64 linear, bool write) {
  const Mode mode = mode_of(s);
  if (mode.levels == 4 && !x86::is_canonical(linear))
    return fail(EFAULT, "linear address {:#x} is not canonical", linear);
  if (mode.levels != 4) linear &= 0xffff'ffff;
  if (!(s.cr0 & x86::cr0::pg)) return linear;
  u64 table = s.cr3 & (mode.levels == 3 ? 0xffff'ffe0 : pte::frame);
  for (unsigned level = mode.levels; level-- > 0;) {
    const unsigned shift = 12 + level * mode.index_bits;
    const u64 index = linear >> shift & ((u64{1} << mode.index_bits) - 1);
    const auto entry = read_entry(space, table + index * mode.entry_size, mode.entry_size);
    if (!entry) return entry;
    const bool pdpte = mode.levels == 3 && level == 2;
    const bool writable = pdpte || !(s.cr0 & x86::cr0::wp) || (*entry & pte::rw);
    if (!(*entry & pte::p) || (write && !writable))
      return fail(EFAULT, "linear address {:#x} is not mapped{}", linear, write ? " for writing" : "");
    const bool can_be_large = level == 1 || (level == 2 && mode.levels == 4);
    const bool pse = mode.entry_size == 8 || (s.cr4 & x86::cr4::pse);
    const u64 offset = linear & ((u64{1} << shift) - 1);
    if (level > 0 && can_be_large && pse && (*entry & pte::ps))
      return large_frame(*entry, shift, mode.entry_size) | offset;
    if (level == 0) return (*entry & pte::frame & (mode.entry_size == 4 ? 0xffff'ffff : ~u64{0})) | offset;
    table = *entry & pte::frame & (mode.entry_size == 4 ? 0xffff'ffff : ~u64{0});
  }
  return fail(EFAULT, "linear address {:#x} is not mapped", linear);
}

}  // namespace bhyve::machine
