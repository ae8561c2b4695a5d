// Which instructions are found in pages of code, and which bytes are taken for none.
#include "engine/soft/direct/sensitive_code.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace bhyve::soft {
namespace {

using Bytes = std::vector<u8>;

/// What GCC makes of an ordinary function: nothing in it is sensitive, and it begins and ends an instruction.
const Bytes ordinary = {
    0xf3, 0x0f, 0x1e, 0xfa,                    // endbr64
    0x41, 0x54,                                // push r12
    0x55,                                      // push rbp
    0x48, 0x89, 0xfd,                          // mov rbp, rdi
    0x48, 0x83, 0xec, 0x18,                    // sub rsp, 24
    0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0,  // mov rax, fs:[28h]
    0x48, 0x89, 0x44, 0x24, 0x08,              // mov [rsp + 8], rax
    0x31, 0xc0,                                // xor eax, eax
    0x48, 0x8d, 0x35, 0xe1, 0x2f, 0x01, 0x00,  // lea rsi, [rip + 12fe1h]
    0x0f, 0xb6, 0x47, 0x10,                    // movzx eax, byte [rdi + 10h]
    0x3c, 0x2f,                                // cmp al, 2fh
    0x0f, 0x84, 0x9a, 0x00, 0x00, 0x00,        // je
    0xe8, 0x5c, 0xfe, 0xff, 0xff,              // call
    0xf2, 0x0f, 0x10, 0x45, 0x08,              // movsd xmm0, [rbp + 8]
    0x66, 0x0f, 0xef, 0xc9,                    // pxor xmm1, xmm1
    0x0f, 0xaf, 0xc2,                          // imul eax, edx
    0x0f, 0x1f, 0x44, 0x00, 0x00,              // nop [rax + rax]
    0x48, 0x83, 0xc4, 0x18,                    // add rsp, 24
    0x5d,                                      // pop rbp
    0x41, 0x5c,                                // pop r12
    0xc3,                                      // ret
};

/// That function again and again, but for what is put there.
class Page final {
 public:
  Page() {
    for (usize n = 0; n < bytes_.size(); ++n) bytes_[n] = ordinary[n % ordinary.size()];
  }
  Page& put(usize at, const Bytes& code) {
    std::copy(code.begin(), code.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at));
    return *this;
  }
  Page& fill(usize from, usize end, u8 value) {
    std::fill(bytes_.begin() + static_cast<std::ptrdiff_t>(from), bytes_.begin() + static_cast<std::ptrdiff_t>(end),
              value);
    return *this;
  }
  [[nodiscard]] const std::byte* data() const { return reinterpret_cast<const std::byte*>(bytes_.data()); }

 private:
  alignas(8) std::array<u8, page_size> bytes_;
};

/// The function, `code`, and the function from its begin again.
Sensitive within(const Bytes& code) {
  Page page;
  const usize at = ordinary.size() * 20;
  page.put(at, code).put(at + code.size(), ordinary).put(at + code.size() + ordinary.size(), ordinary);
  const usize behind = at + code.size() + 2 * ordinary.size();
  page.fill(behind, behind + ordinary.size(), 0x90);
  return find_sensitive(page.data(), Page().data()).kinds;
}

std::string text(const Bytes& code) {
  std::string all;
  for (const u8 byte : code) all += "0123456789abcdef"[byte >> 4], all += "0123456789abcdef"[byte & 15], all += ' ';
  return all;
}

void expect(Sensitive kind, const std::vector<Bytes>& all) {
  for (const Bytes& code : all) EXPECT_EQ(within(code), kind) << text(code);
}

TEST(SensitiveCodeTest, OrdinaryCodeHasNothing) {
  const Page page;
  EXPECT_EQ(find_sensitive(page.data(), page.data()).kinds, Sensitive::none);
  expect(Sensitive::none, {{0x90}});
}

TEST(SensitiveCodeTest, Cpuid) {
  expect(Sensitive::cpuid, {{0x0f, 0xa2},
                            {0x31, 0xc9, 0x0f, 0xa2},                          // xor ecx, ecx
                            {0xb8, 0x07, 0, 0, 0, 0x53, 0x0f, 0xa2, 0x5b}});  // mov eax, 7; push rbx ... pop rbx
}

