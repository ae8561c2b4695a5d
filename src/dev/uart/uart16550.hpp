#pragma once
#include <array>
#include <functional>

#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::dev {

/// A queue of at most 16 characters with their receive errors.
class UartFifo final {
 public:
  static constexpr unsigned capacity = 16;
  struct Item {
    u8 byte = 0;
    u8 errors = 0;  ///< line status bits PE, FE, BI
  };

  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const Item& front() const { return items_[head_]; }
  [[nodiscard]] bool any_errors() const;
  void push(Item item);  ///< the caller checked for room
  Item pop();            ///< the caller checked for an item
  void clear() { size_ = 0; }
  void save(StateWriter& out) const;
  void load(StateSection& in);

 private:
  std::array<Item, capacity> items_{};
  unsigned head_ = 0, size_ = 0;
};

/// National Semiconductor PC16550D UART (the 16550A of PCs). Pure: the line is infinitely fast, so
/// that a character is gone as soon as `transmit` takes it and the receive time-out of four character
/// times has passed as soon as line_idle() says that no more is coming. References are to sections
/// of the PC16550D data sheet.
class Uart16550 final {
 public:
  /// Takes a character, or returns false when there is no room: the UART keeps it then, and its
  /// transmitter stays not empty, until transmit_ready().
  using Transmit = std::function<bool(u8)>;
  enum Reg : u8 { rbr = 0, thr = 0, dll = 0, ier = 1, dlm = 1, iir = 2, fcr = 2, lcr = 3, mcr = 4,
                  lsr = 5, msr = 6, scr = 7 };
  enum LineStatus : u8 { lsr_dr = 0x01, lsr_oe = 0x02, lsr_pe = 0x04, lsr_fe = 0x08, lsr_bi = 0x10,
                         lsr_thre = 0x20, lsr_temt = 0x40, lsr_fifo_error = 0x80 };
  enum ModemStatus : u8 { msr_dcts = 0x01, msr_ddsr = 0x02, msr_teri = 0x04, msr_ddcd = 0x08,
                          msr_cts = 0x10, msr_dsr = 0x20, msr_ri = 0x40, msr_dcd = 0x80 };

  explicit Uart16550(Transmit transmit);

  /// Registers 0..7; others read FFh. Reading changes state, as on the chip.
  u8 read(unsigned reg);
  void write(unsigned reg, u8 value);
  /// Level of the INTR output.
  [[nodiscard]] bool interrupt() const;

  /// How many characters receive() takes without an overrun; 0 in loopback.
  [[nodiscard]] unsigned receive_room() const;
  [[nodiscard]] bool can_receive() const { return receive_room() != 0; }
  /// A character from the line, with line status bits PE, FE, BI. Overruns as the chip does; in
  /// loopback the line is cut off.
  void receive(u8 byte, u8 errors = 0);
  void line_idle() { idle_ = true; }
  /// `transmit` may take characters again.
  void transmit_ready();
  [[nodiscard]] bool transmit_empty() const { return tx_.empty(); }
  /// The modem's lines: any of CTS, DSR, RI, DCD as in the modem status register.
  void set_modem_lines(u8 lines);

  void reset();
  void save(StateWriter& out) const;
  void load(StateSection& in);  ///< the caller resets the chip when the section was bad

 private:
  enum Cause : u8 { cause_none = 0x01, cause_line = 0x06, cause_data = 0x04, cause_timeout = 0x0c,
                    cause_thre = 0x02, cause_modem = 0x00 };

  [[nodiscard]] bool fifos() const;
  [[nodiscard]] bool loopback() const;
  [[nodiscard]] unsigned trigger() const;
  [[nodiscard]] Cause cause() const;
  [[nodiscard]] u8 line_status() const;
  u8 read_data();
  void write_data(u8 value);
  void write_fifo_control(u8 value);
  void write_line_control(u8 value);
  void accept(u8 byte, u8 errors);
  void pump();
  void update_modem();

  Transmit transmit_;
  UartFifo rx_, tx_;
  u8 ier_ = 0, fcr_ = 0, lcr_ = 0, mcr_ = 0, scr_ = 0;
  u16 divisor_ = 0;
  u8 errors_ = 0;         ///< OE, PE, FE, BI not yet read from the line status
  u8 modem_ = 0;          ///< modem status with deltas
  u8 modem_lines_ = 0;    ///< what the line shows
  bool thre_pending_ = false;
  bool idle_ = false;     ///< no character came since line_idle()
};

}  // namespace bhyve::dev
