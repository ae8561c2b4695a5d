#include "vmm/chips.hpp"

#include "fake_engine.hpp"
#include "x86/msr.hpp"

namespace bhyve::vmm::test {
namespace {

using Access = engine::Client::Access;

class ChipsRouting : public VmTest {
 protected:
  Access msr(VcpuId id, u32 number, u64& value, Dir dir) {
    return vm->vcpu(id).msr(id, number, value, dir);
  }
  u64 read(VcpuId id, u64 gpa, unsigned size) {
    u64 value = ~u64{0};
    EXPECT_EQ(vm->vcpu(id).mmio(id, Gpa{gpa}, size, value, Dir::read), Access::done);
    return value;
  }
};

TEST_F(ChipsRouting, EachCpuSeesItsOwnLocalApic) {
  make(2);
  EXPECT_EQ(read(0, 0xfee0'0020, 4), 0u);
  EXPECT_EQ(read(1, 0xfee0'0020, 4), 0x0100'0000u);
  EXPECT_EQ(read(1, 0xfee0'0023, 1), 1u);
  EXPECT_EQ(read(1, 0xfee0'0024, 4), 0u);
  EXPECT_EQ(read(1, 0xfee0'0020, 8), 0x0100'0000u);
}

TEST_F(ChipsRouting, OnlyWholeAlignedWritesReachALocalApic) {
  make(1);
  u64 value = 0x20;
  vm->vcpu(0).mmio(0, Gpa{0xfee0'0080}, 1, value, Dir::write);
  EXPECT_EQ(vm->vcpu(0).cr8(0), 0);
  vm->vcpu(0).mmio(0, Gpa{0xfee0'0080}, 4, value, Dir::write);
  EXPECT_EQ(vm->vcpu(0).cr8(0), 2);
}

TEST_F(ChipsRouting, TheApicPageMovesWithApicbaseAndGoesInX2apicMode) {
  make(1);
  u64 value = 0;
  ASSERT_EQ(msr(0, x86::msr::apic_base, value, Dir::read), Access::done);
  u64 moved = (value & page_mask) | 0xfed1'0000;
  ASSERT_EQ(msr(0, x86::msr::apic_base, moved, Dir::write), Access::done);
  EXPECT_EQ(read(0, 0xfed1'0030, 4) >> 16, read(0, 0xfed1'0032, 2));
  u64 data = 0;
  EXPECT_EQ(vm->vcpu(0).mmio(0, Gpa{0xfee0'0030}, 4, data, Dir::read), Access::exit);
  u64 x2apic = moved | x86::msr::apic_base_x2apic;
  ASSERT_EQ(msr(0, x86::msr::apic_base, x2apic, Dir::write), Access::done);
  EXPECT_EQ(vm->vcpu(0).mmio(0, Gpa{0xfed1'0030}, 4, data, Dir::read), Access::exit);
  EXPECT_TRUE(vm->vcpu(0).x2apic_enabled(0));
}

TEST_F(ChipsRouting, X2apicRegistersFaultInXapicMode) {
  make(1);
  u64 value = 0;
  EXPECT_EQ(msr(0, 0x802, value, Dir::read), Access::fault);
  EXPECT_EQ(msr(0, 0x12345, value, Dir::read), Access::exit);
}

TEST_F(ChipsRouting, IoApicAndHpetAnswerAtTheirPages) {
  make(1);
  u64 select = 1;
  ASSERT_EQ(vm->vcpu(0).mmio(0, Gpa{0xfec0'0000}, 4, select, Dir::write), Access::done);
  EXPECT_EQ(read(0, 0xfec0'0010, 4) >> 16 & 0xff, 31u);
  EXPECT_EQ(read(0, 0xfed0'0000, 8) >> 32, 100'000'000u);
  u64 value = 0;
  EXPECT_EQ(vm->vcpu(0).mmio(0, Gpa{0xfed0'0400}, 4, value, Dir::read), Access::exit);
  EXPECT_EQ(vm->vcpu(0).mmio(0, Gpa{0xfed0'03fc}, 8, value, Dir::read), Access::exit);
  EXPECT_EQ(vm->vcpu(0).mmio(0, Gpa{~u64{0} - 7}, 8, value, Dir::read), Access::exit);
}

TEST_F(ChipsRouting, ThePortsOfTheChipsAreHandledInsideAndNoOthers) {
  make(1);
  const u16 ours[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40,  0x41,  0x42, 0x43,
                      0x61, 0x70, 0x71, 0x72, 0x73,  0x408, 0x409, 0x40a, 0x40b};
  for (u32 port = 0; port <= 0xffff; ++port) {
    u32 value = 0;
    const bool inside =
        vm->vcpu(0).pio(0, static_cast<u16>(port), 1, value, Dir::read) == Access::done;
    ASSERT_EQ(inside, std::ranges::count(ours, port) == 1) << port;
  }
  u32 value = 0;
  EXPECT_EQ(vm->vcpu(0).pio(0, 0x21, 2, value, Dir::read), Access::exit);
  EXPECT_EQ(vm->vcpu(0).pio(0, 0x408, 4, value, Dir::read), Access::done);
}

TEST_F(ChipsRouting, ATscDeadlineIsMeantInTheGuestsTsc) {
  make(1);
  enable_lapic(0);
  u64 lvt = 0x4'0050;
  vm->vcpu(0).mmio(0, Gpa{0xfee0'0320}, 4, lvt, Dir::write);
  cpu(0).regs.tsc_offset = u64{0} - timer::TscClock::host_now();  // the guest's TSC is about 0
  u64 far = u64{1} << 40;
  ASSERT_EQ(msr(0, x86::msr::tsc_deadline, far, Dir::write), Access::done);
  EXPECT_FALSE(vm->vcpu(0).pending(0).interrupt);
  EXPECT_GT(vm->chips().lapic(0).timer_deadline(), monotonic_now());
  u64 past = 1;
  ASSERT_EQ(msr(0, x86::msr::tsc_deadline, past, Dir::write), Access::done);
  EXPECT_TRUE(vm->vcpu(0).pending(0).interrupt);
  EXPECT_EQ(vm->vcpu(0).accept_interrupt(0), 0x50);
}

TEST_F(ChipsRouting, AWriteOfTheTscMovesAnArmedDeadline) {
  make(1);
  enable_lapic(0);
  u64 lvt = 0x4'0050;
  vm->vcpu(0).mmio(0, Gpa{0xfee0'0320}, 4, lvt, Dir::write);
  cpu(0).regs.tsc_offset = u64{0} - timer::TscClock::host_now();
  u64 far = u64{1} << 40;
  ASSERT_EQ(msr(0, x86::msr::tsc_deadline, far, Dir::write), Access::done);
  const Nanos before = vm->chips().lapic(0).timer_deadline();
  vm->vcpu(0).tsc_written(0, cpu(0).regs.tsc_offset + (u64{1} << 39));
  EXPECT_LT(vm->chips().lapic(0).timer_deadline(), before);
  EXPECT_FALSE(vm->vcpu(0).pending(0).interrupt);
  vm->vcpu(0).tsc_written(0, cpu(0).regs.tsc_offset + far);
  EXPECT_TRUE(vm->vcpu(0).pending(0).interrupt);
}

TEST_F(ChipsRouting, WithoutTscDeadlineItsMsrIsUnknown) {
  config.tsc_deadline = false;
  make(1);
  u64 value = 0;
  EXPECT_EQ(msr(0, x86::msr::tsc_deadline, value, Dir::write), Access::exit);
}

}  // namespace
}  // namespace bhyve::vmm::test
