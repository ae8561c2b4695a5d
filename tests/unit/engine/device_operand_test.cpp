// Instructions whose memory operand is a device: what leaves run() is executed again.
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

/// Memory accesses leave run(); ports answer with a count.
class Outside final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa, unsigned, u64&, Dir) override { return Access::exit; }
  Access pio(VcpuId, u16, unsigned, u32& value, Dir) override {
    value = ++port_accesses;
    return Access::done;
  }
  Access msr(VcpuId, u32, u64&, Dir) override { return Access::fault; }
  u8 cr8(VcpuId) override { return 0; }
  void set_cr8(VcpuId, u8) override {}
  Pending pending(VcpuId) override { return {}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override {}

  u32 port_accesses = 0;
};

class DeviceOperand : public ReplayTest {
 protected:
  static constexpr u64 device = 0xe000'0000;

  DeviceOperand() {
    put<u64>(0x4000 + hole / page_size * 8, device | 3);
    cpu = std::make_unique<Cpu>(0, *vm, outside);
    vm->add(0, *cpu);
  }
  /// Runs to HLT; collects what was written to the device.
  void run_outside(std::vector<u8> bytes) {
    bytes.push_back(0xf4);
    put(code, bytes.data(), bytes.size());
    start_state.rip = code;
    cpu->load_state(engine::StateGroups::all, start_state);
    engine::Exit exit;
    for (unsigned n = 0; n < 1000; ++n) {
      cpu->run(exit);
      if (exit.code == abi::ExitCode::hlt) return;
      ASSERT_EQ(exit.code, abi::ExitCode::inst_emul);
      if (exit.mmio.write) writes.push_back(exit.mmio);
    }
    FAIL() << "no end";
  }

  Outside outside;
  std::vector<engine::Exit::Mmio> writes;
};

TEST_F(DeviceOperand, X87StorePopsOnce) {
  // fninit; fld1; fldpi; fstp qword [rdi]; fstp qword [rsi]
  reg(x86::Gpr::rdi) = hole;
  reg(x86::Gpr::rsi) = data;
  run_outside({0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0xeb, 0xdd, 0x1f, 0xdd, 0x1e});
  ASSERT_EQ(writes.size(), 1u);
  EXPECT_EQ(writes[0].data, 0x4009'21fb'5444'2d18u);  // pi
  EXPECT_EQ(get<u64>(data), 0x3ff0'0000'0000'0000u);  // 1.0
}

TEST_F(DeviceOperand, InsReadsThePortOnce) {
  reg(x86::Gpr::rdi) = hole;
  reg(x86::Gpr::rcx) = 3;
  run_outside({0xf3, 0x6d});  // rep insd
  EXPECT_EQ(outside.port_accesses, 3u);
  ASSERT_EQ(writes.size(), 3u);
  for (u32 n = 0; n < 3; ++n) {
    EXPECT_EQ(writes[n].gpa, Gpa(device + 4 * n));
    EXPECT_EQ(writes[n].data, n + 1);
  }
}

TEST_F(DeviceOperand, XsaveOfEverythingEnds) {
  if (!has(CpuModel::Feature::xsave)) GTEST_SKIP();
  reg(x86::Gpr::rdi) = hole;
  reg(x86::Gpr::rax) = reg(x86::Gpr::rdx) = ~u64{0};
  run_outside({0x0f, 0xae, 0x27});  // xsave [rdi]
  EXPECT_GE(writes.size(), 4u);
}

}  // namespace
}  // namespace bhyve::soft
