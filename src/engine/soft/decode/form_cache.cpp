#include "engine/soft/decode/form_cache.hpp"

#include <algorithm>

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

namespace {

/// log2 of the unit in which an EVEX displacement of 8 bits counts (SDM vol. 2, 2.7.5).
u8 unit_of(i32 scaled, i32 raw) {
  u8 shift = 0;
  while (shift < 6 && raw * (1 << shift) != scaled) ++shift;
  return shift;
}

}  // namespace

FormCache::FormCache() : forms_(std::make_unique<Form[]>(usize{1} << log2_forms)) {}

void FormCache::clear() { std::fill_n(forms_.get(), usize{1} << log2_forms, Form{}); }

bool FormCache::apply(const Form& f, const Parsed& p, CodeSize code_size, u16 offset, Insn& out) {
  out = f.insn;
  out.offset = offset;
  out.length = p.length;
  if (p.imm_apart) out.imm = p.imm;
  if (!p.memory) return true;
  const bool flat = code_size == CodeSize::bits64;
  out.base = p.base;
  out.index = p.index;
  out.scale = p.scale & 3;
  out.disp = p.disp8 ? p.disp * (1 << f.disp_shift) : p.disp;
  out.seg = p.seg & 15;
  if (!flat || out.seg == 4 || out.seg == 5) out.base_seg = out.seg;
  else out.base_seg = 8;
  if (!p.rip_relative) return true;
  out.base = slot::rip;
  return !__builtin_add_overflow(p.disp, i32{offset} + p.length, &out.disp);
}

bool FormCache::fill(const Parsed& p, CodeSize code_size, u16 offset, Insn& out,
                     bool& ends_block) const {
  const Form& f = forms_[slot_of(p.form)];
  if (f.key != p.form || !apply(f, p, code_size, offset, out)) return false;
  ends_block = f.ends_block;
  return true;
}

bool FormCache::learn(const Parsed& p, CodeSize code_size, u16 offset, const Insn& bound,
                      bool ends_block) {
  // The unit shows only in a displacement that is not 0.
  if (p.disp8 && p.disp == 0) return false;
  Form f{p.form, bound, 0, ends_block};
  if (p.disp8) f.disp_shift = unit_of(bound.disp, p.disp);
  Insn again;
  if (!apply(f, p, code_size, offset, again) || !(again == bound)) return false;
  forms_[slot_of(p.form)] = f;
  return true;
}

}  // namespace bhyve::soft
