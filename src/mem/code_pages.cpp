#include "mem/code_pages.hpp"

#include <sys/mman.h>

#include <new>

namespace bhyve::mem {

static_assert(std::atomic<CodePages::Word>::is_always_lock_free &&
              sizeof(std::atomic<CodePages::Word>) == sizeof(CodePages::Word));

CodePages::CodePages(u64 pages) : pages_(pages) {
  void* p = ::mmap(nullptr, pages * sizeof(Word), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  words_ = static_cast<std::atomic<Word>*>(p);
}

CodePages::~CodePages() {
  ::munmap(words_, pages_ * sizeof(Word));
}

}  // namespace bhyve::mem
