#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "vmspace_fixture.hpp"

namespace bhyve::mem {
namespace {

constexpr Gpa rom_at{0xffff'0000};
constexpr u64 rom_size = 64 * KiB;

TEST_F(VmspaceTest, BadSizesAreRefusedWithWhatWasExpected) {
  const auto error = [](u64 low, u64 high) {
    const auto made = Vmspace::create({low, high});
    return made ? std::string("made") : made.error().message;
  };
  EXPECT_THAT(error(0, 0), testing::HasSubstr("expected whole pages"));
  EXPECT_THAT(error(5 * GiB, 0), testing::HasSubstr("at most 4 GiB"));
  EXPECT_THAT(error(MiB + 1, 0), testing::HasSubstr("expected whole pages"));
  EXPECT_THAT(error(MiB, ~u64{0}), testing::HasSubstr("high memory"));
  EXPECT_THAT(error(MiB, u64{1} << 45), testing::HasSubstr("below 16 TiB"));
}

TEST_F(VmspaceTest, MoreMemoryThanTheHostHasIsAllowedAndCostsNothing) {
  const auto big = make({3 * GiB, 512 * GiB});
  ASSERT_TRUE(big);
  EXPECT_EQ(big->resident_bytes(), 0u);
  const std::array<u8, 4> bytes{1, 2, 3, 4};
  EXPECT_TRUE(big->write(Gpa(512 * GiB), bytes));
  EXPECT_LE(big->resident_bytes(), superpage_size);
}

TEST_F(VmspaceTest, RamFaultsResolveAtBothEndsOfEachPart) {
  for (const u64 at : {u64{0}, lowmem - 1, 4 * GiB, 4 * GiB + highmem - 1}) {
    EXPECT_EQ(space->fault(Gpa(at), Prot::write), FaultResult::resolved) << at;
    EXPECT_EQ(space->pmap().lookup(at).frame, at) << "the RAM bank is identity";
  }
}

TEST_F(VmspaceTest, FaultsOnHolesAreMmio) {
  for (const u64 at : {lowmem, 4 * GiB - 1, 4 * GiB + highmem, u64{1} << 48, ~u64{0}})
    EXPECT_EQ(space->fault(Gpa(at), Prot::read), FaultResult::mmio) << at;
}

TEST_F(VmspaceTest, FaultAroundStaysInsideTheEntryAndKeepsWriteProtection) {
  ASSERT_TRUE(space->add_segment(Gpa(0x4000), page_size, Prot::rx, "rom"));
  ASSERT_EQ(space->fault(Gpa(0x1000), Prot::read), FaultResult::resolved);
  EXPECT_TRUE(leaf(Gpa(0x3000)));
  EXPECT_FALSE(leaf(Gpa(0x4000))) << "another entry";
  EXPECT_FALSE(leaf(Gpa(0x5000))) << "beyond another entry";
  space->pmap().write_protect(0x2000, page_size);
  space->pmap().remove(0x1000, page_size);
  ASSERT_EQ(space->fault(Gpa(0x1000), Prot::write), FaultResult::resolved);
  EXPECT_FALSE(leaf(Gpa(0x2000)) & space->pmap().rw_bit());
  ASSERT_EQ(space->fault(Gpa(0x2000), Prot::write), FaultResult::resolved);
  EXPECT_TRUE(leaf(Gpa(0x2000)) & space->pmap().rw_bit());
}

TEST_F(VmspaceTest, FaultsAloneAllocateNoHostMemory) {
  for (u64 at = 0; at < lowmem; at += page_size)
    ASSERT_EQ(space->fault(Gpa(at), Prot::write), FaultResult::resolved);
  EXPECT_EQ(space->resident_bytes(), 0u);
}

TEST_F(VmspaceTest, RomIsReadableAndExecutableButWritesAreDenied) {
  const auto rom = space->add_segment(rom_at, rom_size, Prot::rx, "bootrom");
  ASSERT_TRUE(rom);
  ram_store<u64>(*rom + 0xfff0, 0x1122334455667788);
  EXPECT_EQ(space->fault(Gpa(0xffff'fff0), Prot::exec), FaultResult::resolved);
  EXPECT_EQ(guest_word(Gpa(0xffff'fff0)), 0x1122334455667788u);
  EXPECT_FALSE(leaf(Gpa(0xffff'fff0)) & space->pmap().rw_bit());
  EXPECT_EQ(space->fault(Gpa(0xffff'fff0), Prot::write), FaultResult::denied);
  const std::array<u8, 1> byte{0};
  EXPECT_FALSE(space->write(rom_at, byte));
  EXPECT_FALSE(space->hold(rom_at, 1, Prot::rw));
  EXPECT_EQ(ram_load<u64>(*rom + 0xfff0), 0x1122334455667788u);
}

TEST_F(VmspaceTest, DataSegmentsAreNotExecutable) {
  ASSERT_TRUE(space->add_segment(rom_at, rom_size, Prot::rw, "framebuffer"));
  EXPECT_EQ(space->fault(rom_at, Prot::exec), FaultResult::denied);
  EXPECT_EQ(space->fault(rom_at, Prot::write), FaultResult::resolved);
}

TEST_F(VmspaceTest, SegmentsThatCannotBeAreRefused) {
  ASSERT_TRUE(space->add_segment(rom_at, rom_size, Prot::rx, "bootrom"));
  const auto code = [&](u64 gpa, u64 length) {
    const auto r = space->add_segment(Gpa(gpa), length, Prot::rw, "x");
    return r ? 0 : r.error().code;
  };
  EXPECT_EQ(code(0xffff'8000, page_size), EEXIST);
  EXPECT_EQ(code(0xc000'0001, page_size), EINVAL);
  EXPECT_EQ(code(0xc000'0000, 0), EINVAL);
  EXPECT_EQ(code(0xc000'0000, 100), EINVAL);
  EXPECT_EQ(code(~page_mask, 2 * page_size), EINVAL);
  EXPECT_EQ(code(page_size, ~page_mask), EINVAL);
  const auto none = space->remove_segment(Gpa(0xc000'0000));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ENOENT);
}

TEST_F(VmspaceTest, ASegmentOverRamHidesItAndRemovalShowsItAgain) {
  const std::array<u8, 8> bytes{1, 2, 3, 4, 5, 6, 7, 8};
  ASSERT_TRUE(space->write(Gpa(0xe'0000), bytes));
  const u64 before = space->pmap().generation();
  ASSERT_TRUE(space->add_segment(Gpa(0xe'0000), 128 * KiB, Prot::rx, "shadow"));
  EXPECT_GT(space->pmap().generation(), before);
  EXPECT_FALSE(leaf(Gpa(0xe'0000))) << "the RAM mapping must be gone";
  std::array<u8, 8> got{9};
  ASSERT_TRUE(space->read(Gpa(0xe'0000), got));
  EXPECT_EQ(got, (std::array<u8, 8>{}));
  ASSERT_TRUE(space->remove_segment(Gpa(0xe'0000)));
  ASSERT_TRUE(space->read(Gpa(0xe'0000), got));
  EXPECT_EQ(got, bytes);
}

TEST_F(VmspaceTest, MapChangesInvalidateCode) {
  const auto watch = space->code_pages().watch(0xe0);
  ASSERT_TRUE(space->add_segment(Gpa(0xe'0000), page_size, Prot::rx, "shadow"));
  EXPECT_NE(space->code_pages().word(0xe0), watch.word);
}

TEST_F(VmspaceTest, RemovedSegmentsAreReusedEmptyAndNeverRunOut) {
  std::byte* first = nullptr;
  for (int i = 0; i < 1000; ++i) {
    const auto s = space->add_segment(rom_at, rom_size, Prot::rw, "bar");
    ASSERT_TRUE(s) << i << ": " << s.error().message;
    if (!first) first = *s;
    ASSERT_EQ(*s, first);
    ASSERT_EQ(ram_load<u8>(*s), 0) << "memory of a removed segment must not show";
    ram_store<u8>(*s, 0xff);
    ASSERT_TRUE(space->remove_segment(rom_at));
    ASSERT_EQ(ram_load<u8>(first), 0) << "the mapping must outlive the removal";
  }
}

TEST_F(VmspaceTest, TooManySegmentsAreAnErrorNotACrash) {
  int made = 0;
  while (space->add_segment(Gpa(GiB + u64(made) * page_size), page_size, Prot::rw, "s")) ++made;
  EXPECT_EQ(made, 254);
}

TEST_F(VmspaceTest, MovingASegmentKeepsItsContents) {
  const auto s = space->add_segment(rom_at, rom_size, Prot::rw, "framebuffer");
  ASSERT_TRUE(s);
  ram_store<u64>(*s, 42);
  ASSERT_EQ(space->fault(rom_at, Prot::read), FaultResult::resolved);
  ASSERT_TRUE(space->move_segment(rom_at, Gpa(0xc000'0000)));
  EXPECT_EQ(space->fault(rom_at, Prot::read), FaultResult::mmio);
  EXPECT_FALSE(leaf(rom_at));
  ASSERT_EQ(space->fault(Gpa(0xc000'0000), Prot::read), FaultResult::resolved);
  EXPECT_EQ(guest_word(Gpa(0xc000'0000)), 42u);
  ASSERT_TRUE(space->add_segment(rom_at, page_size, Prot::rw, "other"));
  EXPECT_FALSE(space->move_segment(Gpa(0xc000'0000), rom_at));
  EXPECT_EQ(space->fault(Gpa(0xc000'0000), Prot::read), FaultResult::resolved) << "stays put";
}

TEST_F(VmspaceTest, EntriesListRamAndSegmentsInOrder) {
  ASSERT_TRUE(space->add_segment(rom_at, rom_size, Prot::rx, "bootrom"));
  const auto all = space->entries();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].name, "sysmem");
  EXPECT_EQ(all[0].length, lowmem);
  EXPECT_EQ(all[1].name, "bootrom");
  EXPECT_EQ(all[1].start, rom_at);
  EXPECT_EQ(all[1].prot, Prot::rx);
  EXPECT_EQ(all[2].start, Gpa(4 * GiB));
  EXPECT_EQ(all[2].offset, 4 * GiB);
}

TEST_F(VmspaceTest, ResidentBytesCountTouchedPagesOfRamAndSegments) {
  const auto s = space->add_segment(rom_at, rom_size, Prot::rx, "bootrom");
  ASSERT_TRUE(s);
  ram_fill(*s, 1, 4 * page_size);
  const std::array<u8, 1> byte{1};
  ASSERT_TRUE(space->write(Gpa(0x5000), byte));
  const u64 resident = space->resident_bytes();
  EXPECT_GE(resident, 5 * page_size);
  struct stat st {};
  ASSERT_EQ(::fstat(space->ram_fd(), &st), 0);
  EXPECT_EQ(static_cast<u64>(st.st_size), 4 * GiB + highmem);
  ASSERT_TRUE(space->remove_segment(rom_at));
  EXPECT_LE(space->resident_bytes(), resident - 4 * page_size);
}

}  // namespace
}  // namespace bhyve::mem
