#pragma once
#include <array>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"
#include "bhyve/config.hpp"
#include "engine/engine.hpp"
#include "platform/smbios.hpp"
#include "pmap/mapping.hpp"

namespace bhyve::machine {

/// vCPUs of one VM, as many as have an APIC id of 8 bits that is not the broadcast.
inline constexpr u32 max_vcpus = 254;
inline constexpr u64 memory_default = 256 * MiB;
inline constexpr unsigned com_ports = 4;

/// x86.x2apic: not set, the guest starts in xAPIC mode and may choose; true (-x), it starts in x2APIC
/// mode; false (-a), it has no other than xAPIC mode and CPUID says so.
enum class ApicMode : u8 { choice, xapic, x2apic };

/// A piece of a file, in whole pages.
struct FilePiece final {
  u64 offset, length;
};

/// A device of -s.
struct PciDevice final {
  u8 bus = 0, slot = 0, function = 0;
  std::string emulation;
  std::string node;  ///< "pci.B.S.F": its other variables are below
  // sgmem:
  std::string path{};
  std::vector<FilePiece> pieces{};  ///< empty: all of it
  bool read_only = false;
  // pci-testdev:
  unsigned msi = 4, msix = 8;  ///< vectors
  u64 window = 64 * KiB;       ///< size of its memory BAR
  bool rom = true;
};

/// An item of -f for the firmware configuration device.
struct FirmwareItem final {
  std::string name;
  std::string value;  ///< the contents, or the path of the file that has them
  bool file = false;
};

/// The configuration tree with every value parsed and checked: what the machine is made from.
struct MachineConfig final {
  std::string name;
  u32 vcpus = 1;
  engine::CpuConfig cpu;
  u64 memory = memory_default;  ///< all of guest memory, bytes
  u64 lowmem = memory_default, highmem = 0;
  u64 lowmem_limit = 3 * GiB;  ///< where the hole for devices begins (vm_set_lowmem_limit)
  bool wired = false, in_core = false;
  bool prefault = true;                    ///< the host allocates memory ahead of the guest's faults
  u64 resident = 0;                        ///< bytes of it in host memory at once; 0: no pager
  std::string swap;                        ///< file or folder for the rest
  pmap::PmapFlags ept{};                   ///< memory.ept_*: what the nested tables' hardware can do

  std::string kernel, initrd, cmdline;  ///< empty: not given

  bool acpi = true, mptable = true;
  ApicMode apic_mode = ApicMode::choice;
  bool strict_io = false;   ///< an access to a port that nobody emulates ends the VM
  bool strict_msr = true;   ///< an unknown MSR is #GP
  bool exit_on_hlt = false, exit_on_pause = false;
  bool seccomp = true;      ///< the VM's threads run confined (base/confinement.hpp)
  bool rtc_localtime = true, destroy_on_poweroff = false;
  std::string uuid;  ///< empty: derived from the name

  bool enable_bars = true;  ///< BARs decode from the start; with a boot ROM that is the firmware's
  std::vector<PciDevice> pci;
  std::array<std::string, com_ports> com;  ///< back end of com1-4 (host::parse_char_spec), empty: no port
  std::string debugcon;                    ///< the same of the debug console
  bool testdev = false;                    ///< -l pc-testdev
  bool fw_cfg = false;                     ///< -l fwcfg,qemu
  bool fw_ctl = false;                     ///< -l fwcfg,bhyve
  platform::SmbiosConfig smbios;           ///< bios.*, system.*, board.*, chassis.* and what the machine is
  std::vector<FirmwareItem> firmware_items;
  /// A sentence each for parts of the configuration that this build does not have.
  std::vector<std::string> absent;
  std::vector<std::vector<unsigned>> cpusets;  ///< host CPUs of each vCPU, empty: any
};

/// Checks the tree. The sentence of a failure names the variable or device and what was expected; a
/// part of bhyve that this build does not have is refused by name.
[[nodiscard]] Result<MachineConfig> resolve(const Config& config);
/// The same, but what this build does not have is only listed in `absent`.
[[nodiscard]] Result<MachineConfig> resolve_all(const Config& config);

}  // namespace bhyve::machine
