#include "machine/sg_memory.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/bits.hpp"
#include "base/fd.hpp"

namespace bhyve::machine {

namespace {
constexpr u64 largest = GiB;  // it must find a place below 4 GiB
}

Result<std::vector<FilePiece>> parse_pieces(std::string_view text) {
  std::vector<FilePiece> pieces;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(':'));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    const auto plus = word.find('+');
    const auto offset = parse_integer(word.substr(0, plus));
    const auto length = plus == std::string_view::npos ? std::nullopt
                                                       : parse_integer(word.substr(plus + 1));
    if (!offset || !length || *length == 0 || (*offset | *length) % page_size)
      return fail(EINVAL, "pieces={}: expected OFFSET+LENGTH in whole pages", word);
    pieces.push_back({*offset, *length});
  }
  return pieces;
}

Result<SgWindow> open_sg_memory(mem::Vmspace& space, const PciDevice& device) {
  const std::string name = fmt::format("-s {}:{},sgmem", device.slot, device.function);
  const UniqueFd fd(::open(device.path.c_str(), (device.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0)
    return fail(errno, "{}: {}: {}", name, device.path, std::strerror(errno));
  std::vector<mem::VmObject::Piece> pieces;
  u64 size = 0;
  for (const FilePiece& piece : device.pieces) {
    pieces.push_back({fd.get(), piece.offset, piece.length});
    size += std::min(piece.length, largest + 1);
  }
  if (pieces.empty()) {
    size = align_down(static_cast<u64>(st.st_size), page_size);
    pieces.push_back({fd.get(), 0, size});
  }
  if (size > largest) return fail(EINVAL, "{}: expected at most 1 GiB of memory", name);
  const auto number = space.add_files(name, pieces, !device.read_only);
  if (!number) return tl::make_unexpected(number.error());
  const mem::Prot prot = device.read_only ? mem::Prot::read : mem::Prot::rw;
  SgWindow out{size, {}};
  out.window.show = [&space, number = *number, prot](u64 address) {
    return space.show_files(number, Gpa(address), prot, true).has_value();
  };
  out.window.hide = [&space](u64 address) { (void)space.remove_segment(Gpa(address)); };
  return out;
}

}  // namespace bhyve::machine
