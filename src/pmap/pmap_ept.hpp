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

  constexpr explicit Ept(bool hardware_ad) : hardware_ad_(hardware_ad) {}

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
  /// A leaf. Without hardware flags it starts as accessed and, if writable, modified.
  [[nodiscard]] constexpr u64 leaf(const Mapping& m, unsigned level) const {
    const u64 type = m.uncacheable ? uncacheable : write_back;
    u64 e = frame(m.frame.value(), level).value() | read | managed | ignore_pat |
            MemoryType::make(type);
    if (m.write) e |= write;
    if (m.exec) e |= exec;
    if (m.wired) e |= wired;
    if (level > 1) e |= large;
    if (!hardware_ad_) e |= sw_valid | (m.write ? u64{sw_write} : 0);
    return e;
  }
  /// The first of the 512 leaves that a large leaf of `level` is split into; the others follow by
  /// adding the size. They inherit rights, memory type, accessed and modified.
  [[nodiscard]] static constexpr u64 split(u64 e, unsigned level) {
    const u64 rest = e & ~(Frame::mask | (level == 2 ? u64{large | promoted} : 0));
    return frame(e, level).value() | rest;
  }
  [[nodiscard]] static constexpr u64 without_write(u64 e) { return e & ~u64{write | sw_write}; }
  /// A valid leaf as it is after a write (`e` must be writable).
  [[nodiscard]] constexpr u64 with_dirty(u64 e) const {
    return e | accessed_bit() | modified_bit();
  }
  /// What a leaf that maps the same frame keeps of the one it replaces.
  [[nodiscard]] constexpr u64 kept(u64 old) const {
    return hardware_ad_ ? old & (hw_accessed | hw_dirty) : 0;
  }
  /// True when a cached translation of `old` would be wrong under `now`.
  [[nodiscard]] constexpr bool stale(u64 old, u64 now) const {
    constexpr u64 fixed = Frame::mask | MemoryType::mask | ignore_pat | large;
    return ((old ^ now) & fixed) || (old & ~now & (rw_bit() | exec | valid_bit()));
  }

 private:
  bool hardware_ad_;
};

static_assert(Ept::MemoryType::make(Ept::write_back) == 0x30);
static_assert(Ept::Frame::mask == 0x000f'ffff'ffff'f000);
static_assert(Ept(true).leaf({ArenaAddr(0x1000), true}, 1) == 0x1477);
static_assert(Ept(true).leaf({ArenaAddr(0x20'0000), false, false, true}, 2) == 0x20'04c1);
static_assert(Ept(true).modified_bit() == 0x200 && Ept(false).modified_bit() == Ept::write);
static_assert(!Ept(false).present(Ept::read) && Ept(false).present(Ept::sw_valid));

}  // namespace bhyve::pmap
