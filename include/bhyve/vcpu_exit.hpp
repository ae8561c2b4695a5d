#pragma once
#include <cstdint>
#include <vector>

#include "bhyve/abi/exit_code.hpp"

namespace bhyve {

/// Why a vCPU came back from the guest (struct vm_exit). The instruction of an inout, inst_emul, rdmsr or
/// wrmsr exit is not done yet: put the answer in and run the vCPU again with the same record.
struct VcpuExit final {
  abi::ExitCode code = abi::ExitCode::bogus;
  std::uint64_t rip = 0;
  std::uint8_t inst_length = 0;  ///< 0: not known

  struct Inout {
    std::uint16_t port = 0;
    std::uint8_t bytes = 0;  ///< 1, 2 or 4
    bool in = false;
    std::uint32_t eax = 0;   ///< out: the value; in: your answer
  } inout;
  struct Mmio {
    std::uint64_t gpa = 0;
    std::uint8_t size = 0;  ///< 1, 2, 4 or 8
    bool write = false;
    std::uint64_t data = 0;  ///< write: the value; read: your answer
  } mmio;
  struct Msr {
    std::uint32_t number = 0;
    std::uint64_t value = 0;  ///< wrmsr: the value; rdmsr: your answer
    bool fault = false;       ///< your answer: raise #GP(0)
  } msr;
  std::uint64_t paging_gpa = 0;     ///< paging: no host memory for that address
  unsigned spinup_vcpu = 0;         ///< spinup_ap: run that vCPU from now on; it starts at
  std::uint64_t spinup_rip = 0;
  struct Ipi {
    std::uint32_t mode = 0;  ///< as in the ICR: 500h INIT, 600h SIPI
    std::uint8_t vector = 0;
    std::vector<unsigned> targets;
  } ipi;  ///< ipi: this INIT or SIPI is yours to do
  abi::SuspendHow suspend = abi::SuspendHow::none;  ///< suspended: why
};

}  // namespace bhyve
