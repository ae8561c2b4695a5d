#include "engine/soft/runtime/block_cache.hpp"

#include <new>

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

namespace {

constexpr usize least_queued = 12'288;  // else what becomes hot would go before it is

Step end_of_block(Cpu& cpu, const Insn& i) {
  cpu.rip = cpu.next_rip(i);
  return Step::branch;
}

}  // namespace

// Instructions have a limit of their own, because their memory is for instructions again (PieceMemory).
BlockCache::BlockCache(usize limit) : limit_(limit), insn_limit_(limit * 5 / 18), buckets_(bucket_count) {}

BlockCache::~BlockCache() = default;

Block* BlockCache::find(Gpa gpa, CodeSize size) {
  Block** link = &buckets_[bucket(gpa.value())];
  while (Block* b = *link) {
    if (b->gpa != gpa.value() || b->code_size != size) {
      link = &b->next;
      continue;
    }
    if (b->current()) return b;
    *link = b->next;
  }
  return nullptr;
}

usize BlockCache::size_of(const Block& block) {
  return sizeof(Block) + (block.crossing ? sizeof(BlockSecond) : 0) + block.bytes + block.tail;
}

usize BlockCache::size_of_insns(const Block& block) { return (block.count + 1) * sizeof(Insn); }

Block* BlockCache::make(const Insn* insns, unsigned count, const u8* raw, unsigned bytes, unsigned tail,
                        const BlockSecond* second) {
  make_room(nullptr);
  const usize rest = second ? sizeof *second : 0;
  auto* block = new (memory_.take(sizeof(Block) + rest + bytes + tail)) Block{};
  auto* at = reinterpret_cast<u8*>(block + 1);
  if (second) __builtin_memcpy(at, second, sizeof *second);
  __builtin_memcpy(at + rest, raw, bytes + tail);
  block->count = static_cast<u8>(count);
  block->bytes = static_cast<u16>(bytes);
  block->tail = static_cast<u8>(tail);
  block->crossing = second != nullptr;
  bytes_ += PieceMemory::taken(size_of(*block));
  give_insns(*block, insns);
  return block;
}

Insn BlockCache::closing(const Block& block) {
  Insn i;
  i.fn = end_of_block;
  i.offset = block.bytes;
  return i;
}

void BlockCache::insert(Block* block) {
  Block*& head = buckets_[bucket(block->gpa)];
  block->next = head;
  head = block;
}

void BlockCache::give_insns(Block& block, const Insn* insns) {
  auto* copy = static_cast<Insn*>(insn_memory_.take(size_of_insns(block)));
  __builtin_memcpy(static_cast<void*>(copy), insns, block.count * sizeof(Insn));
  new (copy + block.count) Insn(closing(block));
  block.insns = copy;
  bytes_ += size_of_insns(block);
  insn_bytes_ += size_of_insns(block);
  if (!block.in_ring) ring_.push_back(&block);
  block.in_ring = true;
}

void BlockCache::drop_insns(Block& block) {
  if (!block.insns) return;
  bytes_ -= size_of_insns(block);
  insn_bytes_ -= size_of_insns(block);
  insn_memory_.give_back(block.insns, size_of_insns(block));
  block.insns = nullptr;
}

void BlockCache::drop_all_insns() {
  for (Block* block : ring_) {
    block->in_ring = false;
    block->insns = nullptr;
    retired(*block);
  }
  ring_.clear();
  insn_memory_.clear();
  bytes_ -= insn_bytes_;
  insn_bytes_ = 0;
}

void BlockCache::restore(Block& block, const Insn* insns) {
  make_room(&block);
  give_insns(block, insns);
}

void BlockCache::translated(Block& block) { drop_insns(block); }

void BlockCache::retired(Block& block) {
  if (!block.is_translated() && !block.insns) enqueue(block);
}

void BlockCache::enqueue(Block& block) {
  if (!block.in_queue) queue_.push_back(&block);
  block.in_queue = true;
}

void BlockCache::free_block(Block* block) {
  drop_insns(*block);
  bytes_ -= PieceMemory::taken(size_of(*block));
  memory_.give_back(block, size_of(*block));
}

void BlockCache::unlink(const Block& block) {
  for (Block** link = &buckets_[bucket(block.gpa)]; *link; link = &(*link)->next)
    if (*link == &block) {
      *link = block.next;
      return;
    }
}

/// The front cache forgets blocks. Most are where they were last remembered, and nowhere else.
void BlockCache::forget(const std::vector<Block*>& going) {
  bool everywhere = false;
  for (const Block* block : going) {
    if (Jump& jump = jumps_[block->jump]; jump.block == block) jump = Jump{};
    everywhere |= block->many_jumps;
  }
  if (!everywhere) return;
  for (Jump& jump : jumps_)
    if (jump.block && jump.block->dead) jump = Jump{};
}

void BlockCache::make_room(const Block* kept) {
  // Pieces of sizes that are not wanted any more.
  if (insn_memory_.bytes() > insn_limit_ + insn_limit_ / 2) drop_all_insns();
  while (insn_bytes_ > insn_limit_ && !ring_.empty()) {
    Block& block = *ring_.front();
    ring_.pop_front();
    block.in_ring = false;
    drop_insns(block);
    retired(block);
  }
  if (bytes_ < limit_ || queue_.size() < least_queued) return;
  // Many at once, because the front cache may have to be looked through for them.
  std::vector<Block*> going;
  for (usize n = queue_.size() / 4; n > 0; --n) {
    Block& block = *queue_.front();
    queue_.pop_front();
    block.in_queue = false;
    if (block.is_translated() || block.insns) continue;
    if (block.in_ring || &block == kept) {
      enqueue(block);
      continue;
    }
    block.dead = true;
    unlink(block);
    going.push_back(&block);
  }
  forget(going);
  recalled_.fill(Recalled{});
  for (Block* block : going) free_block(block);
}

void BlockCache::clear() {
  for (Block*& b : buckets_) b = nullptr;
  jumps_.fill(Jump{});
  recalled_.fill(Recalled{});
  memory_.clear();
  insn_memory_.clear();
  bytes_ = insn_bytes_ = 0;
  ring_.clear();
  queue_.clear();
}

}  // namespace bhyve::soft
