#pragma once
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "engine/client.hpp"
#include "engine/exit.hpp"
#include "engine/vcpu_state.hpp"

namespace bhyve::test {

/// Ports of the test machine. A guest program prints, ends, and asks for events by them.
namespace port {
inline constexpr u16 print = 0xe9;       ///< OUT byte: one character of output
inline constexpr u16 event = 0xf0;       ///< OUT dword: an event (see event::), to any vCPU
inline constexpr u16 end = 0xf4;         ///< OUT byte: the program ends with this status
inline constexpr u16 self = 0xf5;        ///< IN byte: number of this vCPU
inline constexpr u16 vcpus = 0xf6;       ///< IN byte: vCPUs of the machine
inline constexpr u16 nested = 0xf8;      ///< OUT dword: something done to the nested tables (see
                                         ///< nested::); IN dword: how they have the page now
inline constexpr u16 capability = 0xfa; ///< OUT dword: capability in bits 7-0, bit 8 sets it on this vCPU;
                                        ///< IN dword: exits that capabilities have made on it
inline constexpr u16 latch_done = 0x500; ///< 16 bytes of latches, done inside run()
inline constexpr u16 latch_exit = 0x510; ///< 16 bytes of latches, done outside after an exit
}  // namespace port

/// The dword written to port::event: vector in bits 7-0, vCPU in bits 15-8, and one of these.
namespace event {
inline constexpr u32 nmi = 1u << 16;
inline constexpr u32 startup = 1u << 17;  ///< INIT, SIPI: the vector is the page of the code
inline constexpr u32 late = 1u << 18;     ///< comes when the vCPU reads a clock, not before
}  // namespace event

/// What OUT to port::nested does to the guest-physical page in bits 31-4, and what IN then tells of it.
namespace nested {
enum Operation : u8 { look, remove, write_protect, clear_accessed, clear_dirty, promote, invalidate };
enum Flag : u32 {
  mapped = 1, writable = 2, accessed = 4, dirty = 8, large = 16,
  passed = 32,  ///< no other vCPU uses translations from before the last invalidation
  emulated = 64,   ///< the CPU keeps no accessed and dirty flags
  pestered = 128,  ///< somebody else changes the tables as well
};
}  // namespace nested

/// Device memory: one page of latches that is done inside run(), and one done outside.
inline constexpr u64 mmio_done = 0xf000'0000, mmio_exit = 0xf000'1000;

/// How a run of the machine ended.
struct Outcome final {
  enum class Kind : u8 { running, ended, triple_fault, timeout, error } kind = Kind::running;
  u8 status = 0;       ///< ended: what the guest wrote to port::end
  std::string detail;  ///< error: what happened
};

/// The machine around the vCPUs of a test: fake interrupt source, debug ports, latches. Thread
/// safety: the Client members on vCPU threads; inject() and end() from any thread.
class TestClient final : public engine::Client {
 public:
  explicit TestClient(u32 vcpus);
  /// How to make a vCPU look up; set before anything runs.
  std::function<void(VcpuId)> kick;
  /// What port::nested is; set before anything runs.
  std::function<void(VcpuId, u64 gpa, nested::Operation)> change_nested;
  std::function<u32(VcpuId)> look_at_nested;

  Access mmio(VcpuId vcpu, Gpa gpa, unsigned size, u64& value, Dir dir) override;
  Access pio(VcpuId vcpu, u16 port, unsigned size, u32& value, Dir dir) override;
  Access msr(VcpuId vcpu, u32 number, u64& value, Dir dir) override;
  void before_clock(VcpuId vcpu) override;
  u8 cr8(VcpuId vcpu) override;
  void set_cr8(VcpuId vcpu, u8 value) override;
  Pending pending(VcpuId vcpu) override;
  void accept_nmi(VcpuId vcpu) override;
  int accept_interrupt(VcpuId vcpu) override;
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId vcpu) override;

  /// Does what an exit asked for (inout, inst_emul, rdmsr, wrmsr). False: not one of them.
  bool answer(engine::Exit& exit);

  /// Queues an external interrupt, in order; or makes an NMI pending.
  void inject(VcpuId vcpu, u8 vector);
  void inject_nmi(VcpuId vcpu);
  /// Ends the machine; the first one counts.
  void end(Outcome outcome);
  [[nodiscard]] bool ended() const { return ended_.load(); }
  /// Blocks until the vCPU has an event, was started (waiting_for_startup) or the machine ended.
  void wait(VcpuId vcpu, bool for_startup);
  /// The page of a SIPI that this vCPU has to act on, or -1. Consumes it.
  int take_startup(VcpuId vcpu);
  /// Blocks until the end, at most `seconds`; then it is a timeout.
  Outcome wait_for_end(unsigned seconds);

  [[nodiscard]] std::string output() const;
  /// IRQ 13 pulses so far.
  [[nodiscard]] u32 ferr_pulses() const { return ferr_pulses_.load(); }

 private:
  struct Cpu {
    std::deque<u8> vectors;
    std::deque<u8> late;  ///< vectors that before_clock() makes pending
    bool nmi = false;
    u8 cr8 = 0;
    int startup = -1;
  };
  void post(u32 request);
  [[nodiscard]] bool deliverable(const Cpu& cpu) const;
  bool access_latch(u16 port, unsigned size, u32& value, Dir dir);
  void access_memory(u64 offset, unsigned size, u64& value, Dir dir);

  mutable std::mutex lock_;  ///< guards cpus_, output_, latches_, memory_, outcome_
  std::condition_variable changed_;
  std::vector<Cpu> cpus_;
  std::string output_;
  std::array<u8, 32> latches_{};
  std::array<u8, 2 * page_size> memory_{};
  Outcome outcome_;
  std::atomic<bool> ended_{false};
  std::atomic<u32> ferr_pulses_{0};
};

}  // namespace bhyve::test
