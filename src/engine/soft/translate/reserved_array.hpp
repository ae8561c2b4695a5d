#pragma once
#include <sys/mman.h>

#include <new>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// An array of plain records that are zeros at first. It is as large as it may ever become, and costs
/// memory where it has been written to.
template <class T>
class ReservedArray final {
 public:
  explicit ReservedArray(usize count) : bytes_((count * sizeof(T) + page_mask) & ~page_mask) {
    if (bytes_ == 0) return;
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    items_ = static_cast<T*>(p);
  }
  ~ReservedArray() {
    if (items_) ::munmap(items_, bytes_);
  }
  ReservedArray(const ReservedArray&) = delete;
  ReservedArray& operator=(const ReservedArray&) = delete;

  [[nodiscard]] T& operator[](usize n) { return items_[n]; }
  [[nodiscard]] const T& operator[](usize n) const { return items_[n]; }
  [[nodiscard]] usize index_of(const T& item) const { return static_cast<usize>(&item - items_); }
  /// Items [first, end) are used no more, and may be zeros or not when they are used again.
  void release(usize first, usize end) {
    const usize from = (first * sizeof(T) + page_mask) & ~page_mask, to = end * sizeof(T) & ~page_mask;
    if (from < to) ::madvise(reinterpret_cast<u8*>(items_) + from, to - from, MADV_DONTNEED);
  }

 private:
  usize bytes_;
  T* items_ = nullptr;
};

}  // namespace bhyve::soft
