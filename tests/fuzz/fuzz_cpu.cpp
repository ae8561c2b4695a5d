// Random bytes as guest code, for a bounded number of steps, in every mode that code can run in.
// Whatever they do, the CPU must come back: with a step, an exit or a triple fault.
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/soft/soft_engine.hpp"
#include "fuzz/fuzz.hpp"
#include "mem/vmspace.hpp"

namespace {

using namespace bhyve;

constexpr u64 memory_size = 4 * MiB;
constexpr u64 gdt = 0x6000, idt = 0x5000, code_at = 0x1'0ff0;  // near a page's end on purpose
constexpr unsigned max_steps = 96;

/// Devices that answer everything, so that no access ends the run early.
class Anything final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa gpa, unsigned, u64& value, Dir dir) override {
    if (dir == Dir::read) value = gpa.value() * 0x9e37'79b9'7f4a'7c15;
    return gpa.value() & 0x1000 ? Access::exit : Access::done;
  }
  Access pio(VcpuId, u16 port, unsigned, u32& value, Dir dir) override {
    if (dir == Dir::read) value = port * 0x0101u;
    return port & 1 ? Access::exit : Access::done;
  }
  Access msr(VcpuId, u32 number, u64& value, Dir dir) override {
    if (dir == Dir::read) value = number;
    return number & 1 ? Access::fault : number & 2 ? Access::exit : Access::done;
  }
  u8 cr8(VcpuId) override { return cr8_; }
  void set_cr8(VcpuId, u8 value) override { cr8_ = value; }
  Pending pending(VcpuId) override { return {++asked_ % 61 == 0, asked_ % 7 == 0, false}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return asked_ % 3 ? 0x40 : -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override {}

 private:
  u8 cr8_ = 0;
  unsigned asked_ = 0;
};

struct Machine final {
  Anything client;
  std::unique_ptr<mem::Vmspace> space;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<engine::EngineVcpu> vcpu;

  Machine() {
    space = std::move(mem::Vmspace::create({memory_size, 0}).value());
    engine = std::move(soft::make_soft_engine(*space, {}, 1).value());
    vcpu = std::move(engine->create_vcpu(0, client).value());
    vcpu->set_capability(abi::Capability::mtrap_exit, true);
  }
  template <class T>
  void put(u64 gpa, const T& v) {
    if (!space->write(Gpa(gpa), std::span(reinterpret_cast<const u8*>(&v), sizeof v))) std::abort();
  }
};

enum class Mode : u8 { long_kernel, long_user, compat, flat32, real, count };

x86::Segment segment(u16 selector, u32 type, unsigned dpl, u32 extra, u32 limit = 0xffff'ffff) {
  using x86::Segment;
  return {selector, type | Segment::s | Segment::present | dpl << 5 | extra, limit, 0};
}

