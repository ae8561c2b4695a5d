// The same guest code by every executor: instruction by instruction, by interpreted blocks, and
// translated. Either the input's bytes are the code, or they choose a program of mostly valid
// instructions. Registers, flags, memory, what devices saw and how it ended must be the same.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fuzz/executor_code.hpp"
#include "fuzz/executor_machine.hpp"
#include "fuzz/fuzz.hpp"

namespace {

using namespace bhyve;
using namespace bhyve::fuzz;
using engine::VcpuState;

constexpr u64 max_steps = 600;
constexpr unsigned hang_seconds = 600;  // of a loaded machine

struct Case final {
  Mode mode;
  u64 seed;
  std::span<const u8> code;
};

[[noreturn]] void differ(const Case& c, unsigned executor, const char* what, u64 wanted, u64 got) {
  constexpr const char* names[] = {"steps", "blocks", "translated"};
  std::fprintf(stderr, "mode %u seed %#llx: %s: %s is %#llx, with steps %#llx\ncode:",
               static_cast<unsigned>(c.mode), static_cast<unsigned long long>(c.seed),
               names[executor], what, static_cast<unsigned long long>(got),
               static_cast<unsigned long long>(wanted));
  for (const u8 b : c.code) std::fprintf(stderr, " %02x", b);
  std::fprintf(stderr, "\n");
  std::abort();
}

/// Where an exception's frame has RFLAGS; 0 when the run did not end in a handler of ours.
u64 frame_flags_at(const VcpuState& s) {
  if (s.rip <= at::handlers || s.rip >= at::handlers + 0x1000) return 0;
  const u64 vector = (s.rip - at::handlers) / 16;
  const auto& ss = s.seg[static_cast<u8>(x86::Seg::ss)];
  const bool error = x86::has_error_code(static_cast<x86::Vector>(vector)) && s.cr0 & x86::cr0::pe;
  if (!(s.cr0 & x86::cr0::pe)) return ss.base + ((s.gpr[4] + 4) & 0xffff);
  const u64 word = s.efer & x86::efer::lma ? 8 : 4;
  return (s.gpr[4] + word * (2 + error)) & 0xffff'ffff;
}

class Comparison final {
 public:
  Comparison(const Case& c, unsigned executor, const Machine& wanted, const Machine& got,
             bool faulted)
      : case_(c), executor_(executor), wanted_(wanted), got_(got), faulted_(faulted) {}

  void all() const {
    const VcpuState &w = wanted_.after(), &g = got_.after();
    constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    equal("rip", w.rip, g.rip);
    for (unsigned n = 0; n < 16; ++n) equal(names[n], w.gpr[n], g.gpr[n]);
    // Flags that are dead in a block are not kept, which a fault in between shows.
    const u64 dead = faulted_ ? x86::rflags::arithmetic : 0;
    equal("rflags", w.rflags & ~dead, g.rflags & ~dead);
    equal("cr0", w.cr0, g.cr0), equal("cr2", w.cr2, g.cr2), equal("cr3", w.cr3, g.cr3);
    equal("cr4", w.cr4, g.cr4), equal("efer", w.efer, g.efer), equal("xcr0", w.xcr0, g.xcr0);
    equal("dr6", w.dr6, g.dr6), equal("dr7", w.dr7, g.dr7);
    for (unsigned n = 0; n < w.seg.size(); ++n)
      if (!(w.seg[n] == g.seg[n]))
        equal("segment", n << 16 | w.seg[n].selector, n << 16 | g.seg[n].selector | 1u << 31);
    equal("gdtr", w.gdtr.base, g.gdtr.base), equal("idtr", w.idtr.base, g.idtr.base);
    equal("interrupt shadow", w.interrupt_shadow, g.interrupt_shadow);
    equal("devices", wanted_.devices().seen(), got_.devices().seen());
    vectors();
    memory();
  }

 private:
  void equal(const char* what, u64 wanted, u64 got) const {
    if (wanted != got) differ(case_, executor_, what, wanted, got);
  }
  void vectors() const {
    for (usize n = 0; n < VcpuState::xsave_size; ++n) {
      if (n == 512) continue;  // XSTATE_BV: in use or not is each executor's own
      if (wanted_.after().xsave[n] != got_.after().xsave[n])
        equal("vector state", n << 8 | wanted_.after().xsave[n], n << 8 | got_.after().xsave[n]);
    }
  }
  void memory() const {
    const auto w = wanted_.memory(), g = got_.memory();
    if (std::memcmp(w.data(), g.data(), w.size()) == 0) return;
    const u64 frame = faulted_ ? frame_flags_at(wanted_.after()) : 0;
    if (faulted_ && !frame) return;  // tables of its own: where the frame is, is not known
    for (usize n = 0; n < w.size(); ++n) {
      if (w[n] == g[n]) continue;
      u64 free = n - frame < 2 ? x86::rflags::arithmetic >> 8 * (n - frame) : 0;
      // A page may count as accessed when an instruction that would access it was never reached; as
      // dirty, when its store turned out to be unaligned (#GP).
      if (n >= at::page_tables && n < at::page_tables_end && n % 4 == 0)
        free |= g[n] & (x86::pte::a | (faulted_ ? x86::pte::d : 0));
      if ((w[n] ^ g[n]) & ~free) equal("memory", u64{n} << 8 | w[n], u64{n} << 8 | g[n]);
    }
  }

