#include "mem/fault_streams.hpp"

#include <algorithm>

namespace bhyve::mem {

/// The stream that goes on at `at`, or a new one in place of the oldest.
FaultStreams::Stream& FaultStreams::stream_of(u64 at) {
  Stream* oldest = &streams_[0];
  for (Stream& s : streams_) {
    const Way way = at == s.at + window_ ? Way::up : s.at == at + window_ ? Way::down : Way::none;
    if (way == Way::none) {
      if (s.used < oldest->used) oldest = &s;
      continue;
    }
    if (s.way != way) s = {.asked = way == Way::up ? at + window_ : at, .way = way};
    return s;
  }
  return *oldest = {};
}

FaultStreams::Range FaultStreams::ahead_up(Stream& s) const {
  const u64 from = std::max(s.asked, s.at + window_);
  if (from - (s.at + window_) >= lead / 2 || from > ~lead) return {};
  s.asked = from + lead;
  return {from, s.asked};
}

FaultStreams::Range FaultStreams::ahead_down(Stream& s) const {
  const u64 end = std::min(s.asked, s.at);
  if (s.at - end >= lead / 2) return {};
  s.asked = end > lead ? end - lead : 0;
  return {s.asked, end};
}

FaultStreams::Range FaultStreams::faulted(u64 at) {
  Stream& s = stream_of(at);
  s.at = at;
  s.used = ++clock_;
  if (s.way == Way::none || ++s.run < run_needed) return {};
  return s.way == Way::up ? ahead_up(s) : ahead_down(s);
}

}  // namespace bhyve::mem
