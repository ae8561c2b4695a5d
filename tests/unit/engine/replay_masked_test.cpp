// Gathers, scatters and masked accesses at the border of a page that is not there.
#include "engine/soft/replay/masked.hpp"
#include "engine/soft/replay/parked_registers.hpp"
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

using x86::Gpr;
using Feature = CpuModel::Feature;
constexpr int pf = 14;

class MaskedTest : public ReplayTest {
 protected:
  MaskedTest() {
    for (u32 n = 0; n < 1024; ++n) put<u32>(data + n * 4, 0x1000 + n);
    reg(Gpr::rdi) = data;
  }
  using Vector = ParkedRegisters::Vector;
  void set(unsigned reg_number, std::initializer_list<u32> dwords) {
    Vector v;
    unsigned n = 0;
    for (const u32 d : dwords) v.set_element(n++, 4, d);
    ParkedRegisters(cpu->fpu).write(reg_number, v);
  }
  u64 dword(unsigned reg_number, unsigned n) {
    return ParkedRegisters(cpu->fpu).read(reg_number).element(n, 4);
  }
  static constexpr u32 on = 0x8000'0000;
};

TEST_F(MaskedTest, GatherReadsMaskedElementsAndClearsItsMask) {
  if (!has(Feature::avx2)) GTEST_SKIP() << "no AVX2";
  set(1, {7, 7, 7, 7, 9});
  set(2, {3, 5, 0xffff'ffff, 1});
  set(3, {on, 0, 0, on, on});
  // vpgatherdd xmm1, [rdi + xmm2*4], xmm3
  ASSERT_EQ(run({0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x97}), none);
  EXPECT_EQ(dword(1, 0), 0x1003u);
  EXPECT_EQ(dword(1, 1), 7u);
  EXPECT_EQ(dword(1, 2), 7u);
  EXPECT_EQ(dword(1, 3), 0x1001u);
  EXPECT_EQ(dword(1, 4), 0u) << "above the vector length";
  for (unsigned n = 0; n < 8; ++n) EXPECT_EQ(dword(3, n), 0u);
}

TEST_F(MaskedTest, FaultingGatherKeepsFinishedElements) {
  if (!has(Feature::avx2)) GTEST_SKIP() << "no AVX2";
  set(1, {7, 7, 7, 7});
  set(2, {3, 1024, 5, 6});
  set(3, {on, on, 0, on});
  ASSERT_EQ(run({0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x97}), pf);
  EXPECT_EQ(cpu->s.cr2, hole);
  EXPECT_EQ(dword(1, 0), 0x1003u);
  EXPECT_EQ(dword(1, 1), 7u);
  EXPECT_EQ(dword(3, 0), 0u);
  EXPECT_NE(dword(3, 1) & on, 0u);
  EXPECT_NE(dword(3, 3) & on, 0u);
}

TEST_F(MaskedTest, GatherOfNarrowDataByWideIndexClearsTheRest) {
  if (!has(Feature::avx2)) GTEST_SKIP() << "no AVX2";
  set(1, {7, 7, 7, 7});
  set(2, {3, 0, 4, 0});
  set(3, {on, on});
  // vpgatherqd xmm1, [rdi + xmm2*4], xmm3
  ASSERT_EQ(run({0xc4, 0xe2, 0x61, 0x91, 0x0c, 0x97}), none);
  EXPECT_EQ(dword(1, 0), 0x1003u);
  EXPECT_EQ(dword(1, 1), 0x1004u);
  EXPECT_EQ(dword(1, 2), 0u);
}

TEST_F(MaskedTest, EvexGatherAndScatterUseTheOpmask) {
  if (!has(Feature::avx512f)) GTEST_SKIP() << "no AVX-512";
  set(1, {7, 7, 7});
  set(2, {3, 1, 2});
  ParkedRegisters(cpu->fpu).set_opmask(1, 5);
  // vpgatherdd zmm1{k1}, [rdi + zmm2*1 + 2*4]
  ASSERT_EQ(run({0x62, 0xf2, 0x7d, 0x49, 0x90, 0x4c, 0x97, 0x02}), none);
  EXPECT_EQ(dword(1, 0), 0x1005u);
  EXPECT_EQ(dword(1, 1), 7u);
  EXPECT_EQ(dword(1, 2), 0x1004u);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).opmask(1), 0u);

  set(1, {50, 51, 52});
  set(2, {1, 1024, 1});
  ParkedRegisters(cpu->fpu).set_opmask(1, 7);
  // vpscatterdd [rdi + zmm2*4]{k1}, zmm1
  ASSERT_EQ(run({0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x0c, 0x97}), pf);
  EXPECT_EQ(get<u32>(data + 4), 50u);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).opmask(1), 6u) << "elements before the fault are done";
  ParkedRegisters(cpu->fpu).set_opmask(1, 5);
  ASSERT_EQ(run({0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x0c, 0x97}), none);
  EXPECT_EQ(get<u32>(data + 4), 52u) << "the last of two to one place wins";
}

