#include "mem/ram_pages.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "base/bits.hpp"
#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::mem {

/// How long a page that leaves the image waits for vCPUs that may still read it there. Whoever
/// delivers an event in place cannot pass, hence a limit; the others pass within microseconds.
constexpr std::chrono::milliseconds image_wait{100};

namespace {

/// In builds for finding bugs, pages that are not in RAM cannot be touched: a pointer that was kept over
/// an eviction dies at once. Best effort, the host bounds the number of mappings.
void make_reachable([[maybe_unused]] std::byte* from, [[maybe_unused]] u64 pages,
                    [[maybe_unused]] bool reachable) {
#ifdef BHYVE_GUARD_EVICTED
  (void)::mprotect(from, pages << page_shift, reachable ? PROT_READ | PROT_WRITE : PROT_NONE);
#endif
}

}  // namespace

RamPages::RamPages(u64 pages, std::byte* ram, int ram_fd)
    : words_(pages), ram_(ram), ram_fd_(ram_fd) {}

void RamPages::set_pmap(pmap::Pmap& pmap) {
  pmap_ = &pmap;
  pmap.set_dirty_sink([this](u64 va, u64 bytes) {
    const u64 end = std::min((va + bytes) >> page_shift, words_.pages());
    for (u64 page = va >> page_shift; page < end; ++page)
      words_[page].fetch_or(PageWords::modified | PageWords::logged);
  });
}

void RamPages::set_swap(std::unique_ptr<SwapFile> swap, u64 limit_pages) {
  swap_ = std::move(swap);
  limit_ = limit_pages;
}

void RamPages::set_image(unsigned bank, std::byte* image) {
  image_bank_ = bank;
  image_ = image;
}

void RamPages::set_pressure(u64 mark, std::function<void()> pressure) {
  pressure_mark_ = mark;
  pressure_ = std::move(pressure);
}

void RamPages::count_in(u64 pages) {
  const u64 now = resident_.fetch_add(pages, std::memory_order_relaxed) + pages;
  if (now > pressure_mark_) pressure_();
}

FaultResult RamPages::fault(u64 gpa, Prot rights, Prot access, bool may_wait) {
  const u64 page = gpa >> page_shift;
  const bool write = has(access, Prot::write);
  Lock guard = lock(page);
  pmap::Mapping m;
  m.write = has(rights, Prot::write);
  m.exec = has(rights, Prot::exec);
  m.accessed = true;
  m.modified = write;
  m.frame = pmap::FrameArena::address(pmap::FrameArena::ram_bank, gpa);
  const State at = state(page);
  if (at == State::image && !write) {
    m.write = false;
    m.frame = pmap::FrameArena::address(image_bank_, gpa);
  } else {
    const bool slow = at == State::swapped || at == State::coming || at == State::image ||
                      (at == State::plain && resident() >= limit_);
    if (slow && !may_wait) return FaultResult::wait;
    if (!bring(page, guard)) return FaultResult::error;
    if (words_[page].load() & PageWords::cow) {
      if (write) break_cow(page);
      else m.write = false;
    }
  }
  m.wired = words_[page].load() & PageWords::wired;
  if (!pmap_->enter(gpa, m)) return FaultResult::error;
  map_around(page, rights);
  return FaultResult::resolved;
}

/// The neighbours that are in RAM anyway cost an entry each. All have the page's stripe.
void RamPages::map_around(u64 page, Prot rights) {
  const u64 first = align_down(page, around_);
  const u64 end = std::min(first + around_, words_.pages());
  const auto ready = [&](u64 p) {
    const PageWords::Word w = words_[p].load();
    return p != page && !(w & (PageWords::cow | PageWords::wired)) &&
           PageWords::state(w) == State::resident;
  };
  for (u64 p = first; p < end; ++p) {
    u64 n = 0;
    while (p + n < end && ready(p + n)) ++n;
    if (n == 0) continue;
    pmap::Mapping m;
    m.frame = pmap::FrameArena::address(pmap::FrameArena::ram_bank, p << page_shift);
    m.write = has(rights, Prot::write);
    m.exec = has(rights, Prot::exec);
    static_cast<void>(pmap_->fill(p << page_shift, m, n));
    p += n;
  }
}

bool RamPages::bring(u64 page, Lock& lock) {
  for (;;) {
    switch (state(page)) {
      case State::plain:
        if (!swap_) return true;
        make_reachable(ram(page), 1, true);
        words_.set_state(page, State::resident);
        count_in(1);
        return true;
      case State::resident:
        if (swap_) reached(page);
        return true;
      case State::evicting: words_.set_state(page, State::resident); return true;
      case State::swapped:
        if (!page_in(page, lock)) return false;
        break;
      case State::coming: stripe(page).changed.wait(lock); break;
      case State::image: copy_from_image(page, lock); break;
    }
  }
}

