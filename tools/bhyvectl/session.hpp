#pragma once
#include <nlohmann/json.hpp>
#include <optional>

#include "bhyve/own_vm.hpp"
#include "bhyve/vm.hpp"
#include "options.hpp"
#include "print.hpp"

namespace tool {

/// One call of bhyvectl on one VM: a connection to it (made by the first action that needs one) and where
/// the output goes.
class Session final {
 public:
  explicit Session(const CtlOptions& options) : options_(options) {}

  [[nodiscard]] const CtlOptions& options() const { return options_; }
  [[nodiscard]] unsigned cpu() const { return options_.cpu < 0 ? 0 : static_cast<unsigned>(options_.cpu); }

  /// The VM: running, or stopped and taken over for this call.
  [[nodiscard]] bhyve::Result<bhyve::Control*> control();
  /// The same for what only a stopped VM can do. EBUSY when it runs.
  [[nodiscard]] bhyve::Result<bhyve::OwnVm*> stopped();
  /// The VM goes back to where it was: before it is removed.
  void disconnect();

  /// Prints a value, or puts it under `key` of the JSON object.
  template <class Print>
  void put(const char* key, Json value, Print print) {
    if (options_.json) json_[key] = std::move(value);
    else print();
  }
  [[nodiscard]] const Json& json() const { return json_; }

 private:
  const CtlOptions& options_;
  std::optional<bhyve::OwnVm> own_;
  std::optional<bhyve::Control> control_;
  Json json_ = Json::object();
};

}  // namespace tool
