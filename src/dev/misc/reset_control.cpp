#include "dev/misc/reset_control.hpp"

namespace bhyve::dev {

namespace {

enum Bit : u8 { hard_reset = 0x02, reset_cpu = 0x04, full_reset = 0x08, writable = 0x0e };

}  // namespace

void ResetControl::byte_write(u16, u8 value) {
  const u8 old = value_.exchange(value & writable);
  if ((value & ~old & reset_cpu) != 0 && on_reset_) on_reset_((value & hard_reset) != 0);
}

void ResetControl::save(StateWriter& out) const {
  out.section("reset_control", 1, [this](StateWriter& w) { w.put_u8(value_); });
}

Result<void> ResetControl::load(const StateReader& in) {
  auto loaded = in.section("reset_control", 1,
                           [this](StateSection& s) { value_ = s.get_u8() & writable; });
  if (!loaded) reset();
  return loaded;
}

}  // namespace bhyve::dev
