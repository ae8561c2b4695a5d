#include "machine/board.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "dev/pci/hostbridge.hpp"
#include "dev/testdev/pci_testdev.hpp"
#include "host/char_open.hpp"
#include "machine/cmos.hpp"
#include "machine/firmware_items.hpp"
#include "machine/sg_memory.hpp"
#include "platform/layout.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::machine {
namespace {

namespace layout = platform::layout;
using abi::SuspendHow;

struct ComPort final {
  u16 base;
  unsigned irq;
};
constexpr std::array<ComPort, com_ports> coms{{{layout::port_com1, layout::irq_com1},
                                               {layout::port_com2, layout::irq_com2},
                                               {layout::port_com3, layout::irq_com3},
                                               {layout::port_com4, layout::irq_com4}}};

Result<std::unique_ptr<host::CharBackend>> open_backend(host::EventLoop& loop,
                                                        const std::string& device,
                                                        const std::string& path) {
  const auto spec = host::parse_char_spec(path);
  if (!spec) return fail(EINVAL, "-l {},{}: {}", device, path, spec.error().message);
  auto backend = host::open_char_backend(loop, device, *spec);
  if (!backend)
    return fail(backend.error().code, "-l {},{}: {}", device, path, backend.error().message);
  return backend;
}

/// Functions 0-3 of a slot have INTA to INTD, and so on again.
unsigned interrupt_pin(bus::pci::Bdf at) { return 1 + at.function() % platform::pci_int_pins; }

/// What the DSDT's windows, and the test ports that QEMU put into them, leave to BARs.
bus::PciBarSpace bar_space(const MachineConfig& config) {
  constexpr u64 ports_end = 0x1'0000, hotplug_end = layout::port_hotplug + layout::port_hotplug_length;
  const u64 window64 = layout::pci_mmio64(config.highmem).value();
  const u64 ports = config.testdev ? dev::TestDev::port_lines + dev::TestDev::lines : layout::pci_io_base;
  return {{{ports, layout::port_hotplug}, {hotplug_end, ports_end}},
          {layout::pci_mmio32(config.lowmem).value(), layout::pci_mmio32_end.value()},
          {window64, window64 + layout::pci_mmio64_size}};
}

}  // namespace

Board::Board(vmm::Vm& vm, host::EventLoop& loop, const MachineConfig& config)
    : vm_(vm),
      loop_(loop),
      bar_space_(bar_space(config)),
      enable_bars_(config.enable_bars),
      reset_control_([this](bool) { suspend(SuspendHow::reset); }),
      acpi_pm_(vm.chips().connect_isa(layout::irq_sci), [this] { suspend(SuspendHow::poweroff); },
               {layout::s5_sleep_type, layout::acpi_enable, layout::acpi_disable}),
      i8042_(vm.chips().connect_isa(layout::irq_keyboard), vm.chips().connect_isa(layout::irq_mouse),
             [this] { suspend(SuspendHow::reset); }),
      port92_([this] { suspend(SuspendHow::reset); }),
      debug_exit_([this](u8 status) {
        if (vm_.suspend(SuspendHow::poweroff)) debug_exit_status_ = status;
      }) {
  lifecycle_ = {&reset_control_, &pci_ports_, &acpi_pm_, &i8042_, &port92_};
}

Board::~Board() {
  pause();
  for (const auto& [at, placed] : functions_) placed.function->detach();
}

Result<std::unique_ptr<Board>> Board::create(vmm::Vm& vm, host::EventLoop& loop,
                                             const MachineConfig& config) {
  std::unique_ptr<Board> board(new Board(vm, loop, config));
  if (auto ok = board->build(config); !ok) return tl::make_unexpected(ok.error());
  return board;
}

Result<void> Board::build(const MachineConfig& config) {
  if (auto ok = map_ports(); !ok) return ok;
  fill_cmos(vm_.chips().rtc(), config.lowmem, config.vcpus);
  // The bridge and whoever owns an ISA interrupt come first: PCI's are chosen from what is left.
  if (auto ok = add_functions(config, true); !ok) return ok;
  for (unsigned n = 0; n < com_ports; ++n) {
    if (config.com[n].empty()) continue;
    if (auto ok = add_uart(n, config.com[n]); !ok) return ok;
  }
  if (auto ok = add_functions(config, false); !ok) return ok;
  if (!config.debugcon.empty())
    if (auto ok = add_debug_console(config.debugcon); !ok) return ok;
  if (config.fw_cfg)
    if (auto ok = add_fw_cfg(config); !ok) return ok;
  if (config.fw_ctl)
    if (auto ok = add_fw_ctl(config); !ok) return ok;
  if (config.testdev)
    if (auto ok = add_testdev(); !ok) return ok;
  return memory_.add(layout::pci_ecam, layout::pci_ecam_size, ecam_);
}

