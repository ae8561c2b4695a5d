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

/// Processor topology and which vCPUs take part.
struct CpuSets final {
  std::uint32_t sockets = 1, cores = 1, threads = 1, maxcpus = 1;
  std::vector<unsigned> active;
  std::vector<unsigned> suspended;
};

}  // namespace bhyve
