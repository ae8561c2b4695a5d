#pragma once
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <span>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/replay/fpu.hpp"

namespace bhyve::soft {

/// A process whose address space a guest's user code runs in, as it is: nothing is mapped but what map()
/// puts there and one region of our own (service_begin). It is traced: whatever ends the guest's code stops
/// it, and it makes no system call that map() does not have it make.
/// Owner: the thread that traces it, which UserNursery::spawn() was called on.
class UserProcess final : public FpuHolder {
 public:
  /// Guest addresses that it cannot have: code and commands of our own, read-only there.
  static constexpr u64 service_begin = 0x6a80'5000'0000;
  static constexpr u64 command_pages = 2;
  static constexpr u64 commands_at = service_begin + page_size;
  static constexpr usize commands_bytes = command_pages * page_size;
  static constexpr u64 service_pages = 1 + command_pages;
  static constexpr u64 service_end = service_begin + service_pages * page_size;
  /// Above it the host's kernel lets nothing be mapped.
  static constexpr u64 user_end = 0x7fff'ffff'f000;

  /// Takes over a process that the calling thread traces and that stands at a breakpoint of ours. `registers`
  /// are such a process's; `commands` is where it reads them, writable here.
  /// `flags_code` is where it sets RFLAGS to what RSP points to.
  UserProcess(pid_t pid, int memory, std::byte* commands, const user_regs_struct& registers, u64 flags_code);
  ~UserProcess();
  UserProcess(const UserProcess&) = delete;
  UserProcess& operator=(const UserProcess&) = delete;

  struct Command {
    u64 call = 0;
    std::array<u64, 6> arguments{};
  };
  /// Appends to what apply() does. `offset` is the memory file's; both are whole pages.
  void map(u64 linear, u64 bytes, u64 offset, bool writable, bool executable);
  void unmap(u64 linear, u64 bytes);
  /// From apply() on, CPUID stops the process, or does not. Slows every stop down where setting that leaves the
  /// guest that this host may be.
  void let_cpuid_fault(bool faults);
  [[nodiscard]] static bool cpuid_can_fault();
  /// Does what is to be done before run(). A kick() that comes meanwhile is lost. False: the process is gone,
  /// or the host refuses (too many mappings).
  [[nodiscard]] bool apply();

  enum class Why : u8 { syscall, signal, kicked, lost };
  struct Stop {
    Why why = Why::lost;
    int signal = 0;
    int code = 0;      ///< siginfo's, of SIGTRAP and SIGSEGV
    u64 address = 0;   ///< of a SIGSEGV
  };
  /// Runs guest code from `registers`, and the x87 and vector registers that are there, until it stops.
  [[nodiscard]] Stop run(user_regs_struct& registers);
  /// Gives it the x87 and vector registers of an XSAVE area in the host's standard format. What its code makes of
  /// them stays, over any number of run()s. False: the process is gone.
  [[nodiscard]] bool take_over(std::span<const u8> area);
  [[nodiscard]] bool bring_back(std::span<u8> area) override;
  /// Has run() of another thread come back soon. Any thread, async-signal-safe.
  static void kick(pid_t pid) noexcept;

  [[nodiscard]] pid_t pid() const { return pid_; }
 private:
  [[nodiscard]] bool run_own(user_regs_struct& registers);
  [[nodiscard]] bool clear_id();
  static void undo_vsyscall(user_regs_struct& registers, u64 entry);

  const pid_t pid_;
  const int memory_;
  std::byte* const commands_page_;
  user_regs_struct base_;           ///< the segment registers of a process of this host
  const u64 flags_code_;
  bool id_ = true;                  ///< RFLAGS.ID may be set in the process
  std::vector<Command> commands_;
  std::vector<u8> xstate_;
};

/// Of user_nursery.cpp, too: requests and waits that nothing interrupts.
[[nodiscard]] long trace_process(int request, pid_t pid, u64 address, void* data);
[[nodiscard]] bool wait_for_stop(pid_t pid, int& status);

}  // namespace bhyve::soft
