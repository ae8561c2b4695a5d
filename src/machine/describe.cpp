#include "machine/describe.hpp"

#include <algorithm>
#include <iterator>

#include "bhyve/devices.hpp"
#include "engine/soft/system/cpu_features.hpp"
#include "machine/board.hpp"
#include "machine/machine_config.hpp"
#include "machine/make_vm.hpp"
#include "platform/e820.hpp"
#include "platform/layout.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::machine {
namespace {

namespace layout = platform::layout;
using bus::PciBar;

/// Collects lines; each part of the machine adds its own.
using Text = fmt::memory_buffer;
template <class... Args>
void line(Text& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
  out.push_back('\n');
}

std::string cpu_list(const std::vector<unsigned>& cpus) {
  std::string out;
  for (const unsigned cpu : cpus) out += (out.empty() ? "" : ",") + std::to_string(cpu);
  return out;
}

Result<void> describe_cpus(const MachineConfig& config, std::string_view engine, Text& out) {
  const auto& cpu = config.cpu;
  line(out, "cpus        {} ({} sockets, {} cores, {} threads), engine {}, model {}", config.vcpus,
       cpu.sockets, cpu.cores, cpu.threads, engine, cpu.model);
  const auto model = soft::CpuModel::create(cpu, config.vcpus);
  if (!model) return tl::make_unexpected(model.error());
  std::string row;
  for (const auto& feature : soft::feature_rows()) {
    if (!(*model)->has(feature.feature)) continue;
    if (row.size() + feature.name.size() > 84) {
      line(out, "            {}", row);
      row.clear();
    }
    row += (row.empty() ? "" : " ") + std::string(feature.name);
  }
  line(out, "            {}", row);
  for (usize id = 0; id < config.cpusets.size(); ++id)
    if (!config.cpusets[id].empty())
      line(out, "            vCPU {} on host CPUs {}", id, cpu_list(config.cpusets[id]));
  return {};
}

const char* kind_of(x86::E820Type type) {
  return type == x86::E820Type::ram ? "RAM" : "reserved";
}

void describe_memory(const MachineConfig& config, Text& out) {
  line(out, "memory      {} MiB: {} below 4 GiB, {} from there", config.memory / MiB,
       config.lowmem / MiB, config.highmem / MiB);
  for (const auto& entry : platform::make_e820(config.lowmem, config.highmem))
    line(out, "            {:011x}-{:011x} {}", entry.base, entry.base + entry.size - 1,
         kind_of(entry.type));
  const u64 window32 = layout::pci_mmio32(config.lowmem).value();
  const u64 window64 = layout::pci_mmio64(config.highmem).value();
  line(out, "            {:011x}-{:011x} 32-bit BARs", window32, layout::pci_mmio32_end.value() - 1);
  line(out, "            {:011x}-{:011x} I/O APIC", layout::ioapic.value(),
       layout::ioapic.value() + layout::ioapic_size - 1);
  line(out, "            {:011x}-{:011x} HPET", layout::hpet.value(),
       layout::hpet.value() + layout::hpet_size - 1);
  line(out, "            {:011x}-{:011x} local APIC", layout::lapic.value(),
       layout::lapic.value() + layout::lapic_size - 1);
  line(out, "            {:011x}-{:011x} 64-bit BARs", window64,
       window64 + layout::pci_mmio64_size - 1);
}

const char* bar_word(PciBar::Kind kind) {
  switch (kind) {
    case PciBar::Kind::none: return "";
    case PciBar::Kind::io: return "I/O";
    case PciBar::Kind::mem32: return "memory, 32 bits";
    case PciBar::Kind::mem64: return "memory, 64 bits";
    case PciBar::Kind::rom: return "ROM";
  }
  return "";
}

void describe_function(bus::PciHost& pci, bus::pci::Bdf at, const bus::PciFunction& function,
                       std::string_view name, Text& out) {
  const u32 id = pci.read(at, 0, 4), interrupt = pci.read(at, 0x3d, 1);
  std::string irq;
  if (interrupt >= 1 && interrupt <= 4)
    irq = fmt::format(", INT{} to pin {} of the I/O APIC", static_cast<char>('A' + interrupt - 1),
                      platform::ioapic_pin_for(at.slot(), interrupt));
  line(out, "pci {}:{}:{}   {} {:04x}:{:04x} class {:06x}{}", at.bus(), at.slot(), at.function(),
       name, id & 0xffff, id >> 16, pci.read(at, 8, 4) >> 8, irq);
  for (unsigned bar = 0; bar <= bus::PciFunction::rom_bar; ++bar)
    if (function.bar_kind(bar) != PciBar::Kind::none)
      line(out, "            BAR {}: {}, {:#x} bytes", bar, bar_word(function.bar_kind(bar)),
           function.bar_size(bar));
}

void describe_isa(const MachineConfig& config, Text& out) {
  constexpr u16 ports[] = {layout::port_com1, layout::port_com2, layout::port_com3,
                           layout::port_com4};
  constexpr unsigned irqs[] = {layout::irq_com1, layout::irq_com2, layout::irq_com3,
                               layout::irq_com4};
  for (unsigned n = 0; n < com_ports; ++n)
    if (!config.com[n].empty())
      line(out, "com{}        port {:03x}h, IRQ {}: {}", n + 1, ports[n], irqs[n], config.com[n]);
  if (!config.debugcon.empty()) line(out, "debugcon    port e9h: {}", config.debugcon);
  if (config.testdev) line(out, "pc-testdev  debug exit at port f4h");
  if (config.fw_ctl) line(out, "fwcfg       bhyve's interface");
  if (config.fw_cfg) line(out, "fwcfg       QEMU's interface, {} items", config.firmware_items.size());
  line(out, "board       PIC, PIT, HPET, RTC ({}), PM timer, keyboard controller",
       config.rtc_localtime ? "local time" : "UTC");
}

void describe_boot(const MachineConfig& config, const Config& variables, Text& out) {
  if (!config.kernel.empty()) line(out, "boot        kernel {}", config.kernel);
  if (!config.initrd.empty()) line(out, "            initial RAM disk {}", config.initrd);
  if (!config.cmdline.empty()) line(out, "            command line {}", config.cmdline);
  if (const auto rom = variables.raw("lpc.bootrom")) line(out, "boot        ROM {}", *rom);
  line(out, "tables      ACPI{}, SMBIOS", config.mptable ? ", MP" : "");
}

/// A device that this build lacks: its variables, so that one sees how they were understood.
void describe_absent_devices(const Config& config, Text& out) {
  for (const auto& [name, value] : config.variables()) {
    if (!name.starts_with("pci.") || !name.ends_with(".device")) continue;
    const DeviceName* const known = find_device(pci_devices(), value);
    if (!known || known->available) continue;
    const std::string node = name.substr(0, name.size() - 6);
    line(out, "{} {} (not in this build)", node.substr(0, node.size() - 1), value);
    for (const auto& [key, text] : config.variables())
      if (key.starts_with(node) && key != name)
        line(out, "            {}={}", std::string_view(key).substr(node.size()), text);
  }
}

}  // namespace

