#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "base/types.hpp"

namespace bhyve::soft {

class SoftVm;
class Cpu;

/// What a processor does for a locked access that crosses a cache line: it keeps all others from memory
/// (SDM vol. 3, 8.1.2). Hosts answer such accesses of user programs with a delay or with SIGBUS, so they
/// are never executed on the host: the vCPU waits until every other one stands between two
/// instructions, does the access in pieces, and lets them go on.
///
/// Turns are first come, first served, and a turn begins when all who stood aside for the one before
/// run again, so nobody starves. Devices are not stopped (SplitOperand says what becomes of their
/// stores). Nobody waits here with a lock held that a running vCPU may need.
class BusLock final {
 public:
  explicit BusLock(SoftVm& vm) : vm_(vm) {}
  BusLock(const BusLock&) = delete;
  BusLock& operator=(const BusLock&) = delete;

  /// A vCPU's part, guarded by the lock of BusLock.
  struct Member {
    bool aside = false;  ///< stands between two instructions until the bus is free
  };

  /// Somebody waits for the others or has the bus: call give_way() before the next instruction. A vCPU
  /// that begins to run must look after it can be seen as running.
  [[nodiscard]] bool wanted() const { return wanted_.load(std::memory_order_seq_cst); }
  void give_way(Cpu& self);
  /// `self` does not run any more: who waits for it need not.
  void left();

  /// The bus is `self`'s while this lives. The host's FPU must be C++'s.
  class Hold final {
   public:
    explicit Hold(Cpu& self);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    BusLock& bus_;
  };

 private:
  void acquire(Cpu& self);
  void release();

  SoftVm& vm_;
  std::atomic<bool> wanted_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  u64 next_turn_ = 0, turn_ = 0;
  u32 giving_way_ = 0;  ///< vCPUs in give_way()
};

/// An operand of up to 8 bytes whose parts lie in two cache lines, perhaps of different pages. To be used
/// under BusLock::Hold, where only devices store beside us.
class SplitOperand final {
 public:
  /// The first `in_first` of `size` bytes lie at `first`, at the end of a line; the others at `second`,
  /// which begins one.
  SplitOperand(std::byte* first, std::byte* second, unsigned in_first, unsigned size);
  [[nodiscard]] u64 load();
  /// Puts `value` in the place of what load() returned. Bytes around stay as they are; what a device
  /// has stored into the operand since came after us.
  void store(u64 value);

 private:
  struct Part {
    u64* word;        ///< aligned, within one line
    unsigned offset;  ///< in bits, of the part in the word
    u64 mask;         ///< of the part in the word
    u64 seen;         ///< the word that load() saw
  };
  static void replace(const Part& part, u64 bits);

  Part low_, high_;
  unsigned low_bits_;
};

}  // namespace bhyve::soft
