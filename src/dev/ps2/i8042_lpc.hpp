#pragma once
#include <mutex>

#include "bus/byte_pio.hpp"
#include "dev/ps2/i8042.hpp"
#include "intc/pins.hpp"

namespace bhyve::dev {

/// The keyboard controller at its two ports, 60h (data) and 64h (status, command), each a role of its
/// own. Locks: one, guards the chip and the order of pin changes; on_reset runs with it held and must
/// return at once. Thread safety: any thread.
class I8042Lpc final : public bus::Lifecycle, public bus::Persist {
 public:
  I8042Lpc(intc::IrqPin& keyboard_pin, intc::IrqPin& mouse_pin, std::function<void()> on_reset,
           bool mouse = true);

  [[nodiscard]] bus::Pio& data_port() { return data_; }        ///< 60h, 1 port
  [[nodiscard]] bus::Pio& command_port() { return command_; }  ///< 64h, 1 port
  /// A key went down or up: its scan codes of set 2.
  void key(std::span<const u8> scan_codes);

  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  class Port final : public bus::BytePio {
   public:
    Port(I8042Lpc& owner, bool data) : owner_(owner), data_(data) {}

   private:
    u8 byte_read(u16) override { return owner_.read(data_); }
    void byte_write(u16, u8 value) override { owner_.write(data_, value); }

    I8042Lpc& owner_;
    bool data_;
  };

  u8 read(bool data);
  void write(bool data, u8 value);
  void update_locked();

  intc::IrqPin& keyboard_pin_;
  intc::IrqPin& mouse_pin_;
  mutable std::mutex mutex_;
  I8042 chip_;  ///< guarded by mutex_
  Port data_, command_;
};

}  // namespace bhyve::dev
