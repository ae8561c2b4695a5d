#pragma once
#include "engine/soft/decode/decoded.hpp"
#include "engine/soft/replay/replay_plan.hpp"

namespace bhyve::soft {

/// Fills the masking fields of a plan whose memory fields are set. Afterwards, unless masking is
/// `none`: the memory operand consists of elements of `element_bytes`, and the mask has
/// vector_bytes / element_bytes bits; bit n belongs to element n modulo the number of elements in
/// memory (broadcasts have fewer than bits). Instructions that read the operand whole whatever the
/// mask says (exception classes "NF", SDM vol. 2, 2.8) have no masking.
void bind_masking(const Decoded& d, const ZydisDecodedOperand& memory, ReplayPlan& plan);

/// Bits of the elements of the memory operand that are accessed, given the mask.
[[nodiscard]] u64 accessed_elements(const ReplayPlan& plan, u64 mask);

/// Calls f(first, count) for each run of set bits until it says false; returns what it said last.
template <class F>
[[nodiscard]] inline bool for_runs(u64 bits, F&& f) {
  unsigned base = 0;
  while (bits) {
    const unsigned skip = static_cast<unsigned>(__builtin_ctzll(bits));
    bits >>= skip;
    base += skip;
    const unsigned count = ~bits ? static_cast<unsigned>(__builtin_ctzll(~bits)) : 64;
    if (!f(base, count)) return false;
    if (count == 64) break;
    bits >>= count;
    base += count;
  }
  return true;
}

}  // namespace bhyve::soft