TEST(SensitiveCodeTest, WhatFollowsTheHostsXcr0) {
  expect(Sensitive::xstate, {{0x0f, 0x01, 0xd0},                                // xgetbv
                             {0x0f, 0xae, 0x64, 0x24, 0x40},                    // xsave [rsp + 40h]
                             {0x48, 0x0f, 0xae, 0x27},                          // xsave64 [rdi]
                             {0x0f, 0xae, 0x6c, 0x24, 0x40},                    // xrstor [rsp + 40h]
                             {0x48, 0x0f, 0xae, 0x2f},                          // xrstor64 [rdi]
                             {0x0f, 0xae, 0x37},                                // xsaveopt [rdi]
                             {0x0f, 0xc7, 0x64, 0x24, 0x40},                    // xsavec [rsp + 40h]
                             {0x48, 0x0f, 0xc7, 0x27},                          // xsavec64 [rdi]
                             {0x0f, 0xc7, 0x1f},                                // xrstors [rdi]
                             {0x0f, 0xc7, 0x2f}});                              // xsaves [rdi]
}

TEST(SensitiveCodeTest, WhatTellsOfTheHost) {
  expect(Sensitive::other, {{0x0f, 0x03, 0xc1},                                 // lsl eax, ecx
                            {0x66, 0x0f, 0x03, 0xc1},
                            {0x48, 0x0f, 0x03, 0xc1},
                            {0x4d, 0x0f, 0x03, 0xc9},                           // lsl r9, r9
                            {0x65, 0x0f, 0x03, 0x04, 0x25, 0x10, 0, 0, 0},      // lsl eax, gs:[10h]
                            {0x66, 0x67, 0x2e, 0x0f, 0x03, 0x01},
                            {0x0f, 0x34},                                       // sysenter
                            {0xf3, 0x0f, 0xc7, 0xf8},                           // rdpid rax
                            {0xf3, 0x48, 0x0f, 0xc7, 0xf8},
                            {0xf3, 0x41, 0x0f, 0xc7, 0xfa},                     // rdpid r10
                            {0xcd, 0x80},                                       // int 80h
                            {0x0f, 0x01, 0x04, 0x24},                           // sgdt [rsp]
                            {0x0f, 0x01, 0x4c, 0x24, 0x08},                     // sidt [rsp + 8]
                            {0x0f, 0x01, 0xe0}, {0x48, 0x0f, 0x01, 0xe0},       // smsw
                            {0x0f, 0x01, 0x20},
                            {0x0f, 0x00, 0xc0}, {0x0f, 0x00, 0x07},             // sldt
                            {0x0f, 0x00, 0xc8},                                 // str
                            {0x0f, 0x00, 0xe1}, {0x0f, 0x00, 0x6c, 0x24, 0x04},  // verr, verw
                            {0x0f, 0x02, 0xc1}});                               // lar
}

TEST(SensitiveCodeTest, WhatTheGuestsProcessorHasNot) {
  expect(Sensitive::other, {{0x0f, 0x01, 0xc1}, {0x0f, 0x01, 0xd9},             // vmcall, vmmcall
                            {0x0f, 0x01, 0xd4}});                               // vmfunc
  expect(Sensitive::pkru, {{0x0f, 0x01, 0xee}, {0x0f, 0x01, 0xef}});            // rdpkru, wrpkru
}

TEST(SensitiveCodeTest, WhatLoadsSegments) {
  expect(Sensitive::other, {{0x0f, 0xa1}, {0x0f, 0xa9},                         // pop fs, gs
                            {0x0f, 0xb2, 0x07}, {0x0f, 0xb4, 0x07}, {0x0f, 0xb5, 0x07}});  // lss, lfs, lgs
}

TEST(SensitiveCodeTest, KindsAddUp) {
  const Sensitive all = within({0x0f, 0xa2, 0x0f, 0x01, 0xd0, 0x0f, 0x34});
  EXPECT_TRUE(has(all, Sensitive::cpuid) && has(all, Sensitive::xstate) && has(all, Sensitive::other));
}

