#include "engine/soft/system/cpu_features.hpp"

#include <cpuid.h>

namespace bhyve::soft {

namespace {

using F = CpuModel::Feature;
using R = CpuidReg;
constexpr F none = F::count_;
constexpr bool own = true, host = false;

// clang-format off
constexpr FeatureRow rows[] = {
    {F::sse3,       "sse3",        1, 0, R::ecx, 0,  host, 2, none},
    {F::pclmulqdq,  "pclmulqdq",   1, 0, R::ecx, 1,  host, 0, none},
    {F::ssse3,      "ssse3",       1, 0, R::ecx, 9,  host, 2, F::sse3},
    {F::fma,        "fma",         1, 0, R::ecx, 12, host, 3, F::avx},
    {F::cx16,       "cx16",        1, 0, R::ecx, 13, host, 2, none},
    {F::pcid,       "pcid",        1, 0, R::ecx, 17, own,  1, none},
    {F::sse4_1,     "sse4_1",      1, 0, R::ecx, 19, host, 2, F::ssse3},
    {F::sse4_2,     "sse4_2",      1, 0, R::ecx, 20, host, 2, F::sse4_1},
    {F::x2apic,     "x2apic",      1, 0, R::ecx, 21, own,  1, none},
    {F::movbe,      "movbe",       1, 0, R::ecx, 22, host, 3, none},
    {F::popcnt,     "popcnt",      1, 0, R::ecx, 23, host, 2, none},
    {F::tsc_deadline, "tsc-deadline", 1, 0, R::ecx, 24, own, 1, none},
    {F::aes,        "aes",         1, 0, R::ecx, 25, host, 0, none},
    {F::xsave,      "xsave",       1, 0, R::ecx, 26, host, 3, none},
    {F::avx,        "avx",         1, 0, R::ecx, 28, host, 3, F::xsave},
    {F::f16c,       "f16c",        1, 0, R::ecx, 29, host, 3, F::avx},
    {F::rdrand,     "rdrand",      1, 0, R::ecx, 30, host, 0, none},
    {F::fsgsbase,   "fsgsbase",    7, 0, R::ebx, 0,  own,  1, none},
    {F::bmi1,       "bmi1",        7, 0, R::ebx, 3,  host, 3, none},
    {F::avx2,       "avx2",        7, 0, R::ebx, 5,  host, 3, F::avx},
    {F::smep,       "smep",        7, 0, R::ebx, 7,  own,  1, none},
    {F::bmi2,       "bmi2",        7, 0, R::ebx, 8,  host, 3, none},
    {F::erms,       "erms",        7, 0, R::ebx, 9,  own,  1, none},
    {F::invpcid,    "invpcid",     7, 0, R::ebx, 10, own,  1, none},
    {F::avx512f,    "avx512f",     7, 0, R::ebx, 16, host, 4, F::avx2},
    {F::avx512dq,   "avx512dq",    7, 0, R::ebx, 17, host, 4, F::avx512f},
    {F::rdseed,     "rdseed",      7, 0, R::ebx, 18, host, 0, none},
    {F::adx,        "adx",         7, 0, R::ebx, 19, host, 0, none},
    {F::smap,       "smap",        7, 0, R::ebx, 20, own,  1, none},
    {F::avx512ifma, "avx512ifma",  7, 0, R::ebx, 21, host, 0, F::avx512f},
    {F::clflushopt, "clflushopt",  7, 0, R::ebx, 23, own,  1, none},
    {F::clwb,       "clwb",        7, 0, R::ebx, 24, own,  1, none},
    {F::avx512cd,   "avx512cd",    7, 0, R::ebx, 28, host, 4, F::avx512f},
    {F::sha,        "sha",         7, 0, R::ebx, 29, host, 0, none},
    {F::avx512bw,   "avx512bw",    7, 0, R::ebx, 30, host, 4, F::avx512f},
    {F::avx512vl,   "avx512vl",    7, 0, R::ebx, 31, host, 4, F::avx512f},
    {F::avx512vbmi, "avx512vbmi",  7, 0, R::ecx, 1,  host, 0, F::avx512bw},
    {F::umip,       "umip",        7, 0, R::ecx, 2,  own,  1, none},
    {F::avx512vbmi2, "avx512vbmi2", 7, 0, R::ecx, 6, host, 0, F::avx512bw},
    {F::gfni,       "gfni",        7, 0, R::ecx, 8,  host, 0, none},
    {F::vaes,       "vaes",        7, 0, R::ecx, 9,  host, 0, F::avx},
    {F::vpclmulqdq, "vpclmulqdq",  7, 0, R::ecx, 10, host, 0, F::avx},
    {F::avx512vnni, "avx512vnni",  7, 0, R::ecx, 11, host, 0, F::avx512f},
    {F::avx512bitalg, "avx512bitalg", 7, 0, R::ecx, 12, host, 0, F::avx512bw},
    {F::avx512vpopcntdq, "avx512vpopcntdq", 7, 0, R::ecx, 14, host, 0, F::avx512f},
    {F::rdpid,      "rdpid",       7, 0, R::ecx, 22, own,  1, none},
    {F::movdiri,    "movdiri",     7, 0, R::ecx, 27, host, 0, none},
    {F::movdir64b,  "movdir64b",   7, 0, R::ecx, 28, host, 0, none},
    {F::fsrm,       "fsrm",        7, 0, R::edx, 4,  own,  1, none},
    {F::serialize,  "serialize",   7, 0, R::edx, 14, own,  1, none},
    {F::avx512fp16, "avx512fp16",  7, 0, R::edx, 23, host, 0, F::avx512bw},
    {F::avxvnni,    "avxvnni",     7, 1, R::eax, 4,  host, 0, F::avx2},
    {F::avx512bf16, "avx512bf16",  7, 1, R::eax, 5,  host, 0, F::avx512bw},
    {F::avxifma,    "avxifma",     7, 1, R::eax, 23, host, 0, F::avx2},
    {F::xsaveopt,   "xsaveopt",  0xd, 1, R::eax, 0,  host, 0, F::xsave},
    {F::xsavec,     "xsavec",    0xd, 1, R::eax, 1,  host, 0, F::xsave},
    {F::xgetbv1,    "xgetbv1",   0xd, 1, R::eax, 2,  own,  3, F::xsave},
    {F::lahf64,     "lahf64", 0x80000001, 0, R::ecx, 0,  own,  1, none},
    {F::lzcnt,      "lzcnt",  0x80000001, 0, R::ecx, 5,  host, 3, none},
    {F::prefetchw,  "prefetchw", 0x80000001, 0, R::ecx, 8, own, 1, none},
    {F::syscall,    "syscall", 0x80000001, 0, R::edx, 11, own, 1, none},
    {F::nx,         "nx",     0x80000001, 0, R::edx, 20, own,  1, none},
    {F::page1gb,    "page1gb", 0x80000001, 0, R::edx, 26, own, 1, none},
    {F::rdtscp,     "rdtscp", 0x80000001, 0, R::edx, 27, own,  1, none},
};
// clang-format on

/// XCR0 of the host, or x87 and SSE when it has none.
u64 host_xcr0() {
  if (!(host_cpuid(1, 0).ecx >> 27 & 1)) return 3;
  u32 low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return u64{high} << 32 | low;
}

u32 pick(const CpuModel::Leaf& leaf, CpuidReg reg) {
  switch (reg) {
    case R::eax: return leaf.eax;
    case R::ebx: return leaf.ebx;
    case R::ecx: return leaf.ecx;
    default: return leaf.edx;
  }
}

bool is_avx512(F f) {
  for (const FeatureRow& row : rows)
    if (row.feature == f) return f == F::avx512f || (row.needs != none && is_avx512(row.needs));
  return false;
}

bool is_avx(F f) {
  for (const FeatureRow& row : rows)
    if (row.feature == f) return f == F::avx || (row.needs != none && is_avx(row.needs));
  return false;
}

}  // namespace

std::span<const FeatureRow> feature_rows() { return rows; }

CpuModel::Leaf host_cpuid(u32 function, u32 index) {
  CpuModel::Leaf l;
  if (!__get_cpuid_count(function, index, &l.eax, &l.ebx, &l.ecx, &l.edx)) return {};
  return l;
}

bool host_has(const FeatureRow& row) {
  if (row.own) return true;
  if (!(pick(host_cpuid(row.function, row.index), row.reg) >> row.bit & 1)) return false;
  const u64 xcr0 = host_xcr0();
  if (is_avx512(row.feature) && (xcr0 & 0xe6) != 0xe6) return false;
  if (is_avx(row.feature) && (xcr0 & 6) != 6) return false;
  return row.feature != F::xsave || host_cpuid(1, 0).ecx >> 27 & 1;
}

}  // namespace bhyve::soft
