// FNSTENV, FNSAVE, FLDENV and FRSTOR on the parked state. Insn::misc: 1 = 32-bit format.
#include "engine/soft/replay/special.hpp"
#include "engine/soft/replay/x87_env.hpp"

namespace bhyve::soft {

namespace {

constexpr unsigned register_bytes = 10, registers_bytes = 8 * register_bytes;
constexpr u16 fcw_initial = 0x37f, all_masked = 0x3f;
constexpr u16 fcw_defined = 0x1f3f, fcw_fixed = 0x40;  // bit 6 reads as one, 7 and 13-15 as zero

X87Format format_of(const Cpu& c, const Insn& i) {
  return {.wide = i.misc != 0, .real = c.real_mode() || c.v86_mode()};
}

void encode_environment(Cpu& c, X87Format format, u8* to) {
  const LegacyRegion& x87 = ParkedRegisters(c.fpu).legacy();
  const X87Environment e{.fcw = x87.head.fcw,
                         .fsw = x87.head.fsw,
                         .tags = full_tags(x87),
                         .fip = c.fpu.fip,
                         .fdp = c.fpu.fdp,
                         .fop = c.fpu.fop};
  e.encode(format, to);
}

/// The area holds the registers in stack order: a new TOP turns them, their contents stay.
void turn_stack(LegacyRegion& x87, unsigned old_top, unsigned new_top) {
  u8 before[8][16];
  std::memcpy(before, x87.st, sizeof before);
  for (unsigned n = 0; n < 8; ++n)
    std::memcpy(x87.st[n], before[(new_top - old_top + n) & 7], sizeof before[0]);
}

void load_environment(Cpu& c, const X87Environment& e) {
  LegacyRegion& x87 = ParkedRegisters(c.fpu).legacy();
  LegacyHead& head = x87.head;
  turn_stack(x87, head.fsw >> 11 & 7, e.fsw >> 11 & 7);
  head.fcw = static_cast<u16>((e.fcw & fcw_defined) | fcw_fixed);
  head.fsw = with_summary(e.fsw, head.fcw);
  head.ftw = abridged_tags(e.tags);
  c.fpu.fip = e.fip;
  c.fpu.fdp = e.fdp;
  c.fpu.fop = e.fop;
}

/// What FNINIT does: the contents of the data registers stay.
void initialise(Cpu& c) {
  load_environment(c, {.fcw = fcw_initial, .fsw = 0, .tags = 0xffff, .fip = 0, .fdp = 0, .fop = 0});
}

}  // namespace

Step h_fnstenv(Cpu& c, const Insn& i) {
  if (!pass_gate(c, Gate::x87)) return c.failed();
  const X87Format format = format_of(c, i);
  u64 la;
  if (!c.linear(i, format.size(), true, la)) return c.failed();
  ParkedRegisters registers(c.fpu);
  c.fpu.materialise(0);
  u8 image[28];
  encode_environment(c, format, image);
  if (!c.write_bytes(la, image, format.size(), seg_of(i))) return c.failed();
  LegacyHead& head = registers.legacy().head;
  head.fcw |= all_masked;
  head.fsw = with_summary(head.fsw, head.fcw);
  return Step::next;
}

Step h_fnsave(Cpu& c, const Insn& i) {
  if (!pass_gate(c, Gate::x87)) return c.failed();
  const X87Format format = format_of(c, i);
  const unsigned size = format.size() + registers_bytes;
  u64 la;
  if (!c.linear(i, size, true, la)) return c.failed();
  ParkedRegisters registers(c.fpu);
  c.fpu.materialise(0);
  u8 image[28 + registers_bytes];
  encode_environment(c, format, image);
  for (unsigned n = 0; n < 8; ++n)
    std::memcpy(image + format.size() + n * register_bytes, registers.legacy().st[n],
                register_bytes);
  if (!c.write_bytes(la, image, size, seg_of(i))) return c.failed();
  initialise(c);
  return Step::next;
}

Step h_fldenv(Cpu& c, const Insn& i) {
  if (!pass_gate(c, Gate::x87)) return c.failed();
  if (ParkedRegisters(c.fpu).x87_pending()) return raise_x87_error(c);
  const X87Format format = format_of(c, i);
  u64 la;
  u8 image[28];
  if (!c.linear(i, format.size(), false, la) ||
      !c.read_bytes(la, image, format.size(), seg_of(i)))
    return c.failed();
  c.fpu.materialise(0);
  load_environment(c, X87Environment::decode(format, image));
  return Step::next;
}

Step h_frstor(Cpu& c, const Insn& i) {
  if (!pass_gate(c, Gate::x87)) return c.failed();
  ParkedRegisters registers(c.fpu);
  if (registers.x87_pending()) return raise_x87_error(c);
  const X87Format format = format_of(c, i);
  const unsigned size = format.size() + registers_bytes;
  u64 la;
  u8 image[28 + registers_bytes];
  if (!c.linear(i, size, false, la) || !c.read_bytes(la, image, size, seg_of(i)))
    return c.failed();
  c.fpu.materialise(0);
  load_environment(c, X87Environment::decode(format, image));
  for (unsigned n = 0; n < 8; ++n)
    std::memcpy(registers.legacy().st[n], image + format.size() + n * register_bytes,
                register_bytes);
  return Step::next;
}

}  // namespace bhyve::soft
