#include "machine/lpc_config.hpp"

#include <utility>

#include "host/char_open.hpp"

namespace bhyve::machine {
namespace {

/// A character device, `device` as -l has it: its back end's description, empty when there is none.
Result<std::string> read_path(const Config& config, bool lpc, const std::string& device) {
  auto path = config.get_text("lpc." + device + ".path", "");
  if (!path || path->empty()) return path;
  if (!lpc) return fail(EINVAL, "-l {}: expected an lpc device, e.g. -s 31,lpc", device);
  if (const auto spec = host::parse_char_spec(*path); !spec)
    return fail(EINVAL, "-l {},{}: {}", device, *path, spec.error().message);
  return path;
}

Result<void> read_firmware_items(const Config& config, MachineConfig& out) {
  const auto kind = config.get_text("lpc.fwcfg", "");
  if (!kind) return tl::make_unexpected(kind.error());
  if (!kind->empty() && *kind != "qemu" && *kind != "bhyve")
    return fail(EINVAL, "-l fwcfg,{}: expected qemu or bhyve", *kind);
  out.fw_cfg = *kind == "qemu";
  // A boot ROM brings bhyve's interface along.
  out.fw_ctl = *kind == "bhyve" || (kind->empty() && config.has("lpc.bootrom"));
  for (const std::string& number : config.children("fwcfg")) {
    const std::string node = "fwcfg." + number;
    FirmwareItem item;
    item.file = config.has(node + ".file");
    auto name = config.get_text(node + ".name", "");
    auto value = config.get_text(node + (item.file ? ".file" : ".string"), "");
    for (const auto* text : {&name, &value})
      if (!*text) return tl::make_unexpected(text->error());
    item.name = std::move(*name);
    item.value = std::move(*value);
    if (!out.fw_cfg) return fail(EINVAL, "-f {}: expected -l fwcfg,qemu as well", item.name);
    out.firmware_items.push_back(std::move(item));
  }
  return {};
}

}  // namespace

Result<void> read_lpc(const Config& config, bool lpc, MachineConfig& out) {
  bool stdio = false;
  for (unsigned n = 0; n <= com_ports; ++n) {
    const bool com = n < com_ports;
    const std::string device = com ? fmt::format("com{}", n + 1) : "debugcon";
    auto path = read_path(config, lpc, device);
    if (!path) return tl::make_unexpected(path.error());
    if (*path == "stdio" && std::exchange(stdio, true))
      return fail(EINVAL, "-l {},stdio: another port has stdio already", device);
    (com ? out.com[n] : out.debugcon) = std::move(*path);
  }
  const auto testdev = config.get_bool("lpc.pc-testdev", false);
  if (!testdev) return tl::make_unexpected(testdev.error());
  if (*testdev && !lpc)
    return fail(EINVAL, "-l pc-testdev: expected an lpc device, e.g. -s 31,lpc");
  out.testdev = *testdev;
  return read_firmware_items(config, out);
}

}  // namespace bhyve::machine
