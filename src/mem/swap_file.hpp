#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/types.hpp"

namespace bhyve::mem {

/// Where evicted pages go: a sparse file laid out as guest-physical memory, so that neighbours stay
/// neighbours and no page needs a slot number. Direct I/O where the file system offers it.
///
/// What comes back is checked against a sum of each page that was kept in memory: a file that was cut
/// and grew again has zeros where pages were, and no read tells of that.
/// Thread safety: read() and write() from any thread, of different pages.
class SwapFile final {
 public:
  /// `path`: a file (made if missing, and then removed again; two VMs cannot share one), a folder, or
  /// empty for /var/tmp; in a folder the file has no name. Memory file systems are refused: they
  /// would give nothing back.
  [[nodiscard]] static Result<std::unique_ptr<SwapFile>> open(const std::string& path, u64 size);
  ~SwapFile();
  SwapFile(const SwapFile&) = delete;
  SwapFile& operator=(const SwapFile&) = delete;

  /// Whole pages at whole-page offsets, between the file and page-aligned memory. Fails (EIO) for pages
  /// that are not as they were last written.
  [[nodiscard]] Result<void> read(u64 offset, std::byte* into, usize bytes) const;
  [[nodiscard]] Result<void> write(u64 offset, const std::byte* from, usize bytes);
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  SwapFile(UniqueFd fd, std::string name, bool made)
      : fd_(std::move(fd)), name_(std::move(name)), made_(made) {}
  [[nodiscard]] bool make_sums(u64 size);
  void reserve(u64 offset, usize bytes);
  [[nodiscard]] Result<void> transfer_in(u64 offset, std::byte* into, usize bytes) const;
  /// Some file systems take O_DIRECT and refuse the first transfer. True: try again without.
  [[nodiscard]] bool give_up_direct() const;

  UniqueFd fd_;
  std::string name_;
  bool made_;  ///< by us: removed at the end
  std::span<u64> sums_;  ///< one a page; those never written cost no memory
  std::vector<std::atomic<bool>> reserved_;  ///< one a chunk: the file has room for it
};

}  // namespace bhyve::mem
