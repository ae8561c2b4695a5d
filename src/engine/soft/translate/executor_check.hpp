#pragma once
#include <array>
#include <string_view>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/translate/guest_insn.hpp"
#include "engine/soft/translate/store_journal.hpp"
#include "engine/soft/translate/translator.hpp"

namespace bhyve::soft {

class Cpu;

/// The third executor, for tests: each translated block is executed by the interpreter first, its stores
/// are taken back, and then the translation runs from the same state. Registers, the flags that are
/// needed after it, vector and x87 state, RIP and the stored bytes must be the same.
///
/// This is done by *segments*: the instructions from the block's start, or from behind the last one that
/// a handler of the interpreter executed in translated code's stead, to the next such one or to the way
/// out. Handlers that translated code calls run once, between two segments: so do port, device and MSR
/// accesses, reads of clocks, faults, and whatever changes modes. Translated code comes back after each
/// block: exits are never linked, and an indirect jump that finds its target ends in Thunks::exit_jump.
/// vCPUs take turns (Turns).
///
/// What kernels execute on each entry (CLI, SWAPGS, RDTSC ...) has its handler too: of TranslatedFrame::rights
/// only that to FS and GS is given then.
///
/// Flags that the translator holds for dead are inverted before the translation runs, so what reads them
/// all the same is found out. What devices store meanwhile may make the two differ: the interpreter then
/// runs once more, and if it comes to something else than at first, its word counts. A store of
/// translated code to a place that the interpreter left alone is not seen.
///
/// Owner: the vCPU's thread.
class ExecutorCheck final {
 public:
  explicit ExecutorCheck(Cpu& cpu);

  /// As Translator::run(), after arrived() has found the block's code. Step::exit with ExitCode::vmx
  /// after a difference, which has been reported.
  [[nodiscard]] Step run(Block& block);

  /// Others wait, and this vCPU has had its turn or waits for them, too, in a loop with PAUSE. To be asked
  /// once a block.
  [[nodiscard]] bool turn_is_over();

  // ---- called where translated code leaves the instructions to C++ -------------------------------
  /// Translated code has come to `insn`, which a handler will execute. False: a difference; nothing must
  /// be executed any more, exit_record() is filled.
  [[nodiscard]] bool arrive(const Insn& insn);
  /// The same; the host trapped at `insn`, which is to fault.
  [[nodiscard]] bool trap(const Insn& insn);
  /// A handler has executed `insn`; translated code goes on behind it.
  void go_on_behind(const Insn& insn);

  /// Blocks that were compared. Written by the vCPU's thread; any may read.
  u64 blocks = 0, segments = 0, raced = 0;

 private:
  struct Registers {
    std::array<u64, 16> gpr;
    u64 rip;
    u16 flags;
  };
  struct Vectors {
    alignas(64) std::array<u8, 4096> area;  ///< as Fpu::area()
    u64 fip, fdp;
    u16 fop;
  };
  struct State {
    Registers r;
    Vectors v;  ///< valid where the segment has such instructions
  };
  /// How far the interpreter came.
  struct Way {
    unsigned end = 0;       ///< instructions before this one are done
    bool left = false;      ///< by a branch or at the block's end: RIP tells where to
    Step stopped = Step::next;  ///< else why `end` was not executed; next: it was not tried
  };

  [[nodiscard]] static bool by_handler(const GuestInsn& g);
  void copy_insns(const Block& block);
  [[nodiscard]] unsigned number_of(const Insn& insn) const;
  void begin(unsigned first);
  [[nodiscard]] bool finish(unsigned end, bool left);
  [[nodiscard]] Way interpret(unsigned limit);
  [[nodiscard]] bool back_to_start(unsigned end, bool left);
  void save(State& to);
  void restore(const State& from);
  [[nodiscard]] bool same(const State& a, const State& b, u16 flags, bool left) const;
  [[nodiscard]] static u8 vector_byte(const Vectors& v, unsigned at);
  [[nodiscard]] u16 needed_flags(unsigned end, bool left) const;
  [[nodiscard]] u8 undefined_flags(unsigned end) const;
  [[nodiscard]] static u16 packed(u8 flags);
  void report(std::string_view what, unsigned end, bool left);
  void report_code(unsigned end, bool left) const;
  void report_state(unsigned end, bool left);

  Cpu& cpu_;
  u32 blocks_of_turn_ = 0;
  bool spins_ = false;     ///< has executed PAUSE in this turn
  Block* block_ = nullptr;
  const u8* code_ = nullptr;
  u32 code_bytes_ = 0;
  u64 start_rip_ = 0;
  std::array<Insn, Block::max_insns + 1> copies_;  ///< of the block
  std::vector<GuestInsn> insns_;
  Translator::LiveFlags live_{};  ///< flags needed before each; then at the end
  unsigned first_ = 0;     ///< of the segment
  bool open_ = false;      ///< a segment has begun
  bool vectors_ = false;   ///< it has vector or x87 instructions
  Way way_;
  StoreJournal journal_;
  State begun_, wanted_, found_, again_;
};

}  // namespace bhyve::soft
