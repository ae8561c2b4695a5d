#pragma once
#include <array>
#include <initializer_list>
#include <span>

#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::dev {

/// What is common to keyboard and mouse at a PS/2 port: the bytes they want to send. Pure.
class Ps2Device {
 public:
  static constexpr unsigned capacity = 16;
  /// Replies of PS/2 devices.
  enum Reply : u8 { ack = 0xfa, resend = 0xfe, self_test_passed = 0xaa, echo = 0xee };

  virtual ~Ps2Device() = default;
  /// A byte from the host: a command or its argument.
  virtual void write(u8 byte) = 0;
  virtual void reset() = 0;
  virtual void save(StateWriter& out) const;
  virtual void load(StateSection& in);

  [[nodiscard]] bool has_byte() const { return size_ != 0; }
  u8 take();  ///< the next byte; 0 when there is none

 protected:
  /// All of the bytes or, when they do not fit, none; false then.
  bool send(std::span<const u8> bytes);
  bool send(std::initializer_list<u8> bytes) { return send(std::span(bytes.begin(), bytes.size())); }
  void clear() { size_ = 0; }
  [[nodiscard]] u8 last() const { return last_; }  ///< for the resend command

 private:
  std::array<u8, capacity> bytes_{};
  unsigned head_ = 0, size_ = 0;
  u8 last_ = ack;
};

}  // namespace bhyve::dev
