#pragma once
#include <array>
#include <span>
#include <string>

#include "base/types.hpp"
#include "x86/registers.hpp"

/// Differential instruction test: one instruction (or a few) with its inputs, run by the host CPU and
/// by a configuration under test at the same linear addresses.
namespace bhyve::test::diff {

/// The mode of both sides; the host runs everything at CPL 3.
enum class Mode : u8 {
  user64,
  user32,    ///< compatibility mode
  user16,    ///< 16-bit segments with bases and limits of their own (code_base(), data_base())
  kernel64,  ///< the guest's CPL is 0: what is not privileged does the same there
};

/// Linear layout: two pages of code, four pages of data, nothing mapped between and around.
inline constexpr u64 window = 0x2000'0000, window_size = 2 * MiB;
inline constexpr u64 code = window + 0x4'0000, code_size = 2 * page_size;
inline constexpr u64 data = window + 0x10'0000, data_size = 4 * page_size;

/// What is not 64-bit code: eight registers of 32 bits, no REX.
[[nodiscard]] constexpr bool legacy(Mode m) { return m == Mode::user32 || m == Mode::user16; }
/// Bases of CS, and of DS, ES and SS. State::rip is linear, registers are offsets.
[[nodiscard]] constexpr u64 code_base(Mode m) { return m == Mode::user16 ? code : 0; }
[[nodiscard]] constexpr u64 data_base(Mode m) { return m == Mode::user16 ? data : 0; }
inline constexpr u32 data_limit16 = 0xffff;

/// XSAVE area in Intel's standard layout (the one of VcpuState).
using Vectors = std::array<u8, 2688>;
namespace vectors {
inline constexpr usize fcw = 0, fsw = 2, ftw = 4, mxcsr = 24, st = 32, xmm = 160, xstate_bv = 512,
                       ymm_hi = 576, opmask = 1088, zmm_hi256 = 1152, hi16_zmm = 1664;
}

/// The code pages are full of HLT, which is #GP at CPL 3: the normal end. What an instruction reads
/// of them is the same on both sides.
inline constexpr u8 hlt = 0xf4;
inline constexpr usize text_size = 192, longest = text_size - 16;
/// The instructions (up to `longest` bytes) and HLTs behind them.
[[nodiscard]] std::array<u8, text_size> code_text(std::span<const u8> bytes);

struct State final {
  std::array<u64, x86::gpr_count> gpr{};
  u64 rip = 0;
  u64 flags = 0;
  alignas(64) Vectors vectors{};
};

/// What came out: the state, and the fault that ended the instruction.
struct After final {
  static constexpr int none = -1;
  State state;
  int vector = none;  ///< exception vector
  u64 error = 0;      ///< its error code, as far as both sides have it
  u64 cr2 = 0;        ///< #PF only
};

/// RFLAGS bits that are compared.
inline constexpr u64 compared_flags = x86::rflags::arithmetic | x86::rflags::df;

/// XCR0 components that the host has and a guest may have.
[[nodiscard]] u64 components();

/// Components that XSTATE_BV calls initial get their initial bytes; what is not compared (FIP, FDP,
/// FOP, MXCSR_MASK, reserved) becomes zero.
void normalise(Vectors& v);

}  // namespace bhyve::test::diff
