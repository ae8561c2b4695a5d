#pragma once
#include <span>

#include "engine/soft/decode/decoded.hpp"

namespace bhyve::soft {

/// True when the host, in 64-bit mode, takes `code` for the instruction that `d` is in the guest's
/// mode: the same operation on the same vector registers, operands of the same sizes, memory at
/// [RSI]. Elsewhere than in 64-bit mode the processor ignores bits that then count (VEX.W with
/// general registers, CRC32's operand size in 16-bit code), and an operand that is wider than the
/// guest's would reach memory that was never checked.
[[nodiscard]] bool same_on_host(const Decoded& d, std::span<const u8> code);

}  // namespace bhyve::soft
