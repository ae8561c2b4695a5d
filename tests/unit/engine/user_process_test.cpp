// Code in a process of its own: what stops it, what comes back, and that it reaches nothing.
#include "engine/soft/direct/user_process.hpp"

#include <sys/syscall.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "user_process_fixture.hpp"

namespace bhyve::soft {
namespace {

using Bytes = std::vector<u8>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
template <class T>
Bytes little(T value) {
  Bytes all(sizeof value);
  std::memcpy(all.data(), &value, sizeof value);
  return all;
}
/// mov eax, n
Bytes load_eax(u32 n) { return Bytes{0xb8} + little(n); }
/// mov r, n
Bytes load_rax(u64 n) { return Bytes{0x48, 0xb8} + little(n); }
Bytes load_rbx(u64 n) { return Bytes{0x48, 0xbb} + little(n); }
Bytes load_r12(u64 n) { return Bytes{0x49, 0xbc} + little(n); }
const Bytes ud2{0x0f, 0x0b}, system_call{0x0f, 0x05}, jump_rax{0xff, 0xe0}, read_rax{0x8a, 0x00},
    write_rax{0x88, 0x00};
constexpr int kernels_own = SI_KERNEL;

class UserStopTest : public UserProcessTest {};

TEST_F(UserStopTest, RegistersComeAndGo) {
  load(Bytes{0x48, 0xff, 0xc0,         // inc rax
        0x4d, 0x8d, 0x7f, 0x02,        // lea r15, [r15 + 2]
        0x48, 0x89, 0x1f,              // mov [rdi], rbx
        0xf9,                          // stc
        0xfd} + ud2);                  // std
  registers.rax = 41, registers.r15 = 98, registers.rbx = 0x1234'5678'9abc'def0, registers.rdi = data + 8;
  registers.fs_base = 0x1000, registers.gs_base = 0x7000'0000'0000;
  const auto stop = run();
  EXPECT_EQ(stop.why, Why::signal);
  EXPECT_EQ(stop.signal, SIGILL);
  EXPECT_EQ(registers.rax, 42u);
  EXPECT_EQ(registers.r15, 100u);
  EXPECT_EQ(registers.rip, code + 12);
  EXPECT_EQ(registers.eflags & 0x401, 0x401u);
  EXPECT_EQ(registers.fs_base, 0x1000u);
  EXPECT_EQ(registers.gs_base, 0x7000'0000'0000u);
  EXPECT_EQ(registers.ds | registers.es | registers.fs | registers.gs, 0u);
  u64 stored = 0;
  std::memcpy(&stored, ram + data_offset + 8, sizeof stored);
  EXPECT_EQ(stored, 0x1234'5678'9abc'def0u);
}

TEST_F(UserStopTest, BasesInTheUpperHalfComeBackButDoNotGo) {
  constexpr u64 high = 0xffff'8000'0000'1000;
  load(load_rax(high) + Bytes{0xf3, 0x48, 0x0f, 0xae, 0xd0} + ud2);  // wrfsbase rax
  EXPECT_EQ(run().signal, SIGILL);
  EXPECT_EQ(registers.fs_base, high);
  EXPECT_EQ(run().why, Why::lost);
}

TEST_F(UserStopTest, VectorRegistersComeAndGo) {
  load(Bytes{0x66, 0x0f, 0xd4, 0xc0,   // paddq xmm0, xmm0
             0xd9, 0xe8} + ud2);       // fld1
  const u64 value = 21;
  std::memcpy(&xsave[160], &value, sizeof value);
  EXPECT_EQ(run().signal, SIGILL);
  u64 twice = 0;
  std::memcpy(&twice, &xsave[160], sizeof twice);
  EXPECT_EQ(twice, 42u);
  u16 exponent = 0, status = 0;
  std::memcpy(&status, &xsave[2], sizeof status);
  std::memcpy(&exponent, &xsave[32 + 8], sizeof exponent);
  EXPECT_EQ(status >> 11 & 7, 7);
  EXPECT_EQ(exponent, 0x3fff);
  // Nothing stays behind in the process.
  std::memset(&xsave[160], 0, 16);
  EXPECT_EQ(run(Bytes{0x66, 0x48, 0x0f, 0x7e, 0xc0} + ud2).signal, SIGILL);  // movq rax, xmm0
  EXPECT_EQ(registers.rax, 0u);
}

TEST_F(UserStopTest, ExceptionsOfTheHost) {
  const auto stops = [this](const Bytes& bytes, int signal, int si_code, u64 length) {
    const auto stop = run(bytes);
    EXPECT_EQ(stop.why, Why::signal);
    EXPECT_EQ(stop.signal, signal);
    EXPECT_EQ(stop.code, si_code);
    EXPECT_EQ(registers.rip, code + length);
  };
  stops({0xcc}, SIGTRAP, kernels_own, 1);              // int3
  stops({0xcd, 0x03}, SIGTRAP, kernels_own, 2);
  stops({0xf1}, SIGTRAP, TRAP_BRKPT, 1);               // int1
  stops({0x31, 0xc9, 0xf7, 0xf1}, SIGFPE, FPE_INTDIV, 2);  // xor ecx, ecx; div ecx
  stops({0xf4}, SIGSEGV, kernels_own, 0);              // hlt
  stops({0x0f, 0x31}, SIGSEGV, kernels_own, 0);        // rdtsc
  stops({0x0f, 0x01, 0xf9}, SIGSEGV, kernels_own, 0);  // rdtscp
  stops({0x0f, 0x33}, SIGSEGV, kernels_own, 0);        // rdpmc
}

TEST_F(UserStopTest, SingleStepsAreTold) {
  load({0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0x90});  // pushfq; or [rsp], 100h; popfq; nop; nop
  const auto stop = run();
  EXPECT_EQ(stop.signal, SIGTRAP);
  EXPECT_EQ(stop.code, TRAP_TRACE);
  EXPECT_EQ(registers.rip, code + 10);
}

TEST_F(UserStopTest, NothingElseIsMapped) {
  static const u64 ours = 0x1122;
  for (const u64 address : {u64{0}, u64{0x1000}, code - 1, code + page_size, data - 1, data + page_size,
                            reinterpret_cast<u64>(&ours), reinterpret_cast<u64>(ram),
                            UserProcess::service_begin - 1, UserProcess::service_end,
                            UserProcess::user_end - 1}) {
    const auto stop = run(load_rax(address) + read_rax + ud2);
    EXPECT_EQ(stop.signal, SIGSEGV) << std::hex << address;
    EXPECT_EQ(stop.address, address);
    EXPECT_EQ(registers.rip, code + 10);
  }
  EXPECT_EQ(mappings(process->pid()).size(), 2u + 2u) << "service code, commands; code, data";
}

TEST_F(UserStopTest, RightsAreKept) {
  EXPECT_EQ(run(load_rax(code) + read_rax + ud2).signal, SIGILL);
  EXPECT_EQ(run(load_rax(code) + write_rax + ud2).address, code);
  EXPECT_EQ(run(load_rax(data) + write_rax + ud2).signal, SIGILL);
  EXPECT_EQ(run(load_rax(data) + jump_rax).address, data);
  for (u64 at = UserProcess::service_begin; at < UserProcess::service_end; at += page_size) {
    const auto stop = run(load_rax(at) + write_rax + ud2);
    EXPECT_EQ(stop.signal, SIGSEGV);
    EXPECT_EQ(stop.address, at);
  }
}

TEST_F(UserStopTest, WhatIsUnmappedIsGone) {
  ASSERT_EQ(run(load_rax(data) + read_rax + ud2).signal, SIGILL);
  registers.rip = code;
  process->unmap(data, page_size);
  ASSERT_TRUE(process->apply());
  EXPECT_EQ(run().address, data);
}

TEST_F(UserStopTest, ManyMappingsAtOnce) {
  load(load_rax(data + 999 * page_size) + read_rax + ud2);
  ram[data_offset] = 77;
  for (u64 n = 0; n < 1000; ++n) process->map(data + n * page_size, page_size, data_offset, false, false);
  ASSERT_TRUE(process->apply());
  EXPECT_EQ(run().signal, SIGILL);
  EXPECT_EQ(registers.rax & 0xff, 77u);
}

TEST_F(UserStopTest, CommandsAreNotThereForUsers) {
  load(load_rax(UserProcess::commands_at + 24) + Bytes{0x48, 0x8b, 0x00} + ud2);  // mov rax, [rax]
  EXPECT_EQ(run().signal, SIGILL);
  EXPECT_EQ(registers.rax, 0u);
}

/// A system call that code tries: it stops, and nothing has happened.
class UserSystemCallTest : public UserProcessTest {
 protected:
  void has_no_effect(u64 number) {
    const auto before = mappings(process->pid());
    const auto stop = run();
    EXPECT_EQ(stop.why, Why::syscall);
    EXPECT_EQ(registers.rax, number);
    EXPECT_EQ(mappings(process->pid()), before);
    EXPECT_TRUE(exists(process->pid()));
  }
};

TEST_F(UserSystemCallTest, HasNoEffect) {
  for (const u32 number : {SYS_mmap, SYS_munmap, SYS_clone, SYS_exit_group, SYS_execve, SYS_arch_prctl, SYS_close,
                           SYS_pause, SYS_getpid}) {
    load(load_eax(number) + system_call + ud2);
    registers.rdi = data, registers.rsi = page_size, registers.rdx = PROT_READ, registers.r8 = ~0ull;
    registers.r10 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    has_no_effect(number);
    EXPECT_EQ(registers.rip, code + 7);
    EXPECT_EQ(registers.rdi, data);
  }
}

TEST_F(UserSystemCallTest, ByInt80HasNoEffect) {
  constexpr u32 exit32 = 1;
  load(load_eax(exit32) + Bytes{0xcd, 0x80} + ud2);
  has_no_effect(exit32);
}

TEST_F(UserSystemCallTest, BySysenterDoesNotEndTheProcess) {
  load(load_eax(1) + Bytes{0x0f, 0x34} + ud2);
  const auto before = mappings(process->pid());
  EXPECT_NE(run().why, Why::lost);
  EXPECT_EQ(mappings(process->pid()), before);
}

TEST_F(UserSystemCallTest, FromCodeOfOurOwnHasNoEffect) {
  const UserProcess::Command forged{SYS_mmap,
                                    {data + page_size, page_size, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull, 0}};
  load(load_rbx(data) + load_r12(1) + load_rax(UserProcess::service_begin) + jump_rax);
  std::memcpy(ram + data_offset, &forged, sizeof forged);
  has_no_effect(SYS_mmap);
  EXPECT_EQ(registers.rip >> page_shift, UserProcess::service_begin >> page_shift);
  // Nor does what comes behind it, if it goes on there.
  registers.rax = 0;
  EXPECT_EQ(run().signal, SIGTRAP);
}

TEST_F(UserSystemCallTest, OfTheHostsVsyscallPageIsAFaultAtItsEntry) {
  std::ifstream maps("/proc/self/maps");
  const std::string all{std::istreambuf_iterator<char>(maps), {}};
  constexpr u64 gettimeofday = 0xffff'ffff'ff60'0000;
  load(load_rax(gettimeofday) + Bytes{0xff, 0xd0} + ud2);  // call rax
  registers.rdi = data;
  const u64 rsp = registers.rsp;
  const auto stop = run();
  EXPECT_EQ(stop.why, Why::signal);
  EXPECT_EQ(registers.rip, gettimeofday) << "the guest's kernel has a page there, or a fault";
  EXPECT_EQ(registers.rsp, rsp - 8);
  EXPECT_EQ(std::count(ram + data_offset, ram + data_offset + 16, 0), 16);
  if (all.find("[vsyscall]") != std::string::npos) {
    EXPECT_EQ(stop.signal, SIGSYS);
  }
}

class UserControlTest : public UserProcessTest {};

TEST_F(UserControlTest, KickEndsAnEndlessLoop) {
  load({0x48, 0xff, 0xc0, 0xeb, 0xfb});  // 1: inc rax; jmp 1b
  std::atomic<bool> done = false;
  std::thread kicker([&] {
    while (!done) {
      UserProcess::kick(process->pid());
      std::this_thread::yield();
    }
  });
  u64 before = 0;
  for (int n = 0; n < 20; ++n) {
    EXPECT_EQ(run().why, Why::kicked);
    EXPECT_TRUE(registers.rip == code || registers.rip == code + 3);
    EXPECT_GE(registers.rax, before);
    before = registers.rax;
  }
  done = true;
  kicker.join();
}

TEST_F(UserControlTest, KicksDoNotHarmWhatApplyDoes) {
  load(load_rax(data) + read_rax + ud2);
  std::atomic<bool> done = false;
  std::thread kicker([&] {
    while (!done) {
      UserProcess::kick(process->pid());
      std::this_thread::yield();
    }
  });
  bool all = true;
  for (int n = 0; n < 200; ++n) {
    process->unmap(data, page_size);
    process->map(data, page_size, data_offset, true, false);
    all = all && process->apply();
  }
  done = true;
  kicker.join();
  EXPECT_TRUE(all);
  EXPECT_EQ(mappings(process->pid()).size(), 4u);
}

TEST_F(UserControlTest, SignalsFromOutsideAreNoExceptions) {
  load({0xeb, 0xfe});
  for (const int signal : {SIGSEGV, SIGTRAP, SIGILL, SIGTERM, SIGSTOP, SIGHUP}) {
    ASSERT_EQ(::kill(process->pid(), signal), 0);
    EXPECT_EQ(run().why, Why::kicked) << signal;
    EXPECT_EQ(registers.rip, code);
  }
}

TEST_F(UserControlTest, AKilledProcessIsLost) {
  load({0xeb, 0xfe});
  ASSERT_EQ(::kill(process->pid(), SIGKILL), 0);
  EXPECT_EQ(run().why, Why::lost);
  EXPECT_EQ(run().why, Why::lost);
  process->unmap(data, page_size);
  EXPECT_FALSE(process->apply());
}

TEST_F(UserControlTest, TheIdFlagDoesNotStay) {
  constexpr u64 id = u64{1} << 21;
  const Bytes read_flags = Bytes{0x9c, 0x58} + ud2;  // pushfq; pop rax
  ASSERT_EQ(run(read_flags).signal, SIGILL);
  EXPECT_EQ(registers.rax & id, 0u);
  ASSERT_EQ(run(Bytes{0x68, 0x02, 0x02, 0x20, 0x00, 0x9d} + ud2).signal, SIGILL);  // push 200202h; popfq
  EXPECT_EQ(registers.eflags & id, id);
  ASSERT_EQ(run(read_flags).signal, SIGILL);
  EXPECT_EQ(registers.rax & id, 0u);
}

TEST_F(UserControlTest, CpuidStopsItWhereItCan) {
  if (!UserProcess::cpuid_can_fault()) GTEST_SKIP() << "not on this host's processor";
  EXPECT_EQ(run({0x0f, 0xa2, 0x0f, 0x0b}).signal, SIGILL);
  process->let_cpuid_fault(true);
  const auto stop = run({0x0f, 0xa2, 0x0f, 0x0b});
  EXPECT_EQ(stop.signal, SIGSEGV);
  EXPECT_EQ(stop.code, kernels_own);
  EXPECT_EQ(registers.rip, code);
  process->let_cpuid_fault(false);
  EXPECT_EQ(run({0x0f, 0xa2, 0x0f, 0x0b}).signal, SIGILL);
}

}  // namespace
}  // namespace bhyve::soft
