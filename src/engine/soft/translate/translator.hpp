#pragma once
#include <array>
#include <bitset>
#include <memory>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/translate/code_cache.hpp"
#include "engine/soft/translate/translation_records.hpp"

namespace bhyve::soft {

class BlockEmitter;
class Cpu;
struct Block;
struct GuestInsn;
enum class CodeSize : u8;

/// The second executor of a vCPU: hot blocks of 64-bit code and of flat 32-bit code (Cpu::flat32()) become
/// host code.
///
/// State between blocks: the guest's registers are in the host's (host_code.hpp), its arithmetic
/// flags in Cpu::flags unless the target is known to overwrite them unread. Everything else is in the
/// Cpu. An instruction without a native form calls the interpreter's handler; a fault, an exit or an
/// access that must run alone leaves to the run loop with the state as the interpreter keeps it.
///
/// Blocks are found by guest-physical address and do not know their linear one: where an
/// instruction needs RIP it takes TranslatedState::page. Jumps within a page are patched to lead
/// straight to their target. Jumps to another page compare the target's linear page and the mapping's key
/// with those they were linked for. Indirect jumps look into TranslatedState::jumps.
///
/// Every loop passes a poll (a backward or an indirect jump), so a store to Cpu::poll_ takes effect
/// soon. Owner: the vCPU's thread.
class Translator final {
 public:
  /// Without a pool for its code it is not usable().
  Translator(Cpu& cpu, CodePool* pool);
  ~Translator();

  [[nodiscard]] bool usable() const { return cache_.usable(); }

  /// Runs the code that arrived() found, at Cpu::rip, until it leaves. As Cpu::execute(): sets
  /// current_ where an instruction ended it.
  [[nodiscard]] Step run();
  /// The block at Cpu::rip was found. Counts an execution and translates it when it has become hot.
  /// True: it has code, and run() is to be called; the exit that led here may now go straight to it.
  [[nodiscard]] bool arrived(Block& block);
  /// Code for the block at Cpu::rip, to be jumped to from translated code; or nullptr.
  [[nodiscard]] const u8* enter(Block& block);
  /// The same by what indirect jumps know, without a look at the block: 64-bit code only; or nullptr.
  [[nodiscard]] const u8* enter_known();
  /// What run() will enter.
  [[nodiscard]] const Translation* entered() const { return entered_; }
  [[nodiscard]] const u8* code_of(const Translation& t) const { return cache_.at(t.code); }
  [[nodiscard]] Translation& translation(u32 number) { return records_.at(number); }
  /// Translated code stood before an instruction of the block when run() ended, with everything before it
  /// done; else it had come to a way out.
  [[nodiscard]] bool left_within() const { return left_within_; }
  /// The page's bytes changed: its translations must not run again.
  void page_written(u64 page);
  /// Between executions: lets other vCPUs have what they lack of the memory for code.
  void share_cache() {
    if (cache_.wanted()) give_back();
  }
  /// Drops everything: blocks are about to be freed, or keys come again.
  void reset();

  struct Counters {
    u64 blocks = 0, insns = 0, bytes = 0, links = 0, entries = 0, unlinked = 0, jump_misses = 0, resets = 0,
        killed = 0, evicted = 0;
    u64 polls = 0, jumps = 0, heres = 0, traps = 0;  ///< ways out of translated code
    std::array<u64, 8> steps{};                      ///< the same: what a handler came to, by Step
    u64 nanoseconds = 0;                             ///< spent translating
    u64 cache_used = 0;                              ///< bytes of the code cache
  } counters;

  /// Flags that are needed before each instruction of a block, and at its end.
  using LiveFlags = std::array<u8, 32>;
  void live_before(Block& block, const std::vector<GuestInsn>& insns, LiveFlags& live);
  /// Flags that are needed at the target of a branch of the block.
  [[nodiscard]] u8 live_at(Block& block, const GuestInsn& branch);

  // ---- for the emitters ------------------------------------------------------------------------
  struct Thunks {
    const u8 *enter, *leave, *exit_unlinked, *exit_poll, *exit_here, *callout, *callout_live,
        *read_missed, *write_missed, *jump_missed, *stack_missed, *trap,
        *exit_jump;  ///< in TranslatedState::jumps for ExecutorCheck: leaves instead
  };
  [[nodiscard]] const Thunks& thunks() const { return thunks_; }
  [[nodiscard]] CodeCache& cache() { return cache_; }
  [[nodiscard]] Cpu& cpu() { return cpu_; }
  /// The number of the translation that is being emitted.
  [[nodiscard]] u32 next_number() const { return records_.next(cache_.region()); }
  /// Offset of a Cpu member from the Cpu.
  template <class T>
  [[nodiscard]] i32 offset(const T& member) const {
    return static_cast<i32>(reinterpret_cast<const u8*>(&member) -
                            reinterpret_cast<const u8*>(&cpu_));
  }
  /// Flags that the block needs at its entry; all while that is being worked out further up.
  [[nodiscard]] u8 live_in(Block& block);
  [[nodiscard]] Block* find(u64 gpa, CodeSize size);

 private:
  friend struct TranslatorHelpers;
  class ThunkWriter;
  [[nodiscard]] bool translate(Block& block, bool plain);
  /// Executions after which the block is hot.
  [[nodiscard]] u32 hot_after(const Block& block) const;
  [[nodiscard]] bool translatable(const Block& block) const;
  void emit_thunks();
  void link(u32 exit, Translation& to);
  void unlink(u32 exit);
  void lead(u32 exit, const u8* to);
  [[nodiscard]] bool has_room() { return cache_.has_room() && records_.has_room(cache_.region()); }
  /// Nothing leads to the translation nor from it to another any more, but entries of TranslatedState::jumps.
  void detach(Translation& t);
  void kill(Translation& t);
  /// Begins to fill the oldest region: throws away what is there, and only that.
  void evict();
  void clear(usize region);
  void give_back();
  void note_target(u64 rip, const u8* code);
  [[nodiscard]] u8 live_through(Block& block, unsigned depth);
  [[nodiscard]] u8 live_at(Block& from, i64 target, unsigned depth);
  [[nodiscard]] Step leave_trap();
  [[nodiscard]] Translation* containing(u64 pc);

  Cpu& cpu_;
  CodeCache cache_;
  std::unique_ptr<BlockEmitter> emitter_;
  Thunks thunks_{};
  TranslationRecords records_;
  /// Pages (by the low bits of their number) whose translations were thrown away by a store: what is
  /// there may be gone before a translation has paid for itself.
  std::bitset<16384> rewritten_;
  const u8* entry_ = nullptr;  ///< for run()
  const Translation* entered_ = nullptr;
  bool left_within_ = false;
  u32 pending_ = no_exit;  ///< exit that led to Cpu::rip and may be linked
  u64 pending_rip_ = 0;
  static constexpr u32 no_exit = ~u32{0};
};

}  // namespace bhyve::soft
