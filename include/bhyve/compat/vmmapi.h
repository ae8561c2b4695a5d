#ifndef BHYVE_COMPAT_VMMAPI_H
#define BHYVE_COMPAT_VMMAPI_H

/* FreeBSD's <vmmapi.h> by name: the C interface of libvmmapi. */
#include <bhyve/vmmapi.h>

#endif
