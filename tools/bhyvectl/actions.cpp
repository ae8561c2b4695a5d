#include "actions.hpp"

#include <fmt/format.h>

#include "bhyve/vm.hpp"
#include "print.hpp"

namespace tool {
namespace {

using bhyve::Control;
using bhyve::Result;
using bhyve::abi::SuspendHow;

/// Runs `get`, and prints its value with `print` or puts `to_json`'s under `key`.
template <class T, class Print, class ToJson>
Result<void> show(Result<T> value, Json* json, const char* key, Print print, ToJson to_json) {
  if (!value) return tl::make_unexpected(value.error());
  if (json) (*json)[key] = to_json(*value);
  else print(*value);
  return {};
}

Result<void> interrupts(Control& control, const CtlOptions& options) {
  Result<void> done;
  if (options.inject_nmi) done = control.inject_nmi(static_cast<unsigned>(options.cpu));
  if (done && options.lvt) done = control.assert_lapic_lvt(options.cpu, *options.lvt);
  return done;
}

Result<void> cpu_sets(Control& control, const CtlOptions& options, Json* json) {
  const auto cpus = control.cpu_sets();
  if (!cpus) return tl::make_unexpected(cpus.error());
  const auto set = [&](bool wanted, const char* label, const char* key, const auto& members) {
    if (!wanted && !options.get_all) return;
    if (json) (*json)[key] = members;
    else print_cpu_set(label, members);
  };
  set(options.get_active, "active cpus", "active-cpus", cpus->active);
  set(options.get_suspended, "suspended cpus", "suspended-cpus", cpus->suspended);
  if (options.get_topology || options.get_all)
    return show(cpus, json, "cpu-topology", print_topology, topology_json);
  return {};
}

Result<void> getters(Control& control, const CtlOptions& options, Json* json) {
  const auto cpu = static_cast<unsigned>(options.cpu);
  Result<void> done;
  if (options.get_memmap || options.get_all)
    done = show(control.memory_map(), json, "memmap", print_memory_map, memory_map_json);
  if (done && options.get_all)
    done = show(control.registers(cpu), json, "vcpu",
                [&](const auto& value) { print_registers(options.cpu, value); }, registers_json);
  if (done && (options.get_active || options.get_suspended || options.get_topology ||
               options.get_all))
    done = cpu_sets(control, options, json);
  if (done && (options.get_stats || options.get_all))
    done = show(control.statistics(cpu), json, "stats",
                [&](const auto& value) { print_statistics(options.cpu, value); }, statistics_json);
  return done;
}

bool needs_running(const CtlOptions& o) {
  return o.get_all || o.get_stats || o.get_memmap || o.get_topology || o.get_active ||
         o.get_suspended || o.force_reset || o.force_poweroff || o.inject_nmi || o.lvt;
}

Result<void> on_running(const CtlOptions& options, Json* json) {
  auto control = Control::connect(options.vm);
  if (!control) return tl::make_unexpected(control.error());
  auto done = interrupts(*control, options);
  if (done) done = getters(*control, options, json);
  if (done && options.force_reset) done = control->suspend(SuspendHow::reset);
  if (done && options.force_poweroff) done = control->suspend(SuspendHow::poweroff);
  return done;
}

}  // namespace

Result<void> run_actions(const CtlOptions& options) {
  Json json = Json::object();
  Json* const into = options.json ? &json : nullptr;
  Result<void> done;
  if (options.list) done = show(bhyve::list_vms(), into, "vms", print_list, list_json);
  if (done && options.create) {
    bhyve::Config config;
    config.set("name", options.vm);
    done = bhyve::create_vm(config);
  }
  if (done && needs_running(options)) done = on_running(options, into);
  if (done && options.destroy) done = bhyve::destroy_vm(options.vm);
  if (done && into && !json.empty()) fmt::print("{}\n", json.dump(2));
  return done;
}

}  // namespace tool
