// vCPUs, devices, the dirty log and invalidations over memory that does not fit.
#include <atomic>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "guest_cpu.hpp"
#include "vmspace_fixture.hpp"

namespace bhyve::mem {
namespace {

constexpr u64 ram = 16 * MiB, resident = 2 * MiB, pages = ram >> page_shift;
constexpr unsigned cpus = 2;
#ifdef __SANITIZE_THREAD__
constexpr u64 accesses = 6'000, transfers = 600;  // it is several times slower
constexpr int logs = 60;
#else
constexpr u64 accesses = 40'000, transfers = 4'000;
constexpr int logs = 300;
#endif

class Race : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(AccessedDirty, Race, testing::Bool());

/// Each writer owns one word of every page and knows what it last wrote there.
TEST_P(Race, NobodyLosesAWord) {
  Vmspace::Options options;
  options.lowmem = ram;
  options.resident = resident;
  options.ept.ad_bits = GetParam();
  auto made = Vmspace::create(options);
  ASSERT_TRUE(made) << made.error().message;
  Vmspace& space = **made;
  GuestCpu first(space), second(space);
  space.set_barrier([&](u64 g) { return first.passed(g) && second.passed(g); });
  std::atomic<bool> stop{false};
  std::atomic<u64> wrong{0};

  const auto vcpu = [&](GuestCpu& cpu, u64 id) {
    std::mt19937_64 random(id + 1);
    std::vector<u64> model(pages);
    for (u64 n = 1; n <= accesses; ++n) {
      // Half of the accesses stay in a working set, so that some pages are hot.
      const u64 page = random() % (n % 2 ? pages : pages / 16), at = (page << page_shift) + id * 8;
      if (random() % 2) {
        if (!cpu.store(at, n)) return void(++wrong);
        model[page] = n;
      } else {
        u64 value = 0;
        if (!cpu.load(at, value) || value != model[page]) ++wrong;
      }
    }
    for (u64 page = 0; page < pages; ++page) {
      u64 value = 0;
      if (!cpu.load((page << page_shift) + id * 8, value) || value != model[page]) ++wrong;
    }
  };
  const auto device = [&] {
    std::mt19937_64 random(99);
    std::vector<u64> model(pages);
    for (u64 n = 1; n <= transfers; ++n) {
      const u64 page = random() % (pages - 4);
      const Hold held = space.hold(Gpa(page << page_shift), 4 * page_size, Prot::rw);
      if (!held || !held.contiguous()) return void(++wrong);
      for (u64 k = 0; k < 4; ++k) {
        std::byte* word = held.contiguous() + k * page_size + cpus * 8;
        if (ram_load<u64>(word) != model[page + k]) ++wrong;
        ram_store<u64>(word, model[page + k] = n);
      }
    }
    EXPECT_EQ(space.holds_outstanding(), 0u);
  };
  std::thread outside([&] {
    std::mt19937_64 random(7);
    std::vector<u64> bits(pages / 64);
    while (!stop) {
      if (!space.take_dirty(Gpa(0), bits)) ++wrong;
      space.pmap().remove((random() % pages) << page_shift, (random() % 64) << page_shift);
      space.pmap().write_protect((random() % pages) << page_shift, 8 * page_size);
      space.pmap().clear_modified((random() % pages) << page_shift, 8 * page_size);
      std::this_thread::yield();
    }
  });
  std::thread a([&] { vcpu(first, 0); }), b([&] { vcpu(second, 1); }), c(device);
  a.join(), b.join(), c.join();
  stop = true;
  outside.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_FALSE(space.failure());
  EXPECT_GT(space.stats().pager.written, 0u);
}

/// A page that was not told of has not changed since the log before.
TEST_P(Race, TheDirtyLogTellsOfEveryWrite) {
  Vmspace::Options options;
  options.lowmem = 4 * MiB;
  options.ept.ad_bits = GetParam();
  auto made = Vmspace::create(options);
  ASSERT_TRUE(made);
  Vmspace& space = **made;
  constexpr u64 count = (4 * MiB) >> page_shift;
  GuestCpu cpu(space);
  space.set_barrier([&](u64 g) { return cpu.passed(g); });
  std::atomic<bool> stop{false};
  std::thread guest([&] {
    std::mt19937_64 random(3);
    for (u64 n = 1; !stop; ++n) ASSERT_TRUE(cpu.store((random() % count) << page_shift, n));
  });
  const auto word = [&](u64 page) {
    return ram_load<u64>(space.arena().host(ArenaAddr(page << page_shift)));
  };
  std::vector<u64> bits(count / 64), copy(count);
  for (int round = 0; round < logs; ++round) {
    ASSERT_TRUE(space.take_dirty(Gpa(0), bits));
    for (u64 page = 0; page < count; ++page)
      if (bits[page / 64] >> page % 64 & 1) copy[page] = word(page);
  }
  stop = true;
  guest.join();
  ASSERT_TRUE(space.take_dirty(Gpa(0), bits));
  for (u64 page = 0; page < count; ++page)
    if (!(bits[page / 64] >> page % 64 & 1)) {
      ASSERT_EQ(copy[page], word(page)) << page;
    }
}

}  // namespace
}  // namespace bhyve::mem
