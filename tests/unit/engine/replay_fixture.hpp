#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

class NoMachine final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa, unsigned, u64&, Dir) override { return Access::fault; }
  Access pio(VcpuId, u16, unsigned, u32&, Dir) override { return Access::fault; }
  Access msr(VcpuId, u32, u64&, Dir) override { return Access::fault; }
  u8 cr8(VcpuId) override { return 0; }
  void set_cr8(VcpuId, u8) override {}
  Pending pending(VcpuId) override { return {}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override {}
};

/// A CPU in 64-bit mode at CPL 0 that runs a few instructions and then HLT. 2 MiB of memory mapped
/// one to one but for one page (`hole`); every exception ends in a HLT of its own.
class ReplayTest : public testing::Test {
 protected:
  static constexpr u64 idt = 0x5000, gdt = 0x6000, traps = 0x8000, code = 0x10000,
                       data = 0x1fe000, hole = 0x1ff000;
  static constexpr int none = -1;

  ReplayTest() {
    auto made_space = mem::Vmspace::create({4 * MiB, 0});
    auto model = CpuModel::create({}, 1);
    EXPECT_TRUE(made_space && model);
    space = std::move(*made_space);
    vm = std::make_unique<SoftVm>(*space, std::move(*model), 1);
    cpu = std::make_unique<Cpu>(0, *vm, client);
    vm->add(0, *cpu);
    build_tables();
    start_state.reset(false);
    enter_long_mode(start_state);
  }
  ~ReplayTest() override { vm->remove(0); }

  /// Runs `bytes` and HLT from start_state; the vector that it ended with, or none.
  int run(std::vector<u8> bytes) {
    bytes.push_back(0xf4);
    put(code, bytes.data(), bytes.size());
    start_state.rip = code;
    cpu->load_state(engine::StateGroups::all & keep_fpu, start_state);
    engine::Exit exit;
    cpu->run(exit);
    EXPECT_EQ(exit.code, abi::ExitCode::hlt);
    cpu->fpu.park();
    const u64 at = cpu->rip - traps;
    return at < 32 * 16 ? static_cast<int>(at / 16) : none;
  }

  void put(u64 gpa, const void* from, usize n) {
    ASSERT_TRUE(space->write(Gpa(gpa), std::span(static_cast<const u8*>(from), n)));
  }
  template <class T>
  void put(u64 gpa, const T& v) {
    put(gpa, &v, sizeof v);
  }
  template <class T>
  [[nodiscard]] T get(u64 gpa) {
    T v{};
    EXPECT_TRUE(space->read(Gpa(gpa), std::span(reinterpret_cast<u8*>(&v), sizeof v)));
    return v;
  }
  u64& reg(x86::Gpr r) { return start_state.gpr[static_cast<unsigned>(r)]; }
  [[nodiscard]] bool has(CpuModel::Feature f) const { return vm->model->has(f); }

  std::unique_ptr<mem::Vmspace> space;
  NoMachine client;
  std::unique_ptr<SoftVm> vm;
  std::unique_ptr<Cpu> cpu;
  engine::VcpuState start_state;

 private:
  static constexpr auto keep_fpu = static_cast<engine::StateGroups>(
      ~static_cast<u32>(engine::StateGroups::fpu));

  void build_tables() {
    put<u64>(0x1000, 0x2003);
    put<u64>(0x2000, 0x3003);
    put<u64>(0x3000, 0x4003);
    for (u64 page = 0; page < 2 * MiB; page += page_size)
      put<u64>(0x4000 + page / page_size * 8, page == hole ? 0 : page | 3);
    put<u64>(gdt + 8, 0x00af'9b00'0000'ffff);
    put<u64>(gdt + 16, 0x00cf'9300'0000'ffff);
    for (u64 n = 0; n < 32; ++n) {
      const u64 at = traps + n * 16;
      put<u64>(idt + n * 16, (at & 0xffff) | 8u << 16 | 0x8e00ull << 32 | (at >> 16) << 48);
      put<u8>(at, 0xf4);
    }
  }

  void enter_long_mode(engine::VcpuState& s) {
    s.cr0 = x86::cr0::pe | x86::cr0::pg | x86::cr0::ne | x86::cr0::mp | x86::cr0::et;
    s.cr3 = 0x1000;
    s.cr4 = x86::cr4::pae | x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::osxsave;
    s.efer = x86::efer::lme | x86::efer::lma;
    s.xcr0 = vm->model->xcr0_supported();
    using x86::Segment;
    for (auto& seg : s.seg)
      seg = {0x10, 3u | Segment::s | Segment::present | Segment::big | Segment::granular,
             0xffff'ffff, 0};
    s.seg[static_cast<u8>(x86::Seg::cs)] = {
        0x08, 11u | Segment::s | Segment::present | Segment::long_mode | Segment::granular,
        0xffff'ffff, 0};
    s.seg[static_cast<u8>(x86::Seg::tr)] = {0x18, 11u | Segment::present, 0x67, 0};
    s.gdtr = {gdt, 0x17};
    s.idtr = {idt, 32 * 16 - 1};
    s.gpr[static_cast<u8>(x86::Gpr::rsp)] = 0x9f000;
    s.dr7 = x86::dr::dr7_reset;
  }
};

}  // namespace bhyve::soft
