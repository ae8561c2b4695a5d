// The guest's x87 and vector registers while a process has them: they stay there until somebody needs them.
#include <csignal>

#include "engine/soft/replay/parked_registers.hpp"
#include "replay_fixture.hpp"
#include "user_process_fixture.hpp"

namespace bhyve::soft {
namespace {

using Bytes = std::vector<u8>;
const Bytes double_xmm0{0x66, 0x0f, 0xd4, 0xc0, 0x0f, 0x0b},  // paddq xmm0, xmm0; ud2
    read_xmm0{0x66, 0x48, 0x0f, 0x7e, 0xc0}, halt{0xf4};     // movq rax, xmm0

struct Guest final : ReplayTest {
  void TestBody() override {}
  using ReplayTest::code, ReplayTest::cpu, ReplayTest::none, ReplayTest::put, ReplayTest::run,
      ReplayTest::start_state;
};

/// An area that somebody else has.
struct OtherHolder final : FpuHolder {
  bool bring_back(std::span<u8> to) override {
    ++asked;
    if (!there) return false;
    std::copy_n(area.begin(), XsaveLayout::host().size, to.begin());
    return true;
  }
  std::array<u8, 4096> area{};
  int asked = 0;
  bool there = true;
};

class FpuAwayTest : public UserProcessTest {
 protected:
  [[nodiscard]] u64 xmm0() { return ParkedRegisters(fpu).read(0).element(0, 8); }
  void set_xmm0(u64 value) {
    ParkedRegisters parked(fpu);
    ParkedRegisters::Vector v;
    v.set_element(0, 8, value);
    parked.write(0, v);
  }
  void give_to(UserProcess& to) {
    ASSERT_TRUE(to.take_over(fpu.complete()));
    fpu.go_to(to);
  }
  /// The state with `value` in XMM0 is there, but here is another.
  void give_to(OtherHolder& to, u64 value) {
    set_xmm0(value);
    const auto area = fpu.complete();
    std::copy(area.begin(), area.end(), to.area.begin());
    set_xmm0(1);
    fpu.go_to(to);
  }
  void runs(UserProcess& it, const Bytes& bytes) {
    put(code_offset, bytes);
    it.map(code, page_size, code_offset, false, true);
    ASSERT_TRUE(it.apply());
    registers = {};
    registers.rip = code, registers.eflags = 0x202, registers.rdi = data;
    EXPECT_EQ(it.run(registers).signal, SIGILL);
  }
  /// What the guest's own code reads of it in the engine.
  [[nodiscard]] u64 guest_reads() {
    EXPECT_EQ(guest.run(read_xmm0), Guest::none);
    return guest.cpu->gpr[0];
  }
  template <class T>
  [[nodiscard]] T in_data(u64 at) {
    T value;
    std::memcpy(&value, ram + data_offset + at, sizeof value);
    return value;
  }
  [[nodiscard]] abi::ExitCode exit_of(const Bytes& bytes) {
    using engine::StateGroups;
    guest.put(Guest::code, bytes.data(), bytes.size());
    guest.start_state.rip = Guest::code;
    guest.cpu->load_state(StateGroups::gprs | StateGroups::control | StateGroups::segments, guest.start_state);
    engine::Exit exit;
    guest.cpu->run(exit);
    return exit.code;
  }

