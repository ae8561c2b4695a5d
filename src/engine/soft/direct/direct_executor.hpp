#pragma once
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/direct/executor_choice.hpp"
#include "engine/soft/direct/host_cpu_pin.hpp"
#include "engine/soft/direct/user_mappings.hpp"
#include "engine/soft/direct/user_nursery.hpp"
#include "engine/soft/direct/user_process.hpp"

namespace bhyve::soft {

class Cpu;
enum class Step : u8;

/// The third executor of a vCPU: 64-bit code at privilege level 3 runs as it is, in a process that has the
/// address space's user pages and nothing else (UserProcess, UserMappings). All that the guest's kernel must
/// see ends it with the state as the interpreter keeps it; the instruction in question is then executed by the
/// interpreter.
///
/// A stop costs two switches of the host's scheduler, some ten microseconds with what follows. So only those
/// address spaces run so that have been met in user mode by several interrupts, and only while that is faster
/// (ExecutorChoice).
/// Owner: the vCPU's thread.
class DirectExecutor final {
 public:
  struct Options {
    bool always = false;  ///< all that can run directly does, whether it pays or not, and exactly
    u64 tsc_hz = 0;       ///< of the host
  };
  /// For the calling thread.
  DirectExecutor(Cpu& cpu, UserNursery& nursery, const Options& options);
  ~DirectExecutor();
  /// The calling thread is the one that it was made on.
  [[nodiscard]] bool is_ours() const { return thread_ == __builtin_thread_pointer(); }

  /// run() is to be called for user code, if can_run().
  [[nodiscard]] bool due() const { return current_ && !held_ && !turn_ && !elsewhere_; }
  /// The state of the guest is such that its user code can run directly.
  [[nodiscard]] bool can_run() const;
  /// Runs user code. Step::branch: look again, what is at Cpu::rip may be the interpreter's (takes_turn()).
  [[nodiscard]] Step run();
  /// The next block is to be interpreted; asked once for each.
  [[nodiscard]] bool takes_turn() { return std::exchange(turn_, false); }

  /// An interrupt came in while user code ran: a sample of what the guest does.
  void interrupted_user();
  void entered_kernel();
  void left_kernel();
  /// The vCPU does something else for a while.
  void rest() { pin_.release(); }

  // What a TLB is told. `address_space`: CR3 was loaded.
  void address_space(u64 cr3);
  void flush_all();  ///< also when the nested tables changed: what is mapped is looked for there, too
  void flush_pcid(u64 pcid);
  void flush_page(u64 linear);
  void revoke_writes();
  void revoke_writes(Gpa page);
  void code_written(std::span<const u64> pages);  ///< by number; none: perhaps any

  struct Counters {
    u64 entries = 0, syscalls = 0, traps = 0, kicks = 0, promoted = 0, refused = 0, held = 0, fills = 0, hand_overs = 0;
  } counters;  ///< written by the vCPU's thread only; read as relaxed snapshots

 private:
  static constexpr u64 no_space = ~u64{0};
  /// An address space that runs directly, or did.
  struct Space {
    u64 cr3 = no_space;
    std::unique_ptr<UserProcess> process;
    std::unique_ptr<UserMappings> mappings;
    u64 last_used = 0;
    ExecutorChoice choice{{}};
  };
  /// What is known of a program that does not.
  struct Candidate {
    u64 cr3 = no_space;
    u64 fs_base = 0;       ///< tells programs apart that have the same page tables one after the other
    u64 last_seen = 0;     ///< TSC
    unsigned samples = 0;
    ExecutorChoice::Record turns;  ///< in user mode, since the last sample, as far as it was watched_
    bool refused = false;  ///< for good
  };

  [[nodiscard]] Candidate& candidate();
  void promote(u64 cr3);
  void refuse();
  [[nodiscard]] u64 tsc_hz() const;
  [[nodiscard]] u64 stop_ticks() const;
  [[nodiscard]] ExecutorChoice::Scale scale() const;
  void load_registers(user_regs_struct& r) const;
  [[nodiscard]] Step store_registers(const user_regs_struct& r);
  [[nodiscard]] Step load_selectors(const user_regs_struct& r);
  [[nodiscard]] bool hand_over(UserProcess& process);
  [[nodiscard]] Step stopped(const UserProcess::Stop& stop);
  void trapped(const UserProcess::Stop& stop);
  void note_fill(u64 address);
  void debug_trapped(int code);
  [[nodiscard]] bool preceded_by(u8 first, u8 second) const;
  [[nodiscard]] Step failed();

  static constexpr usize spaces_most = 8;
  static constexpr u64 no_fill = ~u64{0};
  Cpu& cpu_;
  UserNursery& nursery_;
  const Options options_;
  const void* const thread_ = __builtin_thread_pointer();
  std::vector<Space> spaces_;
  std::array<Candidate, 32> candidates_{};
  Candidate* watched_ = nullptr;  ///< the one sampled last
  bool watching_ = false;         ///< its address space is that of CR3
  Space* current_ = nullptr;  ///< of CR3
  HostCpuPin pin_;
  u64 clock_ = 0;
  u64 user_since_ = 0;        ///< TSC
  u64 shortest_turn_ = 0;     ///< that ran directly: little more than the stop; 0 is none
  bool ran_ = false;          ///< directly, since the kernel was left
  bool elsewhere_ = false;    ///< this turn in user mode is translated code's
  u64 fill_ = no_fill;        ///< page that the last stop was about
  bool held_ = false;         ///< something here is not for us: until the kernel was entered
  bool fill_executes_ = false;
  bool turn_ = false;
};

}  // namespace bhyve::soft
