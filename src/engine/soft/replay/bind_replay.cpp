// From a decoded instruction to a stub: the allow-list, operand substitution, emission.
#include <cpuid.h>

#include <cstddef>
#include <cstring>

#include "engine/soft/interp/tables.hpp"
#include "engine/soft/replay/host_form.hpp"
#include "engine/soft/replay/isa_table.hpp"
#include "engine/soft/replay/masked.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/replay/stub_arena.hpp"
#include "engine/soft/replay/stub_writer.hpp"

namespace bhyve::soft {

namespace {

constexpr u32 flags_offset = slot::count * 8;  // Cpu::flags follows Cpu::gpr
constexpr unsigned memory_base = 6;            // RSI

/// Which host register stands for which guest register in a stub.
class Substitution final {
 public:
  /// The host register for an explicit operand in a ModRM or VEX field.
  unsigned explicit_reg(u8 guest_slot) {
    for (unsigned n = 0; n < used_; ++n)
      if (slots_[n] == guest_slot) return 8 + n;
    slots_[used_] = guest_slot;
    return 8 + used_++;
  }
  [[nodiscard]] bool full() const { return used_ > 3; }

  struct Implicit {
    u8 number;
    bool read, written;
  };
  void load_all(StubWriter& w) const {
    for (unsigned n = 0; n < used_; ++n) {
      if (slots_[n] & 7)
        w.load_byte(8 + n, slots_[n]);
      else
        w.load(8 + n, slots_[n]);
    }
    for (unsigned n = 0; n < implicit_count_; ++n) w.load(implicit_[n].number, implicit_[n].number * 8u);
  }
  void store_written(StubWriter& w) const {
    for (unsigned n = 0; n < used_; ++n)
      if (written_ & 1u << n) w.store(8 + n, slots_[n]);
    for (unsigned n = 0; n < implicit_count_; ++n)
      if (implicit_[n].written) w.store(implicit_[n].number, implicit_[n].number * 8u);
  }
  void mark_written(unsigned host) { written_ |= 1u << (host - 8); }
  void add_implicit(u8 number, bool written) {
    for (unsigned n = 0; n < implicit_count_; ++n)
      if (implicit_[n].number == number) {
        implicit_[n].written |= written;
        return;
      }
    if (implicit_count_ < 3) implicit_[implicit_count_++] = {number, true, written};
  }

