#include "mem/vm_object.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

namespace bhyve::mem {

Result<std::unique_ptr<VmObject>> VmObject::create(const std::string& name, unsigned bank,
                                                   u64 size) {
  UniqueFd fd(::memfd_create(name.substr(0, 200).c_str(), MFD_CLOEXEC));
  if (!fd) return fail(errno, "guest memory \"{}\": {}", name, std::strerror(errno));
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
    return fail(errno, "guest memory \"{}\" of {} bytes: {}", name, size, std::strerror(errno));
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (p == MAP_FAILED)
    return fail(errno, "guest memory \"{}\" of {} bytes: {}", name, size, std::strerror(errno));
  ::madvise(p, size, MADV_DONTDUMP);
  return std::unique_ptr<VmObject>(
      new VmObject(std::move(fd), static_cast<std::byte*>(p), bank, size));
}

VmObject::~VmObject() {
  ::munmap(data_, size_);
}

u64 VmObject::resident_bytes() const {
  struct stat st {};
  // mincore() would show the page cache of a mapping this large page by page; the file knows its
  // sum.
  if (::fstat(fd_.get(), &st) != 0) return 0;
  return static_cast<u64>(st.st_blocks) * 512;
}

void VmObject::discard() {
  ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size_));
}

}  // namespace bhyve::mem
