#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <csignal>
#include <cstring>

#include "api/control_protocol.hpp"
#include "api/run_dir.hpp"
#include "api/vm_directory.hpp"
#include "bhyve/vm.hpp"

namespace bhyve {
namespace {

constexpr int answer_timeout_ms = 10'000;
constexpr int exit_timeout_ms = 5'000;

/// Waits until `fd` has `events`; false on time-out.
bool wait_for(int fd, short events, int timeout_ms) {
  pollfd p{fd, events, 0};
  int n;
  do n = ::poll(&p, 1, timeout_ms);
  while (n < 0 && errno == EINTR);
  return n > 0;
}

}  // namespace

struct Control::Impl final {
  std::string name;
  UniqueFd socket;
  UniqueFd process;  ///< pidfd of the bhyve behind the socket; none when that is this process
  std::string buffer;

  Result<api::Json> call(const api::Json& request);

  /// The call's result as a T, or EBADMSG when it does not have that shape.
  template <class T>
  Result<T> call_for(const api::Json& request) {
    auto result = call(request);
    if (!result) return tl::make_unexpected(result.error());
    try {
      return result->get<T>();
    } catch (const api::Json::exception&) {
      return fail(EBADMSG, "VM '{}': its answer to {} has the wrong shape", name,
                  request.value("command", ""));
    }
  }
  Result<void> order(const api::Json& request) {
    auto result = call(request);
    if (!result) return tl::make_unexpected(result.error());
    return {};
  }
};

Result<api::Json> Control::Impl::call(const api::Json& request) {
  const std::string line = request.dump() + '\n';
  if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size()))
    return fail(ESRCH, "VM '{}' ended meanwhile", name);
  while (buffer.size() <= api::max_answer) {
    if (const auto end = buffer.find('\n'); end != std::string::npos) {
      auto answer = api::parse_answer(std::string_view(buffer).substr(0, end));
      buffer.erase(0, end + 1);
      return answer;
    }
    if (!wait_for(socket.get(), POLLIN, answer_timeout_ms))
      return fail(ETIMEDOUT, "VM '{}' does not answer", name);
    char chunk[4096];
    const ssize_t n = ::recv(socket.get(), chunk, sizeof chunk, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(ESRCH, "VM '{}' ended meanwhile", name);
    buffer.append(chunk, static_cast<usize>(n));
  }
  return fail(EMSGSIZE, "VM '{}': its answer is too long", name);
}

Control::Control(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Control::Control(Control&&) noexcept = default;
Control& Control::operator=(Control&&) noexcept = default;
Control::~Control() = default;

Result<Control> Control::connect(const std::string& name) {
  const auto peek = api::peek_vm(name);
  if (!peek) return tl::make_unexpected(peek.error());
  if (!peek->exists) return fail(ENOENT, "VM '{}' does not exist", name);
  auto parent = api::open_run_dir(false);
  if (!parent) return tl::make_unexpected(parent.error());
  const UniqueFd dir(::openat(parent->get(), name.c_str(),
                              O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  impl->socket = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  *fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/control",
                    dir.get())
       .out = '\0';
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::connect(impl->socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail(ESRCH, "VM '{}' is not running", name);
  if (::getsockopt(impl->socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      peer.uid != ::geteuid())
    return fail(EPERM, "VM '{}': its control socket is another user's", name);
  if (peer.pid != ::getpid())
    impl->process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  return Control(std::move(impl));
}

Result<VcpuRegisters> Control::registers(unsigned cpu) {
  return impl_->call_for<VcpuRegisters>({{"command", "get-registers"}, {"cpu", cpu}});
}
Result<std::vector<Statistic>> Control::statistics(unsigned cpu) {
  return impl_->call_for<std::vector<Statistic>>({{"command", "get-stats"}, {"cpu", cpu}});
}
Result<std::vector<MemoryMapping>> Control::memory_map() {
  return impl_->call_for<std::vector<MemoryMapping>>({{"command", "get-memmap"}});
}
Result<CpuSets> Control::cpu_sets() {
  return impl_->call_for<CpuSets>({{"command", "get-cpus"}});
}
Result<void> Control::inject_nmi(unsigned cpu) {
  return impl_->order({{"command", "inject-nmi"}, {"cpu", cpu}});
}
Result<void> Control::assert_lapic_lvt(int cpu, unsigned pin) {
  return impl_->order({{"command", "assert-lapic-lvt"}, {"cpu", cpu}, {"pin", pin}});
}
Result<void> Control::lapic_msi(std::uint64_t address, std::uint64_t data) {
  return impl_->order({{"command", "lapic-msi"}, {"address", address}, {"data", data}});
}
Result<void> Control::setup_pptdev_msi(PptFunction f, PptMessage message, unsigned count) {
  return impl_->order({{"command", "setup-pptdev-msi"}, {"bus", f.bus}, {"slot", f.slot},
                       {"function", f.function}, {"address", message.address},
                       {"data", message.data}, {"count", count}});
}
Result<void> Control::setup_pptdev_msix(PptFunction f, unsigned index, PptMessage message,
                                        std::uint32_t vector_control) {
  return impl_->order({{"command", "setup-pptdev-msix"}, {"bus", f.bus}, {"slot", f.slot},
                       {"function", f.function}, {"index", index}, {"address", message.address},
                       {"data", message.data}, {"vector-control", vector_control}});
}
Result<void> Control::suspend(abi::SuspendHow how) {
  return impl_->order({{"command", "suspend"}, {"how", static_cast<u32>(how)}});
}

Result<void> Control::destroy() {
  // A bhyve that does not answer or does not end in time is killed: its files tell the rest.
  const auto asked = impl_->order({{"command", "destroy"}});
  if (!impl_->process) {
    if (!asked) return asked;
    if (!wait_for(impl_->socket.get(), POLLIN | POLLRDHUP, exit_timeout_ms))
      return fail(ETIMEDOUT, "VM '{}' does not end", impl_->name);
    return {};
  }
  if (wait_for(impl_->process.get(), POLLIN, exit_timeout_ms)) return {};
  ::syscall(SYS_pidfd_send_signal, impl_->process.get(), SIGKILL, nullptr, 0);
  if (wait_for(impl_->process.get(), POLLIN, exit_timeout_ms)) return {};
  return fail(ETIMEDOUT, "VM '{}' does not end", impl_->name);
}

}  // namespace bhyve
