#include "platform/e820.hpp"

#include <gtest/gtest.h>

#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

using x86::E820Entry;
using x86::E820Type;

TEST(E820, BigMachineHasBothRamRangesAndTheReservedOnes) {
  const std::vector<E820Entry> expected{
      {0, 0x9'fc00, E820Type::ram},
      {0x9'fc00, 0x400, E820Type::reserved},
      {0xe'0000, 0x2'0000, E820Type::reserved},
      {0x10'0000, 0xbff0'0000, E820Type::ram},
      {0xe000'0000, 0x1000'0000, E820Type::reserved},
      {0x1'0000'0000, 0x4000'0000, E820Type::ram},
  };
  EXPECT_EQ(make_e820(3 * GiB, 1 * GiB), expected);
}

TEST(E820, NoHighMemoryMeansNoEntryAbove4GiB) {
  for (const E820Entry& e : make_e820(512 * MiB, 0)) EXPECT_LT(e.base, 4 * GiB);
}

TEST(E820, EntriesAreSortedAndDisjointForAnySize) {
  for (const u64 low : {u64{0}, 64 * KiB, 640 * KiB, 1 * MiB, 1 * MiB + 4 * KiB, 256 * MiB, 3 * GiB}) {
    u64 end = 0;
    for (const E820Entry& e : make_e820(low, 2 * GiB)) {
      EXPECT_GE(e.base, end) << low;
      EXPECT_GT(e.size, 0u) << low;
      end = e.base + e.size;
    }
  }
}

TEST(E820, FirmwareTablesAreNeverRam) {
  for (const E820Entry& e : make_e820(3 * GiB, 0)) {
    if (e.type != E820Type::ram) continue;
    for (const Gpa table : {layout::mptable, layout::smbios, layout::acpi, layout::bios_area}) {
      EXPECT_FALSE(table.value() >= e.base && table.value() < e.base + e.size);
    }
  }
}

}  // namespace
}  // namespace bhyve::platform
