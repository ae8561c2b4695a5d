// Pages of guest memory that the host does not have any more.
#include "mem/host_backing.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::mem {
namespace {

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

u64 address_of(const void* p) { return reinterpret_cast<u64>(p); }

TEST(HostBackingTest, ALostPageIsReplacedAndTold) {
  auto space = Vmspace::create({.lowmem = 4 * page_size});
  ASSERT_TRUE(space);
  const LostBackingEvent event;
  ASSERT_GE(event.fd(), 0);
  std::byte* ram = (*space)->arena().host(pmap::FrameArena::address(pmap::FrameArena::ram_bank, 0));
  ram_store<u8>(ram, 1);
  ASSERT_EQ(::ftruncate((*space)->ram_fd(), 2 * page_size), 0);
  EXPECT_FALSE((*space)->lost_memory());
  EXPECT_FALSE(readable(event.fd()));

  ASSERT_TRUE(HostBacking::replace(address_of(ram + 3 * page_size + 5)));
  EXPECT_TRUE((*space)->lost_memory());
  EXPECT_TRUE(readable(event.fd()));
  ram_store<u8>(ram + 3 * page_size, 2);  // would end the test otherwise
  EXPECT_EQ(ram_load<u8>(ram), 1) << "other pages stay";
}

TEST(HostBackingTest, OtherAddressesAndFormerMappingsAreNobodys) {
  u64 was;
  {
    auto space = Vmspace::create({.lowmem = 4 * page_size});
    ASSERT_TRUE(space);
    std::byte* ram =
        (*space)->arena().host(pmap::FrameArena::address(pmap::FrameArena::ram_bank, 0));
    was = address_of(ram);
    EXPECT_FALSE(HostBacking::replace(was - 1));
    EXPECT_FALSE(HostBacking::replace(was + 4 * page_size));
    EXPECT_FALSE(HostBacking::replace(0));
  }
  EXPECT_FALSE(HostBacking::replace(was));
}

TEST(HostBackingTest, AnotherVmLosesNothing) {
  auto one = Vmspace::create({.lowmem = 4 * page_size});
  auto two = Vmspace::create({.lowmem = 4 * page_size});
  ASSERT_TRUE(one && two);
  ASSERT_TRUE(HostBacking::replace(address_of(
      (*two)->arena().host(pmap::FrameArena::address(pmap::FrameArena::ram_bank, 0)))));
  EXPECT_FALSE((*one)->lost_memory());
  EXPECT_TRUE((*two)->lost_memory());
}

}  // namespace
}  // namespace bhyve::mem
