#pragma once
#include "diff_case.hpp"
#include "test_machine.hpp"

namespace bhyve::test::diff {

/// A configuration under test: runs the same instruction at the same linear addresses at CPL 3.
class GuestCpu final {
 public:
  explicit GuestCpu(const Configuration& configuration);

  [[nodiscard]] std::span<u8, data_size> memory() { return memory_; }
  void run(std::span<const u8> bytes, const State& in, After& out);

 private:
  void make_tables();
  void make_handlers();
  void load(const State& in);

  TestMachine machine_;
  mem::Hold data_hold_;
  std::span<u8, data_size> memory_;
  engine::VcpuState first_;  ///< before an instruction: system state, CPL 3
  std::unique_ptr<engine::VcpuState> last_;
};

}  // namespace bhyve::test::diff
