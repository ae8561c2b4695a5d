#include "machine/inspect.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace bhyve::machine {
namespace {

u64 value(const VcpuRegisters& registers, std::string_view name) {
  const auto it = std::find_if(registers.registers.begin(), registers.registers.end(),
                               [&](const RegisterValue& r) { return r.name == name; });
  return it == registers.registers.end() ? ~u64{0} : it->value;
}

TEST(Inspect, RegistersGoByTheirNames) {
  engine::VcpuState state;
  state.gpr[static_cast<usize>(x86::Gpr::rsp)] = 0x1000;
  state.gpr[static_cast<usize>(x86::Gpr::r15)] = 15;
  state.rip = 0xfff0;
  state.cr3 = 0x2000;
  state.dr = {1, 2, 3, 4};
  const auto out = describe(state);
  EXPECT_EQ(value(out, "rsp"), 0x1000u);
  EXPECT_EQ(value(out, "r15"), 15u);
  EXPECT_EQ(value(out, "rip"), 0xfff0u);
  EXPECT_EQ(value(out, "cr3"), 0x2000u);
  EXPECT_EQ(value(out, "dr3"), 4u);
}

TEST(Inspect, DescriptorsKeepAllFourParts) {
  engine::VcpuState state;
  state.seg[static_cast<usize>(x86::Seg::tr)] = {0x40, 0x8b, 0x67, 0x1234};
  const auto out = describe(state);
  const auto tr = std::find_if(out.descriptors.begin(), out.descriptors.end(),
                               [](const DescriptorValue& d) { return d.name == "tr"; });
  ASSERT_NE(tr, out.descriptors.end());
  EXPECT_EQ(tr->selector, 0x40u);
  EXPECT_EQ(tr->access, 0x8bu);
  EXPECT_EQ(tr->limit, 0x67u);
  EXPECT_EQ(tr->base, 0x1234u);
}

}  // namespace
}  // namespace bhyve::machine
