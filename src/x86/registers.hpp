#pragma once
#include "base/bits.hpp"
#include "base/types.hpp"

/// Architectural registers as data (Intel SDM vol. 1 ch. 3, vol. 3 ch. 2). No OS calls.
namespace bhyve::x86 {

/// General-purpose registers in encoding order.
enum class Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
inline constexpr unsigned gpr_count = 16;

/// Segment registers in encoding order (SDM vol. 2, table 2-1), then the two system ones.
enum class Seg : u8 { es, cs, ss, ds, fs, gs, ldtr, tr };
inline constexpr unsigned seg_count = 8;

/// RFLAGS bits (SDM vol. 1, 3.4.3).
namespace rflags {
inline constexpr u64 cf = bit(0), fixed1 = bit(1), pf = bit(2), af = bit(4), zf = bit(6), sf = bit(7),
                     tf = bit(8), if_ = bit(9), df = bit(10), of = bit(11), iopl = u64{3} << 12,
                     nt = bit(14), rf = bit(16), vm = bit(17), ac = bit(18), vif = bit(19),
                     vip = bit(20), id = bit(21);
inline constexpr u64 arithmetic = cf | pf | af | zf | sf | of;
using Iopl = BitRange<13, 12>;
}  // namespace rflags

/// CR0 (SDM vol. 3, 2.5).
namespace cr0 {
inline constexpr u64 pe = bit(0), mp = bit(1), em = bit(2), ts = bit(3), et = bit(4), ne = bit(5),
                     wp = bit(16), am = bit(18), nw = bit(29), cd = bit(30), pg = bit(31);
inline constexpr u64 defined = pe | mp | em | ts | et | ne | wp | am | nw | cd | pg;
}  // namespace cr0

/// CR4 (SDM vol. 3, 2.5).
namespace cr4 {
inline constexpr u64 vme = bit(0), pvi = bit(1), tsd = bit(2), de = bit(3), pse = bit(4), pae = bit(5),
                     mce = bit(6), pge = bit(7), pce = bit(8), osfxsr = bit(9), osxmmexcpt = bit(10),
                     umip = bit(11), la57 = bit(12), vmxe = bit(13), smxe = bit(14),
                     fsgsbase = bit(16), pcide = bit(17), osxsave = bit(18), smep = bit(20),
                     smap = bit(21), pke = bit(22), cet = bit(23), pks = bit(24);
}  // namespace cr4

/// IA32_EFER (SDM vol. 3, 2.2.1).
namespace efer {
inline constexpr u64 sce = bit(0), lme = bit(8), lma = bit(10), nxe = bit(11);
inline constexpr u64 defined = sce | lme | lma | nxe;
}  // namespace efer

/// XCR0 state components (SDM vol. 1, 13.1).
namespace xcr0 {
inline constexpr u64 x87 = bit(0), sse = bit(1), avx = bit(2), bndregs = bit(3), bndcsr = bit(4),
                     opmask = bit(5), zmm_hi256 = bit(6), hi16_zmm = bit(7), pkru = bit(9);
inline constexpr u64 avx512 = opmask | zmm_hi256 | hi16_zmm;
}  // namespace xcr0

/// CR3 with PCIDs (SDM vol. 3, 4.5).
namespace cr3 {
inline constexpr u64 pcid_mask = 0xfff, no_flush = bit(63);
}

/// DR6/DR7 (SDM vol. 3, 18.2).
namespace dr {
inline constexpr u64 dr6_reset = 0xffff0ff0, dr7_reset = 0x400;
inline constexpr u64 dr6_hits = 0xf, dr7_enables = 0xff, dr7_local = 0x155;
inline constexpr u64 dr6_bd = bit(13), dr6_bs = bit(14), dr6_bt = bit(15), dr7_gd = bit(13);
}  // namespace dr

/// Exception vectors (SDM vol. 3, table 6-1).
enum class Vector : u8 {
  de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, ud = 6, nm = 7, df = 8, ts = 10, np = 11, ss = 12,
  gp = 13, pf = 14, mf = 16, ac = 17, mc = 18, xm = 19, ve = 20, cp = 21
};
/// True when the exception pushes an error code (SDM vol. 3, table 6-1).
[[nodiscard]] constexpr bool has_error_code(Vector v) {
  switch (v) {
    case Vector::df: case Vector::ts: case Vector::np: case Vector::ss: case Vector::gp:
    case Vector::pf: case Vector::ac: case Vector::cp: return true;
    default: return false;
  }
}

/// Page-fault error code (SDM vol. 3, 4.7).
namespace pf {
inline constexpr u32 present = 1, write = 2, user = 4, reserved = 8, fetch = 16;
}

/// Page-table entry bits of ordinary paging (SDM vol. 3, 4.5).
namespace pte {
inline constexpr u64 p = bit(0), rw = bit(1), us = bit(2), pwt = bit(3), pcd = bit(4), a = bit(5),
                     d = bit(6), ps = bit(7), g = bit(8), pat_4k = bit(7), pat_large = bit(12),
                     nx = bit(63);
inline constexpr u64 frame = 0x000f'ffff'ffff'f000;
}  // namespace pte

/// EPT entry bits (SDM vol. 3, 28.3.2). Shared by the pmap and by the CPU's nested walker.
namespace ept {
inline constexpr u64 r = bit(0), w = bit(1), x = bit(2), ipat = bit(6), ps = bit(7), a = bit(8),
                     d = bit(9);
inline constexpr u64 rwx = r | w | x;
inline constexpr u64 frame = 0x000f'ffff'ffff'f000;
using MemType = BitRange<5, 3>;
inline constexpr u64 type_uc = 0, type_wb = 6;
}  // namespace ept

/// Segment descriptor cache, as the CPU keeps it. `access` has bhyve's layout: type+S in bits 0-4,
/// DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. `limit` is in bytes, already scaled.
struct Segment final {
  u16 selector = 0;
  u32 access = 0;
  u32 limit = 0;
  u64 base = 0;

  using Type = BitRange<3, 0>;
  using Dpl = BitRange<6, 5>;
  static constexpr u32 s = 1u << 4, present = 1u << 7, long_mode = 1u << 13, big = 1u << 14,
                       granular = 1u << 15, unusable = 1u << 16;
  friend bool operator==(const Segment&, const Segment&) = default;
};

/// GDTR or IDTR.
struct TableRegister final {
  u64 base = 0;
  u16 limit = 0;
  friend bool operator==(const TableRegister&, const TableRegister&) = default;
};

[[nodiscard]] constexpr bool is_canonical(u64 va) {
  return static_cast<u64>(static_cast<i64>(va << 16) >> 16) == va;
}

}  // namespace bhyve::x86
