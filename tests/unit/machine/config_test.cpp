#include "bhyve/config.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace bhyve {
namespace {

TEST(Config, LaterSettingReplacesEarlierOne) {
  Config config;
  config.set("cpus", "1");
  config.set("cpus", "4");
  EXPECT_EQ(*config.get_integer("cpus", 0), 4u);
}

TEST(Config, AssignmentSplitsAtTheFirstEqualsSign) {
  Config config;
  ASSERT_TRUE(config.set_assignment("boot.cmdline=root=/dev/vda quiet"));
  EXPECT_EQ(*config.raw("boot.cmdline"), "root=/dev/vda quiet");
  ASSERT_TRUE(config.set_assignment("empty="));
  EXPECT_EQ(*config.raw("empty"), "");
}

TEST(Config, AssignmentWithoutNameOrEqualsSignIsRefused) {
  Config config;
  EXPECT_EQ(config.set_assignment("cpus").error().code, EINVAL);
  EXPECT_EQ(config.set_assignment("=4").error().message, "'=4': expected var=value");
}

TEST(Config, ReferencesExpandWhenRead) {
  Config config;
  config.set("name", "vm0");
  config.set("path", "/vms/%(name)/100%%");
  EXPECT_EQ(*config.get_text("path", ""), "/vms/vm0/100%");
  config.set("name", "vm1");
  EXPECT_EQ(*config.get_text("path", ""), "/vms/vm1/100%");
}

TEST(Config, ReferencesNest) {
  Config config;
  config.set("a", "%(b)!");
  config.set("b", "%(c)?");
  config.set("c", "x");
  EXPECT_EQ(*config.get_text("a", ""), "x?!");
}

TEST(Config, UnknownReferenceNamesBothVariables) {
  Config config;
  config.set("path", "/%(nobody)");
  EXPECT_EQ(config.get("path").error().message,
            "path: %(nobody) names a variable that is not set");
}

TEST(Config, CircleOfReferencesIsRefused) {
  Config config;
  config.set("a", "%(b)");
  config.set("b", "%(a)");
  EXPECT_FALSE(config.get("a"));
}

TEST(Config, ExponentialExpansionIsRefused) {
  Config config;
  config.set("v0", "xxxxxxxxxxxxxxxx");
  for (int i = 1; i < 14; ++i) {
    const std::string before = "%(v" + std::to_string(i - 1) + ")";
    config.set("v" + std::to_string(i), before + before + before + before);
  }
  EXPECT_EQ(config.get("v13").error().code, E2BIG);
}

TEST(Config, LonePercentSignIsRefused) {
  Config config;
  for (const char* text : {"50%", "%x", "%(open"}) {
    config.set("v", text);
    EXPECT_FALSE(config.get("v")) << text;
  }
}

TEST(Config, TypedValueNamesTheVariable) {
  Config config;
  config.set("memory.size", "12Q");
  EXPECT_EQ(config.get_size("memory.size", 0).error().message,
            "memory.size=12Q: expected a size such as 512M or 2G");
  EXPECT_EQ(*config.get_size("other", 7), 7u);
}

TEST(Config, ChildrenComeInNaturalOrder) {
  Config config;
  config.set("pci.0.10.0.device", "a");
  config.set("pci.0.2.0.device", "b");
  config.set("pci.0.2.1.device", "c");
  config.set("pcix", "d");
  EXPECT_EQ(config.children("pci.0"), (std::vector<std::string>{"2", "10"}));
  EXPECT_TRUE(config.has_below("pci.0.2"));
  EXPECT_FALSE(config.has_below("pci.0.1"));
}

TEST(Config, FileTakesCommentsAndNamesTheBadLine) {
  const std::string path = testing::TempDir() + "config_test.conf";
  std::ofstream(path) << "# comment\n\ncpus=3\nname=x\n";
  Config config;
  ASSERT_TRUE(config.load_file(path));
  EXPECT_EQ(*config.get_integer("cpus", 0), 3u);
  std::ofstream(path) << "cpus=3\nnonsense\n";
  EXPECT_EQ(config.load_file(path).error().message, path + ": line 2: expected var=value");
  std::remove(path.c_str());
  EXPECT_EQ(config.load_file(path).error().code, ENOENT);
}

TEST(Config, DumpIsSortedAndUnexpanded) {
  Config config;
  config.set("b", "%(a)");
  config.set("a", "1");
  EXPECT_EQ(config.dump(), "a=1\nb=%(a)\n");
}

}  // namespace
}  // namespace bhyve
