// What others build on: dirty log, copy-on-write protection, wiring, saved images.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/bits.hpp"
#include "mem/vmspace.hpp"
#include "mem/vmspace_impl.hpp"

namespace bhyve::mem {

namespace {

// The system calls themselves: libc's functions do nothing under the address sanitizer.
long lock_pages(const void* p, u64 bytes) { return ::syscall(SYS_mlock, p, bytes); }
long unlock_pages(const void* p, u64 bytes) { return ::syscall(SYS_munlock, p, bytes); }

}  // namespace

Result<void> Vmspace::check_ram(Gpa start, u64 length) const {
  const u64 size = impl_->objects.front()->size();
  if (start.page_offset() || length % page_size || length == 0 || length > size ||
      start.value() > size - length)
    return fail(EINVAL, "range at {:#x} of {} bytes: expected whole pages of RAM", start.value(),
                length);
  return {};
}

Result<void> Vmspace::take_dirty(Gpa start, std::span<u64> bits) {
  const u64 size = impl_->objects.front()->size();
  if (start.page_offset() || start.value() >= size || bits.size() > size >> page_shift)
    return fail(EINVAL, "dirty log at {:#x}: expected a page of RAM", start.value());
  const u64 first = start.page_number();
  const u64 pages = std::min<u64>(bits.size() * 64, (size >> page_shift) - first);
  PageWords& words = pages_->words();
  {
    const std::shared_lock guard(impl_->lock);
    pmap_->clear_modified(start.value(), pages << page_shift);  // RamPages is told
  }
  // A vCPU that has not passed yet writes without a trace, to pages that are told of now.
  pages_->barrier().wait(*pmap_);
  std::ranges::fill(bits, 0);
  for (u64 n = 0; n < pages; ++n) {
    std::atomic<PageWords::Word>& word = words[first + n];
    if (!(word.load(std::memory_order_relaxed) & PageWords::logged)) continue;
    word.fetch_and(~PageWords::Word{PageWords::logged});
    bits[n / 64] |= bit(n % 64);
  }
  return {};
}

Result<void> Vmspace::protect_cow(Gpa start, u64 length, RamPages::CowSink sink) {
  if (auto ok = check_ram(start, length); !ok) return ok;
  {
    const std::unique_lock guard(impl_->lock);
    if (impl_->cow) return fail(EBUSY, "guest memory is protected copy-on-write already");
    if (holds_outstanding()) return fail(EBUSY, "devices hold guest memory: pause them first");
    impl_->cow = true;
    pages_->mark_cow(start.page_number(), length >> page_shift, std::move(sink));
    pmap_->write_protect(start.value(), length);
  }
  pages_->barrier().wait(*pmap_);
  return {};
}

void Vmspace::end_cow(Gpa start, u64 length) {
  if (!check_ram(start, length)) return;
  const std::unique_lock guard(impl_->lock);
  pages_->end_cow(start.page_number(), length >> page_shift);
  impl_->cow = false;
}

Result<void> Vmspace::wire(Gpa start, u64 length) {
  if (auto ok = check_ram(start, length); !ok) return ok;
  if (pages_->has_pager() && (length >> page_shift) + impl_->wired.load() > pages_->limit() / 2)
    return fail(ENOMEM, "cannot wire {} bytes of guest memory: memory.resident leaves no room",
                length);
  {
    const std::shared_lock guard(impl_->lock);
    if (!pages_->wire(start.page_number(), length >> page_shift))
      return fail(EIO, "{}", pages_->failure().value_or("guest memory cannot be read"));
  }
  if (lock_pages(pages_->ram(start.page_number()), length) != 0) {
    const int error = errno;
    pages_->unwire(start.page_number(), length >> page_shift);
    struct rlimit limit {};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    return fail(error, "cannot wire {} bytes of guest memory: {} (RLIMIT_MEMLOCK is {})", length,
                std::strerror(error), limit.rlim_cur);
  }
  impl_->wired.fetch_add(length >> page_shift);
  return {};
}

void Vmspace::unwire(Gpa start, u64 length) {
  if (!check_ram(start, length)) return;
  unlock_pages(pages_->ram(start.page_number()), length);
  pages_->unwire(start.page_number(), length >> page_shift);
  impl_->wired.fetch_sub(length >> page_shift);
}

Result<void> Vmspace::wire_all() {
  if (auto ok = wire(Gpa(0), options_.lowmem); !ok) return ok;
  if (!options_.highmem) return {};
  auto ok = wire(Gpa(4 * GiB), options_.highmem);
  if (!ok) unwire(Gpa(0), options_.lowmem);
  return ok;
}

Result<void> Vmspace::attach_image(int fd) {
  const u64 size = impl_->objects.front()->size();
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) return fail(errno, "{}", std::strerror(errno));
  const u64 bytes = align_down(static_cast<u64>(end), page_size);
  if (static_cast<u64>(end) != bytes || bytes > size)
    return fail(EBADMSG, "an image of {} bytes: expected whole pages, at most {}", end, size);
  if (bytes == 0) return {};
  const std::unique_lock guard(impl_->lock);
  const VmObject::Piece whole{fd, 0, bytes};
  auto made = VmObject::map_files("saved-image", next_bank(), {&whole, 1}, false);
  if (!made) return tl::make_unexpected(made.error());
  PageWords& words = pages_->words();
  for (off_t at = 0; at < end;) {
    const off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return fail(errno, "{}", std::strerror(errno));
    const u64 last = align_up(static_cast<u64>(hole), page_size) >> page_shift;
    for (u64 page = static_cast<u64>(data) >> page_shift; page < last; ++page) {
      if (!impl_->map.find(page << page_shift))
        return fail(EBADMSG, "it holds a page at {:#x}, outside of memory", page << page_shift);
      words.set_state(page, PageWords::State::image);
    }
    at = hole;
  }
  pages_->set_image((*made)->bank(), (*made)->data());
  keep(std::move(*made));
  return {};
}

VmspaceStats Vmspace::stats() const {
  VmspaceStats s;
  s.resident_bytes = resident_bytes();
  s.wired_bytes = impl_->wired.load() << page_shift;
  s.table_pages = pmap_->table_pages();
  s.pmap = pmap_->stats();
  if (pager_) s.pager = pager_->stats();
  return s;
}

}  // namespace bhyve::mem
