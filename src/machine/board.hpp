#pragma once
#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "bus/mmio_map.hpp"
#include "bus/pci_bar_space.hpp"
#include "bus/pci_config_ports.hpp"
#include "bus/pci_ecam.hpp"
#include "bus/pci_host.hpp"
#include "bus/pio_map.hpp"
#include "dev/lpc/lpc.hpp"
#include "dev/misc/acpi_pm.hpp"
#include "dev/misc/port92.hpp"
#include "dev/misc/post_port.hpp"
#include "dev/misc/reset_control.hpp"
#include "dev/ps2/i8042_lpc.hpp"
#include "dev/testdev/debug_console.hpp"
#include "dev/testdev/debug_exit.hpp"
#include "dev/testdev/testdev.hpp"
#include "dev/uart/uart_lpc.hpp"
#include "host/event_loop.hpp"
#include "machine/machine_config.hpp"
#include "platform/fw_cfg_pio.hpp"
#include "platform/fw_ctl_pio.hpp"
#include "vmm/vm.hpp"

namespace bhyve::machine {

/// Everything that is soldered around the CPUs and their chips: the port and memory maps of the outer
/// level, PCI, the LPC bridge and what is behind it, ACPI registers and reset control. Which device
/// answers where, and which pin goes where, is written here and nowhere else.
/// Thread safety: built and torn down by one thread; the devices lock themselves.
class Board final {
 public:
  /// Fails with a sentence that names the device. `vm` and `loop` outlive the board.
  [[nodiscard]] static Result<std::unique_ptr<Board>> create(vmm::Vm& vm, host::EventLoop& loop,
                                                             const MachineConfig& config);
  ~Board();
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  [[nodiscard]] bus::PioMap& ports() { return ports_; }
  [[nodiscard]] bus::MmioMap& memory() { return memory_; }
  [[nodiscard]] bus::PciHost& pci() { return pci_; }
  [[nodiscard]] dev::AcpiPm& acpi_pm() { return acpi_pm_; }
  /// Slot of the LPC bridge on bus 0; where firmware tables expect one when there is none.
  [[nodiscard]] u8 lpc_slot() const { return lpc_slot_; }

  /// Slots of bus 0 with a function that has an interrupt pin, for firmware tables. Ascending.
  [[nodiscard]] std::vector<unsigned> interrupt_slots() const;

  /// Makes the function that goes to a place; it is given the wiring of that place.
  using MakeFunction = std::function<std::unique_ptr<bus::PciFunction>(bus::PciWiring)>;
  /// Adds a function, also while the guest runs: it appears in configuration space, and is started if
  /// the board is. Before the board's start its BARs are given their places; later that is the guest's. `intx`: it has an interrupt pin. EEXIST when the place is taken, EINVAL for another
  /// bus than 0. Like remove_function(), not with itself or start() and pause() at the same time.
  [[nodiscard]] Result<void> add_function(bus::pci::Bdf at, bool intx, const MakeFunction& make);
  /// Takes a function away, as by pulling the card: its windows and its interrupt go. ENOENT.
  [[nodiscard]] Result<void> remove_function(bus::pci::Bdf at);

  /// All functions, in the order of their places.
  [[nodiscard]] std::vector<std::pair<bus::pci::Bdf, const bus::PciFunction*>> functions() const;

  /// Exit status that the guest chose through the debug exit port. Once no vCPU runs any more.
  [[nodiscard]] std::optional<u8> debug_exit() const {
    const int status = debug_exit_status_.load();
    return status < 0 ? std::nullopt : std::optional(static_cast<u8>(status));
  }

  void start();
  /// No callback of a device runs and all console output is out when this returns.
  void pause();

 private:
  Board(vmm::Vm& vm, host::EventLoop& loop, const MachineConfig& config);
  Result<void> build(const MachineConfig& config);
  [[nodiscard]] Result<void> place_bars(bus::PciFunction& function);
  Result<void> map_ports();
  /// All functions of -s that are the bridge, or that are not.
  Result<void> add_functions(const MachineConfig& config, bool bridge);
  Result<void> add_pci(const PciDevice& device);
  Result<void> add_fw_cfg(const MachineConfig& config);
  Result<void> add_fw_ctl(const MachineConfig& config);
  Result<void> add_uart(unsigned port, const std::string& path);
  Result<void> add_debug_console(const std::string& path);
  Result<void> add_testdev();
  void make_level(unsigned irq);
  [[nodiscard]] bus::PciWiring wire(bus::pci::Bdf at);
  [[nodiscard]] std::unique_ptr<bus::PciFunction> make_function(const PciDevice& device,
                                                                bus::PciWiring wiring);
  void suspend(abi::SuspendHow how) { (void)vm_.suspend(how); }

  vmm::Vm& vm_;
  host::EventLoop& loop_;
  bus::PioMap ports_;
  bus::MmioMap memory_;
  bus::PciDecoder decoder_{ports_, memory_};
  bus::PciBarSpace bar_space_;
  bool enable_bars_;  ///< first places decode from the start (pci.enable_bars)
  bus::PciHost pci_;
  dev::ResetControl reset_control_;
  bus::PciConfigPorts pci_ports_{pci_, &reset_control_};
  bus::PciEcam ecam_{pci_};
  dev::AcpiPm acpi_pm_;
  dev::I8042Lpc i8042_;
  dev::Port92 port92_;
  dev::PostPort post_;

  dev::Lpc* lpc_ = nullptr;  ///< one of functions_; set before the guest runs
  u8 lpc_slot_ = 31;
  std::array<intc::IrqPin*, 16> pirq_pins_{};  ///< PIC inputs that links may be routed to
  struct Placed {
    std::unique_ptr<bus::PciFunction> function;
    bool intx = false;
  };
  std::map<u16, Placed> functions_;             ///< by Bdf::raw()
  std::map<u16, intc::IrqPin*> interrupt_pins_;  ///< inputs of the I/O APIC, kept for the next card
  bool started_ = false;
  std::vector<std::unique_ptr<dev::UartLpc>> uarts_;
  std::unique_ptr<dev::DebugConsole> debug_console_;
  std::unique_ptr<dev::TestDev> testdev_;
  std::unique_ptr<platform::FwCfgPio> fw_cfg_;
  std::unique_ptr<platform::FwCtlPio> fw_ctl_;
  std::atomic<int> debug_exit_status_{-1};  ///< -1: not used
  dev::DebugExit debug_exit_;
  std::vector<bus::Lifecycle*> lifecycle_;
};

}  // namespace bhyve::machine
