#pragma once
#include <vector>

#include "intc/pins.hpp"

namespace bhyve::dev::test {

/// Counts rising edges.
struct FakePin final : intc::IrqPin {
  bool level = false;
  int edges = 0;
  void set_level(bool asserted) override {
    if (asserted && !level) ++edges;
    level = asserted;
  }
};

}  // namespace bhyve::dev::test
