#include "device_options.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <vector>

#include "bhyve/devices.hpp"

namespace tool {
namespace {

using bhyve::Config;
using bhyve::Error;
using bhyve::Result;

template <class... Args>
tl::unexpected<Error> expected(fmt::format_string<Args...> format, Args&&... args) {
  return tl::make_unexpected(Error{EINVAL, fmt::format(format, std::forward<Args>(args)...)});
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> out;
  while (true) {
    const auto at = text.find(by);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

/// The text before the first comma, and the rest.
std::pair<std::string_view, std::string_view> head(std::string_view text) {
  const auto comma = text.find(',');
  if (comma == std::string_view::npos) return {text, {}};
  return {text.substr(0, comma), text.substr(comma + 1)};
}

/// S, S:F or B:S:F as the node "pci.B.S.F".
Result<std::string> slot_node(std::string_view text) {
  std::array<std::uint64_t, 3> bsf{};
  const auto parts = split(text, ':');
  const std::size_t first = parts.size() == 3 ? 0 : 1;
  bool ok = parts.size() <= 3;
  for (std::size_t i = 0; ok && i < parts.size(); ++i) {
    const auto number = bhyve::parse_integer(parts[i]);
    ok = number.has_value();
    if (ok) bsf[first + i] = *number;
  }
  if (!ok || bsf[0] > 255 || bsf[1] > 31 || bsf[2] > 7)
    return expected("slot '{}': expected slot, slot:function or bus:slot:function with bus 0-255, "
                    "slot 0-31, function 0-7", text);
  return fmt::format("pci.{}.{}.{}", bsf[0], bsf[1], bsf[2]);
}

/// "key=value,flag" below `node`; a word alone means true.
void set_keys(Config& config, const std::string& node, std::string_view text) {
  if (text.empty()) return;
  for (const auto item : split(text, ',')) {
    const auto equals = item.find('=');
    const bool assigned = equals != std::string_view::npos;
    config.set(node + '.' + std::string(item.substr(0, equals)),
               assigned ? item.substr(equals + 1) : "true");
  }
}

}  // namespace

Result<void> set_pci_device(Config& config, std::string_view text) {
  const auto [slot, rest] = head(text);
  const auto [device, keys] = head(rest);
  if (device.empty()) return expected("expected slot,emulation[,configuration]");
  const auto node = slot_node(slot);
  if (!node) return tl::make_unexpected(node.error());
  if (config.has(*node + ".device"))
    return expected("slot {} is already taken by {}", slot,
                    config.raw(*node + ".device").value_or(""));
  if (!bhyve::find_device(bhyve::pci_devices(), device))
    return expected("unknown device '{}' (bhyve -s help lists the devices)", device);
  config.set(*node + ".device", device);
  set_keys(config, *node, keys);
  return {};
}

Result<void> set_lpc_device(Config& config, std::string_view text) {
  const auto [device, value] = head(text);
  if (!bhyve::find_device(bhyve::lpc_devices(), device))
    return expected("unknown device '{}' (bhyve -l help lists the devices)", device);
  const std::string node = "lpc." + std::string(device);
  if (device == "pc-testdev") {
    config.set(node, "true");
    return {};
  }
  if (value.empty()) return expected("{}: expected a value after the comma", device);
  if (device.starts_with("com") || device == "debugcon") {
    config.set(node + ".path", value);
  } else if (device == "bootrom") {
    const auto [path, variables] = head(value);
    config.set("lpc.bootrom", path);
    if (!variables.empty()) config.set("lpc.bootvars", variables);
  } else {
    config.set(node, value);
  }
  return {};
}

Result<void> add_firmware_item(Config& config, std::string_view text) {
  auto [name, rest] = head(text);
  if (name.starts_with("name=")) name.remove_prefix(5);
  const auto equals = rest.find('=');
  const auto kind = rest.substr(0, equals);
  if (name.empty() || equals == std::string_view::npos || (kind != "string" && kind != "file"))
    return expected("expected name,string=TEXT or name,file=PATH");
  const std::string node = fmt::format("fwcfg.{}", config.children("fwcfg").size());
  std::string value;
  for (const char c : rest.substr(equals + 1)) value.append(c == '%' ? "%%" : std::string(1, c));
  config.set(node + ".name", name);
  config.set(node + '.' + std::string(kind), value);
  return {};
}

Result<void> set_topology(Config& config, std::string_view text) {
  constexpr std::array<std::string_view, 4> names{"cpus", "sockets", "cores", "threads"};
  constexpr std::uint64_t highest = 65535;
  // The last -c wins as a whole.
  for (const auto name : names) config.remove(name);
  for (const auto item : split(text, ',')) {
    if (item.empty()) continue;
    const auto equals = item.find('=');
    const auto key = equals == std::string_view::npos ? names[0] : item.substr(0, equals);
    const auto value = bhyve::parse_integer(
        equals == std::string_view::npos ? item : item.substr(equals + 1));
    const bool known = std::find(names.begin(), names.end(), key) != names.end();
    if (!known || !value || *value < 1 || *value > highest)
      return expected("'{}': expected [[cpus=]N][,sockets=N][,cores=N][,threads=N], each 1-65535",
                      item);
    config.set(key, std::to_string(*value));
  }
  return {};
}

Result<void> add_pinning(Config& config, std::string_view text) {
  const auto parts = split(text, ':');
  const auto vcpu = bhyve::parse_integer(parts[0]);
  const auto host = parts.size() == 2 ? bhyve::parse_integer(parts[1]) : std::nullopt;
  if (!vcpu || !host || *vcpu > 65534 || *host >= CPU_SETSIZE)
    return expected("expected vcpu:hostcpu, hostcpu below {}", CPU_SETSIZE);
  const std::string name = fmt::format("vcpu.{}.cpuset", *vcpu);
  const auto before = config.raw(name);
  config.set(name, before ? *before + ',' + std::to_string(*host) : std::to_string(*host));
  return {};
}

}  // namespace tool
