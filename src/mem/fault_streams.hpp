#pragma once
#include <array>

#include "base/types.hpp"

namespace bhyve::mem {

/// Finds faults that go on through guest memory, up or down: kernels hand out memory that nobody has used in
/// order. Says what will be wanted next, as read-ahead does for files. Addresses and sizes are bytes.
/// Thread safety: none of its own.
class FaultStreams final {
 public:
  /// [first, end); empty: nothing.
  struct Range {
    u64 first = 0, end = 0;
    [[nodiscard]] bool empty() const { return first >= end; }
    bool operator==(const Range&) const = default;
  };
  /// So much is asked for at a time, when half of it or less is left ahead of a stream.
  static constexpr u64 lead = 512 * KiB;
  static constexpr unsigned run_needed = 4;  ///< faults one after the other that make a stream

  /// `window`: what one fault maps, aligned to its size; a power of two.
  explicit FaultStreams(u64 window) : window_(window) {}

  /// The window at `at` was faulted in. What is to be populated now: once for each piece of a stream.
  [[nodiscard]] Range faulted(u64 at);

 private:
  enum class Way : u8 { none, up, down };
  struct Stream {
    u64 at = ~u64{0};     ///< last fault
    u64 asked = 0;        ///< up to here, in the stream's way
    u64 used = 0;         ///< when, by clock_
    unsigned run = 0;
    Way way = Way::none;
  };
  [[nodiscard]] Stream& stream_of(u64 at);
  [[nodiscard]] Range ahead_up(Stream& s) const;
  [[nodiscard]] Range ahead_down(Stream& s) const;

  const u64 window_;
  u64 clock_ = 0;
  std::array<Stream, 8> streams_{};
};

}  // namespace bhyve::mem
