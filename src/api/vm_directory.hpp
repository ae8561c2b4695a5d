#pragma once
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/types.hpp"
#include "bhyve/config.hpp"

namespace bhyve::api {

/// The directory of one VM, held with its lock: the analog of /dev/vmm/NAME. It holds `config` (the
/// variables as JSON), `state` (one word), `lock` (a file lock; there is no pid file) and, while the VM
/// runs, `control` (socket). Whoever holds a VmDirectory is the only one to change it.
class VmDirectory final {
 public:
  /// What happens when the directory is not there, or is.
  enum class Mode : u8 { open, create, open_or_create };

  /// Locks the directory. EBUSY when another process holds it, ENOENT or EEXIST by `mode`. What a
  /// crashed process left (a socket, a half-written file) is cleaned up.
  [[nodiscard]] static Result<VmDirectory> acquire(const std::string& name, Mode mode);

  /// The same, but waits a little for a holder that does not run the VM: somebody who looks at a
  /// stopped one (bhyvectl) must not keep a bhyve from starting.
  [[nodiscard]] static Result<VmDirectory> acquire_patiently(const std::string& name, Mode mode);

  VmDirectory(VmDirectory&&) noexcept = default;
  VmDirectory& operator=(VmDirectory&&) noexcept = default;
  ~VmDirectory() = default;

  [[nodiscard]] const std::string& name() const { return name_; }
  /// True when acquire() made it.
  [[nodiscard]] bool created() const { return created_; }
  [[nodiscard]] int fd() const { return dir_.get(); }

  [[nodiscard]] Result<void> write_config(const Config& config);
  /// "running" or "stopped".
  [[nodiscard]] Result<void> write_state(std::string_view state);
  /// Makes the control socket and listens on it.
  [[nodiscard]] Result<UniqueFd> listen();
  void remove_socket();

  /// Removes the files that bhyve knows and the directory. ENOTEMPTY, naming one, when others are
  /// in it; they stay.
  [[nodiscard]] Result<void> destroy();

 private:
  VmDirectory(std::string name, UniqueFd parent, UniqueFd dir, UniqueFd lock, bool created);
  Result<void> write_file(const char* file, std::string_view text);

  std::string name_;
  UniqueFd parent_, dir_, lock_;
  bool created_ = false;
};

/// What can be told of a VM without its lock.
struct Peek final {
  bool exists = false;
  bool locked = false;
  std::string state;
  Config config;
};
[[nodiscard]] Result<Peek> peek_vm(const std::string& name);

}  // namespace bhyve::api
