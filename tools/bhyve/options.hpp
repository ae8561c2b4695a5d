#pragma once
#include "bhyve/config.hpp"

namespace tool {

/// bhyve's exit statuses beside those of the guest's end (bhyve(8), EXIT STATUS).
inline constexpr int status_usage = 1, status_error = 4;
/// EX_USAGE of sysexits(3): what bhyve gives for a bad -p.
inline constexpr int status_pinning = 64;

/// What the command line asks for.
struct Options final {
  enum class Action { run, help, version, pci_help, lpc_help, dump, describe };
  Action action = Action::run;
  bool dry_run = false;
  bhyve::Config config;
};

/// A wrong command line: the sentence, and the status with which bhyve ends.
struct OptionError final {
  int status = status_error;
  std::string message;
};

/// Reads the command line of bhyve(8) in order; a later setting replaces an earlier one.
[[nodiscard]] tl::expected<Options, OptionError> parse_options(int argc, char** argv);

}  // namespace tool
