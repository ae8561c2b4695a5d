#pragma once
#include <functional>

#include "dev/ps2/ps2_keyboard.hpp"
#include "dev/ps2/ps2_mouse.hpp"

namespace bhyve::dev {

/// Intel 8042 as the keyboard and mouse controller of a PS/2 (IBM PS/2 Model 50/60 technical
/// reference, keyboard and auxiliary device controller). Pure.
class I8042 final {
 public:
  enum Status : u8 { status_full = 0x01, status_system = 0x04, status_command = 0x08,
                     status_unlocked = 0x10, status_mouse = 0x20, status_timeout = 0x40 };

  /// `on_reset`: the guest pulsed the processor's reset line.
  explicit I8042(std::function<void()> on_reset, bool mouse = true);

  /// Port 60h. A byte that was read leaves the output buffer empty until refill(), so that the
  /// interrupt line is seen to fall between two bytes.
  [[nodiscard]] u8 read_data();
  void write_data(u8 value);
  [[nodiscard]] u8 read_status() const;  ///< port 64h
  void write_command(u8 value);
  /// Brings the next waiting byte into the output buffer if that is empty.
  void refill();

  [[nodiscard]] bool keyboard_irq() const;  ///< level of IRQ 1
  [[nodiscard]] bool mouse_irq() const;     ///< level of IRQ 12
  [[nodiscard]] Ps2Keyboard& keyboard() { return keyboard_; }

  void reset();
  void save(StateWriter& out) const;
  void load(StateSection& in);  ///< the caller resets the chip when the section was bad

 private:
  enum class Source : u8 { none, controller, keyboard, mouse };
  /// A byte for port 60h.
  struct Output {
    u8 byte = 0;
    u8 flags = 0;                ///< status_timeout
    Source from = Source::none;  ///< whose it is; none: there is no byte
  };

  static bool load(StateSection& in, Output& output);
  void reply(u8 byte, Source source = Source::controller, u8 flags = 0);
  void write_output_port(u8 value);
  void write_mouse(u8 value);
  u8 translate(u8 code);

  std::function<void()> on_reset_;
  bool has_mouse_;
  Ps2Keyboard keyboard_;
  Ps2Mouse mouse_;
  u8 ram_[32] = {};            ///< byte 0 is the command byte
  Output output_;              ///< output buffer
  Output held_;                ///< an answer of the controller's own that waits for it
  u8 pending_ = 0;             ///< command that waits for its byte at 60h, or 0
  bool last_was_command_ = false;
  bool break_ = false;         ///< translation: F0h came, the next code is a key going up
  bool self_tested_ = false;
};

}  // namespace bhyve::dev
