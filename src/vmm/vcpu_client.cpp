#include "vmm/vcpu.hpp"
#include "vmm/vm.hpp"
#include "x86/msr.hpp"

/// What the engine asks while the guest executes. One engine vCPU has one client, so the ids that
/// come along are our own.
namespace bhyve::vmm {

engine::Client::Access Vcpu::mmio(VcpuId, Gpa gpa, unsigned size, u64& value, Dir dir) {
  if (!vm_.chips().mmio(id_, gpa, size, value, dir)) return Access::exit;
  vm_.io_trace().note(id_, true, dir, gpa.value(), size, value);
  return Access::done;
}

engine::Client::Access Vcpu::pio(VcpuId, u16 port, unsigned size, u32& value, Dir dir) {
  if (!vm_.chips().pio(port, size, value, dir)) return Access::exit;
  vm_.io_trace().note(id_, false, dir, port, size, value);
  return Access::done;
}

engine::Client::Access Vcpu::msr(VcpuId, u32 number, u64& value, Dir dir) {
  // The guest may have written its TSC since: the deadline is meant in the TSC of now.
  if (number == x86::msr::tsc_deadline && dir == Dir::write) refresh_tsc_offset();
  return vm_.chips().msr(id_, number, value, dir);
}

void Vcpu::tsc_written(VcpuId, u64 offset) {
  tsc_offset_.store(offset);
  vm_.chips().lapic(id_).tsc_changed(monotonic_now());
}

void Vcpu::before_clock(VcpuId) {
  vm_.callouts().run_overdue(monotonic_now());
}

u8 Vcpu::cr8(VcpuId) {
  return vm_.chips().lapic(id_).cr8();
}

void Vcpu::set_cr8(VcpuId, u8 value) {
  vm_.chips().lapic(id_).set_cr8(value);
}

engine::Client::Pending Vcpu::pending(VcpuId) {
  Pending waiting;
  waiting.nmi = (events_.load() & event_nmi) != 0;
  waiting.interrupt = interrupt_pending();
  waiting.leave = must_leave();
  return waiting;
}

void Vcpu::accept_nmi(VcpuId) {
  events_.fetch_and(~u32{event_nmi});
  halted_ = false;
  stats_.add(Stat::nmis);
}

int Vcpu::accept_interrupt(VcpuId) {
  bool extint = false;
  const int vector = vm_.chips().accept_interrupt(id_, extint);
  if (vector >= 0) halted_ = false;
  if (extint) stats_.add(Stat::extints);
  return vector;
}

bool Vcpu::x2apic_enabled(VcpuId) {
  return vm_.chips().lapic(id_).mode() == intc::Vlapic::Mode::x2apic;
}

bool Vcpu::apic_enabled(VcpuId) {
  return vm_.chips().lapic(id_).mode() != intc::Vlapic::Mode::disabled;
}

Gpa Vcpu::apic_page(VcpuId) {
  const intc::Vlapic& lapic = vm_.chips().lapic(id_);
  return lapic.mode() == intc::Vlapic::Mode::xapic ? lapic.mmio_base() : no_page;
}

void Vcpu::ferr(VcpuId) {
  vm_.chips().ferr_pin().pulse();
}

}  // namespace bhyve::vmm
