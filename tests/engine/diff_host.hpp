#pragma once
#include "diff_case.hpp"

namespace bhyve::test::diff {

/// The host CPU as the oracle: runs one instruction at its address inside a reserved window. Faults
/// of the instruction are caught. One object a process (fixed addresses, signal handlers); only
/// instructions that stay at CPL 3, do not branch and leave FS and GS alone may be run.
class HostCpu final {
 public:
  explicit HostCpu(Mode mode);
  HostCpu(const HostCpu&) = delete;
  HostCpu& operator=(const HostCpu&) = delete;

  /// The data pages, to fill before and to read after run().
  [[nodiscard]] std::span<u8, data_size> memory() { return memory_; }
  /// Executes `bytes` at in.rip, in 64- or 32-bit code.
  void run(std::span<const u8> bytes, const State& in, After& out);

 private:
  void load_vectors(const Vectors& v);
  void store_vectors(Vectors& v);

  Mode mode_;
  u8* code_alias_;  ///< writable mapping of the code pages
  std::span<u8, data_size> memory_;
  std::array<u32, 8> offsets_{};  ///< host's standard offsets of XSAVE components
};

}  // namespace bhyve::test::diff
