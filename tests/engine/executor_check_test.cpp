// cpu.executor=check: a right translation passes, a wrong one is found. The wrong ones are made here, by
// changing bytes of the code that the translator wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "configurations.hpp"
#include "engine/soft/replay/replay.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace bhyve::test {
namespace {

constexpr u64 code_at = 0x10'0000, data_at = 0x20'0000, stack_at = 0x8'0000;
constexpr u16 done_port = port::latch_exit;  // leaves run()

using Bytes = std::vector<u8>;

/// What the guest executes, then: mov edx, port; out dx, al.
Bytes program(Bytes body) {
  for (const int b : {0xba, done_port & 0xff, done_port >> 8, 0, 0, 0xee}) body.push_back(static_cast<u8>(b));
  return body;
}

/// The writable mapping of the process's translated code.
std::span<u8> code_cache() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("bhyve-code") == std::string::npos || line.find(" rw-s ") == std::string::npos) continue;
    std::istringstream fields(line);
    u64 from = 0, to = 0;
    char dash = 0;
    fields >> std::hex >> from >> dash >> to;
    return {reinterpret_cast<u8*>(from), to - from};
  }
  return {};
}

/// Replaces the first such bytes of translated code.
bool change(const Bytes& from, const Bytes& to) {
  const std::span<u8> code = code_cache();
  const auto at = std::search(code.begin(), code.end(), from.begin(), from.end());
  if (at == code.end()) return false;
  std::copy(to.begin(), to.end(), at);
  return true;
}

class ExecutorCheckTest : public ::testing::Test {
 protected:
  ExecutorCheckTest() : machine_(*find_configuration("soft-check"), {}) {}

  /// Runs from the start to the OUT, or to what ends it.
  abi::ExitCode run(const Bytes& code) {
    if (!written_) machine_.write(code_at, code);
    written_ = true;
    auto state = enter_long_mode(machine_, code_at, stack_at);
    state.gpr[6] = data_at;
    state.cr4 |= x86::cr4::osfxsr;
    machine_.vcpu(0).load(engine::StateGroups::all, state);
    engine::Exit exit;
    for (unsigned n = 0; n < 100; ++n) {
      machine_.vcpu(0).run(exit);
      if (exit.code != abi::ExitCode::bogus) return exit.code;
    }
    return exit.code;
  }
  u64 statistic(std::string_view name) {
    u64 found = 0;
    machine_.vcpu(0).statistics([&](std::string_view text, u64 value) {
      if (text == name) found = value;
    });
    return found;
  }
  /// Right at first; with `from` changed to `to` in its translation it is found out, and the report has
  /// `words`.
  void finds(const Bytes& code, const Bytes& from, const Bytes& to,
             std::initializer_list<std::string_view> words) {
    ASSERT_EQ(run(code), abi::ExitCode::inout);
    ASSERT_EQ(run(code), abi::ExitCode::inout);
    EXPECT_GT(statistic("soft: blocks checked"), 0u);
    ASSERT_TRUE(change(from, to));
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(run(code), abi::ExitCode::vmx);
    const std::string report = ::testing::internal::GetCapturedStderr();
    for (const std::string_view word : words)
      EXPECT_NE(report.find(word), std::string::npos) << word << " is not in\n" << report;
  }

  TestMachine machine_;
  bool written_ = false;
};

TEST_F(ExecutorCheckTest, AWrongRegisterIsFound) {
  finds(program({0xbb, 1, 0, 0, 0, 0x81, 0xc3, 0x78, 0x56, 0x34, 0x12}),  // mov ebx, 1; add ebx, 12345678h
        {0x78, 0x56, 0x34, 0x12}, {0x79, 0x56, 0x34, 0x12},
        {"translated code does not do what the interpreter does", "add ebx, 0x12345678", "host code",
         "rbx      0000000000000000  0000000012345679  000000001234567a  <--"});
}

TEST_F(ExecutorCheckTest, AWrongStoreIsFound) {
  finds(program({0xc7, 0x06, 0x78, 0x56, 0x34, 0x12}),  // mov dword [rsi], 12345678h
        {0x78, 0x56, 0x34, 0x12}, {0x78, 0x57, 0x34, 0x12},
        {"store of 4 bytes", "78563412, 78573412  <--"});
}

TEST_F(ExecutorCheckTest, AWrongVectorIsFound) {
  if (soft::eager_park) GTEST_SKIP() << "vector instructions are not translated in this build";
  // mov eax, 7; movd xmm1, eax; pshufd xmm0, xmm1, 1Bh
  finds(program({0xb8, 7, 0, 0, 0, 0x66, 0x0f, 0x6e, 0xc8, 0x66, 0x0f, 0x70, 0xc1, 0x1b}),
        {0x66, 0x0f, 0x70, 0xc1, 0x1b}, {0x66, 0x0f, 0x70, 0xc1, 0x1c}, {"xsave+", "pshufd"});
}

TEST_F(ExecutorCheckTest, AWrongWayIsFound) {
  // mov ebx, 12345678h; cmp ebx, 12345678h; jne +2; nop; nop: the comparison is changed
  finds(program({0xbb, 0x78, 0x56, 0x34, 0x12, 0x81, 0xfb, 0x78, 0x56, 0x34, 0x12, 0x75, 0x02, 0x90, 0x90}),
        {0x81, 0xfb, 0x78, 0x56, 0x34, 0x12}, {0x81, 0xfb, 0x78, 0x56, 0x34, 0x13},
        {"translated code went another way than the interpreter"});
}

TEST_F(ExecutorCheckTest, ReadModifyWriteHappensOnce) {
  const Bytes code = program({0x83, 0x06, 0x03, 0xf0, 0xff, 0x46, 0x04});  // add dword [rsi], 3; lock inc dword [rsi+4]
  for (u32 n = 1; n <= 5; ++n) {
    ASSERT_EQ(run(code), abi::ExitCode::inout);
    EXPECT_EQ(machine_.read_value<u32>(data_at), 3 * n);
    EXPECT_EQ(machine_.read_value<u32>(data_at + 4), n);
  }
  EXPECT_GT(statistic("soft: blocks checked"), 0u);
  EXPECT_EQ(statistic("soft: segments checked while a device stored"), 0u);
}

}  // namespace
}  // namespace bhyve::test
