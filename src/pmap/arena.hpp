#pragma once
#include <array>
#include <atomic>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::pmap {

/// The frame arena of a VM: what EPT entries point into. An arena address is a bank number in bits
/// 44..51 and an offset inside the bank, so it fits the frame field of an EPT entry. Bank 0 is RAM
/// (the memfd, laid out as guest-physical memory), bank 1 holds page-table frames, the others are
/// segments (ROM, framebuffer) and saved images.
/// Thread safety: host() from any thread; add_bank() before the bank's first address is published.
class FrameArena final {
 public:
  static constexpr unsigned bank_shift = 44;
  static constexpr unsigned bank_max = 256;
  static constexpr unsigned ram_bank = 0, table_bank = 1, first_free_bank = 2;

  /// Host pointer of an arena address. The address must come from an entry of our pmap.
  [[nodiscard]] std::byte* host(ArenaAddr a) const noexcept {
    return banks_[a.value() >> bank_shift & (bank_max - 1)] + (a.value() & offset_mask);
  }
  [[nodiscard]] static constexpr ArenaAddr address(unsigned bank, u64 offset) {
    return ArenaAddr(u64{bank} << bank_shift | offset);
  }
  void set_bank(unsigned bank, std::byte* base) { banks_[bank] = base; }

 private:
  static constexpr u64 offset_mask = (u64{1} << bank_shift) - 1;
  std::array<std::byte*, bank_max> banks_{};
};

}  // namespace bhyve::pmap
