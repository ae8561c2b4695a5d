#include "dev/testdev/testdev.hpp"

#include <algorithm>

namespace bhyve::dev {

TestDev::TestDev(std::span<intc::IrqPin* const> pins) : memory_(window_size) {
  std::copy_n(pins.begin(), std::min(pins.size(), pins_.size()), pins_.begin());
}

u32 TestDev::read_latch(u16 offset, unsigned size) const {
  const std::lock_guard lock(mutex_);
  return latch_ >> (8 * (offset % 4)) & static_cast<u32>(bus::all_ones(size));
}

void TestDev::write_latch(u16 offset, unsigned size, u32 value) {
  const unsigned shift = 8 * (offset % 4);
  const u32 mask = static_cast<u32>(bus::all_ones(size)) << shift;
  const std::lock_guard lock(mutex_);
  latch_ = (latch_ & ~mask) | (value << shift & mask);
}

void TestDev::set_line(unsigned line, bool asserted) {
  const std::lock_guard lock(mutex_);
  set_line_locked(line, asserted);
}

void TestDev::set_line_locked(unsigned line, bool asserted) {
  if (line >= lines || pins_[line] == nullptr) return;
  asserted_ = asserted ? asserted_ | 1u << line : asserted_ & ~(1u << line);
  pins_[line]->set_level(asserted);
}

u64 TestDev::Window::mmio_read(u64 offset, unsigned size, VcpuId) {
  u64 value = 0;
  const std::lock_guard lock(dev_.mutex_);
  for (unsigned i = 0; i < size && offset + i < window_size; ++i)
    value |= u64{dev_.memory_[offset + i]} << (8 * i);
  return value;
}

void TestDev::Window::mmio_write(u64 offset, unsigned size, u64 value, VcpuId) {
  const std::lock_guard lock(dev_.mutex_);
  for (unsigned i = 0; i < size && offset + i < window_size; ++i)
    dev_.memory_[offset + i] = static_cast<u8>(value >> (8 * i));
}

void TestDev::clear_locked() {
  latch_ = 0;
  for (unsigned line = 0; line < lines; ++line) set_line_locked(line, false);
  std::fill(memory_.begin(), memory_.end(), u8{0});
}

void TestDev::reset() {
  const std::lock_guard lock(mutex_);
  clear_locked();
}

void TestDev::save(StateWriter& out) const {
  const std::lock_guard lock(mutex_);
  out.section("pc-testdev", 1, [this](StateWriter& w) {
    w.put_u32(latch_);
    w.put_u32(asserted_);
    w.put_bytes(memory_);
  });
}

Result<void> TestDev::load(const StateReader& in) {
  const std::lock_guard lock(mutex_);
  u32 asserted = 0;
  auto loaded = in.section("pc-testdev", 1, [&](StateSection& s) {
    latch_ = s.get_u32();
    asserted = s.get_u32();
    s.get_bytes(memory_);
  });
  if (!loaded) clear_locked();
  else
    for (unsigned line = 0; line < lines; ++line) set_line_locked(line, (asserted >> line & 1) != 0);
  return loaded;
}

}  // namespace bhyve::dev
