#pragma once
#include "diff_case.hpp"
#include "test_machine.hpp"

namespace bhyve::test::diff {

/// A configuration under test: runs the same instruction at the same linear addresses.
class GuestCpu final {
 public:
  GuestCpu(const Configuration& configuration, Mode mode);

  [[nodiscard]] std::span<u8, data_size> memory() { return memory_; }
  void run(std::span<const u8> bytes, const State& in, After& out);

 private:
  void make_tables();
  void make_handlers();
  void load(const State& in);

  Mode mode_;
  TestMachine machine_;
  mem::Hold data_hold_;
  std::span<u8, data_size> memory_;
  engine::VcpuState first_;  ///< before an instruction: system state
  std::unique_ptr<engine::VcpuState> last_;
};

}  // namespace bhyve::test::diff
