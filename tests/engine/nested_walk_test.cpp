// The CPU's walker of nested tables against the pmap: whatever was done to the tables, an access faults
// exactly if the entries do not grant it to hardware, ends at the page that the pmap says, and leaves the
// flags that it owes. Bits that hardware ignores, 52 and 53 among them, do not matter to it.
#include <gtest/gtest.h>

#include <random>

#include "configurations.hpp"
#include "mem/ram_access.hpp"
#include "pmap/pmap_ept.hpp"
#include "test_machine.hpp"
#include "test_modes.hpp"

namespace bhyve::test {
namespace {

using mem::Prot;
using pmap::Ept;
using Nested = TestMachine::Options::Nested;

/// Without paging of its own, so that every linear address is a guest-physical one.
class NestedWalk : public testing::TestWithParam<std::tuple<const char*, Nested>> {
 protected:
  static constexpr u64 region = 4 * MiB, pages = (8 * MiB) >> page_shift;
  static constexpr u64 hot = 64;  ///< pages where most happens
  static constexpr u32 read_at = 0x10'0000, write_at = 0x10'0100, call_at = 0x10'0200, stack = 0x8'0000;
  static constexpr u64 mark = 8;  ///< offset in each page of its number
  static constexpr u8 ret = 0xc3, hlt = 0xf4;

  NestedWalk() : machine(*find_configuration(std::get<0>(GetParam())),
                         {.nested = std::get<1>(GetParam())}) {
    const u8 reads[] = {0x8b, 0x43, mark, hlt}, writes[] = {0x89, 0x43, mark, hlt},
             calls[] = {0xff, 0xd3, hlt};
    machine.write(read_at, reads);
    machine.write(write_at, writes);
    machine.write(call_at, calls);
    for (u64 n = 0; n < pages; ++n) {
      machine.write_value<u8>(at(n), ret);
      machine.write_value<u32>(at(n) + mark, static_cast<u32>(n));
    }
    pmap().remove(region, pages << page_shift);
    state = enter_protected_mode(machine, read_at, stack);
    (void)fault_count(0, read_at);  // what every access below needs is mapped then
    (void)fault_count(0, write_at);
    (void)fault_count(0, call_at);
  }
  static u64 at(u64 page) { return region + (page << page_shift); }
  pmap::Pmap& pmap() { return machine.space().pmap(); }
  u64 faults() {
    u64 count = 0;
    machine.vcpu(0).statistics([&](std::string_view text, u64 value) {
      if (text == "vm exits due to nested page fault") count = value;
    });
    return count;
  }
  /// Runs one of the programs on a page; the nested faults that it took.
  u64 fault_count(u64 page, u32 program) {
    const u64 before = faults();
    state.rip = program;
    state.gpr[static_cast<usize>(x86::Gpr::rbx)] = at(page);
    state.gpr[static_cast<usize>(x86::Gpr::rax)] = page;
    state.gpr[static_cast<usize>(x86::Gpr::rsp)] = stack;
    machine.vcpu(0).load(engine::StateGroups::all, state);
    engine::Exit exit;
    machine.vcpu(0).run(exit);
    EXPECT_EQ(exit.code, abi::ExitCode::hlt) << page;
    return faults() - before;
  }
  /// What hardware reads in the entries on the way to a page.
  bool granted(u64 page, Prot access) {
    const u64 need = has(access, Prot::write)  ? u64{Ept::write}
                     : has(access, Prot::exec) ? u64{Ept::exec}
                                               : u64{Ept::read};
    const pmap::Lookup l = pmap().lookup(at(page));
    for (unsigned n = 0; n < l.count; ++n)
      if (!(l.entries[n] & need)) return false;
    return true;
  }
  void check(u64 page, Prot access) {
    const bool write = has(access, Prot::write), exec = has(access, Prot::exec);
    const bool free = granted(page, access);
    const u64 count = fault_count(page, write ? write_at : exec ? call_at : read_at);
    ++(free ? went_through : faulted);
    ASSERT_EQ(count == 0, free) << "page " << page << " access " << static_cast<int>(access);
    if (!write && !exec) {
      machine.vcpu(0).store(engine::StateGroups::gprs, state);
      ASSERT_EQ(static_cast<u32>(state.gpr[static_cast<usize>(x86::Gpr::rax)]), page);
    }
    const pmap::Lookup l = pmap().lookup(at(page));
    ASSERT_TRUE(l.present);
    ASSERT_EQ(l.frame, at(page));
    const u64 leaf = l.entries[l.count - 1];
    // Without flags of the hardware, the right to execute alone lets nobody see an execution.
    if (pmap().ad_bits() || !exec) {
      ASSERT_TRUE(leaf & pmap().accessed_bit()) << page;
    }
    if (write) {
      ASSERT_TRUE(leaf & pmap().modified_bit()) << page;
    }
  }
  /// Changes bits of the leaf behind the pmap's back, as it was entered.
  void flip(u64 page, u64 bits) {
    const pmap::Lookup l = pmap().lookup(at(page));
    if (!l.present) return;
    ArenaAddr table = pmap().root();
    for (unsigned n = 0; n + 1 < l.count; ++n) table = Ept::frame(l.entries[n]);
    auto* slot = reinterpret_cast<std::atomic<u64>*>(machine.space().arena().host(table)) +
                 (at(page) >> pmap::level_shift(pmap::top_level + 1 - l.count)) % 512;
    slot->fetch_xor(bits);
    pmap().invalidate_ept();
  }
  void change(std::mt19937_64& random) {
    const u64 page = random() % (random() % 8 ? hot : pages), bytes = (1 + random() % 40) << page_shift;
    const auto forget = [](u64, u64) {};
    switch (random() % 8) {
      case 0: pmap().remove(at(page), bytes); break;
      case 1: pmap().write_protect(at(page), bytes); break;
      case 2: pmap().clear_accessed(at(page), bytes, forget); break;
      case 3: pmap().clear_modified(at(page), bytes); break;
      case 4: {
        const u64 va = at(page) & ~(superpage_size - 1);
        ASSERT_TRUE(pmap().enter_large(va, {.frame = ArenaAddr(va), .write = true, .accessed = true,
                                            .modified = true}));
        break;
      }
      case 5: (void)pmap().promote(at(page)); break;
      // Those of the other scheme: here they are nobody's.
      case 6: if (pmap().ad_bits()) flip(page, random() % 4 << 52); break;
      default: (void)machine.space().hold(Gpa(at(page)), bytes / 8, Prot::rw); break;
    }
  }

  TestMachine machine;
  engine::VcpuState state;
  u64 went_through = 0, faulted = 0;
};

INSTANTIATE_TEST_SUITE_P(
    Engines, NestedWalk,
    testing::Combine(testing::Values("soft-interp", "soft-translate"),
                     testing::Values(Nested::plain, Nested::emulated)),
    [](const auto& p) {
      return std::string(std::get<0>(p.param) + 5) +
             (std::get<1>(p.param) == Nested::plain ? "_hardware" : "_emulated");
    });

TEST_P(NestedWalk, AgreesWithThePmapWhateverWasDoneToTheTables) {
  std::mt19937_64 random(52);
  for (int round = 0; round < 20'000; ++round) {
    if (random() % 2) change(random);
    constexpr Prot kinds[] = {Prot::read, Prot::write, Prot::exec};
    check(random() % (random() % 4 ? hot : pages), kinds[random() % 3]);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(went_through, 1000u);
  EXPECT_GT(faulted, 1000u);
}

}  // namespace
}  // namespace bhyve::test
