#include "machine/boot_rom.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/bytes.hpp"
#include "base/fd.hpp"
#include "loader/boot_file.hpp"
#include "platform/layout.hpp"

namespace bhyve::machine {
namespace {

constexpr u64 largest = 16 * MiB, legacy_window = 256 * KiB;

[[nodiscard]] Result<loader::BootFile> read_image(const char* role, const std::string& path) {
  auto file = loader::read_boot_file(fmt::format("{} {}", role, path), path, largest);
  if (file && file->bytes.size() % page_size != 0)
    return fail(EINVAL, "{}: {} bytes, expected whole pages of 4096 bytes", file->what,
                file->bytes.size());
  return file;
}

/// UEFI firmware is made of firmware volumes, whose headers have a signature (PI specification, vol. 3,
/// 3.2.1). It runs high and looks for the tables below 1 MiB.
bool is_uefi(std::span<const u8> rom) {
  constexpr u32 signature = 0x4856'465f;  // _FVH
  constexpr usize signature_at = 40;
  for (usize at = 0; at < rom.size(); at += page_size)
    if (load_le<u32>(rom, at + signature_at) == signature) return true;
  return false;
}

[[nodiscard]] Result<void> map_file(mem::Vmspace& space, Gpa gpa, const loader::BootFile& file,
                                    mem::Prot prot, const char* name) {
  const auto memory = space.add_segment(gpa, file.bytes.size(), prot, name);
  if (!memory) return fail(memory.error().code, "{}: {}", file.what, memory.error().message);
  std::memcpy(*memory, file.bytes.data(), file.bytes.size());
  return {};
}

/// The variables are the file itself, so that the next run has what this one leaves.
[[nodiscard]] Result<void> map_variables(mem::Vmspace& space, Gpa gpa, const std::string& path, u64 size) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return fail(errno, "bootrom variables {}: {}", path, std::strerror(errno));
  const mem::VmObject::Piece whole{fd.get(), 0, size};
  const auto number = space.add_files("bootvars", std::span(&whole, 1), true);
  if (!number) return tl::make_unexpected(number.error());
  if (auto shown = space.show_files(*number, gpa, mem::Prot::rw, false); !shown)
    return tl::make_unexpected(shown.error());
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
    if (rom->bytes.size() + store->bytes.size() > largest)
      return fail(EINVAL, "{}: {} bytes, expected at most 16 MiB together with the ROM", store->what,
                  store->bytes.size());
  }
  const Gpa at = platform::layout::highmem_base - rom->bytes.size();
  if (auto ok = map_file(space, at, *rom, mem::Prot::rx, "bootrom"); !ok) return ok;
  if (store) {
    const u64 size = store->bytes.size();
    if (auto ok = map_variables(space, at - size, variables, size); !ok) return ok;
  }
  if (!is_uefi(rom->bytes)) {
    const auto shadow = std::span<const u8>(rom->bytes)
                            .last(std::min<u64>(rom->bytes.size(), legacy_window));
    if (!space.write(Gpa(MiB - shadow.size()), shadow))
      return fail(ENOMEM, "{}: the guest has less than 1 MiB of memory", rom->what);
  }
  return {};
}

}  // namespace bhyve::machine
