// Interrupts and exceptions.
#include <utility>

#include "api/vmmapi_context.hpp"

using bhyve::Control;
using bhyve::LineChange;
using bhyve::api::answer;
using bhyve::api::guarded;
using bhyve::api::invalid;

namespace {

bool function_of(int bus, int slot, int func, bhyve::PptFunction& out) {
  if (bus < 0 || bus > 255 || slot < 0 || slot > 31 || func < 0 || func > 7) return false;
  out = {static_cast<unsigned>(bus), static_cast<unsigned>(slot), static_cast<unsigned>(func)};
  return true;
}

int ioapic(vmctx* ctx, int irq, LineChange change) {
  if (!ctx || irq < 0) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control(
        [&](Control& c) { return c.ioapic_irq(static_cast<unsigned>(irq), change); }));
  });
}

int isa(vmctx* ctx, int atpic, int ioapic_irq, LineChange change) {
  if (!ctx || atpic < 0 || ioapic_irq < -1) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control(
        [&](Control& c) { return c.isa_irq(static_cast<unsigned>(atpic), ioapic_irq, change); }));
  });
}

/// #BP and #OF by an instruction return behind it. Its length is what the program has set last.
bhyve::Result<void> pass_trapping(vcpu& vcpu, Control& control, unsigned cpu, int vector) {
  constexpr int breakpoint = 3, overflow = 4;
  const uint64_t length = std::exchange(vcpu.entry_inst_length, 0);
  if (length == 0 || (vector != breakpoint && vector != overflow)) return {};
  const auto rip = control.get_register(cpu, "rip");
  if (!rip) return tl::make_unexpected(rip.error());
  return control.set_register(cpu, "rip", *rip + length);
}

}  // namespace

extern "C" {

int vm_inject_exception(vcpu* vcpu, int vector, int errcode_valid, uint32_t errcode,
                        int restart_instruction) {
  if (!vcpu || vector < 0) return invalid();
  return guarded(-1, [&] {
    auto done = vcpu->with([&](Control& c, unsigned cpu) -> bhyve::Result<void> {
      if (auto ok = pass_trapping(*vcpu, c, cpu, vector); !ok) return ok;
      return c.inject_exception(cpu, static_cast<unsigned>(vector),
                                errcode_valid ? std::optional(errcode) : std::nullopt);
    });
    if (done && vcpu->ctx->shared) vcpu->ctx->shared->note_reload(vcpu->id, restart_instruction != 0);
    return answer(done);
  });
}

int vm_inject_nmi(vcpu* vcpu) {
  if (!vcpu) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->with([](Control& c, unsigned cpu) { return c.inject_nmi(cpu); }));
  });
}

int vm_lapic_irq(vcpu* vcpu, int vector) {
  if (!vcpu || vector < 0) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->with([&](Control& c, unsigned cpu) {
      return c.lapic_irq(cpu, static_cast<unsigned>(vector));
    }));
  });
}

int vm_lapic_local_irq(vcpu* vcpu, int vector) {
  if (!vcpu || vector < 0) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->ctx->with_control([&](Control& c) {
      return c.assert_lapic_lvt(vcpu->id, static_cast<unsigned>(vector));
    }));
  });
}

int vm_lapic_msi(vmctx* ctx, uint64_t addr, uint64_t msg) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) { return c.lapic_msi(addr, msg); }));
  });
}

int vm_raise_msi(vmctx* ctx, uint64_t addr, uint64_t msg, int, int, int) {
  return vm_lapic_msi(ctx, addr, msg);
}

int vm_ioapic_assert_irq(vmctx* ctx, int irq) { return ioapic(ctx, irq, LineChange::assert_line); }
int vm_ioapic_deassert_irq(vmctx* ctx, int irq) {
  return ioapic(ctx, irq, LineChange::deassert_line);
}
int vm_ioapic_pulse_irq(vmctx* ctx, int irq) { return ioapic(ctx, irq, LineChange::pulse); }

int vm_ioapic_pincount(vmctx* ctx, int* pincount) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([](Control& c) { return c.ioapic_pins(); }), pincount);
  });
}

int vm_isa_assert_irq(vmctx* ctx, int atpic_irq, int ioapic_irq) {
  return isa(ctx, atpic_irq, ioapic_irq, LineChange::assert_line);
}
int vm_isa_deassert_irq(vmctx* ctx, int atpic_irq, int ioapic_irq) {
  return isa(ctx, atpic_irq, ioapic_irq, LineChange::deassert_line);
}
int vm_isa_pulse_irq(vmctx* ctx, int atpic_irq, int ioapic_irq) {
  return isa(ctx, atpic_irq, ioapic_irq, LineChange::pulse);
}

int vm_isa_set_irq_trigger(vmctx* ctx, int atpic_irq, vm_intr_trigger trigger) {
  if (!ctx || atpic_irq < 0) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) {
      return c.isa_irq_trigger(static_cast<unsigned>(atpic_irq), trigger == LEVEL_TRIGGER);
    }));
  });
}

int vm_setup_pptdev_msi(vmctx* ctx, int bus, int slot, int func, uint64_t addr, uint64_t msg,
                        int numvec) {
  bhyve::PptFunction function;
  if (!ctx || numvec < 0 || !function_of(bus, slot, func, function)) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) {
      return c.setup_pptdev_msi(function, {addr, msg}, static_cast<unsigned>(numvec));
    }));
  });
}

int vm_setup_pptdev_msix(vmctx* ctx, int bus, int slot, int func, int idx, uint64_t addr,
                         uint64_t msg, uint32_t vector_control) {
  bhyve::PptFunction function;
  if (!ctx || idx < 0 || !function_of(bus, slot, func, function)) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) {
      return c.setup_pptdev_msix(function, static_cast<unsigned>(idx), {addr, msg}, vector_control);
    }));
  });
}

}  // extern "C"
