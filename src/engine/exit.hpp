#pragma once
#include "base/address.hpp"
#include "base/types.hpp"
#include "bhyve/abi/exit_code.hpp"
#include "mem/prot.hpp"

namespace bhyve::engine {

/// Why run() returned (bhyve's vm_exit). Instructions that need the outside world leave *before*
/// they change any state: rip still points at them. For inout, rdmsr, wrmsr and inst_emul the caller
/// does the access, puts the result in and calls run() again with the same record: the instruction
/// is executed again, finds its answer and completes.
struct Exit final {
  abi::ExitCode code = abi::ExitCode::bogus;
  u64 rip = 0;
  u8 inst_length = 0;

  struct Inout {  ///< inout
    u16 port;
    u8 bytes;
    bool in;
    u32 eax;      ///< out: value written; in: the caller's answer
  };
  struct Mmio {   ///< inst_emul
    Gpa gpa;
    u8 size;      ///< 1, 2, 4 or 8
    bool write;
    u64 data;     ///< write: the value; read: the caller's answer
  };
  struct Msr {    ///< rdmsr, wrmsr
    u32 number;
    u64 value;
    bool fault;   ///< the caller's answer: raise #GP(0)
  };
  struct Paging { ///< paging: a nested fault that could not be resolved at once
    Gpa gpa;
    mem::Prot access = mem::Prot::none;
    bool waits = false;  ///< Vmspace::resolve() may wait for what is missing; else the host has none
  };
  struct Hlt {
    bool interrupts_enabled;
  };
  struct SpinupAp { ///< spinup_ap: `vcpu` was reset and starts in real mode at linear address `rip`
    VcpuId vcpu;
    u64 rip;
  };
  struct Ipi {      ///< ipi: INIT or SIPI as the ICR names them; Vcpu::ipi_targets() says for whom
    u32 mode;
    u8 vector;
  };
  Inout inout{};
  Mmio mmio{};
  Msr msr{};
  Paging paging{};
  Hlt hlt{};
  SpinupAp spinup_ap{};
  Ipi ipi{};
  /// suspended: why. An engine itself reports only a triple fault.
  abi::SuspendHow suspend = abi::SuspendHow::none;
};

}  // namespace bhyve::engine
