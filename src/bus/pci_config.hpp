#pragma once
#include <vector>

#include "base/state.hpp"
#include "bus/pci_ids.hpp"

namespace bhyve::bus {

/// The configuration space of one function as bytes with, for each bit, what a guest's write does:
/// nothing (read-only, the default), change it, or clear it by writing one (RW1C). Pure: no lock.
class PciConfig final {
 public:
  static constexpr unsigned conventional = 256;
  static constexpr unsigned extended = 4096;

  explicit PciConfig(unsigned size = conventional) : bytes_(size) {}

  [[nodiscard]] unsigned size() const { return static_cast<unsigned>(bytes_.size()); }

  /// A guest's read: size 1, 2 or 4, offset aligned to it; anything else reads all ones. Beyond the
  /// space an extended capability header at 100h reads zero ("none") and the rest all ones.
  [[nodiscard]] u32 read(unsigned offset, unsigned size) const;
  /// A guest's write: changes the bits that the masks allow; other accesses are dropped.
  void write(unsigned offset, unsigned size, u32 value);

  /// The device's own view, any bit; offset + width must lie in the space (ours, not the guest's).
  /// What set8/16/32 puts into bits that a guest can change is also their value after reset().
  [[nodiscard]] u8 get8(unsigned offset) const { return bytes_[offset].value; }
  [[nodiscard]] u16 get16(unsigned offset) const { return static_cast<u16>(get(offset, 2)); }
  [[nodiscard]] u32 get32(unsigned offset) const { return get(offset, 4); }
  void set8(unsigned offset, u8 value) { set(offset, 1, value); }
  void set16(unsigned offset, u16 value) { set(offset, 2, value); }
  void set32(unsigned offset, u32 value) { set(offset, 4, value); }

  /// Which bits a guest may change, and which it clears by writing one.
  void allow(unsigned offset, unsigned size, u32 mask);
  void allow_clear(unsigned offset, unsigned size, u32 mask);

  /// Gives every bit that a guest can change its reset value.
  void reset();

  /// Only what a guest can change is state; the rest is the device's construction.
  void save(StateWriter& out) const;
  /// Rejects a section of another size; leaves the space unchanged then.
  void load(StateSection& in);

 private:
  struct Byte {
    u8 value = 0, home = 0, writable = 0, clearable = 0;
  };

  [[nodiscard]] u32 get(unsigned offset, unsigned size) const;
  void set(unsigned offset, unsigned size, u32 value);

  std::vector<Byte> bytes_;
};

}  // namespace bhyve::bus
