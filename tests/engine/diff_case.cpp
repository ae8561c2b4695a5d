#include "diff_case.hpp"

#include <cpuid.h>

#include <algorithm>

namespace bhyve::test::diff {
namespace {

struct Range {
  usize from, to;
  unsigned component;
};
constexpr std::array ranges{Range{32, 160, 0}, Range{160, 416, 1}, Range{576, 832, 2},
                            Range{1088, 1152, 5}, Range{1152, 1664, 6}, Range{1664, 2688, 7}};

void clear(Vectors& v, usize from, usize to) {
  std::fill(v.begin() + static_cast<i64>(from), v.begin() + static_cast<i64>(to), u8{0});
}

}  // namespace

std::array<u8, text_size> code_text(std::span<const u8> bytes) {
  std::array<u8, text_size> text;
  text.fill(hlt);
  std::copy(bytes.begin(), bytes.end(), text.begin());
  return text;
}

u64 components() {
  u32 a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 3;
  u32 low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  using namespace x86::xcr0;
  return low & (x87 | sse | avx | avx512);
}

void normalise(Vectors& v) {
  const u8 present = v[vectors::xstate_bv];
  for (const Range& r : ranges)
    if (!(present >> r.component & 1)) clear(v, r.from, r.to);
  if (!(present & 1)) {
    clear(v, 0, 6);
    v[vectors::fcw] = 0x7f;
    v[vectors::fcw + 1] = 0x03;
  }
  clear(v, 5, 24);   // reserved, FOP, FIP, FDP
  clear(v, 28, 32);  // MXCSR_MASK
  for (usize st = 0; st < 8; ++st) clear(v, 32 + 16 * st + 10, 32 + 16 * st + 16);
  clear(v, 416, 576);
  clear(v, 832, 1088);
}

}  // namespace bhyve::test::diff
