// Gathers and scatters, element by element on the parked registers (SDM vol. 2, VPGATHERDD ...).
#include <bit>

#include "engine/soft/interp/tables.hpp"
#include "engine/soft/replay/special.hpp"

namespace bhyve::soft {

namespace {

using Feature = CpuModel::Feature;

/// What an Insn has no fields for; lies in Insn::imm.
struct Vsib final {
  u8 data, index;  ///< vector registers
  u8 mask;         ///< vector register (VEX) or opmask register (EVEX)
  u8 count;        ///< elements
  u8 data_bytes, index_bytes;
  bool evex;
  u8 reserved = 0;

  static Vsib of(const Insn& i) { return std::bit_cast<Vsib>(i.imm); }
};

/// Linear address of the element whose index is given.
bool element_address(Cpu& c, const Insn& i, const Vsib& v, u64 raw_index, bool write, u64& la) {
  const i64 index = v.index_bytes == 4 ? i64{static_cast<i32>(raw_index)}
                                       : static_cast<i64>(raw_index);
  u64 ea = c.effective_address(i) + (static_cast<u64>(index) << i.scale);
  if (i.ea == Ea::flat64) {
    la = ea + c.seg_base[i.base_seg];
    return true;
  }
  if (i.address_size == 2) ea = static_cast<u32>(ea);
  return c.linear(seg_of(i), ea, v.data_bytes, write, la);
}

bool read_element(Cpu& c, const Insn& i, u64 la, unsigned size, u64& value) {
  if (size == 8) return c.read<u64>(la, value, seg_of(i));
  u32 narrow = 0;
  if (!c.read<u32>(la, narrow, seg_of(i))) return false;
  value = narrow;
  return true;
}

bool write_element(Cpu& c, const Insn& i, u64 la, unsigned size, u64 value) {
  return size == 8 ? c.write<u64>(la, value, seg_of(i))
                   : c.write<u32>(la, static_cast<u32>(value), seg_of(i));
}

/// Elements that are still to be done.
u64 active_elements(const ParkedRegisters& registers, const Vsib& v) {
  if (!v.evex) return registers.read(v.mask).signs(v.count, v.data_bytes);
  return registers.opmask(v.mask) & (bit(v.count) - 1);
}

/// The mask after an element faulted: those before it are done.
void keep_progress(ParkedRegisters& registers, const Vsib& v, u64 active) {
  if (v.evex) {
    registers.set_opmask(v.mask, (registers.opmask(v.mask) & ~(bit(v.count) - 1)) | active);
    return;
  }
  ParkedRegisters::Vector mask = registers.read(v.mask);
  for (unsigned n = 0; n < v.count; ++n)
    mask.set_element(n, v.data_bytes, active >> n & 1 ? ~u64{0} : 0);
  mask.clear_from(v.count * v.data_bytes);
  registers.write(v.mask, mask);
}

void finish_mask(ParkedRegisters& registers, const Vsib& v) {
  if (v.evex)
    registers.set_opmask(v.mask, 0);
  else
    registers.write(v.mask, {});
}

Step h_gather(Cpu& c, const Insn& i) {
  const Vsib v = Vsib::of(i);
  if (!pass_gate(c, v.evex ? Gate::avx512 : Gate::avx)) return c.failed();
  ParkedRegisters registers(c.fpu);
  ParkedRegisters::Vector data = registers.read(v.data);
  const ParkedRegisters::Vector index = registers.read(v.index);
  u64 active = active_elements(registers, v);
  while (active) {
    const unsigned n = static_cast<unsigned>(__builtin_ctzll(active));
    u64 la, value;
    if (!element_address(c, i, v, index.element(n, v.index_bytes), false, la) ||
        !read_element(c, i, la, v.data_bytes, value)) {
      // Only a fault keeps progress: what is executed again from the start must start the same.
      if (c.failed() == Step::fault) {
        registers.write(v.data, data);
        keep_progress(registers, v, active);
      }
      return c.failed();
    }
    data.set_element(n, v.data_bytes, value);
    active &= active - 1;
  }
  data.clear_from(v.count * v.data_bytes);
  registers.write(v.data, data);
  finish_mask(registers, v);
  return Step::next;
}

Step h_scatter(Cpu& c, const Insn& i) {
  const Vsib v = Vsib::of(i);
  if (!pass_gate(c, Gate::avx512)) return c.failed();
  ParkedRegisters registers(c.fpu);
  const ParkedRegisters::Vector data = registers.read(v.data), index = registers.read(v.index);
  u64 active = active_elements(registers, v);
  while (active) {
    const unsigned n = static_cast<unsigned>(__builtin_ctzll(active));
    u64 la;
    if (!element_address(c, i, v, index.element(n, v.index_bytes), true, la) ||
        !write_element(c, i, la, v.data_bytes, data.element(n, v.data_bytes))) {
      if (c.failed() == Step::fault) keep_progress(registers, v, active);
      return c.failed();
    }
    active &= active - 1;
  }
  finish_mask(registers, v);
  return Step::next;
}

struct Row final {
  ZydisMnemonic mnemonic;
  bool scatter;
  u8 index_bytes, data_bytes;
};
constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_VPGATHERDD, false, 4, 4},  {ZYDIS_MNEMONIC_VPGATHERDQ, false, 4, 8},
    {ZYDIS_MNEMONIC_VPGATHERQD, false, 8, 4},  {ZYDIS_MNEMONIC_VPGATHERQQ, false, 8, 8},
    {ZYDIS_MNEMONIC_VGATHERDPS, false, 4, 4},  {ZYDIS_MNEMONIC_VGATHERDPD, false, 4, 8},
    {ZYDIS_MNEMONIC_VGATHERQPS, false, 8, 4},  {ZYDIS_MNEMONIC_VGATHERQPD, false, 8, 8},
    {ZYDIS_MNEMONIC_VPSCATTERDD, true, 4, 4},  {ZYDIS_MNEMONIC_VPSCATTERDQ, true, 4, 8},
    {ZYDIS_MNEMONIC_VPSCATTERQD, true, 8, 4},  {ZYDIS_MNEMONIC_VPSCATTERQQ, true, 8, 8},
    {ZYDIS_MNEMONIC_VSCATTERDPS, true, 4, 4},  {ZYDIS_MNEMONIC_VSCATTERDPD, true, 4, 8},
    {ZYDIS_MNEMONIC_VSCATTERQPS, true, 8, 4},  {ZYDIS_MNEMONIC_VSCATTERQPD, true, 8, 8},
};

