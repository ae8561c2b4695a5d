#include "mem/hold.hpp"

#include <utility>

#include "mem/vmspace.hpp"

namespace bhyve::mem {

Hold::Hold(Hold&& other) noexcept {
  take(other);
}

Hold& Hold::operator=(Hold&& other) noexcept {
  if (this != &other) {
    release();
    take(other);
  }
  return *this;
}

Hold::~Hold() {
  release();
}

void Hold::take(Hold& other) {
  space_ = std::exchange(other.space_, nullptr);
  gpa_ = other.gpa_;
  length_ = other.length_;
  access_ = other.access_;
  tracked_ = other.tracked_;
  first_ = other.first_;
  more_ = std::exchange(other.more_, {});
  segments_ = std::exchange(other.segments_, {});
}

void Hold::append(Range range) {
  if (!first_.data) {
    first_ = range;
    return;
  }
  Range& last = more_.empty() ? first_ : more_.back();
  if (last.data + last.size == range.data) {
    last.size += range.size;
    return;
  }
  if (more_.empty()) more_.push_back(first_);
  more_.push_back(range);
}

void Hold::release() {
  if (!space_) return;
  space_->release(*this);
  space_ = nullptr;
  more_.clear();
  segments_.clear();
}

}  // namespace bhyve::mem
