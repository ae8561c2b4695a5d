#include "actions.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "bhyve/config.hpp"
#include "register_rows.hpp"
#include "sysctl.hpp"
#include "watch.hpp"

namespace tool {
namespace {

using bhyve::Control;
using bhyve::Result;
using bhyve::abi::SuspendHow;
using Number = std::uint64_t;
using Argument = OptionRow::Argument;

/// The frame of most getters: asks the VM by `get`, then prints or stores the value.
template <class Get, class Print, class ToJson>
Result<void> show(Session& s, const char* key, Get get, Print print, ToJson to_json) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  const auto value = get(**control);
  if (!value) return tl::make_unexpected(value.error());
  s.put(key, to_json(*value), [&] { print(*value); });
  return {};
}

template <class Order>
Result<void> order(Session& s, Order give) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  return give(**control);
}

Result<void> create(Session& s, const OptionRow&, Number, const std::string&) {
  bhyve::Config config;
  config.set("name", s.options().vm);
  for (const Asked& a : s.options().actions)
    if (a.row->name == "set-mem") config.set("memory.size", fmt::format("{}M", a.number));
  return bhyve::create_vm(config);
}

Result<void> set_mem(Session& s, const OptionRow&, Number megabytes, const std::string&) {
  return bhyve::set_stopped_memory(s.options().vm, megabytes << 20);
}

Result<void> get_memmap(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "memmap", [](Control& c) { return c.memory_map(); }, print_memory_map,
              memory_map_json);
}

Result<void> get_memseg(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "memseg", [](Control& c) { return c.memory_segments(); }, print_memory_segments,
              memory_segments_json);
}

Result<void> get_gpa_pmap(Session& s, const OptionRow&, Number gpa, const std::string&) {
  return show(s, "gpa-pmap", [&](Control& c) { return c.gpa_pmap(gpa); },
              [&](const auto& entries) { print_gpa_pmap(gpa, entries); }, gpa_pmap_json);
}

Result<void> get_mem_part(Session& s, const OptionRow& row, Number, const std::string&) {
  const bool low = row.name == "get-lowmem";
  return show(s, row.subject.c_str(), [](Control& c) { return c.memory_map(); },
              [&](const auto& map) { fmt::print("{}\t\t{:#018x}\n", row.subject, ram_bytes(map, low)); },
              [&](const auto& map) { return Json(hex(ram_bytes(map, low))); });
}

Result<void> cpu_set(Session& s, const OptionRow& row, Number, const std::string&) {
  const auto members = [&](const bhyve::CpuSets& cpus) -> const std::vector<unsigned>& {
    if (row.subject == "active cpus") return cpus.active;
    return row.subject == "suspended cpus" ? cpus.suspended : cpus.debug;
  };
  std::string key = row.subject;
  key[key.find(' ')] = '-';
  return show(s, key.c_str(), [](Control& c) { return c.cpu_sets(); },
              [&](const auto& cpus) { print_cpu_set(row.subject.c_str(), members(cpus)); },
              [&](const auto& cpus) { return Json(members(cpus)); });
}

Result<void> topology(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "cpu-topology", [](Control& c) { return c.cpu_sets(); }, print_topology,
              topology_json);
}

Result<void> stats(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "stats", [&](Control& c) { return c.statistics(s.cpu()); },
              [&](const auto& value) { print_statistics(static_cast<int>(s.cpu()), value); },
              statistics_json);
}

Result<void> get_info(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "info", [](Control& c) { return c.info(); }, print_info, info_json);
}

Result<void> get_events(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "intinfo", [&](Control& c) { return c.events(s.cpu()); },
              [&](const auto& value) { print_events(s.cpu(), value); }, events_json);
}

Result<void> get_x2apic(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "x2apic-state", [&](Control& c) { return c.x2apic_state(s.cpu()); },
              [&](auto state) {
                fmt::print("x2apic_state[{}]\t{}\n", s.cpu(), apic_state_word(state));
              },
              [](auto state) { return Json(apic_state_word(state)); });
}

Result<void> set_x2apic(Session& s, const OptionRow&, Number state, const std::string&) {
  return order(s, [&](Control& c) {
    return c.set_x2apic_state(s.cpu(), state ? bhyve::ApicState::x2apic : bhyve::ApicState::xapic);
  });
}

Result<void> get_rtc_time(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "rtc-time", [](Control& c) { return c.rtc_time(); }, print_rtc_time,
              [](auto seconds) { return Json(seconds); });
}

