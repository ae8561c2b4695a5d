// The pager against a plain copy of a file of the same size on the same disk, and what paging costs.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <vector>

#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"

namespace bhyve {
namespace {

constexpr u64 ram = 512 * MiB, resident = 64 * MiB;

std::unique_ptr<mem::Vmspace> make_space(u64 limit) {
  mem::Vmspace::Options options;
  options.lowmem = ram;
  options.resident = limit;
  return std::move(*mem::Vmspace::create(options));
}

/// A guest that writes (or reads) all of its memory page by page, with every fault and wait.
void touch_all(mem::Vmspace& space, u64 seed, bool write) {
  const auto access = write ? mem::Prot::write : mem::Prot::read;
  for (u64 gpa = 0; gpa < ram; gpa += page_size) {
    while (!space.pmap().lookup(gpa).present) {
      if (space.fault(Gpa(gpa), access) != mem::FaultResult::wait) continue;
      if (!space.wait_for_room()) return;
      static_cast<void>(space.resolve(Gpa(gpa), access));
    }
    const mem::Hold held = space.hold(Gpa(gpa), 8, write ? mem::Prot::rw : mem::Prot::read);
    if (write && held) mem::ram_store<u64>(held.contiguous(), gpa ^ seed);
  }
}

/// Everything is written once and read once: 448 MiB go out, 512 MiB come in.
void page_out_and_in(benchmark::State& state) {
  u64 seed = 1;
  for (auto _ : state) {
    using Clock = std::chrono::steady_clock;
    const auto ms = [](Clock::duration d) { return std::chrono::duration<double>(d).count() * 1e3; };
    const auto space = make_space(resident);
    const auto start = Clock::now();
    touch_all(*space, seed++, true);
    const auto written = Clock::now();
    touch_all(*space, 0, false);
    state.counters["write_ms"] = ms(written - start);
    state.counters["read_ms"] = ms(Clock::now() - written);
    const mem::PagerStats s = space->stats().pager;
    state.counters["written_MiB"] = static_cast<double>(s.written << page_shift >> 20);
    state.counters["read_MiB"] = static_cast<double>(s.read << page_shift >> 20);
  }
  state.SetBytesProcessed(static_cast<i64>(state.iterations() * 2 * ram));
}
BENCHMARK(page_out_and_in)->Unit(benchmark::kMillisecond)->UseRealTime();

/// The yardstick: the same bytes written to a file and read back, 1 MiB at a time, past the page
/// cache where the file system can.
void file_out_and_in(benchmark::State& state) {
  char path[] = "/var/tmp/bhyve-pager-bench-XXXXXX";
  const int made = ::mkstemp(path);
  const int direct = ::open(path, O_RDWR | O_DIRECT);
  const int fd = direct >= 0 ? direct : made;
  ::unlink(path);
  void* buffer = nullptr;
  if (::posix_memalign(&buffer, page_size, MiB) != 0) return state.SkipWithError("no memory");
  for (auto _ : state) {
    for (u64 at = 0; at < ram; at += MiB) {
      *static_cast<u64*>(buffer) = at;
      if (::pwrite(fd, buffer, MiB, static_cast<off_t>(at)) != static_cast<ssize_t>(MiB))
        return state.SkipWithError("write");
    }
    for (u64 at = 0; at < ram; at += MiB)
      if (::pread(fd, buffer, MiB, static_cast<off_t>(at)) != static_cast<ssize_t>(MiB))
        return state.SkipWithError("read");
  }
  state.SetBytesProcessed(static_cast<i64>(state.iterations() * 2 * ram));
  ::free(buffer);
  ::close(made);
  if (direct >= 0) ::close(direct);
}
BENCHMARK(file_out_and_in)->Unit(benchmark::kMillisecond)->UseRealTime();

/// A dirty log of all of RAM of which range(0) pages were written.
void take_dirty(benchmark::State& state) {
  const auto space = make_space(0);
  std::vector<u64> bits((ram >> page_shift) / 64);
  const auto pages = static_cast<u64>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    for (u64 n = 0; n < pages; ++n) {
      const u64 gpa = n * 17 % (ram >> page_shift) << page_shift;
      static_cast<void>(space->hold(Gpa(gpa), 8, mem::Prot::rw));
    }
    state.ResumeTiming();
    benchmark::DoNotOptimize(space->take_dirty(Gpa(0), bits));
  }
}
BENCHMARK(take_dirty)->Arg(1)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

/// Bytes of page tables, page words and checksums (as if all were swapped) for each byte of guest memory
/// that is all in use.
void overhead(benchmark::State& state) {
  for (auto _ : state) {
    const auto space = make_space(0);
    touch_all(*space, 1, true);
    std::vector<u64> bits((ram >> page_shift) / 64);
    benchmark::DoNotOptimize(space->take_dirty(Gpa(0), bits));
    const u64 words = (ram >> page_shift) * (sizeof(mem::PageWords::Word) +
                                             sizeof(mem::CodePages::Word) + sizeof(u64));
    const u64 tables = space->stats().table_pages << page_shift;
    state.counters["percent"] = 100.0 * static_cast<double>(words + tables) / ram;
  }
}
BENCHMARK(overhead)->Iterations(1);

}  // namespace
}  // namespace bhyve
