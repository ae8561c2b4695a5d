#include "fake_engine.hpp"

namespace bhyve::vmm::test {
namespace {

using abi::ExitCode;
using engine::Exit;

constexpr u64 icr_low = 0xfee0'0300, icr_high = 0xfee0'0310;

/// The startup algorithm's ICR writes: INIT, then SIPI with `vector`.
void start_ap(FakeCpu& cpu, u32 target, u8 vector) {
  const auto write = [&](u64 gpa, u64 value) {
    EXPECT_EQ(cpu.client.mmio(cpu.id, Gpa{gpa}, 4, value, Dir::write),
              engine::Client::Access::done);
  };
  write(icr_high, u64{target} << 24);
  write(icr_low, 0x4500);
  write(icr_high, u64{target} << 24);
  write(icr_low, 0x4600u | vector);
}

class VcpuStartup : public VmTest {};

TEST_F(VcpuStartup, AnIcrWriteLeavesOnTheSenderAsSpinupAp) {
  make(3);
  int kicked = 0;
  cpu(0).guest = [&](FakeCpu& cpu, Exit& exit) {
    start_ap(cpu, 2, 0x9a);
    kicked += cpu.kicked;
    kicked += cpu.client.pending(0).leave;
    exit.code = ExitCode::bogus;
  };
  const Exit exit = run(0);
  EXPECT_EQ(kicked, 2);  // the engine was told to leave once the write is done
  ASSERT_EQ(exit.code, ExitCode::spinup_ap);
  EXPECT_EQ(exit.spinup_ap.vcpu, 2u);
  EXPECT_EQ(exit.spinup_ap.rip, 0x9a000u);
  EXPECT_TRUE(vm->vcpu(2).active());
  EXPECT_FALSE(vm->vcpu(1).active());
  const engine::VcpuState& ap = cpu(2).regs;
  EXPECT_EQ(ap.rip, 0u);
  EXPECT_EQ(ap.seg[1].selector, 0x9a00);
  EXPECT_EQ(ap.seg[1].base, 0x9a000u);
}

TEST_F(VcpuStartup, SoItDoesInX2apicMode) {
  make(2);
  ASSERT_TRUE(vm->chips().lapic(0).apic_base_write(vm->chips().lapic(0).apic_base() | 0x400));
  cpu(0).guest = [](FakeCpu& cpu, Exit& exit) {
    for (u64 value : {u64{1} << 32 | 0x4500, u64{1} << 32 | 0x4698})
      EXPECT_EQ(cpu.client.msr(0, 0x830, value, Dir::write), engine::Client::Access::done);
    exit.code = ExitCode::bogus;
  };
  const Exit exit = run(0);
  ASSERT_EQ(exit.code, ExitCode::spinup_ap);
  EXPECT_EQ(exit.spinup_ap.vcpu, 1u);
  EXPECT_EQ(exit.spinup_ap.rip, 0x98000u);
}

TEST_F(VcpuStartup, ABroadcastStartsThemOneExitEach) {
  make(3);
  cpu(0).guest = [](FakeCpu& cpu, Exit& exit) {
    if (cpu.runs == 1) {
      for (u64 value : {0xc4500, 0xc4610, 0xc4610})
        cpu.client.mmio(0, Gpa{icr_low}, 4, value, Dir::write);
      exit.code = ExitCode::bogus;
    } else {
      exit.code = ExitCode::bpt;
    }
  };
  Exit exit;
  std::vector<VcpuId> started;
  for (vm->vcpu(0).run(exit); exit.code == ExitCode::spinup_ap; vm->vcpu(0).run(exit))
    started.push_back(exit.spinup_ap.vcpu);
  EXPECT_EQ(started, (std::vector<VcpuId>{1, 2}));
  EXPECT_EQ(exit.code, ExitCode::bpt);
}

TEST_F(VcpuStartup, ASecondSipiIsIgnored) {
  make(2);
  vm->sipi(1, 1);
  vm->sipi(1, 2);
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bpt; };
  Exit exit = run(0);
  EXPECT_EQ(exit.code, ExitCode::spinup_ap);
  EXPECT_EQ(exit.spinup_ap.rip, 0x1000u);
  EXPECT_EQ(run(0).code, ExitCode::bpt);
}

TEST_F(VcpuStartup, InitAndSipiRestartARunningApOnItsOwnThread) {
  make(2);
  vm->sipi(1, 1);
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bpt; };
  ASSERT_EQ(run(0).code, ExitCode::spinup_ap);
  cpu(1).guest = [](FakeCpu& cpu, Exit& exit) {
    if (cpu.runs == 1) return cpu.spin(exit);
    exit.code = ExitCode::bpt;
  };
  Exit exit;
  std::thread ap([&] { vm->vcpu(1).run(exit); });
  await(1, RunState::running);
  vm->sipi(1, 3);  // it does not wait for one
  vm->init(1);
  while (!vm->vcpu(1).waits_for_sipi()) std::this_thread::yield();
  await(1, RunState::sleeping);
  EXPECT_EQ(cpu(1).runs, 1u);
  vm->sipi(1, 7);
  ap.join();
  EXPECT_EQ(exit.code, ExitCode::bpt);
  EXPECT_EQ(cpu(1).regs.seg[1].base, 0x7000u);
  EXPECT_EQ(run(0).code, ExitCode::bpt);  // no second spin-up exit
}

