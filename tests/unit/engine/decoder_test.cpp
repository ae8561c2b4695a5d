// Our decoder against Zydis: systematic encodings in the three code sizes. Every form is seen at
// least twice with different displacements and immediates, so that the second comes from the parser
// and the form cache.
#include <cstdio>
#include <string>

#include "decode_fixture.hpp"
#include "replay_fixture.hpp"

namespace bhyve::soft {

namespace {

class DecoderTest : public ReplayTest, public testing::WithParamInterface<CodeSize> {
 protected:
  DecoderTest() {
    auto& cs = start_state.seg[static_cast<u8>(x86::Seg::cs)];
    if (GetParam() != CodeSize::bits64) cs.access &= ~x86::Segment::long_mode;
    if (GetParam() == CodeSize::bits32) cs.access |= x86::Segment::big;
    cpu->load_state(engine::StateGroups::all, start_state);
    EXPECT_EQ(cpu->code_size(), GetParam());
  }

  void check(const std::vector<u8>& head, bool tails_only = false) {
    // Displacements and immediates: two fillings, at two places, and (in part) cut off.
    static constexpr u8 tails[2][12] = {{0x7f, 0x12, 0x84, 0x01, 0x55, 0x33, 0xfe, 0x81, 9, 8, 7, 6},
                                        {0x80, 0xfe, 0x03, 0xf1, 0x08, 0xc3, 0x71, 0x18, 5, 4, 3, 2}};
    for (unsigned t = 0; t < 2; ++t) {
      u8 bytes[32] = {};
      std::memcpy(bytes, head.data(), head.size());
      std::memcpy(bytes + head.size(), tails[t], sizeof tails[t]);
      compare(bytes, static_cast<unsigned>(head.size() + sizeof tails[t]), t ? 0x77 : 0);
      if (!tails_only && t)
        compare(bytes, static_cast<unsigned>(head.size() + cut_++ % 6), 0);
    }
  }

  void compare(const u8* bytes, unsigned n, u16 offset) {
    ++compared_;
    const BothDecoded b = decode_both(*cpu, bytes, n, offset);
    if (same(b)) return;
    if (++wrong_ > 20) return;
    std::string text;
    for (unsigned k = 0; k < n; ++k) {
      char two[4];
      std::snprintf(two, sizeof two, "%02x ", bytes[k]);
      text += two;
    }
    ADD_FAILURE() << text << " length " << +b.ours.length << "/" << +b.zydis.length << " imm "
                  << std::hex << b.ours.imm << "/" << b.zydis.imm << " disp " << b.ours.disp << "/"
                  << b.zydis.disp << " seg " << +b.ours.seg << "/" << +b.zydis.seg << " base "
                  << +b.ours.base << "/" << +b.zydis.base << " index " << +b.ours.index << "/"
                  << +b.zydis.index;
  }
  void TearDown() override { std::printf("%u encodings compared\n", compared_); }

