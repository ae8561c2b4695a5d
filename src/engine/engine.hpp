#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"
#include "bhyve/abi/exit_code.hpp"
#include "engine/client.hpp"
#include "engine/exit.hpp"
#include "engine/vcpu_state.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::engine {

/// One virtual CPU as an engine offers it (bhyve's vmm_ops).
class EngineVcpu {
 public:
  virtual ~EngineVcpu() = default;

  /// Enters the guest until something needs the caller. `exit` carries the caller's answer to the
  /// previous exit in, and the reason out. Only the vCPU's own thread. An answered instruction is
  /// completed before Client::pending() is looked at; when pending() then says `leave`, run()
  /// returns `bogus`. A kick() that comes before run() is remembered. HLT returns `hlt` with rip
  /// behind it and `halted` set; run() on a halted vCPU with nothing deliverable returns `hlt` again.
  virtual void run(Exit& exit) = 0;
  /// vcpu_notify_event() for a RUNNING vCPU: it will call Client::pending() soon. Any thread,
  /// async-signal-safe, never blocks.
  virtual void kick() noexcept = 0;

  /// The newest generation of the pmap of which run() uses no older translation. Any thread; an
  /// engine that keeps none of its own has passed them all.
  [[nodiscard]] virtual u64 generation_seen() const noexcept { return ~u64{0}; }

  /// Copies groups of state out of / into the vCPU. Only while it is not in run(); but store(msrs)
  /// also from a Client member on the vCPU's own thread (TSC deadline needs the TSC offset).
  virtual void store(StateGroups groups, VcpuState& out) = 0;
  virtual void load(StateGroups groups, const VcpuState& in) = 0;

  /// Makes an exception pending; delivered at the next entry (bhyve: vm_inject_exception).
  virtual void inject_exception(x86::Vector vector, bool has_error, u32 error) = 0;

  /// Capabilities (facts sheet 4.1). False when the engine does not have it.
  virtual bool set_capability(abi::Capability capability, bool on) = 0;
  virtual bool get_capability(abi::Capability capability, bool& on) = 0;

  /// Engine counters, by their description text. Any thread; values are relaxed snapshots.
  using StatSink = std::function<void(std::string_view text, u64 value)>;
  virtual void statistics(const StatSink& sink) const = 0;
};

/// What the guest is told about its processors.
struct CpuConfig final {
  std::string model = "max";         ///< max, x86-64-v1 .. x86-64-v4
  std::string features;              ///< "+name,-name"
  std::string hypervisor = "bhyve";  ///< bhyve, kvm, none: leaves at 40000000h
  u32 sockets = 1, cores = 1, threads = 1;
  u64 tsc_hz = 0;                    ///< frequency told by CPUID 15h/16h
  u64 apic_timer_hz = 0;             ///< crystal clock; whole MHz
  std::string executor = "translate";  ///< interp, translate, check: how the soft engine executes
  std::string speculation = "fast";    ///< fast, safe: translated code masks what a failed check would reach
  std::string direct = "off";          ///< on, off, always: user code runs in processes of its own
  u32 translate_after = 12;          ///< executions that make a block hot
  u64 code_cache = 64 * MiB;         ///< bytes of translated code of all vCPUs together
  bool perf_map = false;             ///< tell perf(1) the names of translated code
  std::string trace;                 ///< file for what is executed; only with executor == "interp"
};

/// A CPU engine bound to one VM.
class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// The vCPU starts in power-up state. `client` and the Vmspace outlive it.
  [[nodiscard]] virtual Result<std::unique_ptr<EngineVcpu>> create_vcpu(VcpuId id,
                                                                         Client& client) = 0;
  /// A process of the engine's that the threads of vCPUs attach to (ptrace), or 0.
  [[nodiscard]] virtual int traced_process() const noexcept { return 0; }
};

}  // namespace bhyve::engine
