#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// A text file that tells what the vCPUs execute (cpu.trace): see Cpu::trace_block() for its lines. Lines of
/// different vCPUs do not mix. Locks itself; the guest's vector state must be parked.
class ExecutionTrace final {
 public:
  /// Makes the file, or empties it. Fails when that cannot be.
  [[nodiscard]] static Result<std::unique_ptr<ExecutionTrace>> create(const std::string& path);
  ~ExecutionTrace();
  ExecutionTrace(const ExecutionTrace&) = delete;
  ExecutionTrace& operator=(const ExecutionTrace&) = delete;

  void add(std::string_view lines);
  /// Writes out what add() has kept.
  void flush();

 private:
  explicit ExecutionTrace(UniqueFd fd) : fd_(std::move(fd)) {}
  void write_out();

  std::mutex lock_;
  UniqueFd fd_;
  std::string kept_;
};

}  // namespace bhyve::soft
