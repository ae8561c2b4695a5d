// memcpy() and its kin for plain_memory.hpp. Loops are written so that the compiler does not make calls of
// the functions themselves of them.
#include "engine/soft/runtime/plain_memory.hpp"

#include "base/types.hpp"

namespace {

using bhyve::u16;
using bhyve::u32;
using bhyve::u64;
using bhyve::u8;

template <class T>
T load(const u8* from) {
  T v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <class T>
void store(u8* to, T v) {
  __builtin_memcpy(to, &v, sizeof v);
}

/// sizeof(T) to twice as many bytes: all are read before the first is written.
template <class T>
void move_up_to_two(u8* to, const u8* from, size_t n) {
  const T first = load<T>(from), last = load<T>(from + n - sizeof(T));
  store(to, first);
  store(to + n - sizeof(T), last);
}

bool move_small(u8* to, const u8* from, size_t n) {
  if (n > 16) return false;
  if (n >= 8)
    move_up_to_two<u64>(to, from, n);
  else if (n >= 4)
    move_up_to_two<u32>(to, from, n);
  else if (n >= 2)
    move_up_to_two<u16>(to, from, n);
  else if (n)
    *to = *from;
  return true;
}

}  // namespace

extern "C" {

void* memcpy(void* to, const void* from, size_t n) noexcept {
  if (move_small(static_cast<u8*>(to), static_cast<const u8*>(from), n)) return to;
  void* at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
  return to;
}

void* memmove(void* to, const void* from, size_t n) noexcept {
  auto* t = static_cast<u8*>(to);
  const auto* f = static_cast<const u8*>(from);
  if (reinterpret_cast<u64>(t) - reinterpret_cast<u64>(f) >= n) return memcpy(to, from, n);
  if (move_small(t, f, n)) return to;
  for (; n >= 8; n -= 8) {
    const u64 v = load<u64>(f + n - 8);
    store(t + n - 8, v);
    asm volatile("" : : : "memory");
  }
  move_small(t, f, n);
  return to;
}

void* memset(void* to, int value, size_t n) noexcept {
  void* at = to;
  asm volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
  return to;
}

int memcmp(const void* a, const void* b, size_t n) noexcept {
  const auto *x = static_cast<const u8*>(a), *y = static_cast<const u8*>(b);
  for (; n >= 8 && load<u64>(x) == load<u64>(y); n -= 8) x += 8, y += 8;
  for (; n; --n, ++x, ++y)
    if (*x != *y) return *x < *y ? -1 : 1;
  return 0;
}

}  // extern "C"
