#pragma once
#include <Zydis/Zydis.h>

#include "engine/soft/replay/replay_plan.hpp"
#include "engine/soft/system/cpu_model.hpp"

namespace bhyve::soft {

/// One row of the allow-list: an instruction-set group that may be replayed, what switches it on and
/// the CPUID feature that the guest's model must have. Groups that are not here are never replayed.
struct IsaRow final {
  ZydisISASet set;
  Gate gate;
  CpuModel::Feature feature;   ///< Feature::count_ = always there (x86-64 baseline)
  CpuModel::Feature feature2;  ///< a second one, e.g. AVX-512VL; count_ = none
};

[[nodiscard]] const IsaRow* find_isa(ZydisISASet set);

}  // namespace bhyve::soft
