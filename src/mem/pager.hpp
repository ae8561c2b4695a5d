#pragma once
#include <bitset>
#include <condition_variable>
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
/// meanwhile is simply taken back by its state. A second thread shares the writing, so that one works
/// while the other waits for the disk, and reads ahead for a guest that reads on.
/// Thread safety: stats() from any thread.
class Pager final {
 public:
  /// `confined`: its thread gives up the system calls that it does not need.
  Pager(RamPages& pages, bool confined);
  ~Pager();
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  [[nodiscard]] PagerStats stats() const;

 private:
  static constexpr u64 region_pages = 512;
  static constexpr u64 batch_pages = 2048, scan_pages = 16 * region_pages;
  struct Run {
    u64 first, pages;  ///< within one 2 MiB region
  };

  void start(bool confined, const char* name, void (Pager::*body)());
  void work();
  void help();
  void wake();
  void ask_ahead(u64 first, u64 pages);
  [[nodiscard]] u64 low_mark() const;
  /// Evicts up to `want` pages. False: none was to be had.
  bool batch(u64 want);
  void pick(u64 want, std::vector<Run>& victims, bool all);
  /// Unmaps those of [first, first + pages) that may go.
  u64 unmap(u64 first, u64 pages, u64 want, const std::bitset<scan_pages>& used,
            std::vector<Run>& victims);
  /// Writes out the runs of a batch, with the helper's help.
  void write_all(const std::vector<Run>& runs);
  void write_next(const std::vector<Run>& runs);
  void write_out(const Run& run);
  void finish(u64 first, u64 pages, RamPages::State to);
  void give_up(const Run& run);

  RamPages& pages_;
  u64 hand_ = 0;  ///< page where the next scan begins
  std::mutex mutex_;
  std::condition_variable wanted_, help_wanted_, helped_;
  // Under mutex_:
  bool pressed_ = false, stop_ = false;
  const std::vector<Run>* runs_ = nullptr;  ///< for the helper to share
  bool helping_ = false;                    ///< it does
  Run ahead_{0, 0};                         ///< for the helper to read
  std::atomic<usize> next_run_{0};
  std::atomic<u64> written_{0}, zero_drops_{0}, clean_drops_{0}, rescued_{0};
  std::thread thread_, helper_;
};

}  // namespace bhyve::mem
