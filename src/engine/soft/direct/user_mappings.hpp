#pragma once
#include <array>
#include <bitset>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "engine/soft/direct/user_process.hpp"
#include "x86/registers.hpp"

namespace bhyve::soft {

class Cpu;
enum class Sensitive : u8;

/// What of one guest address space its UserProcess has mapped: in effect a TLB for user accesses, whose
/// entries are the host's page tables. It holds pages of guest RAM as the guest's page tables allow them
/// at privilege level 3: only with A set, writable only with D set, executable only without sensitive code.
/// What the guest flushes is compared with its page tables again before the process runs next.
///
/// Executable pages are watched as decoded code is (mem::CodePages), so that nobody has them writable and who
/// writes nevertheless is noted: they are looked at again. But a page that user code itself writes and executes
/// by turns, and that never had sensitive code, is let be both in the end, until the engine decodes it again;
/// unless all is to be exact.
/// Owner: the vCPU's thread.
class UserMappings final {
 public:
  /// `exact`: no page is both written and executed.
  UserMappings(Cpu& cpu, UserProcess& process, bool exact)
      : cpu_(cpu), process_(process), exact_(exact) {
    flushed_.reserve(flushes_most);
  }

  // Notes, which update() acts on: where they come from, the guest's vector registers may be live, and the
  // host's library uses them.

  /// Nothing is mapped from here on: another address space.
  void clear() { clear_ = true; }
  /// The guest flushed everything, or one page.
  void flush() { stale_ = true; }
  void flush_page(u64 linear);
  /// Pages, or this one, are watched for the first time: writable mappings of them are to go.
  void revoke_writes() { writes_suspected_ = true; }
  void revoke_writes(Gpa page) { writes_suspected_ |= writable_pages_[slot_of(page)]; }
  /// Pages, or this one, were watched, and somebody wrote to them.
  void code_written() { code_suspected_ = true; }
  void code_written(Gpa page) { code_suspected_ |= executable_pages_[slot_of(page)]; }

  /// Has the page and its neighbours mapped, as far as the guest's page tables in CR3 let that be. False:
  /// there is nothing to add for the page itself. `executes`: to execute it.
  [[nodiscard]] bool fill(u64 linear, bool executes);
  /// Has what was noted taken away. Both are done by the process's apply().
  void update();
  /// CPUID may be made to stop the process, which slows all of its stops down.
  void may_slow_stops(bool may);

  /// Nothing was left of what was mapped: this is another program by now.
  [[nodiscard]] bool vanished() const { return vanished_; }
  /// The guest has something where the process has memory of our own.
  [[nodiscard]] bool collides() const;

 private:
  /// Entries of 2 MiB: guest-physical page and rights; 0 is none.
  static constexpr unsigned entries = 512;
  static constexpr u64 region_bytes = entries * page_size;
  /// Of the guest's page-table entries: P, U and A, without which nothing is mapped.
  static constexpr u64 pte_usable = x86::pte::p | x86::pte::us | x86::pte::a;
  static constexpr u64 present = 1, writable = 2, executable = 4, both = 8;
  /// What else is known of an executable page: CPUID is there; the code beside told what some of its bytes are.
  static constexpr u64 has_cpuid = 16, by_next = 32, by_previous = 64, notes = has_cpuid | by_next | by_previous;
  struct Region {
    std::array<u64, entries> entry{};
    bool large = false;  ///< has parts of a large page, which one INVLPG flushes all of
  };
  /// The end of the guest's page walk for one region.
  struct Leaf {
    const u64* table = nullptr;  ///< of 512 entries; or `large`
    u64 large = 0;               ///< entry of a page of 2 MiB, or such a part of a larger one
    bool huge = false;           ///< that larger one is of 1 GiB
    u64 rights = 0;              ///< what the upper levels allow: writable, executable
  };
  [[nodiscard]] bool find_leaf(u64 linear, Leaf& out, u64 needed = pte_usable) const;
  [[nodiscard]] u64 allowed(const Leaf& leaf, unsigned n) const;
  /// Pages [first, end) of a region, as they are to be mapped.
  struct Window {
    unsigned first, end;
    std::array<u64, entries> entry{};
    std::bitset<entries> fresh{};  ///< code that is not known yet
  };
  void look_at(u64 base, const Region& region, const Leaf& leaf, Window& w) const;
  void drop_sensitive(const Region& region, Window& w, unsigned wanted);
  [[nodiscard]] bool lets_run(Sensitive found, bool is_wanted);
  void stop_cpuid_faults();
  [[nodiscard]] bool is_sane(u64 entry, u64 needed) const;
  [[nodiscard]] const std::byte* ram(Gpa gpa, u64 need) const;
  void check(u64 base, Region& region, const Leaf* leaf, unsigned first, unsigned end);
  void take_all();
  void check_all();
  void check_flushed();
  void put(u64 base, Region& region, unsigned first, unsigned end);
  void take(u64 base, Region& region, unsigned first, unsigned end);
  template <class Goes>
  void take_where(const Goes& goes);
  /// What of the rights that the page tables give it a page is mapped with.
  [[nodiscard]] u64 settle(u64 entry, u64 had, bool executes, bool is_wanted);
  void make_executable(Gpa page);
  [[nodiscard]] bool is_watched(u64 entry) const;
  [[nodiscard]] static usize slot_of(Gpa page) { return page.page_number() % slots; }

  static constexpr usize slots = 16384;
  static constexpr unsigned changes_most = 2;    ///< of a page between being written and executed
  static constexpr u64 around = 16;              ///< pages that are filled at once
  static constexpr unsigned cpuid_patience_least = 4, cpuid_patience_most = 65'536;
  static constexpr usize flushes_most = 64;      ///< pages noted singly
  static constexpr unsigned runs_most = 60'000;  ///< host mappings; Linux allows 65 530
  /// Regions that are known at once: twice those of guest RAM, and what is sparse.
  [[nodiscard]] usize regions_most() const;
  Cpu& cpu_;
  UserProcess& process_;
  const bool exact_;
  std::unordered_map<u64, std::unique_ptr<Region>> regions_;  ///< by address / 2 MiB
  std::vector<u64> flushed_;
  std::bitset<slots> writable_pages_, executable_pages_;  ///< by hashed guest-physical page: may be mapped so
  /// Pages that are written and executed by turns: how often they changed. `tainted`: had sensitive code.
  struct Changes {
    unsigned count = 0;
    bool tainted = false;
  };
  std::unordered_map<u64, Changes> changes_;
  bool clear_ = false, stale_ = false, writes_suspected_ = false, code_suspected_ = false, vanished_ = false;
  bool huge_ = false;          ///< has parts of pages of 1 GiB, which one INVLPG flushes all of
  bool faults_cpuid_ = false;  ///< CPUID stops the process
  bool may_slow_stops_ = false;
  unsigned wanted_cpuid_ = 0;  ///< times that a page with CPUID was executed
  unsigned cpuid_patience_ = cpuid_patience_least;
  u64 kept_ = 0;               ///< pages that a check left
  unsigned runs_ = 0;
};

}  // namespace bhyve::soft
