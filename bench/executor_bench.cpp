// What the soft engine's translated code costs: translating, looking up memory, and leaving for the machine.
// Each iteration is one run of a guest program in 64-bit mode; the time is that of one of its accesses (or,
// for `translate`, of one guest instruction).
#include <benchmark/benchmark.h>

#include <chrono>
#include <map>
#include <vector>

#include "configurations.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace {

using namespace bhyve;
using namespace bhyve::test;

constexpr u64 code_at = 0x10'0000, stack_at = 0x8'0000, small_pages_at = 0x2'0000, data_at = 0x800'0000;
constexpr u64 memory = 256 * MiB;
/// Addresses as far apart share an entry of the TLB.
constexpr u64 tlb_reach = 64 * MiB;

class Program final {
 public:
  Program& bytes(std::initializer_list<int> code) {
    for (const int b : code) code_.push_back(static_cast<u8>(b));
    return *this;
  }
  Program& word(u64 v) {
    for (unsigned n = 0; n < 4; ++n) code_.push_back(static_cast<u8>(v >> (8 * n)));
    return *this;
  }
  /// mov ecx, `count`; `body` as often; then the end.
  Program& loop(u32 count, std::initializer_list<int> body) {
    bytes({0xb9}).word(count);
    const usize start = code_.size();
    bytes(body).bytes({0xff, 0xc9, 0x0f, 0x85});  // dec ecx; jnz
    word(start - (code_.size() + 4));
    return end();
  }
  /// mov al, 0; mov edx, port::end; out dx, al; jmp itself
  Program& end() { return bytes({0xb0, 0, 0xba}).word(port::end).bytes({0xee, 0xeb, 0xfe}); }
  [[nodiscard]] std::span<const u8> code() const { return code_; }
  [[nodiscard]] usize size() const { return code_.size(); }

 private:
  std::vector<u8> code_;
};

struct Result {
  double seconds = 0;
  std::map<std::string, u64, std::less<>> counters;
};

/// Pages of 4 KiB for 2 MiB at data_at and one reach of the TLB further, by one page table.
void map_small_pages(TestMachine& machine) {
  constexpr u64 present_writable = 3, pd_at = page_tables_at + 2 * page_size;
  for (u64 n = 0; n < 512; ++n)
    machine.write_value(small_pages_at + n * 8, (data_at + n * page_size) | present_writable);
  for (const u64 at : {data_at, data_at + tlb_reach})
    machine.write_value(pd_at + at / superpage_size * 8, small_pages_at | present_writable);
}

Result run(benchmark::State& state, const Program& program, bool small_pages = false) {
  TestMachine machine(*find_configuration("soft-translate"), {.memory = memory});
  machine.write(code_at, program.code());
  machine.vcpu(0).load(engine::StateGroups::all, enter_long_mode(machine, code_at, stack_at));
  if (small_pages) map_small_pages(machine);
  const auto began = std::chrono::steady_clock::now();
  const Outcome outcome = machine.run(60);
  Result result;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (outcome.kind != Outcome::Kind::ended) state.SkipWithError(("guest: " + outcome.detail).c_str());
  machine.vcpu(0).statistics(
      [&](std::string_view text, u64 value) { result.counters[std::string(text)] = value; });
  return result;
}

/// Blocks of what compilers write most, each run once: all of the time of translation is theirs.
void translate(benchmark::State& state) {
  Program p;
  p.bytes({0xbe}).word(data_at);  // mov esi
  for (unsigned n = 0; n < 20'000; ++n) {
    p.bytes({0x48, 0x8b, 0x46, 0x08, 0x48, 0x89, 0xc2, 0x48, 0x83, 0xc2, 0x10});  // mov rax, [rsi + 8]; mov rdx, rax; add rdx, 16
    p.bytes({0x8d, 0x1c, 0x90, 0x89, 0x5e, 0x10, 0x53, 0x5b});  // lea ebx, [rax + rdx * 4]; mov [rsi + 16], ebx; push; pop
    p.bytes({0x48, 0x39, 0xd0, 0x74, 0x00, 0x85, 0xdb, 0x75, 0x00, 0xeb, 0x00});  // cmp, je, test, jne, jmp
  }
  p.end();
  for (auto _ : state) {
    const Result r = run(state, p);
    const auto insns = static_cast<double>(r.counters.at("soft: instructions translated"));
    state.SetIterationTime(static_cast<double>(r.counters.at("soft: nanoseconds spent translating")) * 1e-9 / insns);
    state.counters["host_bytes_per_insn"] =
        static_cast<double>(r.counters.at("soft: bytes of translated code")) / insns;
  }
}
BENCHMARK(translate)->UseManualTime()->Iterations(3);

/// mov rax, [rsi]; xor rsi, `distance`, 4 million times.
void load(benchmark::State& state, u32 distance, bool small_pages) {
  constexpr u32 count = 4'000'000;
  Program p;
  p.bytes({0xbe}).word(data_at);
  p.loop(count, {0x48, 0x8b, 0x06, 0x48, 0x81, 0xf6, static_cast<int>(distance & 0xff), static_cast<int>(distance >> 8 & 0xff),
                 static_cast<int>(distance >> 16 & 0xff), static_cast<int>(distance >> 24)});
  for (auto _ : state) {
    const Result r = run(state, p, small_pages);
    state.SetIterationTime(r.seconds / count);
    state.counters["misses_per_load"] = static_cast<double>(r.counters.at("soft: TLB misses of translated code")) / count;
  }
}
BENCHMARK_CAPTURE(load, hit_same_page, 64u, false)->UseManualTime()->Iterations(3);
BENCHMARK_CAPTURE(load, hit_other_page, 0x3000u, false)->UseManualTime()->Iterations(3);
BENCHMARK_CAPTURE(load, miss_2M_pages, static_cast<u32>(tlb_reach), false)->UseManualTime()->Iterations(3);
BENCHMARK_CAPTURE(load, miss_4K_pages, static_cast<u32>(tlb_reach), true)->UseManualTime()->Iterations(3);

/// out dx, al, 200,000 times: answered within run(), or after leaving it.
void port_write(benchmark::State& state, u16 port) {
  constexpr u32 count = 200'000;
  Program p;
  p.bytes({0xba}).word(port);
  p.loop(count, {0xee});
  for (auto _ : state) state.SetIterationTime(run(state, p).seconds / count);
}
BENCHMARK_CAPTURE(port_write, within_run, port::latch_done)->UseManualTime()->Iterations(3);
BENCHMARK_CAPTURE(port_write, leaving_run, port::latch_exit)->UseManualTime()->Iterations(3);

/// mov [rsi], eax to device memory, the same two ways.
void device_store(benchmark::State& state, u64 gpa) {
  constexpr u32 count = 200'000;
  Program p;
  p.bytes({0xbe}).word(gpa);
  p.loop(count, {0x89, 0x06});
  for (auto _ : state) state.SetIterationTime(run(state, p).seconds / count);
}
BENCHMARK_CAPTURE(device_store, within_run, mmio_done)->UseManualTime()->Iterations(3);
BENCHMARK_CAPTURE(device_store, leaving_run, mmio_exit)->UseManualTime()->Iterations(3);

}  // namespace
