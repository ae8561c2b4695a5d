#include "mem/swap_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>

#include "base/address.hpp"

namespace bhyve::mem {
namespace {

constexpr u64 chunk = 16 * MiB;
constexpr int open_flags = O_RDWR | O_CLOEXEC;

u64 sum_of(const std::byte* page) { return XXH3_64bits(page, page_size); }

struct Opened {
  UniqueFd fd;
  bool made = false;
};

/// Without O_DIRECT where the file system does not know it.
UniqueFd open_with(const char* path, int flags) {
  UniqueFd fd(::open(path, open_flags | O_DIRECT | flags, 0600));
  if (!fd && errno == EINVAL) fd.reset(::open(path, open_flags | flags, 0600));
  return fd;
}

Opened open_any(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode))
    return {open_with(path.c_str(), O_TMPFILE), false};
  Opened o{open_with(path.c_str(), O_CREAT | O_EXCL), true};
  if (!o.fd && errno == EEXIST) o = {open_with(path.c_str(), 0), false};
  return o;
}

Result<void> check(int fd, const std::string& path, u64 size) {
  struct stat st {};
  struct statfs fs {};
  if (::fstat(fd, &st) != 0 || ::fstatfs(fd, &fs) != 0)
    return fail(errno, "memory.swap={}: {}", path, std::strerror(errno));
  if (!S_ISREG(st.st_mode)) return fail(EINVAL, "memory.swap={}: expected a file or folder", path);
  if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
    return fail(EINVAL, "memory.swap={}: lies in a memory file system; expected a disk", path);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
    return fail(EBUSY, "memory.swap={}: in use by another VM", path);
  if (::ftruncate(fd, 0) != 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0)
    return fail(errno, "memory.swap={} of {} bytes: {}", path, size, std::strerror(errno));
  return {};
}

}  // namespace

Result<std::unique_ptr<SwapFile>> SwapFile::open(const std::string& path, u64 size) {
  const std::string where = path.empty() ? "/var/tmp" : path;
  Opened o = open_any(where);
  if (!o.fd) return fail(errno, "memory.swap={}: {}", where, std::strerror(errno));
  // From here on the destructor removes what was made.
  std::unique_ptr<SwapFile> file(new SwapFile(std::move(o.fd), where, o.made));
  if (auto ok = check(file->fd_.get(), where, size); !ok) return tl::make_unexpected(ok.error());
  if (!file->make_sums(size))
    return fail(ENOMEM, "memory.swap={}: no address space for the sums of its pages", where);
  return file;
}

bool SwapFile::make_sums(u64 size) {
  const u64 pages = size >> page_shift;
  void* p = ::mmap(nullptr, pages * sizeof(u64), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  sums_ = {static_cast<u64*>(p), pages};
  reserved_ = std::vector<std::atomic<bool>>(size / chunk + 1);
  return true;
}

SwapFile::~SwapFile() {
  if (!sums_.empty()) ::munmap(sums_.data(), sums_.size_bytes());
  if (made_) ::unlink(name_.c_str());
}

bool SwapFile::give_up_direct() const {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  return flags >= 0 && (flags & O_DIRECT) && ::fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) == 0;
}

Result<void> SwapFile::read(u64 offset, std::byte* into, usize bytes) const {
  if (auto ok = transfer_in(offset, into, bytes); !ok) return ok;
  for (usize done = 0; done < bytes; done += page_size)
    if (sum_of(into + done) != sums_[(offset + done) >> page_shift])
      return fail(EIO,
                  "cannot read guest memory back from {}: the page at {:#x} is not what was written",
                  name_, offset + done);
  return {};
}

Result<void> SwapFile::transfer_in(u64 offset, std::byte* into, usize bytes) const {
  while (bytes > 0) {
    const ssize_t n = ::pread(fd_.get(), into, bytes, static_cast<off_t>(offset));
    if (n < 0 && (errno == EINTR || (errno == EINVAL && give_up_direct()))) continue;
    if (n <= 0)
      return fail(n < 0 ? errno : EIO, "cannot read guest memory back from {}: {}", name_,
                  n < 0 ? std::strerror(errno) : "the file has become shorter");
    into += n, offset += static_cast<u64>(n), bytes -= static_cast<usize>(n);
  }
  return {};
}

/// File systems write into room that they have set aside several times at once, but find room for holes
/// one after the other. Without success the write will find it, or say that there is none.
void SwapFile::reserve(u64 offset, usize bytes) {
  for (u64 n = offset / chunk; n <= (offset + bytes - 1) / chunk; ++n)
    if (!reserved_[n].exchange(true, std::memory_order_relaxed))
      (void)::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(n * chunk),
                        static_cast<off_t>(chunk));
}

Result<void> SwapFile::write(u64 offset, const std::byte* from, usize bytes) {
  reserve(offset, bytes);
  // Whoever takes a page back and writes it now makes its sum wrong, and its copy as well.
  for (usize done = 0; done < bytes; done += page_size)
    sums_[(offset + done) >> page_shift] = sum_of(from + done);
  while (bytes > 0) {
    const ssize_t n = ::pwrite(fd_.get(), from, bytes, static_cast<off_t>(offset));
    if (n < 0 && (errno == EINTR || (errno == EINVAL && give_up_direct()))) continue;
    if (n <= 0)
      return fail(n < 0 ? errno : EIO, "cannot write guest memory to {}: {}", name_,
                  n < 0 ? std::strerror(errno) : "nothing was written");
    from += n, offset += static_cast<u64>(n), bytes -= static_cast<usize>(n);
  }
  return {};
}

}  // namespace bhyve::mem
