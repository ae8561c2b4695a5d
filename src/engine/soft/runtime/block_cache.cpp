#include "engine/soft/runtime/block_cache.hpp"

#include <new>

namespace bhyve::soft {

BlockCache::BlockCache() : buckets_(bucket_count) {}
BlockCache::~BlockCache() = default;

Block* BlockCache::find(Gpa gpa, CodeSize size) {
  Block** link = &buckets_[bucket(gpa)];
  while (Block* b = *link) {
    if (!b->current()) {
      *link = b->next;
      continue;
    }
    if (b->gpa == gpa.value() && b->code_size == size) return b;
    link = &b->next;
  }
  return nullptr;
}

Block* BlockCache::allocate(unsigned insns, unsigned bytes) {
  const usize need = (sizeof(Block) + (insns + 1) * sizeof(Insn) + bytes + 15) & ~usize{15};
  if (used_ + need > chunk_size) {
    if (chunks_.size() == chunk_limit) clear();
    chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(chunk_size));
    used_ = 0;
  }
  auto* block = new (chunks_.back().get() + used_) Block;
  used_ += need;
  block->count = static_cast<u8>(insns);
  block->bytes = static_cast<u16>(bytes);
  return block;
}

void BlockCache::insert(Block* block) {
  Block*& head = buckets_[bucket(Gpa(block->gpa))];
  block->next = head;
  head = block;
}

void BlockCache::clear() {
  for (Block*& b : buckets_) b = nullptr;
  jumps_.fill(Jump{});
  chunks_.clear();
  used_ = chunk_size;
}

}  // namespace bhyve::soft
