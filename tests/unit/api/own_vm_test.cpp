#include "bhyve/own_vm.hpp"

#include <cstring>

#include "base/types.hpp"
#include "run_dir_fixture.hpp"

namespace bhyve::api {
namespace {

using abi::Capability;
using abi::ExitCode;

/// A VM that the test runs, in real mode at 1000h.
class OwnVmTest : public RunDirTest {
 protected:
  static constexpr u64 start = 0x1000;

  void TearDown() override {
    control.reset(), vm.reset();
    RunDirTest::TearDown();
  }
  void make(unsigned cpus = 1, const char* executor = "translate") {
    Config config;
    config.set("cpu.executor", executor);
    config.set("name", "vm0");
    config.set("cpus", std::to_string(cpus));
    config.set("memory.size", "16M");
    auto made = OwnVm::create(config);
    ASSERT_TRUE(made) << made.error().message;
    vm.emplace(std::move(*made));
    control.emplace(vm->control());
  }
  /// Puts code at `start` and the vCPU there.
  void program(std::initializer_list<u8> code) {
    std::byte* const to = vm->map(start, code.size());
    ASSERT_NE(to, nullptr);
    std::memcpy(to, code.begin(), code.size());
    place();
  }
  void place() {
    ASSERT_TRUE(control->set_register(0, "cs", 0));
    ASSERT_TRUE(control->set_descriptor(0, {"cs", 0, 0xffff, 0x93, 0}));
    ASSERT_TRUE(control->set_register(0, "rip", start));
  }
  void run() { ASSERT_TRUE(vm->run(0, exit)); }
  u64 reg(const char* name) { return control->get_register(0, name).value_or(~u64{0}); }

