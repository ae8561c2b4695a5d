#include "diff_host.hpp"

#include <asm/ldt.h>
#include <cpuid.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace {

using bhyve::u64;
using bhyve::u8;

// Shared by the assembly below and the signal handler. One thread uses it.
struct HostRun {
  u64 gpr[16];
  u64 flags, target, host_rsp, mask;
  u64 out_gpr[16];
  u64 out_flags;
};
static_assert(offsetof(HostRun, flags) == 128 && offsetof(HostRun, out_gpr) == 160 &&
              offsetof(HostRun, out_flags) == 288);

struct HostFault {
  int vector;
  u64 error, cr2, rip;
};
HostFault fault;
bhyve::u64 code_segment_base = 0;

}  // namespace

extern "C" {
__attribute__((visibility("hidden"))) HostRun diff_run;
__attribute__((visibility("hidden"))) bhyve::u16 diff_ss = 0x2b;
__attribute__((visibility("hidden"))) alignas(64) u8 diff_xsave_in[8192], diff_xsave_out[8192];
__attribute__((visibility("hidden"))) bhyve::u32 diff_default_mxcsr = 0x1f80;
void diff_enter();
void diff_recover();
}

// Loads everything, jumps to the instruction; the handler of its fault, or of the HLT behind it, comes
// back to diff_recover.
asm(R"(
  .text
  .hidden diff_enter, diff_recover
  .globl diff_enter, diff_recover
  .type diff_enter, @function
diff_enter:
  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
  mov %rsp, 144+diff_run(%rip)
  mov 152+diff_run(%rip), %eax
  xor %edx, %edx
  xrstor64 diff_xsave_in(%rip)
  mov diff_ss(%rip), %ss     # 64-bit code does not care; what is jumped to may
  pushq 128+diff_run(%rip)
  popfq
  mov 0+diff_run(%rip), %rax;   mov 8+diff_run(%rip), %rcx
  mov 16+diff_run(%rip), %rdx;  mov 24+diff_run(%rip), %rbx
  mov 32+diff_run(%rip), %rsp;  mov 40+diff_run(%rip), %rbp
  mov 48+diff_run(%rip), %rsi;  mov 56+diff_run(%rip), %rdi
  mov 64+diff_run(%rip), %r8;   mov 72+diff_run(%rip), %r9
  mov 80+diff_run(%rip), %r10;  mov 88+diff_run(%rip), %r11
  mov 96+diff_run(%rip), %r12;  mov 104+diff_run(%rip), %r13
  mov 112+diff_run(%rip), %r14; mov 120+diff_run(%rip), %r15
  ljmpl *136+diff_run(%rip)  # offset of 32 bits, selector
diff_recover:
  cld
  mov 152+diff_run(%rip), %eax
  xor %edx, %edx
  xsave64 diff_xsave_out(%rip)
  fninit
  ldmxcsr diff_default_mxcsr(%rip)
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
  ret
  .size diff_enter, .-diff_enter
)");

