#include "base/state.hpp"

#include <array>
#include <cassert>
#include <cstring>

namespace bhyve {

namespace {

// docs/state-format.md. The host is x86-64, so memory order is the file's little-endian order.
constexpr std::array<u8, 8> magic{'B', 'H', 'Y', 'V', 'E', 'S', 'T', '1'};
constexpr u32 format_version = 1;
constexpr usize max_name = 255;

// Offsets in the file header.
constexpr usize at_version = 8, at_count = 12, at_length = 16, at_checksum = 24, header_size = 28;
// Sizes in a section header: before the name, and after it.
constexpr usize name_length_size = 2, section_fields_size = 4 + 8 + 4;

constexpr std::array<u32, 256> make_crc_table() {
  std::array<u32, 256> table{};
  for (u32 i = 0; i < 256; ++i) {
    u32 c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}

/// CRC-32 of IEEE 802.3, continued from an earlier result (0 to begin).
u32 crc32(u32 crc, std::span<const u8> bytes) {
  static constexpr std::array<u32, 256> table = make_crc_table();
  crc = ~crc;
  for (const u8 b : bytes) crc = table[(crc ^ b) & 0xff] ^ (crc >> 8);
  return ~crc;
}

template <class T>
T load_at(std::span<const u8> bytes, usize at) {
  T v;
  std::memcpy(&v, bytes.data() + at, sizeof v);
  return v;
}

template <class T>
void store_at(std::vector<u8>& bytes, usize at, T v) {
  std::memcpy(bytes.data() + at, &v, sizeof v);
}

/// Covers all of a section but the checksum itself, which lies between the two parts.
u32 section_crc(std::span<const u8> before, std::span<const u8> body) {
  return crc32(crc32(0, before), body);
}

}  // namespace

StateWriter::StateWriter() : out_(header_size) {
  std::memcpy(out_.data(), magic.data(), magic.size());
  store_at<u32>(out_, at_version, format_version);
  seal();
}

void StateWriter::seal() {
  store_at<u32>(out_, at_count, count_);
  store_at<u64>(out_, at_length, out_.size());
  store_at<u32>(out_, at_checksum, crc32(0, std::span(out_).first(at_checksum)));
}

void StateWriter::section(std::string_view name, u32 version,
                          const std::function<void(StateWriter&)>& body) {
  assert(!name.empty() && name.size() <= max_name && "section names have 1 to 255 bytes");
  assert(!in_section_ && "sections do not nest");
  in_section_ = true;
  const usize start = out_.size();
  put_u16(static_cast<u16>(name.size()));
  put(name.data(), name.size());
  put_u32(version);
  const usize length_at = out_.size();
  put_u64(0);
  const usize crc_at = out_.size();
  put_u32(0);
  const usize body_at = out_.size();
  body(*this);
  store_at<u64>(out_, length_at, out_.size() - body_at);
  const std::span<const u8> all(out_);
  store_at<u32>(out_, crc_at,
                section_crc(all.subspan(start, crc_at - start), all.subspan(body_at)));
  ++count_;
  seal();
  in_section_ = false;
}

void StateWriter::put_string(std::string_view v) {
  put_u32(static_cast<u32>(v.size()));
  put(v.data(), v.size());
}

void StateWriter::put(const void* p, usize n) {
  assert(in_section_ && "put outside of a section");
  const u8* bytes = static_cast<const u8*>(p);
  out_.insert(out_.end(), bytes, bytes + n);
}

template <class T>
T StateSection::get() {
  if (failed_ || remaining() < sizeof(T)) {
    failed_ = true;
    return 0;
  }
  const T v = load_at<T>(body_, at_);
  at_ += sizeof(T);
  return v;
}
template u8 StateSection::get<u8>();
template u16 StateSection::get<u16>();
template u32 StateSection::get<u32>();
template u64 StateSection::get<u64>();

bool StateSection::get_bool() {
  const u8 v = get_u8();
  if (v > 1) failed_ = true;
  return !failed_ && v == 1;
}

void StateSection::get_bytes(std::span<u8> into) {
  if (failed_ || remaining() < into.size()) {
    failed_ = true;
    std::fill(into.begin(), into.end(), u8{0});
    return;
  }
  std::copy_n(body_.begin() + static_cast<std::ptrdiff_t>(at_), into.size(), into.begin());
  at_ += into.size();
}

std::string StateSection::get_string(usize max_length) {
  const u32 length = get_u32();
  if (failed_ || length > max_length || length > remaining()) {
    failed_ = true;
    return {};
  }
  std::string text(length, '\0');
  for (char& c : text) c = static_cast<char>(get_u8());
  return text;
}

Result<StateReader> StateReader::parse(std::span<const u8> bytes) {
  if (bytes.size() < header_size || !std::equal(magic.begin(), magic.end(), bytes.begin()))
    return fail(EINVAL, "not a saved state: expected a file that begins with BHYVEST1");
  if (load_at<u32>(bytes, at_checksum) != crc32(0, bytes.first(at_checksum)))
    return fail(EINVAL, "saved state: wrong checksum of the file header");
  if (const u32 version = load_at<u32>(bytes, at_version); version != format_version)
    return fail(ENOTSUP, "saved state: format version {}, expected {}", version, format_version);
  if (const u64 length = load_at<u64>(bytes, at_length); length != bytes.size())
    return fail(EINVAL, "saved state: {} bytes, expected {}", bytes.size(), length);
  StateReader reader;
  usize at = header_size;
  for (u32 left = load_at<u32>(bytes, at_count); left > 0; --left) {
    Result<usize> next = reader.parse_section(bytes, at);
    if (!next) return tl::make_unexpected(std::move(next.error()));
    at = *next;
  }
  if (at != bytes.size())
    return fail(EINVAL, "saved state: {} bytes after the last section", bytes.size() - at);
  return reader;
}

Result<usize> StateReader::parse_section(std::span<const u8> bytes, usize start) {
  usize left = bytes.size() - start;
  if (left < name_length_size) return fail(EINVAL, "saved state: cut off at byte {}", start);
  const usize name_length = load_at<u16>(bytes, start);
  left -= name_length_size;
  if (name_length == 0 || name_length > max_name || left < name_length + section_fields_size)
    return fail(EINVAL, "saved state: bad section header at byte {}", start);
  left -= name_length + section_fields_size;
  const usize name_at = start + name_length_size;
  const usize fields_at = name_at + name_length;
  const usize crc_at = fields_at + 4 + 8;
  const u64 length = load_at<u64>(bytes, fields_at + 4);
  if (length > left) return fail(EINVAL, "saved state: section at byte {} is cut off", start);
  const std::span<const u8> body = bytes.subspan(crc_at + 4, length);
  if (load_at<u32>(bytes, crc_at) != section_crc(bytes.subspan(start, crc_at - start), body))
    return fail(EINVAL, "saved state: wrong checksum of the section at byte {}", start);
  std::string name;
  for (const u8 c : bytes.subspan(name_at, name_length)) name.push_back(static_cast<char>(c));
  const Entry entry{load_at<u32>(bytes, fields_at), body};
  if (!sections_.emplace(name, entry).second)
    return fail(EINVAL, "saved state: section '{}' appears twice", name);
  return crc_at + 4 + length;
}

bool StateReader::has(std::string_view name) const { return sections_.contains(name); }

Result<void> StateReader::section(std::string_view name, u32 max_version,
                                  const std::function<void(StateSection&)>& body) const {
  const auto found = sections_.find(name);
  if (found == sections_.end()) return fail(ENOENT, "saved state: section '{}' is missing", name);
  const Entry& entry = found->second;
  if (entry.version > max_version)
    return fail(ENOTSUP, "saved state: section '{}' has version {}, expected at most {}", name,
                entry.version, max_version);
  StateSection section(entry.version, entry.body);
  body(section);
  if (!section.ok()) return fail(EINVAL, "saved state: section '{}' has bad contents", name);
  if (section.remaining() != 0)
    return fail(EINVAL, "saved state: section '{}' has {} bytes too many", name,
                section.remaining());
  return {};
}

}  // namespace bhyve
