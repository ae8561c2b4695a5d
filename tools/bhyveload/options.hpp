#pragma once
#include "bhyve/config.hpp"

namespace tool {

/// What the command line asks for.
struct LoadOptions final {
  enum class Action { load, help, version };
  Action action = Action::load;
  bhyve::Config config;
};

/// Reads the command line of bhyveload(8) in order. The sentence of a failure names the option.
[[nodiscard]] bhyve::Result<LoadOptions> parse_load_options(int argc, char** argv);

}  // namespace tool
