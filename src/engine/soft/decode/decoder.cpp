#include "engine/soft/decode/decoder.hpp"

#include <cstring>

#include "engine/soft/decode/decoded.hpp"
#include "engine/soft/decode/form_cache.hpp"
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

namespace {

Step raise_ud(Cpu& cpu, const Insn&) { return cpu.ud(); }
Step raise_gp(Cpu& cpu, const Insn&) { return cpu.gp0(); }

struct Decoders {
  ZydisDecoder by_size[3];
  Decoders() {
    ZydisDecoderInit(&by_size[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&by_size[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&by_size[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }
};

const ZydisDecoder& decoder_for(CodeSize size) {
  static const Decoders decoders;
  return decoders.by_size[static_cast<unsigned>(size)];
}

/// SIB base 101b with mod 00b means no base, whatever REX.B says (SDM vol. 2, table 2-3). Zydis 4.0
/// names R13 when REX.B and 67h come together.
bool has_no_base(const Decoded& d) {
  const auto& raw = d.info.raw;
  return (d.info.attributes & ZYDIS_ATTRIB_HAS_SIB) && raw.modrm.mod == 0 && raw.sib.base == 5;
}

/// Knights Corner's vector extensions share encodings with nothing that other processors have.
bool is_knights_corner(const Decoded& d) {
  return d.info.meta.isa_set >= ZYDIS_ISA_SET_KNCE &&
         d.info.meta.isa_set <= ZYDIS_ISA_SET_KNC_PF_HINT;
}

/// The segment of a memory operand. Zydis takes 3Eh before an indirect branch for NOTRACK and no longer
/// for DS; to a processor without CET it is DS, and to one with it both (SDM vol. 1, 18.3.2).
unsigned segment_of(const Decoded& d, const ZydisDecodedOperand& op) {
  constexpr unsigned ds = 3;
  if (d.info.attributes & ZYDIS_ATTRIB_HAS_NOTRACK && d.code_size != CodeSize::bits64) return ds;
  return static_cast<unsigned>(op.mem.segment - ZYDIS_REGISTER_ES);
}

/// Fills the memory operand's fields.
void bind_memory(const Decoded& d, const ZydisDecodedOperand& op, Insn& out) {
  const auto& m = op.mem;
  const unsigned seg = segment_of(d, op);
  out.seg = seg <= 5 ? static_cast<u8>(seg) : 3;
  const bool flat = d.code_size == CodeSize::bits64;
  out.base_seg = !flat || seg == 4 || seg == 5 ? out.seg : 8;
  out.address_size = d.info.address_width == 64 ? 3 : d.info.address_width == 32 ? 2 : 1;
  out.ea = flat && d.info.address_width == 64 ? Ea::flat64 : Ea::general;
  out.disp = static_cast<i32>(m.disp.has_displacement ? m.disp.value : 0);
  if (has_no_base(d)) out.disp = static_cast<i32>(d.info.raw.disp.value);
  if (m.index != ZYDIS_REGISTER_NONE && op.mem.type != ZYDIS_MEMOP_TYPE_VSIB) {
    out.index = slot_of(m.index);
    out.scale = static_cast<u8>(__builtin_ctz(m.scale ? m.scale : 1));
  }
  if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP) {
    out.base = slot::rip;
    // Block-relative; a displacement within 64 KiB of the 2 GiB limit may not fit any more.
    const i64 disp = i64{out.disp} + out.offset + out.length;
    if (disp != static_cast<i32>(disp)) {
      out.fn = nullptr;
      return;
    }
    out.disp = static_cast<i32>(disp);
  } else if (m.base != ZYDIS_REGISTER_NONE && !has_no_base(d)) {
    out.base = slot_of(m.base);
  }
}

bool ends(const Decoded& d) {
  switch (d.info.meta.category) {
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_INTERRUPT: return true;
    default: break;
  }
  switch (d.info.mnemonic) {
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2: return true;
    default: return false;
  }
}

}  // namespace

bool Decoder::refused(const Insn& insn) { return insn.fn == raise_ud || insn.fn == raise_gp; }

const ZydisDecodedOperand* Decoded::memory() const {
  for (unsigned n = 0; n < info.operand_count; ++n)
    if (operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
        operands[n].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
      return &operands[n];
  return nullptr;
}

u8 slot_of(ZydisRegister reg) {
  if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
    return static_cast<u8>((reg - ZYDIS_REGISTER_AH) * 8 + 1);
  if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
    return slot::of(static_cast<unsigned>(reg - ZYDIS_REGISTER_AL));
  if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
    return slot::of(static_cast<unsigned>(reg - ZYDIS_REGISTER_SPL) + 4);
  if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W)
    return slot::of(static_cast<unsigned>(reg - ZYDIS_REGISTER_AX));
  if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
    return slot::of(static_cast<unsigned>(reg - ZYDIS_REGISTER_EAX));
  if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
    return slot::of(static_cast<unsigned>(reg - ZYDIS_REGISTER_RAX));
  return slot::zero;
}

Decoder::Status Decoder::decode(Cpu& cpu, const u8* bytes, unsigned available, u16 offset, Insn& out,
                                bool& ends_block) {
  const unsigned usable =
      available < ZYDIS_MAX_INSTRUCTION_LENGTH ? available : ZYDIS_MAX_INSTRUCTION_LENGTH;
  Parsed p;
  if (!parse(cpu.code_size(), bytes, usable, p))
    return decode_by_zydis(cpu, bytes, available, offset, out, ends_block);
  if (cpu.forms().fill(p, cpu.code_size(), offset, out, ends_block)) return Status::ok;
  const Status st = decode_by_zydis(cpu, bytes, available, offset, out, ends_block);
  const bool lasts = out.fn != raise_ud && out.fn != raise_gp && out.fn != no_stub_room;
  if (st == Status::ok && lasts)
    cpu.forms().learn(p, cpu.code_size(), offset, out, ends_block);
  return st;
}

Decoder::Status Decoder::decode_by_zydis(Cpu& cpu, const u8* bytes, unsigned available, u16 offset,
                                         Insn& out, bool& ends_block) {
  Decoded d;
  d.code_size = cpu.code_size();
  d.model = &cpu.model();
  const unsigned usable =
      available < ZYDIS_MAX_INSTRUCTION_LENGTH ? available : ZYDIS_MAX_INSTRUCTION_LENGTH;
  const ZyanStatus st =
      ZydisDecoderDecodeFull(&decoder_for(d.code_size), bytes, usable, &d.info, d.operands);
  out = Insn{};
  out.offset = offset;
  ends_block = false;
  if (!ZYAN_SUCCESS(st)) {
    if (st == ZYDIS_STATUS_NO_MORE_DATA && usable < ZYDIS_MAX_INSTRUCTION_LENGTH)
      return Status::truncated;
    const bool too_long =
        st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG || st == ZYDIS_STATUS_NO_MORE_DATA;
    out.length = 1;
    out.fn = too_long ? raise_gp : raise_ud;
    ends_block = true;
    return Status::ok;
  }
  std::memcpy(d.bytes, bytes, d.info.length);
  out.length = d.info.length;
  out.fn = raise_ud;
  if (const ZydisDecodedOperand* m = d.memory()) bind_memory(d, *m, out);
  if (!out.fn) {  // no room for the displacement here: alone, at offset 0, it has (nearly always)
    if (offset) return Status::truncated;
    out.fn = raise_ud;
    ends_block = true;
    return Status::ok;
  }
  if (d.info.attributes & ZYDIS_ATTRIB_HAS_LOCK) out.prefix |= static_cast<u8>(Prefix::lock);
  if (d.info.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
    out.prefix |= static_cast<u8>(Prefix::rep);
  if (d.info.attributes & ZYDIS_ATTRIB_HAS_REPNE) out.prefix |= static_cast<u8>(Prefix::repne);

  if (is_knights_corner(d) ||
      (!bind_integer(d, out) && !bind_system(d, out) &&
       !bind_replay(d, out, cpu.vm().stubs))) {
    out.fn = raise_ud;
    ends_block = true;
    return Status::ok;
  }
  ends_block = ends(d);
  return Status::ok;
}

}  // namespace bhyve::soft
