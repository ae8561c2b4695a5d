#pragma once
#include "base/types.hpp"
#include "x86/registers.hpp"

namespace bhyve::loader {

/// The state of vCPU 0 at the loaded program's first instruction. General registers that are not
/// named are zero; the IDT is empty, so that an early fault is a triple fault.
struct EntryState final {
  u64 rip = 0, rsp = 0, rax = 0, rbx = 0, rsi = 0, rflags = x86::rflags::fixed1;
  u64 cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
  x86::TableRegister gdt, idt;
  x86::Segment cs, ds, es, ss, fs, gs, ldtr, tr;
};

}  // namespace bhyve::loader
