#include "fake_engine.hpp"

/// Runs under TSan as well: every test ends only if no event was lost.
namespace bhyve::vmm::test {
namespace {

using abi::ExitCode;
using abi::SuspendHow;
using engine::Exit;

constexpr int rounds = 3000;

/// Lets the vCPU get past its spinning now and then, so that it blocks for real.
void dawdle(int round) {
  if (round % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(round % 7 * 30));
}

class VcpuRace : public VmTest {
 protected:
  ~VcpuRace() override { finish(); }
  /// Ends the VM. Before that the guests may use whatever of the test they were given.
  void finish() {
    if (vm) static_cast<void>(vm->suspend(SuspendHow::poweroff));
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void start(VcpuId id) {
    threads_.emplace_back([this, id] {
      Exit exit;
      while (exit.code != ExitCode::suspended) vm->vcpu(id).run(exit);
    });
  }
  std::vector<std::thread> threads_;
};

TEST_F(VcpuRace, NoNmiIsLostBetweenHltAndSleep) {
  config.halt_detection = false;
  make(1);
  std::atomic<int> taken{0};
  cpu(0).guest = [&](FakeCpu& cpu, Exit& exit) {
    if (cpu.client.pending(0).nmi) {
      cpu.client.accept_nmi(0);
      ++taken;
      taken.notify_all();
    }
    cpu.hlt(exit, false);
  };
  start(0);
  for (int i = 0; i < rounds; ++i) {
    dawdle(i);
    vm->nmi(0);
    while (taken.load() == i) std::this_thread::yield();
  }
  finish();
  EXPECT_EQ(taken, rounds);
}

TEST_F(VcpuRace, VectorsWakeASleeperOrKickARunner) {
  config.halt_detection = false;
  make(1);
  enable_lapic(0);
  std::atomic<int> taken{0};
  cpu(0).guest = [&](FakeCpu& cpu, Exit& exit) {
    for (int i = 0; i < 50; ++i) {
      if (const int vector = cpu.client.accept_interrupt(0); vector >= 0) {
        u64 eoi = 0;
        cpu.client.mmio(0, Gpa{0xfee0'00b0}, 4, eoi, Dir::write);
        ++taken;
      }
    }
    cpu.hlt(exit, true);
  };
  start(0);
  for (int i = 0; i < rounds; ++i) {
    dawdle(i);
    raise(0, 0x40);
    while (taken.load() == i) std::this_thread::yield();
  }
  finish();
  EXPECT_EQ(taken, rounds);
}

TEST_F(VcpuRace, AFrozenVcpuDoesNotRun) {
  make(2);
  std::atomic<bool> inside{false};
  cpu(0).guest = [&](FakeCpu& cpu, Exit& exit) {
    inside = true;
    cpu.spin(exit);
    inside = false;
  };
  start(0);
  start(1);
  const auto control = [&] {
    for (int i = 0; i < rounds / 10; ++i) {
      while (!inside) std::this_thread::yield();
      vm->with_frozen(0, Vcpu::FreezeAt::complete, [&](Vcpu& vcpu) {
        EXPECT_EQ(vcpu.state(), RunState::frozen);
        EXPECT_FALSE(inside);
        cpu(0).regs.rip++;
      });
      vm->with_all_frozen(Vcpu::FreezeAt::any, [&] { EXPECT_FALSE(inside); });
    }
  };
  std::thread other(control);
  control();
  other.join();
  finish();
  EXPECT_EQ(cpu(0).regs.rip, 0xfff0u + rounds / 10 * 2);
}

TEST_F(VcpuRace, ARendezvousStopsEveryoneAlsoWhenTwoAskAtOnce) {
  make(2);
  vm->sipi(1, 1);
  Exit exit;
  vm->vcpu(0).run(exit);
  ASSERT_EQ(exit.code, ExitCode::spinup_ap);
  int shared = 0;  // no atomic: the rendezvous is the lock
  std::atomic<int> done{0};
  for (VcpuId id = 0; id < 2; ++id) {
    cpu(id).guest = [&, calls = 0](FakeCpu&, Exit& e) mutable {
      if (calls++ < rounds / 10) {
        vm->rendezvous([&] { ++shared; });
        if (calls == rounds / 10) ++done;
      } else {
        std::this_thread::yield();
      }
      e.code = ExitCode::bogus;
    };
    start(id);
  }
  for (int i = 0; i < rounds / 10; ++i) vm->rendezvous([&] { ++shared; });
  while (done != 2) std::this_thread::yield();
  vm->rendezvous([&] { EXPECT_EQ(shared, rounds / 10 * 3); });
  finish();
}

TEST_F(VcpuRace, InitAndSipiAgainAndAgain) {
  make(2);
  vm->sipi(1, 1);
  Exit exit;
  vm->vcpu(0).run(exit);
  std::atomic<int> starts{0};
  cpu(1).guest = [&](FakeCpu& cpu, Exit& e) {
    ++starts;
    cpu.spin(e);
  };
  start(1);
  for (int i = 0; i < rounds / 10; ++i) {
    while (starts.load() == i) std::this_thread::yield();
    vm->init(1);
    vm->sipi(1, 2);
  }
  while (starts.load() == rounds / 10) std::this_thread::yield();
  finish();
  EXPECT_EQ(starts, rounds / 10 + 1);
}

TEST_F(VcpuRace, SuspendReachesAVcpuAtAnyMoment) {
  for (int i = 0; i < 50; ++i) {
    make(1);
    enable_lapic(0);
    cpu(0).guest = [](FakeCpu& cpu, Exit& exit) {
      if (cpu.runs % 2) return cpu.hlt(exit, true);
      cpu.spin(exit);
    };
    std::thread thread([&] {
      Exit exit;
      vm->vcpu(0).run(exit);
      EXPECT_EQ(exit.code, ExitCode::suspended);
    });
    if (i % 2) raise(0, 0x40);
    EXPECT_TRUE(vm->suspend(SuspendHow::reset));
    thread.join();
  }
  vm.reset();
}

}  // namespace
}  // namespace bhyve::vmm::test
