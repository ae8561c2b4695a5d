// Memory, access by linear address, and the register states of FreeBSD's boot.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "api/vmmapi_context.hpp"

using bhyve::Config;
using bhyve::Control;
using bhyve::OwnVm;
using bhyve::api::answer;
using bhyve::api::guarded;
using bhyve::api::invalid;

namespace {

constexpr uint64_t page = 4096;

/// Calls `use` with this process's VM, `absent` when it is another's.
template <class Value, class Use>
Value on_own(vmctx* ctx, Value absent, Use use) {
  if (!ctx) {
    errno = EINVAL;
    return absent;
  }
  return guarded(absent, [&]() -> Value {
    auto own = ctx->own();
    if (own) return use(**own);
    errno = own.error().code;
    return absent;
  });
}

/// Translates, and reports a fault by *fault.
int translate(vcpu* vcpu, uint64_t gla, int prot, uint64_t* gpa, int* fault) {
  if (!vcpu || !gpa || !fault) return invalid();
  return guarded(-1, [&] {
    const auto at = vcpu->with([&](Control& c, unsigned cpu) {
      return c.translate(cpu, gla, (prot & PROT_WRITE) != 0);
    });
    *fault = !at && at.error().code == EFAULT;
    if (*fault) return 0;
    return answer(at, gpa);
  });
}

int set_all(vcpu* vcpu, std::initializer_list<std::pair<int, uint64_t>> registers) {
  for (const auto& [reg, value] : registers)
    if (vm_set_register(vcpu, reg, value) != 0) return -1;
  return 0;
}

int set_data_segments(vcpu* vcpu, uint32_t limit, uint32_t access, uint64_t selector) {
  for (const int reg : {VM_REG_GUEST_DS, VM_REG_GUEST_ES, VM_REG_GUEST_FS, VM_REG_GUEST_GS,
                        VM_REG_GUEST_SS}) {
    if (vm_set_desc(vcpu, reg, 0, limit, access) != 0) return -1;
    if (vm_set_register(vcpu, reg, selector) != 0) return -1;
  }
  return 0;
}

}  // namespace

