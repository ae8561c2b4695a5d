#include "engine/soft/direct/executor_choice.hpp"

#include <algorithm>

namespace bhyve::soft {

void ExecutorChoice::change_to(Mode mode, bool trial) {
  mode_ = mode;
  trial_ = trial;
  sample_ = {};
}

void ExecutorChoice::goes_on(u64 ticks) {
  if (mode_ == translated && ticks >= scale_.long_turn) change_to(direct, true);
}

void ExecutorChoice::ended(u64 ticks, bool directly, u64 now) {
  const Mode mode = directly ? direct : translated;
  if (mode != mode_) return;
  sample_.ticks += ticks;
  if (++sample_.turns < turns_of_sample && sample_.ticks < scale_.sample) return;
  const Record own = record_[mode] = sample_;
  sample_ = {};
  const Mode other = mode == direct ? translated : direct;
  const bool tried = trial_;
  trial_ = false;
  if (tried) {
    constexpr u64 share = 30;
    next_trial_ = now + std::clamp(own.ticks * share, scale_.pause_least, scale_.pause_most);
  }
  if (mode == direct && own.mean() >= scale_.long_turn) return;
  if (record_[other].turns == 0)
    change_to(other, true);
  else if (record_[other].mean() < own.mean())
    change_to(other, false);
  else if (!tried && now >= next_trial_)
    change_to(other, true);
}

}  // namespace bhyve::soft
