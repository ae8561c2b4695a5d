#pragma once
#include <map>
#include <vector>

#include "loader/guest_memory.hpp"

namespace bhyve::loader {

/// Remembers every write; refuses those outside RAM.
class FakeMemory final : public GuestMemory {
 public:
  FakeMemory(u64 lowmem, u64 highmem) : lowmem_(lowmem), highmem_(highmem) {}

  [[nodiscard]] Result<void> write(Gpa gpa, std::span<const u8> bytes) override {
    const u64 first = gpa.value();
    const bool high = first >= 4 * GiB;
    const u64 start = high ? first - 4 * GiB : first;
    const u64 size = high ? highmem_ : lowmem_;
    if (start > size || bytes.size() > size - start) {
      outside_ = true;
      return fail(EFAULT, "{:#x} is not RAM", first);
    }
    for (const auto& [at, old] : writes_) {
      if (first < at + old.size() && at < first + bytes.size()) overlap_ = true;
    }
    writes_[first] = {bytes.begin(), bytes.end()};
    return {};
  }
  [[nodiscard]] u64 lowmem() const override { return lowmem_; }
  [[nodiscard]] u64 highmem() const override { return highmem_; }

  [[nodiscard]] const std::map<u64, std::vector<u8>>& writes() const { return writes_; }
  [[nodiscard]] bool wrote_outside() const { return outside_; }
  [[nodiscard]] bool wrote_twice() const { return overlap_; }

 private:
  u64 lowmem_, highmem_;
  std::map<u64, std::vector<u8>> writes_;
  bool outside_ = false, overlap_ = false;
};

}  // namespace bhyve::loader