extern "C" {

int vm_parse_memsize(const char* text, size_t* memsize) {
  const auto size = text && memsize ? bhyve::parse_memory_size(text) : std::nullopt;
  if (!size) return EINVAL;
  *memsize = *size;
  return 0;
}

void vm_set_lowmem_limit(vmctx* ctx, uint32_t limit) {
  if (ctx) ctx->lowmem_limit = limit;
}
uint32_t vm_get_lowmem_limit(vmctx* ctx) { return ctx ? ctx->lowmem_limit : 0; }
void vm_set_memflags(vmctx* ctx, int flags) {
  if (ctx) ctx->memflags = flags;
}
int vm_get_memflags(vmctx* ctx) { return ctx ? ctx->memflags : 0; }

int vm_setup_memory(vmctx* ctx, size_t len, vm_mmap_style style) {
  if (!ctx || style != VM_MMAP_ALL || len == 0) return invalid();
  return guarded(-1, [&] {
    if (!ctx->shared) return answer(tl::make_unexpected(bhyve::Error{EBUSY, "it runs"}));
    if (!ctx->shared->taken()) {
      Config changes;
      changes.set("memory.lowmem_limit", std::to_string(ctx->lowmem_limit));
      if (auto ok = ctx->shared->configure(changes); !ok) return answer(ok);
    }
    if (auto ok = ctx->shared->set_memory(len); !ok) return answer(ok);
    const auto own = ctx->own();
    return own ? 0 : answer(tl::make_unexpected(own.error()));
  });
}

size_t vm_get_lowmem_size(vmctx* ctx) {
  return on_own<size_t>(ctx, 0, [](OwnVm& vm) { return vm.lowmem(); });
}
size_t vm_get_highmem_size(vmctx* ctx) {
  return on_own<size_t>(ctx, 0, [](OwnVm& vm) { return vm.highmem(); });
}
uint64_t vm_get_highmem_base(vmctx*) { return uint64_t{1} << 32; }

void* vm_map_gpa(vmctx* ctx, uint64_t gaddr, size_t len) {
  return on_own<void*>(ctx, nullptr, [&](OwnVm& vm) { return vm.map(gaddr, len); });
}
uint64_t vm_rev_map_gpa(vmctx* ctx, void* addr) {
  return on_own(ctx, ~uint64_t{0}, [&](OwnVm& vm) { return vm.reverse_map(addr); });
}

int vm_gla2gpa_nofault(vcpu* vcpu, vm_guest_paging*, uint64_t gla, int prot, uint64_t* gpa,
                       int* fault) {
  return translate(vcpu, gla, prot, gpa, fault);
}

int vm_gla2gpa(vcpu* vcpu, vm_guest_paging* paging, uint64_t gla, int prot, uint64_t* gpa,
               int* fault) {
  constexpr int page_fault = 14;
  constexpr uint32_t write = 2, user = 4;
  if (translate(vcpu, gla, prot, gpa, fault) != 0) return -1;
  if (!*fault) return 0;
  const uint32_t code = (prot & PROT_WRITE ? write : 0) | (paging && paging->cpl == 3 ? user : 0);
  if (vm_set_register(vcpu, VM_REG_GUEST_CR2, gla) != 0) return -1;
  return vm_inject_exception(vcpu, page_fault, 1, code, 1);
}

int vm_copy_setup(vcpu* vcpu, vm_guest_paging* pg, uint64_t gla, size_t len, int prot, iovec* iov,
                  int iovcnt, int* fault) {
  if (!vcpu || !iov || !fault) return invalid();
  *fault = 0;
  for (int i = 0; i < iovcnt; ++i) iov[i] = {nullptr, 0};
  for (int i = 0; len > 0; ++i) {
    if (i == iovcnt) {
      errno = EFAULT;
      return -1;
    }
    uint64_t gpa = 0;
    if (vm_gla2gpa(vcpu, pg, gla, prot, &gpa, fault) != 0) return -1;
    if (*fault) return 0;
    const size_t part = std::min<size_t>(len, page - (gpa & (page - 1)));
    void* const at = vm_map_gpa(vcpu->ctx, gpa, part);
    if (!at) {
      errno = EFAULT;
      return -1;
    }
    iov[i] = {at, part};
    gla += part, len -= part;
  }
  return 0;
}

void vm_copyin(iovec* guest_iov, void* host_dst, size_t len) {
  auto* to = static_cast<char*>(host_dst);
  for (iovec* at = guest_iov; len > 0; ++at) {
    const size_t part = std::min(len, at->iov_len);
    if (part == 0) return;
    std::memcpy(to, at->iov_base, part);
    to += part, len -= part;
  }
}

void vm_copyout(const void* host_src, iovec* guest_iov, size_t len) {
  const auto* from = static_cast<const char*>(host_src);
  for (iovec* at = guest_iov; len > 0; ++at) {
    const size_t part = std::min(len, at->iov_len);
    if (part == 0) return;
    std::memcpy(at->iov_base, from, part);
    from += part, len -= part;
  }
}

void vm_copy_teardown(iovec*, int) {}

void vm_setup_freebsd_gdt(uint64_t* gdtr) {
  gdtr[0] = 0;
  gdtr[1] = 0x0020'9800'0000'0000;
  gdtr[2] = 0x0000'9000'0000'0000;
}

int vm_setup_freebsd_registers(vcpu* vcpu, uint64_t rip, uint64_t cr3, uint64_t gdtbase,
                               uint64_t rsp) {
  constexpr uint64_t cr0 = 0x8000'0021, cr4_pae = 0x20, efer = 0x500, code = 8, data = 0x10;
  constexpr uint32_t code_access = 0x209b, data_access = 0x93, tss_access = 0x8b,
                     unusable = 0x10000, gdt_limit = 3 * 8 - 1;
  if (set_all(vcpu, {{VM_REG_GUEST_CR4, cr4_pae}, {VM_REG_GUEST_CR3, cr3}, {VM_REG_GUEST_EFER, efer},
                     {VM_REG_GUEST_CR0, cr0}, {VM_REG_GUEST_RFLAGS, 2}, {VM_REG_GUEST_RIP, rip},
                     {VM_REG_GUEST_RSP, rsp}, {VM_REG_GUEST_CS, code}, {VM_REG_GUEST_TR, 0},
                     {VM_REG_GUEST_LDTR, 0}}) != 0)
    return -1;
  if (set_data_segments(vcpu, 0, data_access, data) != 0) return -1;
  if (vm_set_desc(vcpu, VM_REG_GUEST_CS, 0, 0, code_access) != 0) return -1;
  if (vm_set_desc(vcpu, VM_REG_GUEST_TR, 0, 0, tss_access) != 0) return -1;
  if (vm_set_desc(vcpu, VM_REG_GUEST_LDTR, 0, 0, unusable) != 0) return -1;
  return vm_set_desc(vcpu, VM_REG_GUEST_GDTR, gdtbase, gdt_limit, 0);
}

int vm_setup_freebsd_registers_i386(vcpu* vcpu, uint32_t eip, uint32_t gdtbase, uint32_t esp) {
  constexpr uint64_t cr0 = 0x21, code = 8, data = 0x10, tss = 0x18;
  constexpr uint32_t code_access = 0xc09b, data_access = 0xc093, tss_access = 0x8b,
                     unusable = 0x10000, flat = 0xffff'ffff, gdt_limit = 4 * 8 - 1, tss_limit = 103;
  const uint32_t tss_base = gdtbase + 0x1000;
  if (!vcpu) return invalid();
  auto* const gdt = static_cast<uint64_t*>(vm_map_gpa(vcpu->ctx, gdtbase, 4 * 8));
  void* const task = vm_map_gpa(vcpu->ctx, tss_base, tss_limit + 1);
  if (!gdt || !task) {
    errno = EFAULT;
    return -1;
  }
  std::memset(task, 0, tss_limit + 1);
  gdt[0] = 0;
  gdt[1] = 0x00cf'9a00'0000'ffff;
  gdt[2] = 0x00cf'9200'0000'ffff;
  gdt[3] = uint64_t{tss_limit} | uint64_t{tss_base & 0xff'ffff} << 16 | uint64_t{0x8b} << 40 |
           uint64_t{tss_base >> 24} << 56;
  if (set_all(vcpu, {{VM_REG_GUEST_CR0, cr0}, {VM_REG_GUEST_CR4, 0}, {VM_REG_GUEST_RFLAGS, 2},
                     {VM_REG_GUEST_RIP, eip}, {VM_REG_GUEST_RSP, esp}, {VM_REG_GUEST_CS, code},
                     {VM_REG_GUEST_TR, tss}, {VM_REG_GUEST_LDTR, 0}}) != 0)
    return -1;
  if (set_data_segments(vcpu, flat, data_access, data) != 0) return -1;
  if (vm_set_desc(vcpu, VM_REG_GUEST_CS, 0, flat, code_access) != 0) return -1;
  if (vm_set_desc(vcpu, VM_REG_GUEST_TR, tss_base, tss_limit, tss_access) != 0) return -1;
  if (vm_set_desc(vcpu, VM_REG_GUEST_LDTR, 0, 0, unusable) != 0) return -1;
  return vm_set_desc(vcpu, VM_REG_GUEST_GDTR, gdtbase, gdt_limit, 0);
}

}  // extern "C"
