#include "configurations.hpp"

#include <array>

#include "engine/soft/soft_engine.hpp"

namespace bhyve::test {
namespace {

Result<std::unique_ptr<engine::Engine>> make_soft_interp(mem::Vmspace& space,
                                                         const engine::CpuConfig& config,
                                                         u32 vcpus) {
  engine::CpuConfig interpreted = config;
  interpreted.executor = "interp";
  return soft::make_soft_engine(space, interpreted, vcpus);
}

/// Every block is translated before it first runs.
Result<std::unique_ptr<engine::Engine>> make_soft_translate(mem::Vmspace& space,
                                                            const engine::CpuConfig& config,
                                                            u32 vcpus) {
  engine::CpuConfig translated = config;
  translated.executor = "translate";
  translated.translate_after = 1;
  return soft::make_soft_engine(space, translated, vcpus);
}

/// The same with checks that hold for speculative execution, too.
Result<std::unique_ptr<engine::Engine>> make_soft_safe(mem::Vmspace& space,
                                                       const engine::CpuConfig& config, u32 vcpus) {
  engine::CpuConfig masked = config;
  masked.speculation = "safe";
  return make_soft_translate(space, masked, vcpus);
}

/// Every block is translated, and interpreted first to compare the two.
Result<std::unique_ptr<engine::Engine>> make_soft_check(mem::Vmspace& space,
                                                        const engine::CpuConfig& config, u32 vcpus) {
  engine::CpuConfig checked = config;
  checked.executor = "check";
  checked.translate_after = 1;
  return soft::make_soft_engine(space, checked, vcpus);
}

/// User code that can runs directly.
Result<std::unique_ptr<engine::Engine>> make_soft_direct(mem::Vmspace& space,
                                                         const engine::CpuConfig& config, u32 vcpus) {
  engine::CpuConfig direct = config;
  direct.direct = "always";
  return soft::make_soft_engine(space, direct, vcpus);
}

constexpr std::array table{
#define BHYVE_CONFIGURATION(name, factory) Configuration{name, factory},
#include "configurations.def"
#undef BHYVE_CONFIGURATION
};

}  // namespace

std::span<const Configuration> configurations() { return table; }

const Configuration* find_configuration(std::string_view name) {
  for (const Configuration& c : table)
    if (c.name == name) return &c;
  return nullptr;
}

}  // namespace bhyve::test
