#pragma once
#include <atomic>

#include "base/address.hpp"
#include "base/types.hpp"

namespace bhyve::mem {

/// Which guest-physical pages hold decoded or translated code, and how often each was rewritten
/// since: one 32-bit word a page, bit 0 = watched, bits 31..1 = version. Decoded code remembers the
/// word and is valid only while the page's word still equals it. A write to a watched page bumps
/// the version and clears the watch, so a page that is only written again costs nothing.
///
/// Writers: (1) vCPUs, which may store without looking only through a TLB entry that was filled
/// when the page was not watched; the engine drops such entries of every vCPU before it trusts code
/// of a newly watched page. (2) Whoever writes through a hold: mem::Hold calls written().
/// Thread safety: all members from any thread, lock-free.
class CodePages final {
 public:
  /// Who wants to know of pages of code that were written to.
  class Observer {
   public:
    virtual ~Observer() = default;
    /// After the store. Any thread; must not block.
    virtual void code_written(u64 page) noexcept = 0;
  };
  /// Set before the guest runs; nullptr after it has ended.
  void observe(Observer* observer) noexcept { observer_.store(observer, std::memory_order_release); }

  using Word = u32;
  static constexpr Word watched_bit = 1;

  /// Covers guest-physical pages [0, pages). Memory is reserved, and committed by use. Throws
  /// std::bad_alloc without address space (set-up only).
  explicit CodePages(u64 pages);
  ~CodePages();
  CodePages(const CodePages&) = delete;
  CodePages& operator=(const CodePages&) = delete;

  /// The page's word, for valid() and for remembering its address. `page` below the constructor's
  /// limit, or the word of a dummy page that is never watched.
  [[nodiscard]] std::atomic<Word>& word(u64 page) noexcept {
    return page < pages_ ? words_[page] : dummy_;
  }
  [[nodiscard]] bool watched(u64 page) const noexcept {
    return page < pages_ && (words_[page].load(std::memory_order_acquire) & watched_bit);
  }
  /// Starts watching. Returns the word to remember and whether the watch is new. Of a page beyond
  /// the limit the word is one that word() never has: code from there is valid for nobody.
  struct Watch {
    Word word;
    bool is_new;
  };
  Watch watch(u64 page) noexcept {
    if (page >= pages_) return {watched_bit, false};
    std::atomic<Word>& w = word(page);
    const Word old = w.fetch_or(watched_bit, std::memory_order_seq_cst);
    return {old | watched_bit, (old & watched_bit) == 0};
  }
  /// The page's bytes changed (call after the store). Cheap when not watched.
  void written(u64 page) noexcept {
    std::atomic<Word>& w = word(page);
    Word old = w.load(std::memory_order_seq_cst);
    while (old & watched_bit) {
      if (!w.compare_exchange_weak(old, (old & ~watched_bit) + 2)) continue;
      if (Observer* o = observer_.load(std::memory_order_acquire)) o->code_written(page);
      return;
    }
  }

 private:
  u64 pages_;
  std::atomic<Word>* words_;  ///< mapping of pages_ words, zero-filled on demand
  std::atomic<Word> dummy_{0};
  std::atomic<Observer*> observer_{nullptr};
};

}  // namespace bhyve::mem
