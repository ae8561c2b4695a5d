#include "diff_flow.hpp"

#include <algorithm>

namespace bhyve::test::diff {
namespace {

constexpr u64 counter_at = 512;  ///< in the data, where no operand is aimed

/// Registers that a sequence writes or addresses memory with; hidden operands count.
struct Use final {
  bool stack = false;   ///< RSP is written or used
  bool repeats = true;  ///< nothing written is an address: it may run again
};

Use use_of(const std::vector<Candidate>& sequence) {
  u32 written = 0, addresses = 0;
  const auto mark = [](u32& set, ZydisRegister r) {
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
    if (whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15)
      set |= 1u << (whole - ZYDIS_REGISTER_RAX);
  };
  for (const Candidate& c : sequence)
    for (unsigned n = 0; n < c.insn.operand_count; ++n) {
      const ZydisDecodedOperand& o = c.operands[n];
      if (o.type == ZYDIS_OPERAND_TYPE_REGISTER && o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        mark(written, o.reg.value);
      if (o.type == ZYDIS_OPERAND_TYPE_MEMORY)
        mark(addresses, o.mem.base), mark(addresses, o.mem.index);
    }
  constexpr u32 rsp = 1u << 4;
  return {((written | addresses) & rsp) != 0, (written & addresses) == 0};
}

enum class Link : u8 { none, rel8, near, absolute };

/// Bytes, and where they lead: their last ones are the address of an item, which may be the end.
struct Item final {
  std::vector<u8> bytes;
  Link link = Link::none;
  usize target = 0;
  std::vector<u8> tail{};  ///< behind the address
};

/// Bytes of the address. `narrow`: in 16-bit code.
usize address_size(const Item& i, bool narrow) {
  switch (i.link) {
    case Link::none: return 0;
    case Link::rel8: return 1;
    default: return narrow ? 2 : 4;
  }
}
usize length(const Item& i, bool narrow) {
  return i.bytes.size() + address_size(i, narrow) + i.tail.size();
}

class Weaver final {
 public:
  Weaver(Random& random, const std::vector<Candidate>& sequence)
      : random_(random), sequence_(sequence), use_(use_of(sequence)),
        narrow_(sequence[0].mode == Mode::user16) {}

  void build() {
    for (usize n = 0; n < sequence_.size(); ++n) {
      const u64 kind = random_.below(use_.stack ? 5 : 7);
      if (kind == 5) {
        call(sequence_[n]);
        continue;
      }
      if (kind == 6)
        items_.push_back({{0x68}, Link::absolute, ahead(), {0xc3}});
      else if (kind > 1)
        branch();
      instruction(sequence_[n]);
    }
    if (use_.repeats && random_.one_in(2)) again();
  }
  [[nodiscard]] std::vector<u8> bytes(u64 rip) const;
  [[nodiscard]] bool counts() const { return counts_; }

 private:
  [[nodiscard]] usize ahead() { return items_.size() + 1 + random_.below(4); }
  void instruction(const Candidate& c) { items_.push_back({{c.text().begin(), c.text().end()}}); }
  void branch() {
    const u8 condition = static_cast<u8>(random_.below(16));
    switch (random_.below(4)) {
      case 0:
        items_.push_back({{static_cast<u8>(0x70 | condition)}, Link::rel8, ahead()});
        break;
      case 1:
        items_.push_back({{0x0f, static_cast<u8>(0x80 | condition)}, Link::near, ahead()});
        break;
      case 2:
        items_.push_back({{static_cast<u8>(0xe0 + random_.below(4))}, Link::rel8, ahead()});
        break;
      default:
        if (random_.one_in(2))
          items_.push_back({{0xeb}, Link::rel8, ahead()});
        else
          items_.push_back({{0xe9}, Link::near, ahead()});
    }
  }
  /// call 2f; jmp 3f; 2: the instruction; ret; 3:
  void call(const Candidate& c) {
    const usize at = items_.size();
    items_.push_back({{0xe8}, Link::near, at + 2});
    items_.push_back({{0xeb}, Link::rel8, at + 4});
    instruction(c);
    items_.push_back({{0xc3}});
  }
  /// dec byte [counter]; jnz to some item
  void again() {
    const auto at = static_cast<u32>(data + counter_at - data_base(sequence_[0].mode));
    std::vector<u8> dec{0xfe, 0x0d};
    if (narrow_) dec = {0xfe, 0x0e};
    else if (!legacy(sequence_[0].mode)) dec = {0xfe, 0x0c, 0x25};
    for (unsigned n = 0; n < (narrow_ ? 2u : 4u); ++n) dec.push_back(static_cast<u8>(at >> 8 * n));
    // Not into the body of a call: its RET would have no address.
    const bool calls =
        std::any_of(items_.begin(), items_.end(), [](const Item& i) { return i.bytes[0] == 0xe8; });
    const usize back = calls ? 0 : random_.below(items_.size());
    dec.push_back(0x0f), dec.push_back(0x85);
    items_.push_back({dec, Link::near, back});  // one item: no jump goes between
    counts_ = true;
  }

  Random& random_;
  const std::vector<Candidate>& sequence_;
  Use use_;
  bool narrow_;  ///< 16-bit code
  std::vector<Item> items_;
  bool counts_ = false;
};

std::vector<u8> Weaver::bytes(u64 rip) const {
  std::vector<usize> starts;
  usize size = 0;
  for (const Item& i : items_) starts.push_back(size), size += length(i, narrow_);
  std::vector<u8> out;
  for (const Item& i : items_) {
    out.insert(out.end(), i.bytes.begin(), i.bytes.end());
    usize to = i.target < starts.size() ? starts[i.target] : size;
    // Nor do jumps ahead end in a call's body.
    if (i.target > 0 && i.target + 1 < starts.size() && items_[i.target + 1].bytes[0] == 0xc3 &&
        i.bytes[0] != 0xe8)
      to = starts[i.target + 1] + 1;
    if (i.target < starts.size() && items_[i.target].bytes[0] == 0xc3) to = starts[i.target] + 1;
    const i64 relative =
        static_cast<i64>(to) - static_cast<i64>(out.size() + address_size(i, narrow_));
    if (i.link == Link::rel8 && relative != static_cast<i8>(relative)) return {};
    const u64 address = i.link == Link::absolute ? rip + to : static_cast<u64>(relative);
    for (unsigned n = 0; n < address_size(i, narrow_); ++n)
      out.push_back(static_cast<u8>(address >> 8 * n));
    out.insert(out.end(), i.tail.begin(), i.tail.end());
  }
  return out;
}

}  // namespace

std::vector<u8> weave(Random& random, const std::vector<Candidate>& sequence, u64 rip,
                      std::span<u8, data_size> memory) {
  Weaver w(random, sequence);
  w.build();
  if (w.counts()) memory[counter_at] = static_cast<u8>(2 + random.below(3));
  return w.bytes(rip);
}

}  // namespace bhyve::test::diff
