// load_bzimage(): any file is either refused before the first write or loaded into RAM, each part at
// its own place, with the entry point inside the kernel.
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "loader/bzimage.hpp"
#include "loader/detect.hpp"
#include "unit/loader/fake_memory.hpp"
#include "unit/loader/synthetic_bzimage.hpp"

namespace {

using namespace bhyve;

/// The input's head chooses the machine, the rest is the kernel.
struct Head {
  u8 lowmem_mib, highmem_mib;
  u16 initrd_kib;
};

void require(bool promise) {
  if (!promise) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < sizeof(Head)) return 0;
  Head head;
  std::memcpy(&head, data, sizeof head);
  loader::FakeMemory memory(head.lowmem_mib * MiB, head.highmem_mib * MiB);
  loader::LinuxBoot boot;
  boot.kernel = {"kernel", {data + sizeof head, data + size}};
  if (head.initrd_kib != 0) {
    boot.initrd = loader::BootFile{"initrd", std::vector<u8>((head.initrd_kib & 0xfff) * KiB + 1)};
  }
  const std::vector<x86::E820Entry> map(head.initrd_kib % 130);
  const Result<loader::EntryState> state = loader::load_bzimage(memory, boot, map);
  (void)loader::detect_image(boot.kernel.bytes);
  require(!memory.wrote_outside() && !memory.wrote_twice());
  if (!state) {
    require(memory.writes().empty() && !state.error().message.empty());
    return 0;
  }
  const auto kernel = memory.writes().find(state->rip - 0x200);
  require(kernel != memory.writes().end() && kernel->second.size() > 0x200);
  return 0;
}

std::vector<std::vector<std::uint8_t>> fuzz_seeds() {
  const std::vector<u8> kernel = loader::synthetic_bzimage();
  std::vector<std::vector<u8>> seeds;
  for (const Head& head : {Head{64, 0, 0}, Head{64, 0, 100}, Head{18, 64, 2000}, Head{8, 1, 1}}) {
    std::vector<u8> seed(sizeof head);
    std::memcpy(seed.data(), &head, sizeof head);
    seed.insert(seed.end(), kernel.begin(), kernel.end());
    seeds.push_back(std::move(seed));
  }
  return seeds;
}
