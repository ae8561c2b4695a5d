#pragma once
#include <cstdint>
#include <string>
#include <vector>

/// What a running VM tells about itself. Plain values, the same in the process of the VM and behind
/// the control socket.
namespace bhyve {

/// A register by its name in bhyve (rax ... rflags, cr0 ... dr7, efer, selectors).
struct RegisterValue final {
  std::string name;
  std::uint64_t value = 0;
};

/// A segment or table register. `access` has bhyve's layout and is 0 for gdtr and idtr, as is
/// `selector`.
struct DescriptorValue final {
  std::string name;
  std::uint64_t base = 0;
  std::uint32_t limit = 0;
  std::uint32_t access = 0;
  std::uint16_t selector = 0;
};

/// The state of one vCPU at one moment.
struct VcpuRegisters final {
  std::vector<RegisterValue> registers;
  std::vector<DescriptorValue> descriptors;
};

/// One counter; `text` is its description and its stable name.
struct Statistic final {
  std::string text;
  std::uint64_t value = 0;
};

/// One mapping of guest-physical memory. `protection` is a text such as "rwx".
struct MemoryMapping final {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
  std::string segment;
  std::uint64_t offset = 0;
  std::string protection;
};

/// One memory segment: an object that mappings show.
struct MemorySegment final {
  std::uint32_t id = 0;
  std::uint64_t length = 0;
  std::string name;  ///< sysmem is RAM
};

/// Processor topology and which vCPUs take part.
struct CpuSets final {
  std::uint32_t sockets = 1, cores = 1, threads = 1, maxcpus = 1;
  std::vector<unsigned> active;
  std::vector<unsigned> suspended;
  std::vector<unsigned> debug;  ///< stopped by vm_suspend_cpu()
};

/// Mode of a local APIC (enum x2apic_state, and off).
enum class ApicState : std::uint32_t { disabled = 0, xapic = 1, x2apic = 2 };

/// What happens to an interrupt line.
enum class LineChange : std::uint32_t { assert_line = 0, deassert_line = 1, pulse = 2 };

/// What waits for a vCPU or holds its events back.
struct EventInfo final {
  std::string state;        ///< idle, frozen, running, sleeping
  bool halted = false;      ///< in HLT
  bool waits_for_sipi = false;
  bool nmi_pending = false;
  bool interrupt_pending = false;  ///< ExtINT or a vector that the processor priority lets through
  bool nmi_blocked = false;        ///< an NMI handler has not executed IRET
  bool interrupt_shadow = false;   ///< behind STI or MOV SS
};

/// A port or device-memory access that a vCPU has made.
struct IoAccess final {
  std::uint64_t sequence = 0;  ///< counts all accesses since tracing began
  std::uint64_t time = 0;      ///< nanoseconds, the host's CLOCK_MONOTONIC
  std::uint32_t vcpu = 0;
  bool memory = false;         ///< else a port
  bool write = false;
  std::uint32_t size = 0;      ///< bytes
  std::uint64_t address = 0;   ///< guest-physical, or of the port
  std::uint64_t value = 0;     ///< written or read
};

/// Accesses in order, and the number to ask for next.
struct IoTrace final {
  std::vector<IoAccess> accesses;
  std::uint64_t next = 0;
};

/// A VM as a whole.
struct VmInfo final {
  std::string engine;
  std::string state;  ///< "running", "stopped", or why it ends: reset, poweroff, halt, triplefault
  std::uint64_t memory = 0;    ///< bytes of RAM, all of it
  std::uint64_t resident = 0;  ///< bytes that host pages back
  std::uint32_t cpus = 1;
  double uptime = 0;       ///< seconds since it was made
  double cpu_seconds = 0;  ///< host CPU time of its process
  std::uint64_t pid = 0;   ///< that process
};

}  // namespace bhyve
