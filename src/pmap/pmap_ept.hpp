#pragma once
#include "base/address.hpp"
#include "base/bits.hpp"
#include "pmap/mapping.hpp"

namespace bhyve::pmap {

/// PT_EPT entries (Intel SDM vol. 3C, 29.3.2 "EPT Translation Mechanism", tables 29-1 to 29-7;
/// facts sheet 7.2). Where the bits of valid, writable, accessed and modified are depends on
/// whether the hardware keeps accessed and dirty flags. If not, valid and writable are software
/// bits (52, 53) and the rights to read and write double as accessed and modified.
class Ept final {
 public:
  enum Bit : u64 {
    read = bit(0),
    write = bit(1),
    exec = bit(2),
    ignore_pat = bit(6),
    large = bit(7),  ///< levels 2 and 3: a leaf
    hw_accessed = bit(8),
    hw_dirty = bit(9),
    managed = bit(10),  ///< ignored by the hardware, as are the four below
    wired = bit(11),
    sw_valid = bit(52),
    sw_write = bit(53),
    promoted = bit(54),
  };
  using MemoryType = BitRange<5, 3>;
  enum : u64 { uncacheable = 0, write_back = 6 };
  using Frame = BitRange<51, 12>;

  constexpr explicit Ept(bool hardware_ad, bool exec_only = true)
      : hardware_ad_(hardware_ad), exec_only_(exec_only) {}

  [[nodiscard]] constexpr u64 valid_bit() const { return hardware_ad_ ? read : sw_valid; }
  [[nodiscard]] constexpr u64 rw_bit() const { return hardware_ad_ ? write : sw_write; }
  [[nodiscard]] constexpr u64 accessed_bit() const { return hardware_ad_ ? hw_accessed : read; }
  [[nodiscard]] constexpr u64 modified_bit() const { return hardware_ad_ ? hw_dirty : write; }

  [[nodiscard]] constexpr bool present(u64 e) const { return e & valid_bit(); }
  [[nodiscard]] static constexpr bool is_leaf(u64 e, unsigned level) {
    return level == 1 || (e & large);
  }
  /// First arena address of a leaf, or of the table an entry points to.
  [[nodiscard]] static constexpr ArenaAddr frame(u64 e, unsigned leaf_level = 1) {
    return ArenaAddr(align_down(e & Frame::mask, level_size(leaf_level)));
  }

  /// An entry that points to the table of the next level.
  [[nodiscard]] constexpr u64 table(ArenaAddr a) const {
    return a.value() | read | write | exec | (hardware_ad_ ? 0 : sw_valid | sw_write);
  }
  /// A leaf. With emulated flags the right to read comes with the accessed flag; without it only
  /// execution may be granted, and where the hardware cannot grant that alone, a leaf that may be
  /// executed starts as accessed.
  [[nodiscard]] constexpr u64 leaf(const Mapping& m, unsigned level) const {
    const u64 type = m.uncacheable ? uncacheable : write_back;
    u64 e = frame(m.frame.value(), level).value() | managed | ignore_pat | MemoryType::make(type);
    if (m.exec) e |= exec;
    if (m.wired) e |= wired;
    if (level > 1) e |= large;
    e |= valid_bit() | (m.write ? rw_bit() : 0);
    if (m.accessed || m.modified || (!hardware_ad_ && m.exec && !exec_only_)) e |= accessed_bit();
    if (m.modified && m.write) e |= modified_bit();
    return e;
  }
  /// The first of the 512 leaves that a large leaf of `level` is split into; the others follow by
  /// adding the size. They inherit rights, memory type, accessed and modified.
  [[nodiscard]] static constexpr u64 split(u64 e, unsigned level) {
    const u64 rest = e & ~(Frame::mask | (level == 2 ? u64{large | promoted} : 0));
    return frame(e, level).value() | rest;
  }
  /// Without the right to write, and so without the modified flag: who takes the right away has to
  /// remember it.
  [[nodiscard]] constexpr u64 without_write(u64 e) const {
    return e & ~u64{rw_bit() | modified_bit()};
  }
  /// Whether the accessed flag can be cleared in place. Emulated, it is the right to read: writing
  /// without reading is a misconfiguration, execution alone not allowed everywhere.
  [[nodiscard]] constexpr bool safe_to_clear_referenced(u64 e) const {
    return hardware_ad_ || (!(e & write) && (exec_only_ || !(e & exec)));
  }
  /// What two leaves of the same rights and memory type may differ in, besides the frame.
  [[nodiscard]] constexpr u64 loose_bits() const {
    return accessed_bit() | modified_bit() | promoted | wired;
  }
  /// The 2 MiB leaf in place of 512 leaves of which `first` is the first.
  [[nodiscard]] static constexpr u64 merged(u64 first) { return first | large | promoted; }
  /// A valid leaf as it is after a write (`e` must be writable).
  [[nodiscard]] constexpr u64 with_dirty(u64 e) const {
    return e | accessed_bit() | modified_bit();
  }
  /// What the leaf `now`, which maps the same frame, keeps of the one it replaces.
  [[nodiscard]] constexpr u64 kept(u64 old, u64 now) const {
    return old & (accessed_bit() | (now & rw_bit() ? modified_bit() : 0));
  }
  /// True when a cached translation of `old` would be wrong under `now`.
  [[nodiscard]] constexpr bool stale(u64 old, u64 now) const {
    constexpr u64 fixed = Frame::mask | MemoryType::mask | ignore_pat | large;
    return ((old ^ now) & fixed) || (old & ~now & (read | write | exec | valid_bit() | rw_bit()));
  }

 private:
  bool hardware_ad_, exec_only_;
};

static_assert(Ept::MemoryType::make(Ept::write_back) == 0x30);
static_assert(Ept::Frame::mask == 0x000f'ffff'ffff'f000);
static_assert(Ept(true).leaf({ArenaAddr(0x1000), true}, 1) == 0x1477);
static_assert(Ept(true).leaf({ArenaAddr(0x20'0000), false, false, true}, 2) == 0x20'04c1);
static_assert(Ept(true).modified_bit() == 0x200 && Ept(false).modified_bit() == Ept::write);
static_assert(!Ept(false).present(Ept::read) && Ept(false).present(Ept::sw_valid));

}  // namespace bhyve::pmap
