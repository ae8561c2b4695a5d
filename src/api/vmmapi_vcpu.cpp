// vCPUs: registers, capabilities, sets.
#include <sys/time.h>

#include "api/vmmapi_context.hpp"
#include "bhyve/capabilities.hpp"

using bhyve::Control;
using bhyve::api::answer;
using bhyve::api::guarded;
using bhyve::api::invalid;

namespace {

/// By VM_REG_GUEST_*; nullptr where there is nothing behind the number.
constexpr const char* names[VM_REG_LAST] = {
    "rax", "rbx",  "rcx",  "rdx",  "rsi",   "rdi",   "rbp",     "r8",   "r9",
    "r10", "r11",  "r12",  "r13",  "r14",   "r15",   "cr0",     "cr3",  "cr4",
    "dr7", "rsp",  "rip",  "rflags", "es",  "cs",    "ss",      "ds",   "fs",
    "gs",  "ldtr", "tr",   nullptr,  nullptr, "efer", "cr2",     nullptr, nullptr,
    nullptr, nullptr, "intr-shadow", "dr0", "dr1",   "dr2",     "dr3",  "dr6",
    nullptr, "fs-base", "gs-base", "kgs-base", nullptr};

const char* register_name(int reg) { return reg >= 0 && reg < VM_REG_LAST ? names[reg] : nullptr; }

const char* descriptor_name(int reg) {
  if (reg == VM_REG_GUEST_IDTR) return "idtr";
  if (reg == VM_REG_GUEST_GDTR) return "gdtr";
  return reg >= VM_REG_GUEST_ES && reg <= VM_REG_GUEST_TR ? names[reg] : nullptr;
}

/// The program has changed the vCPU's state: an instruction that waits for an answer starts over.
void note_reload(const vcpu* vcpu) {
  if (vcpu->ctx->shared) vcpu->ctx->shared->note_reload(vcpu->id, false);
}

}  // namespace

extern "C" {

vcpu* vm_vcpu_open(vmctx* ctx, int vcpuid) {
  if (!ctx || vcpuid < -1) {
    errno = EINVAL;
    return nullptr;
  }
  return guarded<vcpu*>(nullptr, [&]() -> vcpu* { return new vcpu{ctx, vcpuid, {}}; });
}

void vm_vcpu_close(vcpu* vcpu) { delete vcpu; }

int vcpu_id(vcpu* vcpu) { return vcpu ? vcpu->id : invalid(); }

int vcpu_reset(vcpu* vcpu) {
  if (!vcpu) return invalid();
  return guarded(-1, [&] {
    note_reload(vcpu);
    return answer(vcpu->with([](Control& c, unsigned cpu) { return c.reset_vcpu(cpu); }));
  });
}

int vm_activate_cpu(vcpu* vcpu) {
  if (!vcpu || vcpu->id < 0) return invalid();
  return guarded(-1, [&] {
    auto own = vcpu->ctx->own();
    if (!own) return answer(tl::make_unexpected(own.error()));
    return answer((*own)->activate(static_cast<unsigned>(vcpu->id)));
  });
}

int vm_suspend_cpu(vcpu* vcpu) {
  if (!vcpu) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->ctx->with_control([&](Control& c) { return c.suspend_cpu(vcpu->id); }));
  });
}

int vm_resume_cpu(vcpu* vcpu) {
  if (!vcpu) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->ctx->with_control([&](Control& c) { return c.resume_cpu(vcpu->id); }));
  });
}

int vm_set_x2apic_state(vcpu* vcpu, x2apic_state state) {
  if (!vcpu || state < X2APIC_DISABLED || state >= X2APIC_STATE_LAST) return invalid();
  const auto wanted =
      state == X2APIC_ENABLED ? bhyve::ApicState::x2apic : bhyve::ApicState::xapic;
  return guarded(-1, [&] {
    return answer(vcpu->with(
        [&](Control& c, unsigned cpu) { return c.set_x2apic_state(cpu, wanted); }));
  });
}

int vm_get_x2apic_state(vcpu* vcpu, x2apic_state* state) {
  if (!vcpu || !state) return invalid();
  return guarded(-1, [&] {
    const auto now = vcpu->with([](Control& c, unsigned cpu) { return c.x2apic_state(cpu); });
    if (!now) return answer(tl::make_unexpected(now.error()));
    *state = *now == bhyve::ApicState::x2apic ? X2APIC_ENABLED : X2APIC_DISABLED;
    return 0;
  });
}

int vm_capability_name2type(const char* capname) {
  const auto found = capname ? bhyve::find_capability(capname) : std::nullopt;
  return found ? static_cast<int>(*found) : -1;
}

