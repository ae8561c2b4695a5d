#pragma once
#include "base/address.hpp"
#include "base/bits.hpp"
#include "pmap/mapping.hpp"

namespace bhyve::pmap {

/// PT_X86 entries: 4-level paging (Intel SDM vol. 3A, 4.5, tables 4-15 to 4-20). The tables are
/// ours, so every mapping is a supervisor's; memory types use the power-on PAT (PCD and PWT:
/// uncacheable).
class X86 final {
 public:
  enum Bit : u64 {
    valid = bit(0),
    write = bit(1),
    user = bit(2),
    write_through = bit(3),
    cache_disable = bit(4),
    accessed = bit(5),
    dirty = bit(6),
    large = bit(7),  ///< levels 2 and 3: a leaf; level 1: PAT, not used by us
    global = bit(8),
    wired = bit(9),     ///< available to software
    managed = bit(11),  ///< available to software
    no_exec = bit(63),
  };
  using Frame = BitRange<51, 12>;

  [[nodiscard]] static constexpr u64 valid_bit() { return valid; }
  [[nodiscard]] static constexpr u64 rw_bit() { return write; }
  [[nodiscard]] static constexpr u64 accessed_bit() { return accessed; }
  [[nodiscard]] static constexpr u64 modified_bit() { return dirty; }

  [[nodiscard]] static constexpr bool present(u64 e) { return e & valid; }
  [[nodiscard]] static constexpr bool is_leaf(u64 e, unsigned level) {
    return level == 1 || (e & large);
  }
  /// First arena address of a leaf, or of the table an entry points to.
  [[nodiscard]] static constexpr ArenaAddr frame(u64 e, unsigned leaf_level = 1) {
    return ArenaAddr(align_down(e & Frame::mask, level_size(leaf_level)));
  }

  /// An entry that points to the table of the next level. Rights are decided by the leaf alone.
  [[nodiscard]] static constexpr u64 table(ArenaAddr a) { return a.value() | valid | write; }
  [[nodiscard]] static constexpr u64 leaf(const Mapping& m, unsigned level) {
    u64 e = frame(m.frame.value(), level).value() | valid | managed;
    if (m.write) e |= write;
    if (!m.exec) e |= no_exec;
    if (m.uncacheable) e |= cache_disable | write_through;
    if (m.wired) e |= wired;
    if (level > 1) e |= large;
    if (m.accessed || m.modified) e |= accessed;
    if (m.modified && m.write) e |= dirty;
    return e;
  }
  /// The first of the 512 leaves that a large leaf of `level` is split into; the others follow by
  /// adding the size. They inherit rights, memory type, accessed and dirty.
  [[nodiscard]] static constexpr u64 split(u64 e, unsigned level) {
    const u64 rest = e & ~(Frame::mask | (level == 2 ? u64{large} : 0));
    return frame(e, level).value() | rest;
  }
  /// Without the right to write, and so without the dirty flag: who takes the right away has to
  /// remember it.
  [[nodiscard]] static constexpr u64 without_write(u64 e) { return e & ~u64{write | dirty}; }
  [[nodiscard]] static constexpr bool safe_to_clear_referenced(u64) { return true; }
  /// What two leaves of the same rights and memory type may differ in, besides the frame.
  [[nodiscard]] static constexpr u64 loose_bits() { return u64{accessed | dirty | wired}; }
  /// The 2 MiB leaf in place of 512 leaves of which `first` is the first.
  [[nodiscard]] static constexpr u64 merged(u64 first) { return first | large; }
  /// A valid leaf as it is after a write (`e` must be writable).
  [[nodiscard]] static constexpr u64 with_dirty(u64 e) { return e | accessed | dirty; }
  /// What the leaf `now`, which maps the same frame, keeps of the one it replaces.
  [[nodiscard]] static constexpr u64 kept(u64 old, u64 now) {
    return old & (accessed | (now & write ? u64{dirty} : 0));
  }
  /// True when a cached translation of `old` would be wrong under `now`.
  [[nodiscard]] static constexpr bool stale(u64 old, u64 now) {
    constexpr u64 fixed = Frame::mask | cache_disable | write_through | large | global;
    return ((old ^ now) & fixed) || (old & ~now & (write | user | valid)) || (now & ~old & no_exec);
  }
};

static_assert(X86::Frame::mask == 0x000f'ffff'ffff'f000);
static_assert(X86::leaf({ArenaAddr(0x1000), true}, 1) == 0x1803);
static_assert(X86::leaf({ArenaAddr(0x20'0000), true, false}, 2) == 0x8000'0000'0020'0883);
static_assert(X86::split(X86::leaf({ArenaAddr(0x20'0000), true}, 2), 2) ==
              X86::leaf({ArenaAddr(0x20'0000), true}, 1));

}  // namespace bhyve::pmap
