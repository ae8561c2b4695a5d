#pragma once
#include "base/error.hpp"
#include "loader/boot_request.hpp"
#include "machine/machine_config.hpp"

namespace bhyve::machine {

/// Reads the files that the guest starts from: variables boot.kernel, boot.initrd, boot.module.N
/// ("FILE[,ARGUMENTS]"), boot.cmdline, boot.env.NAME. The initrd is the first module. The sentence
/// of a failure names the file or the variable.
[[nodiscard]] Result<loader::BootRequest> read_boot_request(const MachineConfig& config,
                                                            const Config& variables);

}  // namespace bhyve::machine
