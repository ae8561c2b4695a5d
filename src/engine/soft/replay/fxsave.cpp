// FXSAVE and FXRSTOR (SDM vol. 1, 10.5).
#include "engine/soft/replay/special.hpp"

namespace bhyve::soft {

namespace {

constexpr unsigned image_size = 512, alignment = 16;
constexpr unsigned x87_end = 160, sse_end_32 = 288, sse_end_64 = 416;

/// Bytes of the image that the processor uses in the current mode.
unsigned used_bytes(const Cpu& c) {
  if (!(c.s.cr4 & x86::cr4::osfxsr)) return x87_end;
  return c.code64() ? sse_end_64 : sse_end_32;
}

/// Gate, segmentation, alignment.
bool enter(Cpu& c, const Insn& i, bool write, u64& la) {
  if (!pass_gate(c, Gate::x87) || !c.linear(i, image_size, write, la)) return false;
  if (la % alignment == 0) return true;
  c.gp0();
  return false;
}

}  // namespace

LegacyHead export_head(Fpu& fpu, bool wide) {
  ParkedRegisters registers(fpu);
  LegacyHead head = registers.legacy().head;
  if (registers.initial(0)) {
    head.fcw = 0x37f;
    head.fsw = 0;
    head.ftw = 0;
  }
  head.reserved = 0;
  head.fop = fpu.fop;
  head.fip = wide ? fpu.fip : static_cast<u32>(fpu.fip);
  head.fdp = wide ? fpu.fdp : static_cast<u32>(fpu.fdp);
  head.mxcsr &= mxcsr_defined;
  head.mxcsr_mask = mxcsr_defined;
  return head;
}

void import_x87(Fpu& fpu, const LegacyRegion& image, bool wide) {
  constexpr usize register_bytes = 10;  // what lies behind them no processor keeps
  LegacyRegion& to = ParkedRegisters(fpu).legacy();
  const LegacyHead& head = image.head;
  fpu.xstate_bv() |= x86::xcr0::x87;
  to.head.fcw = head.fcw;
  to.head.fsw = head.fsw;
  to.head.ftw = head.ftw;
  std::memset(to.st, 0, sizeof to.st);
  for (unsigned n = 0; n < 8; ++n) std::memcpy(to.st[n], image.st[n], register_bytes);
  fpu.fop = head.fop & 0x7ff;
  fpu.fip = wide ? head.fip : static_cast<u32>(head.fip);
  fpu.fdp = wide ? head.fdp : static_cast<u32>(head.fdp);
}

Step h_fxsave(Cpu& c, const Insn& i) {
  u64 la;
  if (!enter(c, i, true, la)) return c.failed();
  ParkedRegisters registers(c.fpu);
  c.fpu.materialise(0);
  c.fpu.materialise(1);
  LegacyRegion image = registers.legacy();
  image.head = export_head(c.fpu, i.size == 3);
  if (!c.write_bytes(la, &image, used_bytes(c), seg_of(i))) return c.failed();
  return Step::next;
}

Step h_fxrstor(Cpu& c, const Insn& i) {
  u64 la;
  if (!enter(c, i, false, la)) return c.failed();
  const unsigned used = used_bytes(c);
  LegacyRegion image;
  ParkedRegisters registers(c.fpu);
  if (!c.read_bytes(la, &image, used, seg_of(i))) return c.failed();
  const bool sse = used > x87_end;
  if (sse && image.head.mxcsr & ~mxcsr_defined) return c.gp0();
  import_x87(c.fpu, image, i.size == 3);
  if (sse) {
    c.fpu.materialise(1);
    registers.legacy().head.mxcsr = image.head.mxcsr;
    std::memcpy(registers.legacy().xmm, image.xmm, used - x87_end);
  }
  return Step::next;
}

}  // namespace bhyve::soft
