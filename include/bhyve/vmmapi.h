#ifndef BHYVE_VMMAPI_H
#define BHYVE_VMMAPI_H

/* The C interface of libvmmapi: FreeBSD's functions with the signatures of its library version 0200, so
 * that a program written for them builds with `pkg-config --cflags --libs vmmapi` and runs.
 *
 * vm_create() makes a VM that this process runs; vm_open() gives a handle on any VM of this user: one of
 * this process, one that stopped (this process takes it over), or one that another process runs, reached
 * through its control socket. What needs the vCPUs or the memory in this process (vm_run(),
 * vm_map_gpa(), vm_setup_memory(), vm_reinit() ...) fails with EBUSY on the last kind; all else works.
 *
 * Functions return 0, or -1 with errno set, unless they say otherwise. A handle may be used by several
 * threads, vm_run() by one for each vCPU.
 *
 * bhyve/own_vm.hpp and bhyve/vm.hpp have the same and more in C++.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for cpu_set_t */
#endif
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

#include "bhyve/compat/machine/vmm.h"

#define VMMAPI_VERSION 0200 /* two digits major, two digits minor */

#ifdef __cplusplus
extern "C" {
#endif

struct vmctx;
struct vcpu;
struct vm_run;

enum vm_mmap_style { VM_MMAP_NONE, VM_MMAP_ALL, VM_MMAP_SPARSE };

#define VM_MEM_F_INCORE 0x01
#define VM_MEM_F_WIRED 0x02

#define VMMAPI_OPEN_CREATE 0x01
#define VMMAPI_OPEN_REINIT 0x02

/* ---- Life ---------------------------------------------------------------------------------------- */
int vm_create(const char* name); /* EEXIST */
struct vmctx* vm_open(const char* name); /* NULL: ENOENT */
struct vmctx* vm_openf(const char* name, int flags);
/* The VM stays. With its last handle a VM of this process is written to its directory, for `bhyve NAME` or
 * a later vm_open() to go on with. */
void vm_close(struct vmctx* ctx);
void vm_destroy(struct vmctx* ctx);
int vm_reinit(struct vmctx* ctx);
int vm_suspend(struct vmctx* ctx, enum vm_suspend_how how);
const char* vm_get_name(struct vmctx* ctx);
int vm_limit_rights(struct vmctx* ctx); /* nothing to limit: 0 */
int vm_set_topology(struct vmctx* ctx, uint16_t sockets, uint16_t cores, uint16_t threads,
                    uint16_t maxcpus);
int vm_get_topology(struct vmctx* ctx, uint16_t* sockets, uint16_t* cores, uint16_t* threads,
                    uint16_t* maxcpus);

/* ---- vCPUs --------------------------------------------------------------------------------------- */
/* vCPU -1 stands for all where a call has a meaning for all (local interrupts, suspend, resume). */
struct vcpu* vm_vcpu_open(struct vmctx* ctx, int vcpuid);
void vm_vcpu_close(struct vcpu* vcpu);
int vcpu_id(struct vcpu* vcpu);
int vcpu_reset(struct vcpu* vcpu);
#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* C++: the function has the structure's name, as FreeBSD's */
#endif
int vm_run(struct vcpu* vcpu, struct vm_run* vmrun);
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif
int vm_restart_instruction(struct vcpu* vcpu);
int vm_activate_cpu(struct vcpu* vcpu);
int vm_suspend_cpu(struct vcpu* vcpu);
int vm_resume_cpu(struct vcpu* vcpu);
int vm_suspend_all_cpus(struct vmctx* ctx);
int vm_resume_all_cpus(struct vmctx* ctx);
int vm_active_cpus(struct vmctx* ctx, cpu_set_t* cpus);
int vm_suspended_cpus(struct vmctx* ctx, cpu_set_t* cpus);
int vm_debug_cpus(struct vmctx* ctx, cpu_set_t* cpus);
int vm_set_x2apic_state(struct vcpu* vcpu, enum x2apic_state state);
int vm_get_x2apic_state(struct vcpu* vcpu, enum x2apic_state* state);
int vm_capability_name2type(const char* capname); /* -1: unknown */
const char* vm_capability_type2name(int type);    /* NULL: unknown */
int vm_get_capability(struct vcpu* vcpu, enum vm_cap_type cap, int* retval);
int vm_set_capability(struct vcpu* vcpu, enum vm_cap_type cap, int val);
/* Counters, valid until the next call for that vCPU; NULL: errno. */
uint64_t* vm_get_stats(struct vcpu* vcpu, struct timeval* ret_tv, int* ret_entries);
const char* vm_get_stat_desc(struct vmctx* ctx, int index);

/* ---- Registers ----------------------------------------------------------------------------------- */
int vm_set_register(struct vcpu* vcpu, int reg, uint64_t val);
int vm_get_register(struct vcpu* vcpu, int reg, uint64_t* retval);
int vm_set_register_set(struct vcpu* vcpu, unsigned int count, const int* regnums, uint64_t* regvals);
int vm_get_register_set(struct vcpu* vcpu, unsigned int count, const int* regnums, uint64_t* regvals);
int vm_set_desc(struct vcpu* vcpu, int reg, uint64_t base, uint32_t limit, uint32_t access);
int vm_get_desc(struct vcpu* vcpu, int reg, uint64_t* base, uint32_t* limit, uint32_t* access);
int vm_get_seg_desc(struct vcpu* vcpu, int reg, struct seg_desc* seg_desc);
int vm_setup_freebsd_registers(struct vcpu* vcpu, uint64_t rip, uint64_t cr3, uint64_t gdtbase,
                               uint64_t rsp);
int vm_setup_freebsd_registers_i386(struct vcpu* vcpu, uint32_t eip, uint32_t gdtbase, uint32_t esp);
void vm_setup_freebsd_gdt(uint64_t* gdtr);

/* ---- Memory -------------------------------------------------------------------------------------- */
/* Returns 0 or an errno value. */
int vm_parse_memsize(const char* text, size_t* memsize);
int vm_setup_memory(struct vmctx* ctx, size_t len, enum vm_mmap_style style);
void vm_set_memflags(struct vmctx* ctx, int flags);
int vm_get_memflags(struct vmctx* ctx);
/* Where lowmem ends, before vm_setup_memory(); 3 GB when not set. Steps of 2 MB up to 3328 MB. */
void vm_set_lowmem_limit(struct vmctx* ctx, uint32_t limit);
uint32_t vm_get_lowmem_limit(struct vmctx* ctx);
size_t vm_get_lowmem_size(struct vmctx* ctx);
size_t vm_get_highmem_size(struct vmctx* ctx);
uint64_t vm_get_highmem_base(struct vmctx* ctx);
void* vm_map_gpa(struct vmctx* ctx, uint64_t gaddr, size_t len); /* NULL: not all memory */
uint64_t vm_rev_map_gpa(struct vmctx* ctx, void* addr);          /* -1: not guest memory */
/* Walks the guest's tables; *fault is 1 when the access would fault. The first form injects #PF then. */
int vm_gla2gpa(struct vcpu* vcpu, struct vm_guest_paging* paging, uint64_t gla, int prot,
               uint64_t* gpa, int* fault);
int vm_gla2gpa_nofault(struct vcpu* vcpu, struct vm_guest_paging* paging, uint64_t gla, int prot,
                       uint64_t* gpa, int* fault);
/* Access by linear address: the pieces of [gla, gla + len). */
int vm_copy_setup(struct vcpu* vcpu, struct vm_guest_paging* pg, uint64_t gla, size_t len, int prot,
                  struct iovec* iov, int iovcnt, int* fault);
void vm_copyin(struct iovec* guest_iov, void* host_dst, size_t len);
void vm_copyout(const void* host_src, struct iovec* guest_iov, size_t len);
void vm_copy_teardown(struct iovec* iov, int iovcnt);

/* ---- Interrupts ---------------------------------------------------------------------------------- */
int vm_inject_exception(struct vcpu* vcpu, int vector, int errcode_valid, uint32_t errcode,
                        int restart_instruction);
int vm_inject_nmi(struct vcpu* vcpu);
int vm_lapic_irq(struct vcpu* vcpu, int vector);
/* 0 LINT0, 1 LINT1, 2 timer, 3 error, 4 performance, 5 thermal, 6 CMCI. A masked entry does nothing. */
int vm_lapic_local_irq(struct vcpu* vcpu, int vector);
/* Address and data are those of the device and opaque to the caller. EINVAL when the address is not one
 * of the local APICs' (FEExxxxxh). */
int vm_lapic_msi(struct vmctx* ctx, uint64_t addr, uint64_t msg);
int vm_raise_msi(struct vmctx* ctx, uint64_t addr, uint64_t msg, int bus, int slot, int func);
int vm_ioapic_assert_irq(struct vmctx* ctx, int irq);
int vm_ioapic_deassert_irq(struct vmctx* ctx, int irq);
int vm_ioapic_pulse_irq(struct vmctx* ctx, int irq);
int vm_ioapic_pincount(struct vmctx* ctx, int* pincount);
int vm_isa_assert_irq(struct vmctx* ctx, int atpic_irq, int ioapic_irq);
int vm_isa_deassert_irq(struct vmctx* ctx, int atpic_irq, int ioapic_irq);
int vm_isa_pulse_irq(struct vmctx* ctx, int atpic_irq, int ioapic_irq);
int vm_isa_set_irq_trigger(struct vmctx* ctx, int atpic_irq, enum vm_intr_trigger trigger);
/* Interrupts of the host's PCI function bus/slot/func, which the VM has been given, as messages in the
 * guest: `numvec` from `msg` on (0 turns them off), or entry `idx` of the MSI-X table. ENXIO when the VM
 * does not have that function, EINVAL for arguments out of range. */
int vm_setup_pptdev_msi(struct vmctx* ctx, int bus, int slot, int func, uint64_t addr, uint64_t msg,
                        int numvec);
int vm_setup_pptdev_msix(struct vmctx* ctx, int bus, int slot, int func, int idx, uint64_t addr,
                         uint64_t msg, uint32_t vector_control);

/* ---- Clock chip ---------------------------------------------------------------------------------- */
int vm_rtc_write(struct vmctx* ctx, int offset, uint8_t value);
int vm_rtc_read(struct vmctx* ctx, int offset, uint8_t* retval);
int vm_rtc_settime(struct vmctx* ctx, time_t secs);
int vm_rtc_gettime(struct vmctx* ctx, time_t* secs);

#ifdef __cplusplus
}
#endif

#endif
