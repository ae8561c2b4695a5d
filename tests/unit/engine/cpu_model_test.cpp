#include "engine/soft/system/cpu_model.hpp"

#include <gtest/gtest.h>

#include "engine/soft/system/arch_capabilities.hpp"
#include "engine/soft/system/cpu_features.hpp"
#include "engine/vcpu_state.hpp"

namespace bhyve::soft {
namespace {

using Feature = CpuModel::Feature;

engine::CpuConfig config() {
  engine::CpuConfig c;
  c.tsc_hz = 2'596'096'123;
  c.apic_timer_hz = 1'000'000'000;
  return c;
}

std::unique_ptr<CpuModel> make(const engine::CpuConfig& c) {
  auto r = CpuModel::create(c, 4);
  EXPECT_TRUE(r) << (r ? "" : r.error().message);
  return r ? std::move(*r) : nullptr;
}

TEST(CpuModel, VendorIsIntelOnEveryHost) {
  const auto m = make(config());
  const auto l = m->cpuid(0, 0);
  EXPECT_EQ(l.ebx, 0x756e6547u);
  EXPECT_EQ(l.edx, 0x49656e69u);
  EXPECT_EQ(l.ecx, 0x6c65746eu);
  EXPECT_EQ(m->cpuid(1, 0).eax >> 8 & 0xf, 6u);
}

TEST(CpuModel, WhatTheEngineProvidesNeedsNoHostSupport) {
  for (const char* name : {"max", "x86-64-v1"}) {
    auto c = config();
    c.model = name;
    const auto m = make(c);
    for (const Feature f : {Feature::smap, Feature::smep, Feature::umip, Feature::pcid,
                            Feature::invpcid, Feature::fsgsbase, Feature::page1gb, Feature::nx,
                            Feature::rdtscp, Feature::x2apic, Feature::tsc_deadline, Feature::erms})
      EXPECT_TRUE(m->has(f)) << name << " " << static_cast<unsigned>(f);
    EXPECT_EQ(m->cr4_supported() & x86::cr4::smap, x86::cr4::smap);
    EXPECT_TRUE(m->cpuid(0x80000007, 0).edx & 0x100) << "invariant TSC";
    EXPECT_TRUE(m->cpuid(6, 0).eax & 4) << "ARAT";
  }
}

TEST(CpuModel, NeverOffersWhatIsHidden) {
  const auto m = make(config());
  EXPECT_FALSE(m->cpuid(1, 0).ecx & (1u << 5 | 1u << 3 | 1u << 6)) << "VMX, MONITOR, SMX";
  EXPECT_FALSE(m->cpuid(1, 0).edx & (1u << 21 | 1u << 22)) << "DS, ACPI";
  const auto seven = m->cpuid(7, 0);
  EXPECT_FALSE(seven.ebx & (1u << 4 | 1u << 11)) << "HLE, RTM";
  EXPECT_FALSE(seven.ecx & (1u << 3 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 29))
      << "PKU, OSPKE, WAITPKG, CET_SS, ENQCMD";
  EXPECT_FALSE(seven.edx & (1u << 5 | 1u << 20 | 1u << 22 | 1u << 24 | 1u << 25))
      << "UINTR, CET_IBT, AMX";
  const auto amd = m->cpuid(0x80000001, 0);
  EXPECT_FALSE(amd.ecx & (1u << 2 | 1u << 6 | 1u << 11 | 1u << 16 | 1u << 21 | 1u << 29))
      << "SVM, SSE4A, XOP, FMA4, TBM, MONITORX";
  EXPECT_FALSE(amd.edx & (1u << 30 | 1u << 31)) << "3DNow!";
  EXPECT_EQ(m->cpuid(0x80000008, 0).ebx, 0u) << "CLZERO";
  EXPECT_EQ(m->cpuid(0xa, 0).eax, 0u);
  EXPECT_EQ(m->xcr0_supported() & ~u64{0xe7}, 0u);
}

TEST(CpuModel, CpuidAgreesWithHas) {
  const auto m = make(config());
  for (const FeatureRow& row : feature_rows()) {
    const auto l = m->cpuid(row.function, row.index);
    const u32 words[] = {l.eax, l.ebx, l.ecx, l.edx};
    EXPECT_EQ(words[static_cast<unsigned>(row.reg)] >> row.bit & 1, m->has(row.feature) ? 1u : 0u)
        << row.name;
    EXPECT_TRUE(!m->has(row.feature) || host_has(row)) << row.name;
  }
}

TEST(CpuModel, Level1HasNoSse3) {
  auto c = config();
  c.model = "x86-64-v1";
  const auto m = make(c);
  EXPECT_FALSE(m->has(Feature::sse3));
  EXPECT_FALSE(m->has(Feature::avx));
  EXPECT_EQ(m->xcr0_supported(), 1u);
  EXPECT_FALSE(m->cr4_supported() & x86::cr4::osxsave);
}

TEST(CpuModel, RemovingAFeatureRemovesWhatNeedsIt) {
  auto c = config();
  c.features = "-xsave,-smap";
  const auto m = make(c);
  for (const Feature f : {Feature::avx, Feature::avx2, Feature::avx512f, Feature::avx512vbmi,
                          Feature::fma, Feature::vaes, Feature::smap})
    EXPECT_FALSE(m->has(f)) << static_cast<unsigned>(f);
  EXPECT_EQ(m->xcr0_supported(), 1u);
  EXPECT_FALSE(m->cr4_supported() & x86::cr4::smap);
}

TEST(CpuModel, BadNamesAreNamedInTheError) {
  auto c = config();
  c.model = "pentium";
  EXPECT_NE(CpuModel::create(c, 1).error().message.find("pentium"), std::string::npos);
  c = config();
  c.features = "+warp";
  EXPECT_NE(CpuModel::create(c, 1).error().message.find("warp"), std::string::npos);
  c.features = "smap";
  EXPECT_FALSE(CpuModel::create(c, 1));
  c = config();
  c.hypervisor = "xen";
  EXPECT_NE(CpuModel::create(c, 1).error().message.find("xen"), std::string::npos);
}

TEST(CpuModel, XsaveComponentsFitTheParkedStateAndDoNotOverlap) {
  const auto m = make(config());
  u32 end = 576;
  for (u32 n = 2; n < 8; ++n) {
    if (!(m->xcr0_supported() >> n & 1)) continue;
    const auto l = m->cpuid(0xd, n);
    EXPECT_GE(l.ebx, end) << n;
    EXPECT_GT(l.eax, 0u) << n;
    end = l.ebx + l.eax;
  }
  EXPECT_LE(end, engine::VcpuState::xsave_size);
  if (m->has(Feature::xsave)) {
    EXPECT_EQ(m->cpuid(0xd, 0).ecx, end);
  }
}

/// Linux computes kHz(crystal) * numerator / denominator with 32-bit numbers and believes it.
TEST(CpuModel, CrystalRatioIsGoodAndDoesNotOverflow32BitsOrIsNotTold) {
  for (const u64 crystal : {u64{1'000'000'000}, u64{24'000'000}, u64{100'000'000}})
    for (const u64 tsc : {u64{2'596'096'123}, u64{1'999'999'999}, u64{4'999'012'345},
                          u64{3'000'000'000}, u64{800'000'001}}) {
      auto c = config();
      c.tsc_hz = tsc;
      c.apic_timer_hz = crystal;
      const auto l = make(c)->cpuid(0x15, 0);
      EXPECT_EQ(l.ecx, crystal);
      EXPECT_EQ(l.eax == 0, l.ebx == 0);
      if (!l.eax) {
        EXPECT_GT(crystal, 24'000'000u) << "a low crystal always has a ratio";
        continue;
      }
      EXPECT_LE(u64{l.ecx} / 1000 * l.ebx, 0xffff'ffffu);
      const u64 told = u64{l.ecx} * l.ebx / l.eax;
      const u64 off = told > tsc ? told - tsc : tsc - told;
      EXPECT_LE(off * 200'000, tsc) << crystal << " " << tsc;
    }
}

TEST(CpuModel, AWholeRatioIsExact) {
  auto c = config();
  c.tsc_hz = 3'000'000'000;
  const auto m = make(c);
  const auto l = m->cpuid(0x15, 0);
  EXPECT_EQ(u64{l.ecx} * l.ebx, 3'000'000'000u * u64{l.eax});
  EXPECT_EQ(m->cpuid(0x16, 0).eax, 3000u);  // MHz, which Linux believes where it knows no crystal
}

TEST(CpuModel, FunctionsOutOfRangeAnswerAsTheHighestBasicLeaf) {
  auto c = config();
  c.hypervisor = "none";
  const auto m = make(c);
  EXPECT_EQ(m->effective_function(0x20), 0x1fu);
  EXPECT_EQ(m->effective_function(0x40000000), 0x1fu);
  EXPECT_EQ(m->effective_function(0x80000009), 0x1fu);
  EXPECT_FALSE(m->cpuid(1, 0).ecx >> 31);
}

TEST(CpuModel, HypervisorLeavesFollowTheOption) {
  auto c = config();
  auto m = make(c);
  EXPECT_EQ(m->cpuid(0x40000000, 0).ebx, 0x76796862u);  // "bhyv"
  EXPECT_TRUE(m->cpuid(1, 0).ecx >> 31);
  EXPECT_EQ(m->effective_function(0x40000100), 0x40000001u);
  c.hypervisor = "kvm";
  m = make(c);
  EXPECT_EQ(m->cpuid(0x40000000, 0).ebx, 0x76796862u);
  EXPECT_EQ(m->cpuid(0x40000100, 0).ebx, 0x4b4d564bu);  // "KVMK"
  const u32 features = m->cpuid(0x40000101, 0).eax;
  EXPECT_TRUE(features & 1u << 15) << "MSI_EXT_DEST_ID";
  EXPECT_FALSE(features & (1u | 1u << 3 | 1u << 24)) << "no paravirtual clock";
}

TEST(CpuModel, TopologyLeavesCountThreadsAndCores) {
  auto c = config();
  c.cores = 3;
  c.threads = 2;
  const auto m = make(c);
  EXPECT_EQ(m->cpuid(0xb, 0).eax, 1u);
  EXPECT_EQ(m->cpuid(0xb, 0).ebx, 2u);
  EXPECT_EQ(m->cpuid(0xb, 1).eax, 3u);
  EXPECT_EQ(m->cpuid(0xb, 1).ebx, 6u);
  EXPECT_EQ(m->cpuid(0xb, 7).ecx, 7u);
  EXPECT_EQ(m->cpuid(0xb, 7).ebx, 0u);
  EXPECT_TRUE(m->cpuid(1, 0).edx >> 28 & 1);
  EXPECT_EQ(m->cpuid(1, 0).ebx >> 16 & 0xff, 8u);
  EXPECT_EQ(m->cpuid(4, 4).eax, 0u);
}

TEST(CpuModel, ArchCapabilitiesDropPageTableIsolation) {
  EXPECT_TRUE(arch_capabilities & 1);
  EXPECT_FALSE(arch_capabilities & 1u << 4);  // SSB_NO: nothing here would make it true (docs/isolation.md)
  EXPECT_TRUE(make(config())->cpuid(7, 0).edx >> 29 & 1);
}

TEST(CpuModel, OffersBranchHistoryControl) {
  const auto m = make(config());
  EXPECT_EQ(m->cpuid(7, 0).eax, 2u);
  EXPECT_EQ(m->cpuid(7, 2).edx, 1u << 4);
  EXPECT_EQ(m->cpuid(7, 3).edx, 0u);
}

}  // namespace
}  // namespace bhyve::soft
