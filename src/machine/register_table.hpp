#pragma once
#include <span>
#include <string_view>

#include "engine/vcpu_state.hpp"

/// The registers of a vCPU by bhyve's names: what bhyvectl's --get-X and --set-X reach.
namespace bhyve::machine {

/// One register of 64 bits; segment registers stand for their selectors.
struct NamedRegister final {
  std::string_view name;
  engine::StateGroups group;
  u64 (*get)(const engine::VcpuState& state);
  /// Bits that may be set; writing others is refused. 0: read-only.
  u64 writable;
  void (*set)(engine::VcpuState& state, u64 value);
};

[[nodiscard]] std::span<const NamedRegister> registers();
/// nullptr when there is none of that name.
[[nodiscard]] const NamedRegister* find_register(std::string_view name);

/// A segment or table register with its hidden part.
struct NamedDescriptor final {
  std::string_view name;
  x86::Segment* (*segment)(engine::VcpuState& state);      ///< or nullptr
  x86::TableRegister* (*table)(engine::VcpuState& state);  ///< or nullptr
};
[[nodiscard]] std::span<const NamedDescriptor> descriptors();
[[nodiscard]] const NamedDescriptor* find_descriptor(std::string_view name);

}  // namespace bhyve::machine
