#include "test_machine.hpp"

#include <stdexcept>

#include <fmt/format.h>

namespace bhyve::test {
namespace {

template <class T>
T or_throw(Result<T> r, const char* what) {
  if (!r) throw std::runtime_error(fmt::format("{}: {}", what, r.error().message));
  return std::move(*r);
}

}  // namespace

using abi::ExitCode;
using engine::StateGroups;
using engine::VcpuState;

TestMachine::TestMachine(const Configuration& configuration, const Options& options)
    : client_(options.vcpus) {
  mem::Vmspace::Options memory;
  memory.lowmem = options.memory;
  space_ = or_throw(mem::Vmspace::create(memory), "memory");
  engine::CpuConfig cpu = options.cpu;
  if (cpu.tsc_hz == 0) cpu.tsc_hz = 1'000'000'000;
  if (cpu.apic_timer_hz == 0) cpu.apic_timer_hz = 25'000'000;
  cpu.sockets = options.vcpus;
  engine_ = or_throw(configuration.make(*space_, cpu, options.vcpus), "engine");
  client_.kick = [this](VcpuId id) {
    if (id < vcpus_.size()) vcpus_[id]->kick();
  };
  for (VcpuId id = 0; id < options.vcpus; ++id)
    vcpus_.push_back(or_throw(engine_->create_vcpu(id, client_), "vcpu"));
}

TestMachine::~TestMachine() = default;

void TestMachine::write(u64 gpa, std::span<const u8> bytes) {
  if (!space_->write(Gpa(gpa), bytes))
    throw std::runtime_error(fmt::format("no RAM at {:#x} + {:#x}", gpa, bytes.size()));
}

void TestMachine::read(u64 gpa, std::span<u8> bytes) {
  if (!space_->read(Gpa(gpa), bytes))
    throw std::runtime_error(fmt::format("no RAM at {:#x} + {:#x}", gpa, bytes.size()));
}

void TestMachine::start_up(VcpuId id, int page) {
  auto state = std::make_unique<VcpuState>();
  state->reset(false);
  x86::Segment& cs = state->seg[static_cast<usize>(x86::Seg::cs)];
  cs.selector = static_cast<u16>(page << 8);
  cs.base = static_cast<u64>(page) << page_shift;
  state->rip = 0;
  vcpus_[id]->load(StateGroups::all, *state);
}

bool TestMachine::handle(VcpuId id, engine::Exit& exit) {
  switch (exit.code) {
    case ExitCode::bogus:
      return true;
    case ExitCode::hlt:
      client_.wait(id, false);
      return true;
    case ExitCode::suspended:
      client_.end({Outcome::Kind::triple_fault, 0, fmt::format("at rip {:#x}", exit.rip)});
      return false;
    default:
      if (client_.answer(exit)) return true;
      client_.end({Outcome::Kind::error, 0,
                   fmt::format("vCPU {}: exit code {} at rip {:#x}", id,
                               static_cast<u32>(exit.code), exit.rip)});
      return false;
  }
}

void TestMachine::vcpu_thread(VcpuId id) {
  if (id != 0) client_.wait(id, true);
  engine::Exit exit;
  while (!client_.ended()) {
    if (const int page = client_.take_startup(id); page >= 0) {
      start_up(id, page);
      exit = {};
    }
    vcpus_[id]->run(exit);
    if (!handle(id, exit)) return;
  }
}

Outcome TestMachine::run(unsigned seconds) {
  std::vector<std::thread> threads;
  for (VcpuId id = 0; id < vcpus_.size(); ++id)
    threads.emplace_back([this, id] { vcpu_thread(id); });
  Outcome outcome = client_.wait_for_end(seconds);
  for (std::thread& t : threads) t.join();
  return outcome;
}

}  // namespace bhyve::test
