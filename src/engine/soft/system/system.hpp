#pragma once
#include "engine/soft/cpu.hpp"

/// Handlers of the sensitive instructions and what they share. Private to system/. Operand fields
/// that bind_system() fills are named at each family; `size` is the log2 of the operand size.
namespace bhyve::soft {

// ---- small helpers ----------------------------------------------------------------------------
[[nodiscard]] inline unsigned bytes_of(const Insn& i) { return 1u << i.size; }
[[nodiscard]] inline u64 low_bytes(u64 v, unsigned size) {
  return size == 8 ? v : v & (bit(size * 8) - 1);
}
[[nodiscard]] inline u64& gpr_of(Cpu& cpu, x86::Gpr g) { return cpu.r(g); }
/// EDX:EAX as RDMSR and XGETBV use it.
inline void set_edx_eax(Cpu& cpu, u64 v) {
  cpu.r(x86::Gpr::rax) = static_cast<u32>(v);
  cpu.r(x86::Gpr::rdx) = v >> 32;
}
[[nodiscard]] inline u64 edx_eax(Cpu& cpu) {
  return cpu.r(x86::Gpr::rdx) << 32 | static_cast<u32>(cpu.r(x86::Gpr::rax));
}
[[nodiscard]] inline u32 ecx_of(Cpu& cpu) { return static_cast<u32>(cpu.r(x86::Gpr::rcx)); }

/// ZF and CF in Cpu::flags (PackedFlags: AH in the high byte).
inline constexpr PackedFlags packed_zf = 0x4000, packed_cf = 0x0100, packed_of = 0x0001,
                             packed_fixed = 0x0200;
inline void set_zf(Cpu& cpu, bool on) {
  cpu.flags = static_cast<PackedFlags>(on ? cpu.flags | packed_zf : cpu.flags & ~packed_zf);
}

[[nodiscard]] inline unsigned iopl(const Cpu& cpu) {
  return static_cast<unsigned>(x86::rflags::Iopl::get(cpu.sysflags));
}
/// Protected mode proper: descriptors rule. False in real and V86 mode.
[[nodiscard]] inline bool uses_descriptors(const Cpu& cpu) {
  return cpu.protected_mode() && !cpu.v86_mode();
}

/// Reads or writes an operand of run-time width (1, 2, 4, 8) at a linear address, with the current
/// privilege.
[[nodiscard]] bool read_sized(Cpu& cpu, u64 la, unsigned size, u64& v, x86::Seg seg);
[[nodiscard]] bool write_sized(Cpu& cpu, u64 la, unsigned size, u64 v, x86::Seg seg);
/// Writes a register operand of run-time width.
void set_reg_sized(Cpu& cpu, u8 slot_offset, unsigned size, u64 v);

// ---- handlers, by family file -----------------------------------------------------------------
Step h_ud(Cpu& cpu, const Insn& i);
Step h_nop(Cpu& cpu, const Insn& i);

// segment_insns.cpp. misc = x86::Seg
Step h_mov_to_sreg(Cpu& cpu, const Insn& i);    ///< src register
Step h_load_sreg(Cpu& cpu, const Insn& i);      ///< from memory
Step h_mov_from_sreg(Cpu& cpu, const Insn& i);  ///< dst register
Step h_store_sreg(Cpu& cpu, const Insn& i);     ///< to memory
Step h_push_sreg(Cpu& cpu, const Insn& i);
Step h_pop_sreg(Cpu& cpu, const Insn& i);
Step h_load_far_pointer(Cpu& cpu, const Insn& i);  ///< LDS ...; dst register
Step h_rdfsbase(Cpu& cpu, const Insn& i);
Step h_wrfsbase(Cpu& cpu, const Insn& i);
Step h_swapgs(Cpu& cpu, const Insn& i);

// descriptor_insns.cpp. Operand: register src/dst when ea == none, else memory
Step h_lgdt(Cpu& cpu, const Insn& i);
Step h_lidt(Cpu& cpu, const Insn& i);
Step h_sgdt(Cpu& cpu, const Insn& i);
Step h_sidt(Cpu& cpu, const Insn& i);
Step h_lldt(Cpu& cpu, const Insn& i);
Step h_ltr(Cpu& cpu, const Insn& i);
Step h_sldt(Cpu& cpu, const Insn& i);
Step h_str(Cpu& cpu, const Insn& i);
Step h_smsw(Cpu& cpu, const Insn& i);
Step h_lar(Cpu& cpu, const Insn& i);
Step h_lsl(Cpu& cpu, const Insn& i);
Step h_verr(Cpu& cpu, const Insn& i);
Step h_verw(Cpu& cpu, const Insn& i);
Step h_arpl(Cpu& cpu, const Insn& i);

// far_transfer.cpp. Direct: imm = offset, disp = selector
Step h_far_jmp_direct(Cpu& cpu, const Insn& i);
Step h_far_call_direct(Cpu& cpu, const Insn& i);
Step h_far_jmp_memory(Cpu& cpu, const Insn& i);
Step h_far_call_memory(Cpu& cpu, const Insn& i);
Step h_far_ret(Cpu& cpu, const Insn& i);  ///< imm = bytes to release

// iret.cpp
Step h_iret(Cpu& cpu, const Insn& i);

// syscall.cpp. imm = vector
Step h_int(Cpu& cpu, const Insn& i);
Step h_int3(Cpu& cpu, const Insn& i);
Step h_into(Cpu& cpu, const Insn& i);
Step h_icebp(Cpu& cpu, const Insn& i);
Step h_bound(Cpu& cpu, const Insn& i);
Step h_syscall(Cpu& cpu, const Insn& i);
Step h_sysret(Cpu& cpu, const Insn& i);
Step h_sysenter(Cpu& cpu, const Insn& i);
Step h_sysexit(Cpu& cpu, const Insn& i);

// control.cpp. misc = register number
Step h_read_cr(Cpu& cpu, const Insn& i);
Step h_write_cr(Cpu& cpu, const Insn& i);
Step h_read_dr(Cpu& cpu, const Insn& i);
Step h_write_dr(Cpu& cpu, const Insn& i);
Step h_lmsw(Cpu& cpu, const Insn& i);
Step h_clts(Cpu& cpu, const Insn& i);
Step h_xgetbv(Cpu& cpu, const Insn& i);
Step h_xsetbv(Cpu& cpu, const Insn& i);
Step h_invlpg(Cpu& cpu, const Insn& i);
Step h_invpcid(Cpu& cpu, const Insn& i);
Step h_privileged_nop(Cpu& cpu, const Insn& i);  ///< WBINVD, INVD
Step h_cache_line(Cpu& cpu, const Insn& i);      ///< CLFLUSH, CLFLUSHOPT, CLWB
Step h_hlt(Cpu& cpu, const Insn& i);

// flags.cpp
Step h_cli(Cpu& cpu, const Insn& i);
Step h_sti(Cpu& cpu, const Insn& i);
Step h_pushf(Cpu& cpu, const Insn& i);
Step h_popf(Cpu& cpu, const Insn& i);
Step h_stac(Cpu& cpu, const Insn& i);
Step h_clac(Cpu& cpu, const Insn& i);

// io.cpp. imm = port, or misc = 1: port in DX
Step h_in(Cpu& cpu, const Insn& i);
Step h_out(Cpu& cpu, const Insn& i);
Step h_ins(Cpu& cpu, const Insn& i);
Step h_outs(Cpu& cpu, const Insn& i);

// msr.cpp
Step h_rdmsr(Cpu& cpu, const Insn& i);
Step h_wrmsr(Cpu& cpu, const Insn& i);

// misc.cpp
Step h_cpuid(Cpu& cpu, const Insn& i);
Step h_rdtsc(Cpu& cpu, const Insn& i);
Step h_rdtscp(Cpu& cpu, const Insn& i);
Step h_rdpid(Cpu& cpu, const Insn& i);
Step h_rdpmc(Cpu& cpu, const Insn& i);
Step h_rdrand(Cpu& cpu, const Insn& i);
Step h_rdseed(Cpu& cpu, const Insn& i);
Step h_pause(Cpu& cpu, const Insn& i);
Step h_serialize(Cpu& cpu, const Insn& i);

}  // namespace bhyve::soft
