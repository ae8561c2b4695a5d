#ifndef BHYVE_VMMAPI_H
#define BHYVE_VMMAPI_H

/* Interrupt functions of libvmmapi under FreeBSD's names, for C and C++. Each returns 0, or -1 with
 * errno set. A handle may be used by one thread at a time.
 *
 * bhyve/vm.hpp has the same and more in C++ (class Control).
 */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vmctx;

/* A handle on a running VM, or NULL: ENOENT when there is none of that name, ESRCH when it does not
 * run. */
struct vmctx* vm_open(const char* name);
void vm_close(struct vmctx* ctx);

/* Delivers a message-signalled interrupt. Address and data are those of the device and opaque to the
 * caller. EINVAL when the address is not one of the local APICs' (FEExxxxxh). */
int vm_lapic_msi(struct vmctx* ctx, uint64_t addr, uint64_t data);

/* Fires a local interrupt: 0 LINT0, 1 LINT1, 2 timer, 3 error, 4 performance, 5 thermal, 6 CMCI; of all
 * active vCPUs when `vcpu` is -1. A masked entry does nothing. EINVAL for another vCPU or entry. */
int vm_lapic_local_irq(struct vmctx* ctx, int vcpu, int lvt);

/* Pends an NMI. EINVAL for a vCPU that does not exist. */
int vm_inject_nmi(struct vmctx* ctx, int vcpu);

/* Wires the interrupts of the host's PCI function bus/slot/func, which the VM has been given, to
 * messages in the guest: `numvec` messages from `msg` on (0 turns them off), or entry `idx` of the
 * MSI-X table. ENXIO when the VM does not have that function, EINVAL for arguments out of range. */
int vm_setup_pptdev_msi(struct vmctx* ctx, int vcpu, int bus, int slot, int func, uint64_t addr,
                        uint64_t msg, int numvec);
int vm_setup_pptdev_msix(struct vmctx* ctx, int vcpu, int bus, int slot, int func, int idx,
                         uint64_t addr, uint64_t msg, uint32_t vector_control);

#ifdef __cplusplus
}
#endif

#endif
