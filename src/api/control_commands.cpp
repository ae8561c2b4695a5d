#include "api/control_commands.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

namespace bhyve::api {
namespace {

using machine::VmControl;

constexpr i64 highest_cpu = 65534, highest_pin = 255;
constexpr i64 highest_integer = std::numeric_limits<i64>::max(), highest_word = 0xffff'ffff;
/// Bytes of guest memory that one command moves.
constexpr i64 most_bytes = 4 * KiB;

/// Reads the arguments of a request one after another and keeps the first failure, so that a command
/// reads as the list of its arguments.
class Arguments final {
 public:
  explicit Arguments(const Json& request) : request_(request) {}

  u64 cpu() { return static_cast<u64>(integer("cpu", 0, highest_cpu)); }
  i64 cpu_or_all() { return integer("cpu", -1, highest_cpu); }
  i64 integer(const char* name, i64 lowest, i64 highest) {
    return keep(integer_argument(request_, name, lowest, highest));
  }
  u64 natural(const char* name, i64 highest) {
    return static_cast<u64>(integer(name, 0, highest));
  }
  u64 word(const char* name) { return keep(word_argument(request_, name)); }
  bool flag(const char* name) { return keep(bool_argument(request_, name)); }
  std::string text(const char* name) { return keep(text_argument(request_, name)); }
  std::vector<u8> bytes(const char* name) { return keep(from_hex(text(name))); }
  std::vector<unsigned> numbers(const char* name, unsigned highest) {
    std::vector<unsigned> out;
    const auto it = request_.find(name);
    bool ok = it != request_.end() && it->is_array();
    for (usize i = 0; ok && i < it->size(); ++i) {
      const Json& item = (*it)[i];
      ok = item.is_number_unsigned() && item.get<u64>() <= highest;
      if (ok) out.push_back(item.get<unsigned>());
    }
    if (!ok) (void)keep(Result<int>(fail(EINVAL, "{}: expected a list of numbers up to {}", name, highest)));
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  template <class T>
  T keep(Result<T> value) {
    if (value) return std::move(*value);
    if (!error_) error_ = value.error();
    return T();
  }
  const Json& request_;
  std::optional<Error> error_;
};

Result<Json> to_json(Result<void> done) {
  if (!done) return tl::make_unexpected(done.error());
  return Json();
}
template <class T>
Result<Json> to_json(Result<T> value) {
  if (!value) return tl::make_unexpected(value.error());
  return Json(std::move(*value));
}
template <class T>
Result<Json> to_json(T value) {
  return Json(std::move(value));
}

/// Calls `act` unless an argument was wrong; it reads none itself.
template <class Act>
Result<Json> after(const Arguments& a, Act act) {
  if (a.error()) return tl::make_unexpected(*a.error());
  return to_json(act());
}

LineChange line_of(Arguments& a) {
  return static_cast<LineChange>(a.natural("change", static_cast<i64>(LineChange::pulse)));
}

PptFunction function_of(Arguments& a) {
  constexpr i64 highest_bus = 255, highest_slot = 31, highest_function = 7;
  PptFunction f;
  f.bus = static_cast<unsigned>(a.natural("bus", highest_bus));
  f.slot = static_cast<unsigned>(a.natural("slot", highest_slot));
  f.function = static_cast<unsigned>(a.natural("function", highest_function));
  (void)a.natural("address", highest_integer);
  (void)a.natural("data", highest_word);
  return f;
}

DescriptorValue descriptor_of(Arguments& a) {
  DescriptorValue d;
  d.name = a.text("register");
  d.base = a.word("base");
  d.limit = static_cast<u32>(a.natural("limit", highest_word));
  d.access = static_cast<u32>(a.natural("access", highest_word));
  return d;
}

abi::Capability capability_of(Arguments& a) {
  return static_cast<abi::Capability>(a.natural("capability", abi::capability_count - 1));
}

}  // namespace

/// Every command. `changes` says that a stopped VM has another state afterwards.
struct CommandTable final {
  struct Row {
    std::string_view name;
    bool changes;
    Result<Json> (*run)(VmControl& vm, Arguments& a);
  };
  static const Row rows[];
};

const CommandTable::Row CommandTable::rows[] = {
    {"get-registers", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.registers(cpu); });
     }},
    {"get-register", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       const std::string name = a.text("register");
       return after(a, [&] { return vm.get_register(cpu, name); });
     }},
    {"set-register", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu(), value = a.word("value");
       const std::string name = a.text("register");
       return after(a, [&] { return vm.set_register(cpu, name, value); });
     }},
    {"get-descriptor", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       const std::string name = a.text("register");
       return after(a, [&] { return vm.get_descriptor(cpu, name); });
     }},
    {"set-descriptor", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       const DescriptorValue value = descriptor_of(a);
       return after(a, [&] { return vm.set_descriptor(cpu, value); });
     }},
    {"reset-vcpu", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.reset_vcpu(cpu); });
     }},
    {"get-capability", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       const auto capability = capability_of(a);
       return after(a, [&] { return vm.get_capability(cpu, capability); });
     }},
    {"set-capability", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       const auto capability = capability_of(a);
       const bool on = a.flag("value");
       return after(a, [&] { return vm.set_capability(cpu, capability, on); });
     }},
    {"get-x2apic-state", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.x2apic_state(cpu); });
     }},
    {"set-x2apic-state", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       const auto state = static_cast<ApicState>(a.natural("state", 2));
       return after(a, [&] { return vm.set_x2apic_state(cpu, state); });
     }},
    {"get-stats", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.statistics(cpu); });
     }},
    {"get-events", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.events(cpu); });
     }},
    {"get-info", false, [](VmControl& vm, Arguments&) { return to_json(vm.info()); }},
    {"get-memmap", false, [](VmControl& vm, Arguments&) { return to_json(vm.memory_map()); }},
    {"get-memseg", false, [](VmControl& vm, Arguments&) { return to_json(vm.memory_segments()); }},
    {"get-gpa-pmap", false, [](VmControl& vm, Arguments& a) {
       const u64 address = a.word("address");
       return after(a, [&] { return vm.gpa_pmap(address); });
     }},
    {"get-cpus", false, [](VmControl& vm, Arguments&) { return to_json(vm.cpu_sets()); }},
    {"suspend-cpu", true, [](VmControl& vm, Arguments& a) {
       const i64 cpu = a.cpu_or_all();
       return after(a, [&] { return vm.suspend_cpu(cpu); });
     }},
    {"resume-cpu", true, [](VmControl& vm, Arguments& a) {
       const i64 cpu = a.cpu_or_all();
       return after(a, [&] { return vm.resume_cpu(cpu); });
     }},
    {"get-pinning", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.pinning(cpu); });
     }},
    {"set-pinning", true, [](VmControl& vm, Arguments& a) {
       constexpr unsigned highest_host_cpu = 1023;
       const u64 cpu = a.cpu();
       auto cpus = a.numbers("cpuset", highest_host_cpu);
       return after(a, [&] { return vm.set_pinning(cpu, std::move(cpus)); });
     }},
    {"inject-exception", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu(), vector = a.natural("vector", 255);
       const bool has_error = a.flag("has-error");
       const auto error = static_cast<u32>(a.natural("error", highest_word));
       return after(a, [&] { return vm.inject_exception(cpu, vector, has_error, error); });
     }},
    {"inject-nmi", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu();
       return after(a, [&] { return vm.inject_nmi(cpu); });
     }},
    {"assert-lapic-lvt", true, [](VmControl& vm, Arguments& a) {
       const u64 pin = a.natural("pin", highest_pin);
       const i64 cpu = a.cpu_or_all();
       return after(a, [&] { return vm.assert_lapic_lvt(cpu, pin); });
     }},
    {"lapic-irq", true, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu(), vector = a.natural("vector", 255);
       return after(a, [&] { return vm.lapic_irq(cpu, vector); });
     }},
    {"lapic-msi", true, [](VmControl& vm, Arguments& a) {
       const u64 address = a.natural("address", highest_integer);
       const auto data = static_cast<u32>(a.natural("data", highest_word));
       return after(a, [&] { return vm.lapic_msi(address, data); });
     }},
    {"ioapic-pincount", false, [](VmControl& vm, Arguments&) { return to_json(vm.ioapic_pins()); }},
    {"ioapic-irq", true, [](VmControl& vm, Arguments& a) {
       const u64 pin = a.natural("pin", highest_pin);
       const LineChange change = line_of(a);
       return after(a, [&] { return vm.ioapic_irq(pin, change); });
     }},
    {"isa-irq", true, [](VmControl& vm, Arguments& a) {
       const u64 atpic = a.natural("atpic", highest_pin);
       const i64 ioapic = a.integer("ioapic", -1, highest_pin);
       const LineChange change = line_of(a);
       return after(a, [&] { return vm.isa_irq(atpic, ioapic, change); });
     }},
    {"isa-irq-trigger", true, [](VmControl& vm, Arguments& a) {
       const u64 atpic = a.natural("atpic", highest_pin);
       const bool level = a.flag("level");
       return after(a, [&] { return vm.isa_irq_trigger(atpic, level); });
     }},
    {"setup-pptdev-msi", true, [](VmControl& vm, Arguments& a) {
       constexpr i64 most_messages = 32;
       const PptFunction function = function_of(a);
       (void)a.natural("count", most_messages);
       return after(a, [&] { return vm.setup_pptdev(function); });
     }},
    {"setup-pptdev-msix", true, [](VmControl& vm, Arguments& a) {
       constexpr i64 highest_entry = 2047;
       const PptFunction function = function_of(a);
       (void)a.natural("index", highest_entry);
       return after(a, [&] { return vm.setup_pptdev(function); });
     }},
    {"get-io-trace", false, [](VmControl& vm, Arguments& a) {
       const u64 from = a.word("from");
       return after(a, [&] { return vm.io_trace(from); });
     }},
    {"end-io-trace", false, [](VmControl& vm, Arguments&) {
       vm.end_io_trace();
       return Result<Json>(Json());
     }},
    {"read-memory", false, [](VmControl& vm, Arguments& a) {
       const u64 address = a.word("address");
       std::vector<u8> bytes(a.natural("length", most_bytes));
       return after(a, [&]() -> Result<std::string> {
         if (auto ok = vm.read_memory(address, bytes); !ok) return tl::make_unexpected(ok.error());
         return to_hex(bytes);
       });
     }},
    {"write-memory", true, [](VmControl& vm, Arguments& a) {
       const u64 address = a.word("address");
       const std::vector<u8> bytes = a.bytes("data");
       return after(a, [&] { return vm.write_memory(address, bytes); });
     }},
    {"translate", false, [](VmControl& vm, Arguments& a) {
       const u64 cpu = a.cpu(), linear = a.word("linear");
       const bool write = a.flag("write");
       return after(a, [&] { return vm.translate(cpu, linear, write); });
     }},
    {"get-rtc-time", false, [](VmControl& vm, Arguments&) { return to_json(vm.rtc_time()); }},
    {"set-rtc-time", true, [](VmControl& vm, Arguments& a) {
       const i64 seconds = a.integer("seconds", std::numeric_limits<i64>::min(), highest_integer);
       return after(a, [&] { return vm.set_rtc_time(seconds); });
     }},
    {"get-rtc-nvram", false, [](VmControl& vm, Arguments& a) {
       const u64 offset = a.natural("offset", highest_pin);
       return after(a, [&] { return vm.rtc_nvram(offset); });
     }},
    {"set-rtc-nvram", true, [](VmControl& vm, Arguments& a) {
       const u64 offset = a.natural("offset", highest_pin);
       const auto value = static_cast<u8>(a.natural("value", 255));
       return after(a, [&] { return vm.set_rtc_nvram(offset, value); });
     }},
    {"suspend", true, [](VmControl& vm, Arguments& a) {
       const auto how = static_cast<abi::SuspendHow>(a.integer("how", 1, 4));
       return after(a, [&] { return vm.suspend(how); });
     }},
};

std::vector<std::string_view> ControlCommands::names() {
  std::vector<std::string_view> out{"destroy"};
  for (const CommandTable::Row& row : CommandTable::rows) out.push_back(row.name);
  return out;
}

Result<Json> ControlCommands::run(const Json& request) {
  const auto command = text_argument(request, "command");
  if (!command) return tl::make_unexpected(command.error());
  if (*command == "destroy") {
    destroy_asked_ = true;
    // A VM that ends already needs no second reason.
    (void)vm_.suspend(abi::SuspendHow::poweroff);
    return Json();
  }
  for (const CommandTable::Row& row : CommandTable::rows) {
    if (row.name != *command) continue;
    Arguments arguments(request);
    auto result = row.run(vm_, arguments);
    if (row.changes && result) changed_ = true;
    return result;
  }
  return fail(ENOSYS, "control message: unknown command '{}'", command->substr(0, 64));
}

}  // namespace bhyve::api
