#pragma once
#include <array>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

class Cpu;

/// A per-vCPU software TLB: direct mapped by linear page. An entry holds, for each kind of access
/// that is allowed without further ado, the negated page address: linear address + key is then the
/// offset in the page, and anything else is far beyond it. So one addition and one comparison check
/// page and page crossing at once; translated code does it in line (translate/block_emitter_memory.cpp).
/// Owner: the vCPU's thread.
class Tlb final {
 public:
  static constexpr unsigned entries = 4096;
  static constexpr u64 no_page = 1;  ///< never equal to a page address

  struct Entry {
    u64 read = 0;
    u64 write = 0;
    u64 exec = 0;
    std::byte* host = nullptr;  ///< of the page
  };
  static_assert(sizeof(Entry) == 32, "translated code computes addresses of entries");
  /// What only slow paths need.
  struct Detail {
    u64 page = no_page;  ///< linear page the entry is for
    Gpa gpa{};           ///< of the page
    bool global = false;
    bool large = false;  ///< fragment of a 2 MiB or 1 GiB page
  };

  Tlb() {
    for (unsigned n = 0; n < entries; ++n) table_[n] = empty(n);
  }

  [[nodiscard]] static unsigned index(u64 linear) { return linear >> page_shift & (entries - 1); }
  /// The key of an access to this page.
  [[nodiscard]] static u64 key(u64 linear) { return u64{0} - (linear & ~page_mask); }
  /// Whether `size` bytes (1..4096) at `linear` lie in the page of this key.
  [[nodiscard]] static bool hits(u64 key, u64 linear, unsigned size) {
    return linear + key <= page_size - size;
  }
  [[nodiscard]] Entry& at(u64 linear) { return table_[index(linear)]; }
  [[nodiscard]] Detail& detail(u64 linear) { return details_[index(linear)]; }
  /// Forgets what the entry of `linear` allows; the caller fills it anew.
  void clear(u64 linear) { table_[index(linear)] = empty(index(linear)); }
  /// Notes that the entry of `linear` is in use: flushes look only at those.
  void note(u64 linear);

  void flush(bool keep_global);
  void flush_page(u64 linear);
  /// Drops the fragments of large pages around `linear` (1 GiB is assumed: too much is allowed).
  void flush_large(u64 linear);
  /// Drops write permission everywhere: some page is newly watched for code.
  void flush_writes();

 private:
  /// An entry that allows nothing: the key of another page that can never be looked up here.
  [[nodiscard]] static Entry empty(unsigned n) {
    const u64 none = key(u64{n ^ 1} << page_shift);
    return {none, none, none, nullptr};
  }
  void drop(unsigned n) {
    table_[n] = empty(n);
    details_[n] = Detail{};
  }
  std::array<Entry, entries> table_;  ///< first member: translated code finds it at the Tlb's address
  std::array<Detail, entries> details_{};
  std::array<u16, entries> used_{};   ///< indices of entries that were filled since the last flush
  std::array<bool, entries> noted_{};
  unsigned used_count_ = 0;
};

}  // namespace bhyve::soft
