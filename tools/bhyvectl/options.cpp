#include "options.hpp"

#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>
#include <charconv>

#include "bhyve/capabilities.hpp"
#include "bhyve/config.hpp"
#include "bhyve/vm.hpp"
#include "bhyve/words.hpp"

namespace tool {
namespace {

using bhyve::Error;

/// Options that say how or on what, not what to do.
enum Parameter : int {
  opt_vm = 4096, opt_cpu, opt_json, opt_help, opt_version, opt_list, opt_sysctl, opt_watch, opt_capname,
  opt_desc_base, opt_desc_limit, opt_desc_access, opt_nvram_offset
};
constexpr option parameters[] = {
    {"vm", required_argument, nullptr, opt_vm},
    {"cpu", required_argument, nullptr, opt_cpu},
    {"json", no_argument, nullptr, opt_json},
    {"help", no_argument, nullptr, opt_help},
    {"version", no_argument, nullptr, opt_version},
    {"list", no_argument, nullptr, opt_list},
    {"sysctl", optional_argument, nullptr, opt_sysctl},
    {"watch", optional_argument, nullptr, opt_watch},
    {"capname", required_argument, nullptr, opt_capname},
    {"desc-base", required_argument, nullptr, opt_desc_base},
    {"desc-limit", required_argument, nullptr, opt_desc_limit},
    {"desc-access", required_argument, nullptr, opt_desc_access},
    {"rtc-nvram-offset", required_argument, nullptr, opt_nvram_offset},
};
constexpr int highest_cpu = 65534;
constexpr int first_row = 8192;  ///< what getopt returns for an action: nothing like '?' and ':'

tl::unexpected<Error> usage(std::string message) {
  return tl::make_unexpected(Error{EINVAL, std::move(message)});
}

bhyve::Result<void> number_of(const char* name, std::string_view text, std::uint64_t most,
                              std::uint64_t& into) {
  const auto number = bhyve::parse_integer(text);
  if (!number || *number > most)
    return usage(fmt::format("--{}={}: expected a number from 0 to {:#x}", name, text, most));
  into = *number;
  return {};
}

bhyve::Result<void> set_cpu(CtlOptions& options, std::string_view text) {
  const auto number = bhyve::parse_integer(text);
  if (text != "-1" && (!number || *number > highest_cpu))
    return usage(fmt::format("--cpu={}: expected a vCPU number, or -1 for all", text));
  options.cpu = number ? static_cast<int>(*number) : -1;
  return {};
}

bhyve::Result<void> set_watch(CtlOptions& options, const char* text) {
  constexpr double longest = 3600;
  double seconds = 2;
  if (text) {
    const std::string_view view = text;
    const auto [end, error] = std::from_chars(view.begin(), view.end(), seconds);
    if (error != std::errc() || end != view.end() || !(seconds > 0) || seconds > longest)
      return usage(fmt::format("--watch={}: expected seconds up to {}", text, longest));
  }
  options.watch = seconds;
  return {};
}

bhyve::Result<void> set_capname(CtlOptions& options, std::string_view text) {
  options.capability = bhyve::find_capability(text);
  options.capability_name = text;
  if (options.capability) return {};
  std::vector<std::string_view> known;
  for (const auto& row : bhyve::capability_names()) known.push_back(row.name);
  return usage(fmt::format("--capname={}: unknown capability{}", text,
                           bhyve::did_you_mean(text, known)));
}

bhyve::Result<void> set_parameter(CtlOptions& options, int which, const char* text) {
  constexpr std::uint64_t any = ~std::uint64_t{0}, word = 0xffff'ffff, cmos = 0x7f;
  switch (which) {
    case opt_vm: options.vm = text; return bhyve::check_vm_name(text);
    case opt_cpu: return set_cpu(options, text);
    case opt_json: options.json = true; return {};
    case opt_help: options.help = true; return {};
    case opt_version: options.version = true; return {};
    case opt_list: options.list = true; return {};
    case opt_sysctl: options.sysctl = text ? text : ""; return {};
    case opt_watch: return set_watch(options, text);
    case opt_capname: return set_capname(options, text);
    case opt_desc_base: return number_of("desc-base", text, any, options.desc_base);
    case opt_desc_limit: return number_of("desc-limit", text, word, options.desc_limit);
    case opt_desc_access: return number_of("desc-access", text, word, options.desc_access);
    default: {
      std::uint64_t offset = 0;
      auto ok = number_of("rtc-nvram-offset", text, cmos, offset);
      if (ok) options.nvram_offset = static_cast<unsigned>(offset);
      return ok;
    }
  }
}

bhyve::Result<void> ask(CtlOptions& options, const OptionRow& row, const char* text) {
  Asked asked{&row, 0, text ? text : ""};
  if (row.argument == OptionRow::Argument::number)
    if (auto ok = number_of(row.name.c_str(), text, row.most, asked.number); !ok) return ok;
  options.actions.push_back(std::move(asked));
  return {};
}

bhyve::Result<void> check(const CtlOptions& options) {
  if (options.help || options.version) return {};
  if (options.vm.empty() && !options.list && !options.sysctl)
    return usage("expected --vm=NAME (bhyvectl --help tells more)");
  const auto has = [&](Stage stage, std::string_view start) {
    return std::any_of(options.actions.begin(), options.actions.end(), [&](const Asked& a) {
      return a.row->stage == stage && a.row->name.starts_with(start);
    });
  };
  if ((has(Stage::capability, "setcap") || has(Stage::capability, "getcap")) && !options.capability)
    return usage("--getcap and --setcap: expected --capname=NAME with them");
  if (has(Stage::set, "set-rtc-nvram") && !options.nvram_offset)
    return usage("--set-rtc-nvram: expected --rtc-nvram-offset=OFFSET with it");
  if (has(Stage::get, "get-rtc-nvram") && !options.nvram_offset)
    return usage("--get-rtc-nvram: expected --rtc-nvram-offset=OFFSET with it");
  return {};
}

std::string unknown_option(std::string_view word, std::span<const OptionRow> rows) {
  std::vector<std::string_view> known;
  for (const OptionRow& row : rows) known.push_back(row.name);
  for (const option& p : parameters) known.push_back(p.name);
  const std::string_view name = word.substr(0, word.find('='));
  const std::string near =
      name.starts_with("--") ? bhyve::nearest_word(name.substr(2), known) : std::string();
  return fmt::format("{}: unknown option{}", word,
                     near.empty() ? std::string(" (bhyvectl --help lists them)")
                                  : fmt::format(", did you mean '--{}'?", near));
}

}  // namespace

bhyve::Result<CtlOptions> parse_ctl_options(int argc, char** argv,
                                            std::span<const OptionRow> rows) {
  std::vector<option> table;
  for (std::size_t i = 0; i < rows.size(); ++i)
    table.push_back({rows[i].name.c_str(),
                     rows[i].argument == OptionRow::Argument::none ? no_argument : required_argument,
                     nullptr, first_row + static_cast<int>(i)});
  table.insert(table.end(), std::begin(parameters), std::end(parameters));
  table.push_back({});

  CtlOptions options;
  opterr = 0;
  optind = 1;
  while (true) {
    const int before = optind;
    const int which = ::getopt_long(argc, argv, ":", table.data(), nullptr);
    if (which == -1) break;
    if (which == '?') return usage(unknown_option(argv[before], rows));
    if (which == ':') return usage(fmt::format("{}: expected an argument", argv[before]));
    const auto ok = which < first_row
                        ? set_parameter(options, which, optarg)
                        : ask(options, rows[static_cast<std::size_t>(which - first_row)], optarg);
    if (!ok) return tl::make_unexpected(ok.error());
  }
  if (optind < argc) return usage(fmt::format("'{}': expected options only", argv[optind]));
  std::stable_sort(options.actions.begin(), options.actions.end(),
                   [](const Asked& a, const Asked& b) { return a.row->stage < b.row->stage; });
  if (auto ok = check(options); !ok) return tl::make_unexpected(ok.error());
  return options;
}

}  // namespace tool
