#include "engine/soft/replay/replay.hpp"

#include <csignal>

#include "engine/soft/replay/host_traps.hpp"
#include "engine/soft/replay/parked_registers.hpp"
#include "engine/soft/replay/special.hpp"

namespace bhyve::soft {

namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;



namespace {

/// What raises #UD whatever CR0.TS says.
bool gate_exists(const Cpu& c, Gate gate) {
  const u64 cr0_bits = c.s.cr0;
  switch (gate) {
    case Gate::none:
    case Gate::x87:
    case Gate::wait: return true;
    case Gate::vex_gpr: return c.protected_mode() && !c.v86_mode();
    case Gate::mmx: return !(cr0_bits & cr0::em);
    case Gate::sse: return !(cr0_bits & cr0::em) && (c.s.cr4 & cr4::osfxsr);
    case Gate::avx:
    case Gate::avx512: {
      constexpr u64 avx = x86::xcr0::sse | x86::xcr0::avx;
      const u64 need = gate == Gate::avx ? avx : avx | x86::xcr0::avx512;
      return (c.s.cr4 & cr4::osxsave) && (c.s.xcr0 & need) == need && c.protected_mode() &&
             !c.v86_mode();
    }
  }
  return false;
}

/// What raises #NM.
bool gate_unavailable(const Cpu& c, Gate gate) {
  const u64 cr0_bits = c.s.cr0;
  switch (gate) {
    case Gate::none:
    case Gate::vex_gpr: return false;
    case Gate::x87: return cr0_bits & (cr0::em | cr0::ts);
    case Gate::wait: return (cr0_bits & (cr0::mp | cr0::ts)) == (cr0::mp | cr0::ts);
    default: return cr0_bits & cr0::ts;
  }
}

}  // namespace

bool gate_open(const Cpu& c, Gate gate) { return gate_exists(c, gate) && !gate_unavailable(c, gate); }

bool pass_gate(Cpu& c, Gate gate) {
  if (gate_open(c, gate)) [[likely]] return true;
  if (gate_exists(c, gate))
    c.raise(x86::Vector::nm);
  else
    c.ud();
  return false;
}

Step replay_trapped(Cpu& c, unsigned trap) {
  switch (trap) {
    case 0: return c.raise(x86::Vector::de);
    case 6: return c.ud();
    case 13: return c.gp0();
    case 16:
      if (c.s.cr0 & cr0::ne) return c.raise(x86::Vector::mf);
      // MS-DOS compatible: FERR# raises IRQ 13 and the instruction waits for it.
      c.leave().ferr(c.id());
      return Step::repeat;
    case 19:
      return c.s.cr4 & cr4::osxmmexcpt ? c.raise(x86::Vector::xm) : c.ud();
    case 17: return c.raise(x86::Vector::ac, 0);
    default:
      // A page fault on memory that was resolved: the host cannot back the guest's page.
      c.exit_record().paging = {};
      return c.leave_with(abi::ExitCode::paging);
  }
}

namespace {

void record_pointers(Cpu& c, const Insn& i, const ReplayPlan& plan, u64 la) {
  if (!plan.x87_pointers) return;
  c.fpu.fip = c.rip_of(i);
  c.fpu.fop = plan.fop;
  if (plan.use != MemoryUse::none) c.fpu.fdp = la;
}

const ReplayPlan& plan_of(const Insn& i) { return *reinterpret_cast<const ReplayPlan*>(i.imm); }

}  // namespace

Step run_stub(Cpu& c, const ReplayPlan& plan, void* memory) {
  if (plan.simd) c.fpu.unpark();
  ++c.counters.replays;
  const u32 trap = plan.stub(c.gpr.data(), memory);
  if (eager_park) c.fpu.park();
  if (trap) [[unlikely]] return replay_trapped(c, trap - 1);
  return Step::next;
}

Step no_stub_room(Cpu&, const Insn&) { return Step::repeat; }

Step replay(Cpu& c, const Insn& i) {
  const ReplayPlan& plan = plan_of(i);
  if (!pass_gate(c, plan.gate)) return c.failed();
  const Step st = run_stub(c, plan, nullptr);
  if (st == Step::next) record_pointers(c, i, plan, 0);
  return st;
}

namespace {

/// #AC (SDM vol. 3, table 6-7): by the operand's size, 8 for the ten bytes of the x87. Wider
/// operands have their own rules, which the host's instruction follows.
bool misaligned(const Cpu& c, u64 la, unsigned size) {
  if (c.cpl() != 3 || !(c.s.cr0 & x86::cr0::am) || !(c.sysflags & x86::rflags::ac)) return false;
  if (size == 10) size = 8;
  return size <= 8 && (size & (size - 1)) == 0 && la & (size - 1);
}

/// The x87 state as it was before a store that pops. When the access has to be done outside of
/// run(), the instruction is executed again from its start.
class X87Undo final {
 public:
  explicit X87Undo(Fpu& fpu) : fpu_(fpu) {
    ParkedRegisters registers(fpu);
    legacy_ = registers.legacy();
    components_ = fpu.xstate_bv();
    fip_ = fpu.fip, fdp_ = fpu.fdp, fop_ = fpu.fop;
  }
  void restore() {
    ParkedRegisters registers(fpu_);
    registers.legacy() = legacy_;
    fpu_.xstate_bv() = components_;
    fpu_.fip = fip_, fpu_.fdp = fdp_, fpu_.fop = fop_;
  }

