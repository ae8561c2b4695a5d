#include "engine/soft/translate/code_cache.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/log.hpp"

namespace bhyve::soft {

namespace {

constexpr usize touched_bytes = 4 * MiB;  // of all vCPUs, about
constexpr unsigned cache_limit = 1088;  ///< one a vCPU; a VM has at most 1024

struct Range {
  std::atomic<u64> base{0}, size{0};
};
std::array<Range, cache_limit> ranges;

bool note_range(u64 base, usize size) {
  for (Range& r : ranges) {
    u64 free = 0;
    if (!r.size.compare_exchange_strong(free, size)) continue;
    r.base.store(base);
    return true;
  }
  return false;
}

void forget_range(u64 base) {
  for (Range& r : ranges) {
    if (r.base.load() != base) continue;
    r.base.store(0);
    r.size.store(0);
    return;
  }
}

}  // namespace

CodeCache::CodeCache(CodePool* pool, usize records)
    : pool_(pool),
      code_bytes_(pool ? pool->region_bytes() - records : 0),
      most_touched_(pool ? std::max(touched_bytes * pool->share() / pool->regions(), MiB) / page_size : 0),
      size_(pool ? kept_room + pool->regions() * code_bytes_ : 0),
      touched_(size_ >> page_shift) {
  if (size_ == 0) return;
  fd_.reset(::memfd_create("bhyve-code", MFD_CLOEXEC));
  if (!fd_ || ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) return;
  void* w = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  void* x = ::mmap(nullptr, size_, PROT_READ | PROT_EXEC, MAP_SHARED, fd_.get(), 0);
  if (w == MAP_FAILED || x == MAP_FAILED || !note_range(reinterpret_cast<u64>(x), size_)) {
    log_error("no executable memory for translated code, the interpreter does all: {}",
              std::strerror(errno));
    if (w != MAP_FAILED) ::munmap(w, size_);
    if (x != MAP_FAILED) ::munmap(x, size_);
    return;
  }
  writable_ = static_cast<u8*>(w);
  executable_ = static_cast<const u8*>(x);
}

CodeCache::~CodeCache() {
  if (!usable()) return;
  forget_range(reinterpret_cast<u64>(executable_));
  ::munmap(writable_, size_);
  ::munmap(const_cast<u8*>(executable_), size_);
}

void CodeCache::keep() {
  kept_ = (used_ + page_mask) & ~page_mask;
  region_size_ = code_bytes_;
  enter(0);
}

void CodeCache::reset() {
  shrink(1);
  enter(0);
}

usize CodeCache::choose_next() {
  if (region_ + 1 < held_) return region_ + 1;
  return pool_->take(held_) ? held_++ : 0;
}

void CodeCache::shrink(usize count) {
  if (held_ <= count) return;
  ::madvise(writable_ + kept_ + count * region_size_, (held_ - count) * region_size_, MADV_REMOVE);
  pool_->give_back(held_ - count);
  held_ = count;
}

void CodeCache::enter(usize region) {
  let_go();
  region_ = region;
  used_ = kept_ + region * region_size_;
  cold_floor_ = cold_used_ = cold_limit_ = used_ + region_size_;
}

void CodeCache::let_go() {
  ::madvise(writable_, size_, MADV_DONTNEED);
  touched_.assign(touched_.size(), false);
  count_touched_ = 0;
}

bool CodeCache::has_room() {
  if (used_ + hot_reserve > cold_floor_) return false;
  if (cold_limit_ - cold_used_ >= cold_reserve) return true;
  if (used_ + hot_reserve + cold_chunk > cold_floor_) return false;
  cold_floor_ -= cold_chunk;
  cold_used_ = cold_floor_;
  cold_limit_ = cold_floor_ + cold_chunk;
  return true;
}

bool CodeCache::contains(u64 pc) {
  for (const Range& r : ranges) {
    const u64 base = r.base.load(std::memory_order_relaxed);
    if (base && pc - base < r.size.load(std::memory_order_relaxed)) return true;
  }
  return false;
}

}  // namespace bhyve::soft
