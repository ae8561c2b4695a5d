#pragma once
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"
#include "engine/engine.hpp"

namespace bhyve::soft {

/// What the guest's processor is: its CPUID leaves and what follows from them. Immutable after
/// creation and shared by all vCPUs.
class CpuModel final {
 public:
  /// Fails with a sentence naming the model or feature that is unknown or that this host lacks.
  [[nodiscard]] static Result<std::unique_ptr<CpuModel>> create(const engine::CpuConfig& config,
                                                                u32 vcpus);

  struct Leaf {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  };
  /// The leaf without the bits that depend on a vCPU's state (those are added by CPUID's handler).
  [[nodiscard]] Leaf cpuid(u32 function, u32 index) const;

  /// The leaf that CPUID really answers: functions out of range become the highest basic one (SDM
  /// vol. 2, CPUID), those of the hypervisor's range the highest there.
  [[nodiscard]] u32 effective_function(u32 function) const;

  /// Features that instruction gating asks for. One bit each; the list grows as needed.
  enum class Feature : u32 {
    sse3, pclmulqdq, ssse3, fma, cx16, sse4_1, sse4_2, movbe, popcnt, aes, xsave, avx, f16c, rdrand,
    fsgsbase, bmi1, avx2, smep, bmi2, erms, invpcid, avx512f, avx512dq, rdseed, adx, smap,
    avx512ifma, clflushopt, clwb, avx512cd, sha, avx512bw, avx512vl, avx512vbmi, umip, avx512vbmi2,
    gfni, vaes, vpclmulqdq, avx512vnni, avx512bitalg, avx512vpopcntdq, rdpid, fsrm, avx512bf16,
    avx512fp16, avxvnni, lahf64, lzcnt, prefetchw, syscall, nx, page1gb, rdtscp, pcid, x2apic,
    tsc_deadline, xsaveopt, xsavec, xgetbv1, xsaves, movdiri, movdir64b, serialize, avxifma, count_
  };
  [[nodiscard]] bool has(Feature f) const {
    const auto n = static_cast<unsigned>(f);
    return features_[n / 64] >> (n % 64) & 1;
  }
  /// Bits that guests may set in XCR0.
  [[nodiscard]] u64 xcr0_supported() const { return xcr0_; }
  /// Bits that guests may set in CR4 (others #GP).
  [[nodiscard]] u64 cr4_supported() const { return cr4_; }
  /// Physical-address width told to the guest (reserved bits of page tables follow from it).
  [[nodiscard]] unsigned physical_bits() const { return 46; }
  [[nodiscard]] u64 tsc_hz() const { return tsc_hz_; }

 private:
  CpuModel() = default;
  struct Entry {
    u32 function;
    u32 index;
    Leaf leaf;
  };
  void set(Feature f, bool on);
  Result<void> apply_model(std::string_view model);
  Result<void> apply_features(std::string_view list);
  void settle_features();
  void add(u32 function, u32 index, Leaf leaf) { leaves_.push_back({function, index, leaf}); }
  [[nodiscard]] u32 feature_bits(u32 function, u32 index, unsigned reg) const;
  void add_identity(const engine::CpuConfig& config);
  void add_features(const engine::CpuConfig& config);
  void add_caches(const engine::CpuConfig& config);
  void add_topology(const engine::CpuConfig& config);
  void add_xsave();
  void add_clocks(const engine::CpuConfig& config);
  void add_hypervisor(std::string_view name);
  std::vector<Entry> leaves_;
  std::array<u64, 2> features_{};
  u64 xcr0_ = 1, cr4_ = 0, tsc_hz_ = 0;
  u32 max_basic_ = 0, max_hypervisor_ = 0, max_extended_ = 0;
};

}  // namespace bhyve::soft
