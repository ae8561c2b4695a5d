#include "intc/vatpic_pio.hpp"

namespace bhyve::intc {
namespace {

constexpr u32 state_version = 1;
constexpr VcpuId intr_target = 0;

}  // namespace

VatpicPio::VatpicPio(CpuSink& sink)
    : sink_(sink),
      join_(
          Vatpic::inputs, lock_, [this](unsigned n, bool level) { chip_.set_input(n, level); },
          [this] { tell(); }) {}

/// Publishes INTR and tells the CPU of a rise. Called after every change, with no lock held.
void VatpicPio::tell() {
  bool rises = false;
  {
    const std::lock_guard guard(lock_);
    const bool level = chip_.output();
    rises = level && !announced_;
    announced_ = level;
    intr_.store(level, std::memory_order_release);
  }
  drive_output();
  if (rises) sink_.extint(intr_target);
}

/// Two threads may come in the wrong order: the last one to move the pin sees that INTR is another
/// by now and repairs it.
void VatpicPio::drive_output() {
  if (output_ == nullptr) return;
  for (bool level = intr();;) {
    output_->set_level(level);
    const bool again = intr();
    if (again == level) return;
    level = again;
  }
}

int VatpicPio::acknowledge() {
  int vector = -1;
  {
    const std::lock_guard guard(lock_);
    if (chip_.output()) vector = chip_.acknowledge();
    // Whatever is asked for after this is a new request to the CPU.
    announced_ = false;
  }
  if (output_ != nullptr) output_->set_level(false);  // INTA: what is pending still is a new edge
  tell();
  return vector;
}

u32 VatpicPio::Ports::pio_read(u16 offset, unsigned size) {
  u32 value = 0;
  for (unsigned i = 0; i < size; ++i)
    value |= u32{pic_.read(range_, static_cast<u16>(offset + i))} << 8 * i;
  return value;
}

void VatpicPio::Ports::pio_write(u16 offset, unsigned size, u32 value) {
  for (unsigned i = 0; i < size; ++i)
    pic_.write(range_, static_cast<u16>(offset + i), static_cast<u8>(value >> 8 * i));
}

u8 VatpicPio::read(Range range, u16 port) {
  if (port > 1) return 0xff;
  u8 value = 0;
  {
    const std::lock_guard guard(lock_);
    switch (range) {
      case Range::master:
        value = chip_.read(Vatpic::Chip::master, port == 1);
        break;
      case Range::slave:
        value = chip_.read(Vatpic::Chip::slave, port == 1);
        break;
      case Range::elcr:
        value = chip_.elcr(port == 0 ? Vatpic::Chip::master : Vatpic::Chip::slave);
        break;
    }
  }
  tell();
  return value;
}

void VatpicPio::write(Range range, u16 port, u8 value) {
  if (port > 1) return;
  {
    const std::lock_guard guard(lock_);
    switch (range) {
      case Range::master:
        chip_.write(Vatpic::Chip::master, port == 1, value);
        break;
      case Range::slave:
        chip_.write(Vatpic::Chip::slave, port == 1, value);
        break;
      case Range::elcr:
        chip_.set_elcr(port == 0 ? Vatpic::Chip::master : Vatpic::Chip::slave, value);
        break;
    }
  }
  tell();
}

void VatpicPio::reset() {
  {
    const std::lock_guard guard(lock_);
    chip_.reset();
  }
  tell();
}

void VatpicPio::save(StateWriter& out) const {
  const std::lock_guard guard(lock_);
  out.section("vatpic", state_version, [&](StateWriter& w) {
    chip_.save(w);
    join_.save(w);
  });
}

Result<void> VatpicPio::load(const StateReader& in) {
  Result<void> result;
  {
    const std::lock_guard guard(lock_);
    Vatpic loaded;
    result = in.section("vatpic", state_version, [&](StateSection& r) {
      loaded.load(r);
      join_.load(r);
    });
    if (result) {
      chip_ = loaded;
    } else {
      chip_.reset();
      for (unsigned n = 0; n < Vatpic::inputs; ++n) chip_.set_input(n, join_.level(n));
    }
    // The CPU is told of an INTR that is high after a load.
    announced_ = false;
  }
  tell();
  return result;
}

}  // namespace bhyve::intc
