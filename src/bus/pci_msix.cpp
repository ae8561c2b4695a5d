#include "bus/pci_msix.hpp"

#include <algorithm>

#include "bus/access.hpp"

namespace bhyve::bus {

namespace {

constexpr unsigned control = 2, table = 4, pba = 8;
using TableSize = BitRange<10, 0>;
using FunctionMask = BitRange<14>;
using Enable = BitRange<15>;

constexpr u32 entry_size = 16;
constexpr unsigned word_control = 3;
constexpr u32 masked = 1;

}  // namespace

PciMsix::PciMsix(PciConfig& config, unsigned offset, unsigned vectors, unsigned bar,
                 u32 table_offset)
    : at_(offset),
      bar_(bar),
      table_offset_(table_offset),
      table_(std::clamp(vectors, 1u, max_vectors)) {
  config.set16(at_ + control, static_cast<u16>(TableSize::make(table_.size() - 1)));
  config.allow(at_ + control, 2, FunctionMask::mask | Enable::mask);
  config.set32(at_ + table, table_offset_ | bar_);
  config.set32(at_ + pba, pba_offset() | bar_);
}

u32 PciMsix::pba_offset() const {
  return static_cast<u32>(align_up(table_offset_ + table_.size() * entry_size, page_size));
}

u32 PciMsix::end_offset() const {
  return pba_offset() + static_cast<u32>((table_.size() + 63) / 64 * 8);
}

bool PciMsix::enabled(const PciConfig& config) const {
  return Enable::get(config.get16(at_ + control)) != 0;
}

void PciMsix::raise(const PciConfig& config, unsigned vector, bool master, MsiMessages& out) {
  if (!enabled(config) || vector >= table_.size()) return;
  table_[vector].pending = true;
  send(config, table_[vector], master, out);
}

void PciMsix::update(const PciConfig& config, bool master, MsiMessages& out) {
  for (Entry& e : table_) send(config, e, master, out);
}

void PciMsix::send(const PciConfig& config, Entry& e, bool master, MsiMessages& out) const {
  const u16 state = config.get16(at_ + control);
  if (Enable::get(state) == 0 || FunctionMask::get(state) != 0 || !master) return;
  if (!e.pending || (e.word[word_control] & masked) != 0) return;
  e.pending = false;
  out.push_back({e.word[0] | u64{e.word[1]} << 32, e.word[2]});
}

void PciMsix::reset() { std::fill(table_.begin(), table_.end(), Entry{}); }

u64 PciMsix::read(u64 offset, unsigned size) const {
  if ((size != 4 && size != 8) || offset % size != 0) return all_ones(size);
  u64 value = read_word(offset);
  if (size == 8) value |= u64{read_word(offset + 4)} << 32;
  return value;
}

void PciMsix::write(const PciConfig& config, u64 offset, unsigned size, u64 value, bool master,
                    MsiMessages& out) {
  if ((size != 4 && size != 8) || offset % size != 0) return;
  write_word(offset, static_cast<u32>(value));
  if (size == 8) write_word(offset + 4, static_cast<u32>(value >> 32));
  update(config, master, out);
}

u32 PciMsix::read_word(u64 offset) const {
  if (offset >= table_offset_ && offset - table_offset_ < table_.size() * entry_size) {
    const u64 at = offset - table_offset_;
    return table_[at / entry_size].word[at % entry_size / 4];
  }
  if (offset < pba_offset() || offset >= end_offset()) return 0;
  u32 bits = 0;
  const u64 first = (offset - pba_offset()) * 8;
  for (u64 i = 0; i < 32 && first + i < table_.size(); ++i)
    bits |= u32{table_[first + i].pending} << i;
  return bits;
}

void PciMsix::write_word(u64 offset, u32 value) {
  if (offset < table_offset_ || offset - table_offset_ >= table_.size() * entry_size) return;
  const u64 at = offset - table_offset_;
  const unsigned word = at % entry_size / 4;
  if (word == word_control) value &= masked;
  if (word == 0) value &= ~u32{3};
  table_[at / entry_size].word[word] = value;
}

void PciMsix::save(StateWriter& out) const {
  out.put_u32(vectors());
  for (const Entry& e : table_) {
    for (const u32 word : e.word) out.put_u32(word);
    out.put_bool(e.pending);
  }
}

void PciMsix::load(StateSection& in) {
  if (in.get_u32() != vectors()) return in.reject();
  for (Entry& e : table_) {
    for (u32& word : e.word) word = in.get_u32();
    e.word[0] &= ~u32{3};
    e.word[word_control] &= masked;
    e.pending = in.get_bool();
  }
}

}  // namespace bhyve::bus
