#pragma once
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"

namespace bhyve::soft {

/// Why translated code left. Values below `executed` are a Step.
enum class LeaveCode : u32 {
  executed = 16,  ///< a miss: the interpreter has executed the instruction (does not leave)
  unlinked,       ///< an exit without a link; TranslatedState::exit has its index
  poll,           ///< the same, because something wants attention
  here,           ///< attention before the instruction at page offset TranslatedState::exit
  jumped,         ///< an indirect jump found its target (ExecutorCheck); its page and index are in the frame
  trap,           ///< the host trapped at TranslatedState::trap_pc
};

/// Which access of which instruction missed, in 32 bits: what translated code pushes.
struct MissedAccess final {
  /// Sizes that accesses have. What has none of them is left to the handler.
  static constexpr u8 sizes[] = {0, 1, 2, 4, 8, 16, 32, 64, 10, 14, 28, 94, 108, 6, 12, 24, 3, 5, 7, 9, 11, 13, 15};
  static constexpr unsigned size_bits = 5, insn_bits = 5;
  [[nodiscard]] static u32 pack(u32 translation, unsigned insn, u8 size) {
    unsigned n = 0;
    for (unsigned k = 0; k < sizeof sizes; ++k)
      if (sizes[k] == size) n = k;
    return translation << (size_bits + insn_bits) | insn << size_bits | n;
  }
  explicit MissedAccess(u32 packed)
      : translation(packed >> (size_bits + insn_bits)),
        insn(packed >> size_bits & ((1u << insn_bits) - 1)),
        size(sizes[packed & ((1u << size_bits) - 1)]) {}
  u32 translation;
  unsigned insn;
  u8 size;
};

/// What translated code calls. `descriptor`: bits 31..8 = the block's offset in its page, 7..0 =
/// 0. `access`: a MissedAccess. Run on the Cpu's own stack, with the guest's registers spilled and, maybe,
/// its vector state live: nothing here may use vector registers.
///
/// They return 0 to go on behind the instruction (or, after a miss, to look again), an address of
/// translated code to go on there, or a Step or LeaveCode to leave with.
struct TranslatorHelpers final {
  /// Instead of a size: the instruction is left to the interpreter, whatever the TLB says.
  static constexpr u8 by_handler = 0;
  /// Executes an instruction by the interpreter's handler.
  static u64 callout(Cpu& cpu, const Insn& insn, u32 descriptor);
  /// The same; the vector state is live after Step::next.
  static u64 callout_live(Cpu& cpu, const Insn& insn, u32 descriptor);
  /// A data access missed the TLB. LeaveCode::executed: the interpreter did the whole instruction.
  static u64 read_missed(Cpu& cpu, u64 linear, u32 access);
  static u64 write_missed(Cpu& cpu, u64 linear, u32 access);
  /// An indirect branch found no code for its target, whose page is in TranslatedFrame::linear and whose
  /// index in `temporary`. 0: it will find it now, the target is in `linear`.
  static u64 jump_missed(Cpu& cpu, const Insn& insn, u32 descriptor);

  /// The helper for cpu.speculation=safe, where translated code may run past the test of a gate: what is in
  /// the host's vector registers is then the guest's own, never what C++ left there.
  template <auto helper>
  struct Live;
  template <class... Rest, u64 (*helper)(Cpu&, Rest...)>
  struct Live<helper> final {
    static u64 call(Cpu& cpu, Rest... rest) {
      const u64 result = helper(cpu, rest...);
      if (goes_on(result)) make_live(cpu);
      return result;
    }
  };

 private:
  static bool goes_on(u64 result);
  static void make_live(Cpu& cpu);
  /// What follows an instruction that came to `step`, other than Step::next.
  static u64 go_on(Cpu& cpu, Step step);
  static u64 missed(Cpu& cpu, u64 linear, u32 access, bool write);
  static u64 by_interpreter(Cpu& cpu, const MissedAccess& access);
  static void begin(Cpu& cpu, const Insn& insn, u32 descriptor);
};

}  // namespace bhyve::soft
