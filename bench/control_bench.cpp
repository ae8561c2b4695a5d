// What control calls cost: how long each takes through the socket of a VM whose vCPUs run hard, and how much
// slower the guest gets by them.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bhyve/own_vm.hpp"

namespace {

using namespace bhyve;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t code_at = 0x1000, counters_at = 0x2000, tables_at = 0x10000;
// loop: inc qword [rdi]; imul rax, rax, 3; lea rbx, [rax+rbx]; jmp loop
constexpr unsigned char loop[] = {0x48, 0xff, 0x07, 0x48, 0x6b, 0xc0, 0x03,
                                  0x48, 0x8d, 0x1c, 0x18, 0xeb, 0xf3};

template <class T>
void expect(const Result<T>& result) {
  if (!result) throw std::runtime_error(result.error().message);
}

/// A VM of this process in 64-bit mode, one busy thread a vCPU, and a connection through its socket.
class BusyVm final {
 public:
  explicit BusyVm(unsigned cpus) : cpus_(cpus) {
    Config config;
    config.set("name", "control_bench");
    config.set("cpus", std::to_string(cpus));
    config.set("memory.size", "16M");
    auto made = OwnVm::create(config);
    expect(made);
    vm_.emplace(std::move(*made));
    std::memcpy(vm_->map(code_at, sizeof loop), loop, sizeof loop);
    const std::uint64_t tables[] = {tables_at + 0x1003, tables_at + 0x2003, 0x83};
    for (std::uint64_t level = 0; level < 3; ++level)
      std::memcpy(vm_->map(tables_at + level * 0x1000, 8), &tables[level], 8);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) enter(cpu);
    for (unsigned cpu = 0; cpu < cpus; ++cpu)
      threads_.emplace_back([this, cpu] {
        VcpuExit exit;
        while (vm_->run(cpu, exit) && exit.code != abi::ExitCode::suspended) {
        }
      });
    auto connected = Control::connect("control_bench");
    expect(connected);
    control_.emplace(std::move(*connected));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  ~BusyVm() {
    (void)control_->suspend(abi::SuspendHow::poweroff);
    threads_.clear();
    control_.reset();
    (void)vm_->destroy();
  }
  BusyVm(const BusyVm&) = delete;
  BusyVm& operator=(const BusyVm&) = delete;

  Control& control() { return *control_; }
  /// Rounds of the guests' loops up to now.
  std::uint64_t rounds() {
    std::uint64_t sum = 0;
    for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
      const auto* const at = reinterpret_cast<const std::uint64_t*>(vm_->map(counters_at + cpu * 64, 8));
      sum += __atomic_load_n(at, __ATOMIC_RELAXED);
    }
    return sum;
  }

 private:
  void enter(unsigned cpu) {
    Control control = vm_->control();
    // Whoever starts the vCPUs does not have them wait for SIPI.
    expect(control.set_capability(cpu, abi::Capability::ipi_exit, true));
    for (const auto& [name, value] :
         {std::pair{"cr3", tables_at}, {"cr4", std::uint64_t{0x20}}, {"efer", std::uint64_t{0x500}},
          {"cr0", std::uint64_t{0x8000'0021}}, {"cs", std::uint64_t{8}}, {"rip", code_at},
          {"rdi", counters_at + cpu * 64}})
      expect(control.set_register(cpu, name, value));
    expect(control.set_descriptor(cpu, {"cs", 0, 0xffff'ffff, 0xa09b, 0}));
  }

  unsigned cpus_;
  std::optional<OwnVm> vm_;
  std::optional<Control> control_;
  std::vector<std::jthread> threads_;
};

/// The calls that interrupt a vCPU, and one that does not.
void call(Control& control, long which) {
  switch (which) {
    case 0: expect(control.get_register(0, "rip")); break;
    case 1: expect(control.registers(0)); break;
    case 2: expect(control.events(0)); break;
    case 3: expect(control.statistics(0)); break;
    default: expect(control.info()); break;
  }
}
constexpr const char* call_names[] = {"get_register", "registers", "events", "statistics", "info"};

void control_call(benchmark::State& state) {
  BusyVm vm(static_cast<unsigned>(state.range(1)));
  std::vector<double> times;
  const auto pause = std::chrono::microseconds(state.range(2));
  for (auto _ : state) {
    std::this_thread::sleep_for(pause);
    const auto start = Clock::now();
    call(vm.control(), state.range(0));
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  state.SetLabel(call_names[state.range(0)]);
  state.counters["median_ms"] = times[times.size() / 2];
  state.counters["p99_ms"] = times[times.size() * 99 / 100];
  state.counters["worst_ms"] = times.back();
}
// One after another, they and the guest share the host's CPUs by halves, and each waits for its turn.
BENCHMARK(control_call)->ArgNames({"call", "vcpus", "pause_us"})
    ->ArgsProduct({{0, 1, 2, 3, 4}, {1, 2}, {0, 1000}})
    ->Iterations(10000)->Unit(benchmark::kMillisecond);

/// The guest's speed while somebody asks for its registers so many times a second, over its speed
/// alone. Short turns of both by turns: what else the host does falls on both.
void guest_speed(benchmark::State& state) {
  BusyVm vm(1);
  const auto pause = std::chrono::nanoseconds(1'000'000'000 / state.range(0));
  double alone = 0, asked = 0;
  const auto turn = [&](bool asks) {
    const std::uint64_t before = vm.rounds();
    const auto start = Clock::now(), end = start + std::chrono::milliseconds(200);
    for (auto next = start; next < end; next += pause) {
      std::this_thread::sleep_until(next);
      if (asks) call(vm.control(), 1);
    }
    std::this_thread::sleep_until(end);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return static_cast<double>(vm.rounds() - before) / seconds;
  };
  for (auto _ : state) alone += turn(false), asked += turn(true);
  state.counters["speed"] = asked / alone;
}
BENCHMARK(guest_speed)->ArgName("calls_per_second")->Arg(10)->Arg(100)->Arg(1000)->Iterations(15)
    ->Unit(benchmark::kMillisecond);

}  // namespace

int main(int argc, char** argv) {
  char directory[] = "/tmp/control-bench-XXXXXX";
  if (!::mkdtemp(directory)) return 1;
  ::setenv("BHYVE_RUNDIR", directory, 1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  std::filesystem::remove_all(directory);
}
