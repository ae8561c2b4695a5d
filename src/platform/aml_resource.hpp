#pragma once
#include <initializer_list>

#include "base/types.hpp"
#include "platform/aml_term.hpp"

/// Resource descriptors (ACPI 6.4, 6.4) and the template that joins them.
namespace bhyve::platform::aml {

/// ResourceTemplate: the descriptors and the end tag, as a Buffer.
[[nodiscard]] Term resource_template(const Terms& descriptors);

/// IO (Decode16, first, first, 1, count).
[[nodiscard]] Term io(u16 first, u8 count);
/// IRQNoFlags: ISA interrupts by bit mask, edge, active high, exclusive.
[[nodiscard]] Term irq(u16 mask);
/// IRQ (Level, ActiveLow, Shared) by bit mask. The mask is at byte offset 1.
[[nodiscard]] Term irq_level_shared(u16 mask);
/// Interrupt (ResourceConsumer, Level, ActiveLow, Shared) with one GSI.
[[nodiscard]] Term interrupt_level_shared(u32 gsi);
[[nodiscard]] Term memory32_fixed(bool writable, u32 base, u32 size);

// Windows that a bridge produces, [first, last], fixed at both ends.
[[nodiscard]] Term word_bus_window(u16 first, u16 last);
[[nodiscard]] Term word_io_window(u16 first, u16 last);
[[nodiscard]] Term dword_memory_window(u32 first, u32 last);
[[nodiscard]] Term qword_memory_window(u64 first, u64 last);

}  // namespace bhyve::platform::aml
