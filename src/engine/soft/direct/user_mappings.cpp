#include "engine/soft/direct/user_mappings.hpp"

#include <algorithm>

#include "engine/soft/cpu.hpp"
#include "engine/soft/direct/sensitive_code.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/system/cpu_features.hpp"
#include "mem/ram_access.hpp"

namespace bhyve::soft {

namespace pte = x86::pte;
using pte::frame;

namespace {

/// It lets its processes read and write PKRU.
bool host_has_protection_keys() {
  constexpr u32 ospke = bit(4);  // CPUID.7.0:ECX
  static const bool has = host_cpuid(7, 0).ecx & ospke;
  return has;
}

}  // namespace

/// Host address of guest RAM that the nested tables have with `need` and all marks set; nothing is faulted in
/// and nothing marked. nullptr: not so, or not RAM.
const std::byte* UserMappings::ram(Gpa gpa, u64 need) const {
  namespace ept = x86::ept;
  if (gpa.value() >> 48 || gpa.page().value() == cpu_.apic_page_) return nullptr;
  mem::Vmspace& space = cpu_.vm().space;
  const pmap::FrameArena& arena = space.arena();
  const bool marks = space.pmap().ad_bits();
  ArenaAddr table = space.pmap().root();
  for (int level = 3; level >= 0; --level) {
    const unsigned shift = page_shift + 9 * static_cast<unsigned>(level);
    const auto* slot = reinterpret_cast<const u64*>(arena.host(table)) + (gpa.value() >> shift & 511);
    const u64 entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    const bool leaf = level == 0 || (level < 3 && (entry & ept::ps));
    const u64 set = need | (marks ? ept::a | (leaf && (need & ept::w) ? ept::d : 0) : 0);
    if ((entry & set) != set) return nullptr;
    table = ArenaAddr(entry & ept::frame);
    if (!leaf) continue;
    const u64 span = bit(shift) - 1;
    const ArenaAddr at((entry & ept::frame & ~span) | (gpa.value() & span));
    // Bank 0 is RAM; its offsets are guest-physical addresses.
    return at.value() == gpa.value() ? arena.host(at) : nullptr;
  }
  return nullptr;
}

bool UserMappings::is_sane(u64 entry, u64 needed) const {
  return (entry & needed) == needed && !((entry & frame) >> cpu_.model().physical_bits());
}

bool UserMappings::find_leaf(u64 linear, Leaf& out, u64 needed) const {
  out = {nullptr, 0, false, writable | executable};
  u64 table = cpu_.s.cr3 & frame;
  for (unsigned shift = 39; shift >= 21; shift -= 9) {
    const std::byte* at = ram(Gpa(table), x86::ept::r);
    if (!at) return false;
    const u64 entry = mem::ram_load<u64>(at + 8 * (linear >> shift & 511));
    if (!is_sane(entry, needed) || (shift == 39 && (entry & pte::ps))) return false;
    if (!(entry & pte::rw)) out.rights &= ~writable;
    if (entry & pte::nx) out.rights &= ~executable;
    if (entry & pte::ps) {
      const u64 span = bit(shift) - 1;
      if (entry & span & frame & ~pte::pat_large) return false;  // reserved bits
      out.huge = shift == 30;
      out.large = (entry & ~(span & frame)) | (linear & span & ~(region_bytes - 1));
      return true;
    }
    table = entry & frame;
  }
  out.table = reinterpret_cast<const u64*>(ram(Gpa(table), x86::ept::r));
  return out.table != nullptr;
}

/// What the guest's page tables and the nested ones allow for page n of the region.
u64 UserMappings::allowed(const Leaf& leaf, unsigned n) const {
  const u64 entry =
      leaf.table ? __atomic_load_n(leaf.table + n, __ATOMIC_RELAXED) : leaf.large + n * page_size;
  if (!is_sane(entry, pte_usable)) return 0;
  const Gpa gpa(entry & frame);
  if (!ram(gpa, x86::ept::r)) return 0;
  u64 rights = leaf.rights;
  constexpr u64 written = pte::rw | pte::d;
  if ((entry & written) != written || !ram(gpa, x86::ept::r | x86::ept::w)) rights &= ~writable;
  if (entry & pte::nx || !ram(gpa, x86::ept::r | x86::ept::x)) rights &= ~executable;
  return gpa.value() | present | rights;
}

void UserMappings::flush_page(u64 linear) {
  if (huge_) return flush();
  if (stale_ || !regions_.contains(linear / region_bytes)) return;
  if (flushed_.size() == flushes_most) return flush();
  flushed_.push_back(linear);
}

/// Unmaps pages [first, end) of the region, and code beside them that was looked at with them in view.
void UserMappings::take(u64 base, Region& region, unsigned first, unsigned end) {
  if (first > 0 && region.entry[first - 1] & by_next) --first;
  if (end < entries && region.entry[end] & by_previous) ++end;
  process_.unmap(base + first * page_size, u64{end - first} * page_size);
  std::fill(region.entry.begin() + first, region.entry.begin() + end, 0);
  ++runs_;
}

/// Takes away what of pages [first, end) is allowed no longer. No leaf: nothing is.
void UserMappings::check(u64 base, Region& region, const Leaf* leaf, unsigned first, unsigned end) {
  unsigned gone = end;  // begin of a run that goes
  for (unsigned n = first; n < end; ++n) {
    const u64 had = region.entry[n];
    const u64 now = had && leaf ? allowed(*leaf, n) : 0;
    const bool goes = had && ((had & ~now & (present | writable | executable)) || ((had ^ now) & frame));
    kept_ += had && !goes;
    if (goes && gone == end) gone = n;
    if (!goes && gone != end) {
      take(base, region, gone, n);
      gone = end;
    }
  }
  if (gone != end) take(base, region, gone, end);
}

/// Maps pages [first, end), which have entries: as few runs as their frames and rights let be.
void UserMappings::put(u64 base, Region& region, unsigned first, unsigned end) {
  for (unsigned n = first; n < end;) {
    unsigned next = n + 1;
    while (next < end && region.entry[next] == region.entry[n] + (next - n) * page_size) ++next;
    const u64 entry = region.entry[n];
    process_.map(base + n * page_size, u64{next - n} * page_size, entry & frame, entry & writable,
                 entry & executable);
    ++runs_;
    n = next;
  }
}

/// Whether code where that was found can run. CPUID can be made to stop the process, for pages that are executed
/// again and again.
bool UserMappings::lets_run(Sensitive found, bool is_wanted) {
  if (has(found, Sensitive::other) ||
      (has(found, Sensitive::xstate) && cpu_.s.xcr0 != Fpu::host_xcr0()) ||
      (has(found, Sensitive::pkru) && host_has_protection_keys()))
    return false;
  if (!has(found, Sensitive::cpuid) || faults_cpuid_) return true;
  if (!process_.cpuid_can_fault() || !may_slow_stops_ || !is_wanted || ++wanted_cpuid_ < cpuid_patience_)
    return false;
  process_.let_cpuid_fault(true);
  return faults_cpuid_ = true;
}

/// What the page tables allow for pages [first, end).
void UserMappings::look_at(u64 base, const Region& region, const Leaf& leaf, Window& w) const {
  for (unsigned n = w.first; n < w.end; ++n) {
    const u64 at = base + n * page_size;
    const bool ours = at >= UserProcess::service_begin && at < UserProcess::service_end;
    const u64 entry = w.entry[n] = ours || at >= UserProcess::user_end ? 0 : allowed(leaf, n);
    if (!(entry & executable)) continue;
    const u64 had = region.entry[n];
    const bool known = had & executable && !((had ^ entry) & frame);
    if (known) w.entry[n] |= had & notes;
    w.fresh[n] = !known;
  }
}

/// Leaves those pages of the window executable where nothing needs the engine. What the bytes at a page's ends are, the
/// code beyond tells, if that is executable here, too: then they go together.
void UserMappings::drop_sensitive(const Region& region, Window& w, unsigned wanted) {
  const auto code_at = [&](unsigned n) -> const std::byte* {
    const bool inside = n >= w.first && n < w.end;
    const u64 entry = inside ? w.entry[n] : n < entries ? region.entry[n] : 0;
    const bool may_change = inside && w.fresh[n] && entry & writable;  // unnoticed, until it is mapped
    return entry & executable && !may_change ? ram(Gpa(entry & frame), x86::ept::r) : nullptr;
  };
  for (std::bitset<entries> open = w.fresh; open.any();) {
    for (unsigned n = w.end; n-- > w.first;) {
      if (!open[n]) continue;
      open.reset(n);
      const std::byte* page = ram(Gpa(w.entry[n] & frame), x86::ept::r);
      const SensitiveCode found = page ? find_sensitive(page, code_at(n + 1), code_at(n - 1)) : SensitiveCode{};
      w.entry[n] &= ~notes;
      if (page && lets_run(found.kinds, n == wanted)) {
        const auto when = [](bool condition, u64 note) { return condition ? note : 0; };
        w.entry[n] |= when(has(found.kinds, Sensitive::cpuid), has_cpuid) | when(found.by_next, by_next) |
                      when(found.by_previous, by_previous);
        continue;
      }
      w.entry[n] &= ~executable;
      for (const unsigned beside : {n - 1, n + 1})  // had it in view
        if (beside >= w.first && beside < w.end && w.fresh[beside] && w.entry[beside] & executable)
          open.set(beside);
    }
  }
}

bool UserMappings::fill(u64 linear, bool executes) {
  if (linear >= UserProcess::user_end) return false;
  const u64 base = linear & ~(region_bytes - 1);
  Leaf leaf;
  if (!find_leaf(base, leaf)) return false;
  std::unique_ptr<Region>& slot = regions_[linear / region_bytes];
  if (!slot) slot = std::make_unique<Region>();
  Region& region = *slot;
  region.large |= !leaf.table;
  huge_ |= leaf.huge;
  const auto wanted = static_cast<unsigned>((linear - base) / page_size);
  const auto window = static_cast<unsigned>(leaf.table ? around : entries);
  const unsigned from = wanted & ~(window - 1);
  // One page more on either side, for what the window's ends are.
  Window w{.first = from - (from > 0), .end = std::min(from + window + 1, entries)};
  look_at(base, region, leaf, w);
  drop_sensitive(region, w, wanted);
  std::bitset<entries> changed;
  for (unsigned n = w.first; n < w.end; ++n) {
    u64& had = region.entry[n];
    // What was known went with the page beside it, perhaps.
    const u64 wish = w.fresh[n] || had & executable ? w.entry[n] : w.entry[n] & ~(executable | notes);
    u64 entry = settle(wish, had, executes, n == wanted);
    if (!(entry & executable)) entry &= ~notes;
    if (!entry || entry == had) continue;
    if (had & executable && !(entry & executable)) take(base, region, n, n + 1);
    had = entry;
    changed.set(n);
    if (entry & writable) writable_pages_.set(slot_of(Gpa(entry & frame)));
    if (entry & executable) executable_pages_.set(slot_of(Gpa(entry & frame)));
  }
  for (unsigned n = w.first; n < w.end; ++n) {
    const unsigned run = n;
    while (n < w.end && changed[n] && region.entry[n]) ++n;
    if (run < n) put(base, region, run, n);
  }
  return changed[wanted];
}

bool UserMappings::is_watched(u64 entry) const {
  return cpu_.vm().space.code_pages().watched((entry & frame) >> page_shift);
}

/// From here on nobody writes to the page unnoticed.
void UserMappings::make_executable(Gpa page) {
  u32 word = 0;
  if (!is_watched(page.value())) (void)cpu_.watch_page(page, word);
}

u64 UserMappings::settle(u64 entry, u64 had, bool executes, bool is_wanted) {
  const bool runs = entry & executable, writes = entry & writable;
  if (!writes) {
    if (runs) make_executable(Gpa(entry & frame));
    return entry;
  }
  const u64 data = entry & ~(is_watched(entry) ? writable | executable : executable);
  if (!runs) {
    if (is_wanted && executes) changes_[entry & frame].tainted = true;
    return data;
  }
  if (!is_wanted) return had && !((had ^ entry) & frame) ? had : data;
  Changes& changes = changes_[entry & frame];
  if (!exact_ && !changes.tainted && ++changes.count > changes_most) {
    // Nobody keeps what was decoded of it.
    if (is_watched(entry)) cpu_.vm().space.code_pages().written((entry & frame) >> page_shift);
    return entry | both;
  }
  if (!executes) return data;
  make_executable(Gpa(entry & frame));
  return entry & ~writable;
}

/// Unmaps the pages whose entries say so.
template <class Goes>
void UserMappings::take_where(const Goes& goes) {
  for (auto& [number, region] : regions_)
    for (unsigned n = 0; n < entries; ++n)
      if (goes(region->entry[n])) take(number * region_bytes, *region, n, n + 1);
}

void UserMappings::check_all() {
  kept_ = 0;
  for (auto& [number, region] : regions_) {
    Leaf leaf;
    const u64 base = number * region_bytes;
    check(base, *region, find_leaf(base, leaf) ? &leaf : nullptr, 0, entries);
  }
  vanished_ = kept_ == 0 && !regions_.empty();
}

void UserMappings::check_flushed() {
  for (const u64 linear : flushed_) {
    const auto at = regions_.find(linear / region_bytes);
    if (at == regions_.end()) continue;
    const u64 base = at->first * region_bytes;
    if (at->second->large) return check_all();
    const auto n = static_cast<unsigned>((linear - base) / page_size);
    Leaf leaf;
    check(base, *at->second, find_leaf(base, leaf) ? &leaf : nullptr, n, n + 1);
  }
}

bool UserMappings::collides() const {
  Leaf leaf;
  if (!find_leaf(UserProcess::service_begin, leaf, pte::p)) return false;
  for (u64 at = UserProcess::service_begin; at < UserProcess::service_end; at += page_size)
    if (!leaf.table || leaf.table[at / page_size % entries] & pte::p) return true;
  return false;
}

void UserMappings::stop_cpuid_faults() {
  if (faults_cpuid_) process_.let_cpuid_fault(false);
  faults_cpuid_ = false;
  wanted_cpuid_ = 0;
}

void UserMappings::may_slow_stops(bool may) {
  may_slow_stops_ = may;
  if (may || !faults_cpuid_) return;
  take_where([](u64 e) { return e & has_cpuid; });
  stop_cpuid_faults();
  cpuid_patience_ = std::min(cpuid_patience_ * 2, cpuid_patience_most);  // it changes its ways again and again
}

void UserMappings::take_all() {
  stop_cpuid_faults();
  cpuid_patience_ = cpuid_patience_least;
  regions_.clear();
  changes_.clear();
  writable_pages_.reset();
  executable_pages_.reset();
  vanished_ = huge_ = false;
  runs_ = 0;
  process_.unmap(0, UserProcess::service_begin);
  process_.unmap(UserProcess::service_end, UserProcess::user_end - UserProcess::service_end);
}

usize UserMappings::regions_most() const {
  constexpr usize sparse = 1024;
  const mem::Vmspace& space = cpu_.vm().space;
  return sparse + (space.lowmem() + space.highmem()) / region_bytes * 2;
}

void UserMappings::update() {
  if (clear_ || runs_ > runs_most || regions_.size() > regions_most()) {
    take_all();
  } else if (stale_) {
    check_all();
  } else {
    check_flushed();
  }
  if (code_suspected_)  // code that was written to has to be looked at again
    take_where([this](u64 e) { return e & executable && !(e & both) && !is_watched(e); });
  if (writes_suspected_)  // pages that began to be watched are written by the engine alone
    take_where([this](u64 e) { return e & writable && is_watched(e); });
  clear_ = stale_ = writes_suspected_ = code_suspected_ = false;
  flushed_.clear();
}

}  // namespace bhyve::soft
