#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "bus/byte_pio.hpp"
#include "dev/uart/uart16550.hpp"
#include "host/char_backend.hpp"
#include "intc/pins.hpp"

namespace bhyve::dev {

/// `-l com1,stdio`: a 16550A behind the LPC bridge, 8 ports and one ISA interrupt.
/// Locks: mutex_ guards the chip and the order of pin changes; the back end is asked to resume input
/// and is flushed without it.
class UartLpc final : public bus::BytePio,
                      public bus::Lifecycle,
                      public bus::Persist,
                      private host::CharClient {
 public:
  static constexpr u16 ports = 8;

  /// `name` of the saved section, e.g. "uart.com1". Without a back end output vanishes.
  UartLpc(std::string name, intc::IrqPin& pin, std::unique_ptr<host::CharBackend> backend);
  ~UartLpc() override;  ///< as pause()

  void start() override;
  /// Stops input and returns when all output has left for the back end's other side.
  void pause() override;
  void reset() override;
  void save(StateWriter& out) const override;
  [[nodiscard]] Result<void> load(const StateReader& in) override;

 private:
  u8 byte_read(u16 offset) override;
  void byte_write(u16 offset, u8 value) override;
  usize can_receive() override;
  void receive(std::span<const u8> bytes) override;
  void writable() override;
  void update_locked();
  [[nodiscard]] bool has_room_again_locked();

  const std::string name_;
  intc::IrqPin& pin_;
  const std::unique_ptr<host::CharBackend> backend_;
  mutable std::mutex mutex_;
  Uart16550 chip_;        ///< guarded by mutex_
  bool starved_ = false;  ///< the back end was told to stop reading; guarded by mutex_
  bool started_ = false;  ///< machine's thread only
};

}  // namespace bhyve::dev