 private:
  u8 slots_[5] = {};
  unsigned used_ = 0;
  unsigned written_ = 0;
  Implicit implicit_[3] = {};
  unsigned implicit_count_ = 0;
};

/// New values of the instruction's register fields; -1 keeps the guest's.
struct Fields final {
  int reg = -1, rm = -1, vvvv = -1;
  bool drop_w = false;     ///< VEX.W and EVEX.W become 0
  bool flip_size = false;  ///< the operand-size prefix is left out, or added when there is none
};

bool only_eight(const Decoded& d) { return d.code_size != CodeSize::bits64; }

bool reads(const ZydisDecodedOperand& op) {
  return op.actions & (ZYDIS_OPERAND_ACTION_MASK_READ);
}
bool writes(const ZydisDecodedOperand& op) {
  return op.actions & (ZYDIS_OPERAND_ACTION_MASK_WRITE);
}

/// Assigns host registers to the operands. False: an operand that cannot be substituted.
bool substitute(const Decoded& d, Substitution& sub, Fields& fields) {
  for (unsigned n = 0; n < d.info.operand_count; ++n) {
    const auto& op = d.operands[n];
    if (!is_gpr(op)) {
      if (op.type == ZYDIS_OPERAND_TYPE_MEMORY && op.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
        return false;
      continue;
    }
    const u8 guest = slot_of(op.reg.value);
    if (op.visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT || op.encoding == ZYDIS_OPERAND_ENCODING_NONE) {
      const u8 number = static_cast<u8>(guest / 8);
      if (number > 2) return false;  // only RAX, RCX, RDX are free under their own names
      sub.add_implicit(number, writes(op));
      continue;
    }
    const unsigned host = sub.explicit_reg(guest);
    if (sub.full()) return false;
    if (writes(op)) sub.mark_written(host);
    switch (op.encoding) {
      case ZYDIS_OPERAND_ENCODING_MODRM_REG: fields.reg = static_cast<int>(host); break;
      case ZYDIS_OPERAND_ENCODING_MODRM_RM: fields.rm = static_cast<int>(host); break;
      case ZYDIS_OPERAND_ENCODING_NDSNDD: fields.vvvv = static_cast<int>(host); break;
      default: return false;
    }
  }
  return true;
}

/// ModRM for the host: memory operands become [rsi].
u8 host_modrm(const Decoded& d, const Fields& f, bool memory) {
  u8 m = d.bytes[d.info.raw.modrm.offset];
  if (f.reg >= 0) m = static_cast<u8>((m & ~0x38) | (f.reg & 7) << 3);
  if (memory) return static_cast<u8>((m & 0x38) | memory_base);
  if (f.rm >= 0) m = static_cast<u8>((m & ~7) | (f.rm & 7));
  return m;
}

bool kept_prefix(u8 b) { return b == 0x66 || b == 0xf2 || b == 0xf3; }

/// Everything behind the ModRM byte and the displacement: immediates.
void emit_immediates(const Decoded& d, StubWriter& w) {
  // A register in an immediate has its fourth bit in bit 7.
  const bool is4 = d.info.operand_count_visible == 4 &&
                   d.operands[3].encoding == ZYDIS_OPERAND_ENCODING_IS4;
  const u8 mask = is4 && only_eight(d) ? 0x7f : 0xff;
  for (const auto& imm : d.info.raw.imm)
    for (unsigned n = 0; n < imm.size / 8; ++n)
      w.byte(static_cast<u8>(d.bytes[imm.offset + n] & mask));
}

void emit_legacy(const Decoded& d, const Fields& f, bool memory, StubWriter& w) {
  // A REX that is not the last prefix is ignored by the CPU: it is dropped with the others.
  unsigned at = 0;
  if (f.flip_size && !(d.info.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)) w.byte(0x66);
  for (; at < d.info.raw.prefix_count; ++at)
    if (kept_prefix(d.bytes[at]) && !(f.flip_size && d.bytes[at] == 0x66)) w.byte(d.bytes[at]);
  u8 rex = 0;
  if (d.info.attributes & ZYDIS_ATTRIB_HAS_REX) rex = d.bytes[d.info.raw.rex.offset];
  u8 r = rex >> 2 & 1, b = rex & 1;
  if (f.reg >= 0) r = f.reg >> 3 & 1;
  if (f.rm >= 0) b = f.rm >> 3 & 1;
  if (memory) b = 0;
  const u8 host_rex = static_cast<u8>((rex & 8) | r << 2 | b);
  if (host_rex || rex || f.reg >= 0 || f.rm >= 0) w.byte(static_cast<u8>(0x40 | host_rex));
  const bool has_modrm = d.info.attributes & ZYDIS_ATTRIB_HAS_MODRM;
  const unsigned end = has_modrm ? d.info.raw.modrm.offset : d.info.length;
  for (; at < end; ++at) w.byte(d.bytes[at]);
  if (!has_modrm) return;
  w.byte(host_modrm(d, f, memory));
  emit_immediates(d, w);
}

void emit_vex(const Decoded& d, const Fields& f, bool memory, StubWriter& w) {
  const unsigned at = d.info.raw.vex.offset;
  const bool three = d.info.raw.vex.size == 3;
  // Always the three-byte form: R X B inverted, then mmmmm; W vvvv L pp.
  const u8 p1 = d.bytes[at + 1];
  u8 rxb = three ? p1 & 0xe0 : static_cast<u8>((p1 & 0x80) | 0x60);
  const u8 map = three ? p1 & 0x1f : 1;
  u8 p2 = three ? d.bytes[at + 2] : p1 & 0x7f;
  if (only_eight(d)) rxb |= 0x20, p2 |= 0x40;
  if (f.drop_w) p2 &= 0x7f;
  auto set = [&](u8 mask, bool on) { rxb = static_cast<u8>(on ? rxb & ~mask : rxb | mask); };
  if (f.reg >= 0) set(0x80, f.reg >> 3 & 1);
  if (memory) set(0x60, false);
  if (f.rm >= 0) set(0x20, f.rm >> 3 & 1);
  if (f.vvvv >= 0) p2 = static_cast<u8>((p2 & ~0x78) | (~f.vvvv & 15) << 3);
  w.byte(0xc4), w.byte(static_cast<u8>(rxb | map)), w.byte(p2);
  w.byte(d.bytes[at + d.info.raw.vex.size]);  // opcode
  if (d.info.attributes & ZYDIS_ATTRIB_HAS_MODRM) w.byte(host_modrm(d, f, memory));
  emit_immediates(d, w);
}

void emit_evex(const Decoded& d, const Fields& f, bool memory, StubWriter& w) {
  const unsigned at = d.info.raw.evex.offset;
  u8 p0 = d.bytes[at + 1], p1 = d.bytes[at + 2];
  if (only_eight(d)) p0 |= 0xf0, p1 |= 0x40;
  if (f.drop_w) p1 &= 0x7f;
  auto set = [&](u8 mask, bool on) { p0 = static_cast<u8>(on ? p0 & ~mask : p0 | mask); };
  if (f.reg >= 0) {
    set(0x80, f.reg >> 3 & 1);
    set(0x10, false);
  }
  if (memory) set(0x60, false);
  if (f.rm >= 0) {
    set(0x20, f.rm >> 3 & 1);
    set(0x40, false);
  }
  if (f.vvvv >= 0) p1 = static_cast<u8>((p1 & ~0x78) | (~f.vvvv & 15) << 3);
  w.byte(0x62), w.byte(p0), w.byte(p1), w.byte(d.bytes[at + 3]);
  w.byte(d.bytes[at + 4]);  // opcode
  w.byte(host_modrm(d, f, memory));
  emit_immediates(d, w);
}

void emit_instruction(const Decoded& d, const Fields& f, bool memory, StubWriter& w) {
  switch (d.info.encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_VEX: emit_vex(d, f, memory, w); break;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX: emit_evex(d, f, memory, w); break;
    default: emit_legacy(d, f, memory, w); break;
  }
}

/// VZEROUPPER and VZEROALL of 32-bit code leave registers 8 to 15 alone; the host's do not.
bool emit_zeroing_of_eight(const Decoded& d, StubWriter& w) {
  const bool all = d.info.mnemonic == ZYDIS_MNEMONIC_VZEROALL;
  if (!only_eight(d) || (!all && d.info.mnemonic != ZYDIS_MNEMONIC_VZEROUPPER)) return false;
  for (unsigned n = 0; n < 8; ++n) {
    // vxorps xmmN, xmmN, xmmN or vmovaps xmmN, xmmN
    w.byte(0xc5), w.byte(all ? static_cast<u8>(0x80 | (~n & 15) << 3) : 0xf8);
    w.byte(all ? 0x57 : 0x28), w.byte(static_cast<u8>(0xc0 | n << 3 | n));
  }
  return true;
}

/// The instruction as the host has to see it. False: the host has no such form.
bool emit_host_form(const Decoded& d, Fields fields, bool memory, StubWriter& out) {
  if (emit_zeroing_of_eight(d, out)) return true;
  // Their lengths are in registers that nobody names: of 32 bits, whatever W says.
  if (only_eight(d) && (d.info.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRI ||
                        d.info.mnemonic == ZYDIS_MNEMONIC_VPCMPESTRM))
    fields.drop_w = true;
  for (const bool again : {false, true}) {
    if (again) {
      const bool legacy = d.info.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
      (legacy ? fields.flip_size : fields.drop_w) = true;
    }
    StubWriter form;
    emit_instruction(d, fields, memory, form);
    if (only_eight(d) && !same_on_host(d, form.code())) continue;
    out.bytes(form.code());
    return true;
  }
  return false;
}

struct FlagUse final {
  bool in = false, out = false;
};
FlagUse flag_use(const Decoded& d) {
  constexpr u32 arithmetic = static_cast<u32>(x86::rflags::arithmetic);
  if (!d.info.cpu_flags) return {};
  const auto& c = *d.info.cpu_flags;
  const u32 changed = (c.modified | c.set_0 | c.set_1 | c.undefined) & arithmetic;
  const bool partly = changed && changed != arithmetic;
  return {(c.tested & arithmetic) != 0 || partly || changed != 0, changed != 0};
}

/// Instructions whose x87 pointers stay as they are (SDM vol. 1, 8.1.8): control instructions.
bool is_x87_control(const Decoded& d) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_FNCLEX: case ZYDIS_MNEMONIC_FLDCW: case ZYDIS_MNEMONIC_FNSTCW:
    case ZYDIS_MNEMONIC_FNSTSW: case ZYDIS_MNEMONIC_FNINIT: case ZYDIS_MNEMONIC_FWAIT:
    case ZYDIS_MNEMONIC_FNOP: case ZYDIS_MNEMONIC_EMMS: return true;
    default: return false;
  }
}

/// Control instructions that do not wait for a pending exception.
bool is_x87_non_waiting(const Decoded& d) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_FNCLEX: case ZYDIS_MNEMONIC_FNSTCW: case ZYDIS_MNEMONIC_FNSTSW:
    case ZYDIS_MNEMONIC_FNINIT: return true;
    default: return false;
  }
}