/// The model's features that the encoding and its vector length need.
bool offered(const Decoded& d, bool evex) {
  if (!evex) return d.model->has(Feature::avx2);
  return d.model->has(Feature::avx512f) &&
         (d.info.avx.vector_length == 512 || d.model->has(Feature::avx512vl));
}

/// The register that an operand with this encoding names; -1: there is none.
int register_of(const Decoded& d, ZydisOperandEncoding encoding) {
  for (unsigned n = 0; n < d.info.operand_count; ++n)
    if (d.operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER && d.operands[n].encoding == encoding)
      return ZydisRegisterGetId(d.operands[n].reg.value);
  return -1;
}

}  // namespace

bool bind_vsib(const Decoded& d, Insn& out) {
  const ZydisDecodedOperand* m = d.memory();
  if (!m || m->mem.type != ZYDIS_MEMOP_TYPE_VSIB) return false;
  const bool evex = d.info.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
  if ((!evex && d.info.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX) || !offered(d, evex))
    return false;
  for (const Row& row : rows) {
    if (row.mnemonic != d.info.mnemonic) continue;
    const int data = register_of(d, ZYDIS_OPERAND_ENCODING_MODRM_REG);
    const int mask = evex ? d.info.avx.mask.reg - ZYDIS_REGISTER_K0
                          : register_of(d, ZYDIS_OPERAND_ENCODING_NDSNDD);
    if (data < 0 || mask < 0 || (evex && (mask == 0 || mask > 7))) return false;
    const unsigned widest = row.index_bytes > row.data_bytes ? row.index_bytes : row.data_bytes;
    const Vsib v{.data = static_cast<u8>(data),
                 .index = static_cast<u8>(ZydisRegisterGetId(m->mem.index)),
                 .mask = static_cast<u8>(mask),
                 .count = static_cast<u8>(d.info.avx.vector_length / 8 / widest),
                 .data_bytes = row.data_bytes,
                 .index_bytes = row.index_bytes,
                 .evex = evex};
    out.imm = std::bit_cast<u64>(v);
    out.scale = static_cast<u8>(__builtin_ctz(m->mem.scale ? m->mem.scale : 1u));
    out.index = slot::zero;
    out.fn = row.scatter ? h_scatter : h_gather;
    return true;
  }
  return false;
}

}  // namespace bhyve::soft
