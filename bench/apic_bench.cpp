// Interrupt latencies of the whole stack: guest programs on the vmm's chips and the soft engine. Each
// iteration is one run of the program, timed by the guest itself.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "chips_machine.hpp"

namespace {

using namespace bhyve;
using test::ChipsMachine;

constexpr u64 result_at = 0x9000, samples_at = 0x20000;
constexpr unsigned seconds = 60;

std::vector<u8> program(const char* name) {
  std::ifstream file(std::string(BHYVE_APIC_PROGRAMS "/") + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

double seconds_of(ChipsMachine& machine, u64 tsc_ticks) {
  return static_cast<double>(tsc_ticks) / static_cast<double>(machine.vm().tsc().hz);
}

bool ended_well(benchmark::State& state, ChipsMachine& machine) {
  const auto outcome = machine.finish(seconds);
  if (outcome.kind == ChipsMachine::Outcome::Kind::ended && outcome.status == 0) return true;
  state.SkipWithError(("guest: " + machine.output() + outcome.detail).c_str());
  return false;
}

/// A fixed IPI to a running vCPU and the answer; the time is that of one round trip.
void ipi_round_trip(benchmark::State& state) {
  const auto image = program("bench_ipi.bin");
  for (auto _ : state) {
    ChipsMachine machine({.vcpus = 2, .x2apic = state.range(0) != 0});
    machine.load(image);
    machine.start();
    if (!ended_well(state, machine)) return;
    state.SetIterationTime(seconds_of(machine, machine.read_word(result_at)) /
                           static_cast<double>(machine.read_word(result_at + 8)));
  }
}
BENCHMARK(ipi_round_trip)->ArgName("x2apic")->Arg(0)->Arg(1)->UseManualTime()->Iterations(3)
    ->Unit(benchmark::kMicrosecond);

/// From a TSC deadline to the first instruction of its handler. Median and 99th percentile in
/// microseconds, of a vCPU in a loop and of one in HLT.
void timer_latency(benchmark::State& state) {
  const auto image = program("bench_timer.bin");
  std::vector<double> samples[2];
  for (auto _ : state) {
    ChipsMachine machine({.vcpus = 1});
    machine.load(image);
    machine.start();
    if (!ended_well(state, machine)) return;
    const u64 count = machine.read_word(result_at);
    double sum = 0;
    for (u64 n = 0; n < count; ++n) {
      const double late = seconds_of(machine, machine.read_word(samples_at + 8 * n));
      samples[n % 2].push_back(late * 1e6);
      sum += late;
    }
    state.SetIterationTime(sum / static_cast<double>(count));
  }
  const auto at = [](std::vector<double>& list, double part) {
    std::sort(list.begin(), list.end());
    return list[static_cast<usize>(part * static_cast<double>(list.size() - 1))];
  };
  state.counters["running_median_us"] = at(samples[0], 0.5);
  state.counters["running_p99_us"] = at(samples[0], 0.99);
  state.counters["halted_median_us"] = at(samples[1], 0.5);
  state.counters["halted_p99_us"] = at(samples[1], 0.99);
}
BENCHMARK(timer_latency)->UseManualTime()->Iterations(2)->Unit(benchmark::kMicrosecond);

/// MSIs of a device thread to a running vCPU, each sent when the one before was served.
void msi_delivery(benchmark::State& state) {
  constexpr u64 ready_at = result_at + 8, stop_at = result_at + 16;
  ChipsMachine machine({.vcpus = 1});
  machine.load(program("bench_msi.bin"));
  machine.start();
  while (machine.read_word(ready_at) == 0) std::this_thread::yield();
  intc::LapicBus& bus = machine.vm().chips().lapic_bus();
  u64 sent = machine.read_word(result_at);
  for (auto _ : state) {
    bus.msi(0xfee0'0000, 0x70);
    ++sent;
    while (machine.read_word(result_at) != sent) __builtin_ia32_pause();
  }
  state.SetItemsProcessed(state.iterations());
  const u64 stop = 1;
  (void)machine.vm().space().write(Gpa(stop_at),
                                   std::span(reinterpret_cast<const u8*>(&stop), sizeof stop));
  (void)ended_well(state, machine);
}
BENCHMARK(msi_delivery)->UseRealTime()->Unit(benchmark::kMicrosecond);

/// What sending alone costs the device thread while the vector waits already.
void msi_send(benchmark::State& state) {
  ChipsMachine machine({.vcpus = 1});
  intc::LapicBus& bus = machine.vm().chips().lapic_bus();
  for (auto _ : state) bus.msi(0xfee0'0000, 0x70);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(msi_send);

}  // namespace