  const Case& case_;
  unsigned executor_;
  const Machine &wanted_, &got_;
  bool faulted_;
};

/// One code from one state. False: it did not come to an end that can be compared.
bool run_all(const Case& c) {
  static std::array<Machine, static_cast<u8>(Executor::count)> machines{
      Machine(Executor::steps), Machine(Executor::blocks), Machine(Executor::translated)};
  const VcpuState state = first_state(c.mode, c.seed);
  const Ending wanted = machines[0].run(state, c.code, max_steps);
  if (wanted.kind == Ending::Kind::unbounded || wanted.kind == Ending::Kind::unpredictable)
    return false;
  for (unsigned n = 1; n < machines.size(); ++n) {
    const Ending got = machines[n].run(state, c.code, max_steps);
    if (got.kind != wanted.kind)
      differ(c, n, "end", static_cast<u64>(wanted.kind), static_cast<u64>(got.kind));
    if (got.faults != wanted.faults) differ(c, n, "faults", wanted.faults, got.faults);
    if (wanted.kind == Ending::Kind::triple_fault) continue;  // the state is nobody's
    Comparison(c, n, machines[0], machines[n], wanted.faults != 0).all();
  }
  return true;
}

}  // namespace

std::vector<std::vector<u8>> fuzz_seeds() {
  std::vector<std::vector<u8>> seeds;
  constexpr u8 generated = 0x80;
  for (u8 mode = 0; mode < static_cast<u8>(Mode::count); ++mode) {
    seeds.push_back(
        {mode, 1, 0x10, 0x22, 0xff, 3, 0x41, 0x80, 7, 0x48, 0x89, 0x03, 0xf3, 0xa4, 0x0f, 0xa2});
    seeds.push_back(
        {mode, 1, 2, 3, 4, 5, 6, 7, 8, 0x0f, 0x10, 0x03, 0xd9, 0xe8, 0xdd, 0x33, 0x9b, 0x9d});
    seeds.push_back(
        {mode, 1, 2, 3, 4, 5, 6, 7, 8, 0x8b, 0x07, 0x01, 0x06, 0x75, 0xfa, 0xe2, 0xf8, 0xcd, 3});
    seeds.push_back(
        {mode, 8, 7, 6, 5, 4, 3, 2, 1, 0x60, 0x9c, 0xc8, 8, 0, 3, 0xc9, 0x61, 0x27, 0xd4, 10});
    for (u8 n = 0; n < 6; ++n)
      seeds.push_back(
          {static_cast<u8>(generated | mode), n, 1, 2, 3, 4, 5, 6, 7, n, 2, 3, 4, 5, 6, 7, 8});
  }
  // Programs do not change little by little: as many different ones as there is time for.
  u64 x = 1;
  for (unsigned n = 0; n < 2000; ++n) {
    std::vector<u8> seed(17);
    seed[0] = static_cast<u8>(generated | n % static_cast<u8>(Mode::count));
    for (usize k = 1; k < seed.size(); ++k) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      seed[k] = static_cast<u8>(x);
    }
    seeds.push_back(seed);
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const u8* data, usize size) {
  if (size < 17 || size > 300) return 0;
  ::alarm(hang_seconds);
  const bool generated = data[0] & 0x80;
  Mode mode = static_cast<Mode>((data[0] & 0x7f) % static_cast<u8>(Mode::count));
  u64 seed, program_seed;
  std::memcpy(&seed, data + 1, 8);
  std::memcpy(&program_seed, data + 9, 8);
  std::vector<u8> program(data + 9, data + size);
  if (generated) {
    if (!is_64(mode) && mode != Mode::compat32 && mode != Mode::flat32) mode = Mode::kernel64;
    program = make_program(mode, program_seed);
  }
  // Twice: what was translated meets other registers.
  for (unsigned n = 0; n < 2; ++n)
    if (!run_all({mode, seed + n * 0x1'0001, program})) break;
  ::alarm(0);
  return 0;
}
