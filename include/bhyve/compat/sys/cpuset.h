#ifndef BHYVE_COMPAT_SYS_CPUSET_H
#define BHYVE_COMPAT_SYS_CPUSET_H

/* FreeBSD's <sys/cpuset.h> over the C library's sets. CPU_SET, CPU_ISSET and the like are those of
 * <sched.h>, which a C program gets with _GNU_SOURCE. */
#include <sched.h>

typedef cpu_set_t cpuset_t;

#endif
