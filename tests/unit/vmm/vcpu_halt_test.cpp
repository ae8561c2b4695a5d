#include "fake_engine.hpp"

namespace bhyve::vmm::test {
namespace {

using abi::ExitCode;
using abi::SuspendHow;
using engine::Exit;

/// The guest of a test: HLT on the first entry, then INT3.
FakeCpu::Guest halt_once(bool interrupts) {
  return [interrupts, step = 0](FakeCpu& cpu, Exit& exit) mutable {
    if (step++ == 0) return cpu.hlt(exit, interrupts);
    exit.code = ExitCode::bpt;
  };
}

class VcpuHalt : public VmTest {
 protected:
  /// Runs vCPU 0 on a thread until it sleeps.
  void sleep_in_halt(bool interrupts) {
    cpu(0).guest = halt_once(interrupts);
    thread_ = std::thread([this] { vm->vcpu(0).run(exit_); });
    await(0, RunState::sleeping);
  }
  void SetUp() override { config.halt_detection = false; }
  ~VcpuHalt() override {
    if (thread_.joinable()) thread_.join();
  }
  Exit exit_;
  std::thread thread_;
};

TEST_F(VcpuHalt, AVectorWakesItWithInterruptsEnabled) {
  make(1);
  enable_lapic(0);
  sleep_in_halt(true);
  raise(0, 0x30);
  thread_.join();
  EXPECT_EQ(exit_.code, ExitCode::bpt);
}

TEST_F(VcpuHalt, AVectorThatWaitsAlreadyKeepsItAwake) {
  make(1);
  enable_lapic(0);
  raise(0, 0x30);
  cpu(0).guest = halt_once(true);
  EXPECT_EQ(run(0).code, ExitCode::bpt);
}

TEST_F(VcpuHalt, WithInterruptsDisabledOnlyAnNmiWakesIt) {
  make(1);
  enable_lapic(0);
  sleep_in_halt(false);
  raise(0, 0x30);
  vm->chips().ferr_pin().pulse();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(vm->vcpu(0).state(), RunState::sleeping);
  EXPECT_EQ(cpu(0).runs, 1u);
  vm->nmi(0);
  thread_.join();
  EXPECT_EQ(exit_.code, ExitCode::bpt);
}

TEST_F(VcpuHalt, AnNmiDoesNotWakeItWhileNmisAreBlocked) {
  make(1);
  cpu(0).regs.nmi_blocked = true;
  sleep_in_halt(false);
  vm->nmi(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(vm->vcpu(0).state(), RunState::sleeping);
  ASSERT_TRUE(vm->suspend(SuspendHow::reset));
}

TEST_F(VcpuHalt, AnIsaInterruptThroughThePicWakesTheBsp) {
  make(1);
  u32 value = 0;
  const std::pair<u16, u32> program[] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
                                         {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1},
                                         {0x21, 0},    {0xa1, 0}};
  for (const auto& [port, byte] : program) {
    value = byte;
    EXPECT_EQ(vm->vcpu(0).pio(0, port, 1, value, Dir::write), engine::Client::Access::done);
  }
  sleep_in_halt(true);
  intc::IrqPin& pin = vm->chips().connect_isa(4);
  pin.assert_pin();
  thread_.join();
  EXPECT_EQ(vm->vcpu(0).accept_interrupt(0), 0x24);
  EXPECT_EQ(vm->vcpu(0).stats().get(Stat::extints), 1u);
}

TEST_F(VcpuHalt, ItsOwnApicTimerWakesIt) {
  make(1);
  enable_lapic(0);
  intc::Vlapic& lapic = vm->chips().lapic(0);
  vm->start();
  cpu(0).guest = [&](FakeCpu& cpu, Exit& exit) {
    if (cpu.runs > 1) {
      exit.code = ExitCode::bpt;
      return;
    }
    lapic.mmio_write(0x320, 0x40, monotonic_now());
    lapic.mmio_write(0x3e0, 0xb, monotonic_now());        // divide by 1
    lapic.mmio_write(0x380, 5'000'000, monotonic_now());  // 5 ms
    cpu.hlt(exit, true);
  };
  const Nanos start = monotonic_now();
  EXPECT_EQ(run(0).code, ExitCode::bpt);
  EXPECT_GE(monotonic_now() - start, 5'000'000u);
  EXPECT_EQ(vm->vcpu(0).accept_interrupt(0), 0x40);
  EXPECT_GE(vm->vcpu(0).stats().get(Stat::idle), 4u);
}

TEST_F(VcpuHalt, ASpuriousNotifyDoesNotEndHlt) {
  make(1);
  sleep_in_halt(true);
  for (int i = 0; i < 100; ++i) vm->notify(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(cpu(0).runs, 1u);
  vm->nmi(0);
}

TEST_F(VcpuHalt, AnIdleVcpuCostsNoHostTime) {
  make(1);
  vm->start();
  sleep_in_halt(true);
  const auto used = [] {
    timespec ts{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return static_cast<Nanos>(ts.tv_sec) * nanos_per_second + static_cast<Nanos>(ts.tv_nsec);
  };
  const Nanos before = used();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(used() - before, 2'000'000u);  // 1 %
  vm->nmi(0);
}

TEST_F(VcpuHalt, AFreezeInterruptsTheSleepAndItGoesOnHalted) {
  make(1);
  sleep_in_halt(true);
  bool halted = false;
  vm->with_frozen(0, Vcpu::FreezeAt::complete, [&](Vcpu& vcpu) {
    EXPECT_EQ(vcpu.state(), RunState::frozen);
    engine::VcpuState state;
    vcpu.store(engine::StateGroups::all, state);
    halted = state.halted;
  });
  EXPECT_TRUE(halted);
  await(0, RunState::sleeping);
  EXPECT_EQ(cpu(0).runs, 1u);
  vm->nmi(0);
}

TEST_F(VcpuHalt, AllHaltedWithInterruptsOffEndsTheVm) {
  config.halt_detection = true;
  make(2);
  // INIT turned its APIC off: a vCPU that halts so would be spun down.
  cpu(1).guest = [this, halt = halt_once(false)](FakeCpu& cpu, Exit& exit) {
    enable_lapic(1);
    halt(cpu, exit);
  };
  Exit exit1;
  std::thread ap([&] { vm->vcpu(1).run(exit1); });
  await(1, RunState::sleeping);  // waits for SIPI
  // The BSP runs all the while, so that the AP is not the only one.
  cpu(0).guest = [this, halt = halt_once(false)](FakeCpu& cpu0, Exit& exit) {
    vm->init(1);
    vm->sipi(1, 1);
    while (cpu(1).runs == 0) std::this_thread::yield();
    await(1, RunState::sleeping);
    EXPECT_EQ(vm->suspended(), SuspendHow::none);
    halt(cpu0, exit);
  };
  EXPECT_EQ(run(0).suspend, SuspendHow::halt);
  ap.join();
  EXPECT_EQ(exit1.code, ExitCode::suspended);
  EXPECT_EQ(exit1.suspend, SuspendHow::halt);
}

TEST_F(VcpuHalt, OneSleeperWithInterruptsOnKeepsTheVmAlive) {
  config.halt_detection = true;
  make(1);
  sleep_in_halt(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(vm->suspended(), SuspendHow::none);
  vm->nmi(0);
}

}  // namespace
}  // namespace bhyve::vmm::test
