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
///
/// It lies in memory that is zeros (Cpu::operator new) and leaves it alone until it is used: of its
/// megabyte, only pages with entries in use cost host memory.
/// Owner: the vCPU's thread.
class Tlb final {
 public:
  /// Enough that what programs keep at round distances (arrays, arenas of 64 MiB) seldom collides.
  static constexpr unsigned entries = 16384;

  struct Entry {
    u64 read = 0;
    u64 write = 0;
    u64 addend = 0;             ///< from linear to host address
    std::byte* host = nullptr;  ///< of the page
  };
  static_assert(sizeof(Entry) == 32, "translated code computes addresses of entries");
  /// What only slow paths need.
  struct Detail {
    u64 exec = 0;        ///< key, as in Entry
    u64 page = 0;        ///< linear page the entry is for, + 1
    Gpa gpa{};           ///< of the page
    bool global = false;
    bool large = false;  ///< fragment of a 2 MiB or 1 GiB page
  };

  Tlb() { drop(0); }

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
  void clear(u64 linear) { drop(index(linear)); }
  /// Notes that the entry of `linear` is in use: flushes look only at those.
  void note(u64 linear, bool global);

  void flush(bool keep_global);
  void flush_page(u64 linear);
  /// Drops the fragments of large pages around `linear` (1 GiB is assumed: too much is allowed).
  void flush_large(u64 linear);
  /// Drops write permission everywhere: some page is newly watched for code.
  void flush_writes();
  /// The same for one entry, if it is of this guest-physical page.
  void drop_write(unsigned n, Gpa gpa) {
    if (details_[n].gpa == gpa) table_[n].write = none(n);
  }

 private:
  /// The zeros that memory has from the host.
  template <class T>
  union Zeros {
    Zeros() {}
    [[nodiscard]] T& operator[](unsigned n) { return items[n]; }
    [[nodiscard]] const T& operator[](unsigned n) const { return items[n]; }
    std::array<T, entries> items;
  };
  /// The key of a page that is never looked up at `n`: page 0, which has entry 0, or page 1. (So an
  /// unused Tlb is all zeros but for the first entry.)
  [[nodiscard]] static u64 none(unsigned n) { return n ? 0 : key(page_size); }
  void drop(unsigned n) {
    table_[n] = {none(n), none(n), 0, nullptr};
    details_[n] = {none(n), 0, {}, false, false};
  }
  Zeros<Entry> table_;  ///< first member: translated code finds it at the Tlb's address
  Zeros<Detail> details_;
  /// Indices of entries that were filled since the last flush. Those of global pages, which most
  /// flushes leave alone, are noted apart; an entry may be in both.
  struct Log {
    Zeros<u16> index;
    Zeros<bool> noted;
    unsigned count = 0;
  };
  template <class F>
  void for_used(F&& each) {
    for (Log* log : {&local_, &global_})
      for (unsigned k = 0; k < log->count; ++k) each(unsigned{log->index[k]});
  }
  Log local_, global_;
};

}  // namespace bhyve::soft
