#pragma once
#include <string_view>

#include "bhyve/config.hpp"

/// The arguments of -s, -l, -c, -f and -p as settings of the configuration tree. The sentence of a
/// failure says what was expected; the caller puts the option in front.
namespace tool {

/// slot,emulation[,key=value...] -> pci.B.S.F.*
[[nodiscard]] bhyve::Result<void> set_pci_device(bhyve::Config& config, std::string_view text);
/// device[,configuration] -> lpc.*
[[nodiscard]] bhyve::Result<void> set_lpc_device(bhyve::Config& config, std::string_view text);
/// [[cpus=]N][,sockets=N][,cores=N][,threads=N]
[[nodiscard]] bhyve::Result<void> set_topology(bhyve::Config& config, std::string_view text);
/// [name=]NAME,string=TEXT or [name=]NAME,file=PATH -> fwcfg.N.*
[[nodiscard]] bhyve::Result<void> add_firmware_item(bhyve::Config& config, std::string_view text);
/// vcpu:hostcpu, added to vcpu.N.cpuset
[[nodiscard]] bhyve::Result<void> add_pinning(bhyve::Config& config, std::string_view text);

/// [w][address:]port -> gdb.*
[[nodiscard]] bhyve::Result<void> set_gdb(bhyve::Config& config, std::string_view text);
/// id=N,size=SIZE,cpus=SET[,domain_policy=POLICY] -> domains.N.*
[[nodiscard]] bhyve::Result<void> add_numa_domain(bhyve::Config& config, std::string_view text);

}  // namespace tool
