#pragma once
#include <memory>
#include <span>
#include <string_view>

#include "engine/engine.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::test {

/// One CPU under test: an engine together with its executor. The rows are in configurations.def.
struct Configuration final {
  std::string_view name;
  Result<std::unique_ptr<engine::Engine>> (*make)(mem::Vmspace& space,
                                                  const engine::CpuConfig& config, u32 vcpus);
};

[[nodiscard]] std::span<const Configuration> configurations();
/// nullptr when there is no row of that name.
[[nodiscard]] const Configuration* find_configuration(std::string_view name);

}  // namespace bhyve::test
