// A device writes into code that a vCPU executes: through a hold, as DMA does. Whatever executes it, the
// new code is found without the guest's help.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "configurations.hpp"
#include "mem/ram_access.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace bhyve::test {
namespace {

constexpr u64 code_at = 0x10'0000, function_at = 0x20'0000, result_at = 0x30'0000, stack_at = 0x8'0000;
constexpr u32 rounds = 200;

class CodeDma : public ::testing::TestWithParam<const char*> {};

TEST_P(CodeDma, IsExecutedWithoutTheGuestsHelp) {
  const u8 function[] = {0xb8, 0, 0, 0, 0, 0xc3};  // mov eax, 0; ret
  const u8 code[] = {
      0xbe, 0, 0, 0x20, 0,                 // loop: mov esi, function_at
      0xff, 0xd6,                          // call rsi
      0x89, 0x04, 0x25, 0, 0, 0x30, 0,     // mov [result_at], eax
      0x3d, rounds, 0, 0, 0,               // cmp eax, rounds
      0x75, 0xeb,                          // jnz loop
      0xb0, 42, 0xba, port::end & 0xff, port::end >> 8, 0, 0, 0xee,  // mov al, 42; mov edx, port; out
      0xeb, 0xfe};
  TestMachine machine(*find_configuration(GetParam()), {});
  machine.write(function_at, function);
  machine.write(code_at, code);
  machine.vcpu(0).load(engine::StateGroups::all, enter_long_mode(machine, code_at, stack_at));
  std::atomic<bool> ended{false};
  std::thread device([&] {
    for (u32 n = 1; n <= rounds && !ended; ++n) {
      mem::Hold hold = machine.space().hold(Gpa(function_at), page_size, mem::Prot::write);
      ASSERT_NE(hold.contiguous(), nullptr);
      mem::ram_store<u32>(hold.contiguous() + 1, n);
      hold.release();
      while (!ended && machine.read_value<u32>(result_at) != n) std::this_thread::yield();
    }
  });
  const Outcome outcome = machine.run(60);
  ended = true;
  device.join();
  EXPECT_EQ(outcome.kind, Outcome::Kind::ended) << machine.read_value<u32>(result_at);
  EXPECT_EQ(machine.read_value<u32>(result_at), rounds);
}

INSTANTIATE_TEST_SUITE_P(Executors, CodeDma, ::testing::Values("soft-interp", "soft-translate"),
                         [](const auto& row) {
                           return std::string(row.param) == "soft-interp" ? "Interpreter"
                                                                          : "Translator";
                         });

}  // namespace
}  // namespace bhyve::test
