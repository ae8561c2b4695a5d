// Replay outside of 64-bit mode: encodings whose meaning differs from the host's 64-bit mode.
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

class CompatReplay : public ReplayTest {
 protected:
  static constexpr u64 last = data + page_size - 4;  ///< the last doubleword before the hole

  CompatReplay() {
    using x86::Segment;
    start_state.seg[static_cast<u8>(x86::Seg::cs)] = {
        0x08, 11u | Segment::s | Segment::present | Segment::big | Segment::granular, 0xffff'ffff,
        0};
  }
  [[nodiscard]] static std::vector<u8> at(std::vector<u8> insn, u64 address) {
    for (unsigned n = 0; n < 4; ++n) insn.push_back(static_cast<u8>(address >> (8 * n)));
    return insn;
  }
  /// A store to the page, so that what follows finds it in the TLB.
  [[nodiscard]] static std::vector<u8> touch() {
    return at({0x88, 0x05}, data + 64);  // mov [data + 64], al
  }
  [[nodiscard]] static std::vector<u8> join(std::initializer_list<std::vector<u8>> parts) {
    std::vector<u8> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
};

TEST_F(CompatReplay, VexWDoesNotWidenAStore) {
  if (!has(CpuModel::Feature::avx)) GTEST_SKIP();
  put<u64>(data, 0x2222'2222'1111'1111);
  put<u64>(hole, 0x55);
  const auto movq_load = at({0xf3, 0x0f, 0x7e, 0x05}, data);
  const auto vmovd_w1 = at({0xc4, 0xe1, 0xf9, 0x7e, 0x05}, last);
  EXPECT_EQ(run(join({touch(), movq_load, vmovd_w1})), none);
  EXPECT_EQ(get<u32>(last), 0x1111'1111u);
  EXPECT_EQ(get<u64>(hole), 0x55u);
}

TEST_F(CompatReplay, VexWDoesNotWidenALoad) {
  if (!has(CpuModel::Feature::avx)) GTEST_SKIP();
  put<u32>(last, 0x1111'1111);
  put<u64>(hole, 0x55);
  const auto vmovd_w1 = at({0xc4, 0xe1, 0xf9, 0x6e, 0x05}, last);
  const auto movdqu_store = at({0xf3, 0x0f, 0x7f, 0x05}, data);
  EXPECT_EQ(run(join({touch(), vmovd_w1, movdqu_store})), none);
  EXPECT_EQ(get<u64>(data), 0x1111'1111u);
}

TEST_F(CompatReplay, VexWDoesNotWidenGeneralRegisters) {
  if (!has(CpuModel::Feature::bmi1)) GTEST_SKIP();
  reg(x86::Gpr::rbx) = 0xf;
  put<u32>(last, 0x1234'5678);
  put<u64>(hole, 0x55);
  const auto andn_w1 = at({0xc4, 0xe2, 0xe0, 0xf2, 0x05}, last);  // eax, ebx, [last]
  EXPECT_EQ(run(join({touch(), andn_w1})), none);
  EXPECT_EQ(cpu->r(x86::Gpr::rax), 0x1234'5670u);
}

TEST_F(CompatReplay, BitsForMoreThanEightRegistersAreIgnored) {
  if (!has(CpuModel::Feature::avx)) GTEST_SKIP();
  put<u64>(data, 0x4000'0000);  // 2.0f
  put<u64>(data + 8, 0);
  const auto load0 = at({0xf3, 0x0f, 0x7e, 0x05}, data);
  const auto load1 = at({0xf3, 0x0f, 0x7e, 0x0d}, data);
  const std::vector<u8> vaddps{0xc4, 0xc1, 0x38, 0x58, 0xd1};  // xmm2 = xmm(8+)0 + xmm(8+)1
  const auto store2 = at({0xf3, 0x0f, 0x7f, 0x15}, data);
  EXPECT_EQ(run(join({load0, load1, vaddps, store2})), none);
  EXPECT_EQ(get<u32>(data), 0x4080'0000u);
}

TEST_F(CompatReplay, BlendTakesItsMaskFromOneOfEightRegisters) {
  if (!has(CpuModel::Feature::avx)) GTEST_SKIP();
  put<u64>(data, 0x8000'0000);
  const auto load1 = at({0xf3, 0x0f, 0x7e, 0x0d}, data);
  const std::vector<u8> clear{0x0f, 0x57, 0xc0, 0x0f, 0x57, 0xd2};  // xmm0, xmm2
  const std::vector<u8> vblendvps{0xc4, 0xe3, 0x79, 0x4a, 0xd1, 0x90};  // xmm2: mask xmm(8+)1
  const auto store2 = at({0xf3, 0x0f, 0x7f, 0x15}, data);
  EXPECT_EQ(run(join({load1, clear, vblendvps, store2})), none);
  EXPECT_EQ(get<u32>(data), 0x8000'0000u);
}

TEST_F(CompatReplay, Crc32In16BitCodeReadsAWord) {
  if (!has(CpuModel::Feature::sse4_2)) GTEST_SKIP();
  auto& cs = start_state.seg[static_cast<u8>(x86::Seg::cs)];
  cs.access &= ~x86::Segment::big;
  cs.base = code;
  reg(x86::Gpr::rbx) = 0;
  start_state.seg[static_cast<u8>(x86::Seg::ds)].base = last + 2;
  put<u16>(last + 2, 0x1234);
  const std::vector<u8> word{0xf2, 0x0f, 0x38, 0xf1, 0x07, 0xf4};  // crc32 eax, word [bx]
  put(code, word.data(), word.size());
  start_state.rip = 0;
  cpu->load_state(engine::StateGroups::all, start_state);
  engine::Exit exit;
  cpu->run(exit);
  ASSERT_EQ(exit.code, abi::ExitCode::hlt);
  u32 expected = 0;
  asm("crc32w %1, %0" : "+r"(expected) : "r"(u16{0x1234}));
  EXPECT_EQ(cpu->rip, 6u);
  EXPECT_EQ(cpu->r(x86::Gpr::rax), expected);
}

}  // namespace
}  // namespace bhyve::soft
