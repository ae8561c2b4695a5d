#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board_fixture.hpp"
#include "machine/sg_memory.hpp"
#include "mem/ram_access.hpp"
#include "pmap/pmap_ept.hpp"

namespace bhyve::machine {
namespace {

using pmap::Ept;

/// -s 5,sgmem over a file of 8 pages, each of which begins with its number.
struct BoardSgMemoryTest : test::BoardTest {
  static constexpr unsigned slot = 5, bar0 = 0x10, command = 4;
  const UniqueFd file{::memfd_create("sgmem", MFD_CLOEXEC)};

  PciDevice device(std::string_view pieces, bool read_only = false) const {
    PciDevice d{0, slot, 0, "sgmem", "pci.0.5.0"};
    d.path = fmt::format("/proc/self/fd/{}", file.get());
    d.pieces = *parse_pieces(pieces);
    d.read_only = read_only;
    return d;
  }
  void start(std::string_view pieces, bool read_only = false) {
    for (u64 page = 0; page < 8; ++page)
      ASSERT_EQ(::pwrite(file.get(), &page, 8, static_cast<off_t>(page << page_shift)), 8);
    ASSERT_EQ(::ftruncate(file.get(), 8 * page_size), 0);
    machine.pci.push_back(device(pieces, read_only));
    make_board();
  }
  void place(u32 address) {
    config_write(slot, bar0, 4, address);
    config_write(slot, command, 2, 2);
  }
  mem::Vmspace& space() { return vm->space(); }
  u64 load(u64 gpa) {
    u64 value = ~u64{0};
    EXPECT_TRUE(space().read(Gpa(gpa), {reinterpret_cast<u8*>(&value), 8}));
    return value;
  }
};

TEST_F(BoardSgMemoryTest, TheBarShowsThePiecesUncacheableWhereItIsProgrammed) {
  start("0x5000+0x2000:0+0x1000");
  config_write(slot, bar0, 4, ~0u);
  EXPECT_EQ(config_read(slot, bar0), 0xffff'c000u) << "three pages take a window of four";
  place(0xc000'0000);
  EXPECT_EQ(load(0xc000'0000), 5u);
  EXPECT_EQ(load(0xc000'1000), 6u);
  EXPECT_EQ(load(0xc000'2000), 0u);
  EXPECT_EQ(space().fault(Gpa(0xc000'3000), mem::Prot::read), mem::FaultResult::mmio);
  ASSERT_EQ(space().fault(Gpa(0xc000'1000), mem::Prot::write), mem::FaultResult::resolved);
  const auto l = space().pmap().lookup(0xc000'1000);
  ASSERT_TRUE(l.present);
  EXPECT_EQ(Ept::MemoryType::get(l.entries[l.count - 1]), u64{Ept::uncacheable});
  mem::ram_store<u64>(space().arena().host(ArenaAddr(l.frame)) + 8, 4711);
  u64 value = 0;
  ASSERT_EQ(::pread(file.get(), &value, 8, 6 * page_size + 8), 8);
  EXPECT_EQ(value, 4711u) << "the file's page itself";
}

TEST_F(BoardSgMemoryTest, AGuestMayMoveItAndTakeItAwayAsOftenAsItLikes) {
  start("0x1000+0x1000");
  for (u32 n = 0; n < 1000; ++n) {
    const u32 address = 0xc000'0000 + n % 5 * 0x10'0000;
    place(address);
    ASSERT_EQ(load(address), 1u) << n;
    if (n % 3) continue;
    config_write(slot, command, 2, 0);
    ASSERT_EQ(space().fault(Gpa(address), mem::Prot::read), mem::FaultResult::mmio);
  }
  place(0x1000);  // over RAM, which it hides
  EXPECT_EQ(load(0x1000), 1u);
  place(0xc000'0000);
  EXPECT_EQ(load(0x1000), 0u);
}

TEST_F(BoardSgMemoryTest, WhatIsReadOnlyIsNotWritten) {
  start("", true);
  place(0xc000'0000);
  EXPECT_EQ(load(0xc000'7000), 7u) << "all of the file";
  EXPECT_EQ(space().fault(Gpa(0xc000'0000), mem::Prot::write), mem::FaultResult::denied);
  EXPECT_FALSE(space().hold(Gpa(0xc000'0000), 8, mem::Prot::rw));
}

TEST_F(BoardSgMemoryTest, BadPiecesAndFilesAreNamed) {
  for (const char* pieces : {"1+0x1000", "0x1000", "0x1000+0", "x+0x1000", "0+0x1000:", "0+0x1000::"})
    EXPECT_EQ(parse_pieces(pieces).has_value(), std::string_view(pieces) == "0+0x1000:") << pieces;
  start("");
  for (const char* pieces : {"0x8000+0x1000", "0+0x7fffffff000"}) {
    const auto opened = open_sg_memory(space(), device(pieces));
    ASSERT_FALSE(opened) << pieces;
    EXPECT_NE(opened.error().message.find("sgmem"), std::string::npos);
  }
  PciDevice missing = device("");
  missing.path = "/nonexistent";
  EXPECT_FALSE(open_sg_memory(space(), missing));
}

}  // namespace
}  // namespace bhyve::machine
