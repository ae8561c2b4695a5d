#include "fake_engine.hpp"
#include "vmm/vcpu.hpp"

namespace bhyve::vmm::test {
namespace {

using abi::ExitCode;
using engine::Exit;

class VcpuRun : public VmTest {};

TEST_F(VcpuRun, IsRunningInsideTheGuestAndIdleOutside) {
  make(1);
  RunState inside = RunState::idle;
  Vcpu* current = nullptr;
  cpu(0).guest = [&](FakeCpu&, Exit& exit) {
    inside = vm->vcpu(0).state();
    current = Vcpu::current();
    exit.code = ExitCode::inout;
  };
  EXPECT_EQ(run(0).code, ExitCode::inout);
  EXPECT_EQ(inside, RunState::running);
  EXPECT_EQ(current, &vm->vcpu(0));
  EXPECT_EQ(Vcpu::current(), nullptr);
  EXPECT_EQ(vm->vcpu(0).state(), RunState::idle);
}

TEST_F(VcpuRun, ExitsForTheMachineLeaveAndOthersDoNot) {
  make(1);
  const ExitCode inner[] = {ExitCode::bogus, ExitCode::reqidle, ExitCode::rendezvous,
                            ExitCode::ioapic_eoi};
  const ExitCode outer[] = {ExitCode::inst_emul, ExitCode::rdmsr, ExitCode::wrmsr, ExitCode::paging,
                            ExitCode::mtrap,     ExitCode::bpt,   ExitCode::vmx,   ExitCode::debug,
                            ExitCode::pause,     ExitCode::db};
  for (const ExitCode leave : outer) {
    usize step = 0;
    cpu(0).guest = [&](FakeCpu&, Exit& exit) {
      exit.code = step < std::size(inner) ? inner[step] : leave;
      ++step;
    };
    EXPECT_EQ(run(0).code, leave);
    EXPECT_EQ(step, std::size(inner) + 1);
  }
}

TEST_F(VcpuRun, MonitorAndMwaitRaiseInvalidOpcode) {
  make(1);
  int step = 0;
  cpu(0).guest = [&](FakeCpu&, Exit& exit) {
    const ExitCode codes[] = {ExitCode::monitor, ExitCode::mwait, ExitCode::vminsn,
                              ExitCode::paging};
    exit.code = codes[step++];
  };
  run(0);
  EXPECT_EQ(cpu(0).injected, std::vector<x86::Vector>(3, x86::Vector::ud));
}

TEST_F(VcpuRun, TheAnswerReachesTheEngineAndAStaleOneDoesNot) {
  make(1);
  std::vector<ExitCode> seen;
  cpu(0).guest = [&](FakeCpu&, Exit& exit) {
    seen.push_back(exit.code);
    exit.code = seen.size() == 1 ? ExitCode::inout : ExitCode::bpt;
  };
  Exit exit;
  vm->vcpu(0).run(exit);
  vm->vcpu(0).run(exit);  // answers
  vm->vcpu(0).run(exit);  // bpt wants none
  EXPECT_EQ(seen, (std::vector{ExitCode::bogus, ExitCode::inout, ExitCode::bogus}));
}

TEST_F(VcpuRun, AnAnsweredInstructionCompletesBeforeASuspendIsHeard) {
  make(1);
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::inout; };
  Exit exit;
  vm->vcpu(0).run(exit);
  ASSERT_TRUE(vm->suspend(abi::SuspendHow::poweroff));
  bool completed = false;
  cpu(0).guest = [&](FakeCpu& c, Exit& e) {
    completed = e.code == ExitCode::inout && c.client.pending(0).leave;
    e.code = ExitCode::bogus;
  };
  vm->vcpu(0).run(exit);
  EXPECT_TRUE(completed);
  EXPECT_EQ(exit.code, ExitCode::suspended);
  EXPECT_EQ(exit.suspend, abi::SuspendHow::poweroff);
}

TEST_F(VcpuRun, ASuspendedCpuTellsOnceAndThenWaitsForResume) {
  make(1);
  cpu(0).guest = [](FakeCpu&, Exit& exit) { exit.code = ExitCode::bpt; };
  vm->vcpu(0).suspend_cpu();
  Exit exit;
  vm->vcpu(0).run(exit);
  EXPECT_EQ(exit.code, ExitCode::debug);
  std::thread thread([&] { vm->vcpu(0).run(exit); });
  await(0, RunState::sleeping);
  EXPECT_EQ(cpu(0).runs, 0u);
  vm->vcpu(0).resume_cpu();
  thread.join();
  EXPECT_EQ(exit.code, ExitCode::bpt);
}

TEST_F(VcpuRun, WhileACpuIsAwaitedOthersGiveTheirHostCpusUp) {
  make(2);
  ASSERT_TRUE(vm->vcpu(1).set_capability(abi::Capability::ipi_exit, true));
  cpu(1).guest = [](FakeCpu& c, Exit& exit) { c.spin(exit); };
  // As if it had no host CPU before the other has left the guest.
  cpu(0).guest = [&](FakeCpu& c, Exit& exit) {
    while (cpu(1).runs < 2) std::this_thread::yield();
    c.spin(exit);
  };
  std::vector<std::jthread> threads;
  for (const VcpuId id : {0u, 1u})
    threads.emplace_back([this, id] { EXPECT_EQ(run(id).code, ExitCode::suspended); });
  for (const VcpuId id : {0u, 1u}) await(id, RunState::running);
  bool frozen = false;
  vm->with_frozen(0, Vcpu::FreezeAt::any, [&](Vcpu&) { frozen = true; });
  EXPECT_TRUE(frozen);
  EXPECT_GE(cpu(1).runs, 2u);
  EXPECT_TRUE(vm->suspend(abi::SuspendHow::poweroff));
}

TEST_F(VcpuRun, CapabilitiesComeFromTheEngine) {
  make(1);
  EXPECT_TRUE(vm->vcpu(0).set_capability(abi::Capability::halt_exit, true));
  EXPECT_TRUE(vm->vcpu(0).get_capability(abi::Capability::halt_exit).value());
  const auto missing = vm->vcpu(0).set_capability(abi::Capability::mtrap_exit, true);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
}

TEST_F(VcpuRun, CountersHaveFreeBsdsTexts) {
  make(1);
  int step = 0;
  cpu(0).guest = [&](FakeCpu&, Exit& exit) {
    exit.code = ++step < 3 ? ExitCode::pause : ExitCode::inout;
  };
  for (int i = 0; i < 3; ++i) run(0);
  std::map<std::string, u64> counters;
  vm->statistics(0, [&](std::string_view text, u64 value) { counters[std::string(text)] = value; });
  EXPECT_EQ(counters.at("total number of vm exits"), 3u);
  EXPECT_EQ(counters.at("number of times pause was intercepted"), 2u);
  EXPECT_EQ(counters.at("number of times in/out was intercepted"), 1u);
  EXPECT_EQ(counters.at("number of vm exits handled in userspace"), 3u);
  EXPECT_GT(counters.at("vcpu total runtime"), 0u);
  EXPECT_EQ(counters.at("fake engine runs"), 3u);
  EXPECT_TRUE(counters.contains("Resident memory"));
  for (const char* text :
       {"EOI without any in-service interrupt", "error interrupts generated by vlapic",
        "timer interrupts generated by vlapic",
        "corrected machine check interrupts generated by vlapic", "lvts triggered[0]",
        "lvts triggered[6]", "ipis sent from vcpu", "ipis received by vcpu"})
    EXPECT_TRUE(counters.contains(text)) << text;
}

}  // namespace
}  // namespace bhyve::vmm::test
