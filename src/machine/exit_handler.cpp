#include "machine/exit_handler.hpp"

#include <sched.h>

#include <memory>
#include <utility>

#include "base/log.hpp"

namespace bhyve::machine {

using abi::ExitCode;

ExitHandler::ExitHandler(vmm::Vm& vm, bus::PioMap& ports, bus::MmioMap& memory,
                         const Policy& policy, StartVcpu start)
    : vm_(vm), ports_(ports), memory_(memory), policy_(policy), start_(std::move(start)) {}

bool ExitHandler::handle(vmm::Vcpu& vcpu, engine::Exit& exit) {
  switch (exit.code) {
    case ExitCode::inout: return inout(vcpu, exit);
    case ExitCode::inst_emul: return inst_emul(vcpu, exit);
    case ExitCode::rdmsr: return rdmsr(vcpu, exit);
    case ExitCode::wrmsr: return wrmsr(vcpu, exit);
    case ExitCode::spinup_ap: return spinup_ap(vcpu, exit);
    case ExitCode::paging: return paging(vcpu, exit);
    case ExitCode::pause: return pause();
    case ExitCode::bpt: return breakpoint(vcpu, exit);
    case ExitCode::ipi: return ipi(vcpu, exit);
    case ExitCode::spindown_cpu:
    case ExitCode::suspended: return false;
    // HLT comes here with -H only, single steps with their capabilities; the rest asks for another look
    // at the vCPU.
    case ExitCode::hlt:
    case ExitCode::mtrap:
    case ExitCode::db:
    case ExitCode::debug:
    case ExitCode::reqidle:
    case ExitCode::rendezvous:
    case ExitCode::bogus: return true;
    default: return unexpected(vcpu, exit);
  }
}

bool ExitHandler::inout(vmm::Vcpu& vcpu, engine::Exit& exit) {
  auto& io = exit.inout;
  const bool known = io.in ? ports_.read(io.port, io.bytes, io.eax)
                           : ports_.write(io.port, io.bytes, io.eax);
  if (!known && policy_.strict_io) {
    stop({ENXIO, fmt::format("vCPU {}: {} of {} bytes at port {:#x}, which nobody emulates (-e)",
                             vcpu.id(), io.in ? "read" : "write", io.bytes, io.port)});
  }
  return true;
}

bool ExitHandler::inst_emul(vmm::Vcpu& vcpu, engine::Exit& exit) {
  auto& access = exit.mmio;
  if (access.write) memory_.write(access.gpa, access.size, vcpu.id(), access.data);
  else memory_.read(access.gpa, access.size, vcpu.id(), access.data);
  return true;
}

bool ExitHandler::rdmsr(vmm::Vcpu& vcpu, engine::Exit& exit) {
  trace(Log::vmm, "vcpu {}: rdmsr {:#x}", vcpu.id(), exit.msr.number);
  exit.msr.value = 0;
  exit.msr.fault = policy_.strict_msr;
  return true;
}

bool ExitHandler::wrmsr(vmm::Vcpu& vcpu, engine::Exit& exit) {
  trace(Log::vmm, "vcpu {}: wrmsr {:#x} {:#x}", vcpu.id(), exit.msr.number, exit.msr.value);
  exit.msr.fault = policy_.strict_msr;
  return true;
}

bool ExitHandler::spinup_ap(vmm::Vcpu&, engine::Exit& exit) {
  start_(exit.spinup_ap.vcpu);
  return true;
}

/// A spinning guest gives the host CPU to the vCPU it waits for (-P).
bool ExitHandler::pause() {
  ::sched_yield();
  return true;
}

/// No debugger has asked for it: the exception is the guest's after all.
bool ExitHandler::breakpoint(vmm::Vcpu& vcpu, engine::Exit& exit) {
  vm_.with_frozen(vcpu.id(), vmm::Vcpu::FreezeAt::any, [&](vmm::Vcpu& cpu) {
    const auto state = std::make_unique<engine::VcpuState>();
    cpu.store(engine::StateGroups::gprs, *state);
    state->rip += exit.inst_length;
    cpu.load(engine::StateGroups::gprs, *state);
    cpu.inject_exception(x86::Vector::bp, false, 0);
  });
  return true;
}

/// The board does what the vmm would have done without ipi_exit.
bool ExitHandler::ipi(vmm::Vcpu& vcpu, engine::Exit& exit) {
  constexpr u32 startup = 0x600;
  for (const VcpuId target : vcpu.ipi_targets()) {
    if (exit.ipi.mode == startup) vm_.sipi(target, exit.ipi.vector);
    else vm_.init(target);
  }
  return true;
}

bool ExitHandler::paging(vmm::Vcpu& vcpu, engine::Exit& exit) {
  if (const auto why = vm_.space().failure()) {
    stop({EIO, fmt::format("vCPU {}: {}", vcpu.id(), *why)});
    return true;
  }
  stop({ENOMEM, fmt::format("vCPU {}: the host has no memory for guest address {:#x}", vcpu.id(),
                            exit.paging.gpa.value())});
  return true;
}

bool ExitHandler::unexpected(vmm::Vcpu& vcpu, engine::Exit& exit) {
  stop({EIO, fmt::format("vCPU {}: unexpected exit {} at rip {:#x}", vcpu.id(),
                         static_cast<u32>(exit.code), exit.rip)});
  return true;
}

void ExitHandler::memory_lost() {
  stop({ENOMEM, "the host has no memory for a page of the guest's: its memory is lost"});
}

void ExitHandler::stop(Error error) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(error);
  }
  (void)vm_.suspend(abi::SuspendHow::poweroff);
}

std::optional<Error> ExitHandler::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace bhyve::machine
