#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bhyve/abi/error.hpp"
#include "bhyve/abi/exit_code.hpp"

namespace tool {

struct CtlOptions;
class Session;

/// When an action is done: the order is fixed, whatever the command line's is.
enum class Stage : std::uint8_t {
  parameter,  ///< done while the command line is read
  create,
  set,
  interrupt,
  get,
  capability,
  cpu_sets,
  stats,
  topology,
  run,
  end,
  destroy
};

/// An option: its name, what its argument is, and what it does. The one table is in actions.cpp.
struct OptionRow final {
  enum class Argument : std::uint8_t { none, number, word };
  /// Numbers: 0 to `most`.
  std::string name;
  Argument argument = Argument::none;
  Stage stage = Stage::parameter;
  bool in_get_all = false;
  std::string subject;  ///< register, descriptor or the like that it is about
  bhyve::Result<void> (*act)(Session& session, const OptionRow& row, std::uint64_t number,
                             const std::string& word) = nullptr;
  std::uint64_t most = ~std::uint64_t{0};
};

/// An option that the command line has.
struct Asked final {
  const OptionRow* row;
  std::uint64_t number = 0;
  std::string word;
};

/// The command line of bhyvectl(8). Several actions may be asked for in one call.
struct CtlOptions final {
  std::string vm;
  int cpu = 0;  ///< -1: all, where that has a meaning
  bool json = false, help = false, version = false, list = false;
  std::optional<std::string> sysctl;  ///< values of the host that are asked for; empty: all
  std::optional<double> watch;  ///< seconds between two looks
  std::vector<Asked> actions;   ///< in the order in which they are done
  // Values that actions use.
  std::uint64_t desc_base = 0, desc_limit = 0, desc_access = 0;
  std::optional<bhyve::abi::Capability> capability;
  std::string capability_name;
  std::optional<unsigned> nvram_offset;
};

/// Fails with a usage error.
[[nodiscard]] bhyve::Result<CtlOptions> parse_ctl_options(int argc, char** argv,
                                                          std::span<const OptionRow> rows);

}  // namespace tool
