#include "loader/freebsd_metadata.hpp"

#include <array>

#include "base/bits.hpp"
#include "base/bytes.hpp"

namespace bhyve::loader {
namespace {

constexpr u32 info_end = 0, info_name = 1, info_type = 2, info_address = 3, info_size = 4,
              info_arguments = 6, info_metadata = 0x8000;

struct Flag {
  char letter;
  u32 bit;
};
constexpr auto flags = std::to_array<Flag>({
    {'a', 0x1}, {'C', 0x2000}, {'D', 0x2000'0000}, {'d', 0x40}, {'g', 0x8000}, {'h', 0x1000},
    {'m', 0x1'0000}, {'p', 0x10'0000}, {'r', 0x20}, {'s', 0x2}, {'v', 0x800},
});

}  // namespace

void FreebsdMetadata::record(u32 type, std::span<const u8> data) {
  const usize at = bytes_.size();
  bytes_.resize(at + 8 + align_up(data.size(), 8));
  store_le<u32>(bytes_, at, type);
  store_le<u32>(bytes_, at + 4, static_cast<u32>(data.size()));
  std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at + 8));
}

void FreebsdMetadata::record_text(u32 type, std::string_view text) {
  std::vector<u8> data(text.begin(), text.end());
  data.push_back(0);
  record(type, data);
}

void FreebsdMetadata::begin(std::string_view name, std::string_view type,
                            std::string_view arguments, u64 address, u64 size) {
  std::array<u8, 8> word{};
  record_text(info_name, name);
  record_text(info_type, type);
  if (!arguments.empty()) record_text(info_arguments, arguments);
  store_le<u64>(word, 0, address);
  record(info_address, word);
  store_le<u64>(word, 0, size);
  record(info_size, word);
}

void FreebsdMetadata::add(Kind kind, std::span<const u8> data) {
  record(info_metadata | static_cast<u32>(kind), data);
}

void FreebsdMetadata::add_word(Kind kind, u64 value) {
  std::array<u8, 8> word{};
  store_le<u64>(word, 0, value);
  add(kind, word);
}

void FreebsdMetadata::add_howto(u32 value) {
  std::array<u8, 4> word{};
  store_le<u32>(word, 0, value);
  add(Kind::howto, word);
}

void FreebsdMetadata::add_memory_map(std::span<const x86::E820Entry> map) {
  constexpr usize entry_size = 20;  // struct bios_smap is packed
  std::vector<u8> table(map.size() * entry_size);
  for (usize i = 0; i < map.size(); ++i) {
    store_le<u64>(table, i * entry_size, map[i].base);
    store_le<u64>(table, i * entry_size + 8, map[i].size);
    store_le<u32>(table, i * entry_size + 16, static_cast<u32>(map[i].type));
  }
  add(Kind::memory_map, table);
}

void FreebsdMetadata::append(const FreebsdMetadata& files) {
  bytes_.insert(bytes_.end(), files.bytes_.begin(), files.bytes_.end());
}

std::vector<u8> FreebsdMetadata::finish() {
  record(info_end, {});
  return std::move(bytes_);
}

u32 freebsd_howto(std::string_view command_line) {
  u32 howto = 0;
  bool word_starts = true, is_option = false;
  for (const char c : command_line) {
    if (c == ' ' || c == '\t') {
      word_starts = true;
      is_option = false;
      continue;
    }
    if (word_starts) is_option = c == '-';
    word_starts = false;
    for (const Flag& flag : flags)
      if (is_option && flag.letter == c) howto |= flag.bit;
  }
  return howto;
}

}  // namespace bhyve::loader
