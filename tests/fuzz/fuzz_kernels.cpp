// load_kernel(): any file is either refused before the first write or loaded into RAM, each part at
// its own place. Seeds of every format; one test per format starts from its own.
#include <cstdlib>
#include <cstring>

#include "fuzz/fuzz.hpp"
#include "loader/freebsd.hpp"
#include "loader/load.hpp"
#include "unit/loader/fake_memory.hpp"
#include "unit/loader/synthetic_elf.hpp"

namespace {

using namespace bhyve;

/// The input's head chooses the machine and the files beside the kernel, which is the rest.
struct Head {
  u8 lowmem_mib, highmem_mib, modules, command_line;
};

void require(bool promise) {
  if (!promise) std::abort();
}

loader::BootRequest make_request(const Head& head, std::vector<u8> kernel) {
  loader::BootRequest boot;
  boot.kernel = {"kernel", std::move(kernel)};
  boot.path = "kernel";
  boot.command_line.assign(head.command_line, '-');
  boot.environment.assign(head.command_line % 4, "name=value");
  for (unsigned i = 0; i < head.modules % 4; ++i)
    boot.modules.push_back({{"module", std::vector<u8>(i * 5000 + 1, 0xaa)}, "module", "text"});
  return boot;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < sizeof(Head)) return 0;
  Head head;
  std::memcpy(&head, data, sizeof head);
  const u64 lowmem = head.lowmem_mib * MiB, highmem = head.highmem_mib * MiB;
  loader::FakeMemory memory(lowmem, highmem);
  const std::vector<x86::E820Entry> map{{0, 0x9'fc00, x86::E820Type::ram},
                                        {MiB, lowmem < MiB ? 0 : lowmem - MiB, x86::E820Type::ram},
                                        {4 * GiB, highmem, x86::E820Type::ram}};
  const auto state =
      loader::load_kernel(memory, make_request(head, {data + sizeof head, data + size}), map);
  require(!memory.wrote_outside() && !memory.wrote_twice());
  if (!state) require(memory.writes().empty() && !state.error().message.empty());
  else require(!memory.writes().empty());
  return 0;
}

std::vector<std::vector<std::uint8_t>> fuzz_seeds() {
  using namespace loader;
  const std::vector<u8> code = synthetic_multiboot(3, std::vector<u8>(500, 0x90));
  const std::vector<std::vector<u8>> kernels{
#if defined(FUZZ_MULTIBOOT)
      synthetic_flat_multiboot(),
      synthetic_elf({.is_64 = false, .entry = 0x10'0010,
                     .segments = {{0x10'0000, 0x10'0000, code, 0x2000},
                                  {0x20'0000, 0x20'0000, code, 600}}}),
#elif defined(FUZZ_PVH)
      synthetic_elf({.entry = 0x10'0010,
                     .segments = {{0x10'0000, 0x10'0000, std::vector<u8>(300, 1), 0x2000}},
                     .note = synthetic_note("Xen", 18, 0x10'0020)}),
      synthetic_elf({.is_64 = false, .entry = 0x10'0010,
                     .segments = {{0x10'0000, 0x10'0000, std::vector<u8>(300, 1), 0x2000}},
                     .note = synthetic_note("Xen", 18, 0x10'0020)}),
#elif defined(FUZZ_FREEBSD)
      synthetic_elf({.os_abi = elf_os_abi_freebsd, .entry = freebsd_kernel_base + 0x20'0000,
                     .segments = {{freebsd_kernel_base + 0x20'0000, 0, code, 4096},
                                  {freebsd_kernel_base + 0x40'0000, 0, {}, 4096}}}),
#endif
  };
  std::vector<std::vector<u8>> seeds;
  for (const Head& head : {Head{64, 0, 0, 3}, Head{16, 8, 3, 200}, Head{8, 0, 1, 0}})
    for (const auto& kernel : kernels) {
      std::vector<u8> seed(sizeof head);
      std::memcpy(seed.data(), &head, sizeof head);
      seed.insert(seed.end(), kernel.begin(), kernel.end());
      seeds.push_back(std::move(seed));
    }
  return seeds;
}
