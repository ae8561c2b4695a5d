#pragma once
#include <memory>
#include <mutex>
#include <string_view>

#include "base/fd.hpp"
#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// Tells perf(1) the names of translated code: /tmp/perf-PID.map, where perf report looks for symbols of code
/// that is in no file (Linux, tools/perf/Documentation/jit-interface.txt). Where code made room for other, both
/// have lines. Locks itself. The guest's vector state must be parked.
class PerfMap final {
 public:
  /// Begins an empty file; only its owner can read it. Fails when it cannot be made.
  [[nodiscard]] static Result<std::unique_ptr<PerfMap>> create();
  void add(const u8* code, usize bytes, std::string_view name);

 private:
  explicit PerfMap(UniqueFd fd) : fd_(std::move(fd)) {}
  std::mutex lock_;
  UniqueFd fd_;
};

}  // namespace bhyve::soft
