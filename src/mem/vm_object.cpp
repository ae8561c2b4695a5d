#include "mem/vm_object.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

namespace bhyve::mem {

Result<std::unique_ptr<VmObject>> VmObject::create(const std::string& name, unsigned bank,
                                                   u64 size, bool huge) {
  UniqueFd fd(::memfd_create(name.substr(0, 200).c_str(), MFD_CLOEXEC));
  if (!fd) return fail(errno, "guest memory \"{}\": {}", name, std::strerror(errno));
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
    return fail(errno, "guest memory \"{}\" of {} bytes: {}", name, size, std::strerror(errno));
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (p == MAP_FAILED)
    return fail(errno, "guest memory \"{}\" of {} bytes: {}", name, size, std::strerror(errno));
  ::madvise(p, size, MADV_DONTDUMP);
  if (huge) ::madvise(p, size, MADV_HUGEPAGE);  // a wish: the host's policy decides
  return std::unique_ptr<VmObject>(
      new VmObject(std::move(fd), static_cast<std::byte*>(p), bank, size));
}

Result<std::unique_ptr<VmObject>> VmObject::map_files(const std::string& name, unsigned bank,
                                                      std::span<const Piece> pieces,
                                                      bool writable) {
  u64 size = 0;
  for (const Piece& piece : pieces) {
    struct stat st {};
    if (::fstat(piece.fd, &st) != 0)
      return fail(errno, "memory \"{}\": {}", name, std::strerror(errno));
    // Accesses beyond the end of a file would be bus errors.
    const u64 file = static_cast<u64>(st.st_size);
    if (piece.length == 0 || (piece.offset | piece.length) % page_size ||
        piece.length > file || piece.offset > file - piece.length)
      return fail(EINVAL, "memory \"{}\": expected whole pages inside of a file of {} bytes", name,
                  file);
    if (piece.length > ~u64{0} - size) return fail(EINVAL, "memory \"{}\": too large", name);
    size += piece.length;
  }
  if (size == 0) return fail(EINVAL, "memory \"{}\": an empty scatter list", name);
  void* p = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return fail(errno, "memory \"{}\" of {} bytes: {}", name, size, std::strerror(errno));
  std::unique_ptr<VmObject> object(
      new VmObject(UniqueFd(), static_cast<std::byte*>(p), bank, size));
  std::byte* at = object->data();
  for (const Piece& piece : pieces) {
    if (::mmap(at, piece.length, writable ? PROT_READ | PROT_WRITE : PROT_READ,
               MAP_SHARED | MAP_FIXED, piece.fd, static_cast<off_t>(piece.offset)) == MAP_FAILED)
      return fail(errno, "memory \"{}\": {}", name, std::strerror(errno));
    at += piece.length;
  }
  return object;
}

VmObject::~VmObject() {
  ::munmap(data_, size_);
}

u64 VmObject::resident_bytes() const {
  if (!fd_) return 0;  // the page cache's, not the guest's
  struct stat st {};
  // mincore() would show the page cache of a mapping this large page by page; the file knows its
  // sum.
  if (::fstat(fd_.get(), &st) != 0) return 0;
  return static_cast<u64>(st.st_blocks) * 512;
}

void VmObject::discard() {
  if (!fd_) return;
  ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size_));
}

}  // namespace bhyve::mem
