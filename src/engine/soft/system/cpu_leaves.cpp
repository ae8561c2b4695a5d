// The CPUID leaves of a model (SDM vol. 2, CPUID).
#include <algorithm>
#include <bit>

#include "engine/soft/system/cpu_features.hpp"
#include "engine/soft/replay/fpu.hpp"
#include "engine/soft/system/cpu_model.hpp"

namespace bhyve::soft {

using Feature = CpuModel::Feature;

namespace {

/// Family 6, model 8Fh (Sapphire Rapids), stepping 8: a server core whose feature set ours is part of.
constexpr u32 signature = 0x0008'06f8;

constexpr u32 bits_of(std::initializer_list<unsigned> list) {
  u32 v = 0;
  for (unsigned n : list) v |= 1u << n;
  return v;
}

u32 ceil_log2(u32 n) { return static_cast<u32>(std::bit_width(n - 1)); }

u32 four_chars(std::string_view text, usize at) {
  u32 v = 0;
  for (usize n = 0; n < 4; ++n)
    if (at + n < text.size()) v |= u32{static_cast<u8>(text[at + n])} << (8 * n);
  return v;
}

constexpr u64 max_ratio_error_ppb = 5'000;

struct Ratio {
  u64 numerator, denominator;
};

/// How far n / d is from a / b, relative, in units of 1e-9 (saturating).
u64 error_ppb(u64 a, u64 b, Ratio r) {
  if (!r.denominator) return ~u64{0};
  using Wide = unsigned __int128;
  const Wide told = Wide{r.numerator} * b, real = Wide{a} * r.denominator;
  const Wide off = (told > real ? told - real : real - told) * 1'000'000'000 / real;
  return off > ~u64{0} ? ~u64{0} : static_cast<u64>(off);
}

/// The best approximation of a / b (both below 2^48) whose numerator is at most `limit`: the last
/// convergent of the continued fraction, or the semiconvergent after it.
Ratio approximate(u64 a, u64 b, u64 limit) {
  const u64 whole_a = a, whole_b = b;
  u64 p0 = 0, q0 = 1, p1 = 1, q1 = 0;
  while (b) {
    const u64 term = a / b;
    if (p1 && term > (limit - p0) / p1) {  // p1 is 0 once when a < b
      const u64 part = (limit - p0) / p1;
      const Ratio between{part * p1 + p0, part * q1 + q0}, last{p1, q1};
      return error_ppb(whole_a, whole_b, between) < error_ppb(whole_a, whole_b, last) ? between
                                                                                      : last;
    }
    const u64 p2 = term * p1 + p0, q2 = term * q1 + q0;
    p0 = p1, q0 = q1, p1 = p2, q1 = q2;
    const u64 rest = a % b;
    a = b, b = rest;
  }
  return {p1, q1};
}

}  // namespace

u32 CpuModel::feature_bits(u32 function, u32 index, unsigned reg) const {
  u32 v = 0;
  for (const FeatureRow& row : feature_rows())
    if (row.function == function && row.index == index && static_cast<unsigned>(row.reg) == reg &&
        has(row.feature))
      v |= 1u << row.bit;
  return v;
}

void CpuModel::add_identity(const engine::CpuConfig& config) {
  max_basic_ = 0x1f;
  max_extended_ = 0x8000'0008;
  add(0, 0, {max_basic_, 0x756e'6547, 0x6c65'746e, 0x4965'6e69});  // GenuineIntel
  add(0x8000'0000, 0, {max_extended_, 0, 0, 0});
  const std::string brand = "bhyve virtual CPU, " + config.model;
  for (u32 n = 0; n < 3; ++n) {
    const usize at = n * 16;
    add(0x8000'0002 + n, 0,
        {four_chars(brand, at), four_chars(brand, at + 4), four_chars(brand, at + 8),
         n == 2 ? 0 : four_chars(brand, at + 12)});
  }
}

void CpuModel::add_features(const engine::CpuConfig& config) {
  const u32 logical = config.cores * config.threads;
  // FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS
  u32 edx = bits_of({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26,
                     27});
  if (logical > 1) edx |= 1u << 28;
  const u32 shown = std::min(u32{255}, u32{1} << ceil_log2(logical));
  const u32 hypervisor = config.hypervisor == "none" ? 0 : 1u << 31;
  add(1, 0, {signature, shown << 16 | 8 << 8, feature_bits(1, 0, 2) | hypervisor, edx});
  add(6, 0, {1u << 2, 0, 0, 0});  // ARAT: the APIC timer never stops

  // IBRS/IBPB, STIBP, ARCH_CAPABILITIES: so that the guest finds its counter-measures needless.
  const u32 speculation = bits_of({26, 27, 29});
  const u32 fcs_fds_gone = host_cpuid(7, 0).ebx & (bits_of({6, 13}));
  add(7, 0, {2, feature_bits(7, 0, 1) | fcs_fds_gone, feature_bits(7, 0, 2),
             feature_bits(7, 0, 3) | speculation});
  add(7, 1, {feature_bits(7, 1, 0), 0, 0, 0});
  add(7, 2, {0, 0, 0, 1u << 4});  // BHI_CTRL: Linux runs a loop on each entry where it is missing, BHI_NO or not
  add(0x8000'0001, 0, {0, 0, feature_bits(0x8000'0001, 0, 2),
                       feature_bits(0x8000'0001, 0, 3) | 1u << 29});
  add(0x8000'0007, 0, {0, 0, 0, 1u << 8});  // invariant TSC
  add(0x8000'0008, 0, {physical_bits() | 48 << 8, 0, 0, 0});
}

void CpuModel::add_caches(const engine::CpuConfig& config) {
  const u32 package = config.cores * config.threads;
  const u32 core_ids = std::min(u32{63}, (u32{1} << ceil_log2(config.cores)) - 1);
  struct Cache {
    u32 type, level, ways, sets, sharing;
  };
  const Cache caches[] = {{1, 1, 12, 64, config.threads},
                          {2, 1, 8, 64, config.threads},
                          {3, 2, 16, 2048, config.threads},
                          {3, 3, 16, 16384, package}};
  u32 index = 0;
  for (const Cache& c : caches) {
    const u32 ids = std::min(u32{4095}, (u32{1} << ceil_log2(c.sharing)) - 1);
    add(4, index++, {c.type | c.level << 5 | 1u << 8 | ids << 14 | core_ids << 26,
                     63u | (c.ways - 1) << 22, c.sets - 1, 0});
  }
  add(2, 0, {0x00ff'f001, 0, 0, 0});  // "see leaf 4", 64-byte prefetch
  add(0x8000'0006, 0, {0, 0, 2048u << 16 | 8 << 12 | 64, 0});
}

void CpuModel::add_topology(const engine::CpuConfig& config) {
  const u32 thread_bits = ceil_log2(config.threads);
  const u32 package_bits = thread_bits + ceil_log2(config.cores);
  for (const u32 function : {0xbu, 0x1fu}) {
    add(function, 0, {thread_bits, config.threads, 1u << 8, 0});
    add(function, 1, {package_bits, config.cores * config.threads, 2u << 8 | 1, 0});
  }
}

void CpuModel::add_xsave() {
  if (!has(Feature::xsave)) return;
  u32 size = 576;
  for (u32 n = 2; n < 8; ++n) {
    if (!(xcr0_ >> n & 1)) continue;
    // Intel's places on every host; the XSAVE family is emulated (XsaveLayout).
    const auto part = XsaveLayout::intel().part(n);
    add(0xd, n, {part.length, part.offset, 0, 0});
    size = std::max(size, u32{part.offset} + part.length);
  }
  add(0xd, 0, {static_cast<u32>(xcr0_), size, size, 0});
  add(0xd, 1, {feature_bits(0xd, 1, 0), 0, 0, 0});
}

void CpuModel::add_clocks(const engine::CpuConfig& config) {
  tsc_hz_ = config.tsc_hz;
  const u64 crystal = config.apic_timer_hz;
  if (!tsc_hz_ || crystal < 1000 || crystal >> 32 || tsc_hz_ >> 48) return;
  // Linux multiplies the crystal's kHz by the numerator in 32 bits and believes the result, so the
  // numerator must stay small. Where no small ratio is good enough (the worst case is crystal kHz /
  // 2^33) none is told, and guests calibrate against a timer.
  const u64 limit = 0xffff'ffff / (crystal / 1000);
  const Ratio r = approximate(tsc_hz_, crystal, limit);
  const bool told = r.numerator && !(r.denominator >> 32) &&
                    error_ppb(tsc_hz_, crystal, r) <= max_ratio_error_ppb;
  add(0x15, 0, {told ? static_cast<u32>(r.denominator) : 0,
                told ? static_cast<u32>(r.numerator) : 0, static_cast<u32>(crystal), 0});
  const u32 mhz = static_cast<u32>(std::min(tsc_hz_ / 1'000'000, u64{0xffff}));
  add(0x16, 0, {mhz, mhz, 100, 0});
}

void CpuModel::add_hypervisor(std::string_view name) {
  if (name == "none") return;
  max_hypervisor_ = 0x4000'0001;
  add(0x4000'0000, 0, {0x4000'0001, four_chars("bhyv", 0), four_chars("e bh", 0),
                       four_chars("yve ", 0)});
  add(0x4000'0001, 0, {1, 0, 0, 0});  // extended destination ids in MSI
  if (name != "kvm") return;
  max_hypervisor_ = 0x4000'0101;
  add(0x4000'0100, 0, {0x4000'0101, four_chars("KVMK", 0), four_chars("VMKV", 0),
                       four_chars("M", 0)});
  add(0x4000'0101, 0, {bits_of({1, 15}), 0, 0, 0});  // no I/O delay, MSI_EXT_DEST_ID; no clock
}

}  // namespace bhyve::soft
