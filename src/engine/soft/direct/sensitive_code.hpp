#pragma once
#include <cstddef>

#include "base/types.hpp"

namespace bhyve::soft {

/// What a page of 64-bit code has that user code may execute, and that would tell it of the host or do what the
/// guest's processor does not. RDTSC and RDTSCP trap (PR_SET_TSC) and are not looked for.
enum class Sensitive : u8 {
  none = 0,
  cpuid = 1,
  xstate = 2,  ///< XGETBV, XSAVE, XRSTOR and their kin: they follow the host's XCR0
  other = 4,   ///< LSL, RDPID, SGDT, VMCALL, INT 80h and others
  pkru = 8,    ///< RDPKRU, WRPKRU: #UD as in the guest, unless the host has protection keys
};
[[nodiscard]] constexpr Sensitive operator|(Sensitive a, Sensitive b) {
  return static_cast<Sensitive>(static_cast<u8>(a) | static_cast<u8>(b));
}
/// What was found, and what told that: code on the pages beside.
struct SensitiveCode {
  Sensitive kinds = Sensitive::none;
  bool by_next = false, by_previous = false;
};
[[nodiscard]] constexpr bool has(Sensitive set, Sensitive kind) {
  return static_cast<u8>(set) & static_cast<u8>(kind);
}

/// Looks for such instructions. `next` is what follows the page, or nullptr: what may go on there counts as
/// `other`. `previous` is the code before it, or nullptr: then more of the page's first bytes may be instructions.
///
/// Where such bytes stand, the code before them is decoded from several places on: they are an instruction if
/// decoding comes to them often enough. So a constant in an operand is none, and who hides one in another
/// instruction is not found. That protects programs from wrong answers, not the host: what the process that runs
/// them may do does not depend on it.
[[nodiscard]] SensitiveCode find_sensitive(const std::byte* page, const std::byte* next,
                                           const std::byte* previous = nullptr);

}  // namespace bhyve::soft