Result<void> Board::map_ports() {
  const struct {
    u16 base, size;
    bus::Pio* device;
  } map[] = {
      {layout::port_pci_address, bus::PciConfigPorts::ports, &pci_ports_},
      {layout::port_pm1_event, 4, &acpi_pm_.event_block()},
      {layout::port_pm1_control, 2, &acpi_pm_.control_block()},
      {layout::port_gpe0, layout::port_gpe0_length, &acpi_pm_.gpe0_block()},
      {layout::port_smi_command, 1, &acpi_pm_.smi_command()},
      {layout::port_kbd_data, 1, &i8042_.data_port()},
      {layout::port_kbd_command, 1, &i8042_.command_port()},
      {dev::Port92::port, dev::Port92::ports, &port92_},
      {dev::PostPort::port, dev::PostPort::ports, &post_},
  };
  for (const auto& [base, size, device] : map)
    if (auto ok = ports_.add(base, size, *device); !ok) return ok;
  return {};
}

/// INTx goes to the I/O APIC directly and to the PIC through the bridge's router; a guest masks one.
bus::PciWiring Board::wire(bus::pci::Bdf at) {
  const unsigned pin = interrupt_pin(at);
  intc::IrqPin*& gsi = interrupt_pins_[at.raw()];
  if (gsi == nullptr) gsi = &vm_.chips().connect_gsi(platform::ioapic_pin_for(at.slot(), pin));
  const unsigned link = platform::pirq_link_for(at.slot(), pin);
  bus::PciWiring wiring;
  wiring.name = fmt::format("pci.{}.{}.{}", at.bus(), at.slot(), at.function());
  wiring.decoder = &decoder_;
  wiring.msi = [this](u64 address, u32 data) { vm_.chips().lapic_bus().msi(address, data); };
  wiring.intx = [this, gsi, link](bool level) {
    gsi->set_level(level);
    if (lpc_) lpc_->set_link(link, level);
  };
  return wiring;
}

std::unique_ptr<bus::PciFunction> Board::make_function(const PciDevice& device,
                                                       bus::PciWiring wiring) {
  using Model = dev::Hostbridge::Model;
  if (device.emulation == "hostbridge")
    return std::make_unique<dev::Hostbridge>(std::move(wiring), Model::generic);
  if (device.emulation == "amd_hostbridge")
    return std::make_unique<dev::Hostbridge>(std::move(wiring), Model::amd);
  if (device.emulation != "lpc") return nullptr;
  for (unsigned irq = 0; irq < pirq_pins_.size(); ++irq)
    if (dev::PirqRouter::legal_irqs >> irq & 1) pirq_pins_[irq] = &vm_.chips().pic().connect(irq);
  auto lpc = std::make_unique<dev::Lpc>(std::move(wiring), [this](unsigned irq, bool level) {
    if (pirq_pins_[irq]) pirq_pins_[irq]->set_level(level);
  });
  lpc_ = lpc.get();
  lpc_slot_ = device.slot;
  lpc->use_irq(layout::irq_sci);
  make_level(layout::irq_sci);
  lpc->reserve_irq(layout::irq_mouse);
  return lpc;
}

/// PCI's interrupts and the SCI are level-triggered at the PIC: what firmware leaves in ELCR.
void Board::make_level(unsigned irq) {
  if (irq >= pirq_pins_.size()) return;  // a link that leads nowhere
  bus::Pio& elcr = vm_.chips().pic().elcr_ports();
  const u16 half = static_cast<u16>(irq / 8);
  elcr.pio_write(half, 1, elcr.pio_read(half, 1) | 1u << irq % 8);
}

Result<void> Board::add_functions(const MachineConfig& config, bool bridge) {
  for (const PciDevice& device : config.pci)
    if ((device.emulation == "lpc") == bridge)
      if (auto ok = add_pci(device); !ok) return ok;
  return {};
}

