#include "dev/ps2/i8042.hpp"

#include <algorithm>
#include <utility>

namespace bhyve::dev {

namespace {

enum Command : u8 { cmd_read_ram = 0x20, cmd_write_ram = 0x60, cmd_disable_mouse = 0xa7,
                    cmd_enable_mouse = 0xa8, cmd_test_mouse = 0xa9, cmd_password = 0xa4,
                    cmd_self_test = 0xaa, cmd_test_keyboard = 0xab, cmd_disable_keyboard = 0xad,
                    cmd_enable_keyboard = 0xae, cmd_input_port = 0xc0, cmd_read_output = 0xd0,
                    cmd_write_output = 0xd1, cmd_loop_keyboard = 0xd2, cmd_loop_mouse = 0xd3,
                    cmd_write_mouse = 0xd4, cmd_test_inputs = 0xe0, cmd_pulse = 0xf0 };
enum CommandByte : u8 { keyboard_irq_on = 0x01, mouse_irq_on = 0x02, system_flag = 0x04,
                        keyboard_off = 0x10, mouse_off = 0x20, translation = 0x40 };
enum OutputPort : u8 { out_not_reset = 0x01, out_a20 = 0x02, out_keyboard_full = 0x10,
                       out_mouse_full = 0x20 };
constexpr u8 no_password = 0xf1, self_test_ok = 0x55, interface_ok = 0x00, interface_stuck = 0x02;
constexpr u8 input_port_unlocked = 0x80;

/// Scan codes of set 2 (00h..7Fh) as the controller translates them into set 1.
constexpr u8 set1[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54};

}  // namespace

I8042::I8042(std::function<void()> on_reset, bool mouse)
    : on_reset_(std::move(on_reset)), has_mouse_(mouse) {
  reset();
}

void I8042::reset() {
  keyboard_.reset();
  mouse_.reset();
  std::fill(std::begin(ram_), std::end(ram_), u8{0});
  ram_[0] = keyboard_irq_on | translation | mouse_off;
  pending_ = 0;
  output_ = held_ = {};
  last_was_command_ = break_ = self_tested_ = false;
}

u8 I8042::read_data() {
  const u8 byte = output_.byte;  // which may be read again
  output_ = {.byte = byte};
  return byte;
}

u8 I8042::read_status() const {
  u8 status = status_unlocked | output_.flags;
  if (output_.from != Source::none) status |= status_full;
  if (output_.from == Source::mouse) status |= status_mouse;
  if (self_tested_ || (ram_[0] & system_flag) != 0) status |= status_system;
  if (last_was_command_) status |= status_command;
  return status;
}

bool I8042::keyboard_irq() const {
  return (ram_[0] & keyboard_irq_on) != 0 &&
         (output_.from == Source::keyboard || output_.from == Source::controller);
}

bool I8042::mouse_irq() const {
  return (ram_[0] & mouse_irq_on) != 0 && output_.from == Source::mouse;
}

/// The controller's own answers wait until what is in the buffer was read, and then go before what the
/// devices have. Of two that wait the later is kept.
void I8042::reply(u8 byte, Source source, u8 flags) {
  (output_.from == Source::none ? output_ : held_) = {byte, flags, source};
}

void I8042::refill() {
  if (output_.from == Source::none && held_.from != Source::none) output_ = std::exchange(held_, {});
  // A break prefix translates to nothing: the next byte may have to be fetched as well.
  while (output_.from == Source::none && keyboard_.has_byte() && (ram_[0] & keyboard_off) == 0) {
    const u8 code = keyboard_.take();
    if ((ram_[0] & translation) == 0)
      reply(code, Source::keyboard);
    else if (code == 0xf0)
      break_ = true;
    else
      reply(translate(code), Source::keyboard);
  }
  if (output_.from == Source::none && has_mouse_ && mouse_.has_byte() && (ram_[0] & mouse_off) == 0)
    reply(mouse_.take(), Source::mouse);
}

u8 I8042::translate(u8 code) {
  const u8 up = std::exchange(break_, false) ? 0x80 : 0;
  if (code == 0x83) return 0x41 | up;  // F7
  if (code == 0x84) return 0x54 | up;  // Alt + SysRq
  return code < 0x80 ? set1[code] | up : code;
}

void I8042::write_data(u8 value) {
  last_was_command_ = false;
  const u8 command = std::exchange(pending_, u8{0});
  if (command == 0) {
    ram_[0] &= static_cast<u8>(~keyboard_off);  // writing to the keyboard enables it
    keyboard_.write(value);
  } else if (command < cmd_write_ram + 0x20) {
    ram_[command & 0x1f] = value;
  } else if (command == cmd_write_output) {
    write_output_port(value);
  } else if (command == cmd_loop_keyboard) {
    reply(value, Source::keyboard);
  } else if (command == cmd_loop_mouse) {
    reply(value, Source::mouse);
  } else {
    write_mouse(value);
  }
  refill();
}

void I8042::write_mouse(u8 value) {
  ram_[0] &= static_cast<u8>(~mouse_off);
  if (has_mouse_)
    mouse_.write(value);
  else
    reply(Ps2Device::resend, Source::mouse, status_timeout);
}

void I8042::write_output_port(u8 value) {
  if ((value & out_not_reset) == 0 && on_reset_) on_reset_();
}

void I8042::write_command(u8 value) {
  last_was_command_ = true;
  pending_ = 0;
  if (value >= cmd_pulse) {
    if ((value & 1) == 0 && on_reset_) on_reset_();
    return;
  }
  if (value >= cmd_read_ram && value < cmd_read_ram + 0x20) return reply(ram_[value & 0x1f]);
  if (value >= cmd_write_ram && value < cmd_write_ram + 0x20) {
    pending_ = value;
    return;
  }
  switch (value) {
    case cmd_write_output:
    case cmd_loop_keyboard:
    case cmd_loop_mouse:
    case cmd_write_mouse: pending_ = value; break;
    case cmd_password: reply(no_password); break;
    case cmd_disable_mouse: ram_[0] |= mouse_off; break;
    case cmd_enable_mouse: ram_[0] &= static_cast<u8>(~mouse_off); break;
    case cmd_test_mouse: reply(has_mouse_ ? interface_ok : interface_stuck); break;
    case cmd_self_test:
      self_tested_ = true;
      output_ = held_ = {};  // the controller begins anew
      reply(self_test_ok);
      break;
    case cmd_test_keyboard: reply(interface_ok); break;
    case cmd_disable_keyboard: ram_[0] |= keyboard_off; break;
    case cmd_enable_keyboard: ram_[0] &= static_cast<u8>(~keyboard_off); break;
    case cmd_input_port: reply(input_port_unlocked); break;
    case cmd_read_output: {
      const bool full = output_.from != Source::none;
      const u8 waiting = full ? (output_.from == Source::mouse ? out_mouse_full : out_keyboard_full) : 0;
      reply(static_cast<u8>(out_not_reset | out_a20 | waiting));
      break;
    }
    case cmd_test_inputs: reply(0); break;
    default: break;  // reserved: ignored
  }
  refill();
}

void I8042::save(StateWriter& out) const {
  keyboard_.save(out);
  mouse_.save(out);
  out.put_bytes(ram_);
  for (const u8 r : {output_.byte, output_.flags, static_cast<u8>(output_.from), pending_}) out.put_u8(r);
  for (const bool b : {last_was_command_, break_, self_tested_}) out.put_bool(b);
  for (const u8 r : {held_.byte, held_.flags, static_cast<u8>(held_.from)}) out.put_u8(r);
}

/// False when it is none.
bool I8042::load(StateSection& in, Output& output) {
  output.byte = in.get_u8();
  output.flags = in.get_u8();
  const u8 from = in.get_u8();
  output.from = static_cast<Source>(from & 3);
  return from <= 3 && (output.flags & ~status_timeout) == 0;
}

void I8042::load(StateSection& in) {
  keyboard_.load(in);
  mouse_.load(in);
  in.get_bytes(ram_);
  const bool output_valid = load(in, output_);
  pending_ = in.get_u8();
  for (bool* b : {&last_was_command_, &break_, &self_tested_}) *b = in.get_bool();
  held_ = {};
  const bool held_valid = in.version() < 2 || load(in, held_);  // version 1 held nothing
  if (!output_valid || !held_valid || (pending_ != 0 && pending_ < cmd_write_ram)) in.reject();
}

}  // namespace bhyve::dev
