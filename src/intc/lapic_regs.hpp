#pragma once
#include "base/bits.hpp"
#include "base/types.hpp"

/// The register page of the local APIC (SDM vol. 3, 11.4.1 table 11-1; x2APIC MSR = 800h + offset /
/// 16).
namespace bhyve::intc {

/// Offsets into the 4 KiB page. isr, tmr and irr are the first of eight registers, 16 bytes apart.
enum class LapicReg : u32 {
  id = 0x20, version = 0x30, tpr = 0x80, apr = 0x90, ppr = 0xa0, eoi = 0xb0, rrr = 0xc0, ldr = 0xd0,
  dfr = 0xe0, svr = 0xf0, isr = 0x100, tmr = 0x180, irr = 0x200, esr = 0x280, lvt_cmci = 0x2f0,
  icr_low = 0x300, icr_high = 0x310, lvt_timer = 0x320, lvt_thermal = 0x330, lvt_perf = 0x340,
  lvt_lint0 = 0x350, lvt_lint1 = 0x360, lvt_error = 0x370, timer_initial = 0x380,
  timer_current = 0x390, timer_divide = 0x3e0, self_ipi = 0x3f0,
};

/// Delivery mode of ICR, LVT, MSI data and I/O APIC entries (11.6.1). `startup` is legal in the ICR
/// alone, `extint` everywhere else.
enum class DeliveryMode : u8 {
  fixed = 0, lowest = 1, smi = 2, reserved3 = 3, nmi = 4, init = 5, startup = 6, extint = 7,
};

/// Destination shorthand of the ICR, bits 19:18.
enum class Shorthand : u8 { none = 0, self = 1, all = 2, others = 3 };

/// Order of the local interrupts in vm_lapic_local_irq() and `bhyvectl --assert-lapic-lvt`.
enum class LvtIndex : unsigned { lint0, lint1, timer, error, perf, thermal, cmci };
inline constexpr unsigned lvt_count = 7;

/// Version 14h, seven LVT entries, EOI-broadcast suppression (11.4.8).
inline constexpr u32 lapic_version = 0x14 | (lvt_count - 1) << 16 | 1u << 24;

namespace svr {
inline constexpr u32 enable = 1u << 8, suppress_eoi = 1u << 12, reset = 0xff;
inline constexpr u32 writable = 0xff | enable | 1u << 9 | suppress_eoi;
}  // namespace svr

namespace esr {
inline constexpr u32 send_illegal_vector = 1u << 5, receive_illegal_vector = 1u << 6,
                     illegal_register = 1u << 7;
}  // namespace esr

namespace lvt {
using Vector = BitRange<7, 0>;
using Mode = BitRange<10, 8>;
using TimerMode = BitRange<18, 17>;
inline constexpr u32 delivery_status = 1u << 12, remote_irr = 1u << 14,
                     level_trigger = 1u << 15, mask = 1u << 16,
                     reset = mask;
}  // namespace lvt

namespace icr {
using Vector = BitRange<7, 0>;
using Mode = BitRange<10, 8>;
using ShorthandField = BitRange<19, 18>;
inline constexpr u32 logical = 1u << 11, delivery_status = 1u << 12, assert_level = 1u << 14,
                     level_trigger = 1u << 15;
inline constexpr u32 reserved = 0xfff0'0000 | 0x0003'0000 | 1u << 13;  ///< #GP in x2APIC mode
}  // namespace icr

/// Vectors 0..15 are illegal for the APIC (11.5.2).
inline constexpr unsigned first_legal_vector = 16;

}  // namespace bhyve::intc