TEST_F(VcpuStartup, InitStartsTheBspOverAtTheResetVector) {
  make(1);
  cpu(0).regs.rip = 0x1234;
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bpt; };
  ASSERT_EQ(run(0).code, ExitCode::bpt);
  vm->init(0);
  EXPECT_EQ(run(0).code, ExitCode::bpt);
  EXPECT_EQ(cpu(0).regs.rip, 0xfff0u);
  EXPECT_FALSE(vm->vcpu(0).waits_for_sipi());
}

TEST_F(VcpuStartup, AnApThatHaltsWithItsApicOffIsSpunDownAndComesBack) {
  make(2);
  cpu(0).guest = [](FakeCpu& cpu, Exit& exit) {
    if (cpu.runs == 1) start_ap(cpu, 1, 8);
    exit.code = cpu.runs == 1 ? ExitCode::bogus : ExitCode::bpt;
  };
  ASSERT_EQ(run(0).code, ExitCode::spinup_ap);
  cpu(1).guest = [](FakeCpu& cpu, Exit& exit) { cpu.hlt(exit, false); };
  EXPECT_EQ(run(1).code, ExitCode::spindown_cpu);
  EXPECT_FALSE(vm->vcpu(1).active());
  vm->sipi(1, 9);
  EXPECT_EQ(run(0).code, ExitCode::bpt);  // a SIPI without INIT does nothing
  vm->init(1);
  vm->sipi(1, 9);
  const Exit exit = run(0);
  EXPECT_EQ(exit.code, ExitCode::spinup_ap);
  EXPECT_EQ(exit.spinup_ap.rip, 0x9000u);
}

TEST_F(VcpuStartup, AnNmiWakesASpunDownApWhereItHalted) {
  make(2);
  cpu(0).guest = [](FakeCpu& cpu, Exit& exit) {
    if (cpu.runs == 1) start_ap(cpu, 1, 8);
    exit.code = cpu.runs == 1 ? ExitCode::bogus : ExitCode::bpt;
  };
  ASSERT_EQ(run(0).code, ExitCode::spinup_ap);
  bool nmi = false;
  cpu(1).guest = [&](FakeCpu& cpu, Exit& exit) {
    if (cpu.runs == 1) {
      cpu.regs.rip = 0x123;
      return cpu.hlt(exit, false);
    }
    nmi = cpu.client.pending(1).nmi;
    exit.code = ExitCode::bpt;
  };
  ASSERT_EQ(run(1).code, ExitCode::spindown_cpu);
  vm->nmi(1);
  const Exit exit = run(0);
  ASSERT_EQ(exit.code, ExitCode::spinup_ap);
  EXPECT_EQ(exit.spinup_ap.vcpu, 1u);
  EXPECT_EQ(exit.spinup_ap.rip, 0x8123u);
  EXPECT_TRUE(vm->vcpu(1).active());
  EXPECT_EQ(run(1).code, ExitCode::bpt);
  EXPECT_TRUE(nmi);
}

TEST_F(VcpuStartup, AnNmiToAnApThatWaitsForSipiIsLost) {
  make(2);
  vm->nmi(1);
  vm->sipi(1, 1);
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bpt; };
  ASSERT_EQ(run(0).code, ExitCode::spinup_ap);
  EXPECT_FALSE(vm->vcpu(1).pending(1).nmi);
}

}  // namespace
}  // namespace bhyve::vmm::test
