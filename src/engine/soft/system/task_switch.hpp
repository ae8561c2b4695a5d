#pragma once
#include "engine/soft/system/descriptor.hpp"

/// Hardware task switches (SDM vol. 3, ch. 7). Not in long mode.
namespace bhyve::soft {

enum class TaskReason : u8 { jump, call, event, iret };

/// What starts a task switch.
struct TaskRequest final {
  u16 selector = 0;        ///< of the new task's TSS
  TaskReason reason = TaskReason::jump;
  u64 return_rip = 0;      ///< what the old task goes on with
  u64 flags_image = 0;     ///< the old task's EFLAGS as saved
  u32 ext = 0;             ///< EXT bit of error codes
  bool has_error = false;  ///< an exception's error code goes to the new task's stack
  u32 error = 0;
};

/// Switches, all in one go (within Cpu::AllAtOnce). False: failed(); a fault raised after the
/// switch belongs to the new task, which TR tells.
[[nodiscard]] bool switch_task(Cpu& cpu, const TaskRequest& request);

/// The same for an instruction: faults after the switch are delivered in the new task.
[[nodiscard]] Step task_instruction(Cpu& cpu, const TaskRequest& request);

/// What to return when the task was `old_task` (TR) before a switch that failed: a fault after the
/// switch is delivered in the new task.
[[nodiscard]] Step task_failed(Cpu& cpu, u16 old_task);

/// Reads the TSS selector out of a task gate that was found usable. False: failed().
[[nodiscard]] bool task_gate_target(Cpu& cpu, const Descriptor& gate, u32 ext, u16& selector);

}  // namespace bhyve::soft
