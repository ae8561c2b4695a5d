#include "dev/lpc/pirq_router.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace bhyve::dev {
namespace {

struct PirqRouterTest : testing::Test {
  std::vector<std::pair<unsigned, bool>> lines;
  PirqRouter router{[this](unsigned irq, bool level) { lines.emplace_back(irq, level); }};
  using Lines = std::vector<std::pair<unsigned, bool>>;
};

TEST_F(PirqRouterTest, LinksStartOffAndKeepReservedBitsZero) {
  EXPECT_EQ(router.route(0), 0x80);
  router.assert_link(0);
  EXPECT_TRUE(lines.empty());
  router.set_route(1, 0x7b);
  EXPECT_EQ(router.route(1), 0x0b);
}

TEST_F(PirqRouterTest, IllegalInterruptsAreNeverDriven) {
  for (const u8 irq : {0, 1, 2, 8, 13}) {
    router.set_route(0, irq);
    EXPECT_EQ(router.irq(0), 0xff);
    router.assert_link(0);
    router.deassert_link(0);
  }
  EXPECT_TRUE(lines.empty());
}

TEST_F(PirqRouterTest, SharedLinkFallsWithItsLastFunction) {
  router.set_route(2, 10);
  router.assert_link(2);
  router.assert_link(2);
  router.deassert_link(2);
  EXPECT_EQ(lines, (Lines{{10, true}}));
  router.deassert_link(2);
  router.deassert_link(2);  // one too many is harmless
  EXPECT_EQ(lines, (Lines{{10, true}, {10, false}}));
}

TEST_F(PirqRouterTest, TwoLinksOnOneInterruptAreOred) {
  router.set_route(0, 5);
  router.set_route(1, 5);
  router.assert_link(0);
  router.assert_link(1);
  router.deassert_link(0);
  EXPECT_EQ(lines, (Lines{{5, true}}));
  router.deassert_link(1);
  EXPECT_EQ(lines.size(), 2u);
}

TEST_F(PirqRouterTest, RoutingMovesAnAssertedLink) {
  router.set_route(0, 5);
  router.assert_link(0);
  EXPECT_TRUE(router.set_route(0, 11));
  EXPECT_FALSE(router.set_route(0, 11));
  EXPECT_EQ(lines, (Lines{{5, true}, {5, false}, {11, true}}));
  router.set_route(0, 0x8b);
  EXPECT_EQ(lines.back(), (std::pair{11u, false}));
}

TEST_F(PirqRouterTest, AllocationSpreadsOverLinksAndLegalInterrupts) {
  router.reserve_irq(3);
  router.reserve_irq(4);
  router.use_irq(9);
  u32 seen = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned link = router.allocate_link();
    EXPECT_EQ(link, i);
    const u8 irq = router.irq(link);
    EXPECT_NE((PirqRouter::legal_irqs & ~0x18u) >> irq & 1, 0u);
    EXPECT_NE(irq, 9);  // in use by the SCI: the others come first
    EXPECT_EQ(seen >> irq & 1, 0u);
    seen |= 1u << irq;
  }
  EXPECT_EQ(router.allocate_link(), 0u);
}

}  // namespace
}  // namespace bhyve::dev
