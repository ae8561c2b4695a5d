// State in and out, and the EngineVcpu and Engine around Cpu.
#include "base/log.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/direct/direct_executor.hpp"
#include "engine/soft/replay/host_traps.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/soft_engine.hpp"
#include "engine/soft/translate/executor_check.hpp"

namespace bhyve::soft {

using engine::StateGroups;
using engine::VcpuState;

namespace {

template <class F>
void copy_groups(StateGroups groups, const VcpuState& in, VcpuState& out, F&& wanted) {
  auto want = [&](StateGroups g) { return wanted(groups, g); };
  if (want(StateGroups::control)) {
    out.cr0 = in.cr0, out.cr2 = in.cr2, out.cr3 = in.cr3, out.cr4 = in.cr4;
    out.efer = in.efer, out.xcr0 = in.xcr0;
  }
  if (want(StateGroups::segments)) {
    out.seg = in.seg;
    out.gdtr = in.gdtr, out.idtr = in.idtr;
  }
  if (want(StateGroups::debug)) {
    out.dr = in.dr;
    out.dr6 = in.dr6, out.dr7 = in.dr7;
  }
  if (want(StateGroups::msrs)) {
    out.fs_kernel_gs_base = in.fs_kernel_gs_base;
    out.star = in.star, out.lstar = in.lstar, out.cstar = in.cstar, out.sfmask = in.sfmask;
    out.sysenter_cs = in.sysenter_cs, out.sysenter_esp = in.sysenter_esp;
    out.sysenter_eip = in.sysenter_eip;
    out.tsc_aux = in.tsc_aux, out.pat = in.pat, out.misc_enable = in.misc_enable;
    out.tsc_offset = in.tsc_offset, out.tsc_adjust = in.tsc_adjust;
    out.mtrr_def_type = in.mtrr_def_type;
    out.mtrr_fixed = in.mtrr_fixed, out.mtrr_variable = in.mtrr_variable;
    out.xss = in.xss;
    out.mc_enabled = in.mc_enabled;
    out.spec_ctrl = in.spec_ctrl;
  }
  if (want(StateGroups::events)) {
    out.interrupt_shadow = in.interrupt_shadow;
    out.nmi_blocked = in.nmi_blocked;
    out.halted = in.halted;
  }
}

bool contains(StateGroups set, StateGroups g) { return has(set, g); }

}  // namespace

void Cpu::store_state(StateGroups groups, VcpuState& out) {
  fpu.park();
  if (&out != &s) copy_groups(groups, s, out, contains);
  if (has(groups, StateGroups::fpu)) fpu.export_to(out.xsave);
  if (has(groups, StateGroups::gprs)) {
    for (unsigned n = 0; n < x86::gpr_count; ++n) out.gpr[n] = gpr[n];
    out.rip = rip;
    out.rflags = rflags();
  }
}

void Cpu::load_state(StateGroups groups, const VcpuState& in) {
  fpu.park();
  if (&in != &s) copy_groups(groups, in, s, contains);
  if (has(groups, StateGroups::fpu)) fpu.import_from(in.xsave);
  if (has(groups, StateGroups::gprs)) {
    for (unsigned n = 0; n < x86::gpr_count; ++n) gpr[n] = in.gpr[n];
    rip = in.rip;
    flags = 0;
    sysflags = 0;
    set_rflags(in.rflags);
  }
  if (has(groups, StateGroups::segments) || has(groups, StateGroups::gprs)) {
    const auto& cs = s.seg[static_cast<u8>(x86::Seg::cs)];
    const auto& ss = s.seg[static_cast<u8>(x86::Seg::ss)];
    cpl_ = v86_mode() ? 3
           : protected_mode()
               ? static_cast<unsigned>(x86::Segment::Dpl::get(
                     ss.access & x86::Segment::unusable ? cs.access : ss.access))
               : 0;
  }
  if (has(groups, StateGroups::control)) pdptes_stale_ = true;
  pending_debug_ = data_hits_ = 0;
  debug_shadow_ = false;
  forget_answers();
  awaiting_answer_ = resume_single_ = false;
  flush_tlb(false);
  update_mode();
}

namespace {

class SoftVcpu final : public engine::EngineVcpu {
 public:
  SoftVcpu(VcpuId id, SoftVm& vm, engine::Client& client)
      : id_(id), vm_(vm), cpu_(std::make_unique<Cpu>(id, vm, client)) {
    vm_.add(id, *cpu_);
  }
  ~SoftVcpu() override { vm_.remove(id_); }

