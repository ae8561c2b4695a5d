#include "machine/machine.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <future>
#include <optional>

#include "base/confinement.hpp"
#include "base/log.hpp"
#include "machine/board.hpp"
#include "machine/boot.hpp"
#include "machine/exit_handler.hpp"
#include "machine/make_vm.hpp"
#include "machine/stopped_vm.hpp"
#include "machine/vcpu_threads.hpp"
#include "mem/host_backing.hpp"

namespace bhyve::machine {
/// In the order of their making; each needs only those before it.
struct Machine::Parts final {
  explicit Parts(MachineConfig resolved) : config(std::move(resolved)), loop("events") {}

  MachineConfig config;
  host::EventLoop loop;
  std::unique_ptr<vmm::Vm> vm;
  std::unique_ptr<Board> board;
  std::optional<ExitHandler> exits;
  std::optional<VcpuThreads> threads;
  mem::LostBackingEvent lost_memory;
  std::atomic<bool> terminating{false};

  Result<host::EventLoop::Watch> watch_memory();
  Result<void> confine_threads();
};

/// The threads that are there before the first vCPU's. All code is mapped by now.
Result<void> Machine::Parts::confine_threads() {
  Result<void> events;
  loop.post([&] { events = confine_this_thread(Confinement::events, vm->engine().traced_process()); });
  loop.sync();
  if (!events) return events;
  std::promise<Result<void>> done;
  Callout callout(vm->callouts(),
                  [&] { done.set_value(confine_this_thread(Confinement::worker)); });
  callout.arm(Nanos{});
  auto callouts = done.get_future().get();
  callout.drain();
  return callouts;
}

/// A guest whose memory is gone can only be ended, but cleanly.
Result<host::EventLoop::Watch> Machine::Parts::watch_memory() {
  return loop.add(lost_memory.fd(), EPOLLIN, [this](u32) {
    eventfd_t count;
    (void)::eventfd_read(lost_memory.fd(), &count);
    if (vm->space().lost_memory()) exits->memory_lost();
  });
}

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
  control(*parts_->vm, parts_->config.cpu, &*parts_->threads, vmm::Vcpu::FreezeAt::complete);
}
Machine::~Machine() = default;

Result<std::unique_ptr<Machine>> Machine::create(const Config& config,
                                                  const LoadedGuest* loaded) {
  auto resolved = resolve(config);
  if (!resolved) return tl::make_unexpected(resolved.error());
  auto parts = std::make_unique<Parts>(std::move(*resolved));
  Parts& p = *parts;
  if (p.config.in_core) log_warn("memory.guest_in_core has no effect in this build");
  auto vm = make_vm(p.config);
  if (!vm) return tl::make_unexpected(vm.error());
  p.vm = std::move(*vm);
  auto board = Board::create(*p.vm, p.loop, p.config);
  if (!board) return tl::make_unexpected(board.error());
  p.board = std::move(*board);
  if (auto ok = load_guest(*p.vm, p.config, config, loaded, p.board->lpc_slot(),
                           p.board->interrupt_slots()); !ok)
    return tl::make_unexpected(ok.error());
  if (p.config.wired)
    if (auto ok = p.vm->space().wire_all(); !ok)
      return fail(ok.error().code, "-S: {}", ok.error().message);
  p.exits.emplace(*p.vm, p.board->ports(), p.board->memory(),
                  ExitHandler::Policy{p.config.strict_io, p.config.strict_msr},
                  [&p](VcpuId id) { p.threads->start(id); });
  p.threads.emplace(*p.vm, p.loop, p.config.cpusets, p.config.seccomp,
                    [&p](vmm::Vcpu& vcpu, engine::Exit& exit) {
                      return p.exits->handle(vcpu, exit);
                    });
  return std::unique_ptr<Machine>(new Machine(std::move(parts)));
}

Result<RunResult> Machine::run() {
  Parts& p = *parts_;
  if (p.config.seccomp)
    if (auto ok = p.confine_threads(); !ok) return tl::make_unexpected(ok.error());
  const auto watch = p.watch_memory();
  if (!watch) return tl::make_unexpected(watch.error());
  p.vm->start();
  p.board->start();
  p.threads->start(0);
  p.threads->wait();
  p.vm->pause();
  p.board->pause();
  p.loop.remove(*watch);
  if (auto failure = p.exits->failure()) return tl::make_unexpected(std::move(*failure));
  return RunResult{p.vm->suspended(), p.board->debug_exit()};
}

std::vector<u8> Machine::save_stopped_vcpus() { return save_stopped(*parts_->vm, false); }

const MachineConfig& Machine::config() const { return parts_->config; }

void Machine::terminate() {
  if (!parts_->terminating.exchange(true) && parts_->board->acpi_pm().press_power_button()) return;
  (void)suspend(abi::SuspendHow::poweroff);
}

}  // namespace bhyve::machine
