#pragma once
#include <atomic>

#include "api/control_protocol.hpp"
#include "machine/machine.hpp"

namespace bhyve::api {

/// Does what requests on the control socket ask of a running machine.
class ControlCommands final {
 public:
  explicit ControlCommands(machine::Machine& machine) : machine_(machine) {}

  /// On the control server's thread.
  [[nodiscard]] Result<Json> run(const Json& request);
  /// Somebody asked for the VM to be removed. Any thread.
  [[nodiscard]] bool destroy_asked() const { return destroy_asked_.load(); }

 private:
  [[nodiscard]] Result<Json> lapic_msi(const Json& request);
  [[nodiscard]] Result<Json> setup_pptdev(const Json& request, bool msix);

  machine::Machine& machine_;
  std::atomic<bool> destroy_asked_{false};
};

}  // namespace bhyve::api
