// MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: bytes of a register to [rDI] where the mask's top bit is set.
#include "engine/soft/interp/tables.hpp"
#include "engine/soft/replay/masked.hpp"
#include "engine/soft/replay/special.hpp"

namespace bhyve::soft {

namespace {

using Feature = CpuModel::Feature;

/// Writes the bytes of `data` whose bit is set in `mask`; none at all touches no memory.
bool store_masked(Cpu& c, const Insn& i, const u8* data, unsigned size, u64 mask) {
  if (!mask) return true;
  u64 la;
  if (!c.linear(i, size, true, la)) return false;
  return for_runs(mask, [&](unsigned first, unsigned count) {
           return c.probe_write(la + first, count, seg_of(i));
         }) &&
         for_runs(mask, [&](unsigned first, unsigned count) {
           return c.write_bytes(la + first, data + first, count, seg_of(i));
         });
}

/// dst, src: numbers of the data and the mask register.
Step h_maskmovq(Cpu& c, const Insn& i) {
  if (!pass_gate(c, Gate::mmx)) return c.failed();
  ParkedRegisters registers(c.fpu);
  if (registers.x87_pending()) return raise_x87_error(c);
  const u64 data = registers.mmx(i.dst), mask = registers.mmx(i.src);
  u64 selected = 0;
  for (unsigned n = 0; n < 8; ++n) selected |= (mask >> (8 * n + 7) & 1) << n;
  if (!store_masked(c, i, reinterpret_cast<const u8*>(&data), 8, selected)) return c.failed();
  registers.enter_mmx();
  return Step::next;
}

template <Gate G>
Step h_maskmovdqu(Cpu& c, const Insn& i) {
  if (!pass_gate(c, G)) return c.failed();
  const ParkedRegisters registers(c.fpu);
  const ParkedRegisters::Vector data = registers.read(i.dst);
  const u64 selected = registers.read(i.src).signs(16, 1);
  if (!store_masked(c, i, data.bytes.data(), 16, selected)) return c.failed();
  return Step::next;
}

/// The memory operand is implied: [rDI] in the address size, DS unless overridden.
void bind_rdi(const Decoded& d, const ZydisDecodedOperand& memory, Insn& out) {
  const bool flat = d.code_size == CodeSize::bits64;
  out.seg = static_cast<u8>(memory.mem.segment - ZYDIS_REGISTER_ES);
  out.base_seg = !flat || out.seg == 4 || out.seg == 5 ? out.seg : 8;
  out.address_size = d.info.address_width == 64 ? 3 : d.info.address_width == 32 ? 2 : 1;
  out.ea = flat && d.info.address_width == 64 ? Ea::flat64 : Ea::general;
  out.base = slot_of(memory.mem.base);
}

}  // namespace

bool bind_maskmov(const Decoded& d, Insn& out) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVQ: out.fn = h_maskmovq; break;
    case ZYDIS_MNEMONIC_MASKMOVDQU: out.fn = h_maskmovdqu<Gate::sse>; break;
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
      if (!d.model->has(Feature::avx)) return false;
      out.fn = h_maskmovdqu<Gate::avx>;
      break;
    default: return false;
  }
  if (d.lock()) return false;
  for (unsigned n = 0; n < d.info.operand_count; ++n)
    if (is_mem(d.operands[n])) bind_rdi(d, d.operands[n], out);
  out.dst = static_cast<u8>(ZydisRegisterGetId(d.operands[0].reg.value));
  out.src = static_cast<u8>(ZydisRegisterGetId(d.operands[1].reg.value));
  return true;
}

}  // namespace bhyve::soft
