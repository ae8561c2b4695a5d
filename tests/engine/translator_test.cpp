// What the translator does beside executing right, which the guest programs and the differential test
// show: that code is translated at all, that exits get linked, and that translations go.
#include <gtest/gtest.h>

#include <unistd.h>

#include <Zydis/Zydis.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "configurations.hpp"
#include "engine/soft/translate/translation_records.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace bhyve::test {
namespace {

constexpr u64 code_at = 0x10'0000, stack_at = 0x8'0000;
constexpr u8 status = 42;

/// Assembles by hand; every program ends by writing `status` to port::end.
class Program final {
 public:
  Program& bytes(std::initializer_list<int> code) {
    for (const int b : code) code_.push_back(static_cast<u8>(b));
    return *this;
  }
  Program& word(u32 v) {
    for (unsigned n = 0; n < 4; ++n) code_.push_back(static_cast<u8>(v >> (8 * n)));
    return *this;
  }
  void set_word(usize at, u32 v) {
    for (unsigned n = 0; n < 4; ++n) code_[at + n] = static_cast<u8>(v >> (8 * n));
  }
  /// mov al, status; mov edx, port::end; out dx, al; jmp itself
  Program& end(u16 to = port::end) {
    return bytes({0xb0, status, 0xba}).word(to).bytes({0xee, 0xeb, 0xfe});
  }
  [[nodiscard]] usize size() const { return code_.size(); }
  [[nodiscard]] std::span<const u8> code() const { return code_; }

