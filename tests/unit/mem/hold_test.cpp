#include "mem/hold.hpp"

#include <array>
#include <numeric>
#include <vector>

#include "vmspace_fixture.hpp"

namespace bhyve::mem {
namespace {

class HoldTest : public VmspaceTest {};

TEST_F(HoldTest, RamIsOneRangeHoweverManyPages) {
  const Hold h = space->hold(Gpa(0x1ff0), 5 * page_size, Prot::rw);
  ASSERT_TRUE(h);
  ASSERT_EQ(h.ranges().size(), 1u);
  EXPECT_EQ(h.ranges()[0].size, 5 * page_size);
  EXPECT_EQ(h.contiguous(), space->arena().host(ArenaAddr(0x1ff0)));
}

TEST_F(HoldTest, IsSplitAtTheBordersOfEntries) {
  const auto s = space->add_segment(Gpa(0x4000), page_size, Prot::rw, "window");
  ASSERT_TRUE(s);
  const Hold h = space->hold(Gpa(0x3800), 0x2000, Prot::rw);
  ASSERT_TRUE(h);
  ASSERT_EQ(h.ranges().size(), 3u);
  EXPECT_EQ(h.contiguous(), nullptr);
  EXPECT_EQ(h.ranges()[0].size, 0x800u);
  EXPECT_EQ(h.ranges()[1].data, *s);
  EXPECT_EQ(h.ranges()[1].size, page_size);
  EXPECT_EQ(h.ranges()[2].data, space->arena().host(ArenaAddr(0x5000)));
  EXPECT_EQ(h.ranges()[2].size, 0x800u);
}

TEST_F(HoldTest, CopiesRunAcrossEntriesInOrder) {
  ASSERT_TRUE(space->add_segment(Gpa(0x4000), page_size, Prot::rw, "window"));
  std::vector<u8> out(0x2000), in(0x2000);
  std::iota(out.begin(), out.end(), u8{7});
  ASSERT_TRUE(space->write(Gpa(0x3800), out));
  ASSERT_TRUE(space->read(Gpa(0x3800), in));
  EXPECT_EQ(in, out);
}

TEST_F(HoldTest, AnyAddressAndLengthIsSafe) {
  constexpr u64 top = ~u64{0};
  EXPECT_FALSE(space->hold(Gpa(0), 0, Prot::read));
  EXPECT_FALSE(space->hold(Gpa(0), top, Prot::rw));
  EXPECT_FALSE(space->hold(Gpa(top), 1, Prot::read));
  EXPECT_FALSE(space->hold(Gpa(top), top, Prot::rw));
  EXPECT_FALSE(space->hold(Gpa(0x1000), top - 0xfff, Prot::read));
  EXPECT_FALSE(space->hold(Gpa(u64{1} << 63), u64{1} << 63, Prot::read));
  EXPECT_FALSE(space->hold(Gpa(lowmem - 1), 2, Prot::read)) << "runs into a hole";
  EXPECT_FALSE(space->hold(Gpa(4 * GiB - 1), 2, Prot::read)) << "starts in a hole";
  EXPECT_TRUE(space->hold(Gpa(lowmem - 1), 1, Prot::read));
  EXPECT_TRUE(space->hold(Gpa(4 * GiB), highmem, Prot::rw));
  EXPECT_EQ(space->holds_outstanding(), 0u);
}

TEST_F(HoldTest, ARefusedWriteTouchesNothing) {
  std::vector<u8> bytes(2 * page_size, 0xee);
  EXPECT_FALSE(space->write(Gpa(lowmem - page_size), bytes));
  u8 last = 1;
  ASSERT_TRUE(space->read(Gpa(lowmem - 1), {&last, 1}));
  EXPECT_EQ(last, 0);
}

TEST_F(HoldTest, EveryHoldIsCountedOnceThroughMoves) {
  Hold a = space->hold(Gpa(0), 1, Prot::read);
  EXPECT_EQ(space->holds_outstanding(), 1u);
  Hold b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_TRUE(a.ranges().empty());
  EXPECT_EQ(a.contiguous(), nullptr);
  EXPECT_EQ(space->holds_outstanding(), 1u);
  a = space->hold(Gpa(0x1000), 1, Prot::rw);
  EXPECT_EQ(space->holds_outstanding(), 2u);
  a = std::move(b);
  EXPECT_EQ(space->holds_outstanding(), 1u) << "assignment releases what was held";
  EXPECT_EQ(a.contiguous(), space->arena().host(ArenaAddr(0)));
  a.release();
  a.release();
  EXPECT_EQ(space->holds_outstanding(), 0u);
}

TEST_F(HoldTest, ReleaseOfAWriteHoldInvalidatesCodeOfEveryPage) {
  CodePages& code = space->code_pages();
  const auto first = code.watch(1), last = code.watch(3), beyond = code.watch(4);
  {
    const Hold h = space->hold(Gpa(0x1fff), page_size + 2, Prot::rw);
    ASSERT_TRUE(h);
    EXPECT_EQ(code.word(1), first.word) << "not before the bytes are written";
  }
  EXPECT_NE(code.word(1), first.word);
  EXPECT_NE(code.word(3), last.word);
  EXPECT_EQ(code.word(4), beyond.word);
}

TEST_F(HoldTest, ReadHoldsInvalidateNoCode) {
  const auto watch = space->code_pages().watch(1);
  { const Hold h = space->hold(Gpa(0x1000), page_size, Prot::read); }
  EXPECT_EQ(space->code_pages().word(1), watch.word);
}

TEST_F(HoldTest, WritesMarkPagesModifiedAndReadsDoNot) {
  std::array<u8, 2> bytes{1, 2};
  ASSERT_EQ(space->fault(Gpa(0x1000), Prot::read), FaultResult::resolved);
  ASSERT_TRUE(space->read(Gpa(0x1fff), bytes));
  EXPECT_FALSE(dirty(Gpa(0x1000)));
  ASSERT_TRUE(space->write(Gpa(0x1fff), bytes));
  EXPECT_TRUE(dirty(Gpa(0x1000)));
  EXPECT_TRUE(dirty(Gpa(0x2000)));
  EXPECT_FALSE(dirty(Gpa(0x3000)));
}

TEST_F(HoldTest, PagesWrittenAfterADirtyLogWasReadAreMarkedOnRelease) {
  Hold h = space->hold(Gpa(0x1000), 1, Prot::rw);
  ASSERT_TRUE(dirty(Gpa(0x1000)));
  space->pmap().remove(0x1000, page_size);
  ASSERT_EQ(space->fault(Gpa(0x1000), Prot::read), FaultResult::resolved);
  ASSERT_FALSE(dirty(Gpa(0x1000)));
  h.release();
  EXPECT_TRUE(dirty(Gpa(0x1000)));
}

TEST_F(HoldTest, AHeldSegmentCannotBeRemoved) {
  constexpr Gpa at{0xc000'0000};
  ASSERT_TRUE(space->add_segment(at, page_size, Prot::rw, "bar"));
  Hold h = space->hold(at, 1, Prot::read);
  const auto refused = space->remove_segment(at);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  h.release();
  EXPECT_TRUE(space->remove_segment(at));
}

TEST_F(HoldTest, LeaksAreReportedAtTheEndOfTheSpace) {
  // The hold itself is leaked on purpose: released later it would touch the space that is gone.
  alignas(Hold) std::array<std::byte, sizeof(Hold)> storage;
  new (storage.data()) Hold(space->hold(Gpa(0), 1, Prot::read));
  EXPECT_EQ(space->holds_outstanding(), 1u);
  testing::internal::CaptureStderr();
  space.reset();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::HasSubstr("1 holds were not released"));
}

}  // namespace
}  // namespace bhyve::mem
