#include "loader/elf.hpp"

#include <algorithm>

#include "base/bits.hpp"
#include "base/bytes.hpp"
#include "loader/detect.hpp"

namespace bhyve::loader {
namespace {

/// Field offsets of one class (ELF header, program header, section header).
struct Layout {
  usize header_size, entry, ph_offset, sh_offset, ph_entry_size, ph_count, sh_entry_size, sh_count;
  usize ph_size, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz;
  usize sh_size, s_offset, s_size, s_link;
};
constexpr Layout layout_32{0x34, 0x18, 0x1c, 0x20, 0x2a, 0x2c, 0x2e, 0x30, 0x20, 0x04, 0x08, 0x0c,
                           0x10, 0x14, 0x28, 0x10, 0x14, 0x18};
constexpr Layout layout_64{0x40, 0x18, 0x20, 0x28, 0x36, 0x38, 0x3a, 0x3c, 0x38, 0x08, 0x10, 0x18,
                           0x20, 0x28, 0x40, 0x18, 0x20, 0x28};
constexpr usize class_offset = 4, data_offset = 5, abi_offset = 7, type_offset = 0x10,
                machine_offset = 0x12, sh_type_offset = 4;
constexpr u8 class_64 = 2, little_endian = 1;
constexpr u16 type_executable = 2, type_dynamic = 3, machine_386 = 3, machine_x86_64 = 62;
constexpr u16 max_program_headers = 256;
constexpr u32 segment_load = 1, segment_note = 4, section_nobits = 8;

/// The file's view: addresses and sizes are 4 or 8 bytes wide.
class Fields final {
 public:
  explicit Fields(std::span<const u8> file)
      : file_(file), is_64_(file[class_offset] == class_64), l(is_64_ ? layout_64 : layout_32) {}
  [[nodiscard]] bool is_64() const { return is_64_; }
  [[nodiscard]] u16 half(usize at) const { return load_le<u16>(file_, at); }
  [[nodiscard]] u32 word(usize at) const { return load_le<u32>(file_, at); }
  [[nodiscard]] u64 wide(usize at) const { return is_64_ ? load_le<u64>(file_, at) : word(at); }
  /// True when [offset, offset + size) lies in the file.
  [[nodiscard]] bool holds(u64 offset, u64 size) const {
    return offset <= file_.size() && size <= file_.size() - offset;
  }
  [[nodiscard]] std::span<const u8> part(u64 offset, u64 size) const {
    return file_.subspan(offset, size);
  }

 private:
  std::span<const u8> file_;
  bool is_64_;

