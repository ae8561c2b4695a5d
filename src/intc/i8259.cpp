#include "intc/i8259.hpp"

#include "base/bits.hpp"

namespace bhyve::intc {
namespace {

constexpr u8 icw1_icw4 = 0x01, icw1_single = 0x02, icw1_level = 0x08, icw1 = 0x10;
constexpr u8 icw4_auto_eoi = 0x02, icw4_special_nested = 0x10;
constexpr u8 ocw3 = 0x08, ocw3_read = 0x02, ocw3_isr = 0x01, ocw3_poll = 0x04,
             ocw3_special_mask = 0x20, ocw3_set_special_mask = 0x40;
constexpr u8 poll_request = 0x80;

[[nodiscard]] u8 input_bit(int n) { return static_cast<u8>(1u << n); }

}  // namespace

void I8259::reset() {
  elcr_ = 0;
  base_ = 0;
  write_icw1(0);
  expect_ = Expect::ocw1;
  initialised_ = false;
}

/// The input of highest priority in `bits`, -1 if none. Priorities fall from the one after lowest_.
int I8259::highest(u8 bits) const {
  for (unsigned i = 1; i <= 8; ++i) {
    const unsigned n = (lowest_ + i) & 7;
    if ((bits >> n & 1) != 0) return static_cast<int>(n);
  }
  return -1;
}

/// The input that INT is raised for: unmasked, and above whatever is in service.
int I8259::request() const {
  if (!initialised_) return -1;
  const int candidate = highest(irr_ & static_cast<u8>(~imr_));
  if (candidate < 0) return -1;
  u8 serving = isr_;
  // In special mask mode a masked level in service blocks nobody; in special fully nested mode the
  // slave in service may interrupt again.
  if (special_mask_) serving &= static_cast<u8>(~imr_);
  if (special_nested_) serving &= static_cast<u8>(~cascade_);
  const int blocking = highest(serving);
  if (blocking < 0) return candidate;
  const unsigned rank = (static_cast<unsigned>(candidate) - lowest_ - 1) & 7;
  const unsigned limit = (static_cast<unsigned>(blocking) - lowest_ - 1) & 7;
  return rank < limit ? candidate : -1;
}

int I8259::acknowledge() {
  const int n = request();
  if (n < 0) return -1;
  if ((level_inputs() & input_bit(n)) == 0) irr_ &= static_cast<u8>(~input_bit(n));
  if (!auto_eoi_) {
    isr_ |= input_bit(n);
  } else if (rotate_on_auto_eoi_) {
    lowest_ = static_cast<u8>(n);
  }
  return n;
}

void I8259::set_input(unsigned n, bool level) {
  const u8 mask = input_bit(static_cast<int>(n));
  const bool before = (lines_ & mask) != 0;
  lines_ = static_cast<u8>(level ? lines_ | mask : lines_ & ~mask);
  if ((level_inputs() & mask) != 0) {
    irr_ = static_cast<u8>(level ? irr_ | mask : irr_ & ~mask);
  } else if (level && !before) {
    irr_ |= mask;
  }
}

void I8259::set_elcr(u8 value) {
  elcr_ = value & elcr_mask_;
  irr_ = static_cast<u8>((irr_ & ~elcr_) | (lines_ & elcr_));
}

u8 I8259::read(bool a0) {
  if (poll_) {
    poll_ = false;
    const int n = acknowledge();
    return n < 0 ? 0 : static_cast<u8>(poll_request | n);
  }
  if (a0) return imr_;
  return read_register_ == ReadRegister::isr ? isr_ : irr_;
}

void I8259::write(bool a0, u8 value) {
  if (a0) {
    write_data(value);
  } else if ((value & icw1) != 0) {
    write_icw1(value);
    expect_ = Expect::icw2;
  } else if ((value & ocw3) != 0) {
    write_ocw3(value);
  } else {
    write_ocw2(value);
  }
}

void I8259::write_icw1(u8 value) {
  single_ = (value & icw1_single) != 0;
  wants_icw4_ = (value & icw1_icw4) != 0;
  level_triggered_ = (value & icw1_level) != 0;
  // The edge detectors are cleared: an input must go low and high again to be seen.
  irr_ = lines_ & level_inputs();
  isr_ = 0;
  imr_ = 0;
  lowest_ = 7;
  read_register_ = ReadRegister::irr;
  auto_eoi_ = rotate_on_auto_eoi_ = special_nested_ = special_mask_ = poll_ = false;
  initialised_ = false;
}

void I8259::write_data(u8 value) {
  switch (expect_) {
    case Expect::ocw1:
      imr_ = value;
      return;
    case Expect::icw2:
      base_ = value & 0xf8;
      expect_ = !single_ ? Expect::icw3 : wants_icw4_ ? Expect::icw4 : Expect::ocw1;
      break;
    case Expect::icw3:  // the wiring is fixed
      expect_ = wants_icw4_ ? Expect::icw4 : Expect::ocw1;
      break;
    case Expect::icw4:
      auto_eoi_ = (value & icw4_auto_eoi) != 0;
      special_nested_ = (value & icw4_special_nested) != 0;
      expect_ = Expect::ocw1;
      break;
  }
  initialised_ = expect_ == Expect::ocw1;
}

void I8259::write_ocw2(u8 value) {
  const unsigned level = value & 7;
  // A masked level in service is left alone by a non-specific EOI in special mask mode.
  const u8 serving = special_mask_ ? static_cast<u8>(isr_ & ~imr_) : isr_;
  switch (value >> 5) {
    case 0:  // rotate in automatic EOI mode: clear
    case 4:  // ... set
      rotate_on_auto_eoi_ = (value >> 5) == 4;
      break;
    case 1:  // non-specific EOI
    case 5:  // ... and rotate
      if (const int n = highest(serving); n >= 0) {
        isr_ &= static_cast<u8>(~input_bit(n));
        if ((value >> 5) == 5) lowest_ = static_cast<u8>(n);
      }
      break;
    case 3:  // specific EOI
    case 7:  // ... and rotate
      isr_ &= static_cast<u8>(~(1u << level));
      if ((value >> 5) == 7) lowest_ = static_cast<u8>(level);
      break;
    case 6:  // set priority
      lowest_ = static_cast<u8>(level);
      break;
    default:
      break;
  }
}

void I8259::write_ocw3(u8 value) {
  if ((value & ocw3_set_special_mask) != 0) special_mask_ = (value & ocw3_special_mask) != 0;
  poll_ = (value & ocw3_poll) != 0;
  if (!poll_ && (value & ocw3_read) != 0)
    read_register_ = (value & ocw3_isr) != 0 ? ReadRegister::isr : ReadRegister::irr;
}

void I8259::save(StateWriter& body) const {
  for (const u8 v : {irr_, isr_, imr_, lines_, elcr_, base_, lowest_, static_cast<u8>(expect_),
                     static_cast<u8>(read_register_)})
    body.put_u8(v);
  for (const bool v : {single_, wants_icw4_, level_triggered_, initialised_, auto_eoi_,
                       rotate_on_auto_eoi_, special_nested_, special_mask_, poll_})
    body.put_bool(v);
}

void I8259::load(StateSection& body) {
  for (u8* v : {&irr_, &isr_, &imr_, &lines_, &elcr_, &base_, &lowest_}) *v = body.get_u8();
  elcr_ &= elcr_mask_;
  base_ &= 0xf8;
  const u8 expect = body.get_u8();
  const u8 read_register = body.get_u8();
  if (lowest_ > 7 || expect > static_cast<u8>(Expect::icw4) || read_register > 1) body.reject();
  lowest_ &= 7;
  expect_ = static_cast<Expect>(expect & 3);
  read_register_ = static_cast<ReadRegister>(read_register & 1);
  for (bool* v : {&single_, &wants_icw4_, &level_triggered_, &initialised_, &auto_eoi_,
                  &rotate_on_auto_eoi_, &special_nested_, &special_mask_, &poll_})
    *v = body.get_bool();
}

}  // namespace bhyve::intc
