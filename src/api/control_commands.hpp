#pragma once
#include <atomic>
#include <string_view>
#include <vector>

#include "api/control_protocol.hpp"
#include "machine/vm_control.hpp"

namespace bhyve::api {

/// Does what requests ask of a VM: those that come through the control socket, and those of a program
/// that has the VM in its own process. One table has every command (control_commands.cpp).
class ControlCommands final {
 public:
  explicit ControlCommands(machine::VmControl& vm) : vm_(vm) {}

  /// One thread at a time; not a vCPU's.
  [[nodiscard]] Result<Json> run(const Json& request);
  /// Every command.
  [[nodiscard]] static std::vector<std::string_view> names();
  /// Somebody asked for the VM to be removed. Any thread.
  [[nodiscard]] bool destroy_asked() const { return destroy_asked_.load(); }
  /// A command that changes the VM was run: a stopped one must be written back. Any thread.
  [[nodiscard]] bool changed() const { return changed_.load(); }

 private:
  friend struct CommandTable;
  machine::VmControl& vm_;
  std::atomic<bool> destroy_asked_{false};
  std::atomic<bool> changed_{false};
};

}  // namespace bhyve::api
