// Stubs of replayed instructions come and go by generations: more distinct instructions than the
// arena holds still execute, on one vCPU and on two that share it.
#include "engine/soft/replay/stub_arena.hpp"

#include <array>
#include <thread>

#include "engine/soft/replay/replay_plan.hpp"
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

/// mov eax, n; ret
std::array<u8, 6> returns(u32 n) {
  return {0xb8, static_cast<u8>(n), static_cast<u8>(n >> 8), static_cast<u8>(n >> 16),
          static_cast<u8>(n >> 24), 0xc3};
}

u32 call(const ReplayPlan* plan) { return plan->stub(nullptr, nullptr); }

TEST(StubArenaTest, EqualInstructionsShareAStub) {
  StubArena arena(256);
  const ReplayPlan plain;
  ReplayPlan wide;
  wide.memory_bytes = 64;
  const ReplayPlan* one = arena.publish(plain, returns(1));
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(arena.publish(plain, returns(1)), one);
  EXPECT_NE(arena.publish(wide, returns(1)), one);
  EXPECT_NE(arena.publish(plain, returns(2)), one);
}

TEST(StubArenaTest, AGenerationThatIsFullEndsAndTheOneBeforeItGoes) {
  StubArena arena(256);  // two times eight stubs
  const ReplayPlan plan;
  const ReplayPlan* first = arena.publish(plan, returns(100));
  for (u32 n = 1; n < 8; ++n) ASSERT_NE(arena.publish(plan, returns(100 + n)), nullptr);
  EXPECT_EQ(arena.publish(plan, returns(108)), nullptr);
  EXPECT_EQ(arena.publish(plan, returns(100)), first) << "what is there is still found";

  arena.begin_next(arena.generation());
  EXPECT_EQ(arena.generation(), 1u);
  for (u32 n = 0; n < 8; ++n) {
    const ReplayPlan* made = arena.publish(plan, returns(200 + n));
    ASSERT_NE(made, nullptr);
    EXPECT_EQ(call(made), 200 + n);
  }
  EXPECT_EQ(call(first), 100u) << "the last generation stays until the next";
  EXPECT_EQ(arena.publish(plan, returns(208)), nullptr);

  arena.begin_next(0);
  EXPECT_EQ(arena.generation(), 1u) << "generation 0 is over already";
  arena.begin_next(1);
  const ReplayPlan* again = arena.publish(plan, returns(300));
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(call(again), 300u);
}

class StubEvictionTest : public ReplayTest {
 protected:
  static constexpr u64 other_code = 0x20000, results = 0x30000;
  static constexpr unsigned rounds = 8;

  /// Two halves, of which one holds some 40 of the 257 instructions of a program.
  StubEvictionTest() {
    auto model = CpuModel::create({}, 2);
    EXPECT_TRUE(model);
    small = std::make_unique<SoftVm>(*space, std::move(*model), 2, SoftVm::Translation{}, 4096);
    const std::array<u32, 4> lanes{1, 0x100, 0x1'0000, 0x100'0000};
    put(data, lanes);
  }

  /// Adds up PSHUFD of `lanes` by every immediate, `rounds` times; the sum goes to [rdi].
  void put_program(u64 at, bool backwards) {
    std::vector<u8> bytes = {0x66, 0x0f, 0x6f, 0x06,   // movdqa xmm0, [rsi]
                             0x66, 0x0f, 0xef, 0xd2};  // pxor xmm2, xmm2
    const usize loop = bytes.size();
    for (unsigned n = 0; n < 256; ++n) {
      const auto immediate = static_cast<u8>(backwards ? 255 - n : n);
      for (const u8 b : {u8{0x66}, u8{0x0f}, u8{0x70}, u8{0xc8}, immediate,  // pshufd xmm1, xmm0, n
                         u8{0x66}, u8{0x0f}, u8{0xfe}, u8{0xd1}})            // paddd xmm2, xmm1
        bytes.push_back(b);
    }
    for (const u8 b : {0xff, 0xc9, 0x0f, 0x85}) bytes.push_back(static_cast<u8>(b));  // dec ecx; jnz
    const auto back = static_cast<u32>(loop - (bytes.size() + 4));
    for (unsigned n = 0; n < 32; n += 8) bytes.push_back(static_cast<u8>(back >> n));
    for (const u8 b : {0x66, 0x0f, 0x7f, 0x17, 0xf4}) bytes.push_back(static_cast<u8>(b));
    put(at, bytes.data(), bytes.size());
  }

  /// Runs it on a vCPU of the small arena; false when it ended otherwise than by its HLT.
  bool run_program(Cpu& on, u64 at, u64 result) {
    engine::VcpuState state = start_state;
    state.rip = at;
    state.gpr[static_cast<u8>(x86::Gpr::rsi)] = data;
    state.gpr[static_cast<u8>(x86::Gpr::rdi)] = result;
    state.gpr[static_cast<u8>(x86::Gpr::rcx)] = rounds;
    on.load_state(engine::StateGroups::all, state);
    engine::Exit exit;
    on.run(exit);
    return exit.code == abi::ExitCode::hlt && on.rip - at < page_size;
  }

  /// Each lane is chosen 64 times for each place by the 256 immediates.
  void expect_sum(u64 result) {
    for (u64 lane = 0; lane < 4; ++lane)
      EXPECT_EQ(get<u32>(result + lane * 4), rounds * 64 * 0x0101'0101u) << "lane " << lane;
  }

  std::unique_ptr<SoftVm> small;
};

TEST_F(StubEvictionTest, MoreInstructionsThanFitExecuteRoundAfterRound) {
  const auto first = std::make_unique<Cpu>(0, *small, client);  // on the heap: it has its stack there
  Cpu& one = *first;
  small->add(0, one);
  put_program(code, false);
  EXPECT_TRUE(run_program(one, code, results));
  expect_sum(results);
  EXPECT_GT(small->stubs.generation(), 8u);
  small->remove(0);
}

TEST_F(StubEvictionTest, AStoppedVcpuForgetsStubsThatWentMeanwhile) {
  // On the heap, where a Cpu has its stack.
  const auto first = std::make_unique<Cpu>(0, *small, client), second = std::make_unique<Cpu>(1, *small, client);
  Cpu &one = *first, &two = *second;
  small->add(0, one);
  small->add(1, two);
  put_program(code, false);
  put_program(other_code, true);
  EXPECT_TRUE(run_program(one, code, results));
  EXPECT_TRUE(run_program(two, other_code, results + 64));
  EXPECT_TRUE(run_program(one, code, results + 128));
  for (const u64 result : {results, results + 64, results + 128}) expect_sum(result);
  small->remove(0);
  small->remove(1);
}

TEST_F(StubEvictionTest, TwoVcpusRenewWhatTheyShare) {
  // On the heap, where a Cpu has its stack.
  const auto first = std::make_unique<Cpu>(0, *small, client), second = std::make_unique<Cpu>(1, *small, client);
  Cpu &one = *first, &two = *second;
  small->add(0, one);
  small->add(1, two);
  put_program(code, false);
  put_program(other_code, true);
  bool ended = false;
  std::thread beside([&] { ended = run_program(two, other_code, results + 64); });
  EXPECT_TRUE(run_program(one, code, results));
  beside.join();
  EXPECT_TRUE(ended);
  expect_sum(results);
  expect_sum(results + 64);
  small->remove(0);
  small->remove(1);
}

}  // namespace
}  // namespace bhyve::soft
