#pragma once
#include <sys/mman.h>

#include <atomic>
#include <new>

#include "base/types.hpp"

namespace bhyve::mem {

/// What the memory system remembers of each page of RAM, in one word of 32 bits: where its contents
/// are, flags, and how many holds pin it. A word that was never written costs no memory.
/// Thread safety: words are atomic. The state changes under the page's stripe lock (RamPages); flags
/// and pins by anybody.
class PageWords final {
 public:
  using Word = u32;
  /// Bits 2..0.
  enum class State : Word {
    plain,     ///< never touched, or nobody counts: RAM has what is true (zeros at first)
    resident,  ///< in RAM, counted
    evicting,  ///< in RAM, unmapped; whoever wants it takes it back
    swapped,   ///< in the swap file alone
    coming,    ///< on its way into RAM; wait
    image,     ///< in the saved image alone
  };
  static constexpr Word state_mask = 7;
  enum Flag : Word {
    swap_copy = 1u << 3,  ///< the swap file has it as it was when it came in
    modified = 1u << 4,   ///< written since it came into RAM
    logged = 1u << 5,     ///< written since the dirty log was taken
    cow = 1u << 6,        ///< write-protected: its old contents are to be told before a write
    wired = 1u << 7,      ///< never evicted
    ahead = 1u << 8,      ///< was read ahead: who comes here will want what follows
    leaving = 1u << 9,    ///< the pager is at it; even if it was taken back, it is no victim again yet
  };
  static constexpr unsigned pin_shift = 16;
  static constexpr Word one_pin = 1u << pin_shift;
  static constexpr Word pins_max = 0xffff;

  [[nodiscard]] static State state(Word w) { return static_cast<State>(w & state_mask); }
  [[nodiscard]] static Word pins(Word w) { return w >> pin_shift; }

  /// Throws std::bad_alloc without address space (set-up only).
  explicit PageWords(u64 pages) : pages_(pages) {
    void* p = ::mmap(nullptr, pages * sizeof(Word), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    words_ = static_cast<std::atomic<Word>*>(p);
  }
  ~PageWords() { ::munmap(words_, pages_ * sizeof(Word)); }
  PageWords(const PageWords&) = delete;
  PageWords& operator=(const PageWords&) = delete;

  [[nodiscard]] u64 pages() const { return pages_; }
  [[nodiscard]] std::atomic<Word>& operator[](u64 page) { return words_[page]; }
  [[nodiscard]] const std::atomic<Word>& operator[](u64 page) const { return words_[page]; }
  void set_state(u64 page, State to) {
    Word w = words_[page].load(std::memory_order_relaxed);
    while (!words_[page].compare_exchange_weak(w, (w & ~state_mask) | static_cast<Word>(to))) {
    }
  }

 private:
  u64 pages_;
  std::atomic<Word>* words_;
};

}  // namespace bhyve::mem
