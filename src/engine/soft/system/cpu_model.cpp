#include "engine/soft/system/cpu_model.hpp"

#include <algorithm>

#include "engine/soft/system/cpu_features.hpp"
#include "engine/vcpu_state.hpp"

namespace bhyve::soft {

using Feature = CpuModel::Feature;

void CpuModel::set(Feature f, bool on) {
  const auto n = static_cast<unsigned>(f);
  u64& word = features_[n / 64];
  word = on ? word | bit(n % 64) : word & ~bit(n % 64);
}

Result<void> CpuModel::apply_model(std::string_view model) {
  if (model == "max") {
    for (const FeatureRow& row : feature_rows()) set(row.feature, host_has(row));
    return {};
  }
  constexpr std::string_view prefix = "x86-64-v";
  const bool known = model.size() == prefix.size() + 1 && model.starts_with(prefix) &&
                     model.back() >= '1' && model.back() <= '4';
  if (!known)
    return fail(EINVAL, "cpu.model={}: expected max, x86-64-v1, x86-64-v2, x86-64-v3 or x86-64-v4",
                model);
  const int level = model.back() - '0';
  for (const FeatureRow& row : feature_rows()) {
    if (row.level == 0 || row.level > level) continue;
    if (!host_has(row))
      return fail(ENOTSUP, "cpu.model={}: this host's processor lacks {}", model, row.name);
    set(row.feature, true);
  }
  return {};
}

Result<void> CpuModel::apply_features(std::string_view list) {
  while (!list.empty()) {
    const usize comma = list.find(',');
    const std::string_view item = list.substr(0, comma);
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    if (item.size() < 2 || (item[0] != '+' && item[0] != '-'))
      return fail(EINVAL, "cpu.features: \"{}\": expected +name or -name", item);
    const bool on = item[0] == '+';
    const auto rows = feature_rows();
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&](const FeatureRow& r) { return r.name == item.substr(1); });
    if (row == rows.end())
      return fail(EINVAL, "cpu.features: \"{}\" is not a feature of this processor",
                  item.substr(1));
    if (on && !host_has(*row))
      return fail(ENOTSUP, "cpu.features: this host's processor lacks {}", row->name);
    set(row->feature, on);
  }
  return {};
}

/// Removes what lacks its base, and derives XCR0 and CR4.
void CpuModel::settle_features() {
  for (bool again = true; again;) {
    again = false;
    for (const FeatureRow& row : feature_rows()) {
      if (!has(row.feature) || row.needs == Feature::count_ || has(row.needs)) continue;
      set(row.feature, false);
      again = true;
    }
  }
  using namespace x86::cr4;
  cr4_ = vme | pvi | tsd | de | pse | pae | mce | pge | pce | osfxsr | osxmmexcpt;
  const auto add_if = [this](Feature f, u64 b) { cr4_ |= has(f) ? b : 0; };
  add_if(Feature::umip, umip);
  add_if(Feature::fsgsbase, fsgsbase);
  add_if(Feature::pcid, pcide);
  add_if(Feature::xsave, osxsave);
  add_if(Feature::smep, smep);
  add_if(Feature::smap, smap);
  xcr0_ = x86::xcr0::x87;
  if (has(Feature::xsave)) xcr0_ |= x86::xcr0::sse;
  if (has(Feature::avx)) xcr0_ |= x86::xcr0::avx;
  if (has(Feature::avx512f)) xcr0_ |= x86::xcr0::avx512;
}

Result<std::unique_ptr<CpuModel>> CpuModel::create(const engine::CpuConfig& config, u32 vcpus) {
  if (!config.sockets || !config.cores || !config.threads || !vcpus)
    return fail(EINVAL, "CPU topology: sockets, cores and threads must not be 0");
  auto m = std::unique_ptr<CpuModel>(new CpuModel);
  if (auto r = m->apply_model(config.model); !r) return tl::make_unexpected(r.error());
  if (auto r = m->apply_features(config.features); !r) return tl::make_unexpected(r.error());
  m->settle_features();
  if (config.hypervisor != "bhyve" && config.hypervisor != "kvm" && config.hypervisor != "none")
    return fail(EINVAL, "cpu.hypervisor={}: expected bhyve, kvm or none", config.hypervisor);
  m->add_identity(config);
  m->add_features(config);
  m->add_caches(config);
  m->add_topology(config);
  m->add_xsave();
  m->add_clocks(config);
  m->add_hypervisor(config.hypervisor);
  // The parked state has the host's own layout (it differs between vendors), so the guest is told it.
  for (const Entry& e : m->leaves_)
    if (e.function == 0xd && e.index >= 2 &&
        e.leaf.eax + e.leaf.ebx > engine::VcpuState::xsave_size)
      return fail(ENOTSUP, "this host's XSAVE area is larger than expected ({} bytes)",
                  e.leaf.eax + e.leaf.ebx);
  return m;
}

u32 CpuModel::effective_function(u32 function) const {
  if (function <= max_basic_) return function;
  if (function >= 0x8000'0000 && function <= max_extended_) return function;
  if (max_hypervisor_ && function >= 0x4000'0000 && function < 0x5000'0000)
    return std::min(function, max_hypervisor_);
  return max_basic_;
}

CpuModel::Leaf CpuModel::cpuid(u32 function, u32 index) const {
  function = effective_function(function);
  const bool indexed = function == 4 || function == 7 || function == 0xb || function == 0xd ||
                       function == 0x1f;
  for (const Entry& e : leaves_)
    if (e.function == function && (!indexed || e.index == index)) return e.leaf;
  // Invalid sub-leaves of the topology leaves still return the level number in CL (SDM vol. 2).
  if (function == 0xb || function == 0x1f) return {0, 0, index & 0xff, 0};
  return {};
}

}  // namespace bhyve::soft