/// The stream that comes to this page, or has just had somebody read beyond it. Several threads may mix
/// their streams up: that costs a read of another size.
RamPages::Stream* RamPages::find_stream(u64 page) {
  for (Stream& stream : streams_) {
    const u64 next = stream.next.load(std::memory_order_relaxed);
    const bool proven = stream.window.load(std::memory_order_relaxed) >= ahead_least;
    if (next == page || (proven && page < next && next - page <= ahead_windows * window_max))
      return &stream;
  }
  return nullptr;
}

/// That, or the oldest one, begun anew.
RamPages::Stream& RamPages::stream_of(u64 page) {
  if (Stream* stream = find_stream(page)) return *stream;
  Stream& stream = streams_[oldest_stream_.fetch_add(1, std::memory_order_relaxed) % streams];
  stream.window.store(0, std::memory_order_relaxed);
  return stream;
}

/// Reads the page and its swapped neighbours, more of them the longer somebody reads on.
bool RamPages::page_in(u64 page, Lock& lock) {
  Stream& stream = stream_of(page);
  const u64 before = stream.window.load(std::memory_order_relaxed);
  const u64 wanted = before ? 2 * std::max(around_, before) : around_;
  const u64 window = std::min({wanted, window_max, std::bit_floor(std::max(limit_ / needed_at_once, u64{1}))});
  const u64 lowest = align_down(page, window), highest = std::min(lowest + window, words_.pages());
  u64 first = page, end = page + 1;
  while (first > lowest && state(first - 1) == State::swapped) --first;
  while (end < highest && state(end) == State::swapped) ++end;
  stream.next.store(end, std::memory_order_relaxed);
  stream.window.store(window, std::memory_order_relaxed);
  want_ahead(stream, page);  // now: several reads are under way at a time
  const auto done = read_in(first, end, lock);
  if (!done) fail_with(done.error().message);
  return done.has_value();
}

/// The pages are in the swap file and belong to one stripe, whose lock is given up meanwhile.
Result<void> RamPages::read_in(u64 first, u64 end, Lock& lock) {
  for (u64 p = first; p < end; ++p) words_.set_state(p, State::coming);
  count_in(end - first);  // the read fills them
  lock.unlock();
  make_reachable(ram(first), end - first, true);
  auto done = swap_->read(first << page_shift, ram(first), (end - first) << page_shift);
  lock.lock();
  for (u64 p = first; p < end; ++p) {
    words_[p].fetch_and(~PageWords::Word{PageWords::modified});
    words_.set_state(p, done ? State::resident : State::swapped);
  }
  stripe(first).changed.notify_all();
  if (!done) {
    resident_.fetch_sub(end - first, std::memory_order_relaxed);
    return done;
  }
  pages_in.fetch_add(end - first, std::memory_order_relaxed);
  swapped_.fetch_sub(end - first, std::memory_order_relaxed);
  return done;
}

/// Somebody reads on and is at `page`: others are to read what he will want. A lock may be held.
void RamPages::want_ahead(Stream& stream, u64 page) {
  const u64 window = stream.window.load(std::memory_order_relaxed);
  if (!ahead_ || window < ahead_least) return;
  // Not so much that it drives out what was read before anybody has used it.
  const u64 most = std::clamp(limit_ / 16, window, ahead_windows * window);
  u64 next = stream.next.load(std::memory_order_relaxed);
  while (next < words_.pages() && next < page + most) {
    const u64 stripe_end = align_down(next, stripe_pages) + stripe_pages;
    const u64 end = std::min({align_down(next, window) + window, stripe_end, words_.pages()});
    if (!ahead_(next, end - next)) break;
    next = end;
  }
  stream.next.store(next, std::memory_order_relaxed);
}

/// Somebody wants a page that is in RAM: is it one that was read ahead for him?
void RamPages::reached(u64 page) {
  if (!(words_[page].load(std::memory_order_relaxed) & PageWords::ahead)) return;
  words_[page].fetch_and(~PageWords::Word{PageWords::ahead});
  Stream* const stream = find_stream(page);
  if (!stream) return;
  stream->window.store(window_max, std::memory_order_relaxed);
  want_ahead(*stream, page);
}