 private:
  std::vector<u8> code_;
};

class TranslatorTest : public ::testing::Test {
 protected:
  /// `look`: while the code exists.
  std::map<std::string, u64, std::less<>> run(const Program& program, engine::CpuConfig cpu = {},
                                              const std::function<void()>& look = [] {}, bool wide = true) {
    const Configuration* configuration = find_configuration("soft-translate");
    TestMachine machine(*configuration, {.cpu = cpu});
    machine.write(code_at, program.code());
    machine.vcpu(0).load(engine::StateGroups::all, wide ? enter_long_mode(machine, code_at, stack_at)
                                                        : enter_protected_mode(machine, code_at, stack_at));
    const Outcome outcome = machine.run(60);
    EXPECT_EQ(outcome.kind, Outcome::Kind::ended) << outcome.detail;
    EXPECT_EQ(outcome.status, status);
    machine.vcpu(0).store(engine::StateGroups::all, state);
    std::map<std::string, u64, std::less<>> counters;
    machine.vcpu(0).statistics([&](std::string_view text, u64 value) {
      counters[std::string(text)] = value;
    });
    look();
    return counters;
  }
  engine::VcpuState state;
};

TEST_F(TranslatorTest, ALoopIsLinkedToItself) {
  Program p;
  p.bytes({0x31, 0xdb, 0xb9}).word(100'000);              // xor ebx, ebx; mov ecx, 100000
  p.bytes({0x48, 0x01, 0xcb, 0xff, 0xc9, 0x75, 0xf9});    // add rbx, rcx; dec ecx; jnz
  p.end();
  auto counters = run(p);
  EXPECT_EQ(state.gpr[3], u64{100'000} * 100'001 / 2);
  EXPECT_GE(counters["soft: instructions translated"], 5u);
  EXPECT_GE(counters["soft: exits linked"], 1u);
  EXPECT_LT(counters["soft: entries into translated code"], 1000u);  // others are polls
}

TEST_F(TranslatorTest, CallsAndReturnsStayInTranslatedCode) {
  // xor ebx, ebx; mov ecx, 50000; loop: call f; dec ecx; jnz loop; end; f: inc ebx; ret
  Program q;
  q.bytes({0x31, 0xdb, 0xb9}).word(50'000);
  q.bytes({0xe8}).word(14).bytes({0xff, 0xc9, 0x75, 0xf7}).end();
  q.bytes({0xff, 0xc3, 0xc3});                           // f: inc ebx; ret
  auto counters = run(q);
  EXPECT_EQ(state.gpr[3], 50'000u);
  EXPECT_LT(counters["soft: entries into translated code"], 1000u);
}

/// As kernels of 32 bits find what belongs to the processor.
TEST_F(TranslatorTest, OneSegmentWithABaseIsEnough) {
  Program p;
  p.bytes({0x31, 0xc0, 0x8e, 0xe8}).bytes({0xb9}).word(10'000);  // xor eax, eax; mov gs, eax; mov ecx, 10000
  p.bytes({0x64, 0xff, 0x05}).word(0x20'0000);                   // loop: inc dword fs:[200000h]
  p.bytes({0x49, 0x75, 0xf6});                                   // dec ecx; jnz
  p.bytes({0x64, 0x8b, 0x1d}).word(0x20'0000);                   // mov ebx, fs:[200000h]
  p.end();
  auto counters = run(p, {}, [] {}, false);
  EXPECT_EQ(state.gpr[3], 10'000u);
  EXPECT_LT(counters["soft: instructions called from translated code"], 1000u);
}

/// Rewrites a function (mov eax, ecx's value; ret) 100 times and calls it `calls` times after each.
Program rewriting(u32 calls) {
  Program p;
  p.bytes({0x31, 0xdb, 0xb9}).word(100);                 // xor ebx, ebx; mov ecx, 100
  p.bytes({0xbe}).word(0x20'0000);                       // mov esi, 200000h
  p.bytes({0xc6, 0x06, 0xb8});                           // mov byte [rsi], B8h (mov eax, imm32)
  p.bytes({0xc6, 0x46, 0x05, 0xc3});                     // mov byte [rsi + 5], C3h (ret)
  p.bytes({0x89, 0x4e, 0x01, 0xba}).word(calls);         // loop: mov [rsi + 1], ecx; mov edx, calls
  p.bytes({0xff, 0xd6, 0xff, 0xca, 0x75, 0xfa});         // call rsi; dec edx; jnz
  p.bytes({0x01, 0xc3, 0xff, 0xc9, 0x75, 0xec});         // add ebx, eax; dec ecx; jnz loop
  p.end();
  return p;
}

TEST_F(TranslatorTest, RewrittenCodeIsThrownAway) {
  auto counters = run(rewriting(50));
  EXPECT_EQ(state.gpr[3], 5050u);
  EXPECT_GE(counters["soft: translations thrown away"], 50u);
}

TEST_F(TranslatorTest, CodeThatIsRewrittenBeforeItIsHotIsNotTranslated) {
  auto counters = run(rewriting(2));
  EXPECT_EQ(state.gpr[3], 5050u);
  EXPECT_LE(counters["soft: translations thrown away"], 1u);
}

TEST_F(TranslatorTest, NamesOfTranslatedCodeAreToldToPerf) {
  Program p;
  p.bytes({0x31, 0xdb, 0xb9}).word(100);                  // xor ebx, ebx; mov ecx, 100
  p.bytes({0x48, 0x01, 0xcb, 0xff, 0xc9, 0x75, 0xf9});    // add rbx, rcx; dec ecx; jnz
  p.end();
  engine::CpuConfig cpu;
  cpu.perf_map = true;
  auto counters = run(p, cpu);
  const std::filesystem::path path = "/tmp/perf-" + std::to_string(::getpid()) + ".map";
  std::ifstream map(path);
  u64 lines = 0, loops = 0;
  for (std::string address, bytes, name; map >> address >> bytes >> name; ++lines) {
    EXPECT_GT(std::stoull(bytes, nullptr, 16), 0u);
    loops += name == "guest_100007";
  }
  EXPECT_EQ(lines, counters["soft: blocks translated"]);
  EXPECT_GE(loops, 1u);
  std::filesystem::remove(path);
}

/// Look-ups in the translated code that the map for perf lists, and how many of them mask what they check.
struct Checks {
  unsigned all = 0, masked = 0;
};

Checks checks_in_translated_code() {
  const std::filesystem::path path = "/tmp/perf-" + std::to_string(::getpid()) + ".map";
  std::ifstream map(path);
  Checks checks;
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  for (std::string address, bytes, name; map >> address >> bytes >> name;) {
    const auto* code = reinterpret_cast<const u8*>(std::stoull(address, nullptr, 16));
    std::span<const u8> left(code, std::stoull(bytes, nullptr, 16));
    ZydisDecodedInstruction insn, before{};
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    bool checked = false;  // the last instructions were cmp r10, offset; jae
    while (!left.empty() && ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, left.data(), left.size(), &insn, operands))) {
      checks.masked += checked && insn.mnemonic == ZYDIS_MNEMONIC_CMOVNB &&
                       operands[0].reg.value == ZYDIS_REGISTER_R10 &&
                       operands[1].mem.base == ZYDIS_REGISTER_RSP;
      checked = insn.mnemonic == ZYDIS_MNEMONIC_JNB && before.mnemonic == ZYDIS_MNEMONIC_CMP && before.opcode == 0x81;
      checks.all += checked;
      before = insn;
      left = left.subspan(insn.length);
    }
  }
  std::filesystem::remove(path);
  return checks;
}

/// A loop with a look-up alone, a window of two, one of the stack with CALL and RET, and SSE.
Program accessing() {
  Program p;
  p.bytes({0xb9}).word(100).bytes({0xbe}).word(0x20'0000);   // mov ecx, 100; mov esi, 200000h
  p.bytes({0x0f, 0x20, 0xe0, 0x66, 0x0d, 0x00, 0x06, 0x0f, 0x22, 0xe0});  // CR4.OSFXSR, OSXMMEXCPT
  p.bytes({0xe8}).word(10);                                   // loop: call f
  p.bytes({0x8b, 0x04, 0x8e, 0xff, 0xc9, 0x75, 0xf4});        // mov eax, [rsi + rcx * 4]; dec ecx; jnz
  p.bytes({0xeb, 0x11, 0x90});                                // jmp over
  p.bytes({0x53, 0x8b, 0x06, 0x89, 0x46, 0x08});              // f: push rbx; mov eax, [rsi]; mov [rsi + 8], eax
  p.bytes({0x0f, 0x10, 0x06, 0x0f, 0x11, 0x46, 0x10});        // movups xmm0, [rsi]; movups [rsi + 16], xmm0
  p.bytes({0x5b, 0xc3, 0x90, 0x90});                          // pop rbx; ret
  return p.end();
}

TEST_F(TranslatorTest, SafeChecksMaskWhatTheyLookUp) {
  engine::CpuConfig cpu;
  cpu.perf_map = true;
  Checks fast, safe;
  (void)run(accessing(), cpu, [&] { fast = checks_in_translated_code(); });
  cpu.speculation = "safe";
  (void)run(accessing(), cpu, [&] { safe = checks_in_translated_code(); });
  EXPECT_GE(fast.all, 3u);
  EXPECT_EQ(fast.masked, 0u);
  EXPECT_GE(safe.all, fast.all);
  EXPECT_EQ(safe.masked, safe.all);
}

TEST_F(TranslatorTest, EachWayOutOfTranslatedCodeIsCounted) {
  Program p;
  p.bytes({0x31, 0xdb, 0xb9}).word(50);                   // xor ebx, ebx; mov ecx, 50
  p.bytes({0xba}).word(port::latch_exit);                 // mov edx, a port that leaves run()
  p.bytes({0xec, 0xff, 0xc3, 0xff, 0xc9, 0x75, 0xf9});    // loop: in al, dx; inc ebx; dec ecx; jnz loop
  p.end();
  auto counters = run(p);
  EXPECT_EQ(state.gpr[3], 50u);
  u64 left = counters["soft: exits without a link taken"];
  for (const auto& [text, value] : counters)
    if (text.starts_with("soft: translated code left")) left += value;
  EXPECT_EQ(left, counters["soft: entries into translated code"]);
  EXPECT_GE(counters["soft: translated code left for the machine"], 40u);
  EXPECT_GT(counters["soft: nanoseconds spent translating"], 0u);
  EXPECT_GT(counters["soft: bytes of the code cache in use"], 0u);
  EXPECT_LT(counters["soft: bytes of the code cache in use"], engine::CpuConfig{}.code_cache);
}

/// A loop of as many blocks, each linked to the next.
Program long_loop(unsigned blocks, unsigned rounds, u16 end = port::end) {
  Program p;
  p.bytes({0x31, 0xdb, 0xb9}).word(rounds);                // xor ebx, ebx; mov ecx, rounds
  const usize loop = p.size();
  for (unsigned n = 0; n < blocks; ++n) p.bytes({0xff, 0xc3, 0xeb, 0x00});  // inc ebx; jmp next
  p.bytes({0xff, 0xc9, 0x0f, 0x85}).word(static_cast<u32>(loop - (p.size() + 8)));
  return p.end(end);
}

TEST_F(TranslatorTest, AFullCacheOfOneRegionBeginsAnew) {
  engine::CpuConfig small;
  small.code_cache = 64 * KiB;
  auto counters = run(long_loop(4000, 3), small);
  EXPECT_EQ(state.gpr[3], 12'000u);
  EXPECT_GE(counters["soft: translations evicted"], 4000u);
  EXPECT_EQ(counters["soft: code cache resets"], 0u);
}

TEST_F(TranslatorTest, AFullCacheLosesItsOldestRegionOnly) {
  engine::CpuConfig small;
  small.code_cache = 2 * MiB;
  auto counters = run(long_loop(48'000, 3), small);
  EXPECT_EQ(state.gpr[3], 144'000u);
  const u64 made = counters["soft: blocks translated"], evicted = counters["soft: translations evicted"];
  EXPECT_GT(evicted, 0u);
  const u64 room = small.code_cache / soft::TranslationRecords::bytes_each;  // for blocks as small as these
  EXPECT_GE(made - evicted, room * 3 / 8);                                   // are there still
  EXPECT_EQ(counters["soft: code cache resets"], 0u);
}

/// While one vCPU idles the other has its memory, and gives it back when that is missed.
TEST(TranslatorShareTest, MemoryForCodeGoesWhereItIsNeeded) {
  constexpr unsigned blocks = 65'000;
  engine::CpuConfig cpu;
  cpu.code_cache = 4 * MiB;
  TestMachine machine(*find_configuration("soft-translate"), {.vcpus = 2, .cpu = cpu});
  constexpr u64 short_at = 0x8'0000 - 0x1000;
  machine.write(code_at, long_loop(blocks, 2, port::latch_exit).code());
  machine.write(short_at, Program().end(port::latch_exit).code());
  const auto in_use = [&](VcpuId id) {
    u64 bytes = 0;
    machine.vcpu(id).statistics([&](std::string_view text, u64 value) {
      if (text == "soft: bytes of the code cache in use") bytes = value;
    });
    return bytes;
  };
  const auto run = [&](VcpuId id, u64 at) {
    engine::VcpuState state = enter_long_mode(machine, at, stack_at);
    machine.vcpu(id).load(engine::StateGroups::all, state);
    engine::Exit exit;
    do machine.vcpu(id).run(exit);
    while (exit.code == abi::ExitCode::bogus);
    EXPECT_EQ(exit.code, abi::ExitCode::inout);
    machine.vcpu(id).store(engine::StateGroups::all, state);
    if (at == code_at) {
      EXPECT_EQ(state.gpr[3], 2 * blocks);
    }
  };
  run(0, code_at);
  EXPECT_GT(in_use(0), 2 * MiB);
  run(1, code_at);
  EXPECT_LE(in_use(1), 1 * MiB + 64 * KiB);
  run(0, short_at);
  EXPECT_LE(in_use(0), 2 * MiB + 64 * KiB);
  run(1, code_at);
  EXPECT_GT(in_use(1), 1 * MiB + 64 * KiB);
}

/// Hot code stays in reach of links, indirect jumps and stores into code while other code drives it out.
TEST_F(TranslatorTest, EvictedCodeIsFoundAgainAndRewrittenCodeIsNot) {
  engine::CpuConfig small;
  small.code_cache = 2 * MiB;
  Program p;
  p.bytes({0x31, 0xdb, 0xb9}).word(3);                     // xor ebx, ebx; mov ecx, 3
  const usize loop = p.size();
  constexpr unsigned blocks = 48'000;
  std::vector<usize> calls;
  for (unsigned n = 0; n < blocks; ++n) {
    p.bytes({0xff, 0xc3});                                 // inc ebx
    if (n % 8 == 0) {
      calls.push_back(p.size());
      p.bytes({0xe8}).word(0);                             // call add
    } else {
      p.bytes({0xeb, 0x00});                               // jmp next
    }
  }
  p.bytes({0xfe, 0x05}).word(0);                           // inc byte [add's immediate]
  const usize patch = p.size() - 4;
  p.bytes({0xff, 0xc9, 0x0f, 0x85}).word(static_cast<u32>(loop - (p.size() + 8)));
  p.bytes({0xeb, 0x04});                                   // jmp over
  const usize add = p.size();
  p.bytes({0x83, 0xc3, 0x01, 0xc3});                       // add: add ebx, 1; ret
  p.end();
  for (const usize at : calls) p.set_word(at + 1, static_cast<u32>(add - (at + 5)));
  p.set_word(patch, static_cast<u32>(add + 2 - (patch + 4)));
  auto counters = run(p, small);
  EXPECT_EQ(state.gpr[3], blocks * 3 + blocks / 8 * (1 + 2 + 3));
  EXPECT_GT(counters["soft: translations evicted"], 0u);
  EXPECT_GT(counters["soft: translations thrown away"], 0u);
}

}  // namespace
}  // namespace bhyve::test