 private:
  Fpu& fpu_;
  LegacyRegion legacy_;
  u64 components_, fip_, fdp_;
  u16 fop_;
};

Step replay_x87_store(Cpu& c, const Insn& i, const ReplayPlan& plan, u64 la, u8* copy) {
  X87Undo undo(c.fpu);
  if (const Step st = run_stub(c, plan, copy); st != Step::next) return st;
  record_pointers(c, i, plan, la);
  if (c.write_bytes(la, copy, plan.memory_bytes, static_cast<x86::Seg>(+i.seg))) return Step::next;
  undo.restore();
  return c.failed();
}

/// The operand is not plain memory in one page: work on a copy. The copy has the operand's own
/// alignment, so that the host finds misaligned what the guest's CPU would.
Step replay_copied(Cpu& c, const Insn& i, const ReplayPlan& plan, u64 la) {
  alignas(64) u8 buffer[192];
  u8* copy = buffer + (la & 63);
  const auto seg = static_cast<x86::Seg>(+i.seg);
  const unsigned n = plan.memory_bytes;
  if (plan.x87_waits && ParkedRegisters(c.fpu).x87_pending()) return raise_x87_error(c);
  if (plan.masking != Masking::none) return replay_masked(c, i, plan, la);
  if (la & (plan.alignment - 1u)) return c.gp0();
  if (misaligned(c, la, n)) return c.raise(x86::Vector::ac, 0);
  if (plan.use != MemoryUse::read && !c.probe_write(la, n, seg)) return c.failed();
  // An x87 store with an unmasked exception stores nothing: the copy must hold what is there.
  const bool needs_old = plan.use != MemoryUse::write || plan.gate == Gate::x87;
  if (needs_old && !c.read_bytes(la, copy, n, seg)) return c.failed();
  if (plan.gate == Gate::x87 && plan.use != MemoryUse::read)
    return replay_x87_store(c, i, plan, la, copy);
  if (const Step st = run_stub(c, plan, copy); st != Step::next) return st;
  record_pointers(c, i, plan, la);
  if (plan.use != MemoryUse::read && !c.write_bytes(la, copy, n, seg)) return c.failed();
  return Step::next;
}

/// Segmentation refuses the operand as a whole (which 64-bit code never meets). Errors of the x87 that
/// wait and alignment come first, and elements that a mask suppresses may lie beyond the limit.
Step replay_refused(Cpu& c, const Insn& i, const ReplayPlan& plan) {
  const Step refused = c.failed();
  if (plan.x87_waits && ParkedRegisters(c.fpu).x87_pending()) return raise_x87_error(c);
  const u64 la = static_cast<u32>(c.s.seg[i.seg].base + c.effective_address(i));
  if (plan.masking != Masking::none) return replay_masked(c, i, plan, la);
  return la & (plan.alignment - 1u) ? c.gp0() : refused;
}

}  // namespace

Step replay_memory(Cpu& c, const Insn& i) {
  const ReplayPlan& plan = plan_of(i);
  if (!pass_gate(c, plan.gate)) return c.failed();
  u64 la;
  if (!c.linear(i, plan.memory_bytes, plan.use != MemoryUse::read, la)) [[unlikely]]
    return replay_refused(c, i, plan);
  std::byte* host = c.direct(la, plan.memory_bytes, plan.use != MemoryUse::read);
  if (!host) return replay_copied(c, i, plan, la);
  const Step st = run_stub(c, plan, host);
  if (st == Step::next) record_pointers(c, i, plan, la);
  return st;
}

}  // namespace bhyve::soft
