#include "loader/load.hpp"

#include <gtest/gtest.h>

#include <string>

#include "fake_memory.hpp"
#include "loader/freebsd.hpp"
#include "loader/freebsd_metadata.hpp"
#include "synthetic_bzimage.hpp"
#include "synthetic_elf.hpp"

namespace bhyve::loader {
namespace {

using x86::E820Entry;
using x86::E820Type;

const std::vector<E820Entry> map{{0, 0x9'fc00, E820Type::ram},
                                 {0x9'fc00, 0x400, E820Type::reserved},
                                 {1 * MiB, 255 * MiB, E820Type::ram}};

struct Loaded {
  FakeMemory memory{256 * MiB, 0};
  EntryState state;
  [[nodiscard]] const std::vector<u8>& at(u64 gpa) const { return memory.writes().at(gpa); }
  [[nodiscard]] std::string text(u64 gpa) const {
    return reinterpret_cast<const char*>(at(gpa).data());
  }
};

BootRequest request(std::vector<u8> kernel) {
  BootRequest boot;
  boot.kernel = {"kernel k", std::move(kernel)};
  boot.path = "dir/k";
  boot.command_line = "a b=c";
  boot.rsdp = Gpa(0xf'2400);
  return boot;
}

BootModule module_of(std::vector<u8> bytes, std::string arguments) {
  return {BootFile{"module m", std::move(bytes)}, "m", std::move(arguments)};
}

Loaded load(BootRequest boot) {
  Loaded out;
  auto state = load_kernel(out.memory, std::move(boot), map);
  EXPECT_TRUE(state) << (state ? "" : state.error().message);
  if (state) out.state = *state;
  EXPECT_FALSE(out.memory.wrote_outside());
  EXPECT_FALSE(out.memory.wrote_twice());
  return out;
}

/// The sentence of a refusal; nothing must have been written.
std::string refused(BootRequest boot, u64 lowmem = 256 * MiB) {
  FakeMemory memory(lowmem, 0);
  const auto state = load_kernel(memory, std::move(boot), map);
  EXPECT_TRUE(memory.writes().empty());
  return state ? "accepted" : state.error().message;
}

std::vector<u8> multiboot_elf(bool is_64 = false) {
  return synthetic_elf({.is_64 = is_64,
                        .entry = 0x40'000c,
                        .segments = {{0x40'0000, 0x40'0000,
                                      synthetic_multiboot(3, {0xfa, 0xf4}), 0x8000}}});
}

void expect_protected_mode(const EntryState& state) {
  EXPECT_EQ(state.cr0, x86::cr0::pe | x86::cr0::et);
  EXPECT_EQ(state.rflags, 2u) << "interrupts are off";
  EXPECT_EQ(state.cs.access & (x86::Segment::big | x86::Segment::long_mode), x86::Segment::big);
  EXPECT_EQ(state.cs.limit, 0xffff'ffffu);
  EXPECT_EQ(state.ss.limit, 0xffff'ffffu);
  EXPECT_EQ(state.efer | state.cr3 | state.cr4, 0u);
}

TEST(Multiboot, AnElfKernelIsEnteredWithTheMagicAndTheInformation) {
  const Loaded l = load(request(multiboot_elf()));
  expect_protected_mode(l.state);
  EXPECT_EQ(l.state.rip, 0x40'000cu);
  EXPECT_EQ(l.state.rax, 0x2bad'b002u);
  EXPECT_EQ(l.at(0x40'0000).size(), 14u) << "zero memory is not written";
  const auto& info = l.at(l.state.rbx);
  EXPECT_EQ(load_le<u32>(info, 0), 0x24du);
  EXPECT_EQ(load_le<u32>(info, 4), 639u);
  EXPECT_EQ(load_le<u32>(info, 8), 255u * 1024);
  EXPECT_EQ(l.text(load_le<u32>(info, 16)), "dir/k a b=c");
  EXPECT_EQ(load_le<u32>(info, 20), 0u);
  EXPECT_EQ(l.text(load_le<u32>(info, 64)), "bhyve");
}

TEST(Multiboot, TheMemoryMapHasEveryEntryWithItsSizeInFront) {
  const Loaded l = load(request(multiboot_elf()));
  const auto& info = l.at(l.state.rbx);
  ASSERT_EQ(load_le<u32>(info, 44), map.size() * 24);
  const auto& table = l.at(load_le<u32>(info, 48));
  for (usize i = 0; i < map.size(); ++i) {
    EXPECT_EQ(load_le<u32>(table, i * 24), 20u);
    EXPECT_EQ(load_le<u64>(table, i * 24 + 4), map[i].base);
    EXPECT_EQ(load_le<u64>(table, i * 24 + 12), map[i].size);
    EXPECT_EQ(load_le<u32>(table, i * 24 + 20), static_cast<u32>(map[i].type));
  }
}

TEST(Multiboot, ModulesLieOnPagesBehindTheKernelInTheirOrder) {
  BootRequest boot = request(multiboot_elf());
  boot.modules.push_back(module_of(std::vector<u8>(5000, 1), "x y"));
  boot.modules.push_back(module_of(std::vector<u8>(10, 2), ""));
  const Loaded l = load(std::move(boot));
  const auto& info = l.at(l.state.rbx);
  ASSERT_EQ(load_le<u32>(info, 20), 2u);
  const auto& table = l.at(load_le<u32>(info, 24));
  EXPECT_EQ(load_le<u32>(table, 0), 0x40'8000u) << "behind the bss";
  EXPECT_EQ(load_le<u32>(table, 4), 0x40'8000u + 5000);
  EXPECT_EQ(l.text(load_le<u32>(table, 8)), "m x y");
  EXPECT_EQ(load_le<u32>(table, 16), 0x40'a000u);
  EXPECT_EQ(l.text(load_le<u32>(table, 24)), "m");
  EXPECT_EQ(l.at(0x40'a000), std::vector<u8>(10, 2));
}

TEST(Multiboot, TheHeadersAddressesWinAndNeedNoElf) {
  const Loaded l = load(request(synthetic_flat_multiboot()));
  EXPECT_EQ(l.state.rip, 0x10'0020u);
  EXPECT_EQ(l.at(0x10'0000), synthetic_flat_multiboot());
}

TEST(Multiboot, WrongHeadersAreRefusedWithTheirReason) {
  const auto with = [](usize at, u32 value) {
    auto file = synthetic_flat_multiboot();
    store_le<u32>(file, at, value);
    return refused(request(std::move(file)));
  };
  EXPECT_EQ(with(12, 0x20'0000), "kernel k: its multiboot addresses disagree with the header's place");
  EXPECT_EQ(with(20, 0x10'0061), "kernel k: its multiboot addresses tell of 97 bytes, the file has 96");
  EXPECT_EQ(with(24, 0x10'0001), "kernel k: its multiboot bss ends before its data");
  EXPECT_EQ(with(28, 0x20'0000), "kernel k: its entry point 0x200000 lies outside of it");
  EXPECT_EQ(refused(request(synthetic_multiboot(8, {}))),
            "kernel k: its multiboot header asks for unknown features (0x8)");
}

TEST(Multiboot, AKernelThatDoesNotFitIsRefused) {
  EXPECT_EQ(refused(request(multiboot_elf()), 2 * MiB),
            "kernel k: 32768 bytes at 0x400000 do not lie in the guest's memory");
  BootRequest boot = request(multiboot_elf());
  boot.modules.push_back(module_of(std::vector<u8>(8 * MiB), ""));
  EXPECT_EQ(refused(std::move(boot), 8 * MiB),
            "module m: no room for 8388608 bytes in guest memory above 0x408000");
}

std::vector<u8> pvh_kernel() {
  return synthetic_elf({.entry = 0xffff'ffff'8100'0000,
                        .segments = {{0xffff'ffff'8100'0000, 0x100'0000,
                                      std::vector<u8>(64, 0x90), 4096}},
                        .note = synthetic_note("Xen", 18, 0x100'0010)});
}

TEST(Pvh, IsEnteredAtTheNotesAddressWithStartInfo) {
  BootRequest boot = request(pvh_kernel());
  boot.modules.push_back(module_of(std::vector<u8>(100, 7), "root"));
  const Loaded l = load(std::move(boot));
  expect_protected_mode(l.state);
  EXPECT_EQ(l.state.rip, 0x100'0010u);
  const auto& info = l.at(l.state.rbx);
  EXPECT_EQ(load_le<u32>(info, 0), 0x336e'c578u);
  EXPECT_EQ(load_le<u32>(info, 4), 1u);
  ASSERT_EQ(load_le<u32>(info, 12), 1u);
  EXPECT_EQ(l.text(load_le<u64>(info, 24)), "a b=c");
  EXPECT_EQ(load_le<u64>(info, 32), 0xf'2400u);
  EXPECT_EQ(load_le<u32>(info, 48), map.size());
  const auto& module = l.at(load_le<u64>(info, 16));
  EXPECT_EQ(l.at(load_le<u64>(module, 0)), std::vector<u8>(100, 7));
  EXPECT_EQ(load_le<u64>(module, 8), 100u);
  EXPECT_EQ(l.text(load_le<u64>(module, 16)), "root");
  const auto& table = l.at(load_le<u64>(info, 40));
  EXPECT_EQ(load_le<u64>(table, 2 * 24 + 8), 255 * MiB);
}

TEST(Pvh, OtherNotesAndEntriesOutsideAreRefused) {
  SyntheticElf elf{.entry = 0x100'0000,
                   .segments = {{0x100'0000, 0x100'0000, std::vector<u8>(64), 64}},
                   .note = synthetic_note("GNU", 18, 0x100'0010)};
  EXPECT_NE(refused(request(synthetic_elf(elf))).find("no multiboot header, no PVH note"),
            std::string::npos);
  elf.note = synthetic_note("Xen", 18, 0x200'0000);
  EXPECT_EQ(refused(request(synthetic_elf(elf))),
            "kernel k: its PVH entry point 0x2000000 lies outside of it");
}

std::vector<u8> freebsd_kernel() {
  return synthetic_elf({.os_abi = elf_os_abi_freebsd,
                        .entry = freebsd_kernel_base + 0x20'0100,
                        .segments = {{freebsd_kernel_base + 0x20'0000, 0,
                                      std::vector<u8>(0x1000, 0x90), 0x3000}},
                        .note = synthetic_note("Xen", 18, 0x20'0000)});
}

/// The records of a metadata list: type -> data, of the first file.
std::map<u32, std::vector<u8>> records(const std::vector<u8>& list, usize& at) {
  std::map<u32, std::vector<u8>> out;
  while (at + 8 <= list.size()) {
    const u32 type = load_le<u32>(list, at), size = load_le<u32>(list, at + 4);
    if (type == 0 || (type == 1 && !out.empty())) return out;
    const auto first = list.begin() + static_cast<std::ptrdiff_t>(at + 8);
    out[type] = {first, first + size};
    at += 8 + align_up(size, 8);
  }
  return out;
}

TEST(FreeBsd, IsEnteredInLongModeWithModulepAndKernendOnTheStack) {
  const Loaded l = load(request(freebsd_kernel()));
  EXPECT_EQ(l.state.rip, freebsd_kernel_base + 0x20'0100);
  EXPECT_EQ(l.state.cr0 & (x86::cr0::pg | x86::cr0::pe), x86::cr0::pg | x86::cr0::pe);
  EXPECT_EQ(l.state.cs.access, 0x209bu);
  EXPECT_EQ(l.state.gdt.limit, 23);
  EXPECT_EQ(load_le<u64>(l.at(l.state.gdt.base), 8), 0x0020'9800'0000'0000u);
  const auto& stack = l.at(l.state.rsp);
  const u32 modulep = load_le<u32>(stack, 4), kernend = load_le<u32>(stack, 8);
  EXPECT_EQ(kernend % page_size, 0u);
  EXPECT_GE(kernend, modulep + l.at(modulep).size());
  EXPECT_EQ(l.at(0x20'0000).size(), 0x1000u);
}

TEST(FreeBsd, ThePageTablesShowTheFirstGigabyteAtTheKernelsBase) {
  const Loaded l = load(request(freebsd_kernel()));
  const auto& tables = l.at(l.state.cr3);
  const auto entry = [&](u64 table, u64 va, unsigned level) {
    const u64 index = (va >> (3 + 9 * level)) & 511;
    return load_le<u64>(tables, table - l.state.cr3 + index * 8);
  };
  for (const u64 va : {u64{0x20'0000}, freebsd_kernel_base + 0x20'0000}) {
    const u64 pdpt = entry(l.state.cr3, va, 4) & x86::pte::frame;
    const u64 directory = entry(pdpt, va, 3) & x86::pte::frame;
    EXPECT_EQ(entry(directory, va, 2), 0x20'0000u | 0x87u) << std::hex << va;
  }
}

TEST(FreeBsd, TheMetadataTellsOfKernelEnvironmentAndFiles) {
  BootRequest boot = request(freebsd_kernel());
  boot.command_line = "-sv";
  boot.environment = {"vfs.root=x", "boot_serial=0"};
  boot.modules.push_back(module_of(std::vector<u8>(100, 7), "md_image"));
  const Loaded l = load(std::move(boot));
  const auto& list = l.at(load_le<u32>(l.at(l.state.rsp), 4));
  usize at = 0;
  auto kernel = records(list, at);
  EXPECT_STREQ(reinterpret_cast<const char*>(kernel[2].data()), "elf kernel");
  EXPECT_EQ(load_le<u64>(kernel[3], 0), 0x20'0000u);
  EXPECT_EQ(load_le<u64>(kernel[4], 0), 0x3000u);
  EXPECT_EQ(load_le<u32>(kernel[0x8007], 0), 0x802u);
  EXPECT_EQ(load_le<u64>(kernel[0x8008], 0), load_le<u32>(l.at(l.state.rsp), 8));
  EXPECT_EQ(kernel[0x9001].size(), map.size() * 20);
  const auto& environment = l.at(load_le<u64>(kernel[0x8006], 0));
  const std::string all(environment.begin(), environment.end());
  EXPECT_NE(all.find(std::string("smbios.bios.vendor=BHYVE\0", 25)), std::string::npos);
  EXPECT_NE(all.find(std::string("vfs.root=x\0boot_serial=0\0\0", 26)), std::string::npos);
  EXPECT_EQ(all.find("boot_serial=1"), std::string::npos) << "the user's value wins";
  auto file = records(list, at);
  EXPECT_STREQ(reinterpret_cast<const char*>(file[2].data()), "md_image");
  EXPECT_EQ(l.at(load_le<u64>(file[3], 0)), std::vector<u8>(100, 7));
}

TEST(FreeBsd, BootFlagsCountOnlyInWordsThatBeginWithADash) {
  EXPECT_EQ(freebsd_howto("svd"), 0u);
  EXPECT_EQ(freebsd_howto("x -v y -s"), 0x802u);
}

TEST(FreeBsd, AKernelOutsideTheFirstGigabyteIsRefused) {
  const auto elf = synthetic_elf({.os_abi = elf_os_abi_freebsd,
                                  .entry = freebsd_kernel_base + 2 * GiB - 4096,
                                  .segments = {{freebsd_kernel_base + 2 * GiB - 4096, 0,
                                                std::vector<u8>(16), 16}}});
  EXPECT_NE(refused(request(elf)).find("expected the first GiB"), std::string::npos);
}

TEST(LoadKernel, LinuxTakesOneInitrdAndNoFurtherModule) {
  BootRequest boot = request(synthetic_bzimage());
  boot.modules.push_back(module_of({1}, ""));
  EXPECT_EQ(load(boot).state.rip, 16 * MiB + 0x200);
  boot.modules.push_back(module_of({2}, ""));
  EXPECT_NE(refused(boot).find("takes one initrd"), std::string::npos);
}

TEST(LoadKernel, EveryShorterFileIsRefusedWithoutAWrite) {
  for (const auto& file : {multiboot_elf(), multiboot_elf(true), pvh_kernel(), freebsd_kernel()})
    for (usize size = 0; size < file.size(); size += 7)
      ASSERT_NE(refused(request({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size)})),
                "accepted");
}

TEST(LoadKernel, OtherFilesAreNamedForWhatTheyAre) {
  EXPECT_EQ(refused(request({0x1f, 0x8b, 8, 0})),
            "kernel k: is a gzip file, expected a Linux bzImage, a multiboot, PVH or FreeBSD kernel");
}

}  // namespace
}  // namespace bhyve::loader
