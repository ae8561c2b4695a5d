#pragma once
#include <array>

#include "base/types.hpp"
#include "engine/soft/runtime/tlb.hpp"
#include "mem/ram_access.hpp"

namespace bhyve::soft {

/// Where the interpreter stored, what was there before, and what came there: so that the stores can be
/// taken back and done again (ExecutorCheck). Copies without vector registers, as the guest's may be
/// live. Owner: the vCPU's thread.
class StoreJournal final {
 public:
  static constexpr unsigned piece = 64;
  using Bytes = std::array<u8, piece>;
  struct Place {
    std::byte* host;
    u8 size;
    bool marked;  ///< a page-table entry: accessed and dirty flags, not compared
    Bytes old, wanted, found;
  };

  /// `n` bytes at `host` are about to be stored to.
  void note(std::byte* host, unsigned n) {
    for (unsigned done = 0; done < n; done += piece) {
      if (count_ == places_.size()) __builtin_trap();  // our own bug: a block has too few stores for that
      Place& p = places_[count_++];
      p.host = host + done;
      p.marked = false;
      p.size = static_cast<u8>(n - done < piece ? n - done : piece);
      mem::ram_copy(p.old.data(), p.host, p.size);
    }
  }
  /// The walker is about to mark a page-table entry. What is cached of such a page goes with undo(), for
  /// translated code to mark it in its own time.
  void note_marked(std::byte* host, unsigned n) {
    note(host, n);
    places_[count_ - 1].marked = marking_ = true;
  }
  void note_fill(Tlb& tlb, u64 linear) {
    if (!marking_ || fill_count_ == fills_.size()) return;
    marking_ = false;
    fills_[fill_count_++] = {&tlb, linear};
  }
  void clear() {
    count_ = fill_count_ = 0;
    marking_ = false;
  }
  [[nodiscard]] unsigned count() const { return count_; }
  [[nodiscard]] Place& at(unsigned n) { return places_[n]; }

  /// Notes what is at each place now.
  void capture(Bytes Place::*into) {
    for (unsigned n = 0; n < count_; ++n)
      mem::ram_copy((places_[n].*into).data(), places_[n].host, places_[n].size);
  }
  /// Puts back what was there before. Places may overlap: the last is undone first.
  void undo() {
    for (unsigned n = count_; n-- > 0;)
      mem::ram_copy(places_[n].host, places_[n].old.data(), places_[n].size);
    for (unsigned n = 0; n < fill_count_; ++n) fills_[n].tlb->clear(fills_[n].linear);
  }
  /// Forgets the last places.
  void keep(unsigned count) { count_ = count; }
  [[nodiscard]] static bool differs(const Place& p) { return !p.marked && !same(p.wanted, p.found, p.size); }
  /// Whether what was found is what was wanted, everywhere.
  [[nodiscard]] bool same_found() const {
    for (unsigned n = 0; n < count_; ++n)
      if (differs(places_[n])) return false;
    return true;
  }
  /// Whether what was wanted is there now.
  [[nodiscard]] bool is_there() const {
    Bytes now;
    for (unsigned n = 0; n < count_; ++n) {
      mem::ram_copy(now.data(), places_[n].host, places_[n].size);
      if (!places_[n].marked && !same(places_[n].wanted, now, places_[n].size)) return false;
    }
    return true;
  }

 private:
  [[nodiscard]] static bool same(const Bytes& a, const Bytes& b, unsigned size) {
    for (unsigned n = 0; n < size; ++n)
      if (a[n] != b[n]) return false;
    return true;
  }
  struct Fill {
    Tlb* tlb;
    u64 linear;
  };
  /// An instruction has two operands at most, each in two pages with four tables and two pieces; or one with
  /// 64 masked elements. The interpreter comes twice.
  std::array<Place, 24 * 160> places_{};
  std::array<Fill, 24 * 16> fills_{};
  unsigned count_ = 0, fill_count_ = 0;
  bool marking_ = false;
};

}  // namespace bhyve::soft
