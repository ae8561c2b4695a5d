#include "bhyve/vmmapi.h"

#include <cerrno>
#include <exception>
#include <new>
#include <utility>

#include "bhyve/vm.hpp"

struct vmctx final {
  bhyve::Control control;
};

namespace {

int answer(const bhyve::Result<void>& result) {
  if (result) return 0;
  errno = result.error().code;
  return -1;
}

/// Runs `call`; C callers see no exception.
template <class Call>
int guarded(vmctx* ctx, Call call) noexcept {
  if (ctx == nullptr) return answer(tl::make_unexpected(bhyve::Error{EINVAL, "no handle"}));
  try {
    return answer(call(ctx->control));
  } catch (const std::exception&) {
    errno = ENOMEM;
    return -1;
  }
}

bool function_of(int bus, int slot, int func, bhyve::PptFunction& out) {
  if (bus < 0 || bus > 255 || slot < 0 || slot > 31 || func < 0 || func > 7) return false;
  out = {static_cast<unsigned>(bus), static_cast<unsigned>(slot), static_cast<unsigned>(func)};
  return true;
}

int invalid() {
  errno = EINVAL;
  return -1;
}

}  // namespace

extern "C" {

vmctx* vm_open(const char* name) {
  try {
    auto control = bhyve::Control::connect(name ? name : "");
    if (control) return new vmctx{std::move(*control)};
    errno = control.error().code;
  } catch (const std::exception&) {
    errno = ENOMEM;
  }
  return nullptr;
}

void vm_close(vmctx* ctx) { delete ctx; }

int vm_lapic_msi(vmctx* ctx, uint64_t addr, uint64_t data) {
  return guarded(ctx, [&](bhyve::Control& vm) { return vm.lapic_msi(addr, data); });
}

int vm_lapic_local_irq(vmctx* ctx, int vcpu, int lvt) {
  if (vcpu < -1 || lvt < 0) return invalid();
  return guarded(ctx, [&](bhyve::Control& vm) {
    return vm.assert_lapic_lvt(vcpu, static_cast<unsigned>(lvt));
  });
}

int vm_inject_nmi(vmctx* ctx, int vcpu) {
  if (vcpu < 0) return invalid();
  return guarded(ctx,
                 [&](bhyve::Control& vm) { return vm.inject_nmi(static_cast<unsigned>(vcpu)); });
}

int vm_setup_pptdev_msi(vmctx* ctx, int vcpu, int bus, int slot, int func, uint64_t addr,
                        uint64_t msg, int numvec) {
  bhyve::PptFunction function;
  if (vcpu < 0 || numvec < 0 || !function_of(bus, slot, func, function)) return invalid();
  return guarded(ctx, [&](bhyve::Control& vm) {
    return vm.setup_pptdev_msi(function, {addr, msg}, static_cast<unsigned>(numvec));
  });
}

int vm_setup_pptdev_msix(vmctx* ctx, int vcpu, int bus, int slot, int func, int idx, uint64_t addr,
                         uint64_t msg, uint32_t vector_control) {
  bhyve::PptFunction function;
  if (vcpu < 0 || idx < 0 || !function_of(bus, slot, func, function)) return invalid();
  return guarded(ctx, [&](bhyve::Control& vm) {
    return vm.setup_pptdev_msix(function, static_cast<unsigned>(idx), {addr, msg}, vector_control);
  });
}

}  // extern "C"
