#pragma once
#include <memory>

#include "engine/engine.hpp"

namespace bhyve::soft {

/// Makes the `soft` engine: our own CPU, for any x86-64 host, unprivileged. `space` outlives it.
/// Fails with a sentence that names the model or the feature that this host cannot offer.
[[nodiscard]] Result<std::unique_ptr<engine::Engine>> make_soft_engine(
    mem::Vmspace& space, const engine::CpuConfig& config, u32 vcpus);

}  // namespace bhyve::soft
