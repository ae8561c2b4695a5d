#include "dev/ps2/ps2_mouse.hpp"

#include <utility>

namespace bhyve::dev {

namespace {

enum Command : u8 { cmd_scaling_off = 0xe6, cmd_scaling_on = 0xe7, cmd_resolution = 0xe8,
                    cmd_status = 0xe9, cmd_stream = 0xea, cmd_read = 0xeb, cmd_unwrap = 0xec,
                    cmd_wrap = 0xee, cmd_remote = 0xf0, cmd_identify = 0xf2, cmd_rate = 0xf3,
                    cmd_enable = 0xf4, cmd_disable = 0xf5, cmd_defaults = 0xf6, cmd_resend = 0xfe,
                    cmd_reset = 0xff };
constexpr u8 packet_always = 0x08;  ///< bit 3 of a movement's first byte

}  // namespace

void Ps2Mouse::defaults() {
  pending_ = 0;
  resolution_ = 2;
  rate_ = 100;
  scaling_ = reporting_ = remote_ = wrap_ = false;
}

void Ps2Mouse::reset() {
  clear();
  defaults();
}

void Ps2Mouse::write(u8 byte) {
  if (wrap_ && byte != cmd_unwrap && byte != cmd_reset) {
    send({byte});
    return;
  }
  if (pending_ != 0 && byte < cmd_scaling_off) {
    (std::exchange(pending_, u8{0}) == cmd_rate ? rate_ : resolution_) = byte;
    send({ack});
    return;
  }
  pending_ = 0;
  command(byte);
}

void Ps2Mouse::command(u8 byte) {
  switch (byte) {
    case cmd_scaling_off: scaling_ = false; break;
    case cmd_scaling_on: scaling_ = true; break;
    case cmd_resolution:
    case cmd_rate: pending_ = byte; break;
    case cmd_status: return send_status();
    case cmd_stream: remote_ = false; break;
    case cmd_read: send({ack, packet_always, 0, 0}); return;
    case cmd_unwrap: wrap_ = false; break;
    case cmd_wrap: wrap_ = true; break;
    case cmd_remote: remote_ = true; break;
    case cmd_identify: send({ack, 0}); return;
    case cmd_enable: reporting_ = true; break;
    case cmd_disable: reporting_ = false; break;
    case cmd_defaults: defaults(); break;
    case cmd_resend: send({last()}); return;
    case cmd_reset:
      reset();
      send({ack, self_test_passed, 0});
      return;
    default: send({resend}); return;
  }
  send({ack});
}

void Ps2Mouse::send_status() {
  const auto flags =
      static_cast<u8>((remote_ ? 0x40 : 0) | (reporting_ ? 0x20 : 0) | (scaling_ ? 0x10 : 0));
  send({ack, flags, resolution_, rate_});
}

void Ps2Mouse::save(StateWriter& out) const {
  Ps2Device::save(out);
  for (const u8 r : {pending_, resolution_, rate_}) out.put_u8(r);
  for (const bool b : {scaling_, reporting_, remote_, wrap_}) out.put_bool(b);
}

void Ps2Mouse::load(StateSection& in) {
  Ps2Device::load(in);
  for (u8* r : {&pending_, &resolution_, &rate_}) *r = in.get_u8();
  for (bool* b : {&scaling_, &reporting_, &remote_, &wrap_}) *b = in.get_bool();
  if (pending_ != 0 && pending_ != cmd_resolution && pending_ != cmd_rate) in.reject();
}

}  // namespace bhyve::dev
