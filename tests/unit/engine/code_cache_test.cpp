// Memory for translated code: regions, and how the vCPUs of a VM share them.
#include "engine/soft/translate/code_cache.hpp"

#include <gtest/gtest.h>

namespace bhyve::soft {
namespace {

constexpr usize size = 64 * MiB;

TEST(CodePoolTest, DividesWhatThereIs) {
  for (const usize vcpus : {1, 2, 3, 4, 16, 64, 254})
    for (const usize bytes : {MiB, 2 * MiB, 64 * MiB, GiB}) {
      const CodePool pool(bytes, vcpus);
      EXPECT_LE(pool.regions() * pool.region_bytes(), bytes) << vcpus;
      EXPECT_EQ(pool.regions(), pool.share() * vcpus);
      EXPECT_EQ(pool.region_bytes() % page_size, 0u);
      EXPECT_GE(pool.share(), 1u);
    }
}

TEST(CodePoolTest, OneMayHaveAllButOneOfEachOther) {
  CodePool pool(size, 4);
  usize held = 1;
  while (pool.take(held)) ++held;
  EXPECT_EQ(held, pool.regions() - 3);
  EXPECT_FALSE(pool.wanted(held));  // it has more than its share and only wants more
  EXPECT_FALSE(pool.take(1));       // another has less
  EXPECT_TRUE(pool.wanted(held));
  EXPECT_FALSE(pool.wanted(pool.share()));
  pool.give_back(held - pool.share());
  EXPECT_FALSE(pool.take(pool.share()));  // not before the other
  EXPECT_TRUE(pool.take(pool.share()));   // that did not come
  EXPECT_TRUE(pool.take(1));
}

TEST(CodeCacheTest, FillsRegionAfterRegionAndBeginsAgain) {
  CodePool pool(size, 1);
  CodeCache cache(&pool);
  ASSERT_TRUE(cache.usable());
  cache.commit(100);
  cache.keep();
  const u8* kept = cache.begin();
  for (usize n = 1; n < pool.regions(); ++n) {
    ASSERT_EQ(cache.choose_next(), n);
    cache.enter(n);
    EXPECT_EQ(cache.region_of(cache.executable(cache.begin())), n);
    EXPECT_TRUE(cache.has_room());
  }
  EXPECT_EQ(cache.choose_next(), 0u);
  cache.enter(0);
  EXPECT_EQ(cache.begin(), kept);
  EXPECT_EQ(cache.choose_next(), 1u);
}

TEST(CodeCacheTest, WhatIsGivenBackIsAnothers) {
  CodePool pool(size, 2);
  CodeCache busy(&pool), other(&pool);
  for (CodeCache* cache : {&busy, &other}) cache->keep();
  while (const usize next = busy.choose_next()) busy.enter(next);
  EXPECT_EQ(busy.held(), pool.regions() - 1);
  EXPECT_EQ(other.choose_next(), 0u);
  EXPECT_TRUE(busy.wanted());
  busy.enter(0);
  busy.shrink(busy.keeping());
  EXPECT_EQ(busy.held(), pool.share());
  EXPECT_FALSE(busy.wanted());
  for (usize n = 1; n < pool.share(); ++n) {
    ASSERT_EQ(other.choose_next(), n);
    other.enter(n);
  }
  EXPECT_EQ(other.choose_next(), 0u);
  busy.reset();
  EXPECT_EQ(other.choose_next(), pool.share());  // one more
}

TEST(CodeCacheTest, WithoutAPoolThereIsNone) { EXPECT_FALSE(CodeCache(nullptr).usable()); }

}  // namespace
}  // namespace bhyve::soft
