#include "fake_engine.hpp"

namespace bhyve::vmm::test {
namespace {

using abi::ExitCode;
using engine::Exit;

class VmState : public VmTest {
 protected:
  std::vector<u8> saved() {
    StateWriter out;
    vm->with_all_frozen(Vcpu::FreezeAt::complete, [&] { vm->save(out); });
    return out.bytes();
  }
};

TEST_F(VmState, ComesBackAsItWas) {
  make(2);
  for (VcpuId id = 0; id < 2; ++id) {
    engine::VcpuState& regs = cpu(id).regs;
    for (usize i = 0; i < regs.gpr.size(); ++i) regs.gpr[i] = 0x1111'0000 * (id + 1) + i;
    regs.rip = 0xffff'ffff'8100'0000 + id;
    regs.seg[7].base = 0x1234'5678;
    regs.mtrr_variable[15] = 77;
    regs.xsave[2000] = static_cast<u8>(9 + id);
    regs.nmi_blocked = id == 1;
  }
  u64 tpr = 0x50;
  vm->vcpu(1).mmio(1, Gpa{0xfee0'0080}, 4, tpr, Dir::write);
  vm->nmi(0);
  vm->sipi(1, 0x42);  // its exit is on the way
  const engine::VcpuState before[] = {cpu(0).regs, cpu(1).regs};
  const std::vector<u8> bytes = saved();

  make(2);
  auto reader = StateReader::parse(bytes);
  ASSERT_TRUE(reader) << reader.error().message;
  auto loaded = vm->load(*reader);
  ASSERT_TRUE(loaded) << loaded.error().message;
  for (VcpuId id = 0; id < 2; ++id) {
    const engine::VcpuState& regs = cpu(id).regs;
    EXPECT_EQ(regs.gpr, before[id].gpr);
    EXPECT_EQ(regs.rip, before[id].rip);
    EXPECT_EQ(regs.seg, before[id].seg);
    EXPECT_EQ(regs.mtrr_variable, before[id].mtrr_variable);
    EXPECT_EQ(regs.xsave, before[id].xsave);
    EXPECT_EQ(regs.nmi_blocked, before[id].nmi_blocked);
  }
  EXPECT_TRUE(vm->vcpu(0).pending(0).nmi);
  EXPECT_EQ(vm->vcpu(1).cr8(1), 5);
  EXPECT_TRUE(vm->vcpu(1).active());
  const Exit exit = run(0);
  EXPECT_EQ(exit.code, ExitCode::spinup_ap);
  EXPECT_EQ(exit.spinup_ap.rip, 0x42000u);
}

TEST_F(VmState, TheGuestsTscGoesOnFromWhereItWas) {
  make(1);
  cpu(0).regs.tsc_offset = 1000;
  const u64 before = timer::TscClock::host_now() + 1000;
  const std::vector<u8> bytes = saved();
  make(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(vm->load(*StateReader::parse(bytes)));
  const u64 after = timer::TscClock::host_now() + cpu(0).regs.tsc_offset;
  EXPECT_GE(after, before);
  const u64 stopped = 1000 - cpu(0).regs.tsc_offset;  // ticks that the guest did not see
  EXPECT_GT(stopped, 10'000'000u);
  EXPECT_EQ(vm->vcpu(0).tsc_offset(), cpu(0).regs.tsc_offset);
}

TEST_F(VmState, AHaltedVcpuIsHaltedAgain) {
  config.halt_detection = false;
  make(1);
  cpu(0).regs.halted = true;
  const std::vector<u8> bytes = saved();
  make(1);
  ASSERT_TRUE(vm->load(*StateReader::parse(bytes)));
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bpt; };
  Exit exit;
  std::thread thread([&] { vm->vcpu(0).run(exit); });
  await(0, RunState::sleeping);
  EXPECT_EQ(cpu(0).runs, 0u);
  vm->nmi(0);
  thread.join();
  EXPECT_EQ(exit.code, ExitCode::bpt);
}

TEST_F(VmState, AnotherNumberOfVcpusIsRefusedAndLeavesResetState) {
  make(2);
  const std::vector<u8> bytes = saved();
  make(1);
  cpu(0).regs.rip = 5;
  EXPECT_FALSE(vm->load(*StateReader::parse(bytes)));
  EXPECT_EQ(cpu(0).regs.rip, 0xfff0u);
}

}  // namespace
}  // namespace bhyve::vmm::test
