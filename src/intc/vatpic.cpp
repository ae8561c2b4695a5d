#include "intc/vatpic.hpp"

namespace bhyve::intc {

void Vatpic::reset() {
  master_.reset();
  slave_.reset();
  settle();
}

u8 Vatpic::read(Chip chip, bool a0) {
  const u8 value = of(chip).read(a0);
  settle();  // a poll acknowledges
  return value;
}

void Vatpic::write(Chip chip, bool a0, u8 value) {
  of(chip).write(a0, value);
  settle();
}

void Vatpic::set_elcr(Chip chip, u8 value) {
  of(chip).set_elcr(value);
  settle();
}

void Vatpic::set_input(unsigned n, bool level) {
  if (n == cascade) return;
  if (n < 8) {
    master_.set_input(n, level);
  } else {
    slave_.set_input(n - 8, level);
    settle();
  }
}

u8 Vatpic::acknowledge() {
  const int input = master_.acknowledge();
  if (input != static_cast<int>(cascade)) return master_.vector(input);
  const u8 vector = slave_.vector(slave_.acknowledge());
  settle();
  return vector;
}

void Vatpic::save(StateWriter& body) const {
  master_.save(body);
  slave_.save(body);
}

void Vatpic::load(StateSection& body) {
  master_.load(body);
  slave_.load(body);
  settle();
}

}  // namespace bhyve::intc
