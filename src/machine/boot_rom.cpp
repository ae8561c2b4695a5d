#include "machine/boot_rom.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/bytes.hpp"
#include "loader/boot_file.hpp"
#include "platform/layout.hpp"

namespace bhyve::machine {
namespace {

constexpr u64 largest = 16 * MiB, legacy_window = 128 * KiB, reset_offset = 16;

[[nodiscard]] Result<loader::BootFile> read_image(const char* role, const std::string& path) {
  auto file = loader::read_boot_file(fmt::format("{} {}", role, path), path, largest);
  if (file && file->bytes.size() % page_size != 0)
    return fail(EINVAL, "{}: {} bytes, expected whole pages of 4096 bytes", file->what,
                file->bytes.size());
  return file;
}

/// JMP FAR F000:xxxx at the reset vector.
bool is_legacy_bios(std::span<const u8> rom) {
  constexpr u8 jump_far = 0xea;
  constexpr u16 bios_segment = 0xf000;
  const auto vector = rom.last(reset_offset);
  return vector[0] == jump_far && load_le<u16>(vector, 3) == bios_segment;
}

[[nodiscard]] Result<void> map_file(mem::Vmspace& space, Gpa gpa, const loader::BootFile& file,
                                    mem::Prot prot, const char* name) {
  const auto memory = space.add_segment(gpa, file.bytes.size(), prot, name);
  if (!memory) return fail(memory.error().code, "{}: {}", file.what, memory.error().message);
  std::memcpy(*memory, file.bytes.data(), file.bytes.size());
  return {};
}

}  // namespace

Result<void> map_boot_rom(mem::Vmspace& space, const std::string& path,
                          const std::string& variables) {
  const auto rom = read_image("bootrom", path);
  if (!rom) return tl::make_unexpected(rom.error());
  std::optional<loader::BootFile> store;
  if (!variables.empty()) {
    auto file = read_image("bootrom variables", variables);
    if (!file) return tl::make_unexpected(file.error());
    store = std::move(*file);
  }
  const Gpa at = platform::layout::highmem_base - rom->bytes.size();
  if (auto ok = map_file(space, at, *rom, mem::Prot::rx, "bootrom"); !ok) return ok;
  if (store) {
    auto ok = map_file(space, at - store->bytes.size(), *store, mem::Prot::rw, "bootvars");
    if (!ok) return ok;
  }
  if (is_legacy_bios(rom->bytes)) {
    const auto shadow = std::span<const u8>(rom->bytes)
                            .last(std::min<u64>(rom->bytes.size(), legacy_window));
    if (!space.write(Gpa(MiB - shadow.size()), shadow))
      return fail(ENOMEM, "{}: the guest has less than 1 MiB of memory", rom->what);
  }
  return {};
}

}  // namespace bhyve::machine
