#include "options.hpp"

#include <fmt/format.h>
#include <getopt.h>

#include <array>

#include "bhyve/config.hpp"
#include "bhyve/vm.hpp"

namespace tool {
namespace {

using bhyve::Error;

/// Options without argument: each sets one member.
struct Flag final {
  const char* name;
  bool CtlOptions::*member;
};
constexpr auto flags = std::to_array<Flag>({
    {"json", &CtlOptions::json},
    {"help", &CtlOptions::help},
    {"version", &CtlOptions::version},
    {"list", &CtlOptions::list},
    {"create", &CtlOptions::create},
    {"destroy", &CtlOptions::destroy},
    {"get-all", &CtlOptions::get_all},
    {"get-stats", &CtlOptions::get_stats},
    {"get-memmap", &CtlOptions::get_memmap},
    {"get-cpu-topology", &CtlOptions::get_topology},
    {"get-active-cpus", &CtlOptions::get_active},
    {"get-suspended-cpus", &CtlOptions::get_suspended},
    {"force-reset", &CtlOptions::force_reset},
    {"force-poweroff", &CtlOptions::force_poweroff},
    {"inject-nmi", &CtlOptions::inject_nmi},
});

constexpr int opt_vm = 256, opt_cpu = 257, opt_lvt = 258;
constexpr int highest_cpu = 65534;
constexpr unsigned highest_lvt = 6;

tl::unexpected<Error> usage(std::string message) {
  return tl::make_unexpected(Error{EINVAL, std::move(message)});
}

bhyve::Result<void> set_value(CtlOptions& options, int which, std::string_view text) {
  if (which == opt_vm) {
    options.vm = text;
    return bhyve::check_vm_name(text);
  }
  const auto number = bhyve::parse_integer(text);
  if (which == opt_cpu) {
    if (text != "-1" && (!number || *number > highest_cpu))
      return usage(fmt::format("--cpu={}: expected a vCPU number, or -1 for all", text));
    options.cpu = number ? static_cast<int>(*number) : -1;
    return {};
  }
  if (!number || *number > highest_lvt)
    return usage(fmt::format("--assert-lapic-lvt={}: expected 0 to {}", text, highest_lvt));
  options.lvt = static_cast<unsigned>(*number);
  return {};
}

}  // namespace

bhyve::Result<CtlOptions> parse_ctl_options(int argc, char** argv) {
  std::array<option, flags.size() + 4> table{};
  for (std::size_t i = 0; i < flags.size(); ++i)
    table[i] = {flags[i].name, no_argument, nullptr, static_cast<int>(i)};
  table[flags.size()] = {"vm", required_argument, nullptr, opt_vm};
  table[flags.size() + 1] = {"cpu", required_argument, nullptr, opt_cpu};
  table[flags.size() + 2] = {"assert-lapic-lvt", required_argument, nullptr, opt_lvt};

  CtlOptions options;
  opterr = 0;
  optind = 1;
  while (true) {
    const int before = optind;
    const int which = ::getopt_long(argc, argv, ":", table.data(), nullptr);
    if (which == -1) break;
    if (which == '?') return usage(fmt::format("{}: unknown option", argv[before]));
    if (which == ':') return usage(fmt::format("{}: expected an argument", argv[before]));
    if (which < opt_vm) {
      options.*flags[static_cast<std::size_t>(which)].member = true;
    } else if (auto ok = set_value(options, which, optarg); !ok) {
      return tl::make_unexpected(ok.error());
    }
  }
  if (optind < argc) return usage(fmt::format("'{}': expected options only", argv[optind]));
  if (options.vm.empty() && !options.list && !options.help && !options.version)
    return usage("expected --vm=NAME (bhyvectl --help tells more)");
  return options;
}

}  // namespace tool
