#pragma once
#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "base/address.hpp"
#include "mem/page_words.hpp"
#include "mem/prot.hpp"
#include "mem/swap_file.hpp"
#include "mem/vcpu_barrier.hpp"
#include "pmap/pmap.hpp"

namespace bhyve::mem {

enum class FaultResult : u8;

/// Where the contents of each page of RAM are (RAM itself, the swap file, a saved image, nowhere
/// yet), and the ways between these places. A VM without a pager, an image and pages protected
/// copy-on-write has no use for it: tracked() is false, and all its pages are in RAM.
///
/// Locks: one of a few stripes, chosen by 2 MiB region, guards the states of its pages; it is below
/// the map lock and above the pmap's. Nobody waits for a disk or for vCPUs with it held.
/// Thread safety: all members from any thread, set-up members before the VM runs.
class RamPages final {
 public:
  using Lock = std::unique_lock<std::mutex>;
  using State = PageWords::State;

  RamPages(u64 pages, std::byte* ram, int ram_fd);

  // Set-up.
  void set_pmap(pmap::Pmap& pmap);
  void set_swap(std::unique_ptr<SwapFile> swap, u64 limit_pages);
  void set_image(unsigned bank, std::byte* image);
  void set_around(u64 pages) { around_ = pages; }
  [[nodiscard]] VcpuBarrier& barrier() { return barrier_; }
  [[nodiscard]] PageWords& words() { return words_; }

  [[nodiscard]] bool has_pager() const { return swap_ != nullptr; }
  [[nodiscard]] bool tracked() const {
    return swap_ || image_ || cow_pages_.load(std::memory_order_acquire) != 0;
  }

  /// Maps the page at gpa (RAM, with the given rights at most) for an access. `may_wait`: also if
  /// that takes a disk or other vCPUs; else FaultResult::wait is returned for those.
  [[nodiscard]] FaultResult fault(u64 gpa, Prot rights, Prot access, bool may_wait);
  /// Brings a page into RAM, pins it (with a pager), and for writing counts it as modified.
  [[nodiscard]] bool hold(u64 page, bool write);
  void release(u64 page, bool written);
  /// Blocks while more pages are in RAM than may be; false when the pager has failed. Not for a vCPU
  /// that executes the guest.
  [[nodiscard]] bool wait_for_room();
  /// Brings a range into RAM and keeps it there, or lets it go again.
  [[nodiscard]] bool wire(u64 first_page, u64 pages);
  void unwire(u64 first_page, u64 pages);

  /// Brings every page out of the image into RAM.
  void copy_image();

  /// `sink(gpa, bytes)`: the old contents of a page that is about to be written for the first time.
  /// Called with a lock held: it copies and returns.
  using CowSink = std::function<void(Gpa gpa, std::span<const std::byte> page)>;
  /// Marks the pages of a range; the map lock is held exclusively. end_cow() takes the marks away.
  void mark_cow(u64 first_page, u64 pages, CowSink sink);
  void end_cow(u64 first_page, u64 pages);

  // For the pager's thread.
  [[nodiscard]] u64 resident() const { return resident_.load(std::memory_order_relaxed); }
  [[nodiscard]] u64 swapped() const { return swapped_.load(std::memory_order_relaxed); }
  [[nodiscard]] u64 limit() const { return limit_; }
  [[nodiscard]] SwapFile& swap() { return *swap_; }
  [[nodiscard]] std::byte* ram(u64 page) const { return ram_ + (page << page_shift); }
  [[nodiscard]] Lock lock(u64 page) { return Lock(stripe(page).mutex); }
  [[nodiscard]] pmap::Pmap& pmap() { return *pmap_; }
  /// Gives pages [first, first + n) back to the host; they are now in `state`. Lock held.
  void drop(u64 first, u64 n, State state);
  /// Called when the number of pages in RAM comes near the limit; any thread, locks held.
  void set_pressure(u64 mark, std::function<void()> pressure);
  void room_made();
  /// Called with a range that somebody who reads on will want soon; any thread, locks held. False: not
  /// now.
  void set_ahead(std::function<bool(u64 first, u64 pages)> ahead) { ahead_ = std::move(ahead); }
  /// Reads what the swap file has of [first, first + pages), of one stripe, as far as there is room.
  void read_ahead(u64 first, u64 pages);
  /// The VM cannot go on: `why` becomes failure().
  void fail_with(std::string why);
  [[nodiscard]] std::optional<std::string> failure() const;

  std::atomic<u64> pages_in{0};  ///< read from the swap file

 private:
  static constexpr unsigned stripes = 64;
  static constexpr u64 stripe_pages = 512;
  static constexpr u64 window_max = 256, ahead_least = 64;  ///< pages
  /// One instruction may want so many pages (code, operands and their tables; a stack, IDT, TSS when it
  /// faults), none of which the neighbours of another may drive out: it would never be done.
  static constexpr u64 needed_at_once = 32;
  static constexpr u64 ahead_windows = 4;  ///< at most so many are on their way for one reader
  struct Stripe {
    std::mutex mutex;
    std::condition_variable changed;
  };
  [[nodiscard]] Stripe& stripe(u64 page) { return stripes_[page / stripe_pages % stripes]; }
  [[nodiscard]] State state(u64 page) const { return PageWords::state(words_[page].load()); }
  /// Until the page is in RAM; false: the swap file failed. Gives the lock up meanwhile.
  [[nodiscard]] bool bring(u64 page, Lock& lock);
  [[nodiscard]] bool page_in(u64 page, Lock& lock);
  [[nodiscard]] Result<void> read_in(u64 first, u64 end, Lock& lock);
  struct Stream;
  [[nodiscard]] Stream* find_stream(u64 page);
  [[nodiscard]] Stream& stream_of(u64 page);
  void reached(u64 page);
  void want_ahead(Stream& stream, u64 page);
  void copy_from_image(u64 page, Lock& lock);
  void count_in(u64 pages);
  void break_cow(u64 page);
  void map_around(u64 page, Prot rights);

  PageWords words_;
  std::byte* const ram_;
  const int ram_fd_;
  pmap::Pmap* pmap_ = nullptr;
  VcpuBarrier barrier_;
  std::array<Stripe, stripes> stripes_;

  std::unique_ptr<SwapFile> swap_;
  u64 limit_ = ~u64{0}, pressure_mark_ = ~u64{0}, around_ = 16;
  std::function<void()> pressure_;
  std::atomic<u64> resident_{0}, swapped_{0};
  /// Guests that read on, several at a time: the first page that nobody was asked to read for it yet,
  /// and how large the last read was.
  struct Stream {
    std::atomic<u64> next{~u64{0}}, window{0};
  };
  static constexpr unsigned streams = 8;
  std::array<Stream, streams> streams_;
  std::atomic<unsigned> oldest_stream_{0};
  std::function<bool(u64, u64)> ahead_;

  std::byte* image_ = nullptr;
  unsigned image_bank_ = 0;
  CowSink cow_sink_;  ///< written under the exclusive map lock
  std::atomic<u64> cow_pages_{0};

  mutable std::mutex room_mutex_;
  std::condition_variable room_;
  std::optional<std::string> failure_;  ///< under room_mutex_
};

}  // namespace bhyve::mem
