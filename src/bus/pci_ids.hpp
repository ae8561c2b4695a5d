#pragma once
#include "base/bits.hpp"
#include "base/types.hpp"

/// Registers of PCI configuration space (PCI Local Bus 3.0 chapter 6, PCI Express Base chapter 7).
namespace bhyve::bus::pci {

/// Offsets of the type 0 header.
enum Reg : u16 {
  reg_vendor = 0x00,
  reg_device = 0x02,
  reg_command = 0x04,
  reg_status = 0x06,
  reg_revision = 0x08,
  reg_prog_if = 0x09,
  reg_subclass = 0x0a,
  reg_class = 0x0b,
  reg_cache_line = 0x0c,
  reg_latency = 0x0d,
  reg_header_type = 0x0e,
  reg_bar0 = 0x10,
  reg_subvendor = 0x2c,
  reg_subdevice = 0x2e,
  reg_rom = 0x30,
  reg_capabilities = 0x34,
  reg_interrupt_line = 0x3c,
  reg_interrupt_pin = 0x3d,
  first_capability = 0x40,
};

/// Command register bits.
enum Command : u16 {
  command_io = 1 << 0,
  command_memory = 1 << 1,
  command_master = 1 << 2,
  command_intx_disable = 1 << 10,
  /// Bits a guest can set: also parity response and SERR, which do nothing here.
  command_writable = 0x0547,
};

/// Status register bits.
enum Status : u16 {
  status_interrupt = 1 << 3,
  status_capabilities = 1 << 4,
};

inline constexpr u8 header_multifunction = 0x80;

/// Capability identifiers.
enum Capability : u8 { cap_msi = 0x05, cap_vendor = 0x09, cap_express = 0x10, cap_msix = 0x11 };

/// Bus (15..8), slot (7..3) and function (2..0): the requester id.
class Bdf final {
 public:
  constexpr Bdf() = default;
  constexpr explicit Bdf(u16 raw) : raw_(raw) {}
  constexpr Bdf(unsigned bus, unsigned slot, unsigned function)
      : raw_(static_cast<u16>((bus & 0xff) << 8 | (slot & 0x1f) << 3 | (function & 7))) {}

  [[nodiscard]] constexpr u16 raw() const { return raw_; }
  [[nodiscard]] constexpr unsigned bus() const { return raw_ >> 8; }
  [[nodiscard]] constexpr unsigned slot() const { return (raw_ >> 3) & 0x1f; }
  [[nodiscard]] constexpr unsigned function() const { return raw_ & 7; }
  friend constexpr auto operator<=>(Bdf, Bdf) = default;

 private:
  u16 raw_ = 0;
};

}  // namespace bhyve::bus::pci
