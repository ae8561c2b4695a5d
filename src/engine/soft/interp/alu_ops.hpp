#pragma once
#include "engine/soft/cpu.hpp"

/// Integer operations by the host's own instructions, so that every flag, the undefined ones
/// included, is what the host's processor makes of it. Flags travel as LAHF and SETO leave them:
/// AH and AL of one 16-bit word. "In" forms give them to the host first: ADD AL,7Fh makes OF of
/// AL's 0 or 1, SAHF the rest.
namespace bhyve::soft::alu {

#define BHYVE_FLAGS_OUT "\n\tlahf\n\tseto %%al"
#define BHYVE_FLAGS_IN "addb $0x7f, %%al\n\tsahf\n\t"

/// Operations that only make flags.
#define BHYVE_BINARY(Name, text)                                                         \
  struct Name final {                                                                    \
    static constexpr bool writes = true;                                                 \
    template <class T>                                                                   \
    static T run(T a, T b, PackedFlags& f) {                                             \
      u32 ax;                                                                            \
      asm(text " %[b], %[a]" BHYVE_FLAGS_OUT                                             \
          : [a] "+q"(a), "=&a"(ax)                                                       \
          : [b] "q"(b)                                                                   \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
    template <class T>                                                                   \
    static void locked(T* p, T b, PackedFlags& f) {                                      \
      u32 ax;                                                                            \
      asm volatile("lock " text " %[b], %[p]" BHYVE_FLAGS_OUT                            \
                   : [p] "+m"(*p), "=&a"(ax)                                             \
                   : [b] "q"(b)                                                          \
                   : "cc", "memory");                                                    \
      f = static_cast<PackedFlags>(ax);                                                  \
    }                                                                                    \
  }

/// Operations that also take CF.
#define BHYVE_BINARY_CARRY(Name, text)                                                   \
  struct Name final {                                                                    \
    static constexpr bool writes = true;                                                 \
    template <class T>                                                                   \
    static T run(T a, T b, PackedFlags& f) {                                             \
      u32 ax = f;                                                                        \
      asm("btl $8, %[ax]\n\t" text " %[b], %[a]" BHYVE_FLAGS_OUT                         \
          : [a] "+q"(a), [ax] "+a"(ax)                                                   \
          : [b] "q"(b)                                                                   \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
    template <class T>                                                                   \
    static void locked(T* p, T b, PackedFlags& f) {                                      \
      u32 ax = f;                                                                        \
      asm volatile("btl $8, %[ax]\n\tlock " text " %[b], %[p]" BHYVE_FLAGS_OUT           \
                   : [p] "+m"(*p), [ax] "+a"(ax)                                         \
                   : [b] "q"(b)                                                          \
                   : "cc", "memory");                                                    \
      f = static_cast<PackedFlags>(ax);                                                  \
    }                                                                                    \
  }

BHYVE_BINARY(Add, "add");
BHYVE_BINARY(Or, "or");
BHYVE_BINARY(And, "and");
BHYVE_BINARY(Sub, "sub");
BHYVE_BINARY(Xor, "xor");
BHYVE_BINARY_CARRY(Adc, "adc");
BHYVE_BINARY_CARRY(Sbb, "sbb");

#define BHYVE_COMPARE(Name, text)                                                        \
  struct Name final {                                                                    \
    static constexpr bool writes = false;                                                \
    template <class T>                                                                   \
    static T run(T a, T b, PackedFlags& f) {                                             \
      u32 ax;                                                                            \
      asm(text " %[b], %[a]" BHYVE_FLAGS_OUT                                             \
          : "=&a"(ax)                                                                    \
          : [a] "q"(a), [b] "q"(b)                                                       \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
    template <class T>                                                                   \
    static void locked(T*, T, PackedFlags&) {}                                           \
  }
BHYVE_COMPARE(Cmp, "cmp");
BHYVE_COMPARE(Test, "test");

#define BHYVE_UNARY(Name, text, flags_out)                                               \
  struct Name final {                                                                    \
    template <class T>                                                                   \
    static T run(T a, PackedFlags& f) {                                                  \
      u32 ax = f;                                                                        \
      asm("btl $8, %[ax]\n\t" text " %[a]" flags_out                                     \
          : [a] "+q"(a), [ax] "+a"(ax)                                                   \
          :                                                                              \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
    template <class T>                                                                   \
    static void locked(T* p, PackedFlags& f) {                                           \
      u32 ax = f;                                                                        \
      if constexpr (sizeof(T) == 1)                                                      \
        asm volatile("btl $8, %[ax]\n\tlock " text "b %[p]" flags_out                    \
                     : [p] "+m"(*p), [ax] "+a"(ax) : : "cc", "memory");                  \
      else if constexpr (sizeof(T) == 2)                                                 \
        asm volatile("btl $8, %[ax]\n\tlock " text "w %[p]" flags_out                    \
                     : [p] "+m"(*p), [ax] "+a"(ax) : : "cc", "memory");                  \
      else if constexpr (sizeof(T) == 4)                                                 \
        asm volatile("btl $8, %[ax]\n\tlock " text "l %[p]" flags_out                    \
                     : [p] "+m"(*p), [ax] "+a"(ax) : : "cc", "memory");                  \
      else                                                                               \
        asm volatile("btl $8, %[ax]\n\tlock " text "q %[p]" flags_out                    \
                     : [p] "+m"(*p), [ax] "+a"(ax) : : "cc", "memory");                  \
      f = static_cast<PackedFlags>(ax);                                                  \
    }                                                                                    \
  }
BHYVE_UNARY(Inc, "inc", BHYVE_FLAGS_OUT);
BHYVE_UNARY(Dec, "dec", BHYVE_FLAGS_OUT);
BHYVE_UNARY(Neg, "neg", BHYVE_FLAGS_OUT);
BHYVE_UNARY(Not, "not", "");

/// Shifts and rotates by CL: flags go in, because a count of zero and the rotates keep some.
#define BHYVE_SHIFT(Name, text)                                                          \
  struct Name final {                                                                    \
    template <class T>                                                                   \
    static T run(T a, u8 count, PackedFlags& f) {                                        \
      u32 ax = f;                                                                        \
      asm(BHYVE_FLAGS_IN text " %%cl, %[a]" BHYVE_FLAGS_OUT                              \
          : [a] "+q"(a), "+a"(ax)                                                        \
          : "c"(count)                                                                   \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
  }
BHYVE_SHIFT(Shl, "shl");
BHYVE_SHIFT(Shr, "shr");
BHYVE_SHIFT(Sar, "sar");
BHYVE_SHIFT(Rol, "rol");
BHYVE_SHIFT(Ror, "ror");
BHYVE_SHIFT(Rcl, "rcl");
BHYVE_SHIFT(Rcr, "rcr");

#define BHYVE_DOUBLE_SHIFT(Name, text)                                                   \
  struct Name final {                                                                    \
    template <class T>                                                                   \
    static T run(T a, T b, u8 count, PackedFlags& f) {                                   \
      u32 ax = f;                                                                        \
      asm(BHYVE_FLAGS_IN text " %%cl, %[b], %[a]" BHYVE_FLAGS_OUT                        \
          : [a] "+r"(a), "+a"(ax)                                                        \
          : "c"(count), [b] "r"(b)                                                       \
          : "cc");                                                                       \
      f = static_cast<PackedFlags>(ax);                                                  \
      return a;                                                                          \
    }                                                                                    \
  }
BHYVE_DOUBLE_SHIFT(Shld, "shld");
BHYVE_DOUBLE_SHIFT(Shrd, "shrd");

/// Condition codes in encoding order (SDM vol. 1, appendix B).
[[nodiscard]] inline bool condition(unsigned cc, PackedFlags f) {
  const bool cf = f & 0x100, zf = f & 0x4000, sf = f & 0x8000, pf = f & 0x400, of = f & 1;
  bool r = false;
  switch (cc >> 1) {
    case 0: r = of; break;
    case 1: r = cf; break;
    case 2: r = zf; break;
    case 3: r = cf || zf; break;
    case 4: r = sf; break;
    case 5: r = pf; break;
    case 6: r = sf != of; break;
    case 7: r = zf || sf != of; break;
  }
  return r != (cc & 1);
}
template <unsigned Cc>
[[nodiscard]] inline bool condition(PackedFlags f) {
  return condition(Cc, f);
}

}  // namespace bhyve::soft::alu
