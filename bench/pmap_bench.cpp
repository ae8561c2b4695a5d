#include <benchmark/benchmark.h>

#include <array>
#include <memory>

#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"
#include "pmap/pmap.hpp"

namespace bhyve {
namespace {

constexpr u64 region = 256 * MiB;

/// A full software walk of 4 levels, at addresses that miss the host's small caches.
void walk_random(benchmark::State& state) {
  pmap::FrameArena arena;
  pmap::Pmap pmap(pmap::PmapType::pt_ept, arena);
  const auto ok = pmap.fill(0, {ArenaAddr(0), true}, region >> page_shift);
  if (!ok) state.SkipWithError("no memory");
  u64 x = 1;
  for (auto _ : state) {
    x = x * 6364136223846793005 + 1442695040888963407;
    benchmark::DoNotOptimize(pmap.lookup((x >> 20) % region));
  }
}
BENCHMARK(walk_random);

/// The same after 128 promotions: three levels.
void walk_random_promoted(benchmark::State& state) {
  pmap::FrameArena arena;
  pmap::Pmap pmap(pmap::PmapType::pt_ept, arena);
  for (u64 va = 0; va < region; va += page_size) {
    pmap::Mapping m{.frame = ArenaAddr(va), .write = true};
    m.accessed = m.modified = true;
    if (!pmap.enter(va, m)) state.SkipWithError("no memory");
  }
  for (u64 va = 0; va < region; va += superpage_size) pmap.promote(va);
  u64 x = 1;
  for (auto _ : state) {
    x = x * 6364136223846793005 + 1442695040888963407;
    benchmark::DoNotOptimize(pmap.lookup((x >> 20) % region));
  }
}
BENCHMARK(walk_random_promoted);

/// A promotion and the demotion that undoes it.
void promote_demote(benchmark::State& state) {
  pmap::FrameArena arena;
  pmap::Pmap pmap(pmap::PmapType::pt_ept, arena);
  for (u64 va = 0; va < superpage_size; va += page_size) {
    pmap::Mapping m{.frame = ArenaAddr(va), .write = true};
    m.accessed = m.modified = true;
    if (!pmap.enter(va, m)) state.SkipWithError("no memory");
  }
  pmap::Mapping m{.frame = ArenaAddr(0), .write = true};
  m.accessed = m.modified = true;
  for (auto _ : state) {
    if (!pmap.promote(0)) state.SkipWithError("not promoted");
    pmap.write_protect(0, page_size);
    benchmark::DoNotOptimize(pmap.enter(0, m));
  }
}
BENCHMARK(promote_demote);

/// Clearing the accessed flags of 256 MiB, all set: one round of the pager's hand.
void clear_accessed(benchmark::State& state) {
  pmap::FrameArena arena;
  pmap::Pmap pmap(pmap::PmapType::pt_ept, arena);
  u64 told = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (u64 va = 0; va < region; va += page_size) {
      pmap::Mapping m{.frame = ArenaAddr(va), .write = true};
      m.accessed = true;
      if (!pmap.enter(va, m)) state.SkipWithError("no memory");
    }
    state.ResumeTiming();
    pmap.clear_accessed(0, region, [&](u64, u64) { ++told; });
  }
  benchmark::DoNotOptimize(told);
}
BENCHMARK(clear_accessed)->Unit(benchmark::kMicrosecond);

void enter_page(benchmark::State& state) {
  pmap::FrameArena arena;
  pmap::Pmap pmap(pmap::PmapType::pt_ept, arena);
  u64 va = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(pmap.enter(va, {ArenaAddr(va), true}));
    va = (va + page_size) % region;
  }
}
BENCHMARK(enter_page);

void write_protect_2m(benchmark::State& state) {
  pmap::FrameArena arena;
  pmap::Pmap pmap(pmap::PmapType::pt_ept, arena);
  const auto ok = pmap.fill(0, {ArenaAddr(0), true}, 512);
  if (!ok) state.SkipWithError("no memory");
  for (auto _ : state) pmap.write_protect(0, superpage_size);
}
BENCHMARK(write_protect_2m);

/// What a guest that touches fresh memory page by page pays in the fault handler, per page:
/// range(0) is fault-around, range(1) the distance of touched pages. The lookup stands for the
/// engine's walk.
void fault_per_page(benchmark::State& state) {
  mem::Vmspace::Options options;
  options.lowmem = region;
  options.fault_around = static_cast<u64>(state.range(0));
  const u64 step = static_cast<u64>(state.range(1)) * page_size;
  u64 faults = 0;
  for (auto _ : state) {
    state.PauseTiming();
    auto space = std::move(*mem::Vmspace::create(options));
    state.ResumeTiming();
    for (u64 gpa = 0; gpa < region; gpa += step) {
      if (space->pmap().lookup(gpa).present) continue;
      benchmark::DoNotOptimize(space->fault(Gpa(gpa), mem::Prot::write));
      ++faults;
    }
    state.PauseTiming();
    space.reset();
    state.ResumeTiming();
  }
  const auto pages = static_cast<double>(region / step);
  state.counters["per_page"] = benchmark::Counter(
      pages, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["faults"] =
      benchmark::Counter(static_cast<double>(faults), benchmark::Counter::kAvgIterations);
}
BENCHMARK(fault_per_page)
    ->ArgsProduct({{1, 16, 64}, {1, 64}})
    ->ArgNames({"around", "step"})
    ->Unit(benchmark::kMicrosecond);

void hold_release(benchmark::State& state) {
  auto space = std::move(*mem::Vmspace::create({region}));
  const auto access = state.range(0) ? mem::Prot::rw : mem::Prot::read;
  const auto length = static_cast<u64>(state.range(1));
  for (auto _ : state) benchmark::DoNotOptimize(space->hold(Gpa(0x5000), length, access));
}
BENCHMARK(hold_release)->ArgsProduct({{0, 1}, {16, 65536}})->ArgNames({"write", "bytes"});

}  // namespace
}  // namespace bhyve
