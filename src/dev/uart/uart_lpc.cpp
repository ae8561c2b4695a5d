#include "dev/uart/uart_lpc.hpp"

#include <utility>

namespace bhyve::dev {

UartLpc::UartLpc(std::string name, intc::IrqPin& pin, std::unique_ptr<host::CharBackend> backend)
    : name_(std::move(name)), pin_(pin), backend_(std::move(backend)), chip_([this](u8 byte) {
        return backend_ == nullptr || backend_->write(std::span(&byte, 1)) == 1;
      }) {}

UartLpc::~UartLpc() { pause(); }

void UartLpc::start() {
  if (backend_ == nullptr || started_) return;
  started_ = true;
  {
    const std::lock_guard lock(mutex_);
    starved_ = false;
    chip_.transmit_ready();
    update_locked();
  }
  backend_->attach(this);
}

void UartLpc::pause() {
  if (backend_ == nullptr || !started_) return;
  started_ = false;
  backend_->attach(nullptr);
  backend_->flush();
  {
    // The back end is empty now: what the chip still held fits.
    const std::lock_guard lock(mutex_);
    chip_.transmit_ready();
    update_locked();
  }
  backend_->flush();
}

void UartLpc::reset() {
  const std::lock_guard lock(mutex_);
  chip_.reset();
  update_locked();
}

u8 UartLpc::byte_read(u16 offset) {
  u8 value = 0;
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    value = chip_.read(offset);
    update_locked();
    resume = has_room_again_locked();
  }
  if (resume) backend_->resume_input();
  return value;
}

void UartLpc::byte_write(u16 offset, u8 value) {
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    chip_.write(offset, value);
    update_locked();
    resume = has_room_again_locked();
  }
  if (resume) backend_->resume_input();
}

void UartLpc::update_locked() { pin_.set_level(chip_.interrupt()); }

bool UartLpc::has_room_again_locked() {
  return starved_ && chip_.can_receive() && std::exchange(starved_, false);
}

usize UartLpc::can_receive() {
  const std::lock_guard lock(mutex_);
  const unsigned room = chip_.receive_room();
  starved_ = room == 0;
  return room;
}

void UartLpc::receive(std::span<const u8> bytes) {
  const std::lock_guard lock(mutex_);
  for (const u8 byte : bytes) chip_.receive(byte);
  chip_.line_idle();
  update_locked();
}

void UartLpc::writable() {
  const std::lock_guard lock(mutex_);
  chip_.transmit_ready();
  update_locked();
}

void UartLpc::save(StateWriter& out) const {
  const std::lock_guard lock(mutex_);
  out.section(name_, 1, [this](StateWriter& w) { chip_.save(w); });
}

Result<void> UartLpc::load(const StateReader& in) {
  const std::lock_guard lock(mutex_);
  auto loaded = in.section(name_, 1, [this](StateSection& s) { chip_.load(s); });
  if (!loaded) chip_.reset();
  update_locked();
  return loaded;
}

}  // namespace bhyve::dev
