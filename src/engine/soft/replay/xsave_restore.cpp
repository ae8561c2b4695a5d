// XRSTOR and XRSTORS (SDM vol. 1, 13.8 and 13.12).
#include "engine/soft/replay/special.hpp"
#include "engine/soft/replay/xsave_enter.hpp"
#include "engine/soft/replay/xsave_format.hpp"

namespace bhyve::soft {

namespace xcr0 = x86::xcr0;

namespace {

/// One restore operation: everything is read and checked before anything changes.
class Restorer final {
 public:
  Restorer(Cpu& c, const XsaveOperand& operand, const XsaveHeader& header)
      : c_(c), fpu_(c.fpu), operand_(operand), registers_(c.fpu),
        compacted_(header.xcomp_bv & xcomp_compacted),
        restored_(operand.rfbm & header.xstate_bv),
        initialised_(operand.rfbm & ~header.xstate_bv),
        image_(compacted_ ? XsaveImage::compacted(header.xcomp_bv)
                          : XsaveImage::standard(restored_)) {}

  [[nodiscard]] unsigned size() const { return image_.size; }

  [[nodiscard]] bool read() {
    // The standard form loads MXCSR whatever XSTATE_BV says.
    load_mxcsr_ = compacted_ ? restored_ & xcr0::sse : operand_.rfbm & (xcr0::sse | xcr0::avx);
    unsigned legacy = load_mxcsr_ ? sizeof(LegacyHead) : 0;
    if (restored_ & xcr0::x87) legacy = offsetof(LegacyRegion, xmm);
    if (restored_ & xcr0::sse) legacy = offsetof(LegacyRegion, xmm) + xsave_length(1, c_.code64());
    if (legacy && !c_.read_bytes(operand_.la, &legacy_, legacy, operand_.seg)) return false;
    if (load_mxcsr_ && legacy_.head.mxcsr & ~mxcsr_defined) return c_.gp0(), false;
    u8* to = extended_;
    for (const unsigned n : extended_components) {
      if (!(restored_ >> n & 1)) continue;
      const unsigned length = xsave_length(n, c_.code64());
      if (length && !c_.read_bytes(operand_.la + image_.offset[n], to, length, operand_.seg))
        return false;
      to += length;
    }
    return true;
  }

  void commit() {
    commit_x87();
    commit_sse();
    const u8* from = extended_;
    for (const unsigned n : extended_components) {
      const unsigned length = xsave_length(n, c_.code64());
      if (restored_ >> n & 1) {
        set(n, fpu_.area() + XsaveLayout::host().part(n).offset, from, length);
        from += length;
      } else if (initialised_ >> n & 1) {
        initialise(n, fpu_.area() + XsaveLayout::host().part(n).offset, length);
      }
    }
  }

 private:
  void commit_x87() {
    if (restored_ & xcr0::x87) {
      import_x87(fpu_, legacy_, operand_.wide);
    } else if (initialised_ & xcr0::x87) {
      fpu_.xstate_bv() &= ~xcr0::x87;
      fpu_.fip = fpu_.fdp = fpu_.fop = 0;
    }
  }

  void commit_sse() {
    const unsigned length = xsave_length(1, c_.code64());
    if (restored_ & xcr0::sse)
      set(1, registers_.legacy().xmm[0], legacy_.xmm[0], length);
    else if (initialised_ & xcr0::sse)
      initialise(1, registers_.legacy().xmm[0], length);
    if (load_mxcsr_)
      registers_.legacy().head.mxcsr = legacy_.head.mxcsr;
    else if (initialised_ & xcr0::sse)
      registers_.legacy().head.mxcsr = mxcsr_initial;
  }

  /// Outside of 64-bit mode registers 8 and up keep what they have.
  void set(unsigned component, u8* to, const u8* from, unsigned length) {
    if (length == 0) return;
    if (!c_.code64()) fpu_.materialise(component);
    std::memcpy(to, from, length);
    fpu_.xstate_bv() |= bit(component);
  }
  void initialise(unsigned component, u8* to, unsigned length) {
    if (c_.code64())
      fpu_.xstate_bv() &= ~bit(component);
    else if (!registers_.initial(component))
      std::memset(to, 0, length);
  }

  Cpu& c_;
  Fpu& fpu_;
  const XsaveOperand& operand_;
  ParkedRegisters registers_;
  bool compacted_;
  u64 restored_, initialised_;
  XsaveImage image_;
  bool load_mxcsr_ = false;
  LegacyRegion legacy_;                 // not initialised: only what read() filled is used
  u8 extended_[256 + 64 + 512 + 1024];  // one component after the other
};

Step restore(Cpu& c, const Insn& i, bool supervisor) {
  XsaveOperand operand;
  if (!enter_xsave(c, i, supervisor, false, operand)) return c.failed();
  c.fpu.park();
  XsaveHeader header;
  if (!c.read_bytes(operand.la + xsave_header_at, &header, sizeof header, operand.seg))
    return c.failed();
  const bool compaction = c.model().has(CpuModel::Feature::xsavec);
  if (!xsave_header_valid(header, c.s.xcr0, compaction, supervisor)) return c.gp0();
  Restorer restorer(c, operand, header);
  u64 la;
  if (i.ea != Ea::flat64 && !c.linear(i, restorer.size(), false, la)) return c.failed();
  if (!restorer.read()) return c.failed();
  restorer.commit();
  return Step::next;
}

}  // namespace

Step h_xrstor(Cpu& c, const Insn& i) { return restore(c, i, false); }
Step h_xrstors(Cpu& c, const Insn& i) { return restore(c, i, true); }

}  // namespace bhyve::soft