bool names_mmx(const Decoded& d) {
  for (unsigned n = 0; n < d.info.operand_count; ++n)
    if (d.operands[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(d.operands[n].reg.value) == ZYDIS_REGCLASS_MMX)
      return true;
  return false;
}

bool host_is_intel() {
  static const bool intel = [] {
    u32 a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
  }();
  return intel;
}

/// Alignment that the memory operand must have (SDM vol. 1, 4.1.1): legacy SSE's 16 bytes but for
/// the unaligned moves and string compares; with VEX and EVEX only the moves that say so.
u8 alignment_of(const Decoded& d, Gate gate, unsigned bytes) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU: case ZYDIS_MNEMONIC_PCMPESTRI: case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI: case ZYDIS_MNEMONIC_PCMPISTRM: return 1;
    case ZYDIS_MNEMONIC_VMOVAPS: case ZYDIS_MNEMONIC_VMOVAPD: case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVDQA32: case ZYDIS_MNEMONIC_VMOVDQA64: case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD: case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA: return static_cast<u8>(bytes);
    default: break;
  }
  // AMD's SHA extensions do not ask for it, and the host decides where it sees the operand itself.
  if (d.info.meta.isa_set == ZYDIS_ISA_SET_SHA && !host_is_intel()) return 1;
  return gate == Gate::sse && bytes == 16 ? 16 : 1;
}

