#pragma once
#include <array>

#include "base/address.hpp"
#include "base/types.hpp"
#include "mem/prot.hpp"

namespace bhyve::soft {

class Cpu;

/// The CPU's hardware walker of the guest's own page tables (SDM vol. 3, ch. 4): no paging, 32-bit,
/// PAE and 4-level. Reads raw entries through the nested tables, sets accessed and dirty bits with
/// locked operations, and knows nothing of the pmap that made the nested ones.
class PageWalker final {
 public:
  explicit PageWalker(Cpu& cpu);

  struct Result {
    Gpa gpa{};           ///< of the byte asked for
    bool writable = false, user = false, executable = false;
    bool dirty = false;  ///< the leaf's D bit is set
    bool global = false, large = false;
    bool huge = false;   ///< large, and more than 2 MiB
  };
  enum class Status : u8 { ok, fault, stopped };

  /// Walks for an access with the given privilege. fault: `error` has the page-fault error code.
  /// stopped: a table could not be reached in guest memory; the Cpu has the exit.
  /// `smap`: supervisor data accesses to user pages are forbidden.
  [[nodiscard]] Status walk(u64 la, mem::Prot access, bool user, bool smap, Result& out, u32& error);
  /// Reads the four PDPTEs of PAE paging. fault: a present one has reserved bits.
  [[nodiscard]] Status read_pdptes(u64 cr3, std::array<u64, 4>& out);

 private:
  struct Level {
    unsigned shift;
    u64 entry_reserved;  ///< reserved bits of a non-leaf entry
    u64 leaf_reserved;   ///< of a large leaf, 0 = no large leaf at this level
  };
  [[nodiscard]] Status walk64(u64 la, mem::Prot access, bool user, bool smap, Result& out,
                              u32& error);
  [[nodiscard]] Status walk32(u64 la, mem::Prot access, bool user, bool smap, Result& out,
                              u32& error);
  [[nodiscard]] bool permitted(const Result& r, mem::Prot access, bool user, bool smap) const;
  [[nodiscard]] u32 error_code(u32 cause, mem::Prot access, bool user) const;
  template <class T>
  [[nodiscard]] Status read_entry(Gpa at, T*& host, T& entry);

  /// Sets accessed and dirty bits in the entry at `at`, read through `host` (null: in ROM, nothing
  /// to do). `again`: it changed meanwhile, walk again.
  template <class T>
  [[nodiscard]] Status mark(Gpa at, T* host, T& entry, u64 bits, bool& again);

  Cpu& cpu_;
  const bool nested_ad_;  ///< the nested tables have accessed and dirty flags
};

}  // namespace bhyve::soft
