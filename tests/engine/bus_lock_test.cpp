// Locked accesses that cross a cache line: none is executed as such on the host, whatever executes
// the guest's code (that other vCPUs see one access is guest.smp's to show).
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "configurations.hpp"
#include "engine/soft/runtime/bus_lock.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace bhyve::test {
namespace {

constexpr u64 code_at = 0x10'0000, stack_at = 0x8'0000, data_at = 0x20'0000;
constexpr u32 rounds = 5000;

class BusLockTest : public ::testing::TestWithParam<const char*> {
 protected:
  /// Executes `insn` with RSI = data_at + offset in a loop of `rounds`, counted down in RCX;
  /// RAX, RDX and the operand are zero at first, RBX is 1. Returns how many accesses took the bus.
  u64 run(const std::vector<int>& insn, u64 offset) {
    // xor eax, eax; xor edx, edx; mov ebx, 1; mov esi
    std::vector<u8> code = {0x31, 0xc0, 0x31, 0xd2, 0xbb, 1, 0, 0, 0, 0xbe};
    const auto word = [&code](u32 v) {
      for (unsigned n = 0; n < 4; ++n) code.push_back(static_cast<u8>(v >> (8 * n)));
    };
    word(static_cast<u32>(data_at + offset));
    code.push_back(0xb9);  // mov ecx
    word(rounds);
    const usize loop = code.size();
    for (const int b : insn) code.push_back(static_cast<u8>(b));
    code.insert(code.end(), {0xff, 0xc9, 0x75});  // dec ecx; jnz loop
    code.push_back(static_cast<u8>(loop - code.size() - 1));
    code.insert(code.end(), {0xb0, 42, 0xba});  // mov al, 42; mov edx, port::end; out dx, al
    word(port::end);
    code.insert(code.end(), {0xee, 0xeb, 0xfe});
    TestMachine machine(*find_configuration(GetParam()), {});
    machine.write(code_at, code);
    machine.vcpu(0).load(engine::StateGroups::all, enter_long_mode(machine, code_at, stack_at));
    EXPECT_EQ(machine.run(60).kind, Outcome::Kind::ended);
    value = machine.read_value<u64>(data_at + offset);
    return bus_locks(machine, 0);
  }
  static u64 bus_locks(TestMachine& machine, VcpuId vcpu) {
    u64 count = 0;
    machine.vcpu(vcpu).statistics([&](std::string_view text, u64 n) {
      if (text == "soft: locked accesses across cache lines") count = n;
    });
    return count;
  }
  u64 value = 0;
};

TEST_P(BusLockTest, EveryKindOfLockedAccessAcrossALineTakesTheBus) {
  const std::pair<std::vector<int>, u64> rows[] = {
      {{0xf0, 0x48, 0x01, 0x1e}, rounds},        // lock add [rsi], rbx
      {{0xf0, 0x48, 0xff, 0x06}, rounds},        // lock inc qword [rsi]
      {{0xf0, 0x48, 0x83, 0x06, 3}, 3 * rounds}, // lock add qword [rsi], 3
      {{0xf0, 0x48, 0x0f, 0xc1, 0x06}, 0},       // lock xadd [rsi], rax: zero to itself
      {{0x48, 0x87, 0x1e}, rounds & 1 ? 1 : 0},  // xchg [rsi], rbx: locked without the prefix
      {{0xf0, 0x48, 0x0f, 0xb1, 0x1e}, 1},       // lock cmpxchg [rsi], rbx
      {{0xf0, 0x48, 0x0f, 0xba, 0x2e, 60}, u64{1} << 60},  // lock bts qword [rsi], 60
      {{0xf0, 0x48, 0x0f, 0xab, 0x1e}, 2},       // lock bts [rsi], rbx
      {{0xf0, 0x0f, 0xc7, 0x0e}, u64{2} << 32 | 1},  // lock cmpxchg8b [rsi]: every other one fits
  };
  for (const auto& [insn, expected] : rows)
    for (const u64 offset : {u64{64 - 3}, u64{4096 - 5}}) {
      SCOPED_TRACE(::testing::Message() << std::hex << insn[2] << " at " << offset);
      const u64 taken = run(insn, offset);
      EXPECT_EQ(taken, rounds);
      EXPECT_EQ(value, expected);
    }
}

TEST_P(BusLockTest, AnAccessWithinALineDoesNot) {
  EXPECT_EQ(run({0xf0, 0x48, 0x01, 0x1e}, 8), 0u);
  EXPECT_EQ(value, rounds);
  EXPECT_EQ(run({0xf0, 0x48, 0x01, 0x1e}, 64 - 9), 0u);  // unaligned
  EXPECT_EQ(value, rounds);
}

/// One vCPU in real mode and one in 64-bit mode, for the thread sanitizer too.
TEST_P(BusLockTest, TwoVcpusTakeTurns) {
  const u8 real[] = {0x8c, 0xc8, 0x8e, 0xd8,                     // mov ax, cs; mov ds, ax
                     0xbb, 0x3e, 0x10, 0xb9, rounds & 0xff, rounds >> 8,  // mov bx; mov cx
                     0xf0, 0x66, 0xff, 0x07, 0x49, 0x75, 0xf9,   // lock inc dword [bx]; dec cx; jnz
                     0xc6, 0x06, 0x00, 0x11, 0x01, 0xf4, 0xeb, 0xfd};  // mov byte [1100h], 1; hlt
  const u8 code[] = {
      0xbe, 0x3e, 0x10, 9, 0,                                    // mov esi, 9103Eh
      0xba, port::event, 0, 0, 0, 0xb8, 0x90, 1, 2, 0, 0xef,       // out event, startup
      0xb9, rounds & 0xff, rounds >> 8, 0, 0,                    // mov ecx
      0xf0, 0xff, 0x06, 0xff, 0xc9, 0x75, 0xf9,                  // lock inc dword [rsi]; dec; jnz
      0xf3, 0x90, 0x80, 0x3c, 0x25, 0, 0x11, 9, 0, 0, 0x74, 0xf4,  // pause; cmp [91100h], 0; jz
      0xb0, 42, 0xba, port::end, 0, 0, 0, 0xee, 0xeb, 0xfe};
  static_assert(event::startup == 0x20000);
  TestMachine machine(*find_configuration(GetParam()), {.vcpus = 2});
  machine.write(0x9'0000, real);
  machine.write(code_at, code);
  machine.vcpu(0).load(engine::StateGroups::all, enter_long_mode(machine, code_at, stack_at));
  EXPECT_EQ(machine.run(100).kind, Outcome::Kind::ended);
  EXPECT_EQ(machine.read_value<u32>(0x9'103e), 2 * rounds);
  EXPECT_EQ(bus_locks(machine, 0), rounds);
  EXPECT_EQ(bus_locks(machine, 1), rounds);
}

INSTANTIATE_TEST_SUITE_P(Executors, BusLockTest, ::testing::Values("soft-interp", "soft-translate"),
                         [](const auto& row) {
                           return std::string(row.param) == "soft-interp" ? "Interpreter"
                                                                          : "Translator";
                         });

/// All sizes and splits; the bytes around, and those that a device writes meanwhile, stay.
TEST(SplitOperand, ReplacesItsBytesAndNoOthers) {
  alignas(64) std::array<std::byte, 192> memory;
  for (unsigned size = 2; size <= 8; size *= 2)
    for (unsigned in_first = 1; in_first < size; ++in_first) {
      for (usize n = 0; n < memory.size(); ++n) memory[n] = static_cast<std::byte>(n);
      auto* first = memory.data() + 64 - in_first;
      soft::SplitOperand split(first, memory.data() + 64, in_first, size);
      u64 old = split.load();
      for (unsigned n = 0; n < size; ++n)
        EXPECT_EQ(old >> (8 * n) & 0xff, 64 - in_first + n) << size << " " << in_first;
      if (size < 8) {
        EXPECT_EQ(old >> (8 * size), 0u);
      }
      const auto device = std::byte{0xee};
      first[-1] = device;
      first[size - 1] = device;
      split.store(0xb7b6b5b4b3b2b1b0);
      for (usize n = 0; n < memory.size(); ++n) {
        auto expected = static_cast<std::byte>(n);
        if (n >= 64 - in_first && n < 64 - in_first + size)
          expected = static_cast<std::byte>(0xb0 + n - (64 - in_first));
        if (n == 63 - in_first || n == 63 - in_first + size) expected = device;
        EXPECT_EQ(memory[n], expected) << size << " " << in_first << " at " << n;
      }
    }
}

}  // namespace
}  // namespace bhyve::test
