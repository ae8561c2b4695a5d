#pragma once
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "mem/prot.hpp"

namespace bhyve::mem {

class Vmspace;

/// A pinned piece of guest memory (vm_gpa_hold/vm_gpa_release). Released on destruction; a hold for
/// writing then tells CodePages about every page. Memory need not be contiguous in the host: use
/// ranges(). Only RAM accessor functions (mem/ram_access.hpp) may touch the bytes.
class Hold final {
 public:
  struct Range {
    std::byte* data;
    usize size;
  };
  Hold() = default;
  Hold(Hold&&) noexcept;
  Hold& operator=(Hold&&) noexcept;
  ~Hold();

  [[nodiscard]] explicit operator bool() const { return space_ != nullptr; }
  [[nodiscard]] std::span<const Range> ranges() const { return ranges_; }
  /// Host pointer when the whole hold is one range, else nullptr.
  [[nodiscard]] std::byte* contiguous() const {
    return ranges_.size() == 1 ? ranges_[0].data : nullptr;
  }
  void release();

 private:
  friend class Vmspace;
  Vmspace* space_ = nullptr;
  Gpa gpa_{};
  u64 length_ = 0;
  Prot access_ = Prot::none;
  std::vector<Range> ranges_;
};

}  // namespace bhyve::mem
