#pragma once
#include <mutex>

#include "bus/byte_pio.hpp"
#include "mem/vmspace.hpp"
#include "platform/fw_cfg.hpp"

namespace bhyve::platform {

/// `-l fwcfg,qemu`: the ports of FwCfg. 510h: selector (16 bits); 511h: data (8 bits); 514h-51Bh: the
/// guest-physical address of a DMA request, big-endian, whose low half starts it and which reads
/// "QEMU CFG". Lock: one, guards the chip; guest memory is accessed with it held, nothing else.
class FwCfgPio final : public bus::Lifecycle, public bus::Persist {
 public:
  static constexpr u16 port = 0x510, ports = 2, port_dma = 0x514, dma_ports = 8;

  FwCfgPio(FwCfg items, mem::Vmspace& space)
      : chip_(std::move(items)), memory_(space), registers_(*this), dma_(*this) {}

  [[nodiscard]] bus::Pio& registers() { return registers_; }
  [[nodiscard]] bus::Pio& dma() { return dma_; }

  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  class Memory final : public FwCfgMemory {
   public:
    explicit Memory(mem::Vmspace& space) : space_(space) {}
    bool read(Gpa gpa, std::span<u8> into) override { return space_.read(gpa, into); }
    bool write(Gpa gpa, std::span<const u8> from) override { return space_.write(gpa, from); }

   private:
    mem::Vmspace& space_;
  };
  class Registers final : public bus::Pio {
   public:
    explicit Registers(FwCfgPio& owner) : owner_(owner) {}
    u32 pio_read(u16 offset, unsigned size) override;
    void pio_write(u16 offset, unsigned size, u32 value) override;

   private:
    FwCfgPio& owner_;
  };
  class Dma final : public bus::Pio {
   public:
    explicit Dma(FwCfgPio& owner) : owner_(owner) {}
    u32 pio_read(u16 offset, unsigned size) override;
    void pio_write(u16 offset, unsigned size, u32 value) override;

   private:
    FwCfgPio& owner_;
  };

  mutable std::mutex mutex_;
  FwCfg chip_;           ///< guarded by mutex_
  u32 address_high_ = 0; ///< guarded by mutex_
  Memory memory_;
  Registers registers_;
  Dma dma_;
};

}  // namespace bhyve::platform
