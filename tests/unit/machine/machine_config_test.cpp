#include "machine/machine_config.hpp"

#include <gtest/gtest.h>
#include <sched.h>

namespace bhyve::machine {
namespace {

Config with(std::initializer_list<std::pair<const char*, const char*>> variables) {
  Config config;
  config.set("name", "vm0");
  for (const auto& [name, value] : variables) config.set(name, value);
  return config;
}

std::string refusal(std::initializer_list<std::pair<const char*, const char*>> variables) {
  const auto resolved = resolve(with(variables));
  return resolved ? "accepted" : resolved.error().message;
}

TEST(MachineConfig, DefaultsAreBhyves) {
  const auto config = resolve(with({}));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->vcpus, 1u);
  EXPECT_EQ(config->memory, 256 * MiB);
  EXPECT_TRUE(config->acpi);
  EXPECT_TRUE(config->mptable);
  EXPECT_TRUE(config->strict_msr);
  EXPECT_FALSE(config->strict_io);
  EXPECT_FALSE(config->destroy_on_poweroff);
}

TEST(MachineConfig, X2apicVariableDecidesTheModeAtPowerUpAndTheCpuidBit) {
  EXPECT_EQ(resolve(with({}))->apic_mode, ApicMode::choice);
  const auto x2apic = resolve(with({{"x86.x2apic", "true"}, {"cpu.features", "-avx2"}}));
  EXPECT_EQ(x2apic->apic_mode, ApicMode::x2apic);
  EXPECT_EQ(x2apic->cpu.features, "-avx2,+x2apic");
  const auto xapic = resolve(with({{"x86.x2apic", "false"}}));
  EXPECT_EQ(xapic->apic_mode, ApicMode::xapic);
  EXPECT_EQ(xapic->cpu.features, "-x2apic");
  EXPECT_EQ(refusal({{"x86.x2apic", "perhaps"}}).substr(0, 10), "x86.x2apic");
}

TEST(MachineConfig, MemoryIsSplitAtThePciHole) {
  const auto low = resolve(with({{"memory.size", "3G"}}));
  EXPECT_EQ(low->lowmem, 3 * GiB);
  EXPECT_EQ(low->highmem, 0u);
  const auto high = resolve(with({{"memory.size", "5G"}}));
  EXPECT_EQ(high->lowmem, 3 * GiB);
  EXPECT_EQ(high->highmem, 2 * GiB);
}

TEST(MachineConfig, MemoryOutOfRangeIsRefused) {
  EXPECT_EQ(refusal({{"memory.size", "0"}}), "memory.size=0: expected 1M to 32T");
  EXPECT_EQ(refusal({{"memory.size", "100000T"}}), "memory.size=100000T: expected 1M to 32T");
}

TEST(MachineConfig, CpusAloneAreThatManySockets) {
  const auto config = resolve(with({{"cpus", "4"}}));
  EXPECT_EQ(config->vcpus, 4u);
  EXPECT_EQ(config->cpu.sockets, 4u);
  EXPECT_EQ(config->cpu.cores, 1u);
}

TEST(MachineConfig, TopologyProductIsTheNumberOfCpus) {
  const auto config = resolve(with({{"sockets", "2"}, {"cores", "2"}, {"threads", "2"}}));
  EXPECT_EQ(config->vcpus, 8u);
  const auto derived = resolve(with({{"cpus", "4"}, {"cores", "4"}}));
  EXPECT_EQ(derived->cpu.sockets, 1u);
  EXPECT_EQ(refusal({{"cpus", "4"}, {"sockets", "2"}, {"cores", "3"}}),
            "cpus=4: expected sockets x cores x threads, which is 6");
}

TEST(MachineConfig, CpuCountIsBounded) {
  EXPECT_EQ(resolve(with({{"cpus", "16"}}))->vcpus, 16u);
  EXPECT_EQ(refusal({{"cpus", "255"}}), "cpus=255: expected 1 to 254 vCPUs");
  EXPECT_EQ(refusal({{"cpus", "0"}}), "cpus=0: expected 1 to 65535");
  EXPECT_EQ(refusal({{"cores", "65535"}, {"threads", "65535"}, {"sockets", "65535"}}),
            "cpus=281462092005375: expected 1 to 254 vCPUs");
}

TEST(MachineConfig, AbsentDevicesAreNamed) {
  EXPECT_EQ(refusal({{"pci.0.3.0.device", "virtio-blk"}}),
            "-s 0:3:0,virtio-blk: this device is not in this build");
  EXPECT_EQ(refusal({{"pci.0.3.0.device", "vortex"}}),
            "pci.0.3.0.device=vortex: unknown device");
  EXPECT_EQ(refusal({{"lpc.tpm", "swtpm"}}), "-l tpm: this device is not in this build");
  EXPECT_EQ(refusal({{"gdb.port", "1234"}}),
            "-G 1234: the debugger stub is not in this build");
  EXPECT_EQ(refusal({{"engine", "kvm"}}),
            "engine=kvm: not available in this build; expected auto or soft");
}

TEST(MachineConfig, SerialPortNeedsAnLpcBridge) {
  EXPECT_EQ(refusal({{"lpc.com1.path", "stdio"}}),
            "-l com1: expected an lpc device, e.g. -s 31,lpc");
  const auto config = resolve(with({{"pci.0.31.0.device", "lpc"}, {"lpc.com2.path", "stdio"}}));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->com[1], "stdio");
}

TEST(MachineConfig, OnlyOnePortHasStdioAndOnlyOneBridgeIsThere) {
  EXPECT_EQ(refusal({{"pci.0.31.0.device", "lpc"},
                     {"lpc.com1.path", "stdio"},
                     {"lpc.com2.path", "stdio"}}),
            "-l com2,stdio: another port has stdio already");
  EXPECT_EQ(refusal({{"pci.0.30.0.device", "lpc"}, {"pci.0.31.0.device", "lpc"}}),
            "pci.0.31.0.device=lpc: expected one lpc device only");
}

TEST(MachineConfig, MalformedSlotsAreRefused) {
  EXPECT_NE(refusal({{"pci.0.32.0.device", "hostbridge"}}), "accepted");
  EXPECT_NE(refusal({{"pci.x.1.0.device", "hostbridge"}}), "accepted");
  EXPECT_NE(refusal({{"pci.1.1.0.device", "hostbridge"}}), "accepted");
}

TEST(MachineConfig, PinningNeedsHostCpusOfThisProcess) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  unsigned present = 0;
  while (!CPU_ISSET(present, &allowed)) ++present;
  const auto config = resolve(with({{"vcpu.0.cpuset", std::to_string(present).c_str()}}));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->cpusets[0], std::vector<unsigned>{present});
  unsigned absent = CPU_SETSIZE - 1;
  ASSERT_FALSE(CPU_ISSET(absent, &allowed));
  EXPECT_NE(refusal({{"vcpu.0.cpuset", std::to_string(absent).c_str()}}), "accepted");
  EXPECT_NE(refusal({{"vcpu.0.cpuset", "zero"}}), "accepted");
}

TEST(MachineConfig, BadWordNamesTheChoices) {
  EXPECT_EQ(refusal({{"cpu.hypervisor", "xen"}}),
            "cpu.hypervisor=xen: expected bhyve, kvm, none");
}

}  // namespace
}  // namespace bhyve::machine