TEST(SensitiveCodeTest, NeighboursOfTheirOpcodesAreNone) {
  expect(Sensitive::none, {{0x0f, 0xc7, 0xf8},                                  // rdseed eax
                           {0x48, 0x0f, 0xc7, 0xf8},                            // rdseed rax
                           {0x48, 0x0f, 0xc7, 0xf0},                            // rdrand rax
                           {0x0f, 0xc7, 0x0f},                                  // cmpxchg8b [rdi]
                           {0xf0, 0x48, 0x0f, 0xc7, 0x0f},                      // lock cmpxchg16b [rdi]
                           {0x0f, 0xae, 0xe8}, {0x0f, 0xae, 0xf0}, {0x0f, 0xae, 0xf8},  // lfence, mfence, sfence
                           {0x0f, 0xae, 0x5c, 0x24, 0x0c},                      // stmxcsr
                           {0x0f, 0xae, 0x54, 0x24, 0x0c},                      // ldmxcsr
                           {0xf3, 0x48, 0x0f, 0xae, 0xd0},                      // wrfsbase rax
                           {0x0f, 0x01, 0xf9},                                  // rdtscp traps
                           {0x0f, 0x01, 0xf8}, {0x0f, 0x01, 0x3f},              // swapgs, invlpg: the same
                           {0x0f, 0xa0}, {0x0f, 0xa3, 0xc1},                    // push fs; bt
                           {0xcd, 0x03},                                        // int 3
                           {0x0f, 0x31}, {0x0f, 0x05}, {0x0f, 0x0b}});          // rdtsc, syscall, ud2
}

TEST(SensitiveCodeTest, OperandsOfOtherInstructionsAreNone) {
  expect(Sensitive::none, {{0xb8, 0x0f, 0x03, 0x00, 0x00},                      // mov eax, 30fh
                           {0xba, 0x0f, 0xa2, 0x00, 0x00},                      // mov edx, 0a20fh
                           {0xe8, 0x0f, 0x34, 0x00, 0x00},                      // call +340fh
                           {0xbe, 0xcd, 0x80, 0x00, 0x00},                      // mov esi, 80cdh
                           {0x66, 0x3d, 0xcd, 0x80},                            // cmp ax, 80cdh
                           {0x48, 0x8b, 0x05, 0x0f, 0x03, 0x20, 0x00},          // mov rax, [rip + 20030fh]
                           {0x48, 0x8d, 0x3d, 0x10, 0x0f, 0x03, 0x00},          // lea rdi, [rip + 30f10h]
                           {0x81, 0xfa, 0x0f, 0xa2, 0x01, 0x00},                // cmp edx, 1a20fh
                           {0x8b, 0x87, 0x0f, 0x03, 0x00, 0x00},                // mov eax, [rdi + 30fh]
                           {0xc7, 0x47, 0x0f, 0x03, 0x00, 0x00, 0x00}});        // mov dword [rdi + 15], 3
}

TEST(SensitiveCodeTest, AtThePagesBegin) {
  EXPECT_EQ(find_sensitive(Page().put(0, {0x0f, 0xa2, 0x90, 0x90}).data(), Page().data()).kinds, Sensitive::cpuid);
  EXPECT_EQ(find_sensitive(Page().put(0, {0x0f, 0x03, 0xc1, 0x90}).data(), Page().data()).kinds, Sensitive::other);
  // F3 may be the last byte of the page before.
  EXPECT_EQ(find_sensitive(Page().put(0, {0x0f, 0xc7, 0xf8, 0x90}).data(), Page().data()).kinds, Sensitive::other);
}