void RamPages::read_ahead(u64 first, u64 pages) {
  if (resident() + pages > limit_) return;
  Lock guard = lock(first);
  words_[first].fetch_or(PageWords::ahead);
  const u64 last = first + pages;
  for (u64 begin = first; begin < last;) {
    u64 end = begin;
    while (end < last && state(end) == State::swapped) ++end;
    // Who wants a page that cannot be read will see it fail.
    if (end > begin && !read_in(begin, end, guard)) return;
    begin = end + 1;
  }
}

/// Nobody may write the copy before every vCPU has stopped reading the original.
void RamPages::copy_from_image(u64 page, Lock& lock) {
  words_.set_state(page, State::coming);
  lock.unlock();
  ram_copy(ram(page), image_ + (page << page_shift), page_size);
  if (pmap_->remove_quietly(page << page_shift, page_size)) {
    pmap_->invalidate_ept();
    barrier_.wait(*pmap_, image_wait);
  }
  lock.lock();
  words_[page].fetch_or(PageWords::modified);
  words_.set_state(page, swap_ ? State::resident : State::plain);
  if (swap_) count_in(1);
  stripe(page).changed.notify_all();
}

void RamPages::copy_image() {
  for (u64 page = 0; image_ && page < words_.pages(); ++page) {
    if (state(page) != State::image) continue;
    Lock guard = lock(page);
    if (state(page) == State::image) copy_from_image(page, guard);
  }
}

bool RamPages::hold(u64 page, bool write) {
  Lock guard = lock(page);
  if (PageWords::pins(words_[page].load()) == PageWords::pins_max) return false;
  if (!bring(page, guard)) return false;
  if (write) {
    if (words_[page].load() & PageWords::cow) break_cow(page);
    words_[page].fetch_or(PageWords::modified | PageWords::logged);
  }
  if (swap_) words_[page].fetch_add(PageWords::one_pin);
  return true;
}

void RamPages::release(u64 page, bool written) {
  // Again: the log may have been taken since.
  if (written) words_[page].fetch_or(PageWords::modified | PageWords::logged);
  if (swap_) words_[page].fetch_sub(PageWords::one_pin);
}

bool RamPages::wire(u64 first_page, u64 pages) {
  for (u64 page = first_page; page < first_page + pages; ++page) {
    Lock guard = lock(page);
    if (!bring(page, guard)) return false;
    words_[page].fetch_or(PageWords::wired);
  }
  return true;
}

void RamPages::unwire(u64 first_page, u64 pages) {
  for (u64 page = first_page; page < first_page + pages; ++page)
    words_[page].fetch_and(~PageWords::Word{PageWords::wired});
}

void RamPages::mark_cow(u64 first_page, u64 pages, CowSink sink) {
  cow_sink_ = std::move(sink);
  for (u64 page = first_page; page < first_page + pages; ++page)
    if (!(words_[page].fetch_or(PageWords::cow) & PageWords::cow)) cow_pages_.fetch_add(1);
}

void RamPages::end_cow(u64 first_page, u64 pages) {
  for (u64 page = first_page; page < first_page + pages; ++page)
    if (words_[page].fetch_and(~PageWords::Word{PageWords::cow}) & PageWords::cow)
      cow_pages_.fetch_sub(1);
}

/// The page is in RAM, nobody may write it, its stripe is locked.
void RamPages::break_cow(u64 page) {
  cow_sink_(Gpa(page << page_shift), {ram(page), page_size});
  words_[page].fetch_and(~PageWords::Word{PageWords::cow});
  cow_pages_.fetch_sub(1);
}

void RamPages::drop(u64 first, u64 n, State to) {
  ::fallocate(ram_fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(first << page_shift), static_cast<off_t>(n << page_shift));
  make_reachable(ram(first), n, false);
  for (u64 p = first; p < first + n; ++p) words_.set_state(p, to);
  resident_.fetch_sub(n, std::memory_order_relaxed);
  if (to == State::swapped) swapped_.fetch_add(n, std::memory_order_relaxed);
}

bool RamPages::wait_for_room() {
  if (resident() < limit_) return true;
  std::unique_lock guard(room_mutex_);
  room_.wait(guard, [this] { return resident() < limit_ || failure_; });
  return !failure_;
}

void RamPages::room_made() {
  const std::scoped_lock guard(room_mutex_);
  room_.notify_all();
}

void RamPages::fail_with(std::string why) {
  const std::scoped_lock guard(room_mutex_);
  if (!failure_) failure_ = std::move(why);
  room_.notify_all();
}

std::optional<std::string> RamPages::failure() const {
  const std::scoped_lock guard(room_mutex_);
  return failure_;
}

}  // namespace bhyve::mem
