#include "engine/soft/replay/masked.hpp"

#include "engine/soft/replay/special.hpp"

namespace bhyve::soft {

namespace {

bool is_compress(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_VCOMPRESSPD: case ZYDIS_MNEMONIC_VCOMPRESSPS:
    case ZYDIS_MNEMONIC_VPCOMPRESSB: case ZYDIS_MNEMONIC_VPCOMPRESSW:
    case ZYDIS_MNEMONIC_VPCOMPRESSD: case ZYDIS_MNEMONIC_VPCOMPRESSQ:
    case ZYDIS_MNEMONIC_VEXPANDPD: case ZYDIS_MNEMONIC_VEXPANDPS:
    case ZYDIS_MNEMONIC_VPEXPANDB: case ZYDIS_MNEMONIC_VPEXPANDW:
    case ZYDIS_MNEMONIC_VPEXPANDD: case ZYDIS_MNEMONIC_VPEXPANDQ: return true;
    default: return false;
  }
}

/// Element size of VMASKMOV and VPMASKMOV, 0 for others.
u8 vector_masked_bytes(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_VMASKMOVPS: case ZYDIS_MNEMONIC_VPMASKMOVD: return 4;
    case ZYDIS_MNEMONIC_VMASKMOVPD: case ZYDIS_MNEMONIC_VPMASKMOVQ: return 8;
    default: return 0;
  }
}

/// Stores of a part of a vector: type E6NF, so the whole operand must be writable, but what the mask
/// suppresses is not changed.
bool stores_part(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_VEXTRACTF32X4: case ZYDIS_MNEMONIC_VEXTRACTF32X8:
    case ZYDIS_MNEMONIC_VEXTRACTI32X4: case ZYDIS_MNEMONIC_VEXTRACTI32X8:
    case ZYDIS_MNEMONIC_VEXTRACTF64X2: case ZYDIS_MNEMONIC_VEXTRACTF64X4:
    case ZYDIS_MNEMONIC_VEXTRACTI64X2: case ZYDIS_MNEMONIC_VEXTRACTI64X4: return true;
    default: return false;
  }
}

/// Read whole whatever the mask says, though their class does not tell (exception type E4NF in the
/// SDM): the mask's elements are not the operand's.
bool reads_whole(ZydisMnemonic m) {
  return m == ZYDIS_MNEMONIC_VGF2P8AFFINEQB || m == ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB ||
         m == ZYDIS_MNEMONIC_VDBPSADBW;
}

bool suppresses_faults(const Decoded& d) {
  if (reads_whole(d.info.mnemonic)) return false;
  switch (d.info.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_E1NF: case ZYDIS_EXCEPTION_CLASS_E2NF:
    case ZYDIS_EXCEPTION_CLASS_E3NF: case ZYDIS_EXCEPTION_CLASS_E4NF:
    case ZYDIS_EXCEPTION_CLASS_E5NF: case ZYDIS_EXCEPTION_CLASS_E6NF:
    case ZYDIS_EXCEPTION_CLASS_E9NF: case ZYDIS_EXCEPTION_CLASS_E10NF:
    case ZYDIS_EXCEPTION_CLASS_E11NF: return false;
    default: break;
  }
  switch (d.info.mnemonic) {  // a mask bit stands for a pair of elements: read them whole
    case ZYDIS_MNEMONIC_VFMULCPH: case ZYDIS_MNEMONIC_VFCMULCPH:
    case ZYDIS_MNEMONIC_VFMADDCPH: case ZYDIS_MNEMONIC_VFCMADDCPH:
    case ZYDIS_MNEMONIC_VFMULCSH: case ZYDIS_MNEMONIC_VFCMULCSH:
    case ZYDIS_MNEMONIC_VFMADDCSH: case ZYDIS_MNEMONIC_VFCMADDCSH: return false;
    default: return true;
  }
}

/// Number of mask bits that count: as many as the narrowest vector of the instruction has elements.
unsigned mask_bits(const Decoded& d, const ZydisDecodedOperand& memory) {
  const bool broadcast = d.info.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID;
  unsigned bits = broadcast ? d.info.avx.vector_length / memory.element_size : memory.element_count;
  for (unsigned n = 0; n < d.info.operand_count_visible; ++n) {
    const auto& op = d.operands[n];
    if (op.type != ZYDIS_OPERAND_TYPE_REGISTER || op.reg.value < ZYDIS_REGISTER_XMM0 ||
        op.reg.value > ZYDIS_REGISTER_ZMM31)
      continue;
    bits = op.element_count < bits ? op.element_count : bits;
  }
  return bits;
}

/// Segmentation's look at the elements that are accessed, before paging's at any.
bool within_segment(Cpu& c, const Insn& i, const ReplayPlan& plan, u64 accessed) {
  const u64 offset = c.effective_address(i);
  const unsigned size = plan.element_bytes;
  return for_runs(accessed, [&](unsigned first, unsigned count) {
    u64 la;
    return c.linear(seg_of(i), offset + first * size, count * size, plan.use != MemoryUse::read, la);
  });
}

}  // namespace

