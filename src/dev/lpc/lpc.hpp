#pragma once
#include <functional>
#include <mutex>

#include "bus/pci_function.hpp"
#include "dev/lpc/pirq_router.hpp"

namespace bhyve::dev {

/// `-s 31,lpc`: the PCI-to-ISA bridge. Its registers 60h-63h (links A-D) and 68h-6Bh (E-H) route PCI
/// interrupts to ISA interrupts.
/// Locks: mutex_ guards the router and the order of its line changes; innermost but for the pins.
class Lpc final : public bus::PciFunction {
 public:
  /// `line`: level of an ISA interrupt as far as PCI is concerned, on change. `on_route`: the guest
  /// routed a link elsewhere (for whoever shows it); under no lock of this class but update_mutex_.
  Lpc(bus::PciWiring wiring, PirqRouter::IsaLine line,
      std::function<void(unsigned link, u8 value)> on_route = {});

  /// Level changes of a function on a link, one call for each change. Any thread.
  void set_link(unsigned link, bool asserted);

  /// The machine's part, before the guest runs or on hot-plug.
  void reserve_irq(unsigned irq);
  void use_irq(unsigned irq);
  [[nodiscard]] unsigned allocate_link();
  void use_link(unsigned link);
  /// What a function's interrupt line register should say: the link's interrupt or 255.
  [[nodiscard]] u8 link_irq(unsigned link) const;

  /// Routing goes back to what allocation chose; levels stay, they belong to the functions.
  void reset() override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  void on_config_written(unsigned offset, unsigned size) override;
  void routes_to_registers();
  void registers_to_routes();

  std::function<void(unsigned, u8)> on_route_;
  mutable std::mutex mutex_;
  PirqRouter router_;  ///< guarded by mutex_
};

}  // namespace bhyve::dev