  Guest guest;
  Fpu& fpu = guest.cpu->fpu;
};

TEST_F(FpuAwayTest, StaysInTheProcessOverStopsAndWhatApplyDoes) {
  set_xmm0(21);
  give_to(*process);
  for (int n = 0; n < 3; ++n) {
    runs(*process, double_xmm0);
    fpu.park();
    EXPECT_TRUE(fpu.is_with(*process));
    process->map(data, page_size, data_offset, true, false);
    ASSERT_TRUE(process->apply());
  }
  EXPECT_EQ(xmm0(), 21u * 8);
  EXPECT_FALSE(fpu.is_with(*process));
}

TEST_F(FpuAwayTest, ComesBackForTheGuestsKernel) {
  set_xmm0(21);
  give_to(*process);
  runs(*process, double_xmm0);
  EXPECT_EQ(guest_reads(), 42u);
  EXPECT_FALSE(fpu.is_with(*process)) << "run() has ended";
  set_xmm0(5);
  give_to(*process);
  runs(*process, double_xmm0);
  EXPECT_EQ(xmm0(), 10u);
}

TEST_F(FpuAwayTest, MovesFromProcessToProcess) {
  const auto other = spawn();
  ASSERT_TRUE(other);
  set_xmm0(3);
  for (u64 n = 1; n <= 4; ++n) {
    UserProcess& next = n % 2 ? *process : *other;
    give_to(next);
    runs(next, double_xmm0);
    EXPECT_TRUE(fpu.is_with(next));
    EXPECT_FALSE(fpu.is_with(n % 2 ? *other : *process));
  }
  EXPECT_EQ(xmm0(), 3u << 4);
}

TEST_F(FpuAwayTest, ControlWordsAndPointersGoAndComeBack) {
  constexpr u32 mxcsr = 0x9fc0;
  constexpr u16 fcw = 0x27f;
  fpu.materialise(0);
  fpu.xstate_bv() &= ~bit(1);  // MXCSR counts also while the vector registers are in their initial state
  LegacyHead& head = ParkedRegisters(fpu).legacy().head;
  head.mxcsr = mxcsr, head.fcw = fcw;
  fpu.fip = 0x1234'5678'9abc;
  process->map(data, page_size, data_offset, true, false);
  give_to(*process);
  // stmxcsr [rdi]; fnstcw [rdi + 4]; fnstenv [rdi + 8]; ud2
  runs(*process, {0x0f, 0xae, 0x1f, 0xd9, 0x7f, 0x04, 0xd9, 0x77, 0x08, 0x0f, 0x0b});
  EXPECT_EQ(in_data<u32>(0), mxcsr);
  EXPECT_EQ(in_data<u16>(4), fcw);
  const u32 fip = in_data<u32>(8 + 12);
  fpu.fip = 1;
  fpu.fetch();
  EXPECT_EQ(ParkedRegisters(fpu).legacy().head.mxcsr, mxcsr);
  EXPECT_EQ(static_cast<u32>(fpu.fip), fip) << "what the host's processor keeps of it";
}

TEST_F(FpuAwayTest, IsFetchedOnceByWhoeverNeedsIt) {
  OtherHolder holder;
  give_to(holder, 9);
  fpu.park();
  EXPECT_EQ(holder.asked, 0);
  fpu.fetch();
  fpu.fetch();
  fpu.unpark();
  fpu.park();
  EXPECT_EQ(holder.asked, 1);
  EXPECT_EQ(xmm0(), 9u);

  give_to(holder, 10);
  fpu.unpark();
  EXPECT_TRUE(fpu.live());
  fpu.park();
  EXPECT_EQ(holder.asked, 2);
  EXPECT_EQ(xmm0(), 10u);

  give_to(holder, 11);
  engine::VcpuState state;
  fpu.export_to(state.xsave);
  EXPECT_EQ(holder.asked, 3);
  EXPECT_EQ(state.xsave[160], 11);
}

TEST_F(FpuAwayTest, IsNotFetchedToBeOverwritten) {
  OtherHolder holder;
  engine::VcpuState state;
  set_xmm0(77);
  fpu.export_to(state.xsave);
  give_to(holder, 9);
  guest.cpu->load_state(engine::StateGroups::fpu, state);
  EXPECT_EQ(xmm0(), 77u);
  EXPECT_EQ(holder.asked, 0);
}

TEST_F(FpuAwayTest, RunBringsItHome) {
  OtherHolder holder;
  give_to(holder, 9);
  EXPECT_EQ(guest.run({0x90}), Guest::none);
  EXPECT_EQ(holder.asked, 1);
  EXPECT_FALSE(fpu.is_with(holder));
}

TEST_F(FpuAwayTest, LostItEndsTheGuest) {
  set_xmm0(21);
  give_to(*process);
  runs(*process, double_xmm0);
  ASSERT_EQ(::kill(process->pid(), SIGKILL), 0);
  EXPECT_EQ(exit_of(halt), abi::ExitCode::vmx);
  EXPECT_TRUE(fpu.lost());
  EXPECT_EQ(xmm0(), 21u) << "as it was last";
  fpu.unpark();
  fpu.park();
  EXPECT_EQ(exit_of(halt), abi::ExitCode::vmx);
}

TEST_F(FpuAwayTest, LostAmidstCodeEndsTheGuest) {
  OtherHolder holder;
  give_to(holder, 9);
  holder.there = false;
  Bytes loop = read_xmm0;
  loop.insert(loop.end(), {0xeb, 0xf9});  // jmp to it
  EXPECT_EQ(exit_of(loop), abi::ExitCode::vmx);
  engine::VcpuState state;
  guest.cpu->load_state(engine::StateGroups::fpu, state);
  EXPECT_FALSE(fpu.lost()) << "there is a new one";
}

}  // namespace
}  // namespace bhyve::soft
