// Corners of address translation.
#include "replay_fixture.hpp"

namespace bhyve::soft {
namespace {

class Translation : public ReplayTest {
 protected:
  static constexpr int gp = 13, pf = 14;
};

TEST_F(Translation, InvlpgDropsAGigabytePageAsAWhole) {
  put<u64>(0x2008, 0x83);  // 1 GiB at 4000'0000h
  EXPECT_EQ(run({0x8a, 0x04, 0x25, 0x00, 0x10, 0x20, 0x40,                    // mov al, [40201000h]
                 0x48, 0xc7, 0x04, 0x25, 0x08, 0x20, 0, 0, 0, 0, 0, 0,        // its entry: 0
                 0x0f, 0x01, 0x3c, 0x25, 0, 0, 0, 0x40,                       // invlpg [40000000h]
                 0x8a, 0x04, 0x25, 0x00, 0x10, 0x20, 0x40}),
            pf);
}

TEST_F(Translation, TablesInRomAreRead) {
  constexpr u64 rom = 0x800'0000;
  const auto bytes = space->add_segment(Gpa(rom), page_size, mem::Prot::rx, "rom");
  ASSERT_TRUE(bytes);
  const u64 entry = 0x2023;  // accessed already; the other levels are in RAM
  std::memcpy(*bytes, &entry, sizeof entry);
  start_state.cr3 = rom;
  EXPECT_EQ(run({0x90}), none);
}

TEST_F(Translation, FetchAcrossTheCanonicalBorderIsGeneralProtection) {
  put<u64>(0x1000 + 255 * 8, 0x2003);
  put<u64>(0x1000 + 256 * 8, 0x2003);  // what wrapped bits would find
  put<u64>(0x2000 + 511 * 8, 0x3003);
  put<u64>(0x3000 + 511 * 8, 0x4003);
  put<u64>(0x4000 + 511 * 8, data | 3);
  put<u8>(data + page_size - 1, 0x66);
  reg(x86::Gpr::rax) = 0x7fff'ffff'ffff;
  EXPECT_EQ(run({0xff, 0xe0}), gp);  // jmp rax
  EXPECT_EQ(get<u8>(data + page_size - 1), 0x66);  // ADD [RAX], AL has not been executed
}

TEST_F(Translation, TheSameIpInAnotherSegmentIsOtherCode) {
  const u8 here[] = {0x40, 0x3c, 5, 0x74, 5,             // inc ax; give up at 5
                     0xea, 0, 0, 0x00, 0x11, 0xf4};      // jmp 1100h:0
  const u8 there[] = {0x43, 0xf4};                       // inc bx; hlt
  put(0x10000, here, sizeof here);
  put(0x11000, there, sizeof there);
  start_state.reset(false);
  start_state.seg[static_cast<u8>(x86::Seg::cs)].selector = 0x1000;
  start_state.seg[static_cast<u8>(x86::Seg::cs)].base = 0x10000;
  start_state.rip = 0;
  cpu->load_state(engine::StateGroups::all, start_state);
  engine::Exit exit;
  cpu->run(exit);
  EXPECT_EQ(exit.code, abi::ExitCode::hlt);
  EXPECT_EQ(cpu->r(x86::Gpr::rax), 1u);
  EXPECT_EQ(cpu->r(x86::Gpr::rbx), 1u);
}

/// One physical page mapped twice in a row: the instruction at its end goes on at its start.
TEST_F(Translation, CrossingIntoTheSamePageFollowsItsMapping) {
  constexpr u64 first = 0x100000, second = first + page_size, other = 0x102000;
  put<u64>(0x4000 + first / page_size * 8, first | 3);
  put<u64>(0x4000 + second / page_size * 8, first | 3);
  put<u8>(first + page_size - 1, 0xb0);           // mov al, imm8
  const u8 again[] = {0x11, 0xff, 0xe3};          // 11h; jmp rbx
  const u8 elsewhere[] = {0x22, 0xff, 0xe3};
  put(first, again, sizeof again);
  put(other, elsewhere, sizeof elsewhere);
  const u64 entry_at = 0x4000 + second / page_size * 8;
  std::vector<u8> bytes{0x48, 0x8d, 0x1d, 2, 0, 0, 0,  // lea rbx, [rip + 2]
                        0xff, 0xe1,                    // jmp rcx: the crossing one
                        0x88, 0xc2,                    // mov dl, al
                        0x4c, 0x89, 0x06,              // mov [rsi], r8: another mapping
                        0x0f, 0x01, 0x3f,              // invlpg [rdi]
                        0x48, 0x8d, 0x1d, 2, 0, 0, 0,
                        0xff, 0xe1};
  reg(x86::Gpr::rcx) = first + page_size - 1;
  reg(x86::Gpr::rsi) = entry_at;
  reg(x86::Gpr::r8) = other | 3;
  reg(x86::Gpr::rdi) = second;
  EXPECT_EQ(run(bytes), none);
  EXPECT_EQ(cpu->r(x86::Gpr::rdx) & 0xff, 0x11u);
  EXPECT_EQ(cpu->r(x86::Gpr::rax) & 0xff, 0x22u);
}

}  // namespace
}  // namespace bhyve::soft
