#pragma once
#include <cstring>

#include "engine/soft/decode/decoder.hpp"
#include "engine/soft/replay/replay_plan.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/cpu.hpp"

/// Both decoders on the same bytes.
namespace bhyve::soft {

Step replay(Cpu& cpu, const Insn& i);
Step replay_memory(Cpu& cpu, const Insn& i);

struct BothDecoded final {
  Insn ours, zydis;
  Decoder::Status our_status, zydis_status;
  bool our_end = false, zydis_end = false;
};

[[nodiscard]] inline BothDecoded decode_both(Cpu& cpu, const u8* bytes, unsigned n, u16 offset) {
  BothDecoded b;
  b.zydis_status = Decoder::decode_by_zydis(cpu, bytes, n, offset, b.zydis, b.zydis_end);
  b.our_status = Decoder::decode(cpu, bytes, n, offset, b.ours, b.our_end);
  return b;
}

/// Whether both came to the same. Prefixes without meaning may make two stubs of one plan.
[[nodiscard]] inline bool same(const BothDecoded& b) {
  if (b.our_status != b.zydis_status || b.our_end != b.zydis_end) return false;
  if (b.our_status != Decoder::Status::ok || b.ours == b.zydis) return true;
  if (b.ours.fn != replay && b.ours.fn != replay_memory) return false;
  const auto& a = *reinterpret_cast<const ReplayPlan*>(b.ours.imm);
  const auto& z = *reinterpret_cast<const ReplayPlan*>(b.zydis.imm);
  Insn patched = b.ours;
  patched.imm = b.zydis.imm;
  return patched == b.zydis && a.memory_bytes == z.memory_bytes && a.use == z.use &&
         a.gate == z.gate && a.simd == z.simd && a.x87_pointers == z.x87_pointers &&
         a.x87_waits == z.x87_waits && a.alignment == z.alignment && a.fop == z.fop &&
         a.masking == z.masking && a.mask_register == z.mask_register &&
         a.element_bytes == z.element_bytes && a.vector_bytes == z.vector_bytes;
}

}  // namespace bhyve::soft
