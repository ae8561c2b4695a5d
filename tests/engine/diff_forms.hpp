#pragma once
#include <array>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <Zydis/Zydis.h>

#include "diff_case.hpp"
#include "diff_random.hpp"

namespace bhyve::test::diff {

/// An instruction as its bytes and as Zydis sees it.
struct Candidate final {
  Mode mode = Mode::user64;
  std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
  ZydisDecodedInstruction insn{};
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};

  [[nodiscard]] std::span<const u8> text() const { return std::span(bytes).first(insn.length); }
  /// Decodes the bytes for the mode; false when Zydis knows no such instruction.
  bool decode();
  /// Intel syntax, with the bytes.
  [[nodiscard]] std::string describe(u64 rip) const;
  /// Mnemonic, encoding and operand kinds and sizes: what counts as one form.
  [[nodiscard]] std::string form() const;
};

/// True when it may run on the host under HostCpu: user-level or faulting there, no branch, no
/// system call, no change of segment registers, nothing that tells the processors apart by design.
[[nodiscard]] bool may_run(const Candidate& c);

/// Goes once over all opcodes of all maps and encodings (legacy, VEX, EVEX) with every mandatory
/// prefix, W, L, ModRM.reg, register and memory form; the rest of the bits is random. Calls `use`
/// for each that decodes.
void for_each_candidate(Random& random, Mode mode,
                        const std::function<void(Candidate&)>& use);

/// One of them by chance; false when it does not decode.
[[nodiscard]] bool random_candidate(Random& random, Candidate& c);

}  // namespace bhyve::test::diff
