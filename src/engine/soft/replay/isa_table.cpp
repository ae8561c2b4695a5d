#include "engine/soft/replay/isa_table.hpp"

#include <array>

namespace bhyve::soft {

namespace {

using F = CpuModel::Feature;
constexpr F base = F::count_;

#define ROW(set, gate, feature) \
  { ZYDIS_ISA_SET_##set, Gate::gate, feature, base }
#define ROW2(set, gate, feature, feature2) \
  { ZYDIS_ISA_SET_##set, Gate::gate, feature, feature2 }
/// An AVX-512 group in its three vector lengths.
#define ROWS512(name, feature)                        \
  ROW2(name##_128, avx512, feature, F::avx512vl),     \
      ROW2(name##_256, avx512, feature, F::avx512vl), \
      ROW(name##_512, avx512, feature)

constexpr IsaRow rows[] = {
    ROW(X87, x87, base),
    ROW(FCMOV, x87, base),
    ROW(PPRO, x87, base),  // FCOMI and friends; CMOV is the interpreter's
    ROW(SSE3X87, x87, F::sse3),
    ROW(PENTIUMMMX, mmx, base),
    ROW(SSE, sse, base),
    ROW(SSEMXCSR, sse, base),
    ROW(SSE2, sse, base),
    ROW(SSE2MMX, mmx, base),
    ROW(SSE3, sse, F::sse3),
    ROW(SSSE3, sse, F::ssse3),
    ROW(SSSE3MMX, mmx, F::ssse3),
    ROW(SSE4, sse, F::sse4_1),
    ROW(SSE42, sse, F::sse4_2),
    ROW(AES, sse, F::aes),
    ROW(PCLMULQDQ, sse, F::pclmulqdq),
    ROW(SHA, sse, F::sha),
    ROW(GFNI, sse, F::gfni),
    ROW(BMI1, vex_gpr, F::bmi1),
    ROW(BMI2, vex_gpr, F::bmi2),
    ROW(ADOX_ADCX, none, F::adx),
    ROW(AVX, avx, F::avx),
    ROW(AVX2, avx, F::avx2),
    ROW2(AVXAES, avx, F::avx, F::aes),
    ROW2(AVX_GFNI, avx, F::avx, F::gfni),
    ROW(AVX_VNNI, avx, F::avxvnni),
    ROW(F16C, avx, F::f16c),
    ROW(FMA, avx, F::fma),
    ROW2(VAES, avx, F::avx, F::vaes),
    ROW2(VPCLMULQDQ, avx, F::avx, F::vpclmulqdq),
    ROWS512(AVX512F, F::avx512f),
    ROW(AVX512F_128N, avx512, F::avx512f),
    ROW(AVX512F_KOP, avx512, F::avx512f),
    ROW(AVX512F_SCALAR, avx512, F::avx512f),
    ROWS512(AVX512BW, F::avx512bw),
    ROW(AVX512BW_128N, avx512, F::avx512bw),
    ROW(AVX512BW_KOP, avx512, F::avx512bw),
    ROWS512(AVX512DQ, F::avx512dq),
    ROW(AVX512DQ_128N, avx512, F::avx512dq),
    ROW(AVX512DQ_KOP, avx512, F::avx512dq),
    ROW(AVX512DQ_SCALAR, avx512, F::avx512dq),
    ROWS512(AVX512CD, F::avx512cd),
    ROWS512(AVX512_BF16, F::avx512bf16),
    ROWS512(AVX512_BITALG, F::avx512bitalg),
    ROWS512(AVX512_FP16, F::avx512fp16),
    ROW(AVX512_FP16_128N, avx512, F::avx512fp16),
    ROW(AVX512_FP16_SCALAR, avx512, F::avx512fp16),
    ROWS512(AVX512_GFNI, F::gfni),
    ROWS512(AVX512_IFMA, F::avx512ifma),
    ROWS512(AVX512_VAES, F::vaes),
    ROWS512(AVX512_VBMI, F::avx512vbmi),
    ROWS512(AVX512_VBMI2, F::avx512vbmi2),
    ROWS512(AVX512_VNNI, F::avx512vnni),
    ROWS512(AVX512_VPCLMULQDQ, F::vpclmulqdq),
    ROWS512(AVX512_VPOPCNTDQ, F::avx512vpopcntdq),
};

}  // namespace

const IsaRow* find_isa(ZydisISASet set) {
  static const auto index = [] {
    std::array<const IsaRow*, ZYDIS_ISA_SET_MAX_VALUE + 1> all{};
    for (const IsaRow& r : rows) all[r.set] = &r;
    return all;
  }();
  return set <= ZYDIS_ISA_SET_MAX_VALUE ? index[set] : nullptr;
}

}  // namespace bhyve::soft
