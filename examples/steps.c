/* In C, with FreeBSD's calls only: loads a guest, single-steps it and answers its IN from a table. */
#include <sys/types.h>
#include <sys/cpuset.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <machine/vmm.h>
#include <machine/vmm_dev.h>
#include <vmmapi.h>

/* Real mode: al = in(99h); al += 1; out(9Ah, al); hlt */
static const unsigned char guest[] = {0xe4, 0x99, 0xfe, 0xc0, 0xe6, 0x9a, 0xf4};

static void check(int result, const char *what) {
  if (result != 0) {
    perror(what);
    exit(1);
  }
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "steps";
  struct vm_exit vmexit;
  struct vm_run vmrun = {.vm_exit = &vmexit};
  struct vmctx *ctx;
  struct vcpu *vcpu;
  uint64_t rax;
  int steps = 0;

  memset(&vmexit, 0, sizeof vmexit);
  check(vm_create(name), "vm_create");
  ctx = vm_open(name);
  if (ctx == NULL) check(-1, "vm_open");
  check(vm_setup_memory(ctx, 16 << 20, VM_MMAP_ALL), "vm_setup_memory");
  memcpy(vm_map_gpa(ctx, 0x1000, sizeof guest), guest, sizeof guest);

  vcpu = vm_vcpu_open(ctx, 0);
  check(vcpu_reset(vcpu), "vcpu_reset");
  check(vm_set_desc(vcpu, VM_REG_GUEST_CS, 0, 0xffff, 0x93), "vm_set_desc");
  check(vm_set_register(vcpu, VM_REG_GUEST_CS, 0), "cs");
  check(vm_set_register(vcpu, VM_REG_GUEST_RIP, 0x1000), "rip");
  check(vm_set_capability(vcpu, VM_CAP_MTRAP_EXIT, 1), "mtrap");

  for (;;) {
    check(vm_run(vcpu, &vmrun), "vm_run");
    if (vmexit.exitcode == VM_EXITCODE_MTRAP) {
      steps++;
    } else if (vmexit.exitcode == VM_EXITCODE_INOUT && vmexit.u.inout.in) {
      check(vm_get_register(vcpu, VM_REG_GUEST_RAX, &rax), "rax");
      check(vm_set_register(vcpu, VM_REG_GUEST_RAX, (rax & ~0xffUL) | 0x41), "rax");
    } else if (vmexit.exitcode == VM_EXITCODE_INOUT) {
      printf("out port %#x: %#x\n", vmexit.u.inout.port, vmexit.u.inout.eax & 0xff);
    } else {
      break;
    }
  }
  printf("%d steps, end: %s\n", steps,
         vmexit.exitcode == VM_EXITCODE_SUSPENDED && vmexit.u.suspended.how == VM_SUSPEND_HALT
             ? "halt"
             : "other");
  vm_vcpu_close(vcpu);
  vm_destroy(ctx);
  return 0;
}
