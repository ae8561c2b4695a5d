#pragma once
#include <memory>

#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/decode/parse.hpp"

namespace bhyve::soft {

/// The forms that a vCPU has met: which handler executes them, with which registers, or which replay
/// plan. What differs between two instructions of a form (length, memory operand, immediate) comes
/// from the parser; so a form is bound once, and each further one costs a look-up.
///
/// Direct-mapped; a form that is displaced is bound again when it comes back. Owner: the vCPU's
/// thread. A form holds for one CPU model and one StubArena, the vCPU's.
class FormCache final {
 public:
  FormCache();

  /// Fills `out` for an instruction of a form that is here. False: it is not, or this one does not
  /// fit (a RIP-relative displacement that overflows).
  [[nodiscard]] bool fill(const Parsed& p, CodeSize code_size, u16 offset, Insn& out,
                          bool& ends_block) const;
  /// Learns the form of `p`, which was bound to `bound` at `offset`. False: it is not kept, because
  /// filling from it would not give `bound` again.
  bool learn(const Parsed& p, CodeSize code_size, u16 offset, const Insn& bound, bool ends_block);
  /// Forgets every form (replay plans are going).
  void clear();

 private:
  struct Form final {
    u64 key = 0;  ///< Parsed::form; 0 = empty
    Insn insn;
    u8 disp_shift = 0;   ///< EVEX: log2 of the displacement's unit
    bool ends_block = false;
  };
  static constexpr unsigned log2_forms = 13;
  [[nodiscard]] static usize slot_of(u64 key) {
    return static_cast<usize>(key * 0x9e37'79b9'7f4a'7c15 >> (64 - log2_forms));
  }
  [[nodiscard]] static bool apply(const Form& f, const Parsed& p, CodeSize code_size, u16 offset,
                                  Insn& out);

  std::unique_ptr<Form[]> forms_;
};

}  // namespace bhyve::soft
