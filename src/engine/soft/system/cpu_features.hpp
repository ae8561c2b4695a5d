#pragma once
#include <span>
#include <string_view>

#include "engine/soft/system/cpu_model.hpp"

namespace bhyve::soft {

enum class CpuidReg : u8 { eax, ebx, ecx, edx };

/// Where a feature shows in CPUID and who provides it.
struct FeatureRow final {
  CpuModel::Feature feature;
  std::string_view name;
  u32 function;
  u8 index;
  CpuidReg reg;
  u8 bit;
  bool own;     ///< provided by this engine on every host; else the host must have it
  u8 level;     ///< first x86-64 level that has it (own ones: all); 0 = only `max`
  CpuModel::Feature needs;  ///< goes when that goes; count_ = none
};

[[nodiscard]] std::span<const FeatureRow> feature_rows();
/// True when the host's processor and kernel let the feature be executed natively.
[[nodiscard]] bool host_has(const FeatureRow& row);
/// CPUID as the host answers it.
[[nodiscard]] CpuModel::Leaf host_cpuid(u32 function, u32 index);

}  // namespace bhyve::soft