TEST(SensitiveCodeTest, ThePageBeforeSaysHowItBegins) {
  // mov rax, [rip + 20fh], of which the page before has the first three bytes; after it NOPs.
  Page before, page;
  before.fill(0, page_size, 0x90).put(page_size - 3, {0x48, 0x8b, 0x05});
  page.fill(0, page_size, 0x90).put(0, {0x0f, 0x02, 0x00, 0x00});
  EXPECT_EQ(find_sensitive(page.data(), Page().data()).kinds, Sensitive::other) << "LAR";
  EXPECT_EQ(find_sensitive(page.data(), Page().data(), before.data()).kinds, Sensitive::none);
  before.put(page_size - 3, {0x90, 0x90, 0x90});
  EXPECT_EQ(find_sensitive(page.data(), Page().data(), before.data()).kinds, Sensitive::other);
  // RDPID or RDSEED: F3 says it.
  page.put(0, {0x0f, 0xc7, 0xf8, 0x90});
  EXPECT_EQ(find_sensitive(page.data(), Page().data(), before.data()).kinds, Sensitive::none);
  before.put(page_size - 1, {0xf3});
  EXPECT_EQ(find_sensitive(page.data(), Page().data(), before.data()).kinds, Sensitive::other);
}

TEST(SensitiveCodeTest, ThePageBeforeIsDecodedFarEnough) {
  for (unsigned at = 0; at < 64; at += 7) {  // where it begins on its page
    Page before, page;
    before.fill(0, page_size, 0x90);
    page.fill(0, page_size, 0x90).put(at, {0x0f, 0xa2});
    EXPECT_EQ(find_sensitive(page.data(), Page().data(), before.data()).kinds, Sensitive::cpuid) << at;
    page.put(at, {0xba, 0x0f, 0xa2, 0x00, 0x00});  // mov edx, 0a20fh
    EXPECT_EQ(find_sensitive(page.data(), Page().data(), before.data()).kinds, Sensitive::none) << at;
  }
}

class PageEndTest : public testing::Test {
 protected:
  /// NOPs, then `code` up to the page's end.
  static Page ending_in(const Bytes& code) {
    Page page;
    page.fill(page_size - 64, page_size, 0x90).put(page_size - code.size(), code);
    return page;
  }
};

TEST_F(PageEndTest, WhatIsWholeIsFoundWhateverFollows) {
  const Page page = ending_in({0x0f, 0x01, 0xd0});
  EXPECT_EQ(find_sensitive(page.data(), Page().data()).kinds, Sensitive::xstate);
  EXPECT_EQ(find_sensitive(page.data(), nullptr).kinds, Sensitive::xstate);
}

TEST_F(PageEndTest, TheNextPageSaysHowItGoesOn) {
  const Page one = ending_in({0x0f}), two = ending_in({0x0f, 0x01});
  EXPECT_EQ(find_sensitive(one.data(), Page().put(0, {0xa2}).data()).kinds, Sensitive::cpuid);
  EXPECT_EQ(find_sensitive(one.data(), Page().put(0, {0x03, 0xc1}).data()).kinds, Sensitive::other);
  EXPECT_EQ(find_sensitive(one.data(), Page().put(0, {0x84, 0x10, 0, 0, 0}).data()).kinds, Sensitive::none);
  EXPECT_EQ(find_sensitive(two.data(), Page().put(0, {0xd0}).data()).kinds, Sensitive::xstate);
  EXPECT_EQ(find_sensitive(two.data(), Page().put(0, {0xf8}).data()).kinds, Sensitive::none) << "swapgs";
  EXPECT_EQ(find_sensitive(ending_in({0xcd}).data(), Page().put(0, {0x80}).data()).kinds, Sensitive::other);
  EXPECT_EQ(find_sensitive(ending_in({0xcd}).data(), Page().put(0, {0x03}).data()).kinds, Sensitive::none);
  EXPECT_EQ(find_sensitive(ending_in({0xf3, 0x0f}).data(), Page().put(0, {0xc7, 0xf8}).data()).kinds, Sensitive::other);
}

TEST_F(PageEndTest, WithoutANextPageWhatMayGoOnThereIsSensitive) {
  EXPECT_EQ(find_sensitive(ending_in({0x0f}).data(), nullptr).kinds, Sensitive::other);
  EXPECT_EQ(find_sensitive(ending_in({0x0f, 0x01}).data(), nullptr).kinds, Sensitive::other);
  EXPECT_EQ(find_sensitive(ending_in({0xc3}).data(), nullptr).kinds, Sensitive::none);
}

}  // namespace
}  // namespace bhyve::soft
