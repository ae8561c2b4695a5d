#include "intc/pin_join.hpp"

#include <utility>

namespace bhyve::intc {

PinJoin::PinJoin(unsigned inputs, std::mutex& lock, Change change, After after)
    : lock_(lock), change_(std::move(change)), after_(std::move(after)), asserted_(inputs) {
  for (unsigned i = 0; i < inputs; ++i) pins_.emplace_back(*this, i);
}

IrqPin& PinJoin::connect(unsigned input) {
  const std::lock_guard guard(lock_);
  return pins_.emplace_back(*this, input);
}

void PinJoin::set(Pin& pin, bool asserted) {
  {
    const std::lock_guard guard(lock_);
    if (pin.level_ == asserted) return;
    pin.level_ = asserted;
    u32& count = asserted_[pin.input_];
    const u32 before = count;
    count = asserted ? before + 1 : before - 1;
    if ((before != 0) == (count != 0)) return;
    change_(pin.input_, asserted);
  }
  if (after_) after_();
}

void PinJoin::save(StateWriter& body) const {
  body.put_u32(static_cast<u32>(pins_.size()));
  for (const Pin& pin : pins_) {
    body.put_u32(pin.input_);
    body.put_bool(pin.level_);
  }
}

void PinJoin::load(StateSection& body) {
  if (body.get_u32() != pins_.size()) body.reject();
  std::vector<bool> levels;
  for (const Pin& pin : pins_) {
    if (body.get_u32() != pin.input_) body.reject();
    levels.push_back(body.get_bool());
  }
  if (!body.ok()) return;
  asserted_.assign(asserted_.size(), 0);
  for (usize i = 0; i < pins_.size(); ++i) {
    pins_[i].level_ = levels[i];
    asserted_[pins_[i].input_] += levels[i] ? 1 : 0;
  }
}

}  // namespace bhyve::intc
