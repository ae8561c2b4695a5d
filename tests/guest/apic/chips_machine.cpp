#include "chips_machine.hpp"

#include <stdexcept>

#include <fmt/format.h>

#include "engine/soft/soft_engine.hpp"
#include "loader/long_mode.hpp"
#include "platform/mptable.hpp"

namespace bhyve::test {
namespace {

using abi::ExitCode;
using engine::StateGroups;
using x86::Seg;

constexpr u64 memory_size = 64 * MiB, load_address = 0x10'0000, stack = 0x8'0000;
constexpr u64 apic_timer_hz = 25'000'000;

/// The ports of the guest runtime.
constexpr u16 port_print = 0xe9, port_event = 0xf0, port_end = 0xf4, port_this_cpu = 0xf5,
              port_cpu_count = 0xf6, port_spindowns = 0xf7, port_local_irq = 0xf8,
              port_capability = 0xf9, port_ipi_exits = 0xfa, port_ipi_exit = 0xfb;

template <class T>
T or_throw(Result<T> r, const char* what) {
  if (!r) throw std::runtime_error(fmt::format("{}: {}", what, r.error().message));
  return std::move(*r);
}

void enter_long_mode(vmm::Vcpu& vcpu) {
  const loader::EntryState entry = loader::make_long_mode_state();
  engine::VcpuState state;
  const auto groups = StateGroups::gprs | StateGroups::control | StateGroups::segments;
  vcpu.store(groups, state);
  state.rip = load_address;
  state.gpr[static_cast<usize>(x86::Gpr::rsp)] = stack;
  state.rflags = entry.rflags;
  state.cr0 = entry.cr0;
  state.cr3 = entry.cr3;
  state.cr4 = entry.cr4;
  state.efer = entry.efer;
  state.gdtr = entry.gdt;
  state.idtr = entry.idt;
  state.seg[static_cast<usize>(Seg::cs)] = entry.cs;
  for (const Seg seg : {Seg::ds, Seg::es, Seg::ss, Seg::fs, Seg::gs})
    state.seg[static_cast<usize>(seg)] = entry.ds;
  state.seg[static_cast<usize>(Seg::ldtr)] = entry.ldtr;
  state.seg[static_cast<usize>(Seg::tr)] = entry.tr;
  vcpu.load(groups, state);
}

}  // namespace

ChipsMachine::ChipsMachine(const Options& options) : threads_(options.vcpus) {
  auto space = or_throw(mem::Vmspace::create({.lowmem = memory_size}), "memory");
  vmm::VmConfig config;
  config.vcpus = options.vcpus;
  config.start_in_x2apic = options.x2apic;
  config.lapic_timer_hz = apic_timer_hz;
  config.tsc_hz = timer::TscClock::measure().hz;
  config.lowmem = memory_size;
  engine::CpuConfig cpu;
  cpu.sockets = options.vcpus;
  cpu.tsc_hz = config.tsc_hz;
  cpu.apic_timer_hz = apic_timer_hz;
  vm_ = or_throw(vmm::Vm::create(config, std::move(space),
                                 [&](mem::Vmspace& memory) {
                                   return soft::make_soft_engine(memory, cpu, options.vcpus);
                                 }),
                 "vm");
  if (!options.mptable) return;
  platform::MpTableConfig table;
  for (u32 id = 0; id < options.vcpus; ++id) table.apic_ids.push_back(id);
  const auto blob = or_throw(platform::make_mptable(table), "MP table");
  if (!vm_->space().write(blob.address, blob.bytes)) throw std::runtime_error("MP table");
}

ChipsMachine::~ChipsMachine() {
  if (!closing_) finish(0);
}

void ChipsMachine::load(std::span<const u8> image) {
  mem::Vmspace& space = vm_->space();
  const auto map = loader::make_identity_map(4 * GiB);
  const auto gdt = loader::make_flat_gdt();
  if (!space.write(Gpa(load_address), image) || !space.write(loader::low_area::page_tables, map) ||
      !space.write(loader::low_area::gdt, gdt))
    throw std::runtime_error("the image does not fit into memory");
  enter_long_mode(vm_->vcpu(0));
}

void ChipsMachine::start() {
  vm_->start();
  start_thread(0);
}

void ChipsMachine::start_thread(VcpuId id) {
  const std::lock_guard lock(mutex_);
  if (closing_) return;
  if (threads_[id].joinable()) old_threads_.push_back(std::move(threads_[id]));
  threads_[id] = std::thread([this, id] { vcpu_thread(id); });
}

void ChipsMachine::vcpu_thread(VcpuId id) {
  engine::Exit exit;
  vmm::Vcpu& vcpu = vm_->vcpu(id);
  do vcpu.run(exit);
  while (handle(vcpu, exit));
}

bool ChipsMachine::handle(vmm::Vcpu& vcpu, engine::Exit& exit) {
  switch (exit.code) {
    case ExitCode::inout:
      inout(vcpu, exit.inout);
      return true;
    case ExitCode::inst_emul:
      exit.mmio.data = ~u64{0};
      return true;
    case ExitCode::rdmsr:
    case ExitCode::wrmsr:
      exit.msr.fault = true;
      return true;
    case ExitCode::spinup_ap:
      ++spinups_;
      start_thread(exit.spinup_ap.vcpu);
      return true;
    case ExitCode::ipi:
      ipi(vcpu, exit);
      return true;
    case ExitCode::spindown_cpu:
      ++spindowns_;
      return false;
    case ExitCode::suspended:
      end({Outcome::Kind::suspended, 0, exit.suspend, fmt::format("rip {:#x}", exit.rip)});
      return false;
    default:
      end({Outcome::Kind::error, 0, {}, fmt::format("exit {} at rip {:#x}",
                                                    static_cast<u32>(exit.code), exit.rip)});
      return false;
  }
}

/// Does what the vmm would have done, and keeps what the exit told.
void ChipsMachine::ipi(vmm::Vcpu& vcpu, const engine::Exit& exit) {
  constexpr u32 startup = 0x600;
  u32 told = exit.ipi.mode | u32{exit.ipi.vector} << 16;
  for (const VcpuId target : vcpu.ipi_targets()) {
    told |= 1u << (24 + target);
    if (exit.ipi.mode == startup) vm_->sipi(target, exit.ipi.vector);
    else vm_->init(target);
  }
  ipi_exits_.push_back(told);
}

void ChipsMachine::inout(vmm::Vcpu& vcpu, engine::Exit::Inout& io) {
  if (io.in) {
    switch (io.port) {
      case port_this_cpu: io.eax = vcpu.id(); break;
      case port_cpu_count: io.eax = vm_->vcpu_count(); break;
      case port_spindowns: io.eax = spindowns_.load(); break;
      case port_ipi_exits: io.eax = static_cast<u32>(ipi_exits_.size()); break;
      case port_ipi_exit: io.eax = ipi_exits_.at(ipi_exit_); break;
      default: io.eax = ~u32{0}; break;
    }
    return;
  }
  if (io.port == port_print) {
    const std::lock_guard lock(mutex_);
    output_ += static_cast<char>(io.eax);
  } else if (io.port == port_end) {
    end({Outcome::Kind::ended, io.eax & 0xff, {}, {}});
  } else if (io.port == port_event && (io.eax >> 17 & 1) != 0) {
    vm_->sipi(io.eax >> 8 & 0xff, static_cast<u8>(io.eax));
  } else if (io.port == port_ipi_exits) {
    ipi_exit_ = io.eax;
  } else if (io.port == port_capability) {
    vm_->with_frozen(io.eax >> 16 & 0xff, vmm::Vcpu::FreezeAt::any, [&](vmm::Vcpu& target) {
      (void)target.set_capability(static_cast<abi::Capability>(io.eax & 0xff), io.eax >> 8 & 1);
    });
  } else if (io.port == port_local_irq) {
    // As bhyvectl --assert-lapic-lvt: the entry in the low byte, the vCPU above it, FFh for all.
    const u32 cpu = io.eax >> 8 & 0xff;
    intc::LapicBus& bus = vm_->chips().lapic_bus();
    (void)(cpu == 0xff ? bus.local_irq_all(io.eax & 0xff) : bus.local_irq(cpu, io.eax & 0xff));
  }
}

void ChipsMachine::end(const Outcome& outcome) {
  {
    const std::lock_guard lock(mutex_);
    if (!has_outcome_) outcome_ = outcome;
    has_outcome_ = true;
    ended_.notify_all();
  }
  (void)vm_->suspend(abi::SuspendHow::poweroff);
}

ChipsMachine::Outcome ChipsMachine::finish(unsigned seconds) {
  {
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, std::chrono::seconds(seconds), [this] { return has_outcome_; });
    closing_ = true;
  }
  (void)vm_->suspend(abi::SuspendHow::poweroff);
  for (std::vector<std::thread>* list : {&threads_, &old_threads_})
    for (std::thread& thread : *list)
      if (thread.joinable()) thread.join();
  vm_->pause();
  const std::lock_guard lock(mutex_);
  if (!has_outcome_ || seconds == 0) outcome_.kind = Outcome::Kind::timeout;
  return outcome_;
}

std::string ChipsMachine::output() {
  const std::lock_guard lock(mutex_);
  return output_;
}

u64 ChipsMachine::read_word(u64 gpa) {
  u64 value = 0;
  auto* bytes = reinterpret_cast<u8*>(&value);
  if (!vm_->space().read(Gpa(gpa), std::span(bytes, sizeof value)))
    throw std::runtime_error("no RAM there");
  return value;
}

}  // namespace bhyve::test
