// Instructions that the interpreter replays: vectors, x87, and those of general registers that came late.
#include "engine/soft/replay/replay.hpp"
#include "engine/soft/translate/guest_insn.hpp"
#include "engine/soft/translate/guest_insn_rules.hpp"

namespace bhyve::soft {

namespace {

using rule::general, rule::operand_bytes;

/// General registers in vector instructions (SDM vol. 2, appendix A): everything else names vectors.
void vector_operands(GuestInsn& g) {
  const bool any = g.encoding != Encoding::legacy;
  switch (g.map) {
    case 1:
      switch (g.opcode) {
        case 0x2a: g.rm_gpr = g.rep != 0; break;
        case 0x2c: case 0x2d: g.reg_gpr = g.reg_written = g.rep != 0; break;
        case 0x50: case 0xd7: case 0xc5: g.reg_gpr = g.reg_written = true; break;
        case 0x6e: case 0xc4: g.rm_gpr = true; break;
        case 0x7e: if (g.rep != 0xf3) g.rm_gpr = g.rm_written = true; break;
        case 0x78: case 0x79: if (any) g.reg_gpr = g.reg_written = g.rep != 0; break;
        case 0x7b: if (any) g.rm_gpr = g.rep != 0; break;
        case 0x92: g.rm_gpr = true; break;
        case 0x93: g.reg_gpr = g.reg_written = true; break;
        default: break;
      }
      break;
    case 2:
      if (g.opcode >= 0x7a && g.opcode <= 0x7c) g.rm_gpr = true;
      break;
    default:
      if (g.opcode >= 0x14 && g.opcode <= 0x17) g.rm_gpr = g.rm_written = true;
      if (g.opcode == 0x20 || g.opcode == 0x22) g.rm_gpr = true;
      break;
  }
}

u8 vector_flags(const GuestInsn& g) {
  switch (g.map) {
    case 1:
      if (g.opcode == 0x2e || g.opcode == 0x2f) return flag::all;
      return (g.opcode == 0x98 || g.opcode == 0x99) && g.encoding == Encoding::vex ? flag::all : 0;
    case 2:
      if (g.encoding == Encoding::evex) return 0;
      return g.opcode == 0x17 || g.opcode == 0x0e || g.opcode == 0x0f ? flag::all : 0;
    default: return g.opcode >= 0x60 && g.opcode <= 0x63 ? flag::all : 0;
  }
}

/// The mandatory prefix of VEX and EVEX forms, as the legacy forms have it.
void implied_prefix(GuestInsn& g) {
  if (g.encoding == Encoding::legacy) return;
  const u8 p = g.bytes[g.vex_at + (g.bytes[g.vex_at] == 0xc5 ? 1 : 2)] & 3;
  g.prefix66 = p == 1;
  g.rep = p == 2 ? 0xf3 : p == 3 ? 0xf2 : 0;
}

/// BMI, ADX, CRC32 and the like: all operands are general registers.
bool general_replay(GuestInsn& g) {
  const unsigned wide = g.encoding == Encoding::legacy
                            ? g.rex >> 3 & 1u
                            : g.bytes[g.vex_at] == 0xc5 ? 0u : g.bytes[g.vex_at + 2] >> 7;
  if (g.map == 1 && g.encoding == Encoding::legacy &&
      (g.opcode == 0xb8 || g.opcode == 0xbc || g.opcode == 0xbd) && g.rep == 0xf3) {
    general(g, true, false, false);
    g.writes = flag::all;
    return true;
  }
  if (g.map == 2 && g.opcode >= 0xf0 && g.opcode <= 0xf7) {
    const bool vex = g.encoding == Encoding::vex;
    if (!vex && (g.opcode == 0xf0 || g.opcode == 0xf1)) {
      if (g.rep != 0xf2) return false;  // MOVBE is the interpreter's
      general(g, true, false, false);   // CRC32
      g.byte_rm = g.opcode == 0xf0;
      g.size = static_cast<u8>(g.byte_rm ? 1 : operand_bytes(g));
      return true;
    }
    if (!vex && g.opcode == 0xf6) {  // ADCX, ADOX
      general(g, true, false, false);
      g.size = wide ? 8 : 4;
      g.reads = g.writes = g.rep == 0xf3 ? flag::of : flag::cf;
      return true;
    }
    if (!vex || g.opcode == 0xf4) return false;
    general(g, true, false, false);
    g.vvvv_gpr = true;
    g.size = wide ? 8 : 4;
    if (g.opcode == 0xf3) {  // BLSR ...: the destination is vvvv
      g.reg_gpr = g.reg_written = false;
      g.vvvv_written = true;
    }
    if (g.opcode == 0xf6) g.vvvv_written = true;  // MULX; RDX is the host's
    const bool quiet = g.opcode == 0xf6 || (g.rep && g.opcode != 0xf2) ||
                       (g.opcode == 0xf7 && g.prefix66);
    if (!quiet || g.opcode == 0xf3) g.writes = flag::all;
    return true;
  }
  if (g.map == 3 && g.opcode == 0xf0 && g.encoding == Encoding::vex) {  // RORX
    general(g, true, false, false);
    g.size = wide ? 8 : 4;
    return true;
  }
  return false;
}

}  // namespace

void rule::replayed(GuestInsn& g) {
  const auto& plan = *reinterpret_cast<const ReplayPlan*>(g.insn->imm);
  if (eager_park && plan.simd) return;
  if (!g.has_modrm) {
    if (g.encoding != Encoding::vex) return;
    g.kind = Kind::copy_plain;  // VZEROUPPER, VZEROALL
    g.gate = static_cast<u8>(1 + static_cast<u8>(plan.gate));
    return;
  }
  implied_prefix(g);
  if (plan.gate == Gate::none || plan.gate == Gate::vex_gpr) {
    if (!general_replay(g)) g.kind = Kind::callout;
    return;
  }
  if (plan.gate == Gate::mmx || plan.gate == Gate::wait) return;
  if (plan.x87_waits && plan.gate != Gate::x87) return;  // MMX registers
  g.kind = Kind::copy;
  g.gate = static_cast<u8>(1 + static_cast<u8>(plan.gate));
  g.x87 = plan.gate == Gate::x87;
  g.mem_read = plan.use == MemoryUse::read || plan.use == MemoryUse::read_write;
  g.mem_written = plan.use == MemoryUse::write || plan.use == MemoryUse::read_write;
  g.size = static_cast<u8>(plan.memory_bytes);
  g.masked = plan.masking != Masking::none;
  g.aligned = plan.alignment > 1;
  if (g.x87) {
    // FCMOVcc and FCOMI use flags, FNSTSW AX a register that is the host's.
    const bool da_db = (g.opcode == 0xda || g.opcode == 0xdb) && !g.memory();
    if (da_db && (g.modrm >> 3 & 7) < 4) g.reads = flag::all;
    if ((g.opcode == 0xdb || g.opcode == 0xdf) && !g.memory() && (g.modrm >> 3 & 7) >= 5)
      g.writes = flag::all;
    if (plan.use != MemoryUse::none && plan.use != MemoryUse::read) g.mem_read = true;
    return;
  }
  vector_operands(g);
  g.writes = vector_flags(g);
}

}  // namespace bhyve::soft
