#include "bhyve/vmmapi.h"

#include <cerrno>
#include <optional>

#include "api/control_commands.hpp"
#include "api/control_server.hpp"
#include "api/vm_directory.hpp"
#include "run_dir_fixture.hpp"
#include "synthetic_machine.hpp"

namespace bhyve::api {
namespace {

/// The C functions against a machine behind a control socket, both in this process.
class VmmapiTest : public RunDirTest {
 protected:
  void SetUp() override {
    RunDirTest::SetUp();
    machine_ = make_idle_machine(2);
    ASSERT_TRUE(machine_);
    commands_.emplace(*machine_);
    auto vm = VmDirectory::acquire("vm0", VmDirectory::Mode::create);
    ASSERT_TRUE(vm);
    vm_.emplace(std::move(*vm));
    auto listener = vm_->listen();
    ASSERT_TRUE(listener);
    server_.emplace(std::move(*listener),
                    [this](const Json& request) { return commands_->run(request); });
    ctx_ = vm_open("vm0");
    ASSERT_NE(ctx_, nullptr);
    for (int id = -1; id <= 2; ++id) vcpus_.push_back(vm_vcpu_open(ctx_, id));
  }
  void TearDown() override {
    for (vcpu* v : vcpus_) vm_vcpu_close(v);
    vm_close(ctx_);
    server_.reset();
    vm_.reset();
    RunDirTest::TearDown();
  }
  u64 lvts(VcpuId cpu, unsigned index) {
    const auto statistics = machine_->statistics(cpu);
    for (const Statistic& s : *statistics)
      if (s.text == fmt::format("lvts triggered[{}]", index)) return s.value;
    ADD_FAILURE() << "no such counter";
    return 0;
  }
  /// vCPU `id`; -1 stands for all, 2 does not exist.
  vcpu* cpu(int id) { return vcpus_[static_cast<usize>(id + 1)]; }
  static int error_of(int result) { return result == 0 ? 0 : errno; }

  std::unique_ptr<machine::Machine> machine_;
  std::optional<ControlCommands> commands_;
  std::optional<VmDirectory> vm_;
  std::optional<ControlServer> server_;
  vmctx* ctx_ = nullptr;
  std::vector<vcpu*> vcpus_;
};

TEST_F(VmmapiTest, OpeningTellsWhyItFailed) {
  EXPECT_EQ(vm_open("vm1"), nullptr);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(vm_open(nullptr), nullptr);
  EXPECT_EQ(error_of(vm_lapic_msi(nullptr, 0xfee0'0000, 0x40)), EINVAL);
}

TEST_F(VmmapiTest, LowMemoryEndsWhereItWasToldTo) {
  struct Split {
    u32 limit;
    u64 bytes, low, high;
  };
  constexpr u32 gib = 1u << 30;
  for (const Split& want : {Split{0, 4 * GiB, 3 * GiB, GiB}, Split{gib, 2 * GiB, GiB, GiB},
                            Split{2 * gib, 512 * MiB, 512 * MiB, 0}}) {
    ASSERT_EQ(vm_create("split"), 0);
    vmctx* ctx = vm_open("split");
    ASSERT_NE(ctx, nullptr);
    EXPECT_EQ(vm_get_lowmem_limit(ctx), 3 * gib);
    if (want.limit) vm_set_lowmem_limit(ctx, want.limit);
    EXPECT_EQ(vm_get_lowmem_limit(ctx), want.limit ? want.limit : 3 * gib);
    ASSERT_EQ(vm_setup_memory(ctx, want.bytes, VM_MMAP_ALL), 0);
    EXPECT_EQ(vm_get_lowmem_size(ctx), want.low);
    EXPECT_EQ(vm_get_highmem_size(ctx), want.high);
    EXPECT_EQ(vm_get_highmem_base(ctx), 4 * GiB);
    vm_destroy(ctx);
  }
}

TEST_F(VmmapiTest, MsiTakesAnyAddressOfTheLocalApicsAndNoOther) {
  EXPECT_EQ(vm_lapic_msi(ctx_, 0xfee0'0000, 0x40), 0);
  EXPECT_EQ(vm_lapic_msi(ctx_, 0xfeef'ffff, 0xffff'ffff), 0);
  EXPECT_EQ(error_of(vm_lapic_msi(ctx_, 0xfed0'0000, 0x40)), EINVAL);
  EXPECT_EQ(error_of(vm_lapic_msi(ctx_, 0x1'fee0'0000, 0x40)), EINVAL);
  EXPECT_EQ(error_of(vm_lapic_msi(ctx_, ~u64{0}, 0x40)), EINVAL);
  EXPECT_EQ(error_of(vm_lapic_msi(ctx_, 0xfee0'0000, u64{1} << 32)), EINVAL);
}

TEST_F(VmmapiTest, LocalIrqFiresTheEntryOfOneVcpu) {
  EXPECT_EQ(vm_lapic_local_irq(cpu(0), 1), 0);  // LINT1 is NMI on the BSP from the start
  EXPECT_EQ(lvts(0, 1), 1u);
  EXPECT_EQ(vm_lapic_local_irq(cpu(-1), 1), 0);
  EXPECT_EQ(lvts(0, 1), 2u);
  EXPECT_EQ(vm_lapic_local_irq(cpu(0), 2), 0);  // masked: success, and nothing happens
  EXPECT_EQ(lvts(0, 2), 0u);
  EXPECT_EQ(error_of(vm_lapic_local_irq(cpu(2), 1)), EINVAL);
  EXPECT_EQ(vm_vcpu_open(ctx_, -2), nullptr);
  EXPECT_EQ(error_of(vm_lapic_local_irq(nullptr, 1)), EINVAL);
  EXPECT_EQ(error_of(vm_lapic_local_irq(cpu(0), 7)), EINVAL);
  EXPECT_EQ(error_of(vm_lapic_local_irq(cpu(0), -1)), EINVAL);
}

TEST_F(VmmapiTest, NmiNeedsAVcpu) {
  EXPECT_EQ(vm_inject_nmi(cpu(0)), 0);
  EXPECT_EQ(error_of(vm_inject_nmi(cpu(2))), EINVAL);
  EXPECT_EQ(error_of(vm_inject_nmi(cpu(-1))), EINVAL);
}

TEST_F(VmmapiTest, PassthroughInterruptsNeedAnAssignedDevice) {
  EXPECT_EQ(error_of(vm_setup_pptdev_msi(ctx_, 3, 0, 0, 0xfee0'0000, 0x40, 1)), ENXIO);
  EXPECT_EQ(error_of(vm_setup_pptdev_msix(ctx_, 3, 0, 0, 0, 0xfee0'0000, 0x40, 0)), ENXIO);
  EXPECT_EQ(error_of(vm_setup_pptdev_msi(ctx_, 256, 0, 0, 0xfee0'0000, 0x40, 1)), EINVAL);
  EXPECT_EQ(error_of(vm_setup_pptdev_msi(ctx_, 3, 0, 0, 0xfee0'0000, 0x40, 33)), EINVAL);
  EXPECT_EQ(error_of(vm_setup_pptdev_msix(ctx_, 3, 0, 8, 0, 0xfee0'0000, 0x40, 0)), EINVAL);
  EXPECT_EQ(error_of(vm_setup_pptdev_msix(ctx_, 3, 0, 0, -1, 0xfee0'0000, 0x40, 0)), EINVAL);
}

}  // namespace
}  // namespace bhyve::api
