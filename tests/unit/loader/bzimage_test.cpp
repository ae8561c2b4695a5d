#include "loader/bzimage.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "fake_memory.hpp"
#include "loader/long_mode.hpp"
#include "synthetic_bzimage.hpp"

namespace bhyve::loader {
namespace {

using x86::E820Entry;
using x86::E820Type;

const std::vector<E820Entry> map{{0, 0x9'fc00, E820Type::ram},
                                 {1 * MiB, 255 * MiB, E820Type::ram}};

LinuxBoot boot_of(usize initrd_size = 0) {
  LinuxBoot boot;
  boot.kernel = {"kernel k", synthetic_bzimage()};
  if (initrd_size != 0) boot.initrd = BootFile{"initrd i", std::vector<u8>(initrd_size, 0x5a)};
  boot.command_line = "console=ttyS0";
  boot.rsdp = Gpa(0xf'2400);
  return boot;
}

const std::vector<u8>& params_of(const FakeMemory& memory) {
  return memory.writes().at(low_area::boot_params.value());
}

/// Loads what must fail; the memory must be untouched.
Error refused(FakeMemory memory, const LinuxBoot& boot) {
  const Result<EntryState> state = load_bzimage(memory, boot, map);
  EXPECT_FALSE(state);
  EXPECT_TRUE(memory.writes().empty());
  return state ? Error{0, "accepted"} : state.error();
}

TEST(Bzimage, EntersThe64BitEntryPointWithRsiAtBootParams) {
  FakeMemory memory(256 * MiB, 0);
  const EntryState state = load_bzimage(memory, boot_of(), map).value();
  EXPECT_EQ(state.rip, 16 * MiB + 0x200);
  EXPECT_EQ(state.rsi, low_area::boot_params.value());
  EXPECT_EQ(state.rflags, 2u) << "interrupts are off";
  EXPECT_EQ(state.cs.selector, 0x10);
  EXPECT_EQ(state.ds.selector, 0x18);
  EXPECT_EQ(state.cr3, low_area::page_tables.value());
}

TEST(Bzimage, PutsTheProtectedModeKernelAtItsAddress) {
  FakeMemory memory(256 * MiB, 0);
  ASSERT_TRUE(load_bzimage(memory, boot_of(), map));
  const std::vector<u8> file = synthetic_bzimage();
  EXPECT_EQ(memory.writes().at(16 * MiB), std::vector<u8>(file.begin() + 1536, file.end()));
  EXPECT_FALSE(memory.wrote_outside());
  EXPECT_FALSE(memory.wrote_twice());
}

TEST(Bzimage, BootParamsHoldTheHeaderTheMapAndThePointers) {
  FakeMemory memory(256 * MiB, 0);
  ASSERT_TRUE(load_bzimage(memory, boot_of(), map));
  const std::vector<u8>& page = params_of(memory);
  ASSERT_EQ(page.size(), page_size);
  EXPECT_EQ(load_le<u32>(page, setup::magic), 0x5372'6448u);
  EXPECT_EQ(page[setup::type_of_loader], 0xff);
  EXPECT_EQ(load_le<u32>(page, setup::cmd_line_ptr), low_area::command_line.value());
  EXPECT_EQ(load_le<u64>(page, 0x70), 0xf'2400u);
  EXPECT_EQ(page[0x1e8], 2);
  EXPECT_EQ(load_le<u64>(page, 0x2d0 + 20), 1 * MiB);
  EXPECT_EQ(load_le<u64>(page, 0x2d0 + 28), 255 * MiB);
  EXPECT_EQ(load_le<u32>(page, 0x2d0 + 36), 1u);
  EXPECT_EQ(page[0x1ef], 0) << "the sentinel says: the rest is valid";
}

TEST(Bzimage, BytesBeforeTheSetupHeaderDoNotLeakIntoBootParams) {
  FakeMemory memory(256 * MiB, 0);
  LinuxBoot boot = boot_of();
  std::fill_n(boot.kernel.bytes.begin(), setup::setup_sects, 0xee);
  std::fill(boot.kernel.bytes.begin() + 0x26c, boot.kernel.bytes.begin() + 1536, 0xee);
  ASSERT_TRUE(load_bzimage(memory, boot, {}));
  for (usize i = 0; i < page_size; ++i) ASSERT_NE(params_of(memory)[i], 0xee) << i;
}

TEST(Bzimage, TheCommandLineEndsWithAZero) {
  FakeMemory memory(256 * MiB, 0);
  ASSERT_TRUE(load_bzimage(memory, boot_of(), map));
  const std::vector<u8>& line = memory.writes().at(low_area::command_line.value());
  EXPECT_EQ(std::string(line.begin(), line.end()), std::string("console=ttyS0") + '\0');
}

TEST(Bzimage, TheInitrdGoesToTheTopOfLowMemory) {
  FakeMemory memory(256 * MiB, 0);
  ASSERT_TRUE(load_bzimage(memory, boot_of(5000), map));
  const std::vector<u8>& page = params_of(memory);
  EXPECT_EQ(load_le<u32>(page, setup::ramdisk_image), 256 * MiB - 8192);
  EXPECT_EQ(load_le<u32>(page, setup::ramdisk_size), 5000u);
  EXPECT_EQ(memory.writes().at(256 * MiB - 8192).size(), 5000u);
}

TEST(Bzimage, TheInitrdStaysUnderInitrdAddrMax) {
  FakeMemory memory(256 * MiB, 0);
  LinuxBoot boot = boot_of(4096);
  store_le<u32>(boot.kernel.bytes, setup::initrd_addr_max, 64 * MiB - 1);
  ASSERT_TRUE(load_bzimage(memory, boot, map));
  EXPECT_EQ(load_le<u32>(params_of(memory), setup::ramdisk_image), 64 * MiB - 4096);
}

TEST(Bzimage, AnInitrdThatDoesNotFitBelowGoesToHighMemoryIfTheKernelCan) {
  LinuxBoot boot = boot_of(4 * MiB);
  FakeMemory memory(18 * MiB, 64 * MiB);
  ASSERT_TRUE(load_bzimage(memory, boot, map));
  EXPECT_EQ(load_le<u32>(params_of(memory), 0xc0), 1u);
  EXPECT_EQ(load_le<u32>(params_of(memory), setup::ramdisk_image), 60 * MiB);
  EXPECT_FALSE(memory.wrote_outside());
  store_le<u16>(boot.kernel.bytes, setup::xloadflags, 1);
  EXPECT_EQ(refused(FakeMemory(18 * MiB, 64 * MiB), boot).code, ENOMEM);
}

TEST(Bzimage, AnInitrdThatDoesNotFitIsNamed) {
  const Error error = refused(FakeMemory(20 * MiB, 0), boot_of(4 * MiB));
  EXPECT_EQ(error.code, ENOMEM);
  EXPECT_EQ(error.message.find("initrd i: 4194304 bytes do not fit"), 0u) << error.message;
}

TEST(Bzimage, AGuestTooSmallForTheKernelIsToldHowMuchItNeeds) {
  const Error error = refused(FakeMemory(16 * MiB, 0), boot_of());
  EXPECT_EQ(error.message, "kernel k: needs 17 MiB of memory below 4 GiB, the guest has 16 MiB");
}

TEST(Bzimage, ATooLongCommandLineIsRefused) {
  LinuxBoot boot = boot_of();
  boot.command_line = std::string(2048, 'x');
  EXPECT_EQ(refused(FakeMemory(256 * MiB, 0), boot).code, E2BIG);
  boot.command_line = std::string("a\0b", 3);
  EXPECT_EQ(refused(FakeMemory(256 * MiB, 0), boot).code, EINVAL);
}

TEST(Bzimage, AMalformedKernelIsRefusedBeforeAnyWrite) {
  LinuxBoot boot = boot_of();
  boot.kernel.bytes.resize(3000);
  EXPECT_EQ(refused(FakeMemory(256 * MiB, 0), boot).code, ENOEXEC);
}

TEST(Bzimage, TooManyMapEntriesAreRefused) {
  FakeMemory memory(256 * MiB, 0);
  const std::vector<E820Entry> many(129);
  EXPECT_EQ(load_bzimage(memory, boot_of(), many).error().code, E2BIG);
  EXPECT_TRUE(memory.writes().empty());
}

}  // namespace
}  // namespace bhyve::loader