  void run(engine::Exit& exit) override {
    prepare_signal_stack();
    cpu_->run(exit);
  }
  u64 generation_seen() const noexcept override { return cpu_->generation_seen(); }
  void kick() noexcept override { cpu_->request_check(); }
  void store(StateGroups groups, VcpuState& out) override { cpu_->store_state(groups, out); }
  void load(StateGroups groups, const VcpuState& in) override { cpu_->load_state(groups, in); }
  void inject_exception(x86::Vector vector, bool has_error, u32 error) override {
    cpu_->injected = true;
    cpu_->injected_fault = {vector, has_error, error};
    cpu_->request_check();
  }
  bool set_capability(abi::Capability capability, bool on) override {
    Cpu::StepExits exits = cpu_->step_exits();
    bool* const step = step_flag(exits, capability);
    if (step) {
      *step = on;
      cpu_->set_step_exits(exits);
      return true;
    }
    bool* flag = capability_flag(capability);
    if (flag) *flag = on;
    return flag != nullptr;
  }
  bool get_capability(abi::Capability capability, bool& on) override {
    Cpu::StepExits exits = cpu_->step_exits();
    const bool* flag = step_flag(exits, capability);
    if (!flag) flag = capability_flag(capability);
    if (flag) on = *flag;
    return flag != nullptr;
  }
  void statistics(const StatSink& sink) const override;

 private:
  static bool* step_flag(Cpu::StepExits& exits, abi::Capability capability) {
    if (capability == abi::Capability::mtrap_exit) return &exits.mtrap;
    return capability == abi::Capability::rflags_tf ? &exits.tf : nullptr;
  }
  bool* capability_flag(abi::Capability capability) {
    switch (capability) {
      case abi::Capability::enable_invpcid: return &cpu_->invpcid_enabled;
      case abi::Capability::rdtscp: return &cpu_->rdtscp_enabled;
      case abi::Capability::rdpid: return &cpu_->rdpid_enabled;
      case abi::Capability::pause_exit: return &cpu_->pause_exit;
      case abi::Capability::bpt_exit: return &cpu_->bpt_exit;
      case abi::Capability::unrestricted_guest: return &always_;
      case abi::Capability::halt_exit: return &halt_exit_;
      default: return nullptr;
    }
  }
  VcpuId id_;
  SoftVm& vm_;
  std::unique_ptr<Cpu> cpu_;
  bool always_ = true;     ///< real mode needs no help from a software CPU
  bool halt_exit_ = true;  ///< HLT always leaves the guest: there is nothing else to do with it
};

void SoftVcpu::statistics(const StatSink& sink) const {
  const Cpu::Counters& n = cpu_->counters;
  const Translator::Counters& t = cpu_->translator_counters();
  auto relaxed = [](const u64& v) { return __atomic_load_n(&v, __ATOMIC_RELAXED); };
  auto step = [&](Step s) { return relaxed(t.steps[static_cast<u8>(s)]); };
  const std::pair<std::string_view, u64> rows[] = {
      {"number of times %cr access was intercepted", relaxed(n.cr_access)},
      {"number of times rdmsr was intercepted", relaxed(n.rdmsr)},
      {"number of times wrmsr was intercepted", relaxed(n.wrmsr)},
      {"number of times cpuid was intercepted", relaxed(n.cpuid)},
      {"number of times in/out was intercepted", relaxed(n.pio)},
      {"vm exits due to nested page fault", relaxed(n.nested_faults)},
      {"vm exits for instruction emulation", relaxed(n.mmio)},
      {"vm exits due to exceptions", relaxed(n.faults)},
      {"soft: blocks executed", relaxed(n.blocks)},
      {"soft: blocks decoded", relaxed(n.blocks_decoded)},
      {"soft: blocks decoded again", relaxed(n.blocks_recalled)},
      {"soft: instructions decoded", relaxed(n.insns_decoded)},
      {"soft: jump cache misses", relaxed(n.jump_cache_misses)},
      {"soft: TLB misses", relaxed(n.tlb_misses)},
      {"soft: guest page walks", relaxed(n.page_walks)},
      {"soft: interrupts delivered", relaxed(n.interrupts)},
      {"soft: NMIs delivered", relaxed(n.nmis)},
      {"soft: stores into code", relaxed(n.code_writes)},
      {"soft: instructions replayed", relaxed(n.replays)},
      {"soft: locked accesses across cache lines", relaxed(n.bus_locks)},
      {"soft: FPU switches", relaxed(n.fpu_switches)},
      {"soft: instructions called from translated code", relaxed(n.callouts)},
      {"soft: TLB misses of translated code", relaxed(n.translated_misses)},
      {"soft: blocks translated", relaxed(t.blocks)},
      {"soft: instructions translated", relaxed(t.insns)},
      {"soft: bytes of translated code", relaxed(t.bytes)},
      {"soft: indirect jumps that missed", relaxed(t.jump_misses)},
      {"soft: exits linked", relaxed(t.links)},
      {"soft: entries into translated code", relaxed(t.entries)},
      {"soft: exits without a link taken", relaxed(t.unlinked)},
      {"soft: translations thrown away", relaxed(t.killed)},
      {"soft: translations evicted", relaxed(t.evicted)},
      {"soft: code cache resets", relaxed(t.resets)},
      {"soft: bytes of the code cache in use", relaxed(t.cache_used)},
      {"soft: nanoseconds spent translating", relaxed(t.nanoseconds)},
      {"soft: translated code left to look at events", relaxed(t.polls)},
      {"soft: translated code left by an indirect jump", relaxed(t.jumps)},
      {"soft: translated code left where it was thrown away", relaxed(t.heres)},
      {"soft: translated code left by a trap of the host", relaxed(t.traps)},
      {"soft: translated code left for a block that is not translated", step(Step::branch)},
      {"soft: translated code left with a change of mode", step(Step::stop)},
      {"soft: translated code left with a fault", step(Step::fault)},
      {"soft: translated code left for the machine", step(Step::exit)},
      {"soft: translated code left for an instruction to run alone", step(Step::single)},
      {"soft: translated code left within REP", step(Step::repeat)},
  };
  for (const auto& [text, value] : rows) sink(text, value);
  if (const DirectExecutor* direct = cpu_->direct()) {
    const DirectExecutor::Counters& d = direct->counters;
    sink("soft: entries into direct execution", relaxed(d.entries));
    sink("soft: direct execution left for a system call", relaxed(d.syscalls));
    sink("soft: direct execution left by a trap of the host", relaxed(d.traps));
    sink("soft: direct execution left to look at events", relaxed(d.kicks));
    sink("soft: direct execution left to map pages", relaxed(d.fills));
    sink("soft: direct execution given vector registers", relaxed(d.hand_overs));
    sink("soft: direct execution put off", relaxed(d.held));
    sink("soft: address spaces that began to run directly", relaxed(d.promoted));
    sink("soft: address spaces that cannot run directly", relaxed(d.refused));
  }
  if (const ExecutorCheck* check = cpu_->check()) {
    sink("soft: blocks checked", relaxed(check->blocks));
    sink("soft: segments checked", relaxed(check->segments));
    sink("soft: segments checked while a device stored", relaxed(check->raced));
  }
}

class SoftEngine final : public engine::Engine {
 public:
  SoftEngine(mem::Vmspace& space, std::unique_ptr<CpuModel> model, u32 vcpus,
             const SoftVm::Translation& how, std::unique_ptr<PerfMap> perf_map,
             std::unique_ptr<ExecutionTrace> trace, std::unique_ptr<UserNursery> nursery, bool always)
      : vm_(space, std::move(model), vcpus, how), vcpus_(vcpus) {
    vm_.nursery = std::move(nursery);
    vm_.always_direct = always;
    vm_.perf_map = std::move(perf_map);
    vm_.trace = std::move(trace);
  }
  [[nodiscard]] std::string_view name() const override { return "soft"; }
  [[nodiscard]] int traced_process() const noexcept override {
    return vm_.nursery ? vm_.nursery->pid() : 0;
  }
  [[nodiscard]] Result<std::unique_ptr<engine::EngineVcpu>> create_vcpu(
      VcpuId id, engine::Client& client) override {
    if (id >= vcpus_) return fail(EINVAL, "vcpu {} is beyond the VM's {} vCPUs", id, vcpus_);
    return std::make_unique<SoftVcpu>(id, vm_, client);
  }

