#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "vmm/vm.hpp"

namespace bhyve::test {

/// A machine of the vmm's own chips and the soft engine, in this process, that runs one flat guest
/// program of tests/guest: local APICs, I/O APIC, PIC, PIT, HPET and RTC are the real ones. Around
/// them are only the ports of the guest runtime (guest.h) and the MP table. Set-up failures throw
/// std::runtime_error. Any thread, unless a member says otherwise.
class ChipsMachine final {
 public:
  struct Options {
    u32 vcpus = 1;
    bool x2apic = false;  ///< local APICs in x2APIC mode from power-up
    bool mptable = false;
  };
  struct Outcome {
    enum class Kind : u8 { ended, suspended, timeout, error };
    Kind kind = Kind::timeout;
    unsigned status = 0;                               ///< ended: the guest's word
    abi::SuspendHow how = abi::SuspendHow::none;       ///< suspended: without the guest's word
    std::string detail;
  };

  explicit ChipsMachine(const Options& options);
  ~ChipsMachine();
  ChipsMachine(const ChipsMachine&) = delete;
  ChipsMachine& operator=(const ChipsMachine&) = delete;

  [[nodiscard]] vmm::Vm& vm() { return *vm_; }
  /// Loads `image` at 1 MiB, where it begins in 64-bit mode. Before start().
  void load(std::span<const u8> image);
  void start();
  /// Ends the machine when the guest has, or after `seconds`; once, by the thread that made it.
  Outcome finish(unsigned seconds);

  [[nodiscard]] std::string output();
  /// A word of guest memory, as devices see it.
  [[nodiscard]] u64 read_word(u64 gpa);
  /// How often a vCPU left as SPINUP_AP and SPINDOWN_CPU.
  [[nodiscard]] unsigned spinups() const { return spinups_.load(); }
  [[nodiscard]] unsigned spindowns() const { return spindowns_.load(); }

 private:
  void vcpu_thread(VcpuId id);
  [[nodiscard]] bool handle(vmm::Vcpu& vcpu, engine::Exit& exit);
  void inout(vmm::Vcpu& vcpu, engine::Exit::Inout& io);
  void ipi(vmm::Vcpu& vcpu, const engine::Exit& exit);
  void start_thread(VcpuId id);
  void end(const Outcome& outcome);

  std::unique_ptr<vmm::Vm> vm_;
  std::vector<u32> ipi_exits_;  ///< of vCPU 0, on its thread
  u32 ipi_exit_ = 0;
  std::mutex mutex_;  ///< for everything below
  std::condition_variable ended_;
  std::vector<std::thread> threads_;
  std::vector<std::thread> old_threads_;  ///< of vCPUs that were spun down
  bool has_outcome_ = false, closing_ = false;
  Outcome outcome_;
  std::string output_;
  std::atomic<unsigned> spinups_{0}, spindowns_{0};
};

}  // namespace bhyve::test
