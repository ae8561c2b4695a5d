// What a vCPU knows of the code it has met, when that is more than it may keep.
#include "engine/soft/runtime/block_cache.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {
namespace {

class BlockCacheTest : public ::testing::Test {
 protected:
  static constexpr usize limit = 4 * MiB;
  static constexpr unsigned insns_each = 10, bytes_each = 40;

  Block& add(u64 gpa, bool crossing = false) {
    std::array<Insn, insns_each> insns;
    for (unsigned n = 0; n < insns_each; ++n) insns[n].imm = gpa + n;
    std::array<u8, bytes_each> raw;
    raw.fill(static_cast<u8>(gpa >> 4));
    const BlockSecond second{gpa + page_size, &word, 0};
    Block* block = cache->make(insns.data(), insns_each, raw.data(), bytes_each, 0, crossing ? &second : nullptr);
    block->gpa = gpa;
    block->code_size = CodeSize::bits64;
    block->word = &word;
    cache->insert(block);
    return *block;
  }
  Block* find(u64 gpa) { return cache->find(Gpa(gpa), CodeSize::bits64); }

  std::atomic<Block::Word> word{0};
  Translation translation{};
  std::unique_ptr<BlockCache> cache = std::make_unique<BlockCache>(limit);
};

TEST_F(BlockCacheTest, TheOldestGoAndAreForgotten) {
  constexpr u64 last = 100'000;
  for (u64 n = 1; n <= last; ++n) {
    Block& block = add(n << 8);
    cache->remember(n << 8, &block);
    cache->remember((n << 8) + 1, &block);  // seen at two addresses
  }
  EXPECT_EQ(find(1 << 8), nullptr);
  EXPECT_EQ(cache->quick(1 << 8), nullptr);
  Block* newest = find(last << 8);
  ASSERT_NE(newest, nullptr);
  EXPECT_EQ(cache->quick(last << 8), newest);
  unsigned there = 0, decoded = 0;
  for (u64 n = 1; n <= last; ++n)
    if (const Block* block = find(n << 8)) {
      ++there;
      decoded += block->insns != nullptr;
      ASSERT_EQ(block->raw()[bytes_each - 1], static_cast<u8>(n << 4));
      if (block->insns) {
        ASSERT_EQ(block->insns[insns_each - 1].imm, (n << 8) + insns_each - 1);
      }
    }
  // Most keep their bytes alone, which take an eighth.
  EXPECT_GT(there, limit / (insns_each * sizeof(Insn)));
  EXPECT_LT(there * (sizeof(Block) + bytes_each) + decoded * insns_each * sizeof(Insn), limit + limit / 8);
  EXPECT_GT(decoded, 1000u);
}

TEST_F(BlockCacheTest, WhatIsTranslatedStaysUntilItIsNot) {
  Block& kept = add(0x1000);
  kept.heat = 77;
  kept.translation = &translation;
  cache->translated(kept);
  EXPECT_EQ(kept.insns, nullptr);
  for (u64 n = 100; n < 100'000; ++n) add(n << 8);
  ASSERT_EQ(find(0x1000), &kept);
  EXPECT_EQ(kept.raw()[0], 0x1000 >> 4 & 0xff);
  kept.translation = nullptr;
  cache->retired(kept);
  ASSERT_EQ(find(0x1000), &kept);
  EXPECT_EQ(kept.heat, 77);
  for (u64 n = 100'000; n < 200'000; ++n) add(n << 8);
  EXPECT_EQ(find(0x1000), nullptr);
}

TEST_F(BlockCacheTest, InstructionsComeBack) {
  Block& block = add(0x1000, true);
  block.translation = &translation;
  cache->translated(block);
  std::array<Insn, insns_each> insns;
  for (Insn& i : insns) i.imm = 5;
  cache->restore(block, insns.data());
  ASSERT_NE(block.insns, nullptr);
  EXPECT_EQ(block.insns[insns_each - 1].imm, 5u);
  EXPECT_EQ(block.insns[insns_each].offset, bytes_each);  // the one that ends it
  EXPECT_EQ(block.second().gpa, 0x1000 + page_size);
}

TEST_F(BlockCacheTest, WhatGetsItsInstructionsBackStays) {
  constexpr u64 last = 100'000;
  for (u64 n = 1; n <= last; ++n) add(n << 8);
  std::array<Insn, insns_each> insns;
  unsigned restored = 0;
  for (u64 n = 1; n <= last; ++n) {  // the oldest first, which are the next to go
    Block* block = find(n << 8);
    if (!block || block->insns) continue;
    insns[0].imm = n;
    cache->restore(*block, insns.data());
    ASSERT_EQ(find(n << 8), block);
    ASSERT_NE(block->insns, nullptr);
    ASSERT_EQ(block->insns[0].imm, n);
    ++restored;
    add((last + n) << 8);  // until there is too much again
  }
  EXPECT_GT(restored, 10'000u);
}

TEST_F(BlockCacheTest, StaleBlocksAreNotFound) {
  Block& block = add(0x1000);
  cache->remember(0x1000, &block);
  word = 1;
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_EQ(cache->quick(0x1000), nullptr);
}

TEST_F(BlockCacheTest, RecalledInstructionsGoWithTheBlocks) {
  Block& block = add(0x1000);
  Insn insn;
  insn.imm = 9;
  EXPECT_EQ(cache->recalled(block, 3), nullptr);
  cache->keep_recalled(block, 3, insn);
  ASSERT_NE(cache->recalled(block, 3), nullptr);
  EXPECT_EQ(cache->recalled(block, 3)->imm, 9u);
  EXPECT_EQ(cache->recalled(block, 4), nullptr);
  cache->clear();
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_EQ(cache->recalled(add(0x1000), 3), nullptr);  // in the same place, perhaps
}

TEST(PieceMemoryTest, GivesBackPiecesOfTheSameSize) {
  PieceMemory memory;
  void* small = memory.take(40);
  void* large = memory.take(800);
  EXPECT_NE(small, large);
  memory.give_back(small, 40);
  EXPECT_NE(memory.take(800), small);
  EXPECT_EQ(memory.take(33), small);  // 48 bytes each
}

}  // namespace
}  // namespace bhyve::soft
