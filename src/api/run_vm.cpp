#include "api/control_commands.hpp"
#include "api/control_server.hpp"
#include "api/loaded_image.hpp"
#include "api/signal_watch.hpp"
#include "api/vm_directory.hpp"
#include "base/confinement.hpp"
#include "base/log.hpp"
#include "bhyve/vm.hpp"
#include "machine/describe.hpp"
#include "machine/machine.hpp"

namespace bhyve {
namespace {

/// The machine in its directory, from the control socket's first byte to its last.
Result<RunResult> run_in(api::VmDirectory& vm, machine::Machine& machine, CallerThread caller,
                         bool& destroy) {
  auto listener = vm.listen();
  if (!listener) return tl::make_unexpected(listener.error());
  if (auto ok = vm.write_state("running"); !ok) return tl::make_unexpected(ok.error());
  api::ControlCommands commands(machine);
  const bool confined = machine.config().seccomp;
  auto result = [&]() -> Result<RunResult> {
    const api::ControlServer server(
        std::move(*listener), [&](const api::Json& request) { return commands.run(request); },
        confined);
    if (confined && caller == CallerThread::is_confined)
      if (auto ok = confine_this_thread(Confinement::caller); !ok)
        return tl::make_unexpected(ok.error());
    return machine.run();
  }();
  vm.remove_socket();
  destroy = commands.destroy_asked();
  return result;
}

Result<RunResult> run_locked(api::VmDirectory& vm, const Config& given, CallerThread caller) {
  const api::SignalWatch signals;
  auto loaded = api::needs_loaded_guest(given) ? api::open_loaded_guest(vm)
                                               : std::optional<machine::LoadedGuest>();
  auto merged = api::with_loaded_memory(given, loaded);
  if (!merged) return tl::make_unexpected(merged.error());
  const Config& config = *merged;
  auto machine = machine::Machine::create(config, loaded ? &*loaded : nullptr);
  if (!machine) return tl::make_unexpected(machine.error());
  if (auto ok = vm.write_config(config); !ok) return tl::make_unexpected(ok.error());
  bool destroy = false;
  auto result = [&] {
    const api::SignalWatch::Listener listener(signals, **machine);
    return run_in(vm, **machine, caller, destroy);
  }();
  // For bhyvectl: the registers with which a guest ended tell why.
  if (!loaded || loaded->vcpus.empty())
    if (auto ok = api::write_stopped_vcpus(vm, (*machine)->save_stopped_vcpus()); !ok)
      log_warn("{}", ok.error().message);
  const bool over = result && result->how == abi::SuspendHow::poweroff &&
                    (*machine)->config().destroy_on_poweroff;
  if (destroy || over) {
    if (auto gone = vm.destroy(); !gone) return tl::make_unexpected(gone.error());
  } else if (auto ok = vm.write_state("stopped"); !ok) {
    return tl::make_unexpected(ok.error());
  }
  return result;
}

}  // namespace

Result<void> check_config(const Config& config) {
  if (auto ok = check_vm_name(config.raw("name").value_or("")); !ok) return ok;
  const auto resolved = machine::resolve(config);
  if (!resolved) return tl::make_unexpected(resolved.error());
  return {};
}

Result<std::string> describe_machine(const Config& config) {
  if (auto ok = check_vm_name(config.raw("name").value_or("")); !ok)
    return tl::make_unexpected(ok.error());
  return machine::describe(config);
}

Result<RunResult> run_vm(const Config& config, CallerThread caller) {
  log_init();
  if (auto ok = check_config(config); !ok) return tl::make_unexpected(ok.error());
  auto vm = api::VmDirectory::acquire_patiently(config.raw("name").value_or(""),
                                      api::VmDirectory::Mode::open_or_create);
  if (!vm) return tl::make_unexpected(vm.error());
  auto result = run_locked(*vm, config, caller);
  // Nothing half-made stays: a VM that was there before does.
  if (!result && vm->created()) (void)vm->destroy();
  return result;
}

}  // namespace bhyve
