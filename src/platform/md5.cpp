#include "platform/md5.hpp"

#include <bit>
#include <cmath>
#include <vector>

#include "base/bytes.hpp"

namespace bhyve::platform {
namespace {

constexpr usize block_size = 64;
constexpr unsigned rotations[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23},
                                      {6, 10, 15, 21}};

/// The table T of RFC 1321, 3.4: the integer part of 2^32 * |sin(i + 1)|.
const std::array<u32, 64>& sines() {
  static const std::array<u32, 64> table = [] {
    std::array<u32, 64> t{};
    for (usize i = 0; i < t.size(); ++i) {
      t[i] = static_cast<u32>(std::ldexp(std::fabs(std::sin(static_cast<double>(i + 1))), 32));
    }
    return t;
  }();
  return table;
}

struct Mix {
  u32 value;
  unsigned word;  ///< which word of the block joins in
};

Mix mix(unsigned step, u32 b, u32 c, u32 d) {
  switch (step / 16) {
    case 0: return {(b & c) | (~b & d), step};
    case 1: return {(d & b) | (~d & c), (5 * step + 1) % 16};
    case 2: return {b ^ c ^ d, (3 * step + 5) % 16};
    default: return {c ^ (b | ~d), 7 * step % 16};
  }
}

void add_block(std::array<u32, 4>& state, std::span<const u8> block) {
  auto [a, b, c, d] = state;
  for (unsigned step = 0; step < 64; ++step) {
    const Mix m = mix(step, b, c, d);
    const u32 sum = a + m.value + sines()[step] + load_le<u32>(block, usize{4} * m.word);
    a = d;
    d = c;
    c = b;
    b += std::rotl(sum, static_cast<int>(rotations[step / 16][step % 4]));
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
}

}  // namespace

std::array<u8, 16> md5(std::span<const u8> message) {
  std::vector<u8> padded(message.begin(), message.end());
  padded.push_back(0x80);
  while (padded.size() % block_size != block_size - 8) padded.push_back(0);
  padded.resize(padded.size() + 8);
  store_le<u64>(padded, padded.size() - 8, u64{message.size()} * 8);

  std::array<u32, 4> state{0x6745'2301, 0xefcd'ab89, 0x98ba'dcfe, 0x1032'5476};
  for (usize at = 0; at < padded.size(); at += block_size) {
    add_block(state, std::span<const u8>(padded).subspan(at, block_size));
  }
  std::array<u8, 16> digest{};
  for (usize i = 0; i < state.size(); ++i) store_le<u32>(digest, 4 * i, state[i]);
  return digest;
}

}  // namespace bhyve::platform
