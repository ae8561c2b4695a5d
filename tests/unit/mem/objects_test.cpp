// Objects under the map besides anonymous memory, and what others build on.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <map>
#include <set>
#include <vector>

#include "guest_cpu.hpp"
#include "pmap/pmap_ept.hpp"
#include "vmspace_fixture.hpp"

namespace bhyve::mem {
namespace {

class ObjectsTest : public VmspaceTest {
 protected:
  GuestCpu cpu{*space};
  /// A file of `pages` pages; word n of page p is p * 1000 + n.
  static UniqueFd file(u64 pages) {
    UniqueFd fd(::memfd_create("objects-test", MFD_CLOEXEC));
    for (u64 p = 0; p < pages; ++p) {
      std::vector<u64> words(512);
      for (u64 n = 0; n < 512; ++n) words[n] = p * 1000 + n;
      EXPECT_EQ(::pwrite(fd.get(), words.data(), page_size, static_cast<off_t>(p * page_size)),
                static_cast<ssize_t>(page_size));
    }
    return fd;
  }
  u64 load(u64 gpa) {
    u64 value = ~u64{0};
    EXPECT_TRUE(cpu.load(gpa, value));
    return value;
  }
};

TEST_F(ObjectsTest, AScatterListShowsItsPiecesInOrderAndUncacheable) {
  const UniqueFd a = file(4), b = file(8);
  const std::vector<VmObject::Piece> pieces{{b.get(), 5 * page_size, 2 * page_size},
                                            {a.get(), page_size, page_size},
                                            {b.get(), 0, page_size}};
  constexpr u64 at = 0xc000'0000;
  const auto bar = space->add_files("bar", pieces, true);
  ASSERT_TRUE(bar);
  ASSERT_TRUE(space->show_files(*bar, Gpa(at), Prot::rw, true));
  EXPECT_EQ(load(at), 5000u);
  EXPECT_EQ(load(at + page_size + 8), 6001u);
  EXPECT_EQ(load(at + 2 * page_size), 1000u);
  EXPECT_EQ(load(at + 3 * page_size + 16), 2u);
  EXPECT_EQ(pmap::Ept::MemoryType::get(leaf(Gpa(at))), u64{pmap::Ept::uncacheable});
  ASSERT_TRUE(cpu.store(at + 2 * page_size, 42));
  u64 stored = 0;
  ASSERT_EQ(::pread(a.get(), &stored, 8, page_size), 8);
  EXPECT_EQ(stored, 42u) << "shared with the file";
  EXPECT_EQ(space->fault(Gpa(at), Prot::exec), FaultResult::denied) << "no execute permission";
  EXPECT_EQ(space->fault(Gpa(at + 4 * page_size), Prot::read), FaultResult::mmio);
  ASSERT_TRUE(space->remove_segment(Gpa(at)));
  ASSERT_EQ(::pread(a.get(), &stored, 8, page_size), 8);
  EXPECT_EQ(stored, 42u) << "a file is not emptied";
}

TEST_F(ObjectsTest, FilesAreShownAtOnePlaceAtATimeAsOftenAsWanted) {
  const UniqueFd a = file(4);
  const VmObject::Piece piece{a.get(), 0, 4 * page_size};
  const auto bar = space->add_files("bar", {&piece, 1}, true);
  const auto rom = space->add_files("rom", {&piece, 1}, false);
  ASSERT_TRUE(bar && rom);
  EXPECT_EQ(space->show_files(*rom, Gpa(GiB), Prot::rw, false).error().code, EACCES);
  EXPECT_EQ(space->show_files(99, Gpa(GiB), Prot::read, false).error().code, EINVAL);
  EXPECT_EQ(space->show_files(*bar, Gpa(8), Prot::rw, false).error().code, EINVAL);
  for (u64 n = 1; n < 1000; ++n) {  // more often than there are banks
    const Gpa at(GiB + n % 7 * MiB);
    ASSERT_TRUE(space->show_files(*bar, at, Prot::rw, true)) << n;
    EXPECT_EQ(space->show_files(*bar, Gpa(2 * GiB), Prot::rw, true).error().code, EBUSY);
    EXPECT_EQ(space->show_files(*rom, at, Prot::read, true).error().code, EEXIST);
    ASSERT_TRUE(cpu.store(at.value() + 8, n));
    const Hold held = space->hold(at, 16, Prot::read);
    ASSERT_TRUE(space->remove_segment(at)) << "holds do not keep it there";
    EXPECT_EQ(ram_load<u64>(held.contiguous() + 8), n);
    EXPECT_EQ(space->fault(at, Prot::read), FaultResult::mmio);
  }
}

TEST_F(ObjectsTest, FilesThatAreTooShortOrUnalignedAreRefused) {
  const UniqueFd fd = file(2);
  const auto add = [&](VmObject::Piece piece) {
    return static_cast<bool>(space->add_files("x", {&piece, 1}, false));
  };
  EXPECT_FALSE(add({fd.get(), page_size, 2 * page_size}));
  EXPECT_FALSE(add({fd.get(), 8, page_size}));
  EXPECT_FALSE(add({fd.get(), 0, 0}));
  EXPECT_FALSE(add({fd.get(), ~u64{0xfff}, page_size}));
  EXPECT_FALSE(add({-1, 0, page_size}));
  EXPECT_TRUE(add({fd.get(), page_size, page_size}));
}

TEST_F(ObjectsTest, AnImageIsSharedUntilItIsWritten) {
  const UniqueFd fd = file(16);
  ASSERT_TRUE(space->attach_image(fd.get()));
  EXPECT_EQ(load(3 * page_size + 8), 3001u);
  EXPECT_NE(pmap::Ept::frame(leaf(Gpa(3 * page_size))), ArenaAddr(3 * page_size))
      << "the frame is the image's";
  EXPECT_EQ(space->resident_bytes(), 0u);
  ASSERT_TRUE(cpu.store(3 * page_size, 1));
  EXPECT_EQ(load(3 * page_size), 1u);
  EXPECT_EQ(load(3 * page_size + 8), 3001u) << "the rest of the page came along";
  EXPECT_EQ(pmap::Ept::frame(leaf(Gpa(3 * page_size))), ArenaAddr(3 * page_size));
  EXPECT_EQ(space->resident_bytes(), page_size);
  u64 in_file = 0;
  ASSERT_EQ(::pread(fd.get(), &in_file, 8, 3 * page_size), 8);
  EXPECT_EQ(in_file, 3000u) << "the file is as it was";
  EXPECT_EQ(load(MiB), 0u) << "what the file does not have is zero";
  u64 word = 0;
  ASSERT_TRUE(space->read(Gpa(5 * page_size), {reinterpret_cast<u8*>(&word), 8}));
  EXPECT_EQ(word, 5000u) << "holds see it too";
}

TEST_F(ObjectsTest, AnImageThatDoesNotFitIsRefused) {
  const UniqueFd fd(::memfd_create("x", MFD_CLOEXEC));
  const u64 one = 1;
  ASSERT_EQ(::pwrite(fd.get(), &one, 8, static_cast<off_t>(lowmem)), 8);
  EXPECT_FALSE(space->attach_image(fd.get())) << "not whole pages";
  ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(lowmem + page_size)), 0);
  EXPECT_FALSE(space->attach_image(fd.get())) << "a page in the hole";
}

