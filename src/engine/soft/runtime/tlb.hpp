#pragma once
#include <array>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::soft {

/// A per-vCPU software TLB: direct mapped by linear page. The tags hold the page address when the
/// access is allowed without further ado, else `none`. A tag is compared with the page of the
/// access's *last* byte, so that accesses that cross a page miss.
/// Owner: the vCPU's thread.
class Tlb final {
 public:
  static constexpr unsigned entries = 1024;
  static constexpr u64 none = 1;  ///< never equal to a page address

  struct Entry {
    u64 read = none;
    u64 write = none;
    u64 exec = none;
    u64 addend = 0;  ///< host address = linear address + addend
  };
  /// What only slow paths need.
  struct Detail {
    u64 page = none;  ///< linear page the entry is for
    Gpa gpa{};        ///< of the page
    bool global = false;
    bool large = false;  ///< fragment of a 2 MiB or 1 GiB page
  };

  [[nodiscard]] static unsigned index(u64 linear) { return linear >> page_shift & (entries - 1); }
  [[nodiscard]] Entry& at(u64 linear) { return table_[index(linear)]; }
  [[nodiscard]] Detail& detail(u64 linear) { return details_[index(linear)]; }

  void flush(bool keep_global);
  void flush_page(u64 linear);
  /// Drops the fragments of large pages around `linear` (1 GiB is assumed: too much is allowed).
  void flush_large(u64 linear);
  /// Drops write permission everywhere: some page is newly watched for code.
  void flush_writes();

 private:
  void drop(unsigned n) {
    table_[n] = Entry{};
    details_[n] = Detail{};
  }
  std::array<Entry, entries> table_{};
  std::array<Detail, entries> details_{};
};

}  // namespace bhyve::soft
