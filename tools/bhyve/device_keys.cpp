#include "device_keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tool {
namespace {

using bhyve::Config;
using bhyve::Error;
using bhyve::Result;
using Words = std::vector<std::string_view>;

tl::unexpected<Error> expected(std::string_view device, const char* what) {
  return tl::make_unexpected(Error{EINVAL, fmt::format("{}: expected {}", device, what)});
}

void set_key(Config& config, const std::string& node, std::string_view word) {
  const auto equals = word.find('=');
  const bool assigned = equals != std::string_view::npos;
  config.set(node + '.' + std::string(word.substr(0, equals)),
             assigned ? word.substr(equals + 1) : "true");
}

void set_rest(Config& config, const std::string& node, const Words& words, std::size_t from) {
  for (std::size_t i = from; i < words.size(); ++i) set_key(config, node, words[i]);
}

/// A first word without a key of its own.
bool is_bare(const Words& words) {
  return !words.empty() && words[0].find('=') == std::string_view::npos;
}

/// Devices whose first word has a name that they do not have to say.
struct FirstWord final {
  std::string_view device, key;
  const char* missing;  ///< what a device that cannot be without it expects, or nullptr
};
constexpr auto first_words = std::to_array<FirstWord>({
    {"virtio-blk", "path", "the path of a disk image"},
    {"virtio-net", "backend", nullptr},
    {"e1000", "backend", nullptr},
    {"virtio-scsi", "dev", nullptr},
    {"virtio-input", "path", "the path of an event device"},
    {"nvme", "path", "the path of a disk image, or ram=MEGABYTES"},
    {"uart", "path", "stdio, a terminal or tcp=ADDRESS:PORT"},
});

/// tap0 and the like are types of their own in bhyve's tree.
void set_network_type(Config& config, const std::string& node) {
  const std::string backend = config.raw(node + ".backend").value_or("");
  for (const char* type : {"tap", "vmnet", "netmap", "vale", "netgraph", "slirp"})
    if (backend.starts_with(type)) config.set(node + ".type", type);
}

/// AHCI: [hd:|cd:]path, each the next port; keys belong to the port before them.
Result<void> set_ahci(Config& config, const std::string& node, std::string_view device,
                      const Words& words) {
  const std::string_view fixed = device == "ahci-hd" ? "hd" : device == "ahci-cd" ? "cd" : "";
  constexpr unsigned most_ports = 32;
  unsigned ports = 0;
  for (const std::string_view word : words) {
    const bool hd = word.starts_with("hd:"), cd = word.starts_with("cd:");
    const bool first_path = !fixed.empty() && ports == 0 && word.find('=') == std::string_view::npos;
    if (hd || cd || first_path) {
      if (ports == most_ports) return expected(device, "32 ports at most");
      const std::string port = fmt::format("{}.port.{}", node, ports++);
      config.set(port + ".type", !fixed.empty() ? fixed : cd ? "cd" : "hd");
      config.set(port + ".path", hd || cd ? word.substr(3) : word);
    } else if (ports == 0) {
      set_key(config, node, word);
    } else {
      set_key(config, fmt::format("{}.port.{}", node, ports - 1), word);
    }
  }
  return {};
}

/// virtio-9p and virtio-console: name=path.
Result<void> set_named_paths(Config& config, const std::string& node, std::string_view device,
                             const Words& words) {
  unsigned ports = 0;
  for (const std::string_view word : words) {
    const auto equals = word.find('=');
    if (equals == std::string_view::npos) {
      set_key(config, node, word);
    } else if (device == "virtio-9p") {
      config.set(node + ".sharename", word.substr(0, equals));
      config.set(node + ".path", word.substr(equals + 1));
    } else {
      const std::string port = fmt::format("{}.port.{}", node, ports++);
      config.set(port + ".name", word.substr(0, equals));
      config.set(port + ".path", word.substr(equals + 1));
    }
  }
  if (words.empty()) return expected(device, "name=path");
  return {};
}

/// pptN, bus/slot/function or pciB:S:F.
Result<void> set_passthru(Config& config, const std::string& node, const Words& words) {
  const char* const form = "pptN, bus/slot/function or pciBUS:SLOT:FUNCTION";
  if (!is_bare(words)) return expected("passthru", form);
  if (words[0].starts_with("ppt")) {
    config.set(node + ".pptdev", words[0]);
  } else {
    const bool selector = words[0].starts_with("pci");
    Words place = split(selector ? words[0].substr(3) : words[0], selector ? ':' : '/');
    if (selector && place.size() == 4) place.erase(place.begin());  // PCI domain
    if (place.size() != 3 || !std::all_of(place.begin(), place.end(), [](std::string_view number) {
          return bhyve::parse_integer(number).has_value();
        }))
      return expected("passthru", form);
    config.set(node + ".bus", place[0]);
    config.set(node + ".slot", place[1]);
    config.set(node + ".func", place[2]);
  }
  set_rest(config, node, words, 1);
  return {};
}

/// USB devices: each word the next slot.
Result<void> set_xhci(Config& config, const std::string& node, const Words& words) {
  unsigned slot = 1;
  for (const std::string_view word : words) {
    if (word != "tablet") return expected("xhci", "tablet");
    config.set(fmt::format("{}.slot.{}.device", node, slot++), word);
  }
  return {};
}

/// fbuf: [tcp=|rfb=][address:]port; w, h, vga, password, wait.
Result<void> set_fbuf(Config& config, const std::string& node, const Words& words) {
  for (const std::string_view word : words) {
    const bool tcp = word.starts_with("tcp=");
    if (tcp) config.set(node + ".rfb", word.substr(4));
    else set_key(config, node, word);
  }
  return {};
}

}  // namespace

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> out;
  while (true) {
    const auto at = text.find(by);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

Result<void> set_device_keys(Config& config, const std::string& node, std::string_view device,
                             std::string_view text) {
  Words words = text.empty() ? Words() : split(text, ',');
  std::erase(words, std::string_view());
  if (device.starts_with("ahci")) return set_ahci(config, node, device, words);
  if (device == "virtio-9p" || device == "virtio-console")
    return set_named_paths(config, node, device, words);
  if (device == "passthru") return set_passthru(config, node, words);
  if (device == "xhci") return set_xhci(config, node, words);
  if (device == "fbuf") return set_fbuf(config, node, words);
  for (const FirstWord& f : first_words) {
    if (f.device != device) continue;
    // A path may hold "="; only key=value of a device that has both forms is told apart.
    const bool keyed = device == "nvme" ? words.size() > 0 && words[0].starts_with("ram=")
                       : device == "uart" ? false
                                          : !is_bare(words);
    if (f.missing && (words.empty() || (keyed && device != "nvme")))
      return expected(device, f.missing);
    if (!keyed && !words.empty()) config.set(node + '.' + std::string(f.key), words[0]);
    set_rest(config, node, words, !keyed && !words.empty() ? 1 : 0);
    if (f.key == "backend") set_network_type(config, node);
    return {};
  }
  set_rest(config, node, words, 0);
  return {};
}

}  // namespace tool