Result<std::string> describe(const Config& config) {
  auto resolved = resolve_all(config);
  if (!resolved) return tl::make_unexpected(resolved.error());
  // Nothing is opened: the board is made without its back ends.
  MachineConfig bare = *resolved;
  bare.com = {};
  bare.debugcon.clear();
  bare.fw_cfg = false;
  auto vm = make_vm(bare);
  if (!vm) return tl::make_unexpected(vm.error());
  host::EventLoop loop("events");
  auto board = Board::create(**vm, loop, bare);
  if (!board) return tl::make_unexpected(board.error());
  Text out;
  line(out, "vm          {}", resolved->name);
  if (auto ok = describe_cpus(bare, (*vm)->engine().name(), out); !ok)
    return tl::make_unexpected(ok.error());
  describe_memory(*resolved, out);
  for (const auto& [at, function] : (*board)->functions()) {
    const auto placed = std::find_if(
        resolved->pci.begin(), resolved->pci.end(), [&](const PciDevice& d) {
          return bus::pci::Bdf(d.bus, d.slot, d.function) == at;
        });
    describe_function((*board)->pci(), at, *function,
                      placed == resolved->pci.end() ? "" : placed->emulation, out);
  }
  describe_absent_devices(config, out);
  describe_isa(*resolved, out);
  describe_boot(*resolved, config, out);
  for (const std::string& sentence : resolved->absent) line(out, "refused     {}", sentence);
  return fmt::to_string(out);
}

}  // namespace bhyve::machine
