#pragma once
#include <sanitizer/asan_interface.h>

#include <array>
#include <memory>
#include <vector>

#include "base/types.hpp"

namespace bhyve::soft {

/// Memory in small pieces that come and go, of as many sizes as there are classes of 16 bytes. A piece that
/// is given back is the next of its class. Owner: one thread.
class PieceMemory final {
 public:
  static constexpr usize largest = 1024;
  /// Bytes that a piece of this size takes.
  [[nodiscard]] static constexpr usize taken(usize bytes) { return (bytes + unit - 1) / unit * unit; }

  [[nodiscard]] void* take(usize bytes) {
    Free*& first = free_[bytes_class(bytes)];
    if (Free* piece = first) {
      first = piece->next;
      ASAN_UNPOISON_MEMORY_REGION(piece, taken(bytes));
      return piece;
    }
    return carve(taken(bytes));
  }
  void give_back(void* piece, usize bytes) {
    Free*& first = free_[bytes_class(bytes)];
    first = new (piece) Free{first};
    ASAN_POISON_MEMORY_REGION(first + 1, taken(bytes) - sizeof(Free));
  }
  /// What it has from the host.
  [[nodiscard]] usize bytes() const { return slabs_.size() * slab_bytes; }
  /// Everything is given back, and goes.
  void clear() {
    slabs_.clear();
    free_ = {};
    at_ = end_ = nullptr;
  }

 private:
  static constexpr usize unit = 16, slab_bytes = 256 * KiB;
  struct Free {
    Free* next;
  };
  [[nodiscard]] static constexpr usize bytes_class(usize bytes) { return (bytes + unit - 1) / unit; }
  void* carve(usize bytes) {
    if (static_cast<usize>(end_ - at_) < bytes) {
      slabs_.push_back(std::make_unique_for_overwrite<std::byte[]>(slab_bytes));
      at_ = slabs_.back().get();
      end_ = at_ + slab_bytes;
    }
    void* piece = at_;
    at_ += bytes;
    return piece;
  }

  std::array<Free*, largest / unit + 1> free_{};
  std::vector<std::unique_ptr<std::byte[]>> slabs_;
  std::byte *at_ = nullptr, *end_ = nullptr;
};

}  // namespace bhyve::soft
