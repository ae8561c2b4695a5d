#include "platform/fw_ctl.hpp"

#include <algorithm>
#include <cerrno>

namespace bhyve::platform {
namespace {

constexpr std::string_view signature = "BHYV";
constexpr u32 request_header = 12, answer_header = 16, word_size = 4;

void put_words(std::vector<u32>& out, std::span<const u8> bytes) {
  for (usize at = 0; at < bytes.size(); at += word_size) {
    u32 word = 0;
    for (usize i = 0; i < word_size && at + i < bytes.size(); ++i) word |= u32{bytes[at + i]} << (8 * i);
    out.push_back(word);
  }
}

/// Sizes are of a guest's size_t, 64 bits.
void put_size(std::vector<u32>& out, usize size) {
  out.push_back(static_cast<u32>(size));
  out.push_back(0);
}

}  // namespace

void FwCtl::set_value(std::string_view name, std::vector<u8> bytes) {
  values_[std::string(name)] = std::move(bytes);
}

void FwCtl::select(u16 value) {
  if (value != 0) return;
  phase_ = Phase::signature;
  position_ = 0;
  answer_.clear();
}

u8 FwCtl::next_byte() {
  constexpr u8 nothing = 0xff;
  if (phase_ != Phase::signature) return nothing;
  const u8 byte = static_cast<u8>(signature[position_++]);
  if (position_ < signature.size()) return byte;
  phase_ = Phase::request;
  position_ = 0;
  return byte;
}

void FwCtl::write(u32 word) {
  if (phase_ != Phase::request) return;
  switch (position_) {
    case 0:
      if (word < request_header) return;  // no request is that short: wait for one
      left_ = word - request_header;
      break;
    case 1:
      operation_ = word;
      break;
    case 2:
      number_ = word;
      return begin_data();
    default:
      return add_data(word);
  }
  ++position_;
}

void FwCtl::begin_data() {
  ++position_;
  name_.clear();
  const bool known = operation_ == op_get || operation_ == op_get_length;
  error_ = !known ? u32{ENOENT} : left_ > name_limit ? u32{E2BIG} : 0u;
  if (left_ == 0) answer();
}

/// The last word of data may be less than whole. Data of a request that failed is dropped.
void FwCtl::add_data(u32 word) {
  for (unsigned i = 0; i < word_size && error_ == 0; ++i) name_ += static_cast<char>(word >> (8 * i));
  left_ -= std::min(left_, word_size);
  if (left_ < word_size) answer();
}

void FwCtl::answer() {
  std::vector<u32> data;
  if (error_ == 0) {
    // The name ends at its zero, or with the data.
    const auto it = values_.find(std::string_view(name_).substr(0, name_.find('\0')));
    if (it == values_.end()) {
      error_ = ENOENT;
    } else {
      put_size(data, it->second.size());
      if (operation_ == op_get) put_words(data, it->second);
    }
  }
  answer_ = {answer_header + static_cast<u32>(data.size()) * word_size, operation_, number_, error_};
  answer_.insert(answer_.end(), data.begin(), data.end());
  std::reverse(answer_.begin(), answer_.end());
  phase_ = Phase::answer;
  position_ = 0;
}

u32 FwCtl::read() {
  if (phase_ != Phase::answer || answer_.empty()) return ~u32{0};
  const u32 word = answer_.back();
  answer_.pop_back();
  if (answer_.empty()) phase_ = Phase::request;
  return word;
}

void FwCtl::reset() {
  phase_ = Phase::waiting;
  position_ = 0;
  left_ = 0;
  name_.clear();
  answer_.clear();
}

void FwCtl::save(StateWriter& out) const {
  out.put_u8(static_cast<u8>(phase_));
  out.put_u8(position_);
  out.put_u32(left_);
  out.put_u32(operation_);
  out.put_u32(number_);
  out.put_u32(error_);
  out.put_u32(static_cast<u32>(name_.size()));
  for (const char c : name_) out.put_u8(static_cast<u8>(c));
  out.put_u32(static_cast<u32>(answer_.size()));
  for (const u32 word : answer_) out.put_u32(word);
}

void FwCtl::load(StateSection& in) {
  constexpr u32 most_words = 64;
  reset();
  phase_ = static_cast<Phase>(std::min<u8>(in.get_u8(), static_cast<u8>(Phase::answer)));
  position_ = std::min<u8>(in.get_u8(), signature.size() - 1);
  left_ = in.get_u32();
  operation_ = in.get_u32();
  number_ = in.get_u32();
  error_ = in.get_u32();
  const u32 length = std::min<u32>(in.get_u32(), name_limit + word_size);
  for (u32 i = 0; i < length; ++i) name_ += static_cast<char>(in.get_u8());
  const u32 words = std::min(in.get_u32(), most_words);
  for (u32 i = 0; i < words; ++i) answer_.push_back(in.get_u32());
}

}  // namespace bhyve::platform