Result<void> Board::add_pci(const PciDevice& device) {
  const bus::pci::Bdf at(device.bus, device.slot, device.function);
  if (device.emulation == "pci-testdev") {
    const dev::PciTestDev::Options options{device.msi, device.msix, device.window, device.rom};
    return add_function(at, true, [&](bus::PciWiring wiring) {
      return std::make_unique<dev::PciTestDev>(
          std::move(wiring), options,
          dev::PciTestDev::Worker{[this](auto function) { loop_.post(std::move(function)); },
                                  [this] { loop_.sync(); }});
    });
  }
  if (device.emulation == "sgmem") {
    auto memory = open_sg_memory(vm_.space(), device);
    if (!memory) return tl::make_unexpected(memory.error());
    return add_function(at, false, [&](bus::PciWiring wiring) {
      return std::make_unique<dev::SgMemory>(std::move(wiring), memory->size,
                                             std::move(memory->window));
    });
  }
  return add_function(at, false, [&](bus::PciWiring wiring) {
    return make_function(device, std::move(wiring));
  });
}

Result<void> Board::add_function(bus::pci::Bdf at, bool intx, const MakeFunction& make) {
  if (at.bus() != 0) return fail(EINVAL, "PCI bus {}: expected bus 0", at.bus());
  if (functions_.contains(at.raw()))
    return fail(EEXIST, "PCI {}:{}:{} is already taken", at.bus(), at.slot(), at.function());
  auto function = make(wire(at));
  if (!function)
    return fail(ENOTSUP, "PCI {}:{}:{}: this device is not in this build", at.bus(), at.slot(),
                at.function());
  if (intx) {
    constexpr u8 not_connected = 255;
    const unsigned pin = interrupt_pin(at), link = platform::pirq_link_for(at.slot(), pin);
    if (lpc_) {
      lpc_->use_link(link);
      make_level(lpc_->link_irq(link));
    }
    function->set_interrupt_pin(static_cast<u8>(pin), lpc_ ? lpc_->link_irq(link) : not_connected);
  }
  if (started_) function->start();
  else if (auto ok = place_bars(*function); !ok)
    return fail(ok.error().code, "PCI {}:{}:{}: {}", at.bus(), at.slot(), at.function(), ok.error().message);
  if (auto ok = pci_.add(at, *function); !ok) return ok;
  functions_[at.raw()] = {std::move(function), intx};
  return {};
}

Result<void> Board::place_bars(bus::PciFunction& function) {
  if (auto ok = bar_space_.place(function); !ok || !enable_bars_) return ok;
  using Kind = bus::PciBar::Kind;
  u16 command = 0;
  for (unsigned bar = 0; bar < bus::PciFunction::bars; ++bar) {
    const Kind kind = function.bar_kind(bar);
    if (kind == Kind::io) command |= bus::pci::command_io;
    else if (kind != Kind::none) command |= bus::pci::command_memory;
  }
  if (command) function.set_command(command);
  return {};
}

std::vector<std::pair<bus::pci::Bdf, const bus::PciFunction*>> Board::functions() const {
  std::vector<std::pair<bus::pci::Bdf, const bus::PciFunction*>> out;
  for (const auto& [raw, placed] : functions_)
    out.emplace_back(bus::pci::Bdf(raw), placed.function.get());
  return out;
}

Result<void> Board::remove_function(bus::pci::Bdf at) {
  const auto it = functions_.find(at.raw());
  if (it == functions_.end() || it->second.function.get() == lpc_)
    return fail(ENOENT, "PCI {}:{}:{}: there is nothing that could be removed", at.bus(), at.slot(),
                at.function());
  (void)pci_.remove(at);
  bus::PciFunction& function = *it->second.function;
  // In this order: the guest gives it no more work, it has none left, it lets go of its interrupt.
  function.detach();
  if (started_) function.pause();
  function.reset();
  functions_.erase(it);
  return {};
}

std::vector<unsigned> Board::interrupt_slots() const {
  std::vector<unsigned> slots;
  for (const auto& [raw, placed] : functions_) {
    const unsigned slot = raw >> 3;
    if (placed.intx && (slots.empty() || slots.back() != slot)) slots.push_back(slot);
  }
  return slots;
}

