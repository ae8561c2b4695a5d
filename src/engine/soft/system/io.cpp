// Port I/O (SDM vol. 1, ch. 19).
#include "engine/soft/system/descriptor.hpp"
#include "engine/soft/system/system.hpp"

namespace bhyve::soft {

using x86::Gpr;
using x86::Seg;
using x86::Segment;

namespace {

/// IOPL, then the I/O permission bitmap of the TSS (19.5.2). False: failed().
bool port_allowed(Cpu& cpu, u16 port, unsigned size) {
  if (!cpu.v86_mode() && cpu.cpl() <= iopl(cpu)) return true;
  if (cpu.real_mode()) return true;
  const Segment& tr = cpu.s.seg[static_cast<u8>(Seg::tr)];
  const unsigned type = tr.access & 0xf;
  const bool has_map = (type == systype::tss32 || type == systype::tss32_busy) && tr.limit >= 103;
  u16 map = 0, bits = 0;
  if (has_map) {
    if (!cpu.read_system(tr.base + 102, map)) return false;
    const u32 at = u32{map} + port / 8;
    if (at + 1 <= tr.limit) {
      if (!cpu.read_system(tr.base + at, bits)) return false;
      if (!(bits >> (port % 8) & ((1u << size) - 1))) return true;
    }
  }
  cpu.gp0();
  return false;
}

/// The access itself, or the caller's answer to it. False: failed().
bool pio(Cpu& cpu, const Insn& i, u16 port, unsigned size, u32& value, Dir dir) {
  cpu.note_port(port, size);
  if (cpu.take_pio_answer(port, size, dir, value)) return true;
  ++cpu.counters.pio;
  switch (cpu.leave().pio(cpu.id(), port, size, value, dir)) {
    case engine::Client::Access::done: cpu.keep_pio_answer(port, size, dir, value); return true;
    case engine::Client::Access::fault: cpu.gp0(); return false;
    case engine::Client::Access::exit: break;
  }
  engine::Exit& exit = cpu.exit_record();
  exit.rip = cpu.rip_of(i);
  exit.inst_length = i.length;
  exit.inout = {port, static_cast<u8>(size), dir == Dir::read, dir == Dir::read ? 0 : value};
  cpu.leave_with(abi::ExitCode::inout);
  return false;
}

u16 port_of(Cpu& cpu, const Insn& i) {
  return static_cast<u16>(i.misc ? cpu.r(Gpr::rdx) : i.imm);
}

u64 address_mask(const Insn& i) { return low_bytes(~u64{0}, 1u << i.address_size); }

/// Moves RSI or RDI by one element in the width of the address size.
void advance(Cpu& cpu, const Insn& i, Gpr g) {
  const u64 step = bytes_of(i);
  const u64 moved = cpu.r(g) + (cpu.sysflags & x86::rflags::df ? 0 - step : step);
  set_reg_sized(cpu, slot::of(static_cast<unsigned>(g)), 1u << i.address_size,
                moved & address_mask(i));
}

bool repeats(const Insn& i) { return i.prefix & 3; }

bool count_is_zero(Cpu& cpu, const Insn& i) {
  return repeats(i) && (cpu.r(Gpr::rcx) & address_mask(i)) == 0;
}

/// Ends one iteration: RCX counts down with REP.
Step end_iteration(Cpu& cpu, const Insn& i) {
  if (!repeats(i)) return Step::next;
  const u64 left = (cpu.r(Gpr::rcx) - 1) & address_mask(i);
  set_reg_sized(cpu, slot::of(static_cast<unsigned>(Gpr::rcx)), 1u << i.address_size, left);
  return left ? Step::repeat : Step::next;
}

}  // namespace

Step h_in(Cpu& cpu, const Insn& i) {
  const u16 port = port_of(cpu, i);
  u32 value = 0;
  if (!port_allowed(cpu, port, bytes_of(i)) || !pio(cpu, i, port, bytes_of(i), value, Dir::read))
    return cpu.failed();
  set_reg_sized(cpu, slot::of(0), bytes_of(i), value);
  return Step::next;
}

Step h_out(Cpu& cpu, const Insn& i) {
  const u16 port = port_of(cpu, i);
  u32 value = static_cast<u32>(low_bytes(cpu.r(Gpr::rax), bytes_of(i)));
  if (!port_allowed(cpu, port, bytes_of(i)) || !pio(cpu, i, port, bytes_of(i), value, Dir::write))
    return cpu.failed();
  return Step::next;
}

// The right to the port is checked even when the count is zero, as processors do.
Step h_ins(Cpu& cpu, const Insn& i) {
  const u16 port = static_cast<u16>(cpu.r(Gpr::rdx));
  const unsigned size = bytes_of(i);
  if (!port_allowed(cpu, port, size)) return cpu.failed();
  if (count_is_zero(cpu, i)) return Step::next;
  u64 la = 0;
  u32 value = 0;
  // The destination is checked first: what was read from a device cannot be read again.
  if (!cpu.linear(Seg::es, cpu.r(Gpr::rdi) & address_mask(i), size, true, la) ||
      !cpu.probe_write(la, size, Seg::es) || !pio(cpu, i, port, size, value, Dir::read) ||
      !write_sized(cpu, la, size, value, Seg::es))
    return cpu.failed();
  advance(cpu, i, Gpr::rdi);
  return end_iteration(cpu, i);
}

Step h_outs(Cpu& cpu, const Insn& i) {
  const u16 port = static_cast<u16>(cpu.r(Gpr::rdx));
  const unsigned size = bytes_of(i);
  if (!port_allowed(cpu, port, size)) return cpu.failed();
  if (count_is_zero(cpu, i)) return Step::next;
  const Seg seg = static_cast<Seg>(+i.seg);
  u64 la = 0, value = 0;
  if (!cpu.linear(seg, cpu.r(Gpr::rsi) & address_mask(i), size, false, la) ||
      !read_sized(cpu, la, size, value, seg))
    return cpu.failed();
  u32 out = static_cast<u32>(value);
  if (!pio(cpu, i, port, size, out, Dir::write)) return cpu.failed();
  advance(cpu, i, Gpr::rsi);
  return end_iteration(cpu, i);
}

}  // namespace bhyve::soft
