#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "configurations.hpp"
#include "mem/vmspace.hpp"
#include "test_client.hpp"

namespace bhyve::test {

/// A small machine in this process: RAM, the vCPUs of one configuration, and a TestClient for all
/// the rest. Set-up failures throw std::runtime_error (they are the test's own).
class TestMachine final {
 public:
  struct Options {
    u32 vcpus = 1;
    u64 memory = 64 * MiB;
    u64 high_memory = 0;  ///< from 4 GiB
    engine::CpuConfig cpu{};
    /// What is made of memory: nested tables whose flags are emulated; or a pager with very little
    /// host memory, while somebody unmaps, write-protects and promotes at random.
    enum class Nested : u8 { plain, emulated, paged } nested = Nested::plain;
  };
  TestMachine(const Configuration& configuration, const Options& options);
  ~TestMachine();
  TestMachine(const TestMachine&) = delete;
  TestMachine& operator=(const TestMachine&) = delete;

  [[nodiscard]] mem::Vmspace& space() { return *space_; }
  [[nodiscard]] TestClient& client() { return client_; }
  [[nodiscard]] engine::EngineVcpu& vcpu(VcpuId id) { return *vcpus_[id]; }

  void write(u64 gpa, std::span<const u8> bytes);
  void read(u64 gpa, std::span<u8> bytes);
  template <class T>
  void write_value(u64 gpa, const T& v) {
    write(gpa, std::span(reinterpret_cast<const u8*>(&v), sizeof v));
  }
  template <class T>
  [[nodiscard]] T read_value(u64 gpa) {
    T v;
    read(gpa, std::span(reinterpret_cast<u8*>(&v), sizeof v));
    return v;
  }

  /// Runs every vCPU on a thread of its own, vCPU 0 from its present state and the others from
  /// their SIPI, until the guest ends, faults thrice, or `seconds` have passed.
  Outcome run(unsigned seconds);

 private:
  void vcpu_thread(VcpuId id);
  /// What run() came back with; true to go on.
  bool handle(VcpuId id, engine::Exit& exit);
  void set_capability(VcpuId id, engine::Exit::Inout& io);
  void pass_breakpoint(VcpuId id, const engine::Exit& exit);
  void start_up(VcpuId id, int page);
  [[nodiscard]] bool resolve(const engine::Exit::Paging& fault);
  [[nodiscard]] bool passed(u64 generation, int but = -1) const;
  void change_nested(VcpuId id, u64 gpa, nested::Operation operation);
  [[nodiscard]] u32 look_at_nested(VcpuId id) const;
  void pester();

  std::unique_ptr<mem::Vmspace> space_;
  bool paged_;
  std::array<std::atomic<bool>, 16> running_{};
  std::array<u64, 16> looked_at_{};  ///< by each vCPU through port::nested
  std::array<u32, 16> capability_exits_{};  ///< its vCPU's thread
  TestClient client_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<std::unique_ptr<engine::EngineVcpu>> vcpus_;
};

}  // namespace bhyve::test
