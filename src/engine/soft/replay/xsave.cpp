// XSAVE, XSAVEOPT, XSAVEC, XSAVES (SDM vol. 1, 13.7 to 13.11).
#include "engine/soft/replay/special.hpp"
#include "engine/soft/replay/xsave_enter.hpp"
#include "engine/soft/replay/xsave_format.hpp"

namespace bhyve::soft {

namespace xcr0 = x86::xcr0;

bool enter_xsave(Cpu& c, const Insn& i, bool supervisor, bool write, XsaveOperand& out) {
  if (!(c.s.cr4 & x86::cr4::osxsave)) return c.ud(), false;
  if (c.s.cr0 & x86::cr0::ts) return c.raise(x86::Vector::nm), false;
  if (supervisor && c.cpl() != 0) return c.gp0(), false;
  const u64 wanted =
      c.r(x86::Gpr::rdx) << 32 | static_cast<u32>(c.r(x86::Gpr::rax));
  out.rfbm = c.s.xcr0 & wanted;
  if (!c.linear(i, xsave_extended_at, write, out.la)) return false;
  if (out.la % 64) return c.gp0(), false;
  out.seg = seg_of(i);
  out.wide = i.size == 3;
  return true;
}

namespace {

/// Source of components in their initial state.
constexpr std::array<u8, 1024> zeros{};

/// Which form of the instruction writes what.
struct SaveForm final {
  bool compacted = false, skip_initial = false, supervisor = false;
};

/// One save operation: what goes where.
class Saver final {
 public:
  Saver(Cpu& c, const XsaveOperand& operand, SaveForm form)
      : c_(c), fpu_(c.fpu), operand_(operand), form_(form), registers_(c.fpu) {
    in_use_ = fpu_.xstate_bv();
    if (fpu_.fip | fpu_.fdp | fpu_.fop) in_use_ |= xcr0::x87;
    saved_ = operand.rfbm;
    if (form.skip_initial) saved_ &= in_use_;
    const u32 mxcsr = registers_.legacy().head.mxcsr & mxcsr_defined;
    if (form.compacted && mxcsr != mxcsr_initial) saved_ |= operand.rfbm & xcr0::sse;
    image_ = form.compacted ? XsaveImage::compacted(operand.rfbm)
                            : XsaveImage::standard(saved_);
  }

  [[nodiscard]] bool run() {
    return c_.probe_write(operand_.la, image_.size, operand_.seg) && save_legacy() &&
           save_extended() && save_header();
  }
  [[nodiscard]] unsigned size() const { return image_.size; }

 private:
  [[nodiscard]] bool put(unsigned offset, const void* from, unsigned n) {
    return n == 0 || c_.write_bytes(operand_.la + offset, from, n, operand_.seg);
  }

  [[nodiscard]] bool save_legacy() {
    const bool x87 = saved_ & xcr0::x87, sse = saved_ & xcr0::sse;
    const bool mxcsr = form_.compacted ? sse : operand_.rfbm & (xcr0::sse | xcr0::avx);
    if (!x87 && !mxcsr) return true;
    const LegacyHead head = export_head(fpu_, operand_.wide);
    const unsigned xmm_bytes = sse ? xsave_length(1, c_.code64()) : 0;
    constexpr unsigned control = offsetof(LegacyHead, mxcsr);
    if (!x87) {
      if (!put(control, &head.mxcsr, sizeof head - control)) return false;
    } else if (!put(0, &head, mxcsr ? sizeof head : control)) {
      return false;
    }
    const LegacyRegion& area = registers_.legacy();
    constexpr unsigned st = offsetof(LegacyRegion, st), xmm = offsetof(LegacyRegion, xmm);
    if (x87 && sse && !registers_.initial(0) && !registers_.initial(1))
      return put(st, area.st, sizeof area.st + xmm_bytes);
    if (x87 && !put(st, registers_.initial(0) ? zeros.data() : area.st[0], sizeof area.st))
      return false;
    return put(xmm, registers_.initial(1) ? zeros.data() : area.xmm[0], xmm_bytes);
  }

  [[nodiscard]] bool save_extended() {
    for (const unsigned n : extended_components) {
      if (!(saved_ >> n & 1)) continue;
      const u8* from =
          registers_.initial(n) ? zeros.data() : fpu_.area() + XsaveLayout::host().part(n).offset;
      if (!put(image_.offset[n], from, xsave_length(n, c_.code64()))) return false;
    }
    return true;
  }

  [[nodiscard]] bool save_header() {
    if (form_.compacted) {
      const u64 words[2] = {saved_, operand_.rfbm | xcomp_compacted};
      return put(xsave_header_at, words, sizeof words);
    }
    const u64 la = operand_.la + xsave_header_at;
    u64 old = 0;
    if (!c_.read<u64>(la, old, operand_.seg)) return false;
    return c_.write<u64>(la, (old & ~operand_.rfbm) | (in_use_ & operand_.rfbm), operand_.seg);
  }

  Cpu& c_;
  Fpu& fpu_;
  const XsaveOperand& operand_;
  SaveForm form_;
  ParkedRegisters registers_;
  u64 in_use_ = 0;  ///< XINUSE
  u64 saved_ = 0;   ///< components whose bytes are written
  XsaveImage image_{};
};

Step save(Cpu& c, const Insn& i, SaveForm form) {
  XsaveOperand operand;
  if (!enter_xsave(c, i, form.supervisor, true, operand)) return c.failed();
  Saver saver(c, operand, form);
  u64 la;
  if (i.ea != Ea::flat64 && !c.linear(i, saver.size(), true, la)) return c.failed();
  return saver.run() ? Step::next : c.failed();
}

}  // namespace

Step h_xsave(Cpu& c, const Insn& i) { return save(c, i, {}); }
Step h_xsaveopt(Cpu& c, const Insn& i) { return save(c, i, {.skip_initial = true}); }
Step h_xsavec(Cpu& c, const Insn& i) {
  return save(c, i, {.compacted = true, .skip_initial = true});
}
Step h_xsaves(Cpu& c, const Insn& i) {
  return save(c, i, {.compacted = true, .skip_initial = true, .supervisor = true});
}

}  // namespace bhyve::soft
