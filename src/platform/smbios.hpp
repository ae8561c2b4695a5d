#pragma once
#include <string>
#include <vector>

#include "base/error.hpp"
#include "platform/guest_blob.hpp"
#include "platform/uuid.hpp"

namespace bhyve::platform {

/// The strings and numbers of the SMBIOS structures; the defaults are bhyve's.
struct SmbiosConfig final {
  std::string bios_vendor = "BHYVE", bios_version = "14.0", bios_release_date = "10/17/2021";
  std::string system_manufacturer = "FreeBSD", system_product_name = "BHYVE",
              system_version = "1.0", system_serial_number = "None", system_sku = "None",
              system_family_name = "Virtual Machine";
  std::string board_manufacturer = "FreeBSD", board_product_name = "BHYVE", board_version = "1.0",
              board_serial_number = "None", board_asset_tag = "None", board_location = "None";
  std::string chassis_manufacturer = "FreeBSD", chassis_version = "1.0",
              chassis_serial_number = "None", chassis_asset_tag = "None", chassis_sku = "None";
  Uuid uuid{};
  unsigned sockets = 1, cores = 1, threads = 1;  ///< cores a socket, threads a core
  u32 cpu_signature = 0, cpu_features = 0;       ///< CPUID leaf 1: EAX, EDX
  u64 lowmem = 0, highmem = 0;                   ///< bytes
};

/// SMBIOS 2.7 (DMTF DSP0134): the entry point at layout::smbios and the structures, types 0, 1, 2,
/// 3, 4 (one a socket), 16, 17, 19, 32 and 127: right behind it, or at layout::bios_area when they
/// are many. Fails with E2BIG when they do not fit in 64 KiB.
[[nodiscard]] Result<std::vector<GuestBlob>> make_smbios(const SmbiosConfig& config);

}  // namespace bhyve::platform
