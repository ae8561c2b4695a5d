#include "options.hpp"

#include <fmt/format.h>
#include <getopt.h>

#include <array>

#include "bhyve/vm.hpp"

namespace tool {
namespace {

using bhyve::Config;
using bhyve::Result;

constexpr const char* letters = ":CSc:d:e:h:l:m:M:o:";
enum LongOption : int { opt_kernel = 256, opt_initrd, opt_append, opt_help, opt_version };
constexpr auto long_options = std::to_array<option>({
    {"kernel", required_argument, nullptr, opt_kernel},
    {"initrd", required_argument, nullptr, opt_initrd},
    {"append", required_argument, nullptr, opt_append},
    {"help", no_argument, nullptr, opt_help},
    {"version", no_argument, nullptr, opt_version},
    {nullptr, 0, nullptr, 0},
});

template <class... Args>
[[nodiscard]] tl::unexpected<bhyve::Error> wrong(fmt::format_string<Args...> format,
                                                 Args&&... args) {
  return tl::make_unexpected(
      bhyve::Error{EINVAL, fmt::format(format, std::forward<Args>(args)...)});
}

Result<void> set_memory(Config& config, const char* text) {
  const auto size = bhyve::parse_memory_size(text);
  if (!size || *size == 0) return wrong("-m {}: expected a size such as 512M or 2G", text);
  config.set("memory.size", text);
  return {};
}

/// The value is text of the user's: a percent sign in it is no reference.
Result<void> set_environment(Config& config, std::string_view text) {
  const auto equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos)
    return wrong("-e {}: expected NAME=VALUE", text);
  std::string value;
  for (const char c : text.substr(equals + 1)) value.append(c == '%' ? 2 : 1, c);
  config.set(fmt::format("boot.env.{}", text.substr(0, equals)), value);
  return {};
}

Result<void> apply(int letter, LoadOptions& options) {
  Config& config = options.config;
  switch (letter) {
    case 'C': config.set("memory.guest_in_core", "true"); return {};
    case 'S': config.set("memory.wired", "true"); return {};
    case 'c':
      if (optarg == std::string_view("stdio")) return {};
      return wrong("-c {}: the loader is silent and has no console to open; expected "
                   "stdio", optarg);
    case 'd':
      return wrong("-d {}: the loader reads no file systems on disk images; give the kernel with "
                   "--kernel FILE or -h DIRECTORY", optarg);
    case 'e': return set_environment(config, optarg);
    case 'h':
      if (!config.has("boot.kernel"))
        config.set("boot.kernel", fmt::format("{}/boot/kernel/kernel", optarg));
      return {};
    case 'l':
      return wrong("-l {}: an OS loader such as userboot.so is a FreeBSD program and cannot run "
                   "here; bhyveload loads kernels itself", optarg);
    case 'm': return set_memory(config, optarg);
    case 'M':
      return wrong("-M is gone: give the whole of guest memory with -m, the part above 4 GB is made "
                   "from it");
    case 'o':
      if (auto ok = config.set_assignment(optarg); !ok)
        return wrong("-o {}: {}", optarg, ok.error().message);
      return {};
    case opt_kernel: config.set("boot.kernel", optarg); return {};
    case opt_initrd: config.set("boot.initrd", optarg); return {};
    case opt_append: config.set("boot.cmdline", optarg); return {};
    case opt_help: options.action = LoadOptions::Action::help; return {};
    case opt_version: options.action = LoadOptions::Action::version; return {};
    default: return wrong("unknown option");
  }
}

/// The word of the command line that getopt did not like.
std::string offender(char** argv, int before) {
  if (optopt > 0 && optopt < 256) return fmt::format("-{}", static_cast<char>(optopt));
  return argv[before];
}

}  // namespace

Result<LoadOptions> parse_load_options(int argc, char** argv) {
  LoadOptions options;
  opterr = 0;
  optind = 1;
  while (true) {
    const int before = optind;
    const int letter = ::getopt_long(argc, argv, letters, long_options.data(), nullptr);
    if (letter == -1) break;
    if (letter == '?')
      return wrong("{}: unknown option (bhyveload --help lists them)", offender(argv, before));
    if (letter == ':') return wrong("{}: expected an argument", offender(argv, before));
    if (auto ok = apply(letter, options); !ok) return tl::make_unexpected(ok.error());
    if (options.action != LoadOptions::Action::load) return options;
  }
  if (argc - optind != 1)
    return wrong("expected one VM name as the last argument (bhyveload --help tells more)");
  if (auto ok = bhyve::check_vm_name(argv[optind]); !ok) return tl::make_unexpected(ok.error());
  options.config.set("name", argv[optind]);
  return options;
}

}  // namespace tool