TEST_F(ObjectsTest, ADirtyLogIsOfWhatWasWrittenSinceTheLast) {
  std::vector<u64> bits(4);
  const auto dirty = [&] {
    EXPECT_TRUE(space->take_dirty(Gpa(0x10'0000), bits));
    std::set<u64> pages;
    for (u64 n = 0; n < 256; ++n)
      if (bits[n / 64] >> n % 64 & 1) pages.insert(n);
    return pages;
  };
  EXPECT_EQ(dirty(), std::set<u64>{});
  ASSERT_TRUE(cpu.store(0x10'0000, 1));
  ASSERT_TRUE(cpu.store(0x10'0000 + 200 * page_size, 1));
  EXPECT_EQ(load(0x10'0000 + 3 * page_size), 0u);
  EXPECT_EQ(dirty(), (std::set<u64>{0, 200}));
  EXPECT_EQ(dirty(), std::set<u64>{});
  const u64 word = 1;
  ASSERT_TRUE(space->write(Gpa(0x10'0000 + 7 * page_size - 4),
                           {reinterpret_cast<const u8*>(&word), 8}));
  ASSERT_TRUE(cpu.store(0x10'0000, 2));
  space->pmap().remove(0x10'0000, page_size);
  EXPECT_EQ(dirty(), (std::set<u64>{0, 6, 7})) << "also of devices and of pages unmapped since";
  EXPECT_FALSE(space->take_dirty(Gpa(8), bits));
  EXPECT_FALSE(space->take_dirty(Gpa(u64{1} << 40), bits));
}

TEST_F(ObjectsTest, CopyOnWriteTellsTheOldContentsOnceBeforeTheFirstWrite) {
  for (u64 p = 0; p < 8; ++p) ASSERT_TRUE(cpu.store(p << page_shift, p + 1));
  std::map<u64, u64> old;
  const auto sink = [&](Gpa gpa, std::span<const std::byte> page) {
    EXPECT_FALSE(old.contains(gpa.page_number()));
    old[gpa.page_number()] = ram_load<u64>(page.data());
  };
  ASSERT_TRUE(space->protect_cow(Gpa(0), 4 * page_size, sink));
  EXPECT_EQ(space->protect_cow(Gpa(0), page_size, sink).error().code, EBUSY);
  EXPECT_EQ(load(0), 1u);
  EXPECT_TRUE(old.empty()) << "reading is no write";
  ASSERT_TRUE(cpu.store(0, 100));
  ASSERT_TRUE(cpu.store(0, 101));
  ASSERT_TRUE(cpu.store(6 << page_shift, 102));
  const u64 word = 103;
  ASSERT_TRUE(space->write(Gpa(2 << page_shift), {reinterpret_cast<const u8*>(&word), 8}));
  EXPECT_EQ(old, (std::map<u64, u64>{{0, 1}, {2, 3}}));
  EXPECT_EQ(load(0), 101u);
  EXPECT_EQ(load(2 << page_shift), 103u);
  space->end_cow(Gpa(0), 4 * page_size);
  ASSERT_TRUE(cpu.store(page_size, 1));
  EXPECT_EQ(old.size(), 2u);
  EXPECT_TRUE(space->protect_cow(Gpa(0), page_size, sink)) << "and again";
}

TEST_F(ObjectsTest, WiringMoreThanTheHostAllowsNamesItsLimit) {
  struct rlimit old {};
  ::getrlimit(RLIMIT_MEMLOCK, &old);
  const struct rlimit none {0, old.rlim_max};
  ::setrlimit(RLIMIT_MEMLOCK, &none);
  const auto wired = space->wire_all();
  ::setrlimit(RLIMIT_MEMLOCK, &old);
  if (wired) {
    EXPECT_EQ(space->stats().wired_bytes, lowmem + highmem) << "root is not limited";
    EXPECT_EQ(space->resident_bytes(), lowmem + highmem);
  } else {
    EXPECT_NE(wired.error().message.find("RLIMIT_MEMLOCK"), std::string::npos);
    EXPECT_EQ(space->stats().wired_bytes, 0u);
  }
}

TEST_F(ObjectsTest, TwoMegabytesThatAreTouchedWhollyBecomeOneMapping) {
  for (u64 at = 0; at < 3 * superpage_size; at += page_size) ASSERT_TRUE(cpu.store(at, at));
  EXPECT_EQ(space->pmap().lookup(0).count, 3u);
  EXPECT_EQ(space->pmap().lookup(superpage_size).count, 3u);
  EXPECT_GE(space->stats().pmap.promotions, 2u);
  for (u64 at = 0; at < 3 * superpage_size; at += page_size) ASSERT_EQ(load(at), at);
}

}  // namespace
}  // namespace bhyve::mem