 private:
  SoftVm vm_;
  u32 vcpus_;
};

}  // namespace

Result<std::unique_ptr<engine::Engine>> make_soft_engine(mem::Vmspace& space,
                                                         const engine::CpuConfig& config,
                                                         u32 vcpus) {
  auto model = CpuModel::create(config, vcpus);
  if (!model) return tl::make_unexpected(model.error());
  SoftVm::Translation how;
  how.cache_bytes = config.executor == "interp" ? 0 : config.code_cache;
  how.after = config.translate_after;
  how.mask = config.speculation == "safe";
  how.check = config.executor == "check";
  std::unique_ptr<UserNursery> nursery;
  if (config.direct != "off" && config.executor == "translate") {
    if (auto made = UserNursery::create(space.ram_fd(), vcpus))
      nursery = std::move(*made);
    else if (config.direct == "always")
      return tl::make_unexpected(made.error());
    else
      trace(Log::cpu, "user code is translated: {}", made.error().message);
  }
  std::unique_ptr<PerfMap> perf_map;
  if (config.perf_map) {
    auto made = PerfMap::create();
    if (!made) return tl::make_unexpected(made.error());
    perf_map = std::move(*made);
  }
  std::unique_ptr<ExecutionTrace> execution_trace;
  if (!config.trace.empty()) {
    auto made = ExecutionTrace::create(config.trace);
    if (!made) return tl::make_unexpected(made.error());
    execution_trace = std::move(*made);
  }
  return std::make_unique<SoftEngine>(space, std::move(*model), vcpus, how, std::move(perf_map),
                                      std::move(execution_trace), std::move(nursery),
                                      config.direct == "always");
}

}  // namespace bhyve::soft
