#include "dev/uart/uart16550.hpp"

namespace bhyve::dev {

namespace {

enum Ier : u8 { ier_data = 1, ier_thre = 2, ier_line = 4, ier_modem = 8, ier_all = 0x0f };
enum Fcr : u8 { fcr_enable = 1, fcr_clear_rx = 2, fcr_clear_tx = 4, fcr_kept = 0xc9 };
enum Lcr : u8 { lcr_break = 0x40, lcr_dlab = 0x80 };
enum Mcr : u8 { mcr_dtr = 1, mcr_rts = 2, mcr_out1 = 4, mcr_out2 = 8, mcr_loop = 0x10,
                mcr_all = 0x1f };
constexpr u8 iir_fifos = 0xc0;
constexpr u8 receive_errors = Uart16550::lsr_pe | Uart16550::lsr_fe | Uart16550::lsr_bi;
constexpr u8 line_errors = Uart16550::lsr_oe | receive_errors;
constexpr u16 divisor_9600 = 12;  // of 1.8432 MHz / 16
constexpr u8 modem_present = Uart16550::msr_cts | Uart16550::msr_dsr | Uart16550::msr_dcd;

}  // namespace

Uart16550::Uart16550(Transmit transmit)
    : transmit_(std::move(transmit)), modem_lines_(modem_present) {
  reset();
}

void Uart16550::reset() {
  rx_.clear();
  tx_.clear();
  ier_ = fcr_ = lcr_ = mcr_ = scr_ = errors_ = 0;
  divisor_ = divisor_9600;
  modem_ = modem_lines_;
  thre_pending_ = idle_ = false;
}

bool Uart16550::fifos() const { return (fcr_ & fcr_enable) != 0; }

bool Uart16550::loopback() const { return (mcr_ & mcr_loop) != 0; }

unsigned Uart16550::trigger() const {
  static constexpr u8 levels[] = {1, 4, 8, 14};  // section 8.4, FCR bits 7..6
  return fifos() ? levels[fcr_ >> 6] : 1;
}

/// Section 8.5: the source of highest priority.
Uart16550::Cause Uart16550::cause() const {
  if ((ier_ & ier_line) != 0 && errors_ != 0) return cause_line;
  if ((ier_ & ier_data) != 0 && rx_.size() >= trigger()) return cause_data;
  if ((ier_ & ier_data) != 0 && fifos() && !rx_.empty() && idle_) return cause_timeout;
  if ((ier_ & ier_thre) != 0 && thre_pending_) return cause_thre;
  if ((ier_ & ier_modem) != 0 && (modem_ & 0x0f) != 0) return cause_modem;
  return cause_none;
}

bool Uart16550::interrupt() const { return cause() != cause_none; }

u8 Uart16550::line_status() const {
  u8 status = errors_;
  if (!rx_.empty()) status |= lsr_dr;
  if (tx_.empty()) status |= lsr_thre | lsr_temt;
  if (fifos() && rx_.any_errors()) status |= lsr_fifo_error;
  return status;
}

u8 Uart16550::read(unsigned reg) {
  const bool latch = (lcr_ & lcr_dlab) != 0;
  switch (reg) {
    case rbr: return latch ? static_cast<u8>(divisor_) : read_data();
    case ier: return latch ? static_cast<u8>(divisor_ >> 8) : ier_;
    case iir: {
      const Cause now = cause();
      if (now == cause_thre) thre_pending_ = false;
      return static_cast<u8>(now | (fifos() ? iir_fifos : 0));
    }
    case lcr: return lcr_;
    case mcr: return mcr_;
    case lsr: {
      const u8 status = line_status();
      errors_ = 0;
      return status;
    }
    case msr: {
      const u8 status = modem_;
      modem_ &= 0xf0;
      return status;
    }
    case scr: return scr_;
    default: return 0xff;
  }
}

void Uart16550::write(unsigned reg, u8 value) {
  const bool latch = (lcr_ & lcr_dlab) != 0;
  switch (reg) {
    case thr:
      if (latch)
        divisor_ = static_cast<u16>((divisor_ & 0xff00) | value);
      else
        write_data(value);
      break;
    case ier:
      if (latch) {
        divisor_ = static_cast<u16>((divisor_ & 0xff) | value << 8);
      } else {
        // Enabling the interrupt of an empty transmitter raises it at once.
        if ((value & ~ier_ & ier_thre) != 0 && tx_.empty()) thre_pending_ = true;
        ier_ = value & ier_all;
      }
      break;
    case fcr: write_fifo_control(value); break;
    case lcr: write_line_control(value); break;
    case mcr:
      mcr_ = value & mcr_all;
      update_modem();
      break;
    case scr: scr_ = value; break;
    default: break;  // the status registers are for factory tests only
  }
}

u8 Uart16550::read_data() {
  if (rx_.empty()) return 0;
  const u8 byte = rx_.pop().byte;
  // Errors show in the line status once their character is on top (section 8.3).
  if (!rx_.empty()) errors_ |= rx_.front().errors;
  return byte;
}

void Uart16550::write_data(u8 value) {
  thre_pending_ = false;
  if (loopback()) {
    accept(value, 0);
    idle_ = true;
    thre_pending_ = true;
    return;
  }
  if (tx_.size() < (fifos() ? UartFifo::capacity : 1)) tx_.push({value, 0});
  pump();
}

void Uart16550::pump() {
  if (tx_.empty()) return;
  while (!tx_.empty() && transmit_(tx_.front().byte)) tx_.pop();
  if (tx_.empty()) thre_pending_ = true;
}

void Uart16550::transmit_ready() { pump(); }

void Uart16550::write_fifo_control(u8 value) {
  const bool changed = ((value ^ fcr_) & fcr_enable) != 0;
  if (changed || (value & (fcr_enable | fcr_clear_rx)) == (fcr_enable | fcr_clear_rx)) rx_.clear();
  const bool clear_tx =
      changed || (value & (fcr_enable | fcr_clear_tx)) == (fcr_enable | fcr_clear_tx);
  if (clear_tx && !tx_.empty()) {
    tx_.clear();
    thre_pending_ = true;
  }
  fcr_ = (value & fcr_enable) != 0 ? value & fcr_kept : 0;
}

void Uart16550::write_line_control(u8 value) {
  const bool starts_break = (value & ~lcr_ & lcr_break) != 0;
  lcr_ = value;
  if (!starts_break || !loopback()) return;
  accept(0, lsr_bi);
  idle_ = true;
}

unsigned Uart16550::receive_room() const {
  if (loopback()) return 0;
  return (fifos() ? UartFifo::capacity : 1) - rx_.size();
}

void Uart16550::receive(u8 byte, u8 errors) {
  if (!loopback()) accept(byte, errors & receive_errors);
}

void Uart16550::accept(u8 byte, u8 errors) {
  idle_ = false;
  if (rx_.size() == (fifos() ? UartFifo::capacity : 1)) {
    // With FIFOs the new character is lost in the shift register; without, the old one is (8.3).
    errors_ |= lsr_oe;
    if (fifos()) return;
    rx_.clear();
  }
  rx_.push({byte, errors});
  if (rx_.size() == 1) errors_ |= errors;
}

void Uart16550::set_modem_lines(u8 lines) {
  modem_lines_ = lines & 0xf0;
  update_modem();
}

void Uart16550::update_modem() {
  u8 lines = modem_lines_;
  if (loopback()) {  // section 8.6: the outputs are connected to the inputs
    lines = static_cast<u8>(((mcr_ & mcr_rts) != 0 ? msr_cts : 0) |
                            ((mcr_ & mcr_dtr) != 0 ? msr_dsr : 0) |
                            ((mcr_ & mcr_out1) != 0 ? msr_ri : 0) |
                            ((mcr_ & mcr_out2) != 0 ? msr_dcd : 0));
  }
  const u8 changed = (lines ^ modem_) & 0xf0;
  u8 deltas = changed >> 4;
  if ((lines & msr_ri) != 0) deltas &= static_cast<u8>(~msr_teri);  // only its trailing edge
  modem_ = static_cast<u8>(lines | (modem_ & 0x0f) | deltas);
}

void Uart16550::save(StateWriter& out) const {
  rx_.save(out);
  tx_.save(out);
  for (const u8 r : {ier_, fcr_, lcr_, mcr_, scr_, errors_, modem_, modem_lines_}) out.put_u8(r);
  out.put_u16(divisor_);
  out.put_bool(thre_pending_);
  out.put_bool(idle_);
}

void Uart16550::load(StateSection& in) {
  rx_.load(in);
  tx_.load(in);
  for (u8* r : {&ier_, &fcr_, &lcr_, &mcr_, &scr_, &errors_, &modem_, &modem_lines_})
    *r = in.get_u8();
  divisor_ = in.get_u16();
  thre_pending_ = in.get_bool();
  idle_ = in.get_bool();
  const unsigned limit = fifos() ? UartFifo::capacity : 1;
  if ((ier_ & ~ier_all) != 0 || (mcr_ & ~mcr_all) != 0 || (errors_ & ~line_errors) != 0 ||
      (fcr_ & ~fcr_kept) != 0 || (modem_lines_ & 0x0f) != 0 || rx_.size() > limit ||
      tx_.size() > limit)
    in.reject();
}

bool UartFifo::any_errors() const {
  for (unsigned i = 0; i < size_; ++i)
    if (items_[(head_ + i) % capacity].errors != 0) return true;
  return false;
}

void UartFifo::push(Item item) {
  items_[(head_ + size_) % capacity] = item;
  ++size_;
}

UartFifo::Item UartFifo::pop() {
  const Item item = items_[head_];
  head_ = (head_ + 1) % capacity;
  --size_;
  return item;
}

void UartFifo::save(StateWriter& out) const {
  out.put_u8(static_cast<u8>(size_));
  for (unsigned i = 0; i < size_; ++i) {
    out.put_u8(items_[(head_ + i) % capacity].byte);
    out.put_u8(items_[(head_ + i) % capacity].errors);
  }
}

void UartFifo::load(StateSection& in) {
  clear();
  const unsigned count = in.get_u8();
  if (count > capacity) return in.reject();
  for (unsigned i = 0; i < count; ++i) {
    const u8 byte = in.get_u8();
    push({byte, static_cast<u8>(in.get_u8() & receive_errors)});
  }
}

}  // namespace bhyve::dev