namespace bhyve::test::diff {
namespace {

// Linux' selectors.
constexpr bhyve::u16 user_code32 = 0x23, user_data = 0x2b, user_code64 = 0x33;
// Of the LDT that user16 makes.
constexpr bhyve::u16 user_code16 = 0x07, user_data16 = 0x0f;

// Encoding order -> index in gregs.
constexpr std::array gregs{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                           REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

void on_fault(int signal, siginfo_t*, void* context) {
  auto& regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const u64 rip = static_cast<u64>(regs[REG_RIP]) + code_segment_base;
  if (rip < code || rip >= code + code_size) {  // our own bug: die of it
    ::signal(signal, SIG_DFL);
    return;
  }
  fault = {static_cast<int>(regs[REG_TRAPNO]), static_cast<u64>(regs[REG_ERR]),
           static_cast<u64>(regs[REG_CR2]), rip};
  for (usize i = 0; i < gregs.size(); ++i) diff_run.out_gpr[i] = static_cast<u64>(regs[gregs[i]]);
  diff_run.out_flags = static_cast<u64>(regs[REG_EFL]);
  regs[REG_CSGSFS] = (regs[REG_CSGSFS] & greg_t{0xffff'ffff'0000}) | user_code64 |
                     static_cast<greg_t>(u64{user_data} << 48);
  regs[REG_RIP] = reinterpret_cast<greg_t>(&diff_recover);
  regs[REG_RSP] = static_cast<greg_t>(diff_run.host_rsp);
  regs[REG_EFL] = 0x202;
}

void* map_fixed(u64 at, u64 size, int prot, int flags, int fd) {
  void* p = ::mmap(reinterpret_cast<void*>(at), size, prot, flags, fd, 0);
  if (p == MAP_FAILED) throw std::runtime_error("mmap of the test window failed");
  return p;
}

void make_segment(unsigned entry, u64 base, unsigned limit, bool is_code) {
  user_desc d{};
  d.entry_number = entry;
  d.base_addr = static_cast<unsigned>(base);
  d.limit = limit;
  d.contents = is_code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA;
  d.useable = 1;
  constexpr int write_ldt = 1;
  if (::syscall(SYS_modify_ldt, write_ldt, &d, sizeof d) != 0)
    throw std::runtime_error("the host's kernel has no 16-bit segments");
}

void catch_faults() {
  static std::array<u8, 64 * KiB> stack;
  stack_t ss{};
  ss.ss_sp = stack.data();
  ss.ss_size = stack.size();
  ::sigaltstack(&ss, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::sigaction(s, &action, nullptr);
}

u8* make_window() {
  map_fixed(window, window_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
  const int fd = ::memfd_create("diff-code", 0);
  if (fd < 0 || ::ftruncate(fd, code_size) != 0) throw std::runtime_error("memfd for code failed");
  map_fixed(code, code_size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd);
  auto* alias = static_cast<u8*>(map_fixed(0, code_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  ::close(fd);
  map_fixed(data, data_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
  return alias;
}

// XSAVE components with a place of their own, in Intel's layout.
struct Part {
  unsigned component;
  usize at, length;
};
constexpr std::array parts{Part{2, vectors::ymm_hi, 256}, Part{5, vectors::opmask, 64},
                           Part{6, vectors::zmm_hi256, 512}, Part{7, vectors::hi16_zmm, 1024}};

}  // namespace

HostCpu::HostCpu(Mode mode)
    : mode_(mode), code_alias_(make_window()), memory_(reinterpret_cast<u8*>(data), usize{data_size}) {
  std::fill_n(code_alias_, code_size, hlt);
  if (mode == Mode::user32) {
    // 64-bit programs run with null selectors in them.
    asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(u32{user_data}));
  }
  if (mode == Mode::user16) {
    make_segment(0, code, code_size - 1, true);
    make_segment(1, data, data_limit16, false);
    asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(u32{user_data16}));
    diff_ss = user_data16;
    code_segment_base = code;
  }
  catch_faults();
  for (unsigned n = 2; n < offsets_.size(); ++n) {
    u32 a = 0, b = 0, c = 0, d = 0;
    __cpuid_count(0xd, n, a, b, c, d);
    offsets_[n] = b;
  }
  diff_run.mask = components();
}

void HostCpu::load_vectors(const Vectors& v) {
  std::memcpy(diff_xsave_in, v.data(), 576);
  for (const Part& p : parts)
    if (offsets_[p.component])
      std::memcpy(diff_xsave_in + offsets_[p.component], v.data() + p.at, p.length);
  std::memset(diff_xsave_in + vectors::xstate_bv, 0, 64);
  const u64 all = components();
  std::memcpy(diff_xsave_in + vectors::xstate_bv, &all, sizeof all);
}

void HostCpu::store_vectors(Vectors& v) {
  v.fill(0);
  std::memcpy(v.data(), diff_xsave_out, 576);
  for (const Part& p : parts)
    if (offsets_[p.component])
      std::memcpy(v.data() + p.at, diff_xsave_out + offsets_[p.component], p.length);
}

void HostCpu::run(std::span<const u8> bytes, const State& in, After& out) {
  const auto text = code_text(bytes);
  std::copy(text.begin(), text.end(), code_alias_ + (in.rip - code));

  load_vectors(in.vectors);
  std::copy(in.gpr.begin(), in.gpr.end(), diff_run.gpr);
  diff_run.flags = in.flags | x86::rflags::fixed1 | x86::rflags::if_;
  const u64 selector = mode_ == Mode::user16   ? user_code16
                       : mode_ == Mode::user32 ? user_code32
                                               : user_code64;
  diff_run.target = (in.rip - code_base(mode_)) | selector << 32;
  fault = {};
  asm volatile("" ::: "memory");
  diff_enter();
  std::copy(std::begin(diff_run.out_gpr), std::end(diff_run.out_gpr), out.state.gpr.begin());
  out.state.flags = diff_run.out_flags;
  out.state.rip = fault.rip;
  out.vector = fault.vector;
  if (fault.vector == static_cast<int>(x86::Vector::gp) && fault.rip == in.rip + bytes.size())
    out.vector = After::none;
  out.error = fault.error;
  out.cr2 = fault.vector == static_cast<int>(x86::Vector::pf) ? fault.cr2 : 0;
  store_vectors(out.state.vectors);
}

}  // namespace bhyve::test::diff
