#ifndef BHYVE_COMPAT_MACHINE_VMM_H
#define BHYVE_COMPAT_MACHINE_VMM_H

/* The names and numbers of FreeBSD's <machine/vmm.h> that programs for libvmmapi use. Written from
 * their documentation; only what has a meaning here. */
#include <stdbool.h>
#include <stdint.h>

#define VM_MIN_NAMELEN 6
#define VM_MAX_NAMELEN 229

enum vm_suspend_how {
  VM_SUSPEND_NONE,
  VM_SUSPEND_RESET,
  VM_SUSPEND_POWEROFF,
  VM_SUSPEND_HALT,
  VM_SUSPEND_TRIPLEFAULT,
  VM_SUSPEND_LAST
};

enum vm_cap_type {
  VM_CAP_HALT_EXIT,
  VM_CAP_MTRAP_EXIT,
  VM_CAP_PAUSE_EXIT,
  VM_CAP_UNRESTRICTED_GUEST,
  VM_CAP_ENABLE_INVPCID,
  VM_CAP_BPT_EXIT,
  VM_CAP_RDPID,
  VM_CAP_RDTSCP,
  VM_CAP_IPI_EXIT,
  VM_CAP_MASK_HWINTR,
  VM_CAP_RFLAGS_TF,
  VM_CAP_MAX
};

enum vm_intr_trigger { EDGE_TRIGGER, LEVEL_TRIGGER };

enum x2apic_state { X2APIC_DISABLED, X2APIC_ENABLED, X2APIC_STATE_LAST };

enum vm_reg_name {
  VM_REG_GUEST_RAX,
  VM_REG_GUEST_RBX,
  VM_REG_GUEST_RCX,
  VM_REG_GUEST_RDX,
  VM_REG_GUEST_RSI,
  VM_REG_GUEST_RDI,
  VM_REG_GUEST_RBP,
  VM_REG_GUEST_R8,
  VM_REG_GUEST_R9,
  VM_REG_GUEST_R10,
  VM_REG_GUEST_R11,
  VM_REG_GUEST_R12,
  VM_REG_GUEST_R13,
  VM_REG_GUEST_R14,
  VM_REG_GUEST_R15,
  VM_REG_GUEST_CR0,
  VM_REG_GUEST_CR3,
  VM_REG_GUEST_CR4,
  VM_REG_GUEST_DR7,
  VM_REG_GUEST_RSP,
  VM_REG_GUEST_RIP,
  VM_REG_GUEST_RFLAGS,
  VM_REG_GUEST_ES,
  VM_REG_GUEST_CS,
  VM_REG_GUEST_SS,
  VM_REG_GUEST_DS,
  VM_REG_GUEST_FS,
  VM_REG_GUEST_GS,
  VM_REG_GUEST_LDTR,
  VM_REG_GUEST_TR,
  VM_REG_GUEST_IDTR,
  VM_REG_GUEST_GDTR,
  VM_REG_GUEST_EFER,
  VM_REG_GUEST_CR2,
  VM_REG_GUEST_PDPTE0,
  VM_REG_GUEST_PDPTE1,
  VM_REG_GUEST_PDPTE2,
  VM_REG_GUEST_PDPTE3,
  VM_REG_GUEST_INTR_SHADOW,
  VM_REG_GUEST_DR0,
  VM_REG_GUEST_DR1,
  VM_REG_GUEST_DR2,
  VM_REG_GUEST_DR3,
  VM_REG_GUEST_DR6,
  VM_REG_GUEST_ENTRY_INST_LENGTH,
  VM_REG_GUEST_FS_BASE,
  VM_REG_GUEST_GS_BASE,
  VM_REG_GUEST_KGS_BASE,
  VM_REG_GUEST_TPR,
  VM_REG_LAST
};

enum vm_exitcode {
  VM_EXITCODE_INOUT,
  VM_EXITCODE_VMX,
  VM_EXITCODE_BOGUS,
  VM_EXITCODE_RDMSR,
  VM_EXITCODE_WRMSR,
  VM_EXITCODE_HLT,
  VM_EXITCODE_MTRAP,
  VM_EXITCODE_PAUSE,
  VM_EXITCODE_PAGING,
  VM_EXITCODE_INST_EMUL,
  VM_EXITCODE_SPINUP_AP,
  VM_EXITCODE_DEPRECATED1,
  VM_EXITCODE_RENDEZVOUS,
  VM_EXITCODE_IOAPIC_EOI,
  VM_EXITCODE_SUSPENDED,
  VM_EXITCODE_INOUT_STR,
  VM_EXITCODE_TASK_SWITCH,
  VM_EXITCODE_MONITOR,
  VM_EXITCODE_MWAIT,
  VM_EXITCODE_SVM,
  VM_EXITCODE_REQIDLE,
  VM_EXITCODE_DEBUG,
  VM_EXITCODE_VMINSN,
  VM_EXITCODE_BPT,
  VM_EXITCODE_IPI,
  VM_EXITCODE_DB,
  VM_EXITCODE_MAX
};
#define VM_EXITCODE_SPINDOWN_CPU VM_EXITCODE_DEPRECATED1

enum vm_cpu_mode { CPU_MODE_REAL, CPU_MODE_PROTECTED, CPU_MODE_COMPATIBILITY, CPU_MODE_64BIT };

enum vm_paging_mode {
  PAGING_MODE_FLAT,
  PAGING_MODE_32,
  PAGING_MODE_PAE,
  PAGING_MODE_64,
  PAGING_MODE_64_LA57
};

struct vm_guest_paging {
  uint64_t cr3;
  int cpl;
  enum vm_cpu_mode cpu_mode;
  enum vm_paging_mode paging_mode;
};

struct seg_desc {
  uint64_t base;
  uint32_t limit;
  uint32_t access;
};

struct vm_inout {
  uint16_t bytes : 3;
  uint16_t in : 1;
  uint16_t string : 1;
  uint16_t rep : 1;
  uint16_t port;
  uint32_t eax;
};

/* `size`, `write` and `data` are this implementation's: it hands the access over decoded. Put what a
 * read gives into `data` before the next vm_run() with the same record. */
struct vm_exit_inst_emul {
  uint64_t gpa;
  uint64_t gla;
  uint64_t cs_base;
  int cs_d;
  struct vm_guest_paging paging;
  uint8_t size;
  uint8_t write;
  uint64_t data;
};

struct vm_exit {
  enum vm_exitcode exitcode;
  int inst_length; /* 0 means unknown */
  uint64_t rip;
  union {
    struct vm_inout inout;
    struct {
      uint64_t gpa;
      int fault_type;
    } paging;
    struct vm_exit_inst_emul inst_emul;
    struct {
      uint32_t code;
      uint64_t wval;
    } msr;
    struct {
      int vcpu;
      uint64_t rip;
    } spinup_ap;
    struct {
      int inst_length;
    } bpt;
    struct {
      int trace_trap;
      int pushf_intercept;
      int tf_shadow_val;
    } dbg;
    struct {
      uint32_t mode; /* APIC_DELMODE_INIT or APIC_DELMODE_STARTUP, for the vCPUs in vm_run's cpuset */
      uint8_t vector;
    } ipi;
    struct {
      uint64_t rflags;
      uint64_t intr_status;
    } hlt;
    struct {
      enum vm_suspend_how how;
    } suspended;
  } u;
};

#endif
