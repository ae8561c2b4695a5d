// MOVDIRI and MOVDIR64B: stores that go around the caches.
#include "engine/soft/interp/tables.hpp"
#include "engine/soft/replay/special.hpp"

namespace bhyve::soft {

namespace {

using Feature = CpuModel::Feature;
constexpr unsigned line = 64;

template <class T>
Step h_movdiri(Cpu& c, const Insn& i) {
  return c.store<T>(i, c.reg<T>(i.src)) ? Step::next : c.failed();
}

/// dst: the register with the destination's offset in ES; the memory operand is the source.
Step h_movdir64b(Cpu& c, const Insn& i) {
  u64 offset = c.reg<u64>(i.dst), from, to;
  if (i.address_size == 2) offset = static_cast<u32>(offset);
  if (i.address_size == 1) offset = static_cast<u16>(offset);
  alignas(line) u8 bytes[line];
  if (!c.linear(i, line, false, from) || !c.read_bytes(from, bytes, line, seg_of(i)) ||
      !c.linear(x86::Seg::es, offset, line, true, to))
    return c.failed();
  if (to % line) return c.gp0();
  if (std::byte* host = c.direct(to, line, true)) {
    // One 64-byte store, as the guest expects: models offer it only where the host has it.
    asm volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x06"  // movdir64b rax, [rsi]
                 :
                 : "a"(host), "S"(bytes)
                 : "memory");
    return Step::next;
  }
  return c.write_bytes(to, bytes, line, x86::Seg::es) ? Step::next : c.failed();
}

}  // namespace

bool bind_movdir(const Decoded& d, Insn& out) {
  if (d.info.mnemonic == ZYDIS_MNEMONIC_MOVDIRI && d.model->has(Feature::movdiri)) {
    out.src = slot_of(d.operands[1].reg.value);
    out.fn = d.operands[1].size == 64 ? h_movdiri<u64> : h_movdiri<u32>;
    return true;
  }
  if (d.info.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B && d.model->has(Feature::movdir64b)) {
    out.dst = slot_of(d.operands[0].reg.value);
    out.fn = h_movdir64b;
    return true;
  }
  return false;
}

}  // namespace bhyve::soft
