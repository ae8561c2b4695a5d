#pragma once
// Included before everything else in every file of this library (CMakeLists.txt).
//
// The guest's vector registers may be live in the host's while this library's code runs, and -mgeneral-regs-only
// keeps the compiler from them; but libc's memset() and its kin use them as they like. So calls of those,
// the compiler's own ones included, lead to functions with general registers only.
#include <stddef.h>

extern "C" {
void* memcpy(void* to, const void* from, size_t n) noexcept __asm__("bhyve_plain_memcpy");
void* memmove(void* to, const void* from, size_t n) noexcept __asm__("bhyve_plain_memmove");
void* memset(void* to, int value, size_t n) noexcept __asm__("bhyve_plain_memset");
int memcmp(const void* a, const void* b, size_t n) noexcept __asm__("bhyve_plain_memcmp");
}
