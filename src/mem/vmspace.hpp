#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/error.hpp"
#include "mem/code_pages.hpp"
#include "mem/hold.hpp"
#include "mem/pager.hpp"
#include "mem/prefaulter.hpp"
#include "mem/prot.hpp"
#include "mem/ram_pages.hpp"
#include "mem/vm_object.hpp"
#include "pmap/arena.hpp"
#include "pmap/pmap.hpp"

namespace bhyve::mem {

/// What a nested fault came to.
enum class FaultResult : u8 {
  resolved,  ///< the pmap now allows the access: repeat it
  mmio,      ///< no memory there: device memory or nothing
  denied,    ///< memory, but the access is not allowed (write to ROM): treat as MMIO
  error,     ///< the backing store failed (host out of memory); the VM must stop
  wait,      ///< it takes a disk or other vCPUs: stop executing the guest and call resolve()
};

/// What a VM's memory is and does, in pages unless said otherwise.
struct VmspaceStats final {
  u64 resident_bytes = 0;  ///< guest memory that host pages back
  u64 wired_bytes = 0;
  u64 table_pages = 0;
  pmap::PmapStats pmap;
  PagerStats pager;
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
    u64 resident = 0;       ///< bytes of RAM that may be in host memory at once; 0: no pager
    bool prefault = false;  ///< allocates RAM ahead of faults (Prefaulter); not with a pager
    bool confined = false;  ///< their threads give up the system calls that they do not need
    std::string swap{};     ///< file or folder for the pages that are not (SwapFile::open())
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

  /// Resolves a nested fault (bhyve: VM_EXITCODE_PAGING) if that takes no waiting: first the
  /// emulation of accessed and dirty flags, then the regular handler.
  [[nodiscard]] FaultResult fault(Gpa gpa, Prot access);
  /// The same for a fault that has to wait; never returns `wait`.
  [[nodiscard]] FaultResult resolve(Gpa gpa, Prot access);
  /// Blocks while the pager has more in host memory than it may. For a vCPU that does not execute
  /// the guest, before resolve(); false: the pager has failed, see failure().
  [[nodiscard]] bool wait_for_room() { return pages_->wait_for_room(); }
  /// Ends the pager's thread; what it keeps can still be read. Before the barrier's vCPUs go.
  void stop_pager() { pager_.reset(); }
  /// Why the backing store failed.
  [[nodiscard]] std::optional<std::string> failure() const { return pages_->failure(); }
  /// How to know that no vCPU uses translations from before a generation; set before vCPUs run.
  void set_barrier(VcpuBarrier::Passed passed) { pages_->barrier().set(std::move(passed)); }

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
  /// Makes memory of pieces of files (bhyve: OBJT_SG), a device's or a file that the guest sees, for
  /// show_files(); returns its number. ENOSPC, and the errors of the files.
  [[nodiscard]] Result<unsigned> add_files(const std::string& name,
                                           std::span<const VmObject::Piece> pieces, bool writable);
  /// Adds a segment that shows all of it, at one place at a time (EBUSY); errors as above.
  /// remove_segment() takes it away again, also while it is held: files keep what they have.
  /// `uncacheable`: in the EPT, as a device's memory is.
  [[nodiscard]] Result<std::byte*> show_files(unsigned number, Gpa gpa, Prot prot, bool uncacheable);
  /// RAM begins as what the file (laid out as guest-physical memory) has; its holes are zeros. Pages
  /// stay in the file, shared with others, until they are written or held. Before anything has
  /// touched RAM. The file must not change while the Vmspace lives.
  [[nodiscard]] Result<void> attach_image(int fd);
  /// Copies all that is still in the image into RAM: for whoever maps or saves RAM by ram_fd().
  void own_image() { pages_->copy_image(); }
  /// Removes the segment that starts at `gpa` and gives its memory back: ENOENT when there is none,
  /// EBUSY when it is held. The host mapping stays (a vCPU may use it until it sees the
  /// invalidation) and serves a later segment of the same length.
  [[nodiscard]] Result<void> remove_segment(Gpa gpa);
  /// Moves a segment with its contents (a BAR was programmed anew); errors as above. Holds stay
  /// good.
  [[nodiscard]] Result<void> move_segment(Gpa from, Gpa to);

  /// Returns which pages of [start, start + 64 * bits.size() pages) were written since the last
  /// call, bit 0 first, and clears that: what the caller copies of them now is not lost. Guest runs;
  /// not for a thread that executes it. Whole pages of RAM; EINVAL else.
  [[nodiscard]] Result<void> take_dirty(Gpa start, std::span<u64> bits);
  /// Write-protects a range of RAM copy-on-write: from the return on, the sink is given the old
  /// contents of each page before its first write by anybody. One sink at a time (EBUSY).
  [[nodiscard]] Result<void> protect_cow(Gpa start, u64 length, RamPages::CowSink sink);
  void end_cow(Gpa start, u64 length);

  /// Brings a range of RAM into host memory and keeps it there while it is wired: for -S, and for
  /// whoever maps RAM without our MMU. unwire() ends that. ENOMEM or EPERM name the host's limit.
  [[nodiscard]] Result<void> wire(Gpa start, u64 length);
  void unwire(Gpa start, u64 length);
  [[nodiscard]] Result<void> wire_all();

  [[nodiscard]] VmspaceStats stats() const;
  /// Waits until the host has allocated what Options::prefault asked for so far.
  void settle_prefault();

  struct MapEntry {
    Gpa start;
    u64 length;
    Prot prot;
    std::string name;  ///< "sysmem" or the segment's
    u64 offset;        ///< into the object
    u64 object_size = 0;
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
  [[nodiscard]] FaultResult handle(Gpa gpa, Prot access, bool may_wait);
  [[nodiscard]] bool hold_ram(u64 start, u64 end, bool write);
  void release_ram(const Hold& hold, bool written);
  [[nodiscard]] Result<void> start_pager();
  [[nodiscard]] unsigned next_bank() const;
  void keep(std::unique_ptr<VmObject> object);
  [[nodiscard]] Result<void> check_ram(Gpa start, u64 length) const;
  [[nodiscard]] Result<void> init();

  Options options_;
  pmap::FrameArena arena_;
  std::unique_ptr<pmap::Pmap> pmap_;
  std::unique_ptr<CodePages> code_pages_;
  std::unique_ptr<RamPages> pages_;
  std::unique_ptr<Impl> impl_;
  std::unique_ptr<Pager> pager_;
  std::unique_ptr<Prefaulter> prefaulter_;
};

}  // namespace bhyve::mem
