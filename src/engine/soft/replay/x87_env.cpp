#include "engine/soft/replay/x87_env.hpp"

namespace bhyve::soft {

namespace {

constexpr u16 summary_bits = 0x8080, exception_bits = 0x3f;
constexpr u16 fop_bits = 0x7ff;

template <class T>
T get(const u8* from, unsigned at) {
  T v;
  __builtin_memcpy(&v, from + at, sizeof v);
  return v;
}
template <class T>
void put(u8* to, unsigned at, u64 value) {
  const T v = static_cast<T>(value);
  __builtin_memcpy(to + at, &v, sizeof v);
}

constexpr u32 high_half = 0xffff'0000;  // what the processor writes into unused upper halves

void encode_wide(const X87Environment& e, bool real, u8* to) {
  put<u32>(to, 0, high_half | e.fcw);
  put<u32>(to, 4, high_half | e.fsw);
  put<u32>(to, 8, high_half | e.tags);
  if (real) {
    put<u32>(to, 12, high_half | (e.fip & 0xffff));
    put<u32>(to, 16, (e.fip >> 16 & 0xffff) << 12 | e.fop);
    put<u32>(to, 20, high_half | (e.fdp & 0xffff));
    put<u32>(to, 24, (e.fdp >> 16 & 0xffff) << 12);
    return;
  }
  put<u32>(to, 12, e.fip);
  put<u32>(to, 16, u64{e.fop} << 16);
  put<u32>(to, 20, e.fdp);
  put<u32>(to, 24, high_half);
}

void encode_narrow(const X87Environment& e, bool real, u8* to) {
  put<u16>(to, 0, e.fcw);
  put<u16>(to, 2, e.fsw);
  put<u16>(to, 4, e.tags);
  put<u16>(to, 6, e.fip);
  put<u16>(to, 8, real ? (e.fip >> 16 & 15) << 12 | e.fop : 0);
  put<u16>(to, 10, e.fdp);
  put<u16>(to, 12, real ? (e.fdp >> 16 & 15) << 12 : 0);
}

}  // namespace

void X87Environment::encode(X87Format format, u8* to) const {
  if (format.wide)
    encode_wide(*this, format.real, to);
  else
    encode_narrow(*this, format.real, to);
}

X87Environment X87Environment::decode(X87Format format, const u8* from) {
  X87Environment e;
  const unsigned step = format.wide ? 4 : 2;
  e.fcw = get<u16>(from, 0);
  e.fsw = get<u16>(from, step);
  e.tags = get<u16>(from, 2 * step);
  if (format.wide && !format.real) {
    e.fip = get<u32>(from, 12);
    e.fop = get<u16>(from, 18) & fop_bits;
    e.fdp = get<u32>(from, 20);
    return e;
  }
  e.fip = get<u16>(from, 3 * step);
  e.fdp = get<u16>(from, 5 * step);
  if (!format.real) return e;
  const u32 code = format.wide ? get<u32>(from, 16) : get<u16>(from, 8);
  const u32 data = format.wide ? get<u32>(from, 24) : get<u16>(from, 12);
  e.fop = code & fop_bits;
  e.fip |= u64{code >> 12 & 0xffff} << 16;
  e.fdp |= u64{data >> 12 & 0xffff} << 16;
  return e;
}

u16 full_tags(const LegacyRegion& x87) {
  enum Tag : unsigned { valid, zero, special, empty };
  const unsigned top = x87.head.fsw >> 11 & 7;
  unsigned tags = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    unsigned tag = empty;
    if (x87.head.ftw >> physical & 1) {
      const u8* st = x87.st[(physical - top) & 7];
      const u64 significand = get<u64>(st, 0);
      const unsigned exponent = get<u16>(st, 8) & 0x7fff;
      if (exponent == 0)
        tag = significand ? special : zero;
      else
        tag = exponent == 0x7fff || !(significand >> 63) ? special : valid;
    }
    tags |= tag << (2 * physical);
  }
  return static_cast<u16>(tags);
}

u8 abridged_tags(u16 full) {
  unsigned tags = 0;
  for (unsigned n = 0; n < 8; ++n)
    if ((full >> (2 * n) & 3) != 3) tags |= 1u << n;
  return static_cast<u8>(tags);
}

u16 with_summary(u16 fsw, u16 fcw) {
  const bool pending = fsw & ~fcw & exception_bits;
  return static_cast<u16>(pending ? fsw | summary_bits : fsw & ~summary_bits);
}

}  // namespace bhyve::soft
