#include "bus/pci_bar_space.hpp"

#include <gtest/gtest.h>

#include "fakes.hpp"

namespace bhyve::bus {
namespace {

class Function final : public PciFunction {
 public:
  explicit Function(u64 large) : PciFunction({}, {0x1af4, 0x1041, 0x020000}) {
    add_io_bar(0, 0x40, io);
    add_memory_bar(1, PciBar::Kind::mem32, 0x2000, &memory);
    add_memory_bar(2, PciBar::Kind::mem64, large, &memory);
    add_rom(0x1'0000, memory);
  }
  ~Function() override { detach(); }
  test::FakePio io;
  test::FakeMmio memory;
};

PciBarSpace make_space() {
  return {{{0x2000, 0x2050}, {0x3010, 0x4000}},
          {0xc000'0000, 0xe000'0000},
          {0x20'0000'0000, 0x28'0000'0000}};
}

TEST(PciBarSpace, GivesAlignedPlacesThatDoNotOverlap) {
  PciBarSpace space = make_space();
  Function first(MiB), second(MiB);
  ASSERT_TRUE(space.place(first));
  ASSERT_TRUE(space.place(second));
  EXPECT_EQ(first.bar_address(0), 0x2000u);
  EXPECT_EQ(second.bar_address(0), 0x3040u);  // the first range has no room left
  EXPECT_EQ(first.bar_address(1), 0xc000'0000u);
  EXPECT_EQ(first.bar_address(2), 0xc010'0000u);
  EXPECT_EQ(first.bar_address(PciFunction::rom_bar), 0xc001'0000u);
  EXPECT_EQ(second.bar_address(1), 0xc000'2000u);  // the gap in front of an aligned one is used
}

TEST(PciBarSpace, LargeOnesGoAbove4GiB) {
  PciBarSpace space = make_space();
  Function small(128 * MiB), large(256 * MiB);
  ASSERT_TRUE(space.place(small));
  ASSERT_TRUE(space.place(large));
  EXPECT_EQ(small.bar_address(2), 0xc800'0000u);
  EXPECT_EQ(large.bar_address(2), 0x20'0000'0000u);
}

TEST(PciBarSpace, SaysForWhatThereIsNoRoom) {
  PciBarSpace space = make_space();
  Function first(128 * MiB), second(128 * MiB), third(128 * MiB), fourth(128 * MiB);
  ASSERT_TRUE(space.place(first));
  ASSERT_TRUE(space.place(second));
  ASSERT_TRUE(space.place(third));
  EXPECT_EQ(third.bar_address(2), 0xd800'0000u);
  const auto full = space.place(fourth);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ENOSPC);
  EXPECT_NE(full.error().message.find("BAR 2"), std::string::npos);
}

}  // namespace
}  // namespace bhyve::bus
