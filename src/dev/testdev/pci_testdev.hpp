#pragma once
#include <array>
#include <functional>
#include <mutex>

#include "bus/pci_function.hpp"

namespace bhyve::dev {

/// `-s N,pci-testdev`: a PCI Express function for tests, with every kind of BAR, a ROM, capabilities and
/// interrupts that the guest raises by hand: INTx, MSI and MSI-X. Its registers are in docs/man/bhyve.8.
/// BARs: 0 registers in port space, 1 registers in memory, 2 (64-bit, prefetchable) 4 KiB of memory again
/// and again, 4 the MSI-X table.
/// Locks: mutex_ guards what is below it and is held while an interrupt is raised.
class PciTestDev final : public bus::PciFunction {
 public:
  static constexpr u16 vendor = 0x1275, device = 0x5443;
  static constexpr unsigned bar_ports = 0, bar_registers = 1, bar_memory = 2, bar_msix = 4;
  static constexpr unsigned memory_size = 4096, rom_size = 4096;
  static constexpr unsigned max_msi = 32, max_msix = bus::PciMsix::max_vectors;
  static constexpr u32 identity_value = 0x5449'4350;  ///< "PCIT"
  /// Offsets of the registers.
  enum Reg : u8 { reg_identity, reg_scratch = 4, reg_line = 8, reg_notify = 12, reg_later = 16,
                  reg_count = 20, registers_end = 32 };
  /// What reg_notify reads: how the last interrupt went out.
  enum Sent : u8 { sent_nothing, sent_message, sent_line };

  struct Options {
    unsigned msi = 4, msix = 8;  ///< vectors; 0: not this capability
    u64 window = 64 * KiB;       ///< size of BAR 2
    bool rom = true;
  };
  /// The device's own thread. `post` runs a function there soon; `drain` returns when all that was posted
  /// has run. Both from any other thread.
  struct Worker {
    std::function<void(std::function<void()>)> post;
    std::function<void()> drain;
  };
  PciTestDev(bus::PciWiring wiring, const Options& options, Worker worker);
  ~PciTestDev() override;

  void pause() override { worker_.drain(); }
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  class Ports final : public bus::Pio {
   public:
    explicit Ports(PciTestDev& dev) : dev_(dev) {}
    u32 pio_read(u16 offset, unsigned size) override { return dev_.read_register(offset, size); }
    void pio_write(u16 offset, unsigned size, u32 value) override {
      dev_.write_register(offset, size, value);
    }

   private:
    PciTestDev& dev_;
  };
  class Registers final : public bus::Mmio {
   public:
    explicit Registers(PciTestDev& dev) : dev_(dev) {}
    u64 mmio_read(u64 offset, unsigned size, VcpuId) override;
    void mmio_write(u64 offset, unsigned size, u64 value, VcpuId) override;

   private:
    PciTestDev& dev_;
  };
  class Memory final : public bus::Mmio {
   public:
    explicit Memory(PciTestDev& dev) : dev_(dev) {}
    u64 mmio_read(u64 offset, unsigned size, VcpuId) override;
    void mmio_write(u64 offset, unsigned size, u64 value, VcpuId) override;

   private:
    PciTestDev& dev_;
  };
  class Rom final : public bus::Mmio {
   public:
    Rom();
    u64 mmio_read(u64 offset, unsigned size, VcpuId) override;
    void mmio_write(u64, unsigned, u64, VcpuId) override {}

   private:
    std::array<u8, rom_size> bytes_{};
  };

  [[nodiscard]] u32 read_register(u64 offset, unsigned size) const;
  void write_register(u64 offset, unsigned size, u32 value);
  void add_extended_capability();
  void raise_locked(unsigned vector);
  void clear_locked();

  const std::string section_;
  const Worker worker_;
  Ports ports_{*this};
  Registers registers_{*this};
  Memory window_{*this};
  Rom rom_;
  mutable std::mutex mutex_;
  u32 scratch_ = 0, count_ = 0;
  bool line_ = false;
  u8 sent_ = sent_nothing;
  std::array<u8, memory_size> memory_{};
};

}  // namespace bhyve::dev
