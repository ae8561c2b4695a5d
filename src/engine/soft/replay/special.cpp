#include "engine/soft/replay/special.hpp"

#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

using Feature = CpuModel::Feature;

struct Row final {
  ZydisMnemonic mnemonic;
  Handler handler;
  bool wide = false;  ///< the 64-bit form
  Feature feature = Feature::count_;
};

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FXSAVE, h_fxsave},
    {ZYDIS_MNEMONIC_FXSAVE64, h_fxsave, true},
    {ZYDIS_MNEMONIC_FXRSTOR, h_fxrstor},
    {ZYDIS_MNEMONIC_FXRSTOR64, h_fxrstor, true},
    {ZYDIS_MNEMONIC_XSAVE, h_xsave, false, Feature::xsave},
    {ZYDIS_MNEMONIC_XSAVE64, h_xsave, true, Feature::xsave},
    {ZYDIS_MNEMONIC_XSAVEOPT, h_xsaveopt, false, Feature::xsaveopt},
    {ZYDIS_MNEMONIC_XSAVEOPT64, h_xsaveopt, true, Feature::xsaveopt},
    {ZYDIS_MNEMONIC_XSAVEC, h_xsavec, false, Feature::xsavec},
    {ZYDIS_MNEMONIC_XSAVEC64, h_xsavec, true, Feature::xsavec},
    {ZYDIS_MNEMONIC_XSAVES, h_xsaves, false, Feature::xsaves},
    {ZYDIS_MNEMONIC_XSAVES64, h_xsaves, true, Feature::xsaves},
    {ZYDIS_MNEMONIC_XRSTOR, h_xrstor, false, Feature::xsave},
    {ZYDIS_MNEMONIC_XRSTOR64, h_xrstor, true, Feature::xsave},
    {ZYDIS_MNEMONIC_XRSTORS, h_xrstors, false, Feature::xsaves},
    {ZYDIS_MNEMONIC_XRSTORS64, h_xrstors, true, Feature::xsaves},
    {ZYDIS_MNEMONIC_FNSTENV, h_fnstenv},
    {ZYDIS_MNEMONIC_FLDENV, h_fldenv},
    {ZYDIS_MNEMONIC_FNSAVE, h_fnsave},
    {ZYDIS_MNEMONIC_FRSTOR, h_frstor},
};

}  // namespace

Step raise_x87_error(Cpu& c) {
  if (c.s.cr0 & x86::cr0::ne) return c.raise(x86::Vector::mf);
  c.leave().ferr(c.id());
  return Step::repeat;
}

bool bind_special(const Decoded& d, Insn& out, StubArena&) {
  if (bind_maskmov(d, out)) return true;
  const ZydisDecodedOperand* m = d.memory();
  if (!m || d.lock()) return false;
  if (bind_vsib(d, out) || bind_movdir(d, out)) return true;
  for (const Row& row : rows) {
    if (row.mnemonic != d.info.mnemonic) continue;
    if (row.feature != Feature::count_ && !d.model->has(row.feature)) return false;
    out.size = row.wide ? 3 : 2;
    out.misc = d.info.operand_width == 16 ? 0 : 1;
    out.fn = row.handler;
    return true;
  }
  return false;
}

}  // namespace bhyve::soft
