// MS-DOS compatible x87 errors: with CR0.NE = 0 the pending exception is FERR#, not #MF.
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

/// Counts FERR# and then asks the CPU to leave, as the interrupt would end the wait.
class FerrMachine final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa, unsigned, u64&, Dir) override { return Access::fault; }
  Access pio(VcpuId, u16, unsigned, u32&, Dir) override { return Access::fault; }
  Access msr(VcpuId, u32, u64&, Dir) override { return Access::fault; }
  u8 cr8(VcpuId) override { return 0; }
  void set_cr8(VcpuId, u8) override {}
  Pending pending(VcpuId) override { return {false, false, ferrs > 0}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override {
    ++ferrs;
    cpu->request_check();
  }
  Cpu* cpu = nullptr;
  unsigned ferrs = 0;
};

using FerrTest = ReplayTest;

// FNINIT, FLDCW with the invalid-operation mask clear, a stack underflow, then a waiting instruction.
const std::vector<u8> underflow = {0xdb, 0xe3,                    // fninit
                                   0x66, 0xc7, 0x07, 0x7e, 0x03,  // mov word [rdi], 37Eh
                                   0xd9, 0x2f,                    // fldcw [rdi]
                                   0xde, 0xc1,                    // faddp: both empty
                                   0x9b};                         // fwait

TEST_F(FerrTest, APendingExceptionIsMfWhenNeIsSet) {
  reg(x86::Gpr::rdi) = data;
  EXPECT_EQ(run(underflow), static_cast<int>(x86::Vector::mf));
}

TEST_F(FerrTest, APendingExceptionIsFerrWhenNeIsClear) {
  FerrMachine machine;
  // On the heap: it needs its stack below itself, and is larger than a thread's.
  const auto owned = std::make_unique<Cpu>(0, *vm, machine);
  Cpu& other = *owned;
  machine.cpu = &other;
  std::vector<u8> bytes = underflow;
  bytes.push_back(0xf4);
  put(code, bytes.data(), bytes.size());
  start_state.gpr[static_cast<unsigned>(x86::Gpr::rdi)] = data;
  start_state.rip = code;
  start_state.cr0 &= ~x86::cr0::ne;
  const auto groups = static_cast<engine::StateGroups>(
      ~static_cast<u32>(engine::StateGroups::fpu) & static_cast<u32>(engine::StateGroups::all));
  other.load_state(groups, start_state);
  engine::Exit exit;
  other.run(exit);
  EXPECT_EQ(exit.code, abi::ExitCode::bogus);
  EXPECT_EQ(machine.ferrs, 1u);
  EXPECT_EQ(other.rip, code + underflow.size() - 1) << "the instruction waits";
}

}  // namespace
}  // namespace bhyve::soft
