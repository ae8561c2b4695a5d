#include "machine/boot_files.hpp"

#include "loader/detect.hpp"
#include "platform/layout.hpp"

namespace bhyve::machine {
namespace {

/// No kernel is near this; an endless pipe must not fill the host's memory.
constexpr u64 kernel_limit = 1 * GiB;
constexpr std::string_view environment_prefix = "boot.env.";

/// "FILE[,ARGUMENTS]".
[[nodiscard]] Result<loader::BootModule> read_module(const char* role, const std::string& text,
                                                     u64 limit) {
  const auto comma = text.find(',');
  loader::BootModule module;
  module.path = text.substr(0, comma);
  if (comma != std::string::npos) module.arguments = text.substr(comma + 1);
  auto file = loader::read_boot_file(fmt::format("{} {}", role, module.path), module.path, limit);
  if (!file) return tl::make_unexpected(file.error());
  module.file = std::move(*file);
  return module;
}

/// Linux takes a plain file name, which may hold a comma.
[[nodiscard]] Result<loader::BootModule> read_initrd(const MachineConfig& config,
                                                     bool linux_kernel) {
  if (!linux_kernel) return read_module("initrd", config.initrd, config.memory);
  auto file = loader::read_boot_file("initrd " + config.initrd, config.initrd, config.memory);
  if (!file) return tl::make_unexpected(file.error());
  return loader::BootModule{std::move(*file), config.initrd, {}};
}

[[nodiscard]] Result<void> read_modules(const MachineConfig& config, const Config& variables,
                                        loader::BootRequest& boot) {
  if (!config.initrd.empty()) {
    const bool linux_kernel =
        loader::detect_image(boot.kernel.bytes) == loader::ImageKind::bzimage;
    auto initrd = read_initrd(config, linux_kernel);
    if (!initrd) return tl::make_unexpected(initrd.error());
    boot.modules.push_back(std::move(*initrd));
  }
  for (const std::string& number : variables.children("boot.module")) {
    const auto text = variables.get_text("boot.module." + number, "");
    if (!text) return tl::make_unexpected(text.error());
    auto module = read_module("module", *text, config.memory);
    if (!module) return tl::make_unexpected(module.error());
    boot.modules.push_back(std::move(*module));
  }
  return {};
}

}  // namespace

Result<loader::BootRequest> read_boot_request(const MachineConfig& config,
                                              const Config& variables) {
  loader::BootRequest boot;
  auto kernel = loader::read_boot_file("kernel " + config.kernel, config.kernel, kernel_limit);
  if (!kernel) return tl::make_unexpected(kernel.error());
  boot.kernel = std::move(*kernel);
  boot.path = config.kernel;
  boot.command_line = config.cmdline;
  if (config.acpi) boot.rsdp = platform::layout::acpi;
  if (auto ok = read_modules(config, variables, boot); !ok) return tl::make_unexpected(ok.error());
  for (const auto& [name, raw] : variables.variables()) {
    if (!name.starts_with(environment_prefix)) continue;
    const auto value = variables.get_text(name, "");
    if (!value) return tl::make_unexpected(value.error());
    boot.environment.push_back(name.substr(environment_prefix.size()) + '=' + *value);
  }
  return boot;
}

}  // namespace bhyve::machine
