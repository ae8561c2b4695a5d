#pragma once
#include <array>
#include <atomic>
#include <bitset>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/types.hpp"
#include "mem/ram_pages.hpp"

namespace bhyve::mem {

/// What the pager has done so far, in pages.
struct PagerStats final {
  u64 written = 0;      ///< to the swap file
  u64 read = 0;         ///< from it
  u64 zero_drops = 0;   ///< nothing but zeros: forgotten
  u64 clean_drops = 0;  ///< the swap file had them already
  u64 rescued = 0;      ///< wanted again before they were gone
  u64 swapped = 0;      ///< in the swap file alone, now
};

/// Keeps the number of pages in RAM below its limit. Victims are found by second chance: a hand goes
/// round over RAM, clears accessed flags, and takes pages whose flag is still clear since the last
/// round.
///
/// A batch goes: unmap the victims; one invalidation; wait until every vCPU has passed it; write
/// what the swap file does not have in clusters; give the memory back. A page that is wanted
/// meanwhile is simply taken back by its state. One thread finds victims; others write them, several
/// clusters at a time while the next are looked for, and read ahead for guests that read on.
/// Thread safety: stats() from any thread.
class Pager final {
 public:
  /// `confined`: its threads give up the system calls that they do not need.
  Pager(RamPages& pages, bool confined);
  ~Pager();
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  [[nodiscard]] PagerStats stats() const;

 private:
  static constexpr u64 region_pages = 512;
  static constexpr u64 batch_pages = 2048, scan_pages = 16 * region_pages;
  static constexpr u64 cluster_pages = 256;  ///< written at a time
  static constexpr unsigned io_threads = 3;
  static constexpr usize reads_max = 8;
  struct Run {
    u64 first, pages;  ///< within one 2 MiB region
  };

  void start(bool confined, const char* name, void (Pager::*body)());
  void work();
  void evict_to_low_mark();
  void transfer();
  void wake();
  [[nodiscard]] bool ask_ahead(u64 first, u64 pages);
  /// Where eviction begins, and how far it goes: apart, or clusters would be of single pages.
  [[nodiscard]] u64 high_mark() const { return pages_.limit() - pages_.limit() / 16; }
  [[nodiscard]] u64 low_mark() const { return pages_.limit() - pages_.limit() / 8; }
  /// Evicts up to `want` pages. False: none was to be had.
  bool batch(u64 want);
  void pick(u64 want, std::vector<Run>& victims, bool all);
  /// Unmaps those of [first, first + pages) that may go.
  u64 unmap(u64 first, u64 pages, u64 want, const std::bitset<scan_pages>& used,
            std::vector<Run>& victims);
  void evict(const Run& run);
  void write_out(const Run& run);
  void finish(u64 first, u64 pages, RamPages::State to);
  void give_up(const Run& run);

  RamPages& pages_;
  u64 hand_ = 0;  ///< page where the next scan begins
  std::mutex mutex_;
  std::condition_variable wanted_;  ///< for the thread that finds victims
  std::condition_variable given_;   ///< for those that transfer
  // Under mutex_:
  bool stop_ = false, finished_ = false;  ///< no more victims are to be found; none will be
  std::deque<Run> writes_, reads_;
  u64 leaving_ = 0;  ///< pages of runs that are waiting or being written
  std::atomic<bool> pressed_{false};
  std::atomic<u64> written_{0}, zero_drops_{0}, clean_drops_{0}, rescued_{0};
  std::thread thread_;
  std::array<std::thread, io_threads> io_;
};

}  // namespace bhyve::mem