Result<void> set_rtc_time(Session& s, const OptionRow&, Number seconds, const std::string&) {
  return order(s, [&](Control& c) { return c.set_rtc_time(static_cast<std::int64_t>(seconds)); });
}

Result<void> get_nvram(Session& s, const OptionRow&, Number, const std::string&) {
  const unsigned offset = *s.options().nvram_offset;
  return show(s, "rtc-nvram", [&](Control& c) { return c.rtc_nvram(offset); },
              [&](unsigned value) { fmt::print("rtc nvram[{:03}]: {:#04x}\n", offset, value); },
              [](unsigned value) { return Json(value); });
}

Result<void> set_nvram(Session& s, const OptionRow&, Number value, const std::string&) {
  return order(s, [&](Control& c) {
    return c.set_rtc_nvram(*s.options().nvram_offset, static_cast<std::uint8_t>(value));
  });
}

Result<void> set_capability(Session& s, const OptionRow&, Number on, const std::string&) {
  return order(s, [&](Control& c) {
    return c.set_capability(s.cpu(), *s.options().capability, on != 0);
  });
}

Result<void> get_capability(Session& s, const OptionRow&, Number, const std::string&) {
  const auto control = s.control();
  if (!control) return tl::make_unexpected(control.error());
  const auto on = (*control)->get_capability(s.cpu(), *s.options().capability);
  if (!on && on.error().code != ENOENT) return tl::make_unexpected(on.error());
  const std::string& name = s.options().capability_name;
  s.put("capability", Json{{"name", name}, {"value", on ? Json(*on) : Json()}}, [&] {
    if (!on) fmt::print("Capability \"{}\" is not available\n", name);
    else fmt::print("Capability \"{}\" is {} on vcpu {}\n", name, *on ? "set" : "not set", s.cpu());
  });
  return {};
}

Result<void> get_pinning(Session& s, const OptionRow&, Number, const std::string&) {
  return show(s, "pinning", [&](Control& c) { return c.pinning(s.cpu()); },
              [&](const auto& cpus) {
                fmt::print("pinning[{}]\t\t{}\n", s.cpu(),
                           cpus.empty() ? "any" : fmt::format("{}", fmt::join(cpus, ",")));
              },
              [](const auto& cpus) { return Json(cpus); });
}

Result<void> set_pinning(Session& s, const OptionRow&, Number, const std::string& text) {
  constexpr unsigned host_cpus = 1024;
  std::vector<unsigned> cpus;
  if (text != "any") {
    const auto set = bhyve::parse_number_set(text, host_cpus);
    if (!set)
      return tl::make_unexpected(bhyve::Error{
          EINVAL, fmt::format("--set-pinning={}: expected host CPUs such as 0,2-5, or any", text)});
    cpus = *set;
  }
  return order(s, [&](Control& c) { return c.set_pinning(s.cpu(), cpus); });
}

Result<void> suspend_cpu(Session& s, const OptionRow& row, Number, const std::string&) {
  return order(s, [&](Control& c) {
    return row.name == "suspend-cpu" ? c.suspend_cpu(s.options().cpu) : c.resume_cpu(s.options().cpu);
  });
}

Result<void> inject_nmi(Session& s, const OptionRow&, Number, const std::string&) {
  return order(s, [&](Control& c) { return c.inject_nmi(s.cpu()); });
}

Result<void> assert_lvt(Session& s, const OptionRow&, Number pin, const std::string&) {
  return order(s, [&](Control& c) {
    return c.assert_lapic_lvt(s.options().cpu, static_cast<unsigned>(pin));
  });
}

Result<void> run_once(Session& s, const OptionRow&, Number, const std::string&) {
  const auto own = s.stopped();
  if (!own) return tl::make_unexpected(own.error());
  bhyve::VcpuExit exit;
  if (auto ok = (*own)->run(s.cpu(), exit); !ok) return ok;
  s.put("exit", exit_json(exit), [&] { print_exit(s.cpu(), exit); });
  return {};
}

Result<void> force(Session& s, const OptionRow& row, Number, const std::string&) {
  auto control = Control::connect(s.options().vm);
  if (!control) return tl::make_unexpected(control.error());
  return control->suspend(row.name == "force-reset" ? SuspendHow::reset : SuspendHow::poweroff);
}

