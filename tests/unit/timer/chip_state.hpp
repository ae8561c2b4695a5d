#pragma once
#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "base/state.hpp"

namespace bhyve::timer {

/// Saves `from` at `saved_at` and loads it into `to` at `loaded_at`; false if the load is refused.
template <class Chip>
[[nodiscard]] bool copy_state(const Chip& from, Nanos saved_at, Chip& to, Nanos loaded_at) {
  StateWriter out;
  out.section("chip", 1, [&](StateWriter& w) { from.save(w, saved_at); });
  const Result<StateReader> in = StateReader::parse(out.bytes());
  return in && in->section("chip", 1, [&](StateSection& s) { to.load(s, loaded_at); });
}

}  // namespace bhyve::timer
