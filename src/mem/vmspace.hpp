#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/error.hpp"
#include "mem/code_pages.hpp"
#include "mem/hold.hpp"
#include "mem/prot.hpp"
#include "pmap/arena.hpp"
#include "pmap/pmap.hpp"

namespace bhyve::mem {

/// What a nested fault came to.
enum class FaultResult : u8 {
  resolved,  ///< the pmap now allows the access: repeat it
  mmio,      ///< no memory there: device memory or nothing
  denied,    ///< memory, but the access is not allowed (write to ROM): treat as MMIO
  error,     ///< the backing store failed (host out of memory); the VM must stop
};

/// The guest-physical address space of one VM: map entries over objects, the pmap of type PT_EPT
/// under them, and the fault handler that joins both. RAM is demand-allocated.
/// Thread safety: all members from any thread. Map changes take the map lock exclusively and
/// invalidate before they return; the pmap's notifier runs under it and must not call back. Lock
/// order: map lock, then the pmap's.
/// More memory than the host has may be asked for: pages are allocated by the first touch.
class Vmspace final {
 public:
  struct Options {
    u64 lowmem = 0;         ///< bytes from address 0, at most 4 GiB
    u64 highmem = 0;        ///< bytes from 4 GiB
    pmap::PmapFlags ept{};  ///< what the "hardware" below can do
    u64 fault_around = 16;  ///< pages entered by a RAM fault: a power of two, 1 = only the one
  };
  [[nodiscard]] static Result<std::unique_ptr<Vmspace>> create(const Options& options);
  ~Vmspace();

  [[nodiscard]] pmap::Pmap& pmap() { return *pmap_; }
  [[nodiscard]] const pmap::FrameArena& arena() const { return arena_; }
  [[nodiscard]] CodePages& code_pages() { return *code_pages_; }
  [[nodiscard]] u64 lowmem() const { return options_.lowmem; }
  [[nodiscard]] u64 highmem() const { return options_.highmem; }
  /// The memfd behind RAM; file offset = guest-physical address.
  [[nodiscard]] int ram_fd() const;

  /// Resolves a nested fault (bhyve: VM_EXITCODE_PAGING).
  [[nodiscard]] FaultResult fault(Gpa gpa, Prot access);

  /// vm_gpa_hold(): makes [gpa, gpa + length) present with `access` and pins it. Empty result when
  /// any page of it is not memory or lacks the right. Never throws; any gpa and length are safe.
  [[nodiscard]] Hold hold(Gpa gpa, u64 length, Prot access);
  /// Copies through holds; false (nothing or a part copied) when a page is not memory.
  [[nodiscard]] bool read(Gpa gpa, std::span<u8> into);
  [[nodiscard]] bool write(Gpa gpa, std::span<const u8> from);

  /// Adds a segment (boot ROM, framebuffer) of `length` bytes at `gpa`, both whole pages; it hides
  /// RAM below it, and overlap with another segment is refused (EEXIST). Returns the host pointer
  /// of its first byte, valid until it is removed. Its memory is zero.
  [[nodiscard]] Result<std::byte*> add_segment(Gpa gpa, u64 length, Prot prot, std::string name);
  /// Removes the segment that starts at `gpa` and gives its memory back: ENOENT when there is none,
  /// EBUSY when it is held. The host mapping stays (a vCPU may use it until it sees the
  /// invalidation) and serves a later segment of the same length.
  [[nodiscard]] Result<void> remove_segment(Gpa gpa);
  /// Moves a segment with its contents (a BAR was programmed anew); errors as above. Holds stay
  /// good.
  [[nodiscard]] Result<void> move_segment(Gpa from, Gpa to);

  struct MapEntry {
    Gpa start;
    u64 length;
    Prot prot;
    std::string name;  ///< "sysmem" or the segment's
    u64 offset;        ///< into the object
  };
  /// In order of address; RAM that a segment hides is left out.
  [[nodiscard]] std::vector<MapEntry> entries() const;
  /// Bytes of guest memory that host pages back now.
  [[nodiscard]] u64 resident_bytes() const;
  /// The host could not back a page of guest memory (HostBacking): the VM must stop.
  [[nodiscard]] bool lost_memory() const;
  /// Holds not released; zero at the end of a VM's life.
  [[nodiscard]] u64 holds_outstanding() const;

 private:
  explicit Vmspace(const Options& options);
  friend class Hold;
  struct Impl;
  void release(Hold& hold);
  /// [gpa, gpa + length) shows other memory now: unmaps it and invalidates code from it.
  void remap(u64 gpa, u64 length);
  void try_promotion(u64 gpa);
  [[nodiscard]] Result<void> init();

  Options options_;
  pmap::FrameArena arena_;
  std::unique_ptr<pmap::Pmap> pmap_;
  std::unique_ptr<CodePages> code_pages_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bhyve::mem
