// Two-operand arithmetic and logic, INC, DEC, NEG, NOT.
#include "engine/soft/interp/alu_ops.hpp"
#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

template <class Op, class T>
Step reg_reg(Cpu& c, const Insn& i) {
  const T v = Op::template run<T>(c.reg<T>(i.dst), c.reg<T>(i.src), c.flags);
  if constexpr (Op::writes) c.set_reg<T>(i.dst, v);
  return Step::next;
}

template <class Op, class T>
Step reg_imm(Cpu& c, const Insn& i) {
  const T v = Op::template run<T>(c.reg<T>(i.dst), static_cast<T>(i.imm), c.flags);
  if constexpr (Op::writes) c.set_reg<T>(i.dst, v);
  return Step::next;
}

template <class Op, class T>
Step reg_mem(Cpu& c, const Insn& i) {
  T b;
  if (!c.load<T>(i, b)) return c.failed();
  const T v = Op::template run<T>(c.reg<T>(i.dst), b, c.flags);
  if constexpr (Op::writes) c.set_reg<T>(i.dst, v);
  return Step::next;
}

template <class Op, class T>
Step mem_any(Cpu& c, const Insn& i, T b) {
  if constexpr (Op::writes) {
    if (!modify<T>(c, i, [&](T a) { return Op::template run<T>(a, b, c.flags); }))
      return c.failed();
  } else {
    T a;
    if (!c.load<T>(i, a)) return c.failed();
    Op::template run<T>(a, b, c.flags);
  }
  return Step::next;
}
template <class Op, class T>
Step mem_reg(Cpu& c, const Insn& i) { return mem_any<Op, T>(c, i, c.reg<T>(i.src)); }
template <class Op, class T>
Step mem_imm(Cpu& c, const Insn& i) { return mem_any<Op, T>(c, i, static_cast<T>(i.imm)); }

template <class Op, class T>
Step lock_any(Cpu& c, const Insn& i, T b) {
  return modify_locked<T>(c, i, [&](T* p) { Op::template locked<T>(p, b, c.flags); })
             ? Step::next
             : c.failed();
}
template <class Op, class T>
Step lock_reg(Cpu& c, const Insn& i) { return lock_any<Op, T>(c, i, c.reg<T>(i.src)); }
template <class Op, class T>
Step lock_imm(Cpu& c, const Insn& i) { return lock_any<Op, T>(c, i, static_cast<T>(i.imm)); }

enum Form : u8 { form_rr, form_ri, form_rm, form_mr, form_mi, form_lock_r, form_lock_i, form_count };

struct OpTable final {
  Handler fn[form_count][4];
};
#define BHYVE_FORM(f, Op) \
  { f<Op, u8>, f<Op, u16>, f<Op, u32>, f<Op, u64> }
#define BHYVE_OP(Op)                                                                        \
  OpTable {                                                                                 \
    {                                                                                       \
      BHYVE_FORM(reg_reg, Op), BHYVE_FORM(reg_imm, Op), BHYVE_FORM(reg_mem, Op),            \
          BHYVE_FORM(mem_reg, Op), BHYVE_FORM(mem_imm, Op), BHYVE_FORM(lock_reg, Op),       \
          BHYVE_FORM(lock_imm, Op)                                                          \
    }                                                                                       \
  }

constexpr OpTable add_table = BHYVE_OP(alu::Add), or_table = BHYVE_OP(alu::Or),
                  adc_table = BHYVE_OP(alu::Adc), sbb_table = BHYVE_OP(alu::Sbb),
                  and_table = BHYVE_OP(alu::And), sub_table = BHYVE_OP(alu::Sub),
                  xor_table = BHYVE_OP(alu::Xor), cmp_table = BHYVE_OP(alu::Cmp),
                  test_table = BHYVE_OP(alu::Test);

const OpTable* binary_table(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_ADD: return &add_table;
    case ZYDIS_MNEMONIC_OR: return &or_table;
    case ZYDIS_MNEMONIC_ADC: return &adc_table;
    case ZYDIS_MNEMONIC_SBB: return &sbb_table;
    case ZYDIS_MNEMONIC_AND: return &and_table;
    case ZYDIS_MNEMONIC_SUB: return &sub_table;
    case ZYDIS_MNEMONIC_XOR: return &xor_table;
    case ZYDIS_MNEMONIC_CMP: return &cmp_table;
    case ZYDIS_MNEMONIC_TEST: return &test_table;
    default: return nullptr;
  }
}

template <class Op, class T>
Step unary_reg(Cpu& c, const Insn& i) {
  c.set_reg<T>(i.dst, Op::template run<T>(c.reg<T>(i.dst), c.flags));
  return Step::next;
}
template <class Op, class T>
Step unary_mem(Cpu& c, const Insn& i) {
  return modify<T>(c, i, [&](T a) { return Op::template run<T>(a, c.flags); }) ? Step::next
                                                                               : c.failed();
}
template <class Op, class T>
Step unary_lock(Cpu& c, const Insn& i) {
  return modify_locked<T>(c, i, [&](T* p) { Op::template locked<T>(p, c.flags); }) ? Step::next
                                                                                   : c.failed();
}
struct UnaryTable final {
  Handler fn[3][4];
};
#define BHYVE_UNARY_OP(Op)                                                                    \
  UnaryTable {                                                                                \
    { BHYVE_FORM(unary_reg, Op), BHYVE_FORM(unary_mem, Op), BHYVE_FORM(unary_lock, Op) }      \
  }
constexpr UnaryTable inc_table = BHYVE_UNARY_OP(alu::Inc), dec_table = BHYVE_UNARY_OP(alu::Dec),
                     neg_table = BHYVE_UNARY_OP(alu::Neg), not_table = BHYVE_UNARY_OP(alu::Not);

const UnaryTable* unary_table(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_INC: return &inc_table;
    case ZYDIS_MNEMONIC_DEC: return &dec_table;
    case ZYDIS_MNEMONIC_NEG: return &neg_table;
    case ZYDIS_MNEMONIC_NOT: return &not_table;
    default: return nullptr;
  }
}

bool bind_unary(const Decoded& d, Insn& out) {
  const UnaryTable* t = unary_table(d.info.mnemonic);
  if (!t) return false;
  const auto& op = d.operands[0];
  const unsigned size = size_log2(op.size);
  if (is_mem(op)) {
    out.fn = t->fn[d.lock() ? 2 : 1][size];
  } else {
    out.dst = slot_of(op.reg.value);
    out.fn = t->fn[0][size];
  }
  return true;
}

}  // namespace

bool bind_alu(const Decoded& d, Insn& out) {
  const OpTable* t = binary_table(d.info.mnemonic);
  if (!t) return bind_unary(d, out);
  const auto& a = d.operands[0];
  const auto& b = d.operands[1];
  const unsigned size = size_log2(a.size);
  Form form;
  if (is_mem(a)) {
    form = is_imm(b) ? (d.lock() ? form_lock_i : form_mi) : (d.lock() ? form_lock_r : form_mr);
  } else {
    form = is_imm(b) ? form_ri : is_mem(b) ? form_rm : form_rr;
    out.dst = slot_of(a.reg.value);
  }
  if (is_imm(b))
    out.imm = b.imm.value.u;
  else if (!is_mem(b))
    out.src = slot_of(b.reg.value);
  out.fn = t->fn[form][size];
  return true;
}

}  // namespace bhyve::soft
