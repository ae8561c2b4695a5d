#pragma once
#include <array>

#include "base/types.hpp"

namespace bhyve::soft {

/// Which of two executors runs the turns in user mode of one address space: directly, or translated. A turn is what
/// happens between two stays in the guest's kernel; both executors get samples of the same program's, so that the
/// mean time of a turn tells which is faster, all that it costs included. A sample that speaks against its executor is
/// repeated, for the host may have had other work. Now and then the other executor is tried again, rarely if it has lost
/// often, and for about a thirtieth of the time at most. All times are ticks of one clock.
class ExecutorChoice final {
 public:
  struct Scale {
    u64 sample = 0;      ///< a sample lasts no longer, but for its last turn
    u64 long_turn = 0;   ///< turns that take so long are run directly, and nothing else is tried
    u64 short_turn = 0;  ///< translated turns that take less stay so, and nothing else is tried
    u64 pause_least = 0, pause_most = 0;  ///< between trials
  };
  /// Turns, and how long they took together.
  struct Record {
    u64 ticks = 0;
    u32 turns = 0;
    [[nodiscard]] u64 mean() const { return turns ? ticks / turns : 0; }
    void add(u64 turn) { ticks += turn, ++turns; }
  };
  explicit ExecutorChoice(const Scale& scale) : scale_(scale) {}

  /// The next turn is to run directly.
  [[nodiscard]] bool is_direct() const { return mode_ == direct; }
  /// The turns are long ones of late.
  [[nodiscard]] bool turns_are_long() const { return record_[direct].mean() >= scale_.long_turn; }
  /// A turn has ended, at `now`; `directly` tells how it ran.
  void ended(u64 ticks, bool directly, u64 now);
  /// A turn goes on for `ticks` already.
  void goes_on(u64 ticks);

 private:
  enum Mode : u8 { direct, translated };
  static constexpr u32 turns_of_sample = 16;
  [[nodiscard]] bool is_settled(const Record& own) const;
  void change_to(Mode mode, bool trial);
  void tried(bool lost, u64 now);

  Scale scale_;
  std::array<Record, 2> record_{};  ///< the last sample of each
  Record sample_;                   ///< of the current mode
  Mode mode_ = direct;
  bool trial_ = false;
  u64 trial_ticks_ = 0;
  bool in_doubt_ = false;  ///< the last sample spoke against the mode
  u64 pause_ = 0;
  u64 next_trial_ = 0;
};

}  // namespace bhyve::soft
