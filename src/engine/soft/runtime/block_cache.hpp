#pragma once
#include <array>
#include <atomic>
#include <deque>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/runtime/piece_memory.hpp"
#include "engine/soft/translate/translation_records.hpp"
#include "mem/code_pages.hpp"

namespace bhyve::soft {

struct Block;
enum class CodeSize : u8;

/// What an instruction that crosses a page has beside the rest.
struct BlockSecond final {
  u64 gpa;  ///< of the second page
  std::atomic<mem::CodePages::Word>* word;
  mem::CodePages::Word expected;
};

/// A piece of one guest-physical page that runs from one instruction to the next, ended by a jump that is
/// always taken, by the page's end or by length. Conditional jumps do not end it.
/// Valid while the page's word is the one remembered. Its bytes are kept; what they decode to takes eight
/// times as much memory, is given up when the block has been translated or when it is old, and is
/// decoded again when it is needed (Cpu::instructions_of()).
struct Block final {
  static constexpr unsigned max_insns = 24;
  using Word = mem::CodePages::Word;
  enum class Liveness : u8 { unknown, in_progress, known };

  u64 gpa;                        ///< of the first byte
  Block* next;                    ///< hash chain
  std::atomic<Word>* word;
  Insn* insns;                    ///< `count`, then one that ends the block; or null
  Translation* translation;
  Translation* plain;             ///< for when a window does not fit (BlockWindows)
  Word expected;
  u32 arm_epoch;                  ///< while not armed: trusted once every vCPU has passed it (SoftVm)
  u16 heat;                       ///< how often it was interpreted, up to hottest
  u16 bytes;                      ///< of code
  u16 jump;                       ///< where BlockCache last remembered it
  u8 tail;                        ///< bytes kept behind them, that tell why the last instruction is none
  u8 count;                       ///< instructions
  u8 live_in;                     ///< arithmetic flags that are needed at the entry, when known
  CodeSize code_size : 2;
  Liveness liveness : 2;
  bool armed : 1;                 ///< its bytes need no comparing any more
  bool crossing : 1;              ///< its one instruction crosses a page, even into the same one
  bool in_ring : 1, in_queue : 1; ///< BlockCache
  bool jumped : 1, many_jumps : 1;  ///< BlockCache remembers it, in several places
  bool dead : 1;                  ///< about to be freed
  mutable bool traced : 1;        ///< its instructions are in the trace (ExecutionTrace)

  static constexpr u16 hottest = 0xffff;
  [[nodiscard]] bool is_translated() const { return translation || plain; }
  [[nodiscard]] bool crosses() const { return crossing; }
  [[nodiscard]] bool current() const {
    if (word->load(std::memory_order_acquire) != expected) return false;
    return !crossing || second().word->load(std::memory_order_acquire) == second().expected;
  }
  [[nodiscard]] const u8* raw() const {
    return reinterpret_cast<const u8*>(this + 1) + (crossing ? sizeof(BlockSecond) : 0);
  }
  [[nodiscard]] const BlockSecond& second() const { return *reinterpret_cast<const BlockSecond*>(this + 1); }
};
static_assert(sizeof(Block) <= 72);

/// The code that one vCPU has met, found by guest-physical address, and a small cache by virtual
/// address in front of it. When instructions exceed a part of the limit they go, when the whole exceeds it, blocks that are not
/// translated: the oldest first.
/// Owner: the vCPU's thread.
class BlockCache final {
 public:
  /// `limit`: bytes of memory for blocks, the translated ones included; for a while it may be more.
  explicit BlockCache(usize limit);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  /// Front cache: by rip and a key that changes whenever rip could mean other bytes.
  [[nodiscard]] Block* quick(u64 rip) const {
    const Jump& j = jumps_[hash(rip)];
    return j.rip == rip && j.key == key_ && j.block->current() ? j.block : nullptr;
  }
  void remember(u64 rip, Block* block) {
    const unsigned n = hash(rip);
    block->many_jumps |= block->jumped && block->jump != n;
    block->jumped = true;
    block->jump = static_cast<u16>(n);
    jumps_[n] = {rip, key_, block};
  }
  /// Names the mapping from rip to bytes, privilege and code size that find_quick() is to look under.
  void set_key(u64 key) { key_ = key; }

  /// A valid block at this place, or nullptr. Stale ones on the way to it are dropped.
  [[nodiscard]] Block* find(Gpa gpa, CodeSize size);
  /// A block with these instructions and bytes, `tail` more of them kept; the caller fills in the rest and
  /// inserts it. May free blocks that are not translated.
  [[nodiscard]] Block* make(const Insn* insns, unsigned count, const u8* raw, unsigned bytes,
                            unsigned tail, const BlockSecond* second);
  void insert(Block* block);
  /// Gives the block its instructions back. May free other blocks that are not translated.
  void restore(Block& block, const Insn* insns);
  /// One instruction of a block without them, when it was asked for lately; or nullptr.
  [[nodiscard]] const Insn* recalled(const Block& block, unsigned n) const {
    const Recalled& r = recalled_[recalled_slot(block, n)];
    return r.block == &block && r.n == n ? &r.insn : nullptr;
  }
  /// It has been decoded. Valid until the next call.
  const Insn& keep_recalled(const Block& block, unsigned n, const Insn& insn) {
    Recalled& r = recalled_[recalled_slot(block, n)];
    r = {&block, n, insn};
    return r.insn;
  }
  /// The block has a translation: its instructions go.
  void translated(Block& block);
  /// It has none any more: from now on it may go.
  void retired(Block& block);
  /// What follows the instructions of a block.
  [[nodiscard]] static Insn closing(const Block& block);
  /// Frees every block. None has a translation.
  void clear();

 private:
  static constexpr unsigned jump_count = 65536, bucket_count = 1 << 17,
                            recalled_count = 64;
  struct Jump {
    u64 rip = 1, key = 0;
    Block* block = nullptr;
  };
  [[nodiscard]] static unsigned hash(u64 rip) { return (rip ^ rip >> 12) & (jump_count - 1); }
  [[nodiscard]] static unsigned bucket(u64 gpa) {
    return static_cast<unsigned>(gpa * 0x9e37'79b9'7f4a'7c15 >> 47);
  }
  [[nodiscard]] static usize size_of(const Block& block);
  [[nodiscard]] static usize size_of_insns(const Block& block);
  struct Recalled {
    const Block* block = nullptr;
    unsigned n = 0;
    Insn insn;
  };
  [[nodiscard]] static unsigned recalled_slot(const Block& block, unsigned n) {
    return (static_cast<unsigned>(block.gpa) + n) & (recalled_count - 1);
  }
  void give_insns(Block& block, const Insn* insns);
  void drop_insns(Block& block);
  void drop_all_insns();
  void free_block(Block* block);
  void unlink(const Block& block);
  void enqueue(Block& block);
  void forget(const std::vector<Block*>& going);
  /// Frees no memory of `kept`.
  void make_room(const Block* kept);

  const usize limit_, insn_limit_;
  PieceMemory memory_, insn_memory_;
  usize bytes_ = 0;       ///< of all
  usize insn_bytes_ = 0;  ///< of instructions
  u64 key_ = 0;
  std::array<Jump, jump_count> jumps_{};
  std::vector<Block*> buckets_;
  std::array<Recalled, recalled_count> recalled_{};  ///< what is asked for again and again
  std::deque<Block*> ring_;   ///< blocks with instructions, but for some that have lost them again
  std::deque<Block*> queue_;  ///< blocks that have neither instructions nor a translation, but for some
};

}  // namespace bhyve::soft
