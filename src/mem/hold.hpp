#pragma once
#include <span>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "mem/prot.hpp"

namespace bhyve::mem {

class Vmspace;
class VmObject;

/// A pinned piece of guest memory (vm_gpa_hold/vm_gpa_release). Released on destruction; a hold for
/// writing then tells CodePages about every page. Memory need not be contiguous in the host: use
/// ranges(). Only RAM accessor functions (mem/ram_access.hpp) may touch the bytes. Must not outlive
/// its Vmspace, which warns of holds that are left at its end.
/// Thread safety: one thread at a time; any thread may release.
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
  [[nodiscard]] std::span<const Range> ranges() const {
    return more_.empty() ? std::span<const Range>(&first_, space_ ? 1 : 0) : more_;
  }
  /// Host pointer when the whole hold is one range, else nullptr.
  [[nodiscard]] std::byte* contiguous() const {
    return space_ && more_.empty() ? first_.data : nullptr;
  }
  void release();

 private:
  friend class Vmspace;
  void take(Hold& other);
  void append(Range range);
  Vmspace* space_ = nullptr;
  Gpa gpa_{};
  u64 length_ = 0;
  Prot access_ = Prot::none;
  bool tracked_ = false;             ///< its pages of RAM are known to RamPages
  Range first_{};                    ///< all of it, in the common case: no allocation
  std::vector<Range> more_;          ///< every range, when there are several
  std::vector<VmObject*> segments_;  ///< pinned; RAM is not listed: it stays
};

}  // namespace bhyve::mem
