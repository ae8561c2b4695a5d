// Which handler executes which sensitive instruction.
#include <array>

#include "engine/soft/decode/decoded.hpp"
#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

namespace {

/// How the operands become Insn fields.
enum class Shape : u8 {
  plain,     ///< none, or only memory: size = operand size
  dst,       ///< operand 0 is written: dst, size from a register operand
  src,       ///< operand 0 is read: src
  dst_src,   ///< dst = operand 0, src = operand 1
  far_ptr,   ///< dst = operand 0, misc = segment of the row
  fs_gs,     ///< dst = operand 0 with its own size, misc = segment
  vector,    ///< imm = operand 0
  in, out,   ///< port and accumulator
  ins, outs, ///< string forms: address size, source segment; misc = log2 size
};

struct Row {
  ZydisMnemonic mnemonic;
  Handler fn;
  Shape shape = Shape::plain;
  u8 misc = 0;
};

#define M(name) ZYDIS_MNEMONIC_##name
// clang-format off
constexpr Row rows[] = {
    {M(LDS), h_load_far_pointer, Shape::far_ptr, 3}, {M(LES), h_load_far_pointer, Shape::far_ptr, 0},
    {M(LSS), h_load_far_pointer, Shape::far_ptr, 2}, {M(LFS), h_load_far_pointer, Shape::far_ptr, 4},
    {M(LGS), h_load_far_pointer, Shape::far_ptr, 5},
    {M(RDFSBASE), h_rdfsbase, Shape::fs_gs, 4}, {M(RDGSBASE), h_rdfsbase, Shape::fs_gs, 5},
    {M(WRFSBASE), h_wrfsbase, Shape::fs_gs, 4}, {M(WRGSBASE), h_wrfsbase, Shape::fs_gs, 5},
    {M(SWAPGS), h_swapgs},
    {M(LGDT), h_lgdt}, {M(LIDT), h_lidt}, {M(SGDT), h_sgdt}, {M(SIDT), h_sidt},
    {M(LLDT), h_lldt, Shape::src}, {M(LTR), h_ltr, Shape::src},
    {M(SLDT), h_sldt, Shape::dst}, {M(STR), h_str, Shape::dst}, {M(SMSW), h_smsw, Shape::dst},
    {M(LAR), h_lar, Shape::dst_src}, {M(LSL), h_lsl, Shape::dst_src},
    {M(VERR), h_verr, Shape::src}, {M(VERW), h_verw, Shape::src}, {M(ARPL), h_arpl, Shape::dst_src},
    {M(IRET), h_iret}, {M(IRETD), h_iret}, {M(IRETQ), h_iret},
    {M(INT), h_int, Shape::vector}, {M(INT3), h_int3}, {M(INTO), h_into}, {M(INT1), h_icebp},
    {M(BOUND), h_bound, Shape::dst_src},
    {M(SYSCALL), h_syscall}, {M(SYSRET), h_sysret}, {M(SYSENTER), h_sysenter},
    {M(SYSEXIT), h_sysexit},
    {M(LMSW), h_lmsw, Shape::src}, {M(CLTS), h_clts}, {M(XGETBV), h_xgetbv}, {M(XSETBV), h_xsetbv},
    {M(INVLPG), h_invlpg}, {M(INVPCID), h_invpcid, Shape::src},
    {M(WBINVD), h_privileged_nop}, {M(INVD), h_privileged_nop},
    {M(CLFLUSH), h_cache_line}, {M(CLFLUSHOPT), h_cache_line}, {M(CLWB), h_cache_line},
    {M(HLT), h_hlt},
    {M(CLI), h_cli}, {M(STI), h_sti}, {M(STAC), h_stac}, {M(CLAC), h_clac},
    {M(PUSHF), h_pushf}, {M(PUSHFD), h_pushf}, {M(PUSHFQ), h_pushf},
    {M(POPF), h_popf}, {M(POPFD), h_popf}, {M(POPFQ), h_popf},
    {M(IN), h_in, Shape::in}, {M(OUT), h_out, Shape::out},
    {M(INSB), h_ins, Shape::ins, 0}, {M(INSW), h_ins, Shape::ins, 1}, {M(INSD), h_ins, Shape::ins, 2},
    {M(OUTSB), h_outs, Shape::outs, 0}, {M(OUTSW), h_outs, Shape::outs, 1},
    {M(OUTSD), h_outs, Shape::outs, 2},
    {M(RDMSR), h_rdmsr}, {M(WRMSR), h_wrmsr},
    {M(CPUID), h_cpuid}, {M(RDTSC), h_rdtsc}, {M(RDTSCP), h_rdtscp}, {M(RDPID), h_rdpid, Shape::dst},
    {M(RDPMC), h_rdpmc}, {M(RDRAND), h_rdrand, Shape::dst}, {M(RDSEED), h_rdseed, Shape::dst},
    {M(PAUSE), h_pause}, {M(SERIALIZE), h_serialize},
    // Hint forms that are no-operations on a processor without the feature.
    {M(ENDBR32), h_nop}, {M(ENDBR64), h_nop}, {M(RDSSPD), h_nop}, {M(RDSSPQ), h_nop},
    {M(CLDEMOTE), h_nop}, {M(BNDCL), h_nop}, {M(BNDCN), h_nop}, {M(BNDCU), h_nop},
    {M(BNDLDX), h_nop}, {M(BNDMK), h_nop}, {M(BNDMOV), h_nop}, {M(BNDSTX), h_nop},
};

/// Sensitive instructions of features that are never offered: they may not reach the host.
constexpr ZydisMnemonic refused[] = {
    M(UD0), M(UD1), M(UD2), M(RSM), M(MONITOR), M(MWAIT), M(MONITORX), M(MWAITX), M(UMONITOR),
    M(UMWAIT), M(TPAUSE), M(VMCALL), M(VMCLEAR), M(VMFUNC), M(VMLAUNCH), M(VMLOAD), M(VMMCALL),
    M(VMPTRLD), M(VMPTRST), M(VMREAD), M(VMRESUME), M(VMRUN), M(VMSAVE), M(VMWRITE), M(VMXOFF),
    M(VMXON), M(INVEPT), M(INVVPID), M(INVLPGA), M(INVLPGB), M(TLBSYNC), M(CLGI), M(STGI), M(SKINIT),
    M(CLZERO), M(RDPRU), M(MCOMMIT), M(PSMASH), M(PVALIDATE), M(RMPADJUST), M(RMPUPDATE),
    M(GETSEC), M(ENCLS), M(ENCLU), M(ENCLV), M(PCONFIG), M(HRESET), M(PTWRITE), M(ENQCMD),
    M(ENQCMDS), M(XBEGIN), M(XEND), M(XABORT), M(XTEST), M(XRESLDTRK), M(XSUSLDTRK), M(RDPKRU),
    M(WRPKRU), M(INCSSPD), M(INCSSPQ), M(SAVEPREVSSP), M(RSTORSSP), M(WRSSD), M(WRSSQ), M(WRUSSD),
    M(WRUSSQ), M(SETSSBSY), M(CLRSSBSY), M(CLUI), M(STUI), M(TESTUI), M(UIRET), M(SENDUIPI),
    M(SEAMCALL), M(SEAMOPS), M(SEAMRET), M(TDCALL), M(LOADIWKEY), M(ENCODEKEY128), M(ENCODEKEY256),
    M(AESDEC128KL), M(AESDEC256KL), M(AESENC128KL), M(AESENC256KL), M(AESDECWIDE128KL),
    M(AESDECWIDE256KL), M(AESENCWIDE128KL), M(AESENCWIDE256KL), M(LDTILECFG), M(STTILECFG),
    M(TILELOADD), M(TILELOADDT1), M(TILERELEASE), M(TILESTORED), M(TILEZERO), M(LLWPCB), M(SLWPCB),
    M(LWPINS), M(LWPVAL), M(FEMMS), M(XSTORE), M(XCRYPT_ECB), M(XCRYPT_CBC), M(XCRYPT_CTR),
    M(XCRYPT_CFB), M(XCRYPT_OFB), M(XSHA1), M(XSHA256), M(MONTMUL),
};
// clang-format on
#undef M

constexpr Row refused_row{ZYDIS_MNEMONIC_INVALID, h_ud};

using Table = std::array<const Row*, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

const Table& table() {
  static const Table built = [] {
    Table t{};
    for (const Row& row : rows) t[row.mnemonic] = &row;
    for (const ZydisMnemonic m : refused) t[m] = &refused_row;
    return t;
  }();
  return built;
}

u8 log2_bytes(unsigned bits) {
  return bits >= 64 ? 3 : bits >= 32 ? 2 : bits >= 16 ? 1 : 0;
}

bool is_register(const ZydisDecodedOperand& op) { return op.type == ZYDIS_OPERAND_TYPE_REGISTER; }

bool in_class(const ZydisDecodedOperand& op, ZydisRegisterClass c) {
  return is_register(op) && ZydisRegisterGetClass(op.reg.value) == c;
}

u8 number_of(const ZydisDecodedOperand& op) {
  return static_cast<u8>(ZydisRegisterGetId(op.reg.value));
}

u8 slot_or_zero(const ZydisDecodedOperand& op) {
  return is_register(op) ? slot_of(op.reg.value) : slot::zero;
}

void bind_port(const ZydisDecodedOperand& port, const ZydisDecodedOperand& value, Insn& out) {
  out.size = log2_bytes(value.size) & 3;
  out.misc = is_register(port);
  if (!out.misc) out.imm = port.imm.value.u & 0xff;
}

void bind_string(const Decoded& d, const Row& row, Insn& out) {
  out.size = row.misc & 3;
  out.address_size = log2_bytes(d.info.address_width) & 3;
  const ZydisDecodedOperand& op = d.operands[row.shape == Shape::ins ? 0 : 1];
  const int seg = op.mem.segment - ZYDIS_REGISTER_ES;
  out.seg = seg >= 0 && seg <= 5 ? static_cast<u8>(seg) : 3;
}

void bind_row(const Decoded& d, const Row& row, Insn& out) {
  const ZydisDecodedOperand* op = d.operands;
  out.fn = row.fn;
  out.size = log2_bytes(d.info.operand_width) & 3;
  out.misc = row.misc & 31;
  switch (row.shape) {
    case Shape::plain: break;
    case Shape::dst:
      out.dst = slot_or_zero(op[0]);
      if (is_register(op[0])) out.size = log2_bytes(op[0].size) & 3;
      break;
    case Shape::src: out.src = slot_or_zero(op[0]); break;
    case Shape::dst_src:
      out.dst = slot_or_zero(op[0]);
      out.src = slot_or_zero(op[1]);
      break;
    case Shape::far_ptr: out.dst = slot_or_zero(op[0]); break;
    case Shape::fs_gs:
      out.dst = slot_or_zero(op[0]);
      out.size = log2_bytes(op[0].size) & 3;
      break;
    case Shape::vector: out.imm = op[0].imm.value.u & 0xff; break;
    case Shape::in: bind_port(op[1], op[0], out); break;
    case Shape::out: bind_port(op[0], op[1], out); break;
    case Shape::ins:
    case Shape::outs: bind_string(d, row, out); break;
  }
}

/// MOV with a segment, control or debug register.
bool bind_mov(const Decoded& d, Insn& out) {
  const ZydisDecodedOperand &to = d.operands[0], &from = d.operands[1];
  const auto special = [&](ZydisRegisterClass c, Handler write, Handler read) {
    if (in_class(to, c)) {
      out.fn = write;
      out.misc = number_of(to) & 31;
      out.src = slot_or_zero(from);
      return true;
    }
    if (!in_class(from, c)) return false;
    out.fn = read;
    out.misc = number_of(from) & 31;
    out.dst = slot_or_zero(to);
    out.size = log2_bytes(to.size) & 3;
    return true;
  };
  const bool memory = out.ea != Ea::none;
  return special(ZYDIS_REGCLASS_SEGMENT, memory ? h_load_sreg : h_mov_to_sreg,
                 memory ? h_store_sreg : h_mov_from_sreg) ||
         special(ZYDIS_REGCLASS_CONTROL, h_write_cr, h_read_cr) ||
         special(ZYDIS_REGCLASS_DEBUG, h_write_dr, h_read_dr);
}

bool bind_far(const Decoded& d, Insn& out) {
  if (d.info.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR) return false;
  const ZydisDecodedOperand& op = d.operands[0];
  out.size = log2_bytes(d.info.operand_width) & 3;
  if (d.info.mnemonic == ZYDIS_MNEMONIC_RET) {
    out.fn = h_far_ret;
    const bool releases = d.info.operand_count_visible && op.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    out.imm = releases ? op.imm.value.u & 0xffff : 0;
    return true;
  }
  const bool call = d.info.mnemonic == ZYDIS_MNEMONIC_CALL;
  if (op.type == ZYDIS_OPERAND_TYPE_POINTER) {
    out.fn = call ? h_far_call_direct : h_far_jmp_direct;
    out.imm = op.ptr.offset;
    out.disp = op.ptr.segment;
  } else {
    out.fn = call ? h_far_call_memory : h_far_jmp_memory;
  }
  return true;
}

bool bind_push_pop(const Decoded& d, Insn& out) {
  if (!in_class(d.operands[0], ZYDIS_REGCLASS_SEGMENT)) return false;
  out.fn = d.info.mnemonic == ZYDIS_MNEMONIC_PUSH ? h_push_sreg : h_pop_sreg;
  out.misc = number_of(d.operands[0]) & 31;
  out.size = log2_bytes(d.info.operand_width) & 3;
  return true;
}

}  // namespace

bool bind_system(const Decoded& d, Insn& out) {
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return bind_mov(d, out);
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP: return bind_push_pop(d, out);
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_RET: return bind_far(d, out);
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB: {
      const auto f = d.info.mnemonic == ZYDIS_MNEMONIC_CLWB ? CpuModel::Feature::clwb
                                                            : CpuModel::Feature::clflushopt;
      out.fn = d.model->has(f) ? h_cache_line : h_ud;
      return true;
    }
    default: break;
  }
  const Row* row = table()[d.info.mnemonic];
  if (!row) return false;
  bind_row(d, *row, out);
  return true;
}

}  // namespace bhyve::soft
