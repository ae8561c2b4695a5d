#include "dev/ps2/ps2_keyboard.hpp"

#include <utility>

namespace bhyve::dev {

namespace {

enum Command : u8 { cmd_leds = 0xed, cmd_echo = 0xee, cmd_scan_set = 0xf0, cmd_identify = 0xf2,
                    cmd_rate = 0xf3, cmd_enable = 0xf4, cmd_disable = 0xf5, cmd_defaults = 0xf6,
                    cmd_resend = 0xfe, cmd_reset = 0xff };

}  // namespace

void Ps2Keyboard::defaults() {
  pending_ = 0;
  rate_ = 0x2b;
  scan_set_ = 2;
}

void Ps2Keyboard::reset() {
  clear();
  defaults();
  leds_ = 0;
  scanning_ = true;
}

void Ps2Keyboard::write(u8 byte) {
  // A byte that can only be a command ends the wait for an argument.
  if (pending_ != 0 && byte < cmd_leds) return argument(std::exchange(pending_, u8{0}), byte);
  pending_ = 0;
  switch (byte) {
    case cmd_leds:
    case cmd_scan_set:
    case cmd_rate:
      pending_ = byte;
      send({ack});
      break;
    case cmd_echo: send({echo}); break;
    case cmd_identify: send({ack, 0xab, 0x83}); break;
    case cmd_enable:
      clear();
      scanning_ = true;
      send({ack});
      break;
    case cmd_disable:
    case cmd_defaults:
      clear();
      defaults();
      scanning_ = byte == cmd_defaults;
      send({ack});
      break;
    case cmd_resend: send({last()}); break;
    case cmd_reset:
      reset();
      send({ack, self_test_passed});
      break;
    default: send({resend}); break;
  }
}

void Ps2Keyboard::argument(u8 command, u8 byte) {
  if (command == cmd_scan_set && byte > 3) {
    send({resend});
    return;
  }
  send({ack});
  if (command == cmd_leds) {
    leds_ = byte & 7;
  } else if (command == cmd_rate) {
    rate_ = byte;
  } else if (byte == 0) {
    send({scan_set_});
  } else {
    scan_set_ = byte;
  }
}

void Ps2Keyboard::save(StateWriter& out) const {
  Ps2Device::save(out);
  for (const u8 r : {pending_, leds_, rate_, scan_set_}) out.put_u8(r);
  out.put_bool(scanning_);
}

void Ps2Keyboard::load(StateSection& in) {
  Ps2Device::load(in);
  for (u8* r : {&pending_, &leds_, &rate_, &scan_set_}) *r = in.get_u8();
  scanning_ = in.get_bool();
  const bool pending_valid =
      pending_ == 0 || pending_ == cmd_leds || pending_ == cmd_scan_set || pending_ == cmd_rate;
  if (!pending_valid || scan_set_ < 1 || scan_set_ > 3 || leds_ > 7) in.reject();
}

}  // namespace bhyve::dev
