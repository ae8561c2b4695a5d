#include "engine/soft/direct/sensitive_code.hpp"

#include <algorithm>
#include <array>

#include "base/types.hpp"
#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/parse.hpp"
#include "mem/ram_access.hpp"

namespace bhyve::soft {

namespace {

constexpr u8 escape = 0x0f, int_n = 0xcd;

constexpr u8 reg_field(u8 modrm) { return modrm >> 3 & 7; }
constexpr bool is_register(u8 modrm) { return modrm >= 0xc0; }

/// INT 80h comes into the host's kernel, which keeps half of RAX.
constexpr Sensitive int_kind(u8 vector) { return vector == 0x80 ? Sensitive::other : Sensitive::none; }

/// Group 7 (SDM vol. 2, table A-6).
Sensitive system_kind(u8 modrm) {
  const unsigned reg = reg_field(modrm);
  if (!is_register(modrm)) return reg <= 1 || reg == 4 ? Sensitive::other : Sensitive::none;  // SGDT, SIDT, SMSW
  switch (modrm) {
    case 0xd0: return Sensitive::xstate;                                                   // XGETBV
    case 0xc1: case 0xd4: case 0xd9: return Sensitive::other;                              // VMCALL, VMFUNC, VMMCALL
    case 0xee: case 0xef: return Sensitive::pkru;
    default: return reg == 4 ? Sensitive::other : Sensitive::none;                         // SMSW
  }
}

/// What the bytes behind a 0Fh may be. `before` are the two bytes before it.
Sensitive kind_of(const u8* before, u8 opcode, u8 modrm) {
  const unsigned reg = reg_field(modrm);
  const auto when = [](bool condition, Sensitive kind) { return condition ? kind : Sensitive::none; };
  switch (opcode) {
    case 0x00: return when(reg <= 1 || reg == 4 || reg == 5, Sensitive::other);                  // SLDT, STR, VERR, VERW
    case 0x01: return system_kind(modrm);
    case 0x02: case 0x03:                                                                        // LAR, LSL
    case 0x34:                                                                                   // SYSENTER
    case 0xa1: case 0xa9: case 0xb2: case 0xb4: case 0xb5: return Sensitive::other;              // POP FS ... LGS
    case 0xa2: return Sensitive::cpuid;
    case 0xae: return when(!is_register(modrm) && reg >= 4 && reg <= 6, Sensitive::xstate);      // XSAVE ...
    case 0xc7:
      if (!is_register(modrm)) return when(reg >= 3 && reg <= 5, Sensitive::xstate);             // XSAVEC ...
      // RDPID is F3 (REX) 0F C7 /7; RDSEED has no F3.
      return when(reg == 7 && (before[1] == 0xf3 || (before[0] == 0xf3 && before[1] >> 4 == 4)),
                  Sensitive::other);
    default: return Sensitive::none;
  }
}

/// The bytes of `word` that are `byte` have their highest bit set.
u64 equal_bytes(u64 word, u8 byte) {
  constexpr u64 ones = 0x0101'0101'0101'0101, high = 0x8080'8080'8080'8080;
  const u64 v = word ^ ones * byte;
  return ~(((v & ~high) + ~high) | v) & high;
}

constexpr bool is_prefix(u8 byte) {
  switch (byte) {
    case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: case 0x66: case 0x67:
    case 0xf0: case 0xf2: case 0xf3: return true;
    default: return false;
  }
}

/// Decodes up to an opcode from several places before it.
class Sweep final {
 public:
  /// `previous`: the page before, or nullptr.
  Sweep(const std::byte* page, const std::byte* previous, unsigned opcode)
      : opcode_(window), begin_(opcode < window && !previous ? window - opcode : 0) {
    const unsigned before = opcode < window ? window - opcode : 0;  // bytes of the previous page
    if (previous) mem::ram_copy(bytes_.data(), previous + page_size - before, before);
    const unsigned from = opcode + before - window;
    mem::ram_copy(&bytes_[before], page + from, std::min<usize>(bytes_.size() - before, page_size - from));
  }
  /// An instruction has its opcode there, as at least three quarters of those that decode without an error say.
  static constexpr unsigned window = 48;  ///< bytes before it that are looked at
  [[nodiscard]] bool is_instruction() {
    unsigned came = 0, arrived = 0;
    for (unsigned start = begin_; start < begin_ + starts && start <= opcode_; ++start) {
      const Verdict v = from(start);
      came += v != Verdict::lost;
      arrived += v == Verdict::arrives;
    }
    return came == 0 || arrived * 4 >= came * 3;
  }

 private:
  enum class Verdict : u8 { unknown, lost, passes, arrives };
  static constexpr unsigned starts = 16, longest = 15;

  [[nodiscard]] Verdict from(unsigned start) {
    if (start > opcode_) return Verdict::passes;
    Verdict& known = verdicts_[start];
    if (known == Verdict::unknown) known = look(start);
    return known;
  }
  [[nodiscard]] Verdict look(unsigned start) {
    unsigned behind = start;
    while (behind < opcode_ && is_prefix(bytes_[behind])) ++behind;
    if (behind < opcode_ && bytes_[behind] >> 4 == 4) ++behind;  // REX
    if (behind == opcode_) return Verdict::arrives;
    const u8* at = &bytes_[start];
    if (at[0] == escape && (at[1] == 0x0b || at[1] == 0xa2)) return from(start + 2);  // UD2, CPUID
    Parsed parsed;
    if (!parse(CodeSize::bits64, at, longest, parsed)) return Verdict::lost;
    return from(start + parsed.length);
  }

  const unsigned opcode_, begin_;  ///< places in bytes_
  std::array<u8, window + longest + 1> bytes_{};
  std::array<Verdict, window + 1> verdicts_{};
};

}  // namespace

SensitiveCode find_sensitive(const std::byte* page, const std::byte* next, const std::byte* previous) {
  SensitiveCode all;
  const auto at = [&](usize n) {
    return n < page_size ? mem::ram_load<u8>(page + n) : next ? mem::ram_load<u8>(next + (n - page_size)) : u8{0};
  };
  const auto before_it = [&](usize k, unsigned back) {
    if (k >= back) return at(k - back);
    return previous ? mem::ram_load<u8>(previous + (page_size + k - back)) : u8{0xf3};
  };
  for (usize n = 0; n < page_size; n += 8) {
    const u64 word = mem::ram_load<u64>(page + n);
    for (u64 found = equal_bytes(word, escape) | equal_bytes(word, int_n); found; found &= found - 1) {
      const usize k = n + static_cast<unsigned>(__builtin_ctzll(found)) / 8;
      const u8 before[] = {before_it(k, 2), before_it(k, 1)};
      Sensitive kind = Sensitive::other;
      if (next || k + 2 < page_size) kind = at(k) == int_n ? int_kind(at(k + 1)) : kind_of(before, at(k + 1), at(k + 2));
      all.by_next |= next && k + 2 >= page_size;
      all.by_previous |= previous && (k < 2 || (k < Sweep::window && kind != Sensitive::none));
      if (kind == Sensitive::none || has(all.kinds, kind)) continue;
      if (Sweep(page, previous, static_cast<unsigned>(k)).is_instruction()) all.kinds = all.kinds | kind;
    }
  }
  return all;
}

}  // namespace bhyve::soft
