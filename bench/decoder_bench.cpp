// Nanoseconds per instruction of both decoders, on code as compilers make it: the text of this very
// program, which is 64-bit code. Warm: the forms have been seen; cold: each pass is a new CPU's.
#include <benchmark/benchmark.h>

#include <cstring>
#include <memory>
#include <vector>

#include "engine/client.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/decoder.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

extern "C" const unsigned char __executable_start[], __etext[];

namespace {

using namespace bhyve;
using namespace bhyve::soft;

class NoMachine final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa, unsigned, u64&, Dir) override { return Access::fault; }
  Access pio(VcpuId, u16, unsigned, u32&, Dir) override { return Access::fault; }
  Access msr(VcpuId, u32, u64&, Dir) override { return Access::fault; }
  u8 cr8(VcpuId) override { return 0; }
  void set_cr8(VcpuId, u8) override {}
  Pending pending(VcpuId) override { return {}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override {}
};

struct Machine final {
  NoMachine client;
  std::unique_ptr<mem::Vmspace> space = std::move(*mem::Vmspace::create({4 * MiB, 0}));
  SoftVm vm{*space, std::move(*CpuModel::create({}, 1)), 1};
  Cpu cpu{0, vm, client};

  Machine() {
    engine::VcpuState s;
    s.reset(false);
    using x86::Segment;
    s.seg[static_cast<u8>(x86::Seg::cs)] = {
        0x08, 11u | Segment::s | Segment::present | Segment::long_mode, 0xffff'ffff, 0};
    s.cr0 = x86::cr0::pe | x86::cr0::pg | x86::cr0::et;
    s.cr4 = x86::cr4::pae;
    s.efer = x86::efer::lme | x86::efer::lma;
    cpu.load_state(engine::StateGroups::all, s);
  }
};

/// Code of about 1 MiB. Linear: what follows a jump decodes too.
std::span<const u8> text() {
  const u8* begin = __executable_start + 0x8000;
  const u8* end = __etext;
  const usize size = static_cast<usize>(end - begin);
  return {begin, size < MiB ? size : MiB};
}

using Decode = Decoder::Status (*)(Cpu&, const u8*, unsigned, u16, Insn&, bool&);

u64 pass(Cpu& cpu, Decode decode) {
  u64 count = 0;
  const auto code = text();
  for (usize at = 0; at + 15 < code.size(); ++count) {
    Insn insn;
    bool end;
    decode(cpu, code.data() + at, 15, 0, insn, end);
    benchmark::DoNotOptimize(insn);
    at += insn.length ? insn.length : 1;
  }
  return count;
}

void report(benchmark::State& state, u64 count) {
  state.counters["instructions"] = static_cast<double>(count);
  state.counters["ns_per_insn"] = benchmark::Counter(
      static_cast<double>(count) * 1e-9,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void zydis(benchmark::State& state) {
  Machine m;
  u64 count = 0;
  for (auto _ : state) count = pass(m.cpu, Decoder::decode_by_zydis);
  report(state, count);
}
void ours_warm(benchmark::State& state) {
  Machine m;
  u64 count = pass(m.cpu, Decoder::decode);
  for (auto _ : state) count = pass(m.cpu, Decoder::decode);
  report(state, count);
}
void ours_cold(benchmark::State& state) {
  u64 count = 0;
  for (auto _ : state) {
    state.PauseTiming();
    auto m = std::make_unique<Machine>();
    state.ResumeTiming();
    count = pass(m->cpu, Decoder::decode);
    state.PauseTiming();
    m.reset();
    state.ResumeTiming();
  }
  report(state, count);
}

BENCHMARK(zydis)->Unit(benchmark::kMillisecond);
BENCHMARK(ours_warm)->Unit(benchmark::kMillisecond);
BENCHMARK(ours_cold)->Unit(benchmark::kMillisecond);

}  // namespace
