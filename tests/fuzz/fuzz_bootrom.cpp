// map_boot_rom(): any pair of files is either refused with a sentence or lies where it belongs, below 4 GiB,
// and what is no UEFI firmware below 1 MiB too.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/fd.hpp"
#include "fuzz/fuzz.hpp"
#include "machine/boot_rom.hpp"

namespace {

using namespace bhyve;

/// Sizes of the files; their first bytes are the rest of the input, repeated.
struct Head {
  u16 rom_pages, store_pages;
  u8 rom_more, store_more;  ///< bytes beyond whole pages
};

void require(bool promise) {
  if (!promise) std::abort();
}

class File final {
 public:
  File(usize bytes, const u8* pattern, usize length) : fd_(::memfd_create("image", MFD_CLOEXEC)), bytes_(bytes) {
    for (usize n = 0; length && n < bytes_.size(); ++n) bytes_[n] = pattern[n % length];
    require(::write(fd_.get(), bytes_.data(), bytes_.size()) == static_cast<ssize_t>(bytes_.size()));
  }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }
  [[nodiscard]] const std::vector<u8>& bytes() const { return bytes_; }

 private:
  UniqueFd fd_;
  std::vector<u8> bytes_;
};

bool lies_at(mem::Vmspace& space, u64 gpa, const u8* wanted, usize bytes) {
  std::vector<u8> found(bytes);
  return space.read(Gpa(gpa), std::span(found)) && std::equal(found.begin(), found.end(), wanted);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Head head;
  if (size < sizeof head) return 0;
  std::memcpy(&head, data, sizeof head);
  data += sizeof head, size -= sizeof head;
  const bool with_store = head.store_pages || head.store_more;
  const File rom(head.rom_pages % 4200 * page_size + head.rom_more, data, size);
  const File store(head.store_pages % 4200 * page_size + head.store_more, data, size);
  auto space = mem::Vmspace::create({2 * MiB, 0});
  require(space.has_value());
  const auto mapped = machine::map_boot_rom(**space, rom.path(), with_store ? store.path() : "");
  const usize together = rom.bytes().size() + (with_store ? store.bytes().size() : 0);
  const bool good = !rom.bytes().empty() && !head.rom_more && !head.store_more && together <= 16 * MiB;
  require(mapped.has_value() == good);
  if (!mapped) {
    u8 byte = 0;
    require(!mapped.error().message.empty());
    require(!(*space)->read(Gpa(4 * GiB - 1), std::span(&byte, 1)));
    return 0;
  }
  u64 at = 4 * GiB - rom.bytes().size();
  require(lies_at(**space, at, rom.bytes().data(), rom.bytes().size()));
  if (with_store) require(lies_at(**space, at - store.bytes().size(), store.bytes().data(), store.bytes().size()));
  // The pattern is no firmware volume unless it happens to have the signature.
  const usize low = std::min<usize>(rom.bytes().size(), 256 * KiB);
  const bool shown = lies_at(**space, MiB - low, rom.bytes().data() + rom.bytes().size() - low, low);
  std::string repeated(reinterpret_cast<const char*>(data), size);
  repeated += repeated;
  require(shown || repeated.find("_FVH") != std::string::npos);
  return 0;
}

std::vector<std::vector<std::uint8_t>> fuzz_seeds() {
  std::vector<std::vector<u8>> seeds;
  for (const Head& head : {Head{1, 0, 0, 0}, Head{64, 1, 0, 0}, Head{1024, 132, 0, 0}, Head{4096, 0, 0, 0},
                           Head{4096, 1, 0, 0}, Head{4095, 1, 0, 0}, Head{0, 0, 0, 0}, Head{1, 0, 7, 0}, Head{8, 2, 0, 9}}) {
    std::vector<u8> seed(sizeof head);
    std::memcpy(seed.data(), &head, sizeof head);
    for (const char c : std::string_view("not a firmware volume")) seed.push_back(static_cast<u8>(c));
    seeds.push_back(std::move(seed));
  }
  return seeds;
}
