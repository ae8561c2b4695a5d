#include "api/control_commands.hpp"

#include <iterator>
#include <limits>

namespace bhyve::api {
namespace {

constexpr i64 highest_cpu = 65534, highest_pin = 255;
constexpr i64 highest_integer = std::numeric_limits<i64>::max(), highest_word = 0xffff'ffff;

template <class T>
Result<Json> to_json(Result<T> value) {
  if (!value) return tl::make_unexpected(value.error());
  return Json(*value);
}
Result<Json> to_json(Result<void> done) {
  if (!done) return tl::make_unexpected(done.error());
  return Json();
}

/// Runs `action` with the request's "cpu".
template <class Action>
Result<Json> on_cpu(const Json& request, i64 lowest, Action action) {
  const auto cpu = integer_argument(request, "cpu", lowest, highest_cpu);
  if (!cpu) return tl::make_unexpected(cpu.error());
  return to_json(action(*cpu));
}

}  // namespace

Result<Json> ControlCommands::run(const Json& request) {
  const auto command = text_argument(request, "command");
  if (!command) return tl::make_unexpected(command.error());
  if (*command == "get-registers")
    return on_cpu(request, 0, [&](i64 cpu) { return machine_.registers(static_cast<u64>(cpu)); });
  if (*command == "get-stats")
    return on_cpu(request, 0, [&](i64 cpu) { return machine_.statistics(static_cast<u64>(cpu)); });
  if (*command == "get-memmap") return Json(machine_.memory_map());
  if (*command == "get-cpus") return Json(machine_.cpu_sets());
  if (*command == "inject-nmi")
    return on_cpu(request, 0, [&](i64 cpu) { return machine_.inject_nmi(static_cast<u64>(cpu)); });
  if (*command == "assert-lapic-lvt") {
    const auto pin = integer_argument(request, "pin", 0, highest_pin);
    if (!pin) return tl::make_unexpected(pin.error());
    return on_cpu(request, -1, [&](i64 cpu) {
      return machine_.assert_lapic_lvt(cpu, static_cast<u64>(*pin));
    });
  }
  if (*command == "lapic-msi") return lapic_msi(request);
  if (*command == "setup-pptdev-msi") return setup_pptdev(request, false);
  if (*command == "setup-pptdev-msix") return setup_pptdev(request, true);
  if (*command == "suspend") {
    const auto how = integer_argument(request, "how", 1, 4);
    if (!how) return tl::make_unexpected(how.error());
    return to_json(machine_.suspend(static_cast<abi::SuspendHow>(*how)));
  }
  if (*command == "destroy") {
    destroy_asked_ = true;
    // A VM that ends already needs no second reason.
    (void)machine_.suspend(abi::SuspendHow::poweroff);
    return Json();
  }
  return fail(ENOSYS, "control message: unknown command '{}'", command->substr(0, 64));
}

Result<Json> ControlCommands::lapic_msi(const Json& request) {
  const auto address = integer_argument(request, "address", 0, highest_integer);
  if (!address) return tl::make_unexpected(address.error());
  const auto data = integer_argument(request, "data", 0, highest_word);
  if (!data) return tl::make_unexpected(data.error());
  return to_json(machine_.lapic_msi(static_cast<u64>(*address), static_cast<u32>(*data)));
}

Result<Json> ControlCommands::setup_pptdev(const Json& request, bool msix) {
  constexpr i64 highest_bus = 255, highest_slot = 31, highest_function = 7, most_messages = 32,
                highest_entry = 2047;
  struct Argument {
    const char* name;
    i64 highest;
  };
  const Argument arguments[] = {
      {"bus", highest_bus},       {"slot", highest_slot}, {"function", highest_function},
      {"address", highest_integer}, {"data", highest_word},
      msix ? Argument{"index", highest_entry} : Argument{"count", most_messages}};
  i64 values[std::size(arguments)];
  for (usize i = 0; i < std::size(arguments); ++i) {
    const auto value = integer_argument(request, arguments[i].name, 0, arguments[i].highest);
    if (!value) return tl::make_unexpected(value.error());
    values[i] = *value;
  }
  const PptFunction function{static_cast<unsigned>(values[0]), static_cast<unsigned>(values[1]),
                             static_cast<unsigned>(values[2])};
  return to_json(machine_.setup_pptdev(function));
}

}  // namespace bhyve::api
