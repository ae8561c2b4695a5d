// vm_run(). FreeBSD leaves after it has moved on past the instruction; here the instruction waits for its
// answer (bhyve/vcpu_exit.hpp). A program for the former answers by registers: IN by rax, RDMSR by rax and
// rdx. This is the translation between the two.
#include "api/vmmapi_context.hpp"

using bhyve::Control;
using bhyve::VcpuExit;
using bhyve::abi::ExitCode;
using bhyve::api::answer;
using bhyve::api::guarded;
using bhyve::api::invalid;
using Run = bhyve::api::SharedVm::Run;

namespace {

/// True for INS and OUTS, whose data is memory's and not rax's: looks at the opcode behind the prefixes.
bool is_string(Control& control, unsigned cpu, const VcpuExit& exit) {
  uint8_t code[15] = {};
  const auto base = control.get_descriptor(cpu, "cs");
  if (!base || exit.inst_length == 0 || exit.inst_length > sizeof code) return false;
  for (unsigned i = 0; i < exit.inst_length; ++i) {
    const auto at = control.translate(cpu, base->base + exit.rip + i, false);
    if (!at || !control.read_memory(*at, std::span(code + i, 1))) return false;
  }
  for (unsigned i = 0; i < exit.inst_length; ++i) {
    const uint8_t byte = code[i];
    const bool prefix = byte == 0x66 || byte == 0x67 || byte == 0xf2 || byte == 0xf3 ||
                        (byte & 0xe7) == 0x26 || (byte & 0xfe) == 0x64 || (byte & 0xf0) == 0x40;
    if (!prefix) return byte >= 0x6c && byte <= 0x6f;
  }
  return false;
}

/// The program's answer to the last exit, out of registers and its record.
void take_answer(Control& control, unsigned cpu, Run& run, const vm_exit& record) {
  VcpuExit& exit = run.exit;
  const auto reg = [&](const char* name) { return control.get_register(cpu, name).value_or(0); };
  if (exit.code == ExitCode::inout && exit.inout.in) {
    const uint64_t rax = reg("rax");
    const bool by_record = run.string || (rax == run.rax && record.u.inout.eax != 0);
    exit.inout.eax = by_record ? record.u.inout.eax : static_cast<uint32_t>(rax);
  } else if (exit.code == ExitCode::rdmsr) {
    exit.msr.value = reg("rdx") << 32 | (reg("rax") & 0xffff'ffff);
  } else if (exit.code == ExitCode::inst_emul) {
    exit.mmio.data = record.u.inst_emul.data;
  }
}

bool same_access(const VcpuExit& a, const VcpuExit& b) {
  if (a.code != b.code || a.rip != b.rip) return false;
  switch (a.code) {
    case ExitCode::inout: return a.inout.port == b.inout.port && a.inout.in == b.inout.in;
    case ExitCode::rdmsr:
    case ExitCode::wrmsr: return a.msr.number == b.msr.number;
    case ExitCode::inst_emul: return a.mmio.gpa == b.mmio.gpa && a.mmio.write == b.mmio.write;
    default: return false;
  }
}

void describe(const VcpuExit& from, bool string, vm_exit& to) {
  to = {};
  to.exitcode = static_cast<vm_exitcode>(from.code);
  to.inst_length = from.inst_length;
  to.rip = from.rip;
  switch (from.code) {
    case ExitCode::inout:
      to.u.inout.bytes = from.inout.bytes & 7;
      to.u.inout.in = from.inout.in;
      to.u.inout.string = string;
      to.u.inout.port = from.inout.port;
      to.u.inout.eax = from.inout.in ? 0 : from.inout.eax;
      break;
    case ExitCode::inst_emul:
      to.u.inst_emul.gpa = from.mmio.gpa;
      to.u.inst_emul.size = from.mmio.size;
      to.u.inst_emul.write = from.mmio.write;
      to.u.inst_emul.data = from.mmio.data;
      break;
    case ExitCode::rdmsr:
    case ExitCode::wrmsr:
      to.u.msr.code = from.msr.number;
      to.u.msr.wval = from.msr.value;
      break;
    case ExitCode::paging: to.u.paging.gpa = from.paging_gpa; break;
    case ExitCode::spinup_ap:
      to.u.spinup_ap.vcpu = static_cast<int>(from.spinup_vcpu);
      to.u.spinup_ap.rip = from.spinup_rip;
      break;
    case ExitCode::suspended:
      to.u.suspended.how = static_cast<vm_suspend_how>(from.suspend);
      break;
    case ExitCode::bpt:
      // The caller goes on at rip + inst_length of the record, and the breakpoint is still to be seen to.
      to.inst_length = 0;
      to.u.bpt.inst_length = from.inst_length;
      break;
    case ExitCode::db: to.u.dbg.trace_trap = 1; break;
    case ExitCode::ipi:
      to.u.ipi.mode = from.ipi.mode;
      to.u.ipi.vector = from.ipi.vector;
      break;
    default: break;
  }
}

/// The targets of an IPI exit, as far as the program's set goes.
void fill_set(const VcpuExit& exit, struct vm_run& into) {
  if (!into.cpuset || exit.code != ExitCode::ipi) return;
  CPU_ZERO_S(into.cpusetsize, into.cpuset);
  for (const unsigned target : exit.ipi.targets) CPU_SET_S(target, into.cpusetsize, into.cpuset);
}

bhyve::Result<void> run(vcpu& vcpu, struct vm_run& vmrun) {
  vm_exit& record = *vmrun.vm_exit;
  auto own = vcpu.ctx->own();
  if (!own) return tl::make_unexpected(own.error());
  const auto cpu = static_cast<unsigned>(vcpu.id);
  if (cpu >= (*own)->cpus()) return tl::make_unexpected(bhyve::Error{EINVAL, "no such vCPU"});
  Run& state = vcpu.ctx->shared->run_of(cpu);
  Control control = (*own)->control();
  const VcpuExit before = state.exit;
  const bool moved = control.get_register(cpu, "rip").value_or(0) != before.rip;
  const bool again = state.reloaded && !state.restart && !moved;
  take_answer(control, cpu, state, record);
  const VcpuExit answered = state.exit;
  state.reloaded = state.restart = false;
  auto done = (*own)->run(cpu, state.exit);
  // Registers were written in between: the instruction came again, and its answer is there already.
  if (done && again && same_access(state.exit, before)) {
    state.exit.inout.eax = answered.inout.in ? answered.inout.eax : state.exit.inout.eax;
    if (before.code == ExitCode::rdmsr) state.exit.msr.value = answered.msr.value;
    if (!before.mmio.write) state.exit.mmio.data = answered.mmio.data;
    done = (*own)->run(cpu, state.exit);
  }
  if (!done) return done;
  state.string = state.exit.code == ExitCode::inout && is_string(control, cpu, state.exit);
  state.rax = control.get_register(cpu, "rax").value_or(0);
  describe(state.exit, state.string, record);
  fill_set(state.exit, vmrun);
  return {};
}

}  // namespace

extern "C" {

int vm_run(vcpu* vcpu, struct vm_run* vmrun) {
  if (!vcpu || vcpu->id < 0 || !vmrun || !vmrun->vm_exit) return invalid();
  vmrun->cpuid = vcpu->id;
  return guarded(-1, [&] { return answer(run(*vcpu, *vmrun)); });
}

int vm_restart_instruction(vcpu* vcpu) {
  if (!vcpu || vcpu->id < 0) return invalid();
  return guarded(-1, [&] {
    // Loading a register makes the engine forget that it waits for an answer.
    auto done = vcpu->with([](Control& c, unsigned cpu) -> bhyve::Result<void> {
      const auto rip = c.get_register(cpu, "rip");
      if (!rip) return tl::make_unexpected(rip.error());
      return c.set_register(cpu, "rip", *rip);
    });
    if (done && vcpu->ctx->shared) vcpu->ctx->shared->note_reload(vcpu->id, true);
    return answer(done);
  });
}

}  // extern "C"
