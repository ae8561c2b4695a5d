#include "dev/lpc/lpc.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "dev/pci/hostbridge.hpp"

namespace bhyve::dev {
namespace {

struct LpcTest : testing::Test {
  std::vector<std::pair<unsigned, bool>> lines;
  std::vector<std::pair<unsigned, u8>> routes;
  Lpc lpc{{"pci.lpc", nullptr, {}, {}},
          [this](unsigned irq, bool level) { lines.emplace_back(irq, level); },
          [this](unsigned link, u8 value) { routes.emplace_back(link, value); }};
};

TEST_F(LpcTest, IdentifiesAsPiixIsaBridge) {
  EXPECT_EQ(lpc.config_read(0, 4), 0x70008086u);
  EXPECT_EQ(lpc.config_read(8, 4), 0x06010000u);
}

TEST_F(LpcTest, RoutingRegistersAreAt60And68) {
  EXPECT_EQ(lpc.config_read(0x60, 4), 0x80808080u);
  lpc.config_write(0x60, 4, 0x0c0b0a05);
  lpc.config_write(0x6b, 1, 0x0f);
  EXPECT_EQ(lpc.link_irq(0), 5);
  EXPECT_EQ(lpc.link_irq(3), 12);
  EXPECT_EQ(lpc.link_irq(7), 15);
  EXPECT_EQ(lpc.config_read(0x64, 4), 0u);
  ASSERT_EQ(routes.size(), 5u);
  EXPECT_EQ(routes.back(), (std::pair<unsigned, u8>{7, 0x0f}));
}

TEST_F(LpcTest, GuestReroutesAnAssertedLink) {
  lpc.config_write(0x60, 1, 5);
  lpc.set_link(0, true);
  lpc.config_write(0x60, 1, 6);
  lpc.set_link(0, false);
  EXPECT_EQ(lines, (std::vector<std::pair<unsigned, bool>>{
                       {5, true}, {5, false}, {6, true}, {6, false}}));
}

TEST_F(LpcTest, ResetReturnsToTheAllocatedRoutes) {
  const unsigned link = lpc.allocate_link();
  const u8 irq = lpc.link_irq(link);
  EXPECT_NE(irq, 0xff);
  EXPECT_EQ(lpc.config_read(0x60 + link, 1), irq);
  lpc.config_write(0x60 + link, 1, 0x80);
  EXPECT_EQ(lpc.link_irq(link), 0xff);
  lpc.reset();
  EXPECT_EQ(lpc.link_irq(link), irq);
}

TEST_F(LpcTest, LoadRestoresRoutes) {
  lpc.config_write(0x61, 1, 7);
  StateWriter out;
  lpc.save(out);
  lpc.reset();
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && lpc.load(*in));
  EXPECT_EQ(lpc.link_irq(1), 7);
}

TEST(Hostbridge, ModelsHaveTheirIdsAndAPciExpressCapability) {
  Hostbridge h({"pci.hb", nullptr, {}, {}});
  Hostbridge amd({"pci.hb", nullptr, {}, {}}, Hostbridge::Model::amd);
  EXPECT_EQ(h.config_read(0, 4), 0x12751275u);
  EXPECT_EQ(amd.config_read(0, 4), 0x74321022u);
  EXPECT_EQ(h.config_read(8, 4), 0x06000000u);
  const u32 cap = h.config_read(0x34, 1);
  EXPECT_EQ(h.config_read(cap, 1), 0x10u);
  EXPECT_EQ(h.config_read(0x100, 4), 0u);
}

}  // namespace
}  // namespace bhyve::dev
