#pragma once
#include <atomic>

#include "base/types.hpp"

/// The one accessor to guest RAM from C++ (architecture decision 10). Accesses of up to 8 bytes
/// that do not cross a cache line do not tear; ordinary loads and stores of the host give x86-TSO.
/// The guest races with itself by right, so this is the one place that TSan must not look at.
namespace bhyve::mem {

#if defined(__SANITIZE_THREAD__)
#define BHYVE_RAM_ACCESS __attribute__((no_sanitize("thread"))) inline
#else
#define BHYVE_RAM_ACCESS __attribute__((always_inline)) inline
#endif

/// Reads a T (1, 2, 4 or 8 bytes) at any alignment.
template <class T>
[[nodiscard]] BHYVE_RAM_ACCESS T ram_load(const void* p) noexcept {
  typedef T unaligned __attribute__((aligned(1), may_alias));
  return *static_cast<const volatile unaligned*>(p);
}

/// Writes a T (1, 2, 4 or 8 bytes) at any alignment.
template <class T>
BHYVE_RAM_ACCESS void ram_store(void* p, T v) noexcept {
  typedef T unaligned __attribute__((aligned(1), may_alias));
  *static_cast<volatile unaligned*>(p) = v;
}

/// Copies between guest RAM and our memory (or RAM and RAM) in ascending order, with the host's
/// string instruction: no vector register is touched.
BHYVE_RAM_ACCESS void ram_copy(void* to, const void* from, usize n) noexcept {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

BHYVE_RAM_ACCESS void ram_fill(void* to, u8 value, usize n) noexcept {
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
}

}  // namespace bhyve::mem
