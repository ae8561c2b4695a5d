#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "vmm/vm.hpp"

namespace bhyve::vmm::test {

/// A CPU whose guest is a function: each run() is one call of it.
class FakeCpu final : public engine::EngineVcpu {
 public:
  using Guest = std::function<void(FakeCpu&, engine::Exit&)>;
  FakeCpu(VcpuId vcpu, engine::Client& c) : id(vcpu), client(c) { regs.reset(false); }

  void run(engine::Exit& exit) override {
    ++runs;
    if (guest) guest(*this, exit);
  }
  void kick() noexcept override {
    kicked.store(true);
    kicked.notify_all();
  }
  void store(engine::StateGroups, engine::VcpuState& out) override { out = regs; }
  void load(engine::StateGroups, const engine::VcpuState& in) override { regs = in; }
  void inject_exception(x86::Vector vector, bool, u32) override { injected.push_back(vector); }
  bool set_capability(abi::Capability capability, bool on) override {
    halt_exit = on;
    return capability == abi::Capability::halt_exit;
  }
  bool get_capability(abi::Capability capability, bool& on) override {
    on = halt_exit;
    return capability == abi::Capability::halt_exit;
  }
  void statistics(const StatSink& sink) const override { sink("fake engine runs", runs.load()); }

  /// What a guest in a loop does: runs on until it is kicked and must leave.
  void spin(engine::Exit& exit) {
    for (;;) {
      kicked.wait(false);
      kicked.store(false);
      if (client.pending(id).leave) break;
    }
    exit.code = abi::ExitCode::bogus;
  }
  void hlt(engine::Exit& exit, bool interrupts) {
    regs.rflags = x86::rflags::fixed1 | (interrupts ? x86::rflags::if_ : 0);
    exit.code = abi::ExitCode::hlt;
    exit.hlt.interrupts_enabled = interrupts;
  }

  const VcpuId id;
  engine::Client& client;
  engine::VcpuState regs;
  Guest guest;
  std::atomic<bool> kicked{false};
  std::atomic<u64> runs{0};
  std::vector<x86::Vector> injected;
  bool halt_exit = false;
};

class FakeEngine final : public engine::Engine {
 public:
  explicit FakeEngine(std::vector<FakeCpu*>& cpus) : cpus_(cpus) {}
  [[nodiscard]] std::string_view name() const override { return "fake"; }
  [[nodiscard]] Result<std::unique_ptr<engine::EngineVcpu>> create_vcpu(
      VcpuId id, engine::Client& client) override {
    auto cpu = std::make_unique<FakeCpu>(id, client);
    cpus_.push_back(cpu.get());
    return cpu;
  }

 private:
  std::vector<FakeCpu*>& cpus_;
};

/// A VM of fake CPUs. Script each with cpu(n).guest before it runs.
class VmTest : public testing::Test {
 protected:
  void make(u32 vcpus) {
    config.vcpus = vcpus;
    config.tsc_hz = 1'000'000'000;
    make();
  }
  void make() {
    auto space = mem::Vmspace::create({.lowmem = 2 * MiB});
    ASSERT_TRUE(space) << space.error().message;
    cpus.clear();
    auto made = Vm::create(config, std::move(*space), [this](mem::Vmspace&) {
      return Result<std::unique_ptr<engine::Engine>>(std::make_unique<FakeEngine>(cpus));
    });
    ASSERT_TRUE(made) << made.error().message;
    vm = std::move(*made);
  }
  [[nodiscard]] FakeCpu& cpu(VcpuId id) { return *cpus[id]; }
  /// Runs `id` once on this thread.
  engine::Exit run(VcpuId id) {
    engine::Exit exit;
    vm->vcpu(id).run(exit);
    return exit;
  }
  void await(VcpuId id, RunState state) {
    while (vm->vcpu(id).state() != state) std::this_thread::yield();
  }
  /// Makes the local APIC hear: SVR on, one fixed vector above all.
  void raise(VcpuId id, u8 vector) {
    static_cast<void>(vm->chips().lapic(id).set_irr(vector, false));
  }
  void enable_lapic(VcpuId id) { vm->chips().lapic(id).mmio_write(0xf0, 0x1ff, monotonic_now()); }

  VmConfig config;
  std::vector<FakeCpu*> cpus;
  std::unique_ptr<Vm> vm;
};

}  // namespace bhyve::vmm::test
