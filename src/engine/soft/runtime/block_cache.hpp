#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "engine/soft/decode/insn.hpp"
#include "engine/soft/translate/translator.hpp"
#include "mem/code_pages.hpp"

namespace bhyve::soft {

class Cpu;
enum class CodeSize : u8;

/// Decoded instructions that run one after the other: a piece of one guest-physical page, ended by a
/// jump that is always taken, by the page's end or by length. Conditional jumps do not end it.
/// Valid while the page's word is the one remembered.
struct Block final {
  static constexpr unsigned max_insns = 24;

  u64 gpa;                        ///< of the first byte
  u64 gpa2;                       ///< of the second page, when the (only) instruction crosses
  std::atomic<mem::CodePages::Word>* word;
  std::atomic<mem::CodePages::Word>* word2;  ///< == word unless there are two pages
  mem::CodePages::Word expected, expected2;
  u64 arm_epoch;                  ///< see SoftVm; trusted once every vCPU has passed it
  Block* next;                    ///< hash chain
  CodeSize code_size;
  bool armed;
  bool crossing;                  ///< its one instruction crosses a page, even into the same one
  u8 count;                       ///< instructions, without the closing pseudo one
  u16 bytes;                      ///< of code
  mutable bool traced = false;    ///< its instructions are in the trace (ExecutionTrace)
  // For the translator:
  enum class Liveness : u8 { unknown, in_progress, known };
  Liveness liveness = Liveness::unknown;
  u8 live_in = 0;                 ///< arithmetic flags that are needed at the entry, when known
  u32 heat = 0;                   ///< how often it was interpreted
  Translator::Translation* translation = nullptr;
  Translator::Translation* plain = nullptr;  ///< for when a window does not fit (BlockWindows)
  Insn insns[];                   ///< count + 1; then the raw bytes

  [[nodiscard]] bool crosses() const { return crossing; }
  [[nodiscard]] bool current() const {
    return word->load(std::memory_order_acquire) == expected &&
           word2->load(std::memory_order_acquire) == expected2;
  }
  [[nodiscard]] u8* raw() { return reinterpret_cast<u8*>(&insns[count + 1]); }
};

/// The decoded code of one vCPU, found by guest-physical address, and a small cache by virtual
/// address in front of it. Owner: the vCPU's thread.
class BlockCache final {
 public:
  BlockCache();
  ~BlockCache();

  /// Front cache: by rip and a key that changes whenever rip could mean other bytes.
  [[nodiscard]] Block* quick(u64 rip) const {
    const Jump& j = jumps_[hash(rip)];
    return j.rip == rip && j.key == key_ && j.block->current() ? j.block : nullptr;
  }
  void remember(u64 rip, Block* block) { jumps_[hash(rip)] = {rip, key_, block}; }
  /// Names the mapping from rip to bytes, privilege and code size that find_quick() is to look under.
  void set_key(u64 key) { key_ = key; }

  /// A valid block at this place, or nullptr. Stale ones on the way to it are dropped.
  [[nodiscard]] Block* find(Gpa gpa, CodeSize size);
  /// Room for a block; the caller fills it and inserts it. May drop every other block.
  [[nodiscard]] Block* allocate(unsigned insns, unsigned bytes);
  /// True when allocate() will first drop every block.
  [[nodiscard]] bool full() const { return chunks_.size() == chunk_limit && used_ + reserve > chunk_size; }
  void insert(Block* block);
  /// Drops every block.
  void clear();

 private:
  static constexpr unsigned jump_count = 65536, bucket_count = 1 << 17;
  static constexpr usize chunk_size = 1 << 20, chunk_limit = 96, reserve = 4096;
  struct Jump {
    u64 rip = 1, key = 0;
    Block* block = nullptr;
  };
  [[nodiscard]] static unsigned hash(u64 rip) { return (rip ^ rip >> 12) & (jump_count - 1); }
  [[nodiscard]] static unsigned bucket(Gpa gpa) {
    return static_cast<unsigned>(gpa.value() * 0x9e37'79b9'7f4a'7c15 >> 47);
  }

  u64 key_ = 0;
  std::array<Jump, jump_count> jumps_{};
  std::vector<Block*> buckets_;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  usize used_ = chunk_size;
};

}  // namespace bhyve::soft