TEST_F(MaskedTest, SuppressedElementsDoNotFault) {
  if (!has(Feature::avx512f)) GTEST_SKIP() << "no AVX-512";
  reg(Gpr::rdi) = hole - 12;
  ParkedRegisters(cpu->fpu).set_opmask(1, 5);
  // vmovdqu32 zmm1{k1}{z}, [rdi]
  ASSERT_EQ(run({0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x0f}), none);
  EXPECT_EQ(dword(1, 0), 0x1000u + 1021);
  EXPECT_EQ(dword(1, 1), 0u);
  EXPECT_EQ(dword(1, 2), 0x1000u + 1023);
  // vmovdqu32 [rdi]{k1}, zmm0
  set(0, {60, 61, 62, 63});
  ASSERT_EQ(run({0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x07}), none);
  EXPECT_EQ(get<u32>(hole - 12), 60u);
  EXPECT_EQ(get<u32>(hole - 8), 0x1000u + 1022);
  EXPECT_EQ(get<u32>(hole - 4), 62u);
  ParkedRegisters(cpu->fpu).set_opmask(1, 9);
  EXPECT_EQ(run({0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x07}), pf);
}

TEST_F(MaskedTest, EightBitsOfTheMaskStandForAnElementOfVpshufbitqmb) {
  if (!has(Feature::avx512bitalg)) GTEST_SKIP() << "no AVX512_BITALG";
  set(0, {2});
  ParkedRegisters(cpu->fpu).set_opmask(1, 8);
  reg(x86::Gpr::rdi) = hole - 32;
  put<u64>(hole - 32, 0x01'00'00'00);
  // vpshufbitqmb k4{k1}, zmm0, [rdi]
  ASSERT_EQ(run({0x62, 0xf2, 0x7d, 0x49, 0x8f, 0x27}), none);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).opmask(4), 8u);
  ParkedRegisters(cpu->fpu).set_opmask(1, u64{1} << 32);
  EXPECT_EQ(run({0x62, 0xf2, 0x7d, 0x49, 0x8f, 0x27}), pf);
  EXPECT_EQ(cpu->s.cr2, hole);
}
TEST_F(MaskedTest, VectorMaskedMovesTouchActiveElementsOnly) {
  if (!has(Feature::avx2)) GTEST_SKIP() << "no AVX2";
  reg(Gpr::rdi) = hole - 8;
  set(3, {0, on, 0, 0});
  // vpmaskmovd ymm0, ymm3, [rdi]
  ASSERT_EQ(run({0xc4, 0xe2, 0x65, 0x8c, 0x07}), none);
  EXPECT_EQ(dword(0, 0), 0u);
  EXPECT_EQ(dword(0, 1), 0x1000u + 1023);
  set(3, {0, on, on, 0});
  EXPECT_EQ(run({0xc4, 0xe2, 0x65, 0x8c, 0x07}), pf);
}

TEST_F(MaskedTest, MaskmovWritesSelectedBytesAndNothingForAnEmptyMask) {
  reg(Gpr::rdi) = hole - 4;
  set(1, {0x04030201, 0x08070605});
  set(2, {0x80008000, 0});
  const std::vector<u8> maskmovdqu{0x66, 0x0f, 0xf7, 0xca};
  ASSERT_EQ(run(maskmovdqu), none);
  EXPECT_EQ(get<u32>(hole - 4), 0x0400'0200u | (0x13ffu & 0x00ff'00ffu));
  set(2, {0, 0x80});
  EXPECT_EQ(run(maskmovdqu), pf);
  set(2, {});
  reg(Gpr::rdi) = hole;
  EXPECT_EQ(run(maskmovdqu), none);
}

