#include "engine/soft/direct/executor_choice.hpp"

#include <algorithm>
#include <utility>

namespace bhyve::soft {

void ExecutorChoice::change_to(Mode mode, bool trial) {
  mode_ = mode;
  trial_ = trial;
  trial_ticks_ = 0;
  sample_ = {};
}

void ExecutorChoice::goes_on(u64 ticks) {
  if (mode_ == translated && ticks >= scale_.long_turn) change_to(direct, true);
}

/// No turn of the other executor can be better.
bool ExecutorChoice::is_settled(const Record& own) const {
  return mode_ == direct ? own.mean() >= scale_.long_turn : own.mean() < scale_.short_turn;
}

/// A trial has ended. Who wins often is tried against less often.
void ExecutorChoice::tried(bool lost, u64 now) {
  trial_ = false;
  pause_ = lost ? std::clamp(pause_ * 2, scale_.pause_least, scale_.pause_most) : scale_.pause_least;
  const u64 share = lost ? 30 : 4;
  next_trial_ = now + std::min(std::max(trial_ticks_ * share, pause_), scale_.pause_most);
}

void ExecutorChoice::ended(u64 ticks, bool directly, u64 now) {
  const Mode mode = directly ? direct : translated;
  if (mode != mode_) return;
  sample_.add(ticks);
  if (sample_.turns < turns_of_sample && sample_.ticks < scale_.sample) return;
  const Record own = sample_, before = std::exchange(record_[mode], sample_);
  sample_ = {};
  trial_ticks_ += own.ticks;
  const Mode other = mode == direct ? translated : direct;
  const bool settled = is_settled(own), unknown = record_[other].turns == 0;
  const bool lost = !settled && !unknown && record_[other].mean() < own.mean();
  const bool in_doubt = std::exchange(in_doubt_, lost && !trial_);
  // Code that is executed rarely is translated late, and pages are mapped when they are met.
  const bool gets_faster = before.turns == 0 || own.mean() * 8 < before.mean() * 7;
  if (trial_ && lost && gets_faster) return;
  if (trial_) {
    tried(lost, now);
    if (lost) change_to(other, false);
  } else if (!settled && (unknown || (lost && in_doubt) || (!lost && now >= next_trial_))) {
    in_doubt_ = false;
    change_to(other, true);
  }
}

}  // namespace bhyve::soft