Result<void> destroy(Session& s, const OptionRow&, Number, const std::string&) {
  s.disconnect();
  return bhyve::destroy_vm(s.options().vm);
}

Result<void> get_all(Session& s, const OptionRow&, Number, const std::string&) {
  if (auto ok = get_registers(s); !ok) return ok;
  for (const OptionRow& row : option_rows())
    if (row.in_get_all)
      if (auto ok = row.act(s, row, 0, {}); !ok) return ok;
  return {};
}

/// Rows in the order of the stages; --get-all shows its rows in the same order.
std::vector<OptionRow> make_rows() {
  std::vector<OptionRow> rows;
  add_register_rows(rows);
  const auto add = [&](const char* name, Stage stage, auto act, Argument argument = Argument::none,
                       Number most = ~Number{0}) -> OptionRow& {
    OptionRow row;
    row.name = name, row.argument = argument, row.stage = stage, row.act = act, row.most = most;
    rows.push_back(std::move(row));
    return rows.back();
  };
  constexpr Number most_megabytes = Number{1} << 25, latest = Number{1} << 37;
  add("create", Stage::create, create);
  add("set-mem", Stage::set, set_mem, Argument::number, most_megabytes);
  add("set-x2apic-state", Stage::set, set_x2apic, Argument::number, 1);
  add("set-rtc-time", Stage::set, set_rtc_time, Argument::number, latest);
  add("set-rtc-nvram", Stage::set, set_nvram, Argument::number, 255);
  add("set-pinning", Stage::set, set_pinning, Argument::word);
  add("suspend-cpu", Stage::set, suspend_cpu);
  add("resume-cpu", Stage::set, suspend_cpu);
  add("inject-nmi", Stage::interrupt, inject_nmi);
  add("assert-lapic-lvt", Stage::interrupt, assert_lvt, Argument::number, 6);
  add("get-all", Stage::get, get_all);
  add("get-info", Stage::get, get_info).in_get_all = true;
  add("get-memmap", Stage::get, get_memmap).in_get_all = true;
  add("get-memseg", Stage::get, get_memseg).in_get_all = true;
  add("get-gpa-pmap", Stage::get, get_gpa_pmap, Argument::number);
  add("get-lowmem", Stage::get, get_mem_part).subject = "lowmem";
  add("get-highmem", Stage::get, get_mem_part).subject = "highmem";
  add("get-intinfo", Stage::get, get_events).in_get_all = true;
  add("get-x2apic-state", Stage::get, get_x2apic).in_get_all = true;
  add("get-rtc-time", Stage::get, get_rtc_time).in_get_all = true;
  add("get-rtc-nvram", Stage::get, get_nvram);
  add("get-pinning", Stage::get, get_pinning).in_get_all = true;
  add("setcap", Stage::capability, set_capability, Argument::number, 1);
  add("getcap", Stage::capability, get_capability);
  for (const char* which : {"active", "suspended", "debug"}) {
    OptionRow& row = add("", Stage::cpu_sets, cpu_set);
    row.name = fmt::format("get-{}-cpus", which);
    row.subject = fmt::format("{} cpus", which);
    row.in_get_all = true;
  }
  add("get-stats", Stage::stats, stats).in_get_all = true;
  add("get-cpu-topology", Stage::topology, topology).in_get_all = true;
  add("run", Stage::run, run_once);
  add("force-reset", Stage::end, force);
  add("force-poweroff", Stage::end, force);
  add("destroy", Stage::destroy, destroy);
  return rows;
}

Result<void> act(Session& session) {
  const CtlOptions& options = session.options();
  if (options.list) {
    const auto vms = bhyve::list_vms();
    if (!vms) return tl::make_unexpected(vms.error());
    session.put("vms", list_json(*vms), [&] { print_list(*vms); });
  }
  if (options.sysctl)
    if (auto ok = show_sysctl(session, *options.sysctl); !ok) return ok;
  for (const Asked& asked : options.actions)
    if (auto ok = asked.row->act(session, *asked.row, asked.number, asked.word); !ok) return ok;
  return {};
}

}  // namespace

std::span<const OptionRow> option_rows() {
  static const std::vector<OptionRow> rows = make_rows();
  return rows;
}

Result<void> run_actions(const CtlOptions& options) {
  if (options.watch) return watch(options, act);
  Session session(options);
  auto done = act(session);
  if (options.json && !session.json().empty()) fmt::print("{}\n", session.json().dump(2));
  return done;
}

}  // namespace tool
