#include "pmap/table_frames.hpp"

#include <sys/mman.h>

#include <new>

namespace bhyve::pmap {
namespace {
constexpr u64 chunk_bytes = MiB;
}

TableFrames::TableFrames(FrameArena& arena) : arena_(arena) {
  void* p = ::mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<std::byte*>(p);
  arena_.set_bank(FrameArena::table_bank, base_);
}

TableFrames::~TableFrames() {
  arena_.set_bank(FrameArena::table_bank, nullptr);
  ::munmap(base_, reserved_bytes);
}

bool TableFrames::allocate(ArenaAddr& frame) {
  const u64 offset = used() * page_size;
  if (offset == committed_) {
    if (committed_ == reserved_bytes) return false;
    if (::mprotect(base_ + committed_, chunk_bytes, PROT_READ | PROT_WRITE) != 0) return false;
    committed_ += chunk_bytes;
  }
  used_.fetch_add(1, std::memory_order_relaxed);
  frame = FrameArena::address(FrameArena::table_bank, offset);
  return true;
}

}  // namespace bhyve::pmap