Result<void> Board::add_uart(unsigned port, const std::string& path) {
  auto backend = open_backend(loop_, fmt::format("com{}", port + 1), path);
  if (!backend) return tl::make_unexpected(backend.error());
  const ComPort& com = coms[port];
  auto uart = std::make_unique<dev::UartLpc>(fmt::format("uart.com{}", port + 1),
                                             vm_.chips().connect_isa(com.irq), std::move(*backend));
  if (auto ok = ports_.add(com.base, dev::UartLpc::ports, *uart); !ok) return ok;
  if (lpc_) lpc_->reserve_irq(com.irq);
  lifecycle_.push_back(uart.get());
  uarts_.push_back(std::move(uart));
  return {};
}

Result<void> Board::add_debug_console(const std::string& path) {
  auto backend = open_backend(loop_, "debugcon", path);
  if (!backend) return tl::make_unexpected(backend.error());
  debug_console_ = std::make_unique<dev::DebugConsole>(std::move(*backend));
  lifecycle_.push_back(debug_console_.get());
  return ports_.add(dev::DebugConsole::port, dev::DebugConsole::ports, *debug_console_);
}

/// Its lines are the ISA interrupts where there are such, and inputs of the I/O APIC above.
Result<void> Board::add_testdev() {
  constexpr unsigned isa_lines = 16, cascade = 2;
  std::array<intc::IrqPin*, dev::TestDev::lines> pins{};
  for (unsigned line = 0; line < pins.size(); ++line)
    pins[line] = line < isa_lines && line != cascade ? &vm_.chips().connect_isa(line)
                                                     : &vm_.chips().connect_gsi(line);
  testdev_ = std::make_unique<dev::TestDev>(pins);
  lifecycle_.push_back(testdev_.get());
  using dev::TestDev;
  // E9h is the debug console's where there is one.
  const u16 byte_ports = debug_console_ ? 1 : TestDev::echo_ports;
  const struct {
    u16 base, size;
    bus::Pio* device;
  } map[] = {{TestDev::port_echo, TestDev::echo_ports, &testdev_->echo()},
             {TestDev::port_flush, TestDev::flush_ports, &testdev_->flush()},
             {TestDev::port_echo_bytes, byte_ports, &testdev_->echo_bytes()},
             {TestDev::port_lines, TestDev::lines, &testdev_->line_ports()},
             {dev::DebugExit::port, dev::DebugExit::ports, &debug_exit_}};
  for (const auto& [base, size, device] : map)
    if (auto ok = ports_.add(base, size, *device); !ok) return ok;
  return memory_.add(Gpa(TestDev::window_base), TestDev::window_size, testdev_->window());
}

Result<void> Board::add_fw_ctl(const MachineConfig& config) {
  platform::FwCtl values;
  std::vector<u8> cpus(4);
  store_le<u32>(cpus, 0, config.vcpus);
  values.set_value("hw.ncpu", std::move(cpus));
  using platform::FwCtlPio;
  fw_ctl_ = std::make_unique<FwCtlPio>(std::move(values));
  lifecycle_.push_back(fw_ctl_.get());
  return ports_.add(FwCtlPio::port, FwCtlPio::ports, *fw_ctl_);
}

Result<void> Board::add_fw_cfg(const MachineConfig& config) {
  auto items = make_firmware_items(config, lpc_slot_);
  if (!items) return tl::make_unexpected(items.error());
  using platform::FwCfgPio;
  fw_cfg_ = std::make_unique<FwCfgPio>(std::move(*items), vm_.space());
  lifecycle_.push_back(fw_cfg_.get());
  if (auto ok = ports_.add(FwCfgPio::port, FwCfgPio::ports, fw_cfg_->registers()); !ok) return ok;
  return ports_.add(FwCfgPio::port_dma, FwCfgPio::dma_ports, fw_cfg_->dma());
}

void Board::start() {
  for (bus::Lifecycle* device : lifecycle_) device->start();
  for (const auto& [at, placed] : functions_) placed.function->start();
  started_ = true;
}

void Board::pause() {
  started_ = false;
  for (const auto& [at, placed] : functions_) placed.function->pause();
  std::for_each(lifecycle_.rbegin(), lifecycle_.rend(),
                [](bus::Lifecycle* device) { device->pause(); });
}

}  // namespace bhyve::machine