TEST_F(MaskedTest, MaskmovqEntersMmxState) {
  const u64 value = 0x0807060504030201, mask = 0x8000000000000080;
  put(data, value);
  put(data + 8, mask);
  reg(Gpr::rdi) = data + 16;
  put<u64>(data + 16, 0);
  // movq mm1, [rdi - 16]; movq mm2, [rdi - 8]; emms; maskmovq mm1, mm2
  ASSERT_EQ(run({0x0f, 0x6f, 0x4f, 0xf0, 0x0f, 0x6f, 0x57, 0xf8, 0x0f, 0x77, 0x0f, 0xf7, 0xca}),
            none);
  EXPECT_EQ(get<u64>(data + 16), 0x0800000000000001u);
  EXPECT_EQ(ParkedRegisters(cpu->fpu).legacy().head.ftw, 0xff);
}

/// The masking of an instruction as bind_masking() sees it.
ReplayPlan masking_of(std::initializer_list<u8> bytes) {
  Decoded d;
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  EXPECT_TRUE(ZYAN_SUCCESS(
      ZydisDecoderDecodeFull(&decoder, std::data(bytes), bytes.size(), &d.info, d.operands)));
  ReplayPlan plan;
  const ZydisDecodedOperand* m = d.memory();
  if (!m) return plan;
  plan.memory_bytes = static_cast<u16>(m->size / 8);
  bind_masking(d, *m, plan);
  return plan;
}

TEST(BindMasking, InstructionsThatReadAllHaveNone) {
  EXPECT_EQ(masking_of({0x62, 0xf2, 0x6d, 0x49, 0x36, 0x03}).masking, Masking::none) << "vpermd";
}

TEST(BindMasking, ElementsAreThoseOfTheMask) {
  struct Case {
    const char* name;
    std::initializer_list<u8> bytes;
    unsigned element, bits;
  };
  const Case cases[] = {
      {"vaddps zmm0{k1}, zmm0, [rbx]{1to16}", {0x62, 0xf1, 0x7c, 0x59, 0x58, 0x03}, 4, 16},
      {"vpmovzxbw zmm0{k1}, [rbx]", {0x62, 0xf2, 0x7d, 0x49, 0x30, 0x03}, 1, 32},
      {"vbroadcastf32x4 zmm0{k1}, [rbx]", {0x62, 0xf2, 0x7d, 0x49, 0x1a, 0x03}, 4, 16},
      {"vcvtpd2ps xmm0{k1}, [rbx]", {0x62, 0xf1, 0xfd, 0x09, 0x5a, 0x03}, 8, 2},
      {"vaddss xmm0{k1}, xmm2, [rbx]", {0x62, 0xf1, 0x6e, 0x09, 0x58, 0x03}, 4, 1},
      {"vpmovdb [rbx]{k1}, zmm0", {0x62, 0xf2, 0x7e, 0x49, 0x31, 0x03}, 1, 16},
      {"vcmpps k1{k1}, zmm2, [rbx], 0", {0x62, 0xf1, 0x6c, 0x49, 0xc2, 0x0b, 0x00}, 4, 16},
      {"vfpclassps k1{k1}, [rbx]{1to16}, 1", {0x62, 0xf3, 0x7d, 0x59, 0x66, 0x0b, 0x01}, 4, 16},
  };
  for (const Case& c : cases) {
    const ReplayPlan plan = masking_of(c.bytes);
    EXPECT_EQ(plan.masking, Masking::opmask) << c.name;
    EXPECT_EQ(plan.element_bytes, c.element) << c.name;
    EXPECT_EQ(plan.vector_bytes, c.element * c.bits) << c.name;
  }
}

TEST(AccessedElements, BroadcastAndCompressMapTheMask) {
  ReplayPlan plan{.memory_bytes = 4, .masking = Masking::opmask, .element_bytes = 4,
                  .vector_bytes = 64};
  EXPECT_EQ(accessed_elements(plan, 0x8000), 1u);
  EXPECT_EQ(accessed_elements(plan, 0x10000), 0u) << "bit 16 of 16";
  plan.memory_bytes = 16;
  EXPECT_EQ(accessed_elements(plan, 0x8020), 0xau);
  plan.memory_bytes = 64;
  plan.masking = Masking::compress;
  EXPECT_EQ(accessed_elements(plan, 0x8421), 0xfu);
}

}  // namespace
}  // namespace bhyve::soft
