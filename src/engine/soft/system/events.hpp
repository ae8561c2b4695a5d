#pragma once
#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

/// An exception or interrupt on its way through the IDT.
struct Event final {
  Fault fault;
  Cpu::EventKind kind = Cpu::EventKind::exception;
  u64 return_rip = 0;

  [[nodiscard]] u8 vector() const { return static_cast<u8>(fault.vector); }
  [[nodiscard]] bool software() const {
    return kind == Cpu::EventKind::software_int || kind == Cpu::EventKind::software_exception;
  }
  /// EXT bit of error codes of faults met on the way (SDM vol. 3, 6.13).
  [[nodiscard]] u32 ext() const { return software() ? 0 : 1; }
  /// The error code that names the IDT entry.
  [[nodiscard]] u32 idt_error() const { return vector() * 8u + 2 + ext(); }
};

/// One attempt at delivery. False: nothing changed, Cpu::failed() has a fault (or an exit). INT n
/// uses it directly: a fault then belongs to the instruction.
[[nodiscard]] bool deliver_once(Cpu& cpu, const Event& event);

}  // namespace bhyve::soft
