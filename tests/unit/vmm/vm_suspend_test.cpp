#include "fake_engine.hpp"

namespace bhyve::vmm::test {
namespace {

using abi::ExitCode;
using abi::SuspendHow;
using engine::Exit;

class VmSuspend : public VmTest {};

TEST_F(VmSuspend, TheFirstReasonStays) {
  make(1);
  EXPECT_EQ(vm->suspend(SuspendHow::none).error().code, EINVAL);
  EXPECT_EQ(vm->suspend(static_cast<SuspendHow>(5)).error().code, EINVAL);
  EXPECT_TRUE(vm->suspend(SuspendHow::reset));
  EXPECT_EQ(vm->suspend(SuspendHow::poweroff).error().code, EALREADY);
  EXPECT_EQ(vm->suspended(), SuspendHow::reset);
  const Exit exit = run(0);
  EXPECT_EQ(exit.code, ExitCode::suspended);
  EXPECT_EQ(exit.suspend, SuspendHow::reset);
  EXPECT_EQ(cpu(0).runs, 0u);
}

TEST_F(VmSuspend, ATripleFaultEndsTheVm) {
  make(1);
  cpu(0).guest = [](FakeCpu&, Exit& exit) {
    exit.code = ExitCode::suspended;
    exit.suspend = SuspendHow::triplefault;
  };
  EXPECT_EQ(run(0).suspend, SuspendHow::triplefault);
  EXPECT_EQ(vm->suspended(), SuspendHow::triplefault);
}

TEST_F(VmSuspend, EveryVcpuLeavesWhateverItDoes) {
  make(4);
  for (VcpuId id = 0; id < 3; ++id) cpu(id).guest = [](FakeCpu& cpu, Exit& e) { cpu.spin(e); };
  cpu(2).guest = [&](FakeCpu& cpu, Exit& e) {
    enable_lapic(2);  // INIT turned it off
    cpu.hlt(e, true);
  };
  std::vector<std::thread> threads;
  std::vector<Exit> exits(4);
  for (VcpuId id = 0; id < 4; ++id) threads.emplace_back([&, id] { vm->vcpu(id).run(exits[id]); });
  await(0, RunState::running);
  for (VcpuId id = 1; id < 4; ++id) await(id, RunState::sleeping);  // for SIPI
  vm->init(1), vm->sipi(1, 1), vm->init(2), vm->sipi(2, 1);
  await(1, RunState::running);
  ASSERT_TRUE(vm->suspend(SuspendHow::poweroff));
  for (std::thread& thread : threads) thread.join();
  for (const Exit& exit : exits) EXPECT_EQ(exit.code, ExitCode::suspended);
}

TEST_F(VmSuspend, ReinitNeedsEveryActiveVcpuSuspended) {
  make(2);
  EXPECT_TRUE(vm->reinit());  // never ran
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::inout; };
  run(0);
  EXPECT_EQ(vm->reinit().error().code, EBUSY);
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bogus; };
  ASSERT_TRUE(vm->suspend(SuspendHow::reset));
  EXPECT_EQ(run(0).code, ExitCode::suspended);
  cpu(0).regs.rip = 1;
  ASSERT_TRUE(vm->reinit());
  EXPECT_EQ(vm->suspended(), SuspendHow::none);
  EXPECT_EQ(cpu(0).regs.rip, 0xfff0u);
  EXPECT_FALSE(vm->vcpu(0).active());
}

TEST_F(VmSuspend, VcpuCountsOutOfRangeAreRefused) {
  for (const u32 count : {0u, VmConfig::max_vcpus + 1}) {
    auto space = mem::Vmspace::create({.lowmem = MiB});
    ASSERT_TRUE(space);
    auto made = Vm::create({.vcpus = count}, std::move(*space), [this](mem::Vmspace&) {
      return Result<std::unique_ptr<engine::Engine>>(std::make_unique<FakeEngine>(cpus));
    });
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, EINVAL);
  }
}

}  // namespace
}  // namespace bhyve::vmm::test