bool never_replayed(const Decoded& d) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVQ: case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_FNSAVE: case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FLDENV: case ZYDIS_MNEMONIC_FRSTOR: return true;
    default: return false;
  }
}

Gate gate_of(const Decoded& d, const IsaRow& row) {
  if (d.info.mnemonic == ZYDIS_MNEMONIC_FWAIT) return Gate::wait;
  if (d.info.mnemonic == ZYDIS_MNEMONIC_FISTTP) return Gate::x87;  // of SSE3, but x87
  if (d.info.mnemonic == ZYDIS_MNEMONIC_CRC32) return Gate::none;
  return row.gate;
}

}  // namespace

bool bind_replay(const Decoded& d, Insn& out, StubArena& stubs) {
  if (bind_special(d, out, stubs)) return true;
  const IsaRow* row = find_isa(d.info.meta.isa_set);
  if (!row || never_replayed(d) || (out.prefix & static_cast<u8>(Prefix::lock))) return false;
  if (row->feature != CpuModel::Feature::count_ && !d.model->has(row->feature)) return false;
  if (row->feature2 != CpuModel::Feature::count_ && !d.model->has(row->feature2)) return false;

  Substitution sub;
  Fields fields;
  if (!substitute(d, sub, fields)) return false;

  ReplayPlan plan;
  plan.gate = gate_of(d, *row);
  plan.simd = plan.gate != Gate::none && plan.gate != Gate::vex_gpr;
  const ZydisDecodedOperand* m = d.memory();
  if (m && m->mem.type == ZYDIS_MEMOP_TYPE_VSIB) return false;
  if (m) {
    plan.memory_bytes = static_cast<u16>(m->size / 8);
    plan.use = writes(*m) ? (reads(*m) ? MemoryUse::read_write : MemoryUse::write) : MemoryUse::read;
    if (plan.memory_bytes == 0 || plan.memory_bytes > 64) return false;
    bind_masking(d, *m, plan);
    plan.alignment = alignment_of(d, plan.gate, plan.memory_bytes);
  }
  const bool x87 = plan.gate == Gate::x87 || plan.gate == Gate::mmx || names_mmx(d);
  plan.x87_waits = x87 && !is_x87_non_waiting(d);
  if (plan.gate == Gate::x87 && !is_x87_control(d)) {
    plan.x87_pointers = true;
    plan.fop = static_cast<u16>((d.info.opcode & 7) << 8 | d.bytes[d.info.raw.modrm.offset]);
  }

  StubWriter w;
  const FlagUse flags = flag_use(d);
  if (flags.in) w.flags_in(flags_offset);
  sub.load_all(w);
  if (!emit_host_form(d, fields, m != nullptr, w)) return false;
  sub.store_written(w);
  if (flags.out) w.flags_out(flags_offset);
  w.finish();
  if (w.overflowed()) return false;

  const ReplayPlan* published = stubs.publish(plan, w.code());
  if (!published) {
    out.fn = no_stub_room;
    return stubs.usable();
  }
  out.imm = reinterpret_cast<u64>(published);
  out.fn = m ? replay_memory : replay;
  return true;
}

}  // namespace bhyve::soft