 public:
  const Layout& l;
};

[[nodiscard]] Result<void> check_header(std::string_view what, std::span<const u8> file) {
  const ImageKind kind = detect_image(file);
  if (kind != ImageKind::elf32 && kind != ImageKind::elf64)
    return fail(ENOEXEC, "{}: is {}, expected an ELF file", what, describe(kind));
  if (file.size() < layout_64.header_size || file[data_offset] != little_endian)
    return fail(ENOEXEC, "{}: the ELF header is cut short or not little-endian", what);
  const Fields f(file);
  const u16 machine = f.half(machine_offset), type = f.half(type_offset);
  if (machine != machine_386 && machine != machine_x86_64)
    return fail(ENOEXEC, "{}: is for machine {}, expected 386 or x86-64", what, machine);
  if (type != type_executable && type != type_dynamic)
    return fail(ENOEXEC, "{}: is no executable ELF file (type {})", what, type);
  const u64 table = f.wide(f.l.ph_offset);
  const u16 count = f.half(f.l.ph_count), size = f.half(f.l.ph_entry_size);
  if (count == 0 || size < f.l.ph_size || !f.holds(table, u64{count} * size))
    return fail(ENOEXEC, "{}: its program headers are missing or cut short", what);
  if (count > max_program_headers)
    return fail(ENOEXEC, "{}: has {} program headers, expected at most {}", what, count,
                max_program_headers);
  return {};
}

[[nodiscard]] Result<void> add_segment(std::string_view what, const Fields& f, usize at,
                                       ElfImage& image) {
  const u32 type = f.word(at);
  if (type != segment_load && type != segment_note) return {};
  const u64 offset = f.wide(at + f.l.p_offset), in_file = f.wide(at + f.l.p_filesz);
  const u64 in_memory = f.wide(at + f.l.p_memsz);
  if (!f.holds(offset, in_file))
    return fail(ENOEXEC, "{}: is cut short: a segment of {} bytes at {:#x} lies behind its end",
                what, in_file, offset);
  if (type == segment_note) {
    image.notes.push_back(f.part(offset, in_file));
    return {};
  }
  if (in_memory < in_file)
    return fail(ENOEXEC, "{}: a segment has {} bytes in the file and only {} in memory", what,
                in_file, in_memory);
  if (in_memory == 0) return {};
  image.segments.push_back({f.wide(at + f.l.p_vaddr), f.wide(at + f.l.p_paddr), in_memory,
                            f.part(offset, in_file)});
  return {};
}

}  // namespace

Result<ElfImage> parse_elf(std::string_view what, std::span<const u8> file) {
  if (auto ok = check_header(what, file); !ok) return tl::make_unexpected(ok.error());
  const Fields f(file);
  ElfImage image;
  image.is_64 = f.is_64();
  image.os_abi = file[abi_offset];
  image.entry = f.wide(f.l.entry);
  image.header = file.first(f.l.header_size);
  const usize table = f.wide(f.l.ph_offset), size = f.half(f.l.ph_entry_size);
  for (usize i = 0; i < f.half(f.l.ph_count); ++i)
    if (auto ok = add_segment(what, f, table + i * size, image); !ok)
      return tl::make_unexpected(ok.error());
  if (image.segments.empty()) return fail(ENOEXEC, "{}: has nothing to load", what);
  return image;
}

std::vector<ElfSection> elf_sections(std::span<const u8> file) {
  const Fields f(file);
  const u64 table = f.wide(f.l.sh_offset);
  const u16 count = f.half(f.l.sh_count), size = f.half(f.l.sh_entry_size);
  if (table == 0 || size < f.l.sh_size || !f.holds(table, u64{count} * size)) return {};
  std::vector<ElfSection> out;
  for (usize i = 0; i < count; ++i) {
    const usize at = table + i * size;
    const u64 offset = f.wide(at + f.l.s_offset), length = f.wide(at + f.l.s_size);
    ElfSection section{f.word(at + sh_type_offset), f.word(at + f.l.s_link), {}};
    if (section.type != section_nobits && f.holds(offset, length))
      section.bytes = f.part(offset, length);
    out.push_back(section);
  }
  return out;
}

std::optional<std::span<const u8>> ElfImage::find_note(std::string_view owner, u32 type) const {
  constexpr usize note_header = 12, note_align = 4;
  for (std::span<const u8> rest : notes) {
    while (rest.size() >= note_header) {
      const u64 name_size = load_le<u32>(rest, 0), desc_size = load_le<u32>(rest, 4);
      const u64 name_end = note_header + name_size;
      const u64 desc = note_header + align_up(name_size, note_align);
      if (name_end > rest.size() || desc > rest.size() || desc_size > rest.size() - desc) break;
      const auto name = rest.subspan(note_header, name_size);
      // The name ends with a zero, which counts.
      const bool same = name_size == owner.size() + 1 && name.back() == 0 &&
                        std::equal(owner.begin(), owner.end(), name.begin());
      if (same && load_le<u32>(rest, 8) == type) return rest.subspan(desc, desc_size);
      rest = rest.subspan(std::min<u64>(desc + align_up(desc_size, note_align), rest.size()));
    }
  }
  return std::nullopt;
}

}  // namespace bhyve::loader
