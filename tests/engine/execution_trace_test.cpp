// cpu.trace: what the file says of a guest whose execution is known.
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "configurations.hpp"
#include "engine/soft/soft_engine.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace bhyve::test {
namespace {

constexpr u64 code_at = 0x10'0000, stack_at = 0x8'0000;

class ExecutionTraceTest : public ::testing::Test {
 protected:
  ~ExecutionTraceTest() override { std::filesystem::remove(path_); }

  /// The lines about a program that runs in 64-bit mode until it ends the machine or faults thrice.
  std::vector<std::string> trace(const std::vector<u8>& code) {
    engine::CpuConfig cpu;
    cpu.trace = path_;
    {
      TestMachine machine(*find_configuration("soft-interp"), {.cpu = cpu});
      machine.write(code_at, code);
      machine.vcpu(0).load(engine::StateGroups::all, enter_long_mode(machine, code_at, stack_at));
      (void)machine.run(60);
    }
    std::ifstream file(path_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  static u64 count(const std::vector<std::string>& lines, std::string_view begin) {
    return static_cast<u64>(std::count_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.starts_with(begin);
    }));
  }

  const std::string path_ = "/tmp/bhyve-trace-" + std::to_string(::getpid());
};

TEST_F(ExecutionTraceTest, EachBlockIsDisassembledOnceAndHasALineEachTime) {
  // mov ecx, 5; loop: add ebx, ecx; dec ecx; jnz loop; mov al, 1; out f4h, al; jmp itself
  const auto lines = trace({0xb9, 5, 0, 0, 0, 0x01, 0xcb, 0xff, 0xc9, 0x75, 0xfa, 0xb0, 1, 0xe6, 0xf4, 0xeb, 0xfe});
  EXPECT_EQ(count(lines, "0 block 100005 at 100005 in memory:"), 1u);
  EXPECT_GE(count(lines, "    100005  01cb                    add ebx, ecx"), 1u);
  EXPECT_EQ(count(lines, "0 100005 64/0 "), 4u);  // the first time it is in the block with MOV
  // RFLAGS, RAX, RCX, RDX (anything after a reset), RBX: 5 + 4 + 3 after three times.
  const auto third = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("0 100005 64/0 ") && line.find(" 0 2 ") != std::string::npos &&
           line.find(" c ") != std::string::npos;
  });
  EXPECT_NE(third, lines.end());
}

TEST_F(ExecutionTraceTest, EventsHaveTheirVectorAndErrorCode) {
  // mov eax, [rax] far beyond what is mapped; there is no IDT.
  const auto lines = trace({0x48, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0x8b, 0x00, 0xeb, 0xfe});
  EXPECT_EQ(count(lines, "0 exception 14 at 10000a error 0 address 10000000000"), 1u);
}

TEST_F(ExecutionTraceTest, AFileThatCannotBeMadeIsRefused) {
  auto space = mem::Vmspace::create({4 * MiB, 0});
  ASSERT_TRUE(space);
  engine::CpuConfig cpu;
  cpu.executor = "interp";
  cpu.trace = "/nonexistent/trace";
  const auto made = soft::make_soft_engine(**space, cpu, 1);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ENOENT);
}

}  // namespace
}  // namespace bhyve::test