/// Two-level-deep identity map: 2 MiB of 4 KiB pages (one missing, one read-only, one supervisor),
/// then a 2 MiB page, then a 1 GiB page that reaches into device memory.
void build_memory(Machine& m) {
  m.put<u64>(0x1000, 0x2007);
  m.put<u64>(0x2000, 0x3007);
  m.put<u64>(0x2008, 0x0000'0000 | 0x87);
  m.put<u64>(0x3000, 0x4007);
  m.put<u64>(0x3008, 0x20'0000 | 0x87);
  std::array<u64, 512> table;
  for (u64 n = 0; n < table.size(); ++n) table[n] = n << 12 | 7;
  table[0x20] = 0, table[0x21] &= ~u64{2}, table[0x22] &= ~u64{4};
  m.put(0x4000, table);
  m.put<u64>(gdt, 0);
  m.put<u64>(gdt + 0x08, 0x00af'9b00'0000'ffff);
  m.put<u64>(gdt + 0x10, 0x00cf'9300'0000'ffff);
  m.put<u64>(gdt + 0x18, 0x00cf'fb00'0000'ffff);
  m.put<u64>(gdt + 0x20, 0x00cf'f300'0000'ffff);
  m.put<u64>(gdt + 0x28, 0x00af'fb00'0000'ffff);
  m.put<u64>(gdt + 0x30, 0x00cf'9b00'0000'ffff);
  for (u64 n = 0; n < 64; ++n) {
    m.put<u64>(idt + n * 16, 0x8000 | 8u << 16 | 0xee00ull << 32);
    m.put<u64>(idt + n * 16 + 8, 0);
  }
  m.put<u32>(0x8000, 0xcf48'9090);  // nop; nop; iretq
  for (u64 n = 0; n < 0x68; n += 8) m.put<u64>(0x7000 + n, 0x9000);
}

engine::VcpuState start_state(Mode mode, const u8* seed) {
  engine::VcpuState s;
  s.reset(false);
  for (unsigned n = 0; n < 16; ++n) {
    u64 v = u64{seed[n % 8]} * 0x0101'0101 << (seed[(n + 1) % 8] & 31);
    if (seed[n % 8] & 1) v = 0x1'0000 + (v & 0x3'ffff);
    s.gpr[n] = v;
  }
  s.gpr[4] = 0x3'0000;
  s.rip = code_at;
  s.xcr0 = 7;
  s.gdtr = {gdt, 0x37};
  s.idtr = {idt, 64 * 16 - 1};
  s.seg[static_cast<u8>(x86::Seg::tr)] = {0x40, 11u | x86::Segment::present, 0x67, 0x7000};
  if (mode == Mode::real) {
    s.seg[static_cast<u8>(x86::Seg::cs)].base = 0;
    s.idtr = {0, 0x3ff};
    s.rip = code_at & 0xffff;
    return s;
  }
  using x86::Segment;
  const bool user = mode == Mode::long_user || mode == Mode::compat;
  const unsigned dpl = user ? 3 : 0;
  for (unsigned n = 0; n < 6; ++n)
    s.seg[n] = segment(user ? 0x23 : 0x10, 3, dpl, Segment::big | Segment::granular);
  const bool is64 = mode == Mode::long_kernel || mode == Mode::long_user;
  s.seg[static_cast<u8>(x86::Seg::cs)] =
      segment(static_cast<u16>(user ? (is64 ? 0x2b : 0x1b) : (is64 ? 0x08 : 0x30)), 11, dpl,
              (is64 ? Segment::long_mode : Segment::big) | Segment::granular);
  s.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne | x86::cr0::wp | x86::cr0::am;
  if (mode == Mode::flat32) return s;
  s.cr0 |= x86::cr0::pg;
  s.cr3 = 0x1000;
  s.cr4 = x86::cr4::pae | x86::cr4::osfxsr | x86::cr4::osxsave | x86::cr4::fsgsbase |
          x86::cr4::pge | x86::cr4::de;
  s.efer = x86::efer::lme | x86::efer::lma | x86::efer::sce | x86::efer::nxe;
  return s;
}

}  // namespace

std::vector<std::vector<u8>> fuzz_seeds() {
  std::vector<std::vector<u8>> seeds;
  const std::vector<std::vector<u8>> bodies = {
      {0x48, 0x89, 0x03, 0xf3, 0xa4, 0x0f, 0xa2, 0xcf},
      {0x0f, 0x01, 0xf8, 0x0f, 0x05, 0x0f, 0x07, 0xcd, 0x20, 0xe6, 0x80, 0xe4, 0x71},
      {0x62, 0xf1, 0x7c, 0x48, 0x10, 0x03, 0xc4, 0xe2, 0x7d, 0x2c, 0x01, 0x0f, 0xae, 0x23},
      {0xd9, 0xe8, 0xdd, 0x33, 0x9b, 0xdb, 0xe3, 0x0f, 0xc7, 0x0b, 0xf0, 0x48, 0x0f, 0xb1, 0x0b},
      {0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xe0, 0x0f, 0x30, 0x0f, 0x32, 0x0f, 0x01, 0x3b, 0x0f, 0x00},
      {0x8e, 0xd8, 0x9a, 0, 0, 0, 0, 8, 0, 0xea, 0, 0, 0, 0, 8, 0, 0xca, 4, 0, 0x9d, 0xcf}};
  for (u8 mode = 0; mode < static_cast<u8>(Mode::count); ++mode)
    for (const auto& body : bodies) {
      std::vector<u8> seed = {mode, 1, 0x10, 0x22, 0xff, 3, 0x41, 0x80, 7};
      seed.insert(seed.end(), body.begin(), body.end());
      seeds.push_back(seed);
    }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const u8* data, usize size) {
  static Machine machine;
  if (size < 10 || size > 300) return 0;
  const Mode mode = static_cast<Mode>(data[0] % static_cast<u8>(Mode::count));
  build_memory(machine);
  if (!machine.space->write(Gpa(code_at), std::span(data + 9, size - 9))) std::abort();
  machine.vcpu->load(engine::StateGroups::all, start_state(mode, data + 1));
  engine::Exit exit;
  for (unsigned step = 0; step < max_steps; ++step) {
    machine.vcpu->run(exit);
    switch (exit.code) {
      case abi::ExitCode::mtrap:
      case abi::ExitCode::inout:
      case abi::ExitCode::inst_emul:
      case abi::ExitCode::rdmsr:
      case abi::ExitCode::wrmsr:
      case abi::ExitCode::hlt:
      case abi::ExitCode::pause: break;
      case abi::ExitCode::suspended: return 0;
      default: std::abort();
    }
  }
  if (machine.space->holds_outstanding() != 0) std::abort();
  return 0;
}
