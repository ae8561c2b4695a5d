#include "dev/misc/acpi_pm_registers.hpp"

#include "base/bits.hpp"

namespace bhyve::dev {

namespace {

// PM1 control (table 4.15). SLP_EN and GBL_RLS read as zero.
using SciEnable = BitRange<0>;
using BusMasterReload = BitRange<1>;
using SleepType = BitRange<12, 10>;
using SleepEnable = BitRange<13>;

constexpr u16 pm1_events =
    AcpiPmRegisters::pm1_global_lock | AcpiPmRegisters::pm1_power_button | AcpiPmRegisters::pm1_rtc;

constexpr u8 byte_of(u16 value, unsigned index) { return static_cast<u8>(value >> (8 * (index & 1))); }

constexpr u16 with_byte(u16 value, unsigned index, u8 byte) {
  const unsigned shift = 8 * (index & 1);
  return static_cast<u16>((value & ~(0xffu << shift)) | unsigned{byte} << shift);
}

constexpr u16 clear_ones(u16 value, unsigned index, u8 ones) {
  return static_cast<u16>(value & ~(unsigned{ones} << (8 * (index & 1))));
}

}  // namespace

u8 AcpiPmRegisters::read_event(u16 offset) const {
  return byte_of(offset < 2 ? status_ : enable_, offset);
}

void AcpiPmRegisters::write_event(u16 offset, u8 value) {
  if (offset < 2)
    status_ = clear_ones(status_, offset, value);
  else
    enable_ = with_byte(enable_, offset, value) & pm1_events;
}

u8 AcpiPmRegisters::read_control(u16 offset) const { return byte_of(control_, offset); }

bool AcpiPmRegisters::write_control(u16 offset, u8 value) {
  const u16 written = with_byte(control_, offset, value);
  control_ = static_cast<u16>((control_ & SciEnable::mask) |
                              (written & (BusMasterReload::mask | SleepType::mask)));
  return (offset & 1) == 1 && SleepEnable::get(written) != 0;
}

u8 AcpiPmRegisters::sleep_type() const { return static_cast<u8>(SleepType::get(control_)); }

u8 AcpiPmRegisters::read_gpe(u16 offset) const {
  return byte_of(offset < 2 ? gpe_status_ : gpe_enable_, offset);
}

void AcpiPmRegisters::write_gpe(u16 offset, u8 value) {
  if (offset < 2)
    gpe_status_ = clear_ones(gpe_status_, offset, value);
  else
    gpe_enable_ = with_byte(gpe_enable_, offset, value);
}

void AcpiPmRegisters::set_acpi_mode(bool on) { SciEnable::set(control_, on ? 1 : 0); }

bool AcpiPmRegisters::armed(Pm1 event) const {
  return SciEnable::get(control_) != 0 && (enable_ & event) != 0;
}

bool AcpiPmRegisters::sci() const {
  // Without SCI_EN events raise a system management interrupt, which nobody here takes.
  return SciEnable::get(control_) != 0 &&
         ((status_ & enable_) != 0 || (gpe_status_ & gpe_enable_) != 0);
}

void AcpiPmRegisters::save(StateWriter& out) const {
  for (const u16 r : {status_, enable_, control_, gpe_status_, gpe_enable_}) out.put_u16(r);
}

void AcpiPmRegisters::load(StateSection& in) {
  for (u16* r : {&status_, &enable_, &control_, &gpe_status_, &gpe_enable_}) *r = in.get_u16();
  constexpr u64 control_bits = SciEnable::mask | BusMasterReload::mask | SleepType::mask;
  if ((enable_ & ~pm1_events) != 0 || (control_ & ~control_bits) != 0) in.reject();
}

}  // namespace bhyve::dev