void bind_masking(const Decoded& d, const ZydisDecodedOperand& memory, ReplayPlan& plan) {
  plan.masking = Masking::none;
  if (const u8 bytes = vector_masked_bytes(d.info.mnemonic)) {
    plan.masking = Masking::vector;
    plan.element_bytes = bytes;
    plan.vector_bytes = static_cast<u8>(plan.memory_bytes);
    for (unsigned n = 0; n < d.info.operand_count; ++n)
      if (d.operands[n].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
        plan.mask_register = static_cast<u8>(ZydisRegisterGetId(d.operands[n].reg.value));
    return;
  }
  if (stores_part(d.info.mnemonic)) {
    if (plan.use == MemoryUse::write) plan.use = MemoryUse::read_write;
    return;
  }
  const ZydisRegister k = d.info.avx.mask.reg;
  if (d.info.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX || k <= ZYDIS_REGISTER_K0 ||
      k > ZYDIS_REGISTER_K7 || !suppresses_faults(d) || memory.element_size == 0)
    return;
  const unsigned bits = mask_bits(d, memory);
  const bool broadcast = d.info.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID;
  const unsigned in_memory = broadcast ? memory.element_count : bits;
  if (d.info.mnemonic == ZYDIS_MNEMONIC_VPSHUFBITQMB) {
    plan.mask_register = static_cast<u8>(k - ZYDIS_REGISTER_K0);
    plan.masking = Masking::octets;
    plan.element_bytes = 8;
    plan.vector_bytes = static_cast<u8>(plan.memory_bytes);
    return;
  }
  if (bits == 0 || bits > 64 || in_memory == 0 || plan.memory_bytes % in_memory) return;
  const unsigned element = plan.memory_bytes / in_memory;
  if (element * bits > 64) return;
  plan.mask_register = static_cast<u8>(k - ZYDIS_REGISTER_K0);
  plan.masking = is_compress(d.info.mnemonic) ? Masking::compress : Masking::opmask;
  plan.element_bytes = static_cast<u8>(element);
  plan.vector_bytes = static_cast<u8>(element * bits);
}

u64 accessed_elements(const ReplayPlan& plan, u64 mask) {
  const unsigned bits = plan.vector_bytes / plan.element_bytes;
  if (plan.masking == Masking::octets) {
    u64 accessed = 0;
    for (unsigned n = 0; n < bits; ++n) accessed |= u64{(mask >> (8 * n) & 0xff) != 0} << n;
    return accessed;
  }
  if (bits < 64) mask &= bit(bits) - 1;
  if (plan.masking == Masking::compress) {
    const unsigned count = static_cast<unsigned>(__builtin_popcountll(mask));
    return count == 64 ? ~u64{0} : bit(count) - 1;
  }
  const unsigned elements = plan.memory_bytes / plan.element_bytes;
  if (elements >= bits) return mask;
  u64 accessed = 0;
  for (unsigned n = 0; n < bits; ++n) accessed |= (mask >> n & 1) << (n % elements);
  return accessed;
}

Step replay_masked(Cpu& c, const Insn& i, const ReplayPlan& plan, u64 la) {
  u64 mask;
  {
    const ParkedRegisters registers(c.fpu);
    mask = plan.masking == Masking::vector
               ? registers.read(plan.mask_register)
                     .signs(plan.vector_bytes / plan.element_bytes, plan.element_bytes)
               : registers.opmask(plan.mask_register);
  }
  const u64 accessed = accessed_elements(plan, mask);
  if (accessed && (la & (plan.alignment - 1u))) return c.gp0();
  const unsigned size = plan.element_bytes;
  // The copy has the operand's own alignment: the host finds misaligned what the guest's CPU would.
  alignas(64) u8 buffer[192]{};
  u8* copy = buffer + (la & 63);
  const bool reads = plan.use != MemoryUse::write, writes = plan.use != MemoryUse::read;
  if (!c.code64() && !within_segment(c, i, plan, accessed)) return c.failed();
  const bool ready = for_runs(accessed, [&](unsigned first, unsigned count) {
    const u64 at = la + first * size;
    if (writes && !c.probe_write(at, count * size, seg_of(i))) return false;
    return !reads || c.read_bytes(at, copy + first * size, count * size, seg_of(i));
  });
  if (!ready) return c.failed();
  if (const Step st = run_stub(c, plan, copy); st != Step::next || !writes) return st;
  const bool written = for_runs(accessed, [&](unsigned first, unsigned count) {
    return c.write_bytes(la + first * size, copy + first * size, count * size, seg_of(i));
  });
  return written ? Step::next : c.failed();
}

}  // namespace bhyve::soft
