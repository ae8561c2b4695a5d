#pragma once
#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "bus/device.hpp"
#include "bus/pci_bar.hpp"
#include "bus/pci_msix.hpp"

namespace bhyve::bus {

/// What a function is given by the machine. The callbacks may be called from any thread.
struct PciWiring final {
  std::string name;                      ///< of the saved section, e.g. "pci.0.31.0"
  PciDecoder* decoder = nullptr;         ///< null: BARs decode nothing
  std::function<void(u64, u32)> msi;     ///< (address, data)
  std::function<void(bool)> intx;        ///< level of the function's INTx pin, on change only
};

struct PciIdentity final {
  u16 vendor = 0xffff, device = 0xffff;
  u32 class_code = 0;  ///< class, subclass, programming interface in bits 23..0
  u8 revision = 0;
  u16 subvendor = 0, subdevice = 0;
};

/// A PCI function with a type 0 header (PCI Local Bus 3.0 chapter 6): base class of every PCI device.
/// It decodes BARs as the guest programs them, and sends interrupts by MSI-X, MSI or INTx, whichever
/// the guest enabled. A derived class adds BARs and capabilities in its constructor.
/// Locks: update_mutex_ serialises configuration writes and is held while windows move, hence never
/// taken by a register handler; config_mutex_ (inner) guards the registers; line_mutex_ keeps INTx
/// changes in order. The callbacks of PciWiring run under no lock but line_mutex_ (intx).
class PciFunction : public Lifecycle, public Persist {
 public:
  static constexpr unsigned bars = 6;
  static constexpr unsigned rom_bar = bars;  ///< index of the expansion ROM

  PciFunction(PciWiring wiring, const PciIdentity& identity,
              unsigned config_size = PciConfig::conventional);
  ~PciFunction() override;
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;

  /// A guest's access; any offset and size. Any thread.
  virtual u32 config_read(unsigned offset, unsigned size);
  virtual void config_write(unsigned offset, unsigned size, u32 value);

  /// The machine's part, before the guest runs or on hot-plug: also the values after a reset.
  /// The address must be aligned to the BAR's size (EINVAL). `bar` may be rom_bar.
  [[nodiscard]] Result<void> set_bar_address(unsigned bar, u64 address);
  void set_command(u16 bits);  ///< e.g. whether decoding starts enabled (pci.enable_bars)
  void set_interrupt_pin(u8 pin, u8 line);  ///< pin 1..4 = INTA..INTD
  [[nodiscard]] PciBar::Kind bar_kind(unsigned bar) const { return bars_[bar].kind; }
  [[nodiscard]] u64 bar_size(unsigned bar) const { return bars_[bar].size; }
  [[nodiscard]] u64 bar_address(unsigned bar) const;  ///< as programmed now, decoded or not

  /// Takes all windows off the bus, for good; to be called before the derived object dies.
  void detach();

  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 protected:
  /// BARs: sizes are rounded up to a power of two. Memory: a mem64 BAR also takes bar + 1; without a
  /// role, on_bar() maps it.
  void add_io_bar(unsigned bar, u64 size, Pio& role);
  void add_memory_bar(unsigned bar, PciBar::Kind kind, u64 size, Mmio* role,
                      bool prefetchable = false);
  void add_rom(u64 size, Mmio& role);
  /// Appends a capability of `body` bytes after id and next pointer; returns its offset.
  unsigned add_capability(u8 id, std::span<const u8> body);
  void add_msi(unsigned vectors);
  /// MSI-X with table and pending bits in a 32-bit memory BAR of their own.
  void add_msix(unsigned vectors, unsigned bar);
  /// PCI Express capability, version 2; type is the device/port type, e.g. 9 = integrated endpoint.
  void add_express(u8 type);
  /// Bits of a device's own registers that a guest may change.
  void allow(unsigned offset, unsigned size, u32 mask) { config_.allow(offset, size, mask); }
  void set_register8(unsigned offset, u8 value);
  [[nodiscard]] u8 register8(unsigned offset) const;

  /// Of the saved section; a derived class makes the names of its own from it.
  [[nodiscard]] const std::string& section_name() const { return wiring_.name; }
  /// Raises message `vector`; false when the guest uses neither MSI-X nor MSI (use set_intx then).
  /// Any thread, also with the device's own lock held.
  bool notify(unsigned vector);
  /// The function's wish for its INTx level; shown in the status register, gated by the command.
  void set_intx(bool asserted);
  /// Whether the function may read and write memory by itself.
  [[nodiscard]] bool bus_master() const;

  /// After a guest's write. update_mutex_ is held; writes are seen in order.
  virtual void on_config_written(unsigned offset, unsigned size);
  /// A window appeared or went. The decoder's lock is held.
  virtual void on_bar(unsigned bar, bool mapped, u64 address);

 private:
  class MsixWindow;

  [[nodiscard]] std::optional<u64> decoded(unsigned bar) const;
  [[nodiscard]] u64 programmed(unsigned bar) const;
  void define_bar(unsigned bar, PciBar::Kind kind, u64 size);
  [[nodiscard]] unsigned new_capability(u8 id, unsigned length);
  [[nodiscard]] bool master_locked() const;
  void apply();
  void update_line();
  void send(const MsiMessages& messages);

  PciWiring wiring_;
  std::mutex update_mutex_;
  bool detached_ = false;               ///< guarded by update_mutex_
  mutable std::mutex config_mutex_;
  std::mutex line_mutex_;
  PciConfig config_;                    ///< guarded by config_mutex_, as are the next four
  std::optional<PciMsi> msi_;
  std::optional<PciMsix> msix_;
  bool intx_asserted_ = false;
  unsigned next_capability_ = pci::first_capability;  ///< construction only
  unsigned last_capability_ = pci::reg_capabilities;  ///< where the next pointer goes
  bool line_level_ = false;             ///< guarded by line_mutex_
  std::unique_ptr<MsixWindow> msix_window_;
  std::array<PciBar, bars + 1> bars_;
};

}  // namespace bhyve::bus
