#pragma once
#include <array>
#include <mutex>
#include <span>
#include <vector>

#include "bus/access.hpp"
#include "bus/byte_pio.hpp"
#include "intc/pins.hpp"

namespace bhyve::dev {

/// `-l pc-testdev`: what programs in the manner of kvm-unit-tests expect of QEMU's device of that name
/// (its source, hw/misc/pc-testdev.c): a latch at port E0h, read and written in any width; a port E4h
/// that makes the host forget a page's translation; the latch again at E8h, byte by byte; one port for
/// each interrupt line from 2000h on; 64 KiB of memory behind MMIO at FF000000h.
/// Each is a role of its own, to be placed by the machine.
/// Locks: mutex_ guards everything, and the order of line changes. Thread safety: any thread.
class TestDev final : public bus::Lifecycle, public bus::Persist {
 public:
  static constexpr u16 port_echo = 0xe0, port_flush = 0xe4, port_echo_bytes = 0xe8,
                       port_lines = 0x2000;
  static constexpr u16 echo_ports = 4, flush_ports = 4, lines = 24;
  static constexpr u64 window_base = 0xff00'0000, window_size = 0x1'0000;

  /// `pins` by line; null ones and those beyond the span lead nowhere.
  explicit TestDev(std::span<intc::IrqPin* const> pins);

  [[nodiscard]] bus::Pio& echo() { return echo_; }
  [[nodiscard]] bus::Pio& flush() { return flush_; }
  [[nodiscard]] bus::Pio& echo_bytes() { return echo_bytes_; }
  [[nodiscard]] bus::Pio& line_ports() { return line_ports_; }
  [[nodiscard]] bus::Mmio& window() { return window_; }

  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  class Echo final : public bus::Pio {
   public:
    explicit Echo(TestDev& dev) : dev_(dev) {}
    u32 pio_read(u16 offset, unsigned size) override { return dev_.read_latch(offset, size); }
    void pio_write(u16 offset, unsigned size, u32 value) override {
      dev_.write_latch(offset, size, value);
    }

   private:
    TestDev& dev_;
  };
  class EchoBytes final : public bus::BytePio {
   public:
    explicit EchoBytes(TestDev& dev) : dev_(dev) {}

   private:
    u8 byte_read(u16 offset) override { return static_cast<u8>(dev_.read_latch(offset, 1)); }
    void byte_write(u16 offset, u8 value) override { dev_.write_latch(offset, 1, value); }
    TestDev& dev_;
  };
  /// Nothing above the CPU engine keeps translations of guest pages, and the engine's own follow the
  /// page tables: there is nothing to forget.
  class Flush final : public bus::Pio {
   public:
    u32 pio_read(u16, unsigned size) override {
      return static_cast<u32>(bus::all_ones(size));
    }
    void pio_write(u16, unsigned, u32) override {}
  };
  class Lines final : public bus::BytePio {
   public:
    explicit Lines(TestDev& dev) : dev_(dev) {}

   private:
    u8 byte_read(u16) override { return 0xff; }
    void byte_write(u16 offset, u8 value) override { dev_.set_line(offset, value != 0); }
    TestDev& dev_;
  };
  class Window final : public bus::Mmio {
   public:
    explicit Window(TestDev& dev) : dev_(dev) {}
    u64 mmio_read(u64 offset, unsigned size, VcpuId vcpu) override;
    void mmio_write(u64 offset, unsigned size, u64 value, VcpuId vcpu) override;

   private:
    TestDev& dev_;
  };

  [[nodiscard]] u32 read_latch(u16 offset, unsigned size) const;
  void write_latch(u16 offset, unsigned size, u32 value);
  void set_line(unsigned line, bool asserted);
  void set_line_locked(unsigned line, bool asserted);
  void clear_locked();

  mutable std::mutex mutex_;
  std::array<intc::IrqPin*, lines> pins_{};
  u32 latch_ = 0;
  u32 asserted_ = 0;  ///< lines, as a bit mask
  std::vector<u8> memory_;
  Echo echo_{*this};
  EchoBytes echo_bytes_{*this};
  Flush flush_;
  Lines line_ports_{*this};
  Window window_{*this};
};

}  // namespace bhyve::dev
