#include "mem/code_pages.hpp"

#include <gtest/gtest.h>

namespace bhyve::mem {
namespace {

TEST(CodePages, AWriteToAWatchedPageChangesTheWordAndEndsTheWatch) {
  CodePages pages(16);
  const CodePages::Watch first = pages.watch(3);
  EXPECT_TRUE(first.is_new);
  EXPECT_EQ(pages.word(3), first.word);
  EXPECT_TRUE(pages.watched(3));
  pages.written(3);
  EXPECT_NE(pages.word(3), first.word);
  EXPECT_FALSE(pages.watched(3));
  const CodePages::Watch second = pages.watch(3);
  EXPECT_TRUE(second.is_new);
  EXPECT_NE(second.word, first.word) << "old code must stay invalid when the page is watched again";
}

TEST(CodePages, OnlyTheFirstWatchIsNew) {
  CodePages pages(16);
  const CodePages::Watch first = pages.watch(0);
  const CodePages::Watch second = pages.watch(0);
  EXPECT_FALSE(second.is_new);
  EXPECT_EQ(first.word, second.word);
}

TEST(CodePages, WritesToPagesNotWatchedChangeNothing) {
  CodePages pages(16);
  pages.written(5);
  EXPECT_EQ(pages.word(5), 0u);
}

TEST(CodePages, PagesBeyondTheLimitAreNeverWatchedNorValid) {
  CodePages pages(16);
  const CodePages::Watch w = pages.watch(16);
  EXPECT_FALSE(w.is_new);
  EXPECT_NE(pages.word(16), w.word);
  EXPECT_FALSE(pages.watched(~u64{0}));
  pages.written(~u64{0});
  EXPECT_NE(pages.word(16), pages.watch(16).word);
}

}  // namespace
}  // namespace bhyve::mem
