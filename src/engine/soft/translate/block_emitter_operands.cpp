// Instructions that are copied with their operands substituted.
#include "engine/soft/cpu.hpp"
#include "engine/soft/replay/replay_plan.hpp"
#include "engine/soft/translate/block_emitter.hpp"

namespace bhyve::soft {

/// Operands of the host's instruction.
struct BlockEmitter::Fields final {
  static constexpr u8 keep = 0xfe;
  u8 reg = keep;   ///< host register, or as the guest's bytes say (vectors, opcode extensions)
  u8 rm = keep;
  u8 vvvv = keep;
  bool memory = false;
  HostMem mem{};
};

void BlockEmitter::encode_modrm(const GuestInsn& g, const Fields& f) {
  const u8 reg = f.reg == Fields::keep ? g.modrm >> 3 & 7 : f.reg;
  if (f.memory)
    c_.modrm(reg, f.mem, true);
  else
    c_.modrm(reg, f.rm == Fields::keep ? g.modrm & 7 : f.rm);
  c_.bytes(g.bytes + g.imm_at, g.imm_size);
}

void BlockEmitter::encode_legacy(const GuestInsn& g, const Fields& f) {
  if (g.lock) c_.byte(0xf0);
  if (g.prefix66) c_.byte(0x66);
  if (g.rep) c_.byte(g.rep);
  const auto high = [](u8 host, unsigned guest) { return host == Fields::keep ? guest : host >> 3 & 1u; };
  unsigned rex = g.rex & 8u;
  rex |= high(f.reg, g.rex >> 2 & 1u) << 2;
  if (f.memory) {
    rex |= f.mem.base >> 3 & 1u;
    if (f.mem.index != HostMem::none) rex |= (f.mem.index >> 3 & 1u) << 1;
  } else {
    rex |= high(f.rm, g.rex & 1u);
  }
  if (rex || g.rex) c_.byte(0x40 | rex);
  if (g.map) c_.byte(0x0f);
  if (g.map == 2) c_.byte(0x38);
  if (g.map == 3) c_.byte(0x3a);
  c_.byte(g.opcode);
  encode_modrm(g, f);
}

/// VEX in its three-byte form, and EVEX: register bits are stored inverted (SDM vol. 2, 2.3.5, 2.7.1).
void BlockEmitter::encode_vector(const GuestInsn& g, const Fields& f) {
  const u8* v = g.bytes + g.vex_at;
  const bool evex = g.encoding == Encoding::evex, two = v[0] == 0xc5;
  u8 p0 = two ? static_cast<u8>((v[1] & 0x80) | 0x61) : v[1];
  u8 p1 = two ? v[1] & 0x7f : v[2];
  const auto set = [&p0](u8 mask, bool one) { p0 = static_cast<u8>(one ? p0 & ~mask : p0 | mask); };
  if (f.reg != Fields::keep) {
    set(0x80, f.reg & 8);
    if (evex) set(0x10, false);
  }
  if (f.memory) {
    set(0x20, f.mem.base & 8);
    set(0x40, f.mem.index != HostMem::none && (f.mem.index & 8));
  } else if (f.rm != Fields::keep) {
    set(0x20, f.rm & 8);
    set(0x40, false);
  }
  if (f.vvvv != Fields::keep) p1 = static_cast<u8>((p1 & ~0x78) | (~f.vvvv & 15) << 3);
  c_.byte(evex ? 0x62 : 0xc4), c_.byte(p0), c_.byte(p1);
  if (evex) c_.byte(v[3]);
  c_.byte(g.opcode);
  encode_modrm(g, f);
}

void BlockEmitter::encode(const GuestInsn& g, const Fields& f) {
  if (g.encoding == Encoding::legacy)
    encode_legacy(g, f);
  else
    encode_vector(g, f);
}

bool BlockEmitter::gate_check(const GuestInsn& g) {
  const u8 bit = static_cast<u8>(1u << (g.gate - 1));
  if (open_gates_ & bit) return false;
  clobber_flags(g.reads | (g.live_after & ~g.writes));
  held_ = BlockWindows::none;
  c_.rm(0xf6, 0, state(gates_), false);  // test byte [gates], bit
  c_.byte(bit);
  Cold cold{Cold::Kind::callout};
  cold.from = c_.jump_if(cc::z);
  cold.g = &g;
  cold_.push_back(cold);
  open_gates_ |= bit;
  return true;
}

/// FIP, FDP and FOP of the guest's instruction, as record_pointers() of the interpreter's does.
void BlockEmitter::record_x87(const GuestInsn& g) {
  const auto& plan = *reinterpret_cast<const ReplayPlan*>(g.insn->imm);
  if (!plan.x87_pointers) return;
  const Fpu& fpu = t_.cpu().fpu;
  load_page(host::s0);
  c_.lea(host::s0, {host::s0, static_cast<i32>(offset_of(g))});
  c_.store(state(t_.offset(fpu.fip)), host::s0);
  c_.byte(0x66);
  c_.rm(0xc7, 0, state(t_.offset(fpu.fop)), false);
  c_.byte(plan.fop & 0xff), c_.byte(plan.fop >> 8);
  if (!g.memory()) return;
  c_.load(host::s0, state(linear_));
  c_.store(state(t_.offset(fpu.fdp)), host::s0);
}

void BlockEmitter::emit_copy(const GuestInsn& g) {
  const u8 live = g.reads | (g.live_after & ~g.writes);
  const u8 needed = g.writes ? live : g.reads;
  // The window first: when the gate is closed, the interpreter does this instruction, but not the check.
  const auto access = operand_access(g);
  const bool in_a_window = windowed(g, access);
  const bool may_call = g.gate && gate_check(g);
  Fields f;
  u8 homes[3] = {host::in_memory, host::in_memory, host::in_memory};  // guest register in s0, s1
  const auto place = [&](u8 guest, u8 scratch) {
    const u8 h = host::of_guest[guest];
    if (h != host::in_memory) return h;
    homes[scratch == host::s1] = guest;
    if (scratch == host::s1) held_ = BlockWindows::none;
    return scratch;
  };
  if (in_a_window) {
    flags_to_host(needed);
    f.memory = true;
    f.mem = in_window(access);
    if (g.reg_gpr) f.reg = place(g.reg(), host::s0);
    if (g.vvvv_gpr) f.vvvv = place(g.vvvv(), host::s0);
    if (homes[0] != host::in_memory) c_.load(host::s0, home(homes[0]));
  } else if (g.memory()) {
    clobber_flags(live);
    address(*g.insn);
    if (g.x87) c_.store(state(linear_), host::s0);
    check(g, g.size, g.mem_written);
    flags_to_host_busy(needed);
    f.memory = true;
    f.mem = {host::s0, 0, host::s1};
    if (g.reg_gpr) f.reg = place(g.reg(), host::s0);
    if (g.vvvv_gpr) f.vvvv = place(g.vvvv(), host::s0);
    if (homes[0] != host::in_memory) {
      c_.lea(host::s1, f.mem);
      f.mem = {host::s1};
      held_ = BlockWindows::none;
      c_.load(host::s0, home(homes[0]));
    }
  } else {
    flags_to_host(needed);
    if (g.reg_gpr && !(g.byte_reg && g.high_byte(g.reg()))) f.reg = place(g.reg(), host::s0);
    if (g.vvvv_gpr) f.vvvv = place(g.vvvv(), f.reg == host::s0 ? host::s1 : host::s0);
    if (g.rm_gpr && !(g.byte_rm && g.high_byte(g.rm()))) {
      const u8 guest = g.rm();
      const bool whole = !g.rm_written || (g.rex & 8 && g.encoding == Encoding::legacy && !g.gate);
      if (host::of_guest[guest] == host::in_memory && whole && !g.lock &&
          !g.gate && !g.rm_in_register && !(g.reg_gpr && g.reg() == guest)) {
        f.memory = true;
        f.mem = home(guest);
      } else if (g.reg_gpr && f.reg == host::s0 && g.reg() == guest) {
        f.rm = host::s0;
      } else {
        f.rm = place(guest, host::s1);
      }
    }
    for (unsigned n = 0; n < 2; ++n)
      if (homes[n] != host::in_memory) c_.load(n ? host::s1 : host::s0, home(homes[n]));
  }
  places.back().flags_live = in_host_ && !in_memory_;
  encode(g, f);
  const auto keep = [&](bool written, u8 h, u8 guest) {
    if (written && h != Fields::keep && (h == host::s0 || h == host::s1) && host::of_guest[guest] == host::in_memory)
      c_.store(home(guest), h);
  };
  if (g.rm_gpr && !f.memory) keep(g.rm_written, f.rm, g.rm());
  if (g.vvvv_gpr) keep(g.vvvv_written, f.vvvv, g.vvvv());
  if (g.reg_gpr) keep(g.reg_written, f.reg, g.reg());
  if (g.writes) in_host_ = true, in_memory_ = false;
  if (g.x87) record_x87(g);
  if (may_call) held_ = BlockWindows::none;  // s1 is lost on that way
}

void BlockEmitter::emit_plain(const GuestInsn& g) {
  if (g.gate) (void)gate_check(g);
  flags_to_host(g.writes ? g.reads | (g.live_after & ~g.writes) : g.reads);
  if (g.encoding == Encoding::vex) {
    c_.bytes(g.bytes + g.vex_at, g.insn->length - g.vex_at);
    return;
  }
  if (g.prefix66) c_.byte(0x66);
  if (g.rex & 8) c_.byte(0x48);
  c_.byte(g.opcode);
  c_.bytes(g.bytes + g.imm_at, g.imm_size);
  if (g.writes) in_host_ = true, in_memory_ = false;
}

void BlockEmitter::emit_move_imm(const GuestInsn& g) {
  const u8 guest = static_cast<u8>((g.opcode & 7) | (g.rex & 1u) << 3);
  const bool is_byte = g.opcode < 0xb8;
  if (is_byte && g.high_byte(guest)) {
    c_.byte(g.opcode), c_.byte(g.bytes[g.imm_at]);
    return;
  }
  const u8 h = host::of_guest[guest];
  const u8 to = h == host::in_memory ? host::s0 : h;
  if (is_byte || (g.prefix66 && !(g.rex & 8))) {
    if (to == host::s0) c_.load(host::s0, home(guest));
    if (!is_byte) c_.byte(0x66);
    const unsigned rex = to >> 3 & 1u;
    if (rex || g.rex) c_.byte(0x40 | rex);
    c_.byte((g.opcode & 0xf8u) | (to & 7u));
    c_.bytes(g.bytes + g.imm_at, is_byte ? 1 : 2);
  } else {
    c_.move_imm(to, g.rex & 8 ? g.insn->imm : static_cast<u32>(g.insn->imm));
  }
  if (to == host::s0) c_.store(home(guest), host::s0);
}

void BlockEmitter::emit_bswap(const GuestInsn& g) {
  const u8 guest = static_cast<u8>((g.opcode & 7) | (g.rex & 1u) << 3);
  const u8 h = host::of_guest[guest];
  const u8 to = h == host::in_memory ? host::s0 : h;
  if (to == host::s0) c_.load(host::s0, home(guest));
  const unsigned rex = (g.rex & 8u) | (to >> 3 & 1u);
  if (rex) c_.byte(0x40 | rex);
  c_.byte(0x0f), c_.byte(0xc8u | (to & 7u));
  if (to == host::s0) c_.store(home(guest), host::s0);
}

void BlockEmitter::emit_lea(const GuestInsn& g) {
  const u8 guest = g.reg(), h = host::of_guest[guest];
  const u8 to = h == host::in_memory ? host::s0 : h;
  const HostMem m = operand(*g.insn);
  const bool wide = g.rex & 8;
  if (m.base == HostMem::none && m.index == HostMem::none)
    c_.move_imm(to, wide ? static_cast<u64>(i64{m.disp}) : static_cast<u32>(m.disp));
  else
    c_.rm(0x8d, to, m, wide);
  if (to == host::s0) c_.store(home(guest), host::s0);
}

}  // namespace bhyve::soft
