#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/bits.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "mem/code_pages.hpp"
#include "mem/hold.hpp"
#include "mem/prot.hpp"
#include "pmap/arena.hpp"
#include "pmap/pmap.hpp"

namespace bhyve::mem {

class VmObject;

/// What a nested fault came to.
enum class FaultResult : u8 {
  resolved,  ///< the pmap now allows the access: repeat it
  mmio,      ///< no memory there: device memory or nothing
  denied,    ///< memory, but the access is not allowed (write to ROM): treat as MMIO
  error,     ///< the backing store failed (host out of memory); the VM must stop
};

/// The guest-physical address space of one VM: map entries over objects, the pmap of type PT_EPT
/// under them, and the fault handler that joins both. RAM is demand-allocated.
/// Thread safety: fault(), hold(), read(), write() from any thread. Map changes take the map lock
/// exclusively and invalidate before they return.
class Vmspace final {
 public:
  struct Options {
    u64 lowmem = 0;    ///< bytes from address 0
    u64 highmem = 0;   ///< bytes from 4 GiB
    bool ept_ad = true;  ///< hardware-like accessed/dirty bits in EPT entries
  };
  [[nodiscard]] static Result<std::unique_ptr<Vmspace>> create(const Options& options);
  ~Vmspace();

  [[nodiscard]] pmap::Pmap& pmap() { return *pmap_; }
  [[nodiscard]] const pmap::FrameArena& arena() const { return arena_; }
  [[nodiscard]] CodePages& code_pages() { return *code_pages_; }
  [[nodiscard]] u64 lowmem() const { return options_.lowmem; }
  [[nodiscard]] u64 highmem() const { return options_.highmem; }
  /// The memfd behind RAM; file offset = guest-physical address.
  [[nodiscard]] int ram_fd() const { return ram_fd_.get(); }

  /// Resolves a nested fault (bhyve: VM_EXITCODE_PAGING).
  [[nodiscard]] FaultResult fault(Gpa gpa, Prot access);

  /// vm_gpa_hold(): makes [gpa, gpa + length) present with `access` and pins it. Empty result when
  /// any page of it is not memory or lacks the right. Never throws; any gpa and length are safe.
  [[nodiscard]] Hold hold(Gpa gpa, u64 length, Prot access);
  /// Copies through holds; false (nothing or a part copied) when a page is not memory.
  [[nodiscard]] bool read(Gpa gpa, std::span<u8> into);
  [[nodiscard]] bool write(Gpa gpa, std::span<const u8> from);

  /// Adds a segment (boot ROM, framebuffer) of `length` bytes at `gpa`; overlap with an entry that
  /// is not RAM is refused. Returns the host pointer of its first byte.
  [[nodiscard]] Result<std::byte*> add_segment(Gpa gpa, u64 length, Prot prot, std::string name);
  [[nodiscard]] Result<void> remove_segment(Gpa gpa);

  struct MapEntry {
    Gpa start;
    u64 length;
    Prot prot;
    std::string name;  ///< "sysmem" or the segment's
    u64 offset;        ///< into the object
  };
  [[nodiscard]] std::vector<MapEntry> entries() const;
  /// Bytes of guest memory that host pages back now.
  [[nodiscard]] u64 resident_bytes() const;
  /// Holds not released; zero at the end of a VM's life.
  [[nodiscard]] u64 holds_outstanding() const;

 private:
  explicit Vmspace(const Options& options);
  friend class Hold;
  Options options_;
  UniqueFd ram_fd_;
  pmap::FrameArena arena_;
  std::unique_ptr<pmap::Pmap> pmap_;
  std::unique_ptr<CodePages> code_pages_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::mem
