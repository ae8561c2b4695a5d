#pragma once
#include <string_view>
#include <vector>

#include "base/types.hpp"
#include "platform/byte_writer.hpp"

namespace bhyve::platform {

/// A system description table under construction: the 36-byte header (ACPI 6.4, 5.2.6) with OEM id
/// "BHYVE " and OEM table id "BV" + signature, then the body.
class AcpiTable final {
 public:
  AcpiTable(std::string_view signature, u8 revision);

  /// The body is appended here.
  [[nodiscard]] ByteWriter& body() { return out_; }
  /// Fills in length and checksum and gives the bytes up.
  [[nodiscard]] std::vector<u8> finish();

 private:
  ByteWriter out_;
};

/// Puts a Generic Address Structure (ACPI 6.4, 5.2.3.2) in system I/O space; `bits` is the width of
/// the register block. A zero port makes the all-zero structure "not there".
void put_gas_io(ByteWriter& out, u16 port, u8 bits);
/// The same in memory space.
void put_gas_memory(ByteWriter& out, u64 address, u8 bits);

}  // namespace bhyve::platform
