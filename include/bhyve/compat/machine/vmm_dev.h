#ifndef BHYVE_COMPAT_MACHINE_VMM_DEV_H
#define BHYVE_COMPAT_MACHINE_VMM_DEV_H

/* The part of FreeBSD's <machine/vmm_dev.h> that callers of vm_run() need. There is no device node
 * behind it. */
#include <sched.h>
#include <stddef.h>

#include "bhyve/compat/machine/vmm.h"

struct vm_run {
  int cpuid;
  cpu_set_t* cpuset; /* NULL, or where VM_EXITCODE_IPI puts its targets */
  size_t cpusetsize;
  struct vm_exit* vm_exit;
};

#endif
