// vm_create(), vm_open() and what concerns a VM as a whole.
#include <cstring>

#include "api/vmmapi_context.hpp"

using bhyve::Config;
using bhyve::Control;
using bhyve::api::answer;
using bhyve::api::guarded;
using bhyve::api::invalid;
using bhyve::api::SharedVm;

namespace {

bhyve::Result<vmctx*> open_context(const std::string& name) {
  if (auto ok = bhyve::check_vm_name(name); !ok) return tl::make_unexpected(ok.error());
  auto out = std::make_unique<vmctx>();
  out->name = name;
  out->shared = SharedVm::find(name);
  if (!out->shared || !out->shared->taken()) {
    auto control = Control::connect(name);
    if (control) out->control.emplace(std::move(*control)), out->shared.reset();
    else if (control.error().code == ESRCH) out->shared = SharedVm::of(name);
    else return tl::make_unexpected(control.error());
  }
  return out.release();
}

int fill(vmctx* ctx, cpu_set_t* cpus, std::vector<unsigned> bhyve::CpuSets::*member) {
  if (!ctx || !cpus) return invalid();
  return guarded(-1, [&] {
    const auto sets = ctx->with_control([](Control& c) { return c.cpu_sets(); });
    if (!sets) return answer(tl::make_unexpected(sets.error()));
    CPU_ZERO(cpus);
    for (const unsigned cpu : (*sets).*member) CPU_SET(cpu, cpus);
    return 0;
  });
}

}  // namespace

extern "C" {

int vm_create(const char* name) {
  return guarded(-1, [&] {
    Config config;
    config.set("name", name ? name : "");
    return answer(bhyve::create_vm(config));
  });
}

vmctx* vm_open(const char* name) {
  return guarded<vmctx*>(nullptr, [&]() -> vmctx* {
    auto opened = open_context(name ? name : "");
    if (opened) return *opened;
    errno = opened.error().code;
    return nullptr;
  });
}

vmctx* vm_openf(const char* name, int flags) {
  if (flags & ~(VMMAPI_OPEN_CREATE | VMMAPI_OPEN_REINIT)) {
    errno = EINVAL;
    return nullptr;
  }
  bool created = false;
  if (flags & VMMAPI_OPEN_CREATE) {
    created = vm_create(name) == 0;
    if (!created && errno != EEXIST) return nullptr;
  }
  vmctx* const ctx = vm_open(name);
  if (ctx && !created && (flags & VMMAPI_OPEN_REINIT) && vm_reinit(ctx) != 0) {
    const int code = errno;
    vm_close(ctx);
    errno = code;
    return nullptr;
  }
  return ctx;
}

void vm_close(vmctx* ctx) { delete ctx; }

void vm_destroy(vmctx* ctx) {
  if (!ctx) return;
  (void)guarded(-1, [&] {
    {
      const std::lock_guard lock(ctx->mutex);
      ctx->control.reset();
    }
    return answer(ctx->shared ? ctx->shared->destroy() : bhyve::destroy_vm(ctx->name));
  });
  delete ctx;
}

int vm_reinit(vmctx* ctx) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    auto own = ctx->own();
    return own ? answer((*own)->reinit()) : answer(tl::make_unexpected(own.error()));
  });
}

int vm_suspend(vmctx* ctx, vm_suspend_how how) {
  if (!ctx || how <= VM_SUSPEND_NONE || how >= VM_SUSPEND_LAST) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) {
      return c.suspend(static_cast<bhyve::abi::SuspendHow>(how));
    }));
  });
}

const char* vm_get_name(vmctx* ctx) { return ctx ? ctx->name.c_str() : nullptr; }

int vm_limit_rights(vmctx* ctx) { return ctx ? 0 : invalid(); }

int vm_set_topology(vmctx* ctx, uint16_t sockets, uint16_t cores, uint16_t threads,
                    uint16_t maxcpus) {
  if (!ctx || maxcpus != 0 || !sockets || !cores || !threads) return invalid();
  return guarded(-1, [&] {
    if (!ctx->shared) return answer(tl::make_unexpected(bhyve::Error{EBUSY, "it runs"}));
    Config changes;
    changes.set("cpus", std::to_string(unsigned{sockets} * cores * threads));
    changes.set("sockets", std::to_string(sockets));
    changes.set("cores", std::to_string(cores));
    changes.set("threads", std::to_string(threads));
    return answer(ctx->shared->configure(changes));
  });
}

int vm_get_topology(vmctx* ctx, uint16_t* sockets, uint16_t* cores, uint16_t* threads,
                    uint16_t* maxcpus) {
  if (!ctx || !sockets || !cores || !threads || !maxcpus) return invalid();
  return guarded(-1, [&] {
    const auto sets = ctx->with_control([](Control& c) { return c.cpu_sets(); });
    if (!sets) return answer(tl::make_unexpected(sets.error()));
    *sockets = static_cast<uint16_t>(sets->sockets);
    *cores = static_cast<uint16_t>(sets->cores);
    *threads = static_cast<uint16_t>(sets->threads);
    *maxcpus = static_cast<uint16_t>(sets->maxcpus);
    return 0;
  });
}

int vm_suspend_all_cpus(vmctx* ctx) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([](Control& c) { return c.suspend_cpu(-1); }));
  });
}

int vm_resume_all_cpus(vmctx* ctx) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([](Control& c) { return c.resume_cpu(-1); }));
  });
}

int vm_active_cpus(vmctx* ctx, cpu_set_t* cpus) {
  return fill(ctx, cpus, &bhyve::CpuSets::active);
}
int vm_suspended_cpus(vmctx* ctx, cpu_set_t* cpus) {
  return fill(ctx, cpus, &bhyve::CpuSets::suspended);
}
int vm_debug_cpus(vmctx* ctx, cpu_set_t* cpus) { return fill(ctx, cpus, &bhyve::CpuSets::debug); }

int vm_rtc_write(vmctx* ctx, int offset, uint8_t value) {
  if (!ctx || offset < 0) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control(
        [&](Control& c) { return c.set_rtc_nvram(static_cast<unsigned>(offset), value); }));
  });
}

int vm_rtc_read(vmctx* ctx, int offset, uint8_t* retval) {
  if (!ctx || offset < 0) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) {
      return c.rtc_nvram(static_cast<unsigned>(offset));
    }), retval);
  });
}

int vm_rtc_settime(vmctx* ctx, time_t secs) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([&](Control& c) { return c.set_rtc_time(secs); }));
  });
}

int vm_rtc_gettime(vmctx* ctx, time_t* secs) {
  if (!ctx) return invalid();
  return guarded(-1, [&] {
    return answer(ctx->with_control([](Control& c) { return c.rtc_time(); }), secs);
  });
}

const char* vm_get_stat_desc(vmctx* ctx, int index) {
  if (!ctx || index < 0) return nullptr;
  return guarded<const char*>(nullptr, [&]() -> const char* {
    const auto stats = ctx->with_control([](Control& c) { return c.statistics(0); });
    const auto at = static_cast<std::size_t>(index);
    if (!stats || at >= stats->size()) return nullptr;
    // The text stays where it is until the handle goes.
    if (ctx->stat_texts.size() != stats->size()) {
      ctx->stat_texts.clear();
      for (const auto& s : *stats) ctx->stat_texts.push_back(s.text);
    }
    return ctx->stat_texts[at].c_str();
  });
}

}  // extern "C"
