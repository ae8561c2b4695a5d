#include "device_options.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <vector>

#include "bhyve/devices.hpp"
#include "bhyve/words.hpp"
#include "device_keys.hpp"

namespace tool {
namespace {

using bhyve::Config;
using bhyve::Error;
using bhyve::Result;

template <class... Args>
tl::unexpected<Error> expected(fmt::format_string<Args...> format, Args&&... args) {
  return tl::make_unexpected(Error{EINVAL, fmt::format(format, std::forward<Args>(args)...)});
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

/// "unknown device 'hostbrige', did you mean 'hostbridge'?"
tl::unexpected<Error> unknown_device(std::string_view device,
                                     std::span<const bhyve::DeviceName> devices, char letter) {
  std::vector<std::string_view> known;
  for (const auto& d : devices) known.push_back(d.name);
  const std::string near = bhyve::did_you_mean(device, known);
  return expected("unknown device '{}'{}", device,
                  near.empty() ? fmt::format(" (bhyve -{} help lists the devices)", letter) : near);
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
    return unknown_device(device, bhyve::pci_devices(), 's');
  config.set(*node + ".device", device);
  return set_device_keys(config, *node, device, keys);
}

Result<void> set_lpc_device(Config& config, std::string_view text) {
  const auto [device, value] = head(text);
  if (!bhyve::find_device(bhyve::lpc_devices(), device))
    return unknown_device(device, bhyve::lpc_devices(), 'l');
  const std::string node = "lpc." + std::string(device);
  if (device == "pc-testdev") {
    config.set(node, "true");
    return {};
  }
  if (value.empty()) return expected("{}: expected a value after the comma", device);
  if (device.starts_with("com") || device == "debugcon") {
    config.set(node + ".path", value);
  } else if (device == "tpm") {
    const auto parts = split(value, ',');
    if (parts.size() < 2) return expected("tpm: expected type,path[,version=2.0]");
    config.set("lpc.tpm.type", parts[0]);
    config.set("lpc.tpm.path", parts[1]);
    for (std::size_t i = 2; i < parts.size(); ++i)
      if (auto ok = config.set_assignment("lpc.tpm." + std::string(parts[i])); !ok)
        return expected("tpm: '{}': expected version=2.0", parts[i]);
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
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && !CPU_ISSET(*host, &allowed))
    return expected("host CPU {} does not exist or is not this process's", *host);
  const std::string name = fmt::format("vcpu.{}.cpuset", *vcpu);
  const auto before = config.raw(name);
  config.set(name, before ? *before + ',' + std::to_string(*host) : std::to_string(*host));
  return {};
}

Result<void> set_gdb(Config& config, std::string_view text) {
  std::string_view rest = text;
  const bool wait = rest.starts_with('w');
  if (wait) rest.remove_prefix(1);
  const auto colon = rest.rfind(':');
  const auto port =
      bhyve::parse_integer(colon == std::string_view::npos ? rest : rest.substr(colon + 1));
  if (!port || *port < 1 || *port > 65535)
    return expected("expected [w][address:]port, port 1-65535");
  if (wait) config.set("gdb.wait", "true");
  if (colon != std::string_view::npos) config.set("gdb.address", rest.substr(0, colon));
  config.set("gdb.port", std::to_string(*port));
  return {};
}

Result<void> add_numa_domain(Config& config, std::string_view text) {
  constexpr std::array<std::string_view, 4> names{"id", "size", "cpus", "domain_policy"};
  std::string id, values[names.size()];
  for (const auto item : split(text, ',')) {
    const auto equals = item.find('=');
    const auto at = std::find(names.begin(), names.end(), item.substr(0, equals));
    if (equals == std::string_view::npos || at == names.end())
      // A list of CPUs has commas of its own: what has no key goes on with the one before.
      return expected("'{}': expected id=N,size=SIZE,cpus=SET[,domain_policy=POLICY]", item);
    values[at - names.begin()] = item.substr(equals + 1);
  }
  const auto number = bhyve::parse_integer(values[0]);
  if (!number || *number > 7 || values[1].empty() || values[2].empty())
    return expected("expected id=0-7,size=SIZE,cpus=SET[,domain_policy=POLICY]");
  for (std::size_t i = 1; i < names.size(); ++i)
    if (!values[i].empty())
      config.set(fmt::format("domains.{}.{}", *number, names[i]), values[i]);
  return {};
}

}  // namespace tool
