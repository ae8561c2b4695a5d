#include "mem/pager.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bits.hpp"
#include "base/confinement.hpp"
#include "base/log.hpp"
#include "base/thread.hpp"

namespace bhyve::mem {
namespace {

using State = PageWords::State;

constexpr std::chrono::microseconds look_again{500};

bool all_zero(const std::byte* page) {
  // The page is unmapped and passed, but whoever takes it back may write: any answer is then fine.
  const auto* words = reinterpret_cast<const std::atomic<u64>*>(page);
  for (usize n = 0; n < page_size / sizeof(u64); ++n)
    if (words[n].load(std::memory_order_relaxed)) return false;
  return true;
}

/// Evictable: counted in RAM and held by nobody.
bool idle(PageWords::Word w) {
  return PageWords::state(w) == State::resident && PageWords::pins(w) == 0 &&
         !(w & (PageWords::wired | PageWords::leaving));
}

}  // namespace

Pager::Pager(RamPages& pages, bool confined) : pages_(pages) {
  pages_.set_pressure(high_mark(), [this] { wake(); });
  pages_.set_ahead([this](u64 first, u64 n) { return ask_ahead(first, n); });
  thread_ = std::thread([this, confined] { start(confined, "pager", &Pager::work); });
  for (std::thread& io : io_)
    io = std::thread([this, confined] { start(confined, "pager-io", &Pager::transfer); });
}

Pager::~Pager() {
  {
    const std::scoped_lock guard(mutex_);
    stop_ = true;
  }
  wanted_.notify_all();
  thread_.join();
  {
    const std::scoped_lock guard(mutex_);
    finished_ = true;
  }
  given_.notify_all();
  for (std::thread& io : io_) io.join();
  pages_.set_pressure(~u64{0}, {});  // who reads on now does without
  pages_.set_ahead({});
}

void Pager::wake() {
  if (pressed_.load(std::memory_order_relaxed) || pressed_.exchange(true)) return;
  const std::scoped_lock guard(mutex_);
  wanted_.notify_one();
}

bool Pager::ask_ahead(u64 first, u64 pages) {
  const std::scoped_lock guard(mutex_);
  if (reads_.size() >= reads_max) return false;
  reads_.push_back({first, pages});
  given_.notify_one();
  return true;
}

void Pager::start(bool confined, const char* name, void (Pager::*body)()) {
  block_async_signals();
  name_this_thread(name);
  prefer_short_slices();  // a vCPU may wait for it, and others compete for the host
  const auto ok = confined ? confine_this_thread(Confinement::worker) : Result<void>();
  if (ok) return (this->*body)();
  pages_.fail_with(ok.error().message);
}

void Pager::work() {
  std::unique_lock guard(mutex_);
  for (;;) {
    wanted_.wait(guard, [this] { return pressed_ || stop_; });
    if (stop_) return;
    pressed_ = false;
    guard.unlock();
    evict_to_low_mark();
    guard.lock();
  }
}

/// What leaves already counts as gone, and only so much leaves at a time as the disk needs to be busy.
void Pager::evict_to_low_mark() {
  std::unique_lock guard(mutex_);
  while (!stop_ && !pages_.failure() && pages_.resident() > high_mark()) {
    const u64 resident = pages_.resident(), gone = std::min(leaving_, resident);
    bool some = false;
    if (resident - gone > high_mark() && leaving_ < batch_pages) {
      guard.unlock();
      some = batch(std::min(batch_pages, resident - gone - low_mark()));
      guard.lock();
    }
    // Nothing to be had, all held or wired (whoever lets go does not call us), or enough on its way.
    if (!some && !stop_) wanted_.wait_for(guard, look_again);
  }
}

bool Pager::batch(u64 want) {
  std::vector<Run> victims;
  pick(want, victims, false);
  if (victims.empty()) pick(want, victims, true);
  if (victims.empty()) return false;
  pages_.pmap().invalidate_ept();
  pages_.barrier().wait(pages_.pmap());
  {
    const std::scoped_lock guard(mutex_);
    for (const Run& run : victims) {
      writes_.push_back(run);
      leaving_ += run.pages;
    }
  }
  given_.notify_all();
  return true;
}

/// Reads ahead come first: somebody will wait for them soon. Victims are all written, even at the end.
void Pager::transfer() {
  std::unique_lock guard(mutex_);
  for (;;) {
    given_.wait(guard, [this] { return !writes_.empty() || !reads_.empty() || finished_; });
    auto& queue = reads_.empty() ? writes_ : reads_;
    if (queue.empty()) return;
    const bool read = &queue == &reads_;
    const Run run = queue.front();
    queue.pop_front();
    guard.unlock();
    if (read)
      pages_.read_ahead(run.first, run.pages);
    else
      evict(run);
    guard.lock();
    if (read) continue;
    leaving_ -= run.pages;
    wanted_.notify_one();
  }
}

void Pager::evict(const Run& run) {
  if (pages_.failure())
    give_up(run);
  else
    write_out(run);
  pages_.room_made();
}

/// One round of the hand at most. `all`: also what was accessed since the last round.
void Pager::pick(u64 want, std::vector<Run>& victims, bool all) {
  const u64 total = pages_.words().pages();
  for (u64 seen = 0, found = 0; seen < total && found < want;) {
    if (hand_ >= total) hand_ = 0;
    const u64 pages = std::min(scan_pages, total - hand_);
    std::bitset<scan_pages> used;
    bool any = false;
    for (u64 n = 0; n < pages && !any; ++n) any = idle(pages_.words()[hand_ + n].load());
    if (any) {
      pages_.pmap().clear_accessed(hand_ << page_shift, pages << page_shift,
                                   [&](u64 va, u64 bytes) {
                                     const u64 page = va >> page_shift;
                                     for (u64 n = 0; n < bytes >> page_shift; ++n)
                                       if (page + n >= hand_ && page + n - hand_ < pages)
                                         used.set(page + n - hand_);
                                   });
      if (all) used.reset();
      found += unmap(hand_, pages, want - found, used, victims);
      if (found >= want) {  // on from there the next time: who lies low must not go always
        hand_ = victims.back().first + victims.back().pages;
        return;
      }
    }
    seen += pages;
    hand_ += pages;
  }
}

u64 Pager::unmap(u64 first, u64 pages, u64 want, const std::bitset<scan_pages>& used,
                 std::vector<Run>& victims) {
  u64 found = 0;
  PageWords& words = pages_.words();
  for (u64 region = first, end = first; region < first + pages && found < want; region = end) {
    end = std::min(align_down(region, region_pages) + region_pages, first + pages);  // one stripe
    const auto guard = pages_.lock(region);
    const auto victim = [&](u64 p) { return !used[p - first] && idle(words[p].load()); };
    for (u64 p = region; p < end && found < want;) {
      if (!victim(p)) {
        ++p;
        continue;
      }
      Run run{p, 0};
      while (p < end && found < want && run.pages < cluster_pages && victim(p)) {
        words[p].fetch_or(PageWords::leaving);
        words.set_state(p, State::evicting);
        ++run.pages, ++found, ++p;
      }
      pages_.pmap().remove_quietly(run.first << page_shift, run.pages << page_shift);
      victims.push_back(run);
    }
  }
  return found;
}

/// The pages of a run are unmapped and no vCPU uses them; some may have been taken back.
void Pager::write_out(const Run& run) {
  PageWords& words = pages_.words();
  enum class Fate : u8 { write, clean, zero };
  const auto fate = [&](u64 p) {
    const auto w = words[p].fetch_and(~PageWords::Word{PageWords::modified});
    if ((w & PageWords::swap_copy) && !(w & PageWords::modified)) return Fate::clean;
    words[p].fetch_and(~PageWords::Word{PageWords::swap_copy});
    return all_zero(pages_.ram(p)) ? Fate::zero : Fate::write;
  };
  const u64 end = run.first + run.pages;
  for (u64 p = run.first; p < end;) {
    const Fate what = fate(p);
    u64 n = 1;
    Fate next = what;
    while (p + n < end && (next = fate(p + n)) == what) ++n;
    // The page that ended the piece is looked at again: its flag must come back.
    if (p + n < end) words[p + n].fetch_or(next == Fate::clean ? 0u : u32{PageWords::modified});
    if (what == Fate::write) {
      if (auto ok = pages_.swap().write(p << page_shift, pages_.ram(p), n << page_shift); !ok) {
        log_error("{}", ok.error().message);
        pages_.fail_with(ok.error().message);
        give_up({p, end - p});
        return;
      }
      for (u64 i = p; i < p + n; ++i) words[i].fetch_or(PageWords::swap_copy);
      written_.fetch_add(n, std::memory_order_relaxed);
    } else {
      (what == Fate::zero ? zero_drops_ : clean_drops_).fetch_add(n, std::memory_order_relaxed);
    }
    finish(p, n, what == Fate::zero ? State::plain : State::swapped);
    p += n;
  }
}

/// Gives back what is still unwanted of [first, first + pages). Nobody else has made it unwanted: such a
/// page would be dropped with what was written before it was taken back.
void Pager::finish(u64 first, u64 pages, State to) {
  PageWords& words = pages_.words();
  const auto guard = pages_.lock(first);
  const auto unwanted = [&](u64 p) {
    const PageWords::Word w = words[p].load();
    return PageWords::state(w) == State::evicting && PageWords::pins(w) == 0;
  };
  for (u64 p = first; p < first + pages; ++p)
    words[p].fetch_and(~PageWords::Word{PageWords::leaving});
  for (u64 p = first; p < first + pages;) {
    u64 n = 0;
    while (p + n < first + pages && unwanted(p + n)) ++n;
    if (n > 0) pages_.drop(p, n, to);
    p += n;
    for (; p < first + pages && !unwanted(p); ++p) {
      // Taken back, and perhaps written while we copied it.
      words[p].fetch_and(~PageWords::Word{PageWords::swap_copy});
      words[p].fetch_or(PageWords::modified);
      rescued_.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void Pager::give_up(const Run& run) {
  const auto guard = pages_.lock(run.first);
  for (u64 p = run.first; p < run.first + run.pages; ++p) {
    pages_.words()[p].fetch_or(PageWords::modified);
    pages_.words()[p].fetch_and(~PageWords::Word{PageWords::swap_copy | PageWords::leaving});
    if (PageWords::state(pages_.words()[p].load()) == State::evicting)
      pages_.words().set_state(p, State::resident);
  }
}

PagerStats Pager::stats() const {
  PagerStats s;
  s.written = written_.load(std::memory_order_relaxed);
  s.read = pages_.pages_in.load(std::memory_order_relaxed);
  s.zero_drops = zero_drops_.load(std::memory_order_relaxed);
  s.clean_drops = clean_drops_.load(std::memory_order_relaxed);
  s.rescued = rescued_.load(std::memory_order_relaxed);
  s.swapped = pages_.swapped();
  return s;
}

}  // namespace bhyve::mem