const char* vm_capability_type2name(int type) {
  const auto all = bhyve::capability_names();
  // The names are literals: they end with a zero.
  return type >= 0 && static_cast<std::size_t>(type) < all.size()
             ? all[static_cast<std::size_t>(type)].name.data()
             : nullptr;
}

int vm_get_capability(vcpu* vcpu, vm_cap_type cap, int* retval) {
  if (!vcpu || cap < 0 || cap >= VM_CAP_MAX) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->with([&](Control& c, unsigned cpu) {
      return c.get_capability(cpu, static_cast<bhyve::abi::Capability>(cap));
    }), retval);
  });
}

int vm_set_capability(vcpu* vcpu, vm_cap_type cap, int val) {
  if (!vcpu || cap < 0 || cap >= VM_CAP_MAX) return invalid();
  return guarded(-1, [&] {
    return answer(vcpu->with([&](Control& c, unsigned cpu) {
      return c.set_capability(cpu, static_cast<bhyve::abi::Capability>(cap), val != 0);
    }));
  });
}

uint64_t* vm_get_stats(vcpu* vcpu, timeval* ret_tv, int* ret_entries) {
  if (!vcpu) {
    errno = EINVAL;
    return nullptr;
  }
  return guarded<uint64_t*>(nullptr, [&]() -> uint64_t* {
    const auto stats = vcpu->with([](Control& c, unsigned cpu) { return c.statistics(cpu); });
    if (!stats) {
      errno = stats.error().code;
      return nullptr;
    }
    vcpu->stats.clear();
    for (const auto& s : *stats) vcpu->stats.push_back(s.value);
    if (ret_tv) ::gettimeofday(ret_tv, nullptr);
    if (ret_entries) *ret_entries = static_cast<int>(vcpu->stats.size());
    return vcpu->stats.data();
  });
}

int vm_set_register(vcpu* vcpu, int reg, uint64_t val) {
  if (vcpu && reg == VM_REG_GUEST_ENTRY_INST_LENGTH && val <= 15) {
    vcpu->entry_inst_length = val;
    return 0;
  }
  const char* const name = register_name(reg);
  if (!vcpu || !name) return invalid();
  return guarded(-1, [&] {
    note_reload(vcpu);
    return answer(vcpu->with(
        [&](Control& c, unsigned cpu) { return c.set_register(cpu, name, val); }));
  });
}

int vm_get_register(vcpu* vcpu, int reg, uint64_t* retval) {
  const char* const name = register_name(reg);
  if (!vcpu || !name) return invalid();
  return guarded(-1, [&] {
    return answer(
        vcpu->with([&](Control& c, unsigned cpu) { return c.get_register(cpu, name); }), retval);
  });
}

int vm_set_register_set(vcpu* vcpu, unsigned int count, const int* regnums, uint64_t* regvals) {
  if (count && (!regnums || !regvals)) return invalid();
  for (unsigned i = 0; i < count; ++i)
    if (vm_set_register(vcpu, regnums[i], regvals[i]) != 0) return -1;
  return 0;
}

int vm_get_register_set(vcpu* vcpu, unsigned int count, const int* regnums, uint64_t* regvals) {
  if (count && (!regnums || !regvals)) return invalid();
  for (unsigned i = 0; i < count; ++i)
    if (vm_get_register(vcpu, regnums[i], &regvals[i]) != 0) return -1;
  return 0;
}

int vm_set_desc(vcpu* vcpu, int reg, uint64_t base, uint32_t limit, uint32_t access) {
  const char* const name = descriptor_name(reg);
  if (!vcpu || !name) return invalid();
  return guarded(-1, [&] {
    note_reload(vcpu);
    return answer(vcpu->with([&](Control& c, unsigned cpu) {
      return c.set_descriptor(cpu, {name, base, limit, access, 0});
    }));
  });
}

int vm_get_desc(vcpu* vcpu, int reg, uint64_t* base, uint32_t* limit, uint32_t* access) {
  const char* const name = descriptor_name(reg);
  if (!vcpu || !name || !base || !limit || !access) return invalid();
  return guarded(-1, [&] {
    const auto d =
        vcpu->with([&](Control& c, unsigned cpu) { return c.get_descriptor(cpu, name); });
    if (!d) return answer(tl::make_unexpected(d.error()));
    *base = d->base, *limit = d->limit, *access = d->access;
    return 0;
  });
}

int vm_get_seg_desc(vcpu* vcpu, int reg, seg_desc* out) {
  return out ? vm_get_desc(vcpu, reg, &out->base, &out->limit, &out->access) : invalid();
}

}  // extern "C"
