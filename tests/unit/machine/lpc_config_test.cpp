#include "machine/lpc_config.hpp"

#include <gtest/gtest.h>

namespace bhyve::machine {
namespace {

using Variables = std::initializer_list<std::pair<const char*, const char*>>;

Result<MachineConfig> read(const Variables& variables, bool lpc = true) {
  Config config;
  for (const auto& [name, value] : variables) config.set(name, value);
  MachineConfig out;
  if (auto ok = read_lpc(config, lpc, out); !ok) return tl::make_unexpected(ok.error());
  return out;
}

std::string refusal(const Variables& variables, bool lpc = true) {
  const auto out = read(variables, lpc);
  return out ? "accepted" : out.error().message;
}

TEST(LpcConfig, EveryBackEndOfAPortIsTaken) {
  const auto out = read({{"lpc.com1.path", "tcp=127.0.0.1:5000"},
                         {"lpc.com2.path", "unix=/run/vm/com2"},
                         {"lpc.com3.path", "pty"},
                         {"lpc.com4.path", "/dev/ttyS0"},
                         {"lpc.debugcon.path", "stdio"},
                         {"lpc.pc-testdev", "true"}});
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(out->com[0], "tcp=127.0.0.1:5000");
  EXPECT_EQ(out->com[3], "/dev/ttyS0");
  EXPECT_EQ(out->debugcon, "stdio");
  EXPECT_TRUE(out->testdev);
}

TEST(LpcConfig, NothingIsThereByDefault) {
  const auto out = read({}, false);
  ASSERT_TRUE(out);
  EXPECT_TRUE(out->com[0].empty() && out->debugcon.empty() && !out->testdev);
}

TEST(LpcConfig, RefusalsNameTheDeviceAndWhatWasExpected) {
  EXPECT_EQ(refusal({{"lpc.com1.path", "stdio"}}, false),
            "-l com1: expected an lpc device, e.g. -s 31,lpc");
  EXPECT_EQ(refusal({{"lpc.pc-testdev", "true"}}, false),
            "-l pc-testdev: expected an lpc device, e.g. -s 31,lpc");
  EXPECT_EQ(refusal({{"lpc.com2.path", "tcp=5000"}}),
            "-l com2,tcp=5000: tcp=5000: expected ADDRESS:PORT, such as 127.0.0.1:5000 or [::1]:5000");
  EXPECT_EQ(refusal({{"lpc.com1.path", "stdio"}, {"lpc.debugcon.path", "stdio"}}),
            "-l debugcon,stdio: another port has stdio already");
  EXPECT_EQ(refusal({{"lpc.com1.path", "nmdm0A"}}).substr(0, 31), "-l com1,nmdm0A: expected stdio,");
}

TEST(LpcConfig, FirmwareItemsNeedTheDevice) {
  const auto out = read({{"lpc.fwcfg", "qemu"}, {"fwcfg.0.name", "opt/a"}, {"fwcfg.0.string", "x"},
                         {"fwcfg.1.name", "opt/b"}, {"fwcfg.1.file", "/f"}});
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_TRUE(out->fw_cfg);
  ASSERT_EQ(out->firmware_items.size(), 2u);
  EXPECT_FALSE(out->firmware_items[0].file);
  EXPECT_EQ(out->firmware_items[1].value, "/f");
  EXPECT_EQ(refusal({{"fwcfg.0.name", "opt/a"}, {"fwcfg.0.string", "x"}}),
            "-f opt/a: expected -l fwcfg,qemu as well");
  EXPECT_EQ(refusal({{"lpc.fwcfg", "coreboot"}}), "-l fwcfg,coreboot: expected qemu or bhyve");
}

}  // namespace
}  // namespace bhyve::machine
