// Shifts, rotates and double shifts; RORX and friends are replayed.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"
#include "engine/soft/system/cpu_features.hpp"

namespace bhyve::soft {

namespace {

// imm is the count; misc 1 means CL.
u8 count_of(const Cpu& c, const Insn& i) {
  return i.misc ? c.reg<u8>(slot::of(1)) : static_cast<u8>(i.imm);
}

/// A rotate of a register by an immediate on Intel's processors: OF, which is undefined for counts other than 1,
/// stays. By CL or in memory it does not, and the other vendor knows no difference.
template <class Op>
struct KeepsOverflow final {
  template <class T>
  static T run(T a, u8 count, PackedFlags& f) {
    constexpr PackedFlags of = 1;
    const PackedFlags before = f;
    const T result = Op::template run<T>(a, count, f);
    if ((count & (sizeof(T) == 8 ? 63 : 31)) != 1)
      f = static_cast<PackedFlags>((f & ~of) | (before & of));
    return result;
  }
};

bool host_is_intel() {
  static const bool intel = host_cpuid(0, 0).ebx == 0x756e'6547;  // "Genu"
  return intel;
}

template <class Op, class T>
Step shift_reg(Cpu& c, const Insn& i) {
  c.set_reg<T>(i.dst, Op::template run<T>(c.reg<T>(i.dst), count_of(c, i), c.flags));
  return Step::next;
}
template <class Op, class T>
Step shift_mem(Cpu& c, const Insn& i) {
  const u8 n = count_of(c, i);
  return modify<T>(c, i, [&](T a) { return Op::template run<T>(a, n, c.flags); }) ? Step::next
                                                                                  : c.failed();
}

struct ShiftTable final {
  Handler fn[2][4];
};
#define BHYVE_SHIFT_OP(Op)                                                                \
  ShiftTable {                                                                            \
    {                                                                                     \
      {shift_reg<Op, u8>, shift_reg<Op, u16>, shift_reg<Op, u32>, shift_reg<Op, u64>}, {  \
        shift_mem<Op, u8>, shift_mem<Op, u16>, shift_mem<Op, u32>, shift_mem<Op, u64>     \
      }                                                                                   \
    }                                                                                     \
  }
constexpr ShiftTable shl_table = BHYVE_SHIFT_OP(alu::Shl), shr_table = BHYVE_SHIFT_OP(alu::Shr),
                     sar_table = BHYVE_SHIFT_OP(alu::Sar), rol_table = BHYVE_SHIFT_OP(alu::Rol),
                     ror_table = BHYVE_SHIFT_OP(alu::Ror), rcl_table = BHYVE_SHIFT_OP(alu::Rcl),
                     rcr_table = BHYVE_SHIFT_OP(alu::Rcr),
                     rol_intel_table = BHYVE_SHIFT_OP(KeepsOverflow<alu::Rol>),
                     ror_intel_table = BHYVE_SHIFT_OP(KeepsOverflow<alu::Ror>);

const ShiftTable* shift_table(ZydisMnemonic m, bool register_by_imm) {
  const bool keeps = register_by_imm && host_is_intel();
  switch (m) {
    case ZYDIS_MNEMONIC_SHL: return &shl_table;
    case ZYDIS_MNEMONIC_SHR: return &shr_table;
    case ZYDIS_MNEMONIC_SAR: return &sar_table;
    case ZYDIS_MNEMONIC_ROL: return keeps ? &rol_intel_table : &rol_table;
    case ZYDIS_MNEMONIC_ROR: return keeps ? &ror_intel_table : &ror_table;
    case ZYDIS_MNEMONIC_RCL: return &rcl_table;
    case ZYDIS_MNEMONIC_RCR: return &rcr_table;
    default: return nullptr;
  }
}

template <class Op, class T>
Step double_reg(Cpu& c, const Insn& i) {
  c.set_reg<T>(i.dst, Op::template run<T>(c.reg<T>(i.dst), c.reg<T>(i.src), count_of(c, i),
                                          c.flags));
  return Step::next;
}
template <class Op, class T>
Step double_mem(Cpu& c, const Insn& i) {
  const u8 n = count_of(c, i);
  const T b = c.reg<T>(i.src);
  return modify<T>(c, i, [&](T a) { return Op::template run<T>(a, b, n, c.flags); })
             ? Step::next
             : c.failed();
}

constexpr Handler shld_table[2][3] = {
    {double_reg<alu::Shld, u16>, double_reg<alu::Shld, u32>, double_reg<alu::Shld, u64>},
    {double_mem<alu::Shld, u16>, double_mem<alu::Shld, u32>, double_mem<alu::Shld, u64>}};
constexpr Handler shrd_table[2][3] = {
    {double_reg<alu::Shrd, u16>, double_reg<alu::Shrd, u32>, double_reg<alu::Shrd, u64>},
    {double_mem<alu::Shrd, u16>, double_mem<alu::Shrd, u32>, double_mem<alu::Shrd, u64>}};

void bind_count(const ZydisDecodedOperand& op, Insn& out) {
  if (is_imm(op))
    out.imm = op.imm.value.u;
  else
    out.misc = 1;
}

}  // namespace

bool bind_shift(const Decoded& d, Insn& out) {
  const ShiftTable* t = shift_table(d.info.mnemonic, is_imm(d.operands[1]) && !is_mem(d.operands[0]));
  const bool shld = d.info.mnemonic == ZYDIS_MNEMONIC_SHLD;
  if (!t && !shld && d.info.mnemonic != ZYDIS_MNEMONIC_SHRD) return false;
  const auto& a = d.operands[0];
  const unsigned size = size_log2(a.size);
  const bool memory = is_mem(a);
  if (!memory) out.dst = slot_of(a.reg.value);
  if (t) {
    bind_count(d.operands[1], out);
    out.fn = t->fn[memory][size];
    return true;
  }
  out.src = slot_of(d.operands[1].reg.value);
  bind_count(d.operands[2], out);
  out.fn = (shld ? shld_table : shrd_table)[memory][size - 1];
  return true;
}

}  // namespace bhyve::soft