  std::optional<OwnVm> vm;
  std::optional<Control> control;
  VcpuExit exit;
};

TEST_F(OwnVmTest, PortsComeOutAndAnswersGoIn) {
  make();
  program({0xb0, 0x41, 0xe6, 0x80, 0xe4, 0x81, 0xf4});  // mov al,'A'; out 80h,al; in al,81h; hlt
  run();
  ASSERT_EQ(exit.code, ExitCode::inout);
  EXPECT_EQ(exit.inout.port, 0x80);
  EXPECT_FALSE(exit.inout.in);
  EXPECT_EQ(exit.inout.eax & 0xff, 0x41u);
  run();
  ASSERT_EQ(exit.code, ExitCode::inout);
  EXPECT_TRUE(exit.inout.in);
  EXPECT_EQ(exit.inst_length, 2);
  exit.inout.eax = 0x5a;
  run();  // HLT with interrupts off and nobody else: the VM ends
  ASSERT_EQ(exit.code, ExitCode::suspended);
  EXPECT_EQ(exit.suspend, abi::SuspendHow::halt);
  EXPECT_EQ(reg("rax") & 0xff, 0x5au);
}

TEST_F(OwnVmTest, CodeWrittenThroughTheMapIsSeen) {
  make();
  program({0xe6, 0x80, 0xeb, 0xfc});  // out 80h,al; jmp start
  run();
  std::byte* const code = vm->map(start, 2);
  code[1] = std::byte{0x99};
  run();
  ASSERT_EQ(exit.code, ExitCode::inout);
  EXPECT_EQ(exit.inout.port, 0x99);
}

TEST_F(OwnVmTest, MapIsOnlyOfMemory) {
  make();
  EXPECT_NE(vm->map(0, 16 * MiB), nullptr);
  EXPECT_EQ(vm->map(0, 16 * MiB + 1), nullptr);
  EXPECT_EQ(vm->map(16 * MiB, 1), nullptr);
  EXPECT_EQ(vm->map(~u64{0}, 2), nullptr);
  EXPECT_EQ(vm->map(4 * GiB, 1), nullptr);
  EXPECT_EQ(vm->reverse_map(vm->map(0x1234, 1)), 0x1234u);
  EXPECT_EQ(vm->reverse_map(this), ~u64{0});
}

TEST_F(OwnVmTest, InvpcidNeedsItsCapability) {
  make();
  // A guest in protected mode: invpcid eax,[0]; out 80h,al. With an empty IDT #UD is a triple fault.
  const auto enter = [&] {
    program({0x66, 0x0f, 0x38, 0x82, 0x05, 0, 0, 0, 0, 0xe6, 0x80});
    ASSERT_TRUE(control->set_descriptor(0, {"cs", 0, 0xffff'ffff, 0xc09b, 0}));
    ASSERT_TRUE(control->set_descriptor(0, {"ds", 0, 0xffff'ffff, 0xc093, 0}));
    ASSERT_TRUE(control->set_descriptor(0, {"idtr", 0, 0, 0, 0}));
    ASSERT_TRUE(control->set_register(0, "cr0", 0x21));
    ASSERT_TRUE(control->set_register(0, "rax", 2));  // all contexts
  };
  enter();
  EXPECT_TRUE(*control->get_capability(0, Capability::enable_invpcid));
  run();
  EXPECT_EQ(exit.code, ExitCode::inout);
  ASSERT_TRUE(control->set_capability(0, Capability::enable_invpcid, false));
  enter();
  run();
  ASSERT_EQ(exit.code, ExitCode::suspended);
  EXPECT_EQ(exit.suspend, abi::SuspendHow::triplefault);
}

TEST_F(OwnVmTest, TheEngineSaysWhichCapabilitiesItHas) {
  make();
  for (const auto have : {Capability::halt_exit, Capability::mtrap_exit, Capability::pause_exit,
                          Capability::unrestricted_guest, Capability::rdpid, Capability::rdtscp,
                          Capability::bpt_exit, Capability::ipi_exit, Capability::mask_hwintr,
                          Capability::rflags_tf})
    EXPECT_TRUE(control->get_capability(0, have)) << static_cast<unsigned>(have);
  const auto beyond = static_cast<Capability>(abi::capability_count);
  EXPECT_EQ(control->get_capability(0, beyond).error().code, EINVAL);
}

TEST_F(OwnVmTest, PauseBreakpointAndStepLeaveOnBothExecutors) {
  for (const char* executor : {"interp", "translate"}) {
    make(1, executor);
    program({0xf3, 0x90, 0xcc, 0x90, 0xe6, 0x80});  // pause; int3; nop; out 80h,al
    for (const auto on : {Capability::pause_exit, Capability::bpt_exit})
      ASSERT_TRUE(control->set_capability(0, on, true));
    run();
    ASSERT_EQ(exit.code, ExitCode::pause);
    run();
    ASSERT_EQ(exit.code, ExitCode::bpt);
    EXPECT_EQ(exit.rip, start + 2);
    EXPECT_EQ(exit.inst_length, 1);
    run();  // nobody has seen to it
    ASSERT_EQ(exit.code, ExitCode::bpt);
    ASSERT_TRUE(control->set_register(0, "rip", start + 3));
    ASSERT_TRUE(control->set_capability(0, Capability::rflags_tf, true));
    run();
    ASSERT_EQ(exit.code, ExitCode::db);
    EXPECT_EQ(reg("rip"), start + 4);
    EXPECT_EQ(reg("rflags") & 0x100, 0u);
    run();
    EXPECT_EQ(exit.code, ExitCode::inout);
    ASSERT_TRUE(vm->destroy());
    control.reset(), vm.reset();
  }
}

TEST_F(OwnVmTest, InitAndSipiAreTheCallersWithIpiExit) {
  make(3);
  for (const unsigned cpu : {0u, 1u, 2u}) {
    ASSERT_TRUE(control->set_capability(cpu, Capability::ipi_exit, true));
    ASSERT_TRUE(control->set_x2apic_state(cpu, ApicState::x2apic));
  }
  EXPECT_FALSE(control->events(1)->waits_for_sipi);
  // mov ecx,830h; mov edx,1; mov eax,4500h; wrmsr (INIT to 1); mov eax,4602h; wrmsr (SIPI); out 80h,al
  program({0x66, 0xb9, 0x30, 8, 0, 0, 0x66, 0xba, 1, 0, 0, 0, 0x66, 0xb8, 0, 0x45, 0, 0, 0x0f, 0x30,
           0x66, 0xb8, 2, 0x46, 0, 0, 0x0f, 0x30, 0xe6, 0x80});
  run();
  ASSERT_EQ(exit.code, ExitCode::ipi);
  EXPECT_EQ(exit.ipi.mode, 0x500u);
  EXPECT_EQ(exit.ipi.targets, std::vector<unsigned>{1});
  run();
  ASSERT_EQ(exit.code, ExitCode::ipi);
  EXPECT_EQ(exit.ipi.mode, 0x600u);
  EXPECT_EQ(exit.ipi.vector, 2);
  run();
  EXPECT_EQ(exit.code, ExitCode::inout);
  // What the caller does for SIPI: it starts the vCPU, which has not been waiting inside.
  ASSERT_TRUE(control->write_memory(0x2000, std::vector<u8>{0xe6, 0x99}));
  ASSERT_TRUE(control->reset_vcpu(1));
  ASSERT_TRUE(control->set_register(1, "cs", 0x200));
  ASSERT_TRUE(control->set_descriptor(1, {"cs", 0x2000, 0xffff, 0x93, 0}));
  ASSERT_TRUE(control->set_register(1, "rip", 0));
  VcpuExit other;
  ASSERT_TRUE(vm->run(1, other));
  ASSERT_EQ(other.code, ExitCode::inout);
  EXPECT_EQ(other.inout.port, 0x99);
}

TEST_F(OwnVmTest, SingleStepsLeaveAfterEachInstruction) {
  make();
  program({0x90, 0x90, 0xe6, 0x80});
  ASSERT_TRUE(control->set_capability(0, Capability::mtrap_exit, true));
  run();
  ASSERT_EQ(exit.code, ExitCode::mtrap);
  EXPECT_EQ(reg("rip"), start + 1);
  run();
  EXPECT_EQ(reg("rip"), start + 2);
}

TEST_F(OwnVmTest, RegistersAreCheckedAndKept) {
  make();
  EXPECT_EQ(control->set_register(0, "rzx", 0).error().code, EINVAL);
  EXPECT_EQ(control->set_register(1, "rax", 0).error().code, EINVAL);
  EXPECT_EQ(control->set_register(0, "cr0", u64{1} << 20).error().code, EINVAL);
  EXPECT_EQ(control->set_register(0, "cr4", 1u << 13).error().code, EINVAL);  // VMXE
  EXPECT_EQ(control->set_register(0, "tsc-offset", 1).error().code, EINVAL);
  EXPECT_EQ(control->set_descriptor(0, {"gdtr", 0, 0x1'0000, 0, 0}).error().code, EINVAL);
  for (const char* name : {"rax", "r15", "cr2", "dr0", "fs-base", "kgs-base"}) {
    ASSERT_TRUE(control->set_register(0, name, 0x1234'5678'9abc));
    EXPECT_EQ(reg(name), 0x1234'5678'9abcu) << name;
  }
}

TEST_F(OwnVmTest, ApicModeIsSetBeforeTheVcpuRuns) {
  make(2);
  EXPECT_EQ(*control->x2apic_state(1), ApicState::xapic);
  ASSERT_TRUE(control->set_x2apic_state(1, ApicState::x2apic));
  EXPECT_EQ(*control->x2apic_state(1), ApicState::x2apic);
  ASSERT_TRUE(control->set_x2apic_state(1, ApicState::xapic));
  EXPECT_EQ(*control->x2apic_state(1), ApicState::xapic);
  ASSERT_TRUE(vm->activate(0));
  EXPECT_EQ(vm->activate(0).error().code, EBUSY);
  EXPECT_EQ(control->set_x2apic_state(0, ApicState::x2apic).error().code, EBUSY);
}

TEST_F(OwnVmTest, MemoryByAddressAndByPageTables) {
  make();
  const std::vector<u8> bytes(10'000, 0xa5);
  ASSERT_TRUE(control->write_memory(0x3ff0, bytes));
  std::vector<u8> back(bytes.size());
  ASSERT_TRUE(control->read_memory(0x3ff0, back));
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(control->read_memory(16 * MiB - 1, std::span(back).first(2)).error().code, EFAULT);
  // Four levels with a 2 MiB page: linear 40200000h is 600000h.
  const auto entry = [&](u64 at, u64 value) {
    std::memcpy(vm->map(at, 8), &value, sizeof value);
  };
  entry(0x10000, 0x11003), entry(0x11008, 0x12003), entry(0x12008, 0x600081);
  for (const auto& [name, value] : {std::pair{"cr3", 0x10000ull}, {"cr4", 0x20ull},
                                    {"efer", 0x500ull}, {"cr0", 0x80010021ull}})
    ASSERT_TRUE(control->set_register(0, name, value));
  EXPECT_EQ(*control->translate(0, 0x4020'1234, false), 0x60'1234u);
  EXPECT_EQ(control->translate(0, 0x4020'1234, true).error().code, EFAULT);
  EXPECT_EQ(control->translate(0, 0x4040'0000, false).error().code, EFAULT);
  EXPECT_EQ(control->translate(0, u64{1} << 47, false).error().code, EFAULT);
}

TEST_F(OwnVmTest, InterruptControllersAreReached) {
  make();
  EXPECT_EQ(*control->ioapic_pins(), 32u);
  EXPECT_TRUE(control->ioapic_irq(31, LineChange::pulse));
  EXPECT_EQ(control->ioapic_irq(32, LineChange::pulse).error().code, EINVAL);
  EXPECT_TRUE(control->isa_irq(5, 5, LineChange::assert_line));
  EXPECT_TRUE(control->isa_irq(5, -1, LineChange::deassert_line));
  EXPECT_EQ(control->isa_irq(16, -1, LineChange::pulse).error().code, EINVAL);
  EXPECT_TRUE(control->isa_irq_trigger(5, true));
  EXPECT_EQ(control->isa_irq_trigger(2, true).error().code, EINVAL);
  EXPECT_EQ(control->lapic_irq(0, 15).error().code, EINVAL);
  EXPECT_EQ(control->inject_exception(0, 8, std::nullopt).error().code, EINVAL);
  EXPECT_EQ(control->inject_exception(0, 2, std::nullopt).error().code, EINVAL);
  EXPECT_EQ(control->inject_exception(0, 32, std::nullopt).error().code, EINVAL);
}

TEST_F(OwnVmTest, ExceptionIsDeliveredAtTheNextEntry) {
  make();
  program({0xe6, 0x80});
  // Vector 6 of the real-mode table leads to "out 81h,al".
  ASSERT_TRUE(control->write_memory(6 * 4, std::vector<u8>{0x00, 0x20, 0, 0}));
  ASSERT_TRUE(control->write_memory(0x2000, std::vector<u8>{0xe6, 0x81}));
  ASSERT_TRUE(control->set_register(0, "rsp", 0x8000));
  ASSERT_TRUE(control->inject_exception(0, 6, 0));
  run();
  ASSERT_EQ(exit.code, ExitCode::inout);
  EXPECT_EQ(exit.inout.port, 0x81);
}

TEST_F(OwnVmTest, WhatIsLeftIsFoundAgain) {
  make();
  program({0xe6, 0x80, 0xe6, 0x81});
  run();
  ASSERT_TRUE(control->set_register(0, "rax", 0x77));
  ASSERT_TRUE(control->set_rtc_nvram(0x40, 0x99));
  control.reset(), vm.reset();
  auto again = OwnVm::open("vm0");
  ASSERT_TRUE(again) << again.error().message;
  vm.emplace(std::move(*again));
  control.emplace(vm->control());
  EXPECT_EQ(reg("rax"), 0x77u);
  EXPECT_EQ(*control->rtc_nvram(0x40), 0x99);
  run();  // the access that was not answered is asked for again
  EXPECT_EQ(exit.inout.port, 0x80);
  EXPECT_TRUE(vm->destroy());
  control.reset(), vm.reset();
  EXPECT_EQ(OwnVm::open("vm0").error().code, ENOENT);
}

TEST_F(OwnVmTest, OthersReachItThroughItsSocket) {
  make();
  auto other = Control::connect("vm0");
  ASSERT_TRUE(other) << other.error().message;
  ASSERT_TRUE(other->set_register(0, "rbx", 42));
  EXPECT_EQ(reg("rbx"), 42u);
  EXPECT_EQ(OwnVm::open("vm0").error().code, EBUSY);
  EXPECT_EQ(other->info()->state, "stopped");
  EXPECT_EQ(other->set_pinning(0, {0}).error().code, ENOTSUP);
}

TEST_F(OwnVmTest, ReinitStartsOverWithTheSameMemory) {
  make();
  program({0xf4});
  run();
  ASSERT_EQ(exit.code, ExitCode::suspended);
  ASSERT_TRUE(vm->reinit());
  EXPECT_EQ(reg("rip"), 0xfff0u);
  place();
  run();
  EXPECT_EQ(exit.code, ExitCode::suspended);
}

}  // namespace
}  // namespace bhyve::api
