#include "sysctl.hpp"

#include <fmt/format.h>

#include <map>

#include "bhyve/host_values.hpp"

namespace tool {
namespace {

/// What the running VMs have counted. One that ends meanwhile has no part.
std::map<std::string, std::uint64_t> sums() {
  std::map<std::string, std::uint64_t> out;
  const auto vms = bhyve::list_vms();
  if (!vms) return out;
  for (const auto& vm : *vms) {
    if (!vm.running) continue;
    auto control = bhyve::Control::connect(vm.name);
    if (!control) continue;
    const auto statistics = control->statistics(0);
    if (!statistics) continue;
    for (const auto& s : *statistics) out[s.text] += s.value;
  }
  return out;
}

bool matches(const std::string& wanted, const std::string& name) {
  return wanted.empty() || name == wanted || name.starts_with(wanted + ".");
}

}  // namespace

bhyve::Result<void> show_sysctl(Session& session, const std::string& name) {
  const auto counted = sums();
  Json json = Json::object();
  std::string text;
  for (auto& v : bhyve::host_values()) {
    if (!matches(name, v.name)) continue;
    if (const auto sum = counted.find(v.statistic); sum != counted.end()) v.value = sum->second;
    json[v.name] = {{"value", v.value}, {"meaning", v.meaning}};
    text += fmt::format("{:<48} # {}\n", fmt::format("{}: {}", v.name, v.value), v.meaning);
  }
  if (json.empty())
    return tl::make_unexpected(
        bhyve::Error{ENOENT, fmt::format("--sysctl={}: no such value", name)});
  session.put("sysctl", std::move(json), [&] { fmt::print("{}", text); });
  return {};
}

}  // namespace tool