  unsigned compared_ = 0, wrong_ = 0, cut_ = 0;
};

std::vector<u8> join(std::initializer_list<std::vector<u8>> parts) {
  std::vector<u8> all;
  for (const auto& p : parts) all.insert(all.end(), p.begin(), p.end());
  return all;
}

const std::vector<std::vector<u8>> prefix_sets = {
    {}, {0x66}, {0x67}, {0xf2}, {0xf3}, {0xf0}, {0x2e}, {0x36}, {0x64}, {0x66, 0x67}, {0x66, 0xf2},
    {0xf3, 0x66}, {0x66, 0x66}, {0xf2, 0xf3}, {0x65, 0x2e}, {0xf0, 0x66}, {0x48}, {0x41}, {0x4f},
    {0x66, 0x48}, {0xf3, 0x4c}, {0x48, 0x66}, {0x67, 0x49}, {0x26}, {0x3e}, {0x64, 0x3e}, {0x3e, 0x65},
    {0x3e, 0x66}};
// ModRM and SIB.
const std::vector<std::vector<u8>> operands = {
    {0x00}, {0x06}, {0x05}, {0x45}, {0x44, 0x24}, {0x84, 0xb5}, {0x04, 0x25}, {0x04, 0x6d},
    {0x0c, 0x9e}, {0x53}, {0x9f}, {0x62}, {0xa8}, {0x35}, {0x3b}, {0x42}, {0xc0}, {0xd1}, {0xec},
    {0xff}};

TEST_P(DecoderTest, legacy_maps) {
  const std::vector<std::vector<u8>> maps = {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
  for (const auto& prefix : prefix_sets)
    for (const auto& map : maps)
      for (unsigned opcode = 0; opcode < 256; ++opcode)
        for (const auto& operand : operands)
          check(join({prefix, map, {static_cast<u8>(opcode)}, operand}));
}

TEST_P(DecoderTest, every_modrm_of_the_groups) {
  const std::vector<std::vector<u8>> groups = {
      {0x80}, {0x81}, {0x83}, {0x8f}, {0xc0}, {0xc1}, {0xc6}, {0xc7}, {0xd0}, {0xd3}, {0xd8}, {0xd9},
      {0xda}, {0xdb}, {0xdc}, {0xdd}, {0xde}, {0xdf}, {0xf6}, {0xf7}, {0xfe}, {0xff}, {0x0f, 0x00},
      {0x0f, 0x01}, {0x0f, 0x0d}, {0x0f, 0x18}, {0x0f, 0x1e}, {0x0f, 0x71}, {0x0f, 0x72},
      {0x0f, 0x73}, {0x0f, 0xae}, {0x0f, 0xba}, {0x0f, 0xc7}};
  for (const auto& prefix : prefix_sets)
    for (const auto& opcode : groups)
      for (unsigned modrm = 0; modrm < 256; ++modrm)
        check(join({prefix, opcode, {static_cast<u8>(modrm), 0x24}}), true);
}

TEST_P(DecoderTest, every_modrm_and_sib_of_a_move) {
  for (const auto& prefix : prefix_sets)
    for (unsigned modrm = 0; modrm < 256; ++modrm)
      for (unsigned sib = 0; sib < 256; ++sib)
        check(join({prefix, {0x8b, static_cast<u8>(modrm), static_cast<u8>(sib)}}), true);
}

TEST_P(DecoderTest, vex_maps) {
  for (const std::vector<u8>& prefix : {std::vector<u8>{}, {0x67}, {0x64}, {0x66}})
    for (unsigned map = 0; map <= 4; ++map)
      for (const unsigned rxb : {7u, 6u, 3u, 0u, 5u})
        for (const unsigned p2 : {0x78u, 0x7cu, 0x79u, 0x7du, 0x7au, 0x7bu, 0x7fu, 0xfdu, 0x31u, 0xf8u})
          for (unsigned opcode = 0; opcode < 256; ++opcode)
            for (const auto& operand : {operands[0], operands[4], operands[9], operands[17]}) {
              check(join({prefix, {0xc4, static_cast<u8>(rxb << 5 | map), static_cast<u8>(p2),
                                   static_cast<u8>(opcode)}, operand}), true);
              if (map == 1)
                check(join({prefix, {0xc5, static_cast<u8>(p2 | (rxb & 4) << 5),
                                     static_cast<u8>(opcode)}, operand}), true);
            }
}

TEST_P(DecoderTest, evex_maps) {
  for (unsigned map = 1; map <= 6; ++map)
    for (const unsigned high : {0xf0u, 0xe0u, 0x90u})
      for (const unsigned p1 : {0x7cu, 0x7du, 0x7eu, 0xfdu, 0xfeu, 0x6du})
        for (const unsigned p2 : {0x08u, 0x28u, 0x48u, 0x49u, 0xc9u, 0x58u, 0x18u})
          for (unsigned opcode = 0; opcode < 256; ++opcode)
            for (const auto& operand : {operands[0], operands[4], operands[9], operands[17]})
              check(join({{0x62, static_cast<u8>(high | map), static_cast<u8>(p1),
                           static_cast<u8>(p2), static_cast<u8>(opcode)}, operand}), true);
}

/// NOTRACK is DS to a processor without CET.
TEST_P(DecoderTest, ds_before_an_indirect_branch) {
  constexpr u8 jump[] = {0x3e, 0xff, 0x65, 0x10, 0, 0, 0, 0, 0, 0, 0, 0};  // JMP [bp/di + 10h]
  const bool narrow = GetParam() == CodeSize::bits16;
  u8 bytes[sizeof jump];
  std::memcpy(bytes, jump, sizeof jump);
  if (narrow) bytes[2] = 0x66;  // [bp + 10h]
  for (unsigned n = 0; n < 2; ++n) {  // bound, then from its form
    const BothDecoded b = decode_both(*cpu, bytes, sizeof bytes, 0);
    ASSERT_EQ(b.our_status, Decoder::Status::ok);
    if (GetParam() == CodeSize::bits64) EXPECT_EQ(b.ours.base_seg, 8);
    else EXPECT_EQ(b.ours.base_seg, 3);
  }
}

TEST_P(DecoderTest, length_limit) {
  for (unsigned n = 0; n < 16; ++n)
    for (const std::vector<u8>& body : {std::vector<u8>{0x90}, {0x81, 0x84, 0x24}, {0x0f, 0x1f, 0x80},
                                        {0xe9}, {0xb8}, {0x0f, 0x58, 0x05}})
      for (const u8 filler : {u8{0x66}, u8{0x2e}, u8{0xf2}, u8{0x67}})
        check(join({std::vector<u8>(n, filler), body}));
}

INSTANTIATE_TEST_SUITE_P(sizes, DecoderTest,
                         testing::Values(CodeSize::bits16, CodeSize::bits32, CodeSize::bits64));

}  // namespace

}  // namespace bhyve::soft
