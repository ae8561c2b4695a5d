#include "mem/pager.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "guest_cpu.hpp"
#include "vmspace_fixture.hpp"

namespace bhyve::mem {
namespace {

constexpr u64 ram = 32 * MiB, resident = 4 * MiB;
constexpr u64 ram_pages = ram >> page_shift;

class PagerTest : public testing::TestWithParam<bool> {
 protected:
  /// RAM eight times as large as what may be in host memory, and one vCPU.
  void start(const std::string& swap = "", u64 limit = resident) {
    Vmspace::Options options;
    options.lowmem = ram;
    options.resident = limit;
    options.swap = swap;
    options.ept.ad_bits = GetParam();
    auto made = Vmspace::create(options);
    ASSERT_TRUE(made) << made.error().message;
    space = std::move(*made);
    cpu = std::make_unique<GuestCpu>(*space);
    space->set_barrier([this](u64 generation) { return cpu->passed(generation); });
  }
  static u64 value_of(u64 page) { return page * 0x9e37'79b9'7f4a'7c15 + 1; }
  void fill() {
    for (u64 page = 0; page < ram_pages; ++page)
      ASSERT_TRUE(cpu->store(page << page_shift, value_of(page)));
  }
  /// Reads pages until one fails, which it must, and none may be wrong.
  void expect_a_failing_read(u64 pages, const std::string& named) {
    bool failed = false;
    for (u64 page = 0; page < pages && !failed; ++page) {
      u64 value = 0;
      failed = !cpu->load(page << page_shift, value);
      if (!failed) {
        ASSERT_EQ(value, value_of(page)) << "never wrong data";
      }
    }
    EXPECT_TRUE(failed);
    ASSERT_TRUE(space->failure());
    EXPECT_NE(space->failure()->find(named), std::string::npos) << *space->failure();
  }
  static std::filesystem::path swap_path() {
    return std::filesystem::path("/var/tmp") / ("bhyve-pager-test-" + std::to_string(getpid()));
  }
  void check() {
    for (u64 page = 0; page < ram_pages; ++page) {
      u64 value = 0;
      ASSERT_TRUE(cpu->load(page << page_shift, value));
      ASSERT_EQ(value, value_of(page)) << "page " << page;
    }
  }

  std::unique_ptr<GuestCpu> cpu;  ///< outlives the space, whose pager asks it
  std::unique_ptr<Vmspace> space;
};

INSTANTIATE_TEST_SUITE_P(AccessedDirty, PagerTest, testing::Bool(), [](const auto& p) {
  return std::string(p.param ? "hardware" : "emulated");
});

TEST_P(PagerTest, MemoryBeyondTheLimitGoesToDiskAndComesBackWhole) {
  start();
  fill();
  check();
  EXPECT_LE(space->resident_bytes(), resident + MiB) << "space is given back to the host";
  const PagerStats s = space->stats().pager;
  EXPECT_GE(s.written, (ram - resident) >> page_shift);
  EXPECT_GT(s.read, 0u);
  EXPECT_GT(cpu->waits, 0u);
}

TEST_P(PagerTest, PagesOfZerosAreNeverWritten) {
  start();
  for (u64 page = 0; page < ram_pages; ++page) ASSERT_TRUE(cpu->store(page << page_shift, 0));
  u64 value = 1;
  ASSERT_TRUE(cpu->load(5 << page_shift, value));
  EXPECT_EQ(value, 0u);
  const PagerStats s = space->stats().pager;
  EXPECT_EQ(s.written, 0u);
  EXPECT_GT(s.zero_drops, 0u);
}

TEST_P(PagerTest, CleanPagesAreDroppedWithoutWritingThemAgain) {
  start();
  fill();
  check();
  check();
  const u64 written = space->stats().pager.written, dropped = space->stats().pager.clean_drops;
  check();
  // A page that is taken back while the pager has it counts as written again: there are few.
  EXPECT_LT(space->stats().pager.written, written + ram_pages / 8);
  EXPECT_GT(space->stats().pager.clean_drops, dropped);
}

TEST_P(PagerTest, HeldPagesStayWhereTheyAre) {
  start();
  ASSERT_TRUE(cpu->store(0x5000, 77));
  const Hold held = space->hold(Gpa(0x5000), 3 * page_size, Prot::rw);
  ASSERT_TRUE(held);
  std::byte* const host = held.contiguous();
  fill();
  EXPECT_EQ(ram_load<u64>(host), value_of(5)) << "the guest writes where the device reads";
  ram_store<u64>(host + page_size, 4711);
  u64 value = 0;
  ASSERT_TRUE(cpu->load(0x6000, value));
  EXPECT_EQ(value, 4711u);
}

TEST_P(PagerTest, WhatItKeepsCanBeReadAfterItsEnd) {
  start();
  fill();
  space->stop_pager();
  for (u64 page = 0; page < ram_pages; ++page) {
    u64 value = 0;
    ASSERT_TRUE(space->read(Gpa(page << page_shift), {reinterpret_cast<u8*>(&value), 8}));
    ASSERT_EQ(value, value_of(page));
  }
}

TEST_P(PagerTest, WhoReadsOnIsReadAheadOf) {
  start();
  fill();
  check();
  const u64 waits = cpu->waits;
  check();
  EXPECT_LT(cpu->waits - waits, ram_pages / 16) << "fewer than one a fault-around";
}

TEST_P(PagerTest, WhatOneInstructionNeedsStaysTogetherInLittleMemory) {
  start("", 128 * KiB);
  fill();
  constexpr u64 apart = 32, pages = 12, rounds = 20;  // each in a neighbourhood of its own
  u64 waits = 0;
  for (u64 n = 0; n < (1 + rounds) * pages; ++n) {
    if (n == pages) waits = cpu->waits;
    u64 value = 0;
    ASSERT_TRUE(cpu->load((n % pages * apart) << page_shift, value));
    ASSERT_EQ(value, value_of(n % pages * apart));
  }
  EXPECT_LT(cpu->waits - waits, 2 * pages) << "of " << rounds * pages;
}

TEST_P(PagerTest, WhatADeviceWritesIsKept) {
  start();
  fill();
  std::vector<u64> words(512);
  for (u64 page = 0; page < ram_pages; page += 7) {
    words[0] = ~page;
    ASSERT_TRUE(space->write(Gpa(page << page_shift), {reinterpret_cast<u8*>(words.data()), 4096}));
  }
  for (u64 page = 0; page < ram_pages; ++page) {
    u64 value = 0;
    ASSERT_TRUE(space->read(Gpa(page << page_shift), {reinterpret_cast<u8*>(&value), 8}));
    ASSERT_EQ(value, page % 7 ? value_of(page) : ~page);
  }
}

TEST_P(PagerTest, WiredPagesAreNotEvicted) {
  start();
  ASSERT_TRUE(cpu->store(0x5000, 1));
  const auto wired = space->wire(Gpa(0), 16 * page_size);
  if (!wired && wired.error().code != EIO) GTEST_SKIP() << wired.error().message;
  ASSERT_TRUE(wired);
  fill();
  const u64 waits = cpu->waits;
  for (u64 page = 0; page < 16; ++page) {
    u64 value;
    ASSERT_TRUE(cpu->load(page << page_shift, value));
    EXPECT_EQ(value, value_of(page));
  }
  EXPECT_EQ(cpu->waits, waits) << "nothing had to come from disk";
  EXPECT_EQ(space->stats().wired_bytes, 16 * page_size);
  space->unwire(Gpa(0), 16 * page_size);
}

#ifdef BHYVE_GUARD_EVICTED
TEST_P(PagerTest, APointerThatWasKeptOverAnEvictionDies) {
  start();
  ASSERT_TRUE(cpu->store(0x5000, 77));
  std::byte* const stale = space->arena().host(ArenaAddr(space->pmap().lookup(0x5000).frame));
  EXPECT_EQ(ram_load<u64>(stale), 77u);
  for (u64 page = ram_pages / 2; page < ram_pages; ++page)
    ASSERT_TRUE(cpu->store(page << page_shift, value_of(page)));
  ASSERT_FALSE(space->pmap().lookup(0x5000).present);
  EXPECT_DEATH(static_cast<void>(ram_load<u64>(stale)), "");
  u64 value = 0;
  ASSERT_TRUE(cpu->load(0x5000, value));
  EXPECT_EQ(value, 77u);
}
#endif

TEST_P(PagerTest, AFailingReadStopsTheVmAndSaysWhy) {
  const auto path = swap_path();
  start(path);
  fill();
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  expect_a_failing_read(ram_pages, path);
  space.reset();
  EXPECT_FALSE(std::filesystem::exists(path)) << "what the VM made it removes";
}

TEST_P(PagerTest, AFileThatWasCutAndGrewAgainIsNoticed) {
  const auto path = swap_path();
  start(path);
  for (u64 page = 0; page < ram_pages / 2; ++page)
    ASSERT_TRUE(cpu->store(page << page_shift, value_of(page)));
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  // Pages that were nowhere go out behind the cut: holes that read as zeros are before them.
  for (u64 page = ram_pages / 2; page < ram_pages; ++page)
    ASSERT_TRUE(cpu->store(page << page_shift, value_of(page)));
  ASSERT_GT(std::filesystem::file_size(path), ram / 2);
  expect_a_failing_read(ram_pages / 2, path);
}

TEST_P(PagerTest, AChangedByteInTheFileIsNoticed) {
  const auto path = swap_path();
  start(path);
  fill();
  const UniqueFd file(::open(path.c_str(), O_WRONLY));
  for (u64 page = 0; page < ram_pages; ++page)
    ASSERT_EQ(::pwrite(file.get(), "x", 1, static_cast<off_t>((page << page_shift) + 4095)), 1);
  expect_a_failing_read(ram_pages, path);
}

TEST_P(PagerTest, AFullDiskStopsTheVmAndLosesNothing) {
  start();
  struct rlimit old {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tight {2 * MiB, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  u64 page = 0;
  while (page < ram_pages && cpu->store(page << page_shift, value_of(page))) ++page;
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_LT(page, ram_pages);
  ASSERT_TRUE(space->failure());
  for (u64 p = 0; p < page; ++p) {
    u64 value = 0;
    ASSERT_TRUE(space->read(Gpa(p << page_shift), {reinterpret_cast<u8*>(&value), 8}));
    ASSERT_EQ(value, value_of(p));
  }
}

TEST(PagerSetUp, RefusesMemoryFileSystemsAndSecondUsers) {
  Vmspace::Options options;
  options.lowmem = ram;
  options.resident = resident;
  options.swap = "/dev/shm";
  auto shm = Vmspace::create(options);
  ASSERT_FALSE(shm);
  EXPECT_NE(shm.error().message.find("memory file system"), std::string::npos);
  options.swap = "/var/tmp/bhyve-pager-twice-" + std::to_string(getpid());
  auto first = Vmspace::create(options);
  ASSERT_TRUE(first);
  auto second = Vmspace::create(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
  options.swap = "/nonexistent/swap";
  EXPECT_FALSE(Vmspace::create(options));
}

}  // namespace
}  // namespace bhyve::mem
