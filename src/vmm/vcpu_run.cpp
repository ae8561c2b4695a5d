#include <sched.h>
#include <x86intrin.h>

#include <utility>

#include "vmm/vcpu.hpp"
#include "vmm/vm.hpp"

namespace bhyve::vmm {
namespace {

using abi::ExitCode;

// In libvmmapi.so too it is a plain access: the objects of the tools and of the library are the same.
[[gnu::tls_model("initial-exec")]] thread_local Vcpu* current_vcpu = nullptr;

/// True for exits whose instruction is completed by the next run() with the caller's answer.
bool wants_answer(ExitCode code) {
  return code == ExitCode::inout || code == ExitCode::inst_emul || code == ExitCode::rdmsr ||
         code == ExitCode::wrmsr;
}

}  // namespace

Vcpu* Vcpu::current() {
  return current_vcpu;
}

void Vcpu::run(engine::Exit& exit) {
  Vcpu* const outer = std::exchange(current_vcpu, this);
  bool answered = outstanding_.load();
  if (answered) trace_answer(exit);
  begin_run(answered);
  answered = outstanding_.exchange(false);  // a controller may have reset the vCPU meanwhile
  for (;;) {
    if (!answered && leaves_for_request(exit)) break;
    enter_guest(exit, answered);
    if (!handled_inside(exit)) break;
    // Its instruction begins anew, but not the accesses to devices that it has done.
    answered = exit.code == ExitCode::paging;
  }
  outstanding_.store(wants_answer(exit.code));
  stats_.add(Stat::userspace);
  end_run();
  current_vcpu = outer;
}

/// An access that the caller has done.
void Vcpu::trace_answer(const engine::Exit& exit) {
  if (exit.code == ExitCode::inout)
    vm_.io_trace().note(id_, false, exit.inout.in ? Dir::read : Dir::write, exit.inout.port,
                        exit.inout.bytes, exit.inout.eax);
  else if (exit.code == ExitCode::inst_emul)
    vm_.io_trace().note(id_, true, exit.mmio.write ? Dir::write : Dir::read, exit.mmio.gpa.value(),
                        exit.mmio.size, exit.mmio.data);
}

/// An answered instruction is completed even if a controller waits: FreezeAt::complete needs it.
void Vcpu::begin_run(bool answered) {
  vm_.activate(*this);
  if (freeze_requests_.load() == 0 && state_.try_change(RunState::idle, RunState::frozen)) return;
  std::unique_lock lock(freeze_mutex_);
  freeze_changed_.wait(lock, [&] {
    return (answered || freeze_requests_.load() == 0) &&
           state_.try_change(RunState::idle, RunState::frozen);
  });
}

void Vcpu::end_run() {
  state_.change(RunState::idle);
  if (freeze_requests_.load() == 0) return;
  tell_freeze_change();
}

void Vcpu::give_way() {
  stats_.add(Stat::reqidle);
  end_run();
  std::unique_lock lock(freeze_mutex_);
  freeze_changed_.wait(lock, [&] {
    return freeze_requests_.load() == 0 && state_.try_change(RunState::idle, RunState::frozen);
  });
}

bool Vcpu::must_leave() const {
  return (events_.load() & events_that_leave) != 0 ||
         freeze_requests_.load() != 0 || vm_.suspended() != abi::SuspendHow::none ||
         vm_.world_stops();
}

/// Sees to everything that keeps the vCPU from executing; true when run() must return `exit`.
bool Vcpu::leaves_for_request(engine::Exit& exit) {
  for (;;) {
    const u32 events = events_.load();
    if (const abi::SuspendHow how = vm_.suspended(); how != abi::SuspendHow::none) {
      exit.code = ExitCode::suspended;
      exit.suspend = how;
      vm_.join_suspended(*this);
      return true;
    }
    if (freeze_requests_.load() != 0) {
      give_way();
    } else if (events & event_init) {
      take_init();
    } else if (events & event_spinup) {
      if (leaves_for_spinup(exit)) return true;
    } else if (events & event_lapic) {
      events_.fetch_and(~u32{event_lapic});
      vm_.chips().init_lapic(id_);
    } else if (events & event_yield) {
      events_.fetch_and(~u32{event_yield});
      ::sched_yield();
    } else if (events & event_ipi) {
      leave_for_ipi(exit);
      return true;
    } else if (events & event_debug) {
      if (!std::exchange(debug_told_, true)) {
        exit.code = ExitCode::debug;
        return true;
      }
      sleep(Wait::resume);
    } else if (wait_sipi_.load()) {
      if (events_.fetch_and(~u32{event_sipi}) & event_sipi)
        reset_to_sipi(static_cast<u8>(sipi_vector_.load()));
      else
        sleep(Wait::sipi);
    } else if (halted_) {
      if (leaves_from_halt(exit)) return true;
    } else {
      debug_told_ = false;
      return false;
    }
  }
}

/// INIT (SDM vol. 3, 10.1): the BSP starts over at the reset vector, others wait for SIPI.
void Vcpu::take_init() {
  store(engine::StateGroups::all, *scratch_);
  scratch_->reset(true);
  load(engine::StateGroups::all, *scratch_);
  vm_.chips().init_lapic(id_);
  wait_sipi_.store(id_ != 0);
  events_.fetch_and(~u32{event_init | event_nmi | (id_ == 0 ? event_sipi : 0u)});
}

bool Vcpu::leaves_for_spinup(engine::Exit& exit) {
  Spinup next;
  if (!vm_.take_spinup(*this, next)) return false;
  Vcpu& target = vm_.vcpu(next.vcpu);
  target.request_freeze();
  target.await_frozen(FreezeAt::any);
  if (next.kind == Spinup::Kind::startup) target.reset_to_sipi(next.vector);
  target.store(engine::StateGroups::gprs | engine::StateGroups::segments, *scratch_);
  target.thaw();
  const u64 base = scratch_->seg[static_cast<usize>(x86::Seg::cs)].base;
  exit.code = ExitCode::spinup_ap;
  exit.spinup_ap = {next.vcpu, base + scratch_->rip};
  return true;
}

void Vcpu::leave_for_ipi(engine::Exit& exit) {
  const Ipi next = vm_.take_ipi(*this);
  exit.code = ExitCode::ipi;
  exit.ipi = {next.mode, next.vector};
  ipi_targets_ = next.targets;
}

void Vcpu::enter_guest(engine::Exit& exit, bool answered) {
  for (;;) {
    state_.change(RunState::running);
    if (!vm_.world_stops()) break;
    state_.change(RunState::frozen);
    stats_.add(Stat::rendezvous);
    vm_.wait_for_world();
  }
  if (!answered) exit.code = ExitCode::bogus;
  // What was posted before RUNNING could be seen had no kick.
  const Pending waiting = pending(id_);
  if (waiting.leave || waiting.nmi || waiting.interrupt) engine_->kick();
  if (const int cpu = ::sched_getcpu(); cpu != host_cpu_) {
    host_cpu_ = cpu;
    stats_.add(Stat::migrations);
  }
  const u64 start = __rdtsc();
  engine_->run(exit);
  stats_.add(Stat::runtime, __rdtsc() - start);
  state_.change(RunState::frozen);
  if (vm_.world_stops()) vm_.tell_world();
  count_exit(exit);
}

void Vcpu::count_exit(const engine::Exit& exit) {
  stats_.add(Stat::exits);
  switch (exit.code) {
    case ExitCode::hlt:
      stats_.add(Stat::hlt);
      break;
    case ExitCode::rdmsr:
      stats_.add(Stat::rdmsr);
      break;
    case ExitCode::wrmsr:
      stats_.add(Stat::wrmsr);
      break;
    case ExitCode::pause:
      stats_.add(Stat::pause);
      break;
    case ExitCode::inout:
    case ExitCode::inout_str:
      stats_.add(Stat::inout);
      break;
    case ExitCode::mtrap:
      stats_.add(Stat::mtrap);
      break;
    case ExitCode::paging:
      stats_.add(Stat::paging);
      break;
    case ExitCode::inst_emul:
      stats_.add(Stat::inst_emul);
      break;
    case ExitCode::vmx:
    case ExitCode::svm:
      stats_.add(Stat::unknown);
      break;
    default:
      break;
  }
}

/// Waits for guest memory: for the pager to make room, for the disk, for other vCPUs.
bool Vcpu::resolved(const engine::Exit::Paging& fault) {
  if (!fault.waits || !vm_.space().wait_for_room()) return false;
  return vm_.space().resolve(fault.gpa, fault.access) != mem::FaultResult::error;
}

/// The inner level of the exits: false when the machine must see it.
bool Vcpu::handled_inside(engine::Exit& exit) {
  switch (exit.code) {
    case ExitCode::bogus:
    case ExitCode::reqidle:
    case ExitCode::rendezvous:
    case ExitCode::ioapic_eoi:
      return true;
    case ExitCode::hlt:
      note_halt(exit.hlt.interrupts_enabled);
      return true;
    case ExitCode::paging:
      return resolved(exit.paging);
    case ExitCode::monitor:
    case ExitCode::mwait:
    case ExitCode::vminsn:
      engine_->inject_exception(x86::Vector::ud, false, 0);
      return true;
    case ExitCode::suspended:
      // EALREADY is fine: the first reason stays, and the loop finds it.
      static_cast<void>(vm_.suspend(
          exit.suspend == abi::SuspendHow::none ? abi::SuspendHow::triplefault : exit.suspend));
      return true;
    default:
      return false;
  }
}

}  // namespace bhyve::vmm
