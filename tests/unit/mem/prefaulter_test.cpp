#include "mem/prefaulter.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "mem/vmspace.hpp"

namespace bhyve::mem {
namespace {

constexpr u64 window = 64 * KiB, size = 16 * MiB;

TEST(PrefaulterTest, AllocatesAheadOfAStream) {
  auto space = Vmspace::create({.lowmem = size, .prefault = true});
  ASSERT_TRUE(space);
  Vmspace& vm = **space;
  for (u64 n = 0; n < 8; ++n) ASSERT_EQ(vm.fault(Gpa(n * window), Prot::write), FaultResult::resolved);
  vm.settle_prefault();
  EXPECT_GE(vm.resident_bytes(), FaultStreams::lead);
  EXPECT_LE(vm.resident_bytes(), 8 * window + 2 * FaultStreams::lead);
}

TEST(PrefaulterTest, IsNotAskedWhereItIsOff) {
  auto space = Vmspace::create({.lowmem = size});
  ASSERT_TRUE(space);
  for (u64 n = 0; n < size / window; ++n)
    ASSERT_EQ((*space)->fault(Gpa(n * window), Prot::write), FaultResult::resolved);
  (*space)->settle_prefault();
  EXPECT_EQ((*space)->resident_bytes(), 0u);
}

TEST(PrefaulterTest, StaysWithinTheMemory) {
  auto space = Vmspace::create({.lowmem = size, .prefault = true});
  ASSERT_TRUE(space);
  for (u64 n = 0; n < size / window; ++n) {
    ASSERT_EQ((*space)->fault(Gpa(n * window), Prot::write), FaultResult::resolved);
    (*space)->settle_prefault();
  }
  EXPECT_LE((*space)->resident_bytes(), size);
  EXPECT_GE((*space)->resident_bytes(), size - size / 8) << "all but where the stream began, at least";
  EXPECT_FALSE((*space)->lost_memory());
}

TEST(PrefaulterTest, LeavesItToOthersWhereTheHostRefuses) {
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  {
    Prefaulter prefaulter(window, false);
    for (u64 n = 0; n < size / window; ++n)
      prefaulter.faulted(n * window, 0, size, static_cast<std::byte*>(at));
    prefaulter.settle();
  }
  std::array<unsigned char, size / page_size> in_core{};
  ASSERT_EQ(::mincore(at, size, in_core.data()), 0);
  EXPECT_EQ(std::count_if(in_core.begin(), in_core.end(), [](unsigned char c) { return c & 1; }), 0);
  ::munmap(at, size);
}

TEST(PrefaulterTest, EndsWithWorkLeft) {
  auto space = Vmspace::create({.lowmem = size, .prefault = true});
  ASSERT_TRUE(space);
  for (u64 n = 0; n < size / window; ++n)
    ASSERT_EQ((*space)->fault(Gpa(n * window), Prot::write), FaultResult::resolved);
  space->reset();  // asks for nothing more, and waits for its thread
}

}  // namespace
}  // namespace bhyve::mem
