#pragma once
#include <functional>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::pmap {

/// PT_X86: ordinary page-table entries, for tables that we own. PT_EPT: Intel's EPT layout, for
/// guests (facts sheet 7).
enum class PmapType : u8 { pt_x86, pt_ept };

/// Rights and attributes of one mapping, independent of the entry format.
struct Mapping final {
  ArenaAddr frame;
  bool write = false;
  bool exec = true;
  bool uncacheable = false;
  bool wired = false;
  bool accessed = false;  ///< entered for an access that is about to happen
  bool modified = false;  ///< ... which is a write (`write` must be set)
};

/// What the "hardware" that walks the tables can do (bhyve: pm_flags; sysctl
/// hw.vmm.ept.pmap_flags). Set once, when the pmap is made.
struct PmapFlags final {
  bool ad_bits = true;     ///< it keeps accessed and dirty flags; else they are emulated
  bool superpages = true;  ///< it walks 2 MiB leaves: pages are promoted
  bool exec_only = true;   ///< it allows entries that grant execution alone
};

/// Counters since the pmap was made, under FreeBSD's names (vm.pmap.*).
struct PmapStats final {
  u64 promotions = 0;          ///< pde.promotions: 512 pages became one of 2 MiB
  u64 promotion_failures = 0;  ///< pde.p_failures
  u64 demotions = 0;           ///< pde.demotions: a large page was split
  u64 mappings = 0;            ///< pde.mappings: entered as 2 MiB at once
  u64 dirty_emulations = 0;    ///< num_dirty_emulations
  u64 accessed_emulations = 0;            ///< num_accessed_emulations
  u64 superpage_accessed_emulations = 0;  ///< num_superpage_accessed_emulations
  u64 emulation_promotions = 0;           ///< ad_emulation_superpage_promotions
  u64 invalidations = 0;                  ///< of the EPT: generations begun
};

/// What a walk for one address met.
struct Lookup final {
  u64 entries[4] = {};  ///< raw entries from the top
  unsigned count = 0;   ///< entries walked; the last one is the leaf or the missing one
  bool present = false;
  u64 frame = 0;  ///< arena address of the byte walked for, when present
};

/// Told of addresses [va, va + bytes) whose accessed or modified flag was set and is no more.
using FlagSink = std::function<void(u64 va, u64 bytes)>;

/// Levels count from the leaf tables: 1 holds 4 KiB entries, 2 those of 2 MiB, 3 of 1 GiB, 4 the
/// top.
inline constexpr unsigned top_level = 4;
inline constexpr unsigned va_bits = 48;
[[nodiscard]] constexpr unsigned level_shift(unsigned level) {
  return page_shift + 9 * (level - 1);
}
[[nodiscard]] constexpr u64 level_size(unsigned level) {
  return u64{1} << level_shift(level);
}

}  // namespace bhyve::pmap
