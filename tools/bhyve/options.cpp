#include "options.hpp"

#include <fmt/format.h>
#include <getopt.h>

#include <array>

#include "bhyve/vm.hpp"
#include "bhyve/words.hpp"
#include "device_options.hpp"

namespace tool {
namespace {

using bhyve::Config;
using bhyve::Result;
using Failure = tl::unexpected<OptionError>;

/// Options that only set a variable.
struct Switch final {
  char letter;
  const char* name;
  const char* value;  ///< nullptr: the option's argument
};
constexpr auto switches = std::to_array<Switch>({
    {'a', "x86.x2apic", "false"},
    {'A', "acpi_tables", "true"},
    {'C', "memory.guest_in_core", "true"},
    {'D', "destroy_on_poweroff", "true"},
    {'e', "x86.strictio", "true"},
    {'H', "x86.vmexit_on_hlt", "true"},
    {'K', "keyboard.layout", nullptr},
    {'P', "x86.vmexit_on_pause", "true"},
    {'S', "memory.wired", "true"},
    {'u', "rtc.use_localtime", "false"},
    {'U', "uuid", nullptr},
    {'W', "virtio_msix", "false"},
    {'w', "x86.strictmsr", "false"},
    {'x', "x86.x2apic", "true"},
    {'Y', "x86.mptable", "false"},
});

/// Options of bhyve(8) for parts that this build does not have.
struct Absent final {
  char letter;
  const char* what;
};
constexpr auto absent = std::to_array<Absent>({
    {'r', "resuming from a snapshot is"},
});

constexpr const char* letters = ":abACDeHhIPSuWwxYc:f:G:g:K:k:l:m:M:n:o:p:r:s:U:";

enum LongOption : int { opt_kernel = 256, opt_initrd, opt_append, opt_dry_run, opt_version };
constexpr auto long_options = std::to_array<option>({
    {"kernel", required_argument, nullptr, opt_kernel},
    {"initrd", required_argument, nullptr, opt_initrd},
    {"append", required_argument, nullptr, opt_append},
    {"dry-run", no_argument, nullptr, opt_dry_run},
    {"help", no_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, opt_version},
    {nullptr, 0, nullptr, 0},
});

Failure wrong(int status, std::string message) {
  return tl::make_unexpected(OptionError{status, std::move(message)});
}

/// Puts "-m VALUE: " in front of what was wrong with an option's argument.
tl::expected<void, OptionError> named(char letter, const char* argument, Result<void> result) {
  if (result) return {};
  return wrong(status_error, fmt::format("-{} {}: {}", letter, argument, result.error().message));
}

Result<void> set_memory(Config& config, const char* text) {
  const auto size = bhyve::parse_memory_size(text);
  if (!size || *size == 0)
    return tl::make_unexpected(bhyve::Error{EINVAL, "expected a size such as 512M or 2G"});
  config.set("memory.size", text);
  return {};
}

Result<void> load_file(Config& config, const char* path) { return config.load_file(path); }

tl::expected<void, OptionError> apply(int letter, Options& options) {
  Config& config = options.config;
  const char* const argument = optarg;
  const char shown = static_cast<char>(letter);
  for (const Switch& s : switches)
    if (s.letter == letter) {
      config.set(s.name, s.value ? s.value : argument);
      return {};
    }
  for (const Absent& a : absent)
    if (a.letter == letter)
      return wrong(status_error, fmt::format("-{}: {} not in this build", a.letter, a.what));
  switch (letter) {
    case 'c': return named(shown, argument, set_topology(config, argument));
    case 'f': return named(shown, argument, add_firmware_item(config, argument));
    case 'k': return named(shown, argument, load_file(config, argument));
    case 'l':
      if (argument == std::string_view("help")) options.action = Options::Action::lpc_help;
      else return named(shown, argument, set_lpc_device(config, argument));
      return {};
    case 'm': return named(shown, argument, set_memory(config, argument));
    case 'o': return named(shown, argument, config.set_assignment(argument));
    case 'p':
      if (auto ok = add_pinning(config, argument); !ok)
        return wrong(status_pinning, fmt::format("-p {}: {}", argument, ok.error().message));
      return {};
    case 's':
      if (argument == std::string_view("help")) options.action = Options::Action::pci_help;
      else return named(shown, argument, set_pci_device(config, argument));
      return {};
    case 'I': return {};  // the I/O APIC is always there
    case 'M':
      return wrong(status_error, "-M is gone: give the whole of guest memory with -m, the part above "
                                 "4 GB is made from it");
    case 'b':
    case 'g':
      return wrong(status_error, fmt::format("-{}: the old debug ports of bhyve are gone: use -l "
                                             "com1,stdio for a console", shown));
    case 'G': return named(shown, argument, set_gdb(config, argument));
    case 'n': return named(shown, argument, add_numa_domain(config, argument));
    case 'h': options.action = Options::Action::help; return {};
    case opt_dry_run: options.dry_run = true; return {};
    case opt_version: options.action = Options::Action::version; return {};
    case opt_kernel: config.set("boot.kernel", argument); return {};
    case opt_initrd: config.set("boot.initrd", argument); return {};
    case opt_append: config.set("boot.cmdline", argument); return {};
    default: return wrong(status_usage, "unknown option");
  }
}

/// The word of the command line that getopt did not like.
std::string offender(char** argv, int before) {
  if (optopt > 0 && optopt < 256) return fmt::format("-{}", static_cast<char>(optopt));
  return argv[before];
}

std::string unknown_option(const std::string& word) {
  std::vector<std::string_view> known;
  for (const option& o : long_options)
    if (o.name) known.push_back(o.name);
  const std::string near = word.starts_with("--")
                               ? bhyve::nearest_word(word.substr(2, word.find('=') - 2), known)
                               : std::string();
  return near.empty() ? fmt::format("{}: unknown option (bhyve --help lists them)", word)
                      : fmt::format("{}: unknown option, did you mean '--{}'?", word, near);
}

/// The name of the VM: the one word that is left.
tl::expected<void, OptionError> take_name(int argc, char** argv, Config& config) {
  constexpr const char* hint = "(bhyve --help tells more)";
  if (argc - optind > 1)
    return wrong(status_usage, fmt::format("'{}': expected one VM name as the last argument {}",
                                           argv[optind + 1], hint));
  if (argc - optind == 1) config.set("name", argv[optind]);
  if (!config.has("name"))
    return wrong(status_usage, fmt::format("expected a VM name as the last argument {}", hint));
  const auto name = config.get_text("name", "");
  if (!name) return wrong(status_error, name.error().message);
  if (auto ok = bhyve::check_vm_name(*name); !ok) return wrong(status_error, ok.error().message);
  config.set("name", *name);
  return {};
}

}  // namespace

tl::expected<Options, OptionError> parse_options(int argc, char** argv) {
  Options options;
  opterr = 0;
  optind = 1;
  while (true) {
    const int before = optind;
    const int letter = ::getopt_long(argc, argv, letters, long_options.data(), nullptr);
    if (letter == -1) break;
    if (letter == '?')
      return wrong(status_usage, unknown_option(offender(argv, before)));
    if (letter == ':')
      return wrong(status_usage,
                   fmt::format("{}: expected an argument", offender(argv, before)));
    if (auto ok = apply(letter, options); !ok) return tl::make_unexpected(ok.error());
    if (options.action != Options::Action::run) return options;
  }
  if (auto ok = take_name(argc, argv, options.config); !ok)
    return tl::make_unexpected(ok.error());
  const auto dump = options.config.get_bool("config.dump", false);
  if (!dump) return wrong(status_error, dump.error().message);
  if (*dump) options.action = Options::Action::dump;
  else if (options.dry_run) options.action = Options::Action::describe;
  return options;
}

}  // namespace tool
