#include "platform/fw_cfg.hpp"

#include <algorithm>
#include <array>

#include "platform/byte_writer.hpp"

namespace bhyve::platform {
namespace {

/// FWCfgDmaAccess.control.
enum Control : u32 {
  control_error = 1, control_read = 2, control_skip = 4, control_select = 8, control_write = 16
};
constexpr usize request_size = 16;
constexpr u32 id_traditional = 1, id_dma = 2;

u64 big_endian(std::span<const u8> bytes) {
  u64 value = 0;
  for (const u8 byte : bytes) value = value << 8 | byte;
  return value;
}

void put_big_endian(ByteWriter& out, u64 value, unsigned size) {
  for (unsigned i = size; i-- > 0;) out.put_u8(value >> (8 * i) & 0xff);
}

}  // namespace

FwCfg::FwCfg() {
  set_item(key_signature, {'Q', 'E', 'M', 'U'});
  set_number(key_id, id_traditional | id_dma, 4);
  index_files();
}

void FwCfg::set_item(u16 key, std::vector<u8> bytes) { items_[key] = std::move(bytes); }

void FwCfg::set_number(u16 key, u64 value, unsigned size) {
  std::vector<u8> bytes;
  for (unsigned i = 0; i < size; ++i) bytes.push_back(static_cast<u8>(value >> (8 * i)));
  set_item(key, std::move(bytes));
}

Result<void> FwCfg::add_file(std::string_view name, std::vector<u8> bytes) {
  if (name.empty() || name.size() > name_limit)
    return fail(EINVAL, "firmware item '{}': expected a name of 1 to {} bytes", name, name_limit);
  if (bytes.size() > 0xffff'ffff) return fail(E2BIG, "firmware item '{}' has more than 4 GiB", name);
  if (files_.size() >= file_limit) return fail(ENOSPC, "firmware item '{}': too many items", name);
  const u16 key = static_cast<u16>(key_first_file + files_.size());
  if (!files_.emplace(name, key).second)
    return fail(EEXIST, "firmware item '{}' is there already", name);
  set_item(key, std::move(bytes));
  index_files();
  return {};
}

const std::vector<u8>* FwCfg::file(std::string_view name) const {
  const auto it = files_.find(name);
  return it == files_.end() ? nullptr : &items_.at(it->second);
}

/// The directory: big-endian count, then size, key, two reserved bytes and the name of each file.
void FwCfg::index_files() {
  ByteWriter out;
  put_big_endian(out, files_.size(), 4);
  for (const auto& [name, key] : files_) {
    put_big_endian(out, items_[key].size(), 4);
    put_big_endian(out, key, 2);
    out.put_u16(0).put_text(name, name_limit + 1, '\0');
  }
  set_item(key_directory, out.take());
}

void FwCfg::select(u16 key) {
  selected_ = key & select_mask;
  offset_ = 0;
}

std::span<const u8> FwCfg::rest() const {
  const auto it = items_.find(selected_);
  if (it == items_.end() || offset_ >= it->second.size()) return {};
  return std::span(it->second).subspan(offset_);
}

void FwCfg::skip(u32 length) {
  const auto it = items_.find(selected_);
  const u64 end = it == items_.end() ? 0 : it->second.size();
  offset_ = std::min(offset_ + length, end);
}

u8 FwCfg::next_byte() {
  const auto left = rest();
  if (left.empty()) return 0;
  ++offset_;
  return left[0];
}

/// Bytes of the item, then zeros.
bool FwCfg::transfer(Gpa to, u32 length, FwCfgMemory& memory) {
  static constexpr std::array<u8, 4096> zeros{};
  const auto left = rest();
  const usize present = std::min<usize>(length, left.size());
  if (present != 0 && !memory.write(to, left.first(present))) return false;
  offset_ += present;
  for (u64 done = present; done < length;) {
    const u64 at = to.value() + done;
    if (at < to.value()) return false;
    const usize now = std::min<u64>(zeros.size(), length - done);
    if (!memory.write(Gpa(at), std::span(zeros).first(now))) return false;
    done += now;
  }
  return true;
}

void FwCfg::dma(Gpa request, FwCfgMemory& memory) {
  std::array<u8, request_size> bytes{};
  if (!memory.read(request, bytes)) return;
  const std::span<const u8> in(bytes);
  const u32 control = static_cast<u32>(big_endian(in.first(4)));
  const u32 length = static_cast<u32>(big_endian(in.subspan(4, 4)));
  const Gpa address(big_endian(in.subspan(8, 8)));
  if ((control & control_select) != 0) select(static_cast<u16>(control >> 16));
  bool ok = true;
  if ((control & control_read) != 0) ok = transfer(address, length, memory);
  else if ((control & control_write) != 0) ok = false;
  else if ((control & control_skip) != 0) skip(length);
  const std::array<u8, 4> outcome{0, 0, 0, static_cast<u8>(ok ? 0u : u32{control_error})};
  (void)memory.write(request, outcome);
}

void FwCfg::reset() { select(key_signature); }

void FwCfg::save(StateWriter& out) const {
  out.put_u16(selected_);
  out.put_u64(offset_);
}

void FwCfg::load(StateSection& in) {
  selected_ = in.get_u16() & select_mask;
  offset_ = in.get_u64();
}

}  // namespace bhyve::platform
