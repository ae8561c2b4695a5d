#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/types.hpp"
#include "mem/host_backing.hpp"

namespace bhyve::mem {

/// Memory that map entries show: a memfd, mapped once as one bank of the frame arena. Pages are
/// allocated by the first touch; a size beyond the host's memory is allowed. Left out of core
/// dumps. Thread safety: all members from any thread.
class VmObject final {
 public:
  /// `size` bytes (whole pages) of zeros for arena bank `bank`; `name` shows in /proc/PID/maps.
  /// `huge`: by huge pages where the host gives them.
  [[nodiscard]] static Result<std::unique_ptr<VmObject>> create(const std::string& name,
                                                                unsigned bank, u64 size,
                                                                bool huge = false);
  /// A piece of a file in a scatter list: whole pages of it.
  struct Piece {
    int fd;  ///< stays the caller's
    u64 offset, length;
  };
  /// The pieces one after the other (bhyve: OBJT_SG): shared with whoever maps the files, for device
  /// memory and saved images. `writable`: the files are open for writing and guests may write them.
  [[nodiscard]] static Result<std::unique_ptr<VmObject>> map_files(const std::string& name,
                                                                   unsigned bank,
                                                                   std::span<const Piece> pieces,
                                                                   bool writable);
  ~VmObject();
  VmObject(const VmObject&) = delete;
  VmObject& operator=(const VmObject&) = delete;

  [[nodiscard]] unsigned bank() const { return bank_; }
  [[nodiscard]] u64 size() const { return size_; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] u64 resident_bytes() const;
  /// The host could not back a page of it: the VM must stop.
  [[nodiscard]] bool lost() const noexcept { return backing_.lost(); }
  /// Anonymous memory: discard() empties it for reuse. Files keep what they have.
  [[nodiscard]] bool anonymous() const { return static_cast<bool>(fd_); }
  /// Gives every page back to the host; the mapping stays and reads as zero.
  void discard();

  void pin() { pins_.fetch_add(1, std::memory_order_relaxed); }
  void unpin() { pins_.fetch_sub(1, std::memory_order_release); }
  [[nodiscard]] bool pinned() const { return pins_.load(std::memory_order_acquire) != 0; }

 private:
  VmObject(UniqueFd fd, std::byte* data, unsigned bank, u64 size)
      : fd_(std::move(fd)), data_(data), bank_(bank), size_(size), backing_(data, size) {}

  UniqueFd fd_;
  std::byte* data_;
  unsigned bank_;
  u64 size_;
  HostBacking backing_;
  std::atomic<u64> pins_{0};  ///< holds that use it
};

}  // namespace bhyve::mem
