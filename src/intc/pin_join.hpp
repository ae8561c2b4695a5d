#pragma once
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "base/state.hpp"
#include "intc/pins.hpp"

namespace bhyve::intc {

/// Wires any number of IrqPins to each input of an interrupt controller (wired-OR): a line is high
/// while at least one of its pins is asserted, and each pin remembers its own level, so that
/// devices which share a line cannot lower each other's. Any thread.
class PinJoin final {
 public:
  /// The level of an input changed; called with `lock` held.
  using Change = std::function<void(unsigned input, bool level)>;
  /// Called after a change, with no lock held.
  using After = std::function<void()>;

  /// `lock` is the controller's own. Connects one pin to every input.
  PinJoin(unsigned inputs, std::mutex& lock, Change change, After after = {});

  /// The pin that every input has from the start, for a device that does not share it.
  [[nodiscard]] IrqPin& pin(unsigned input) { return pins_[input]; }
  /// One more pin at `input` (< inputs); lives as long as the join. Pins are saved in the order in
  /// which they were connected.
  [[nodiscard]] IrqPin& connect(unsigned input);

  // With the lock held.
  [[nodiscard]] bool level(unsigned input) const { return asserted_[input] != 0; }
  void save(StateWriter& body) const;
  /// Rejects the section when it has other pins than this machine.
  void load(StateSection& body);

 private:
  class Pin final : public IrqPin {
   public:
    Pin(PinJoin& join, unsigned input) : join_(join), input_(input) {}
    void set_level(bool asserted) override { join_.set(*this, asserted); }

    PinJoin& join_;
    const unsigned input_;
    bool level_ = false;  ///< guarded by the join's lock
  };

  void set(Pin& pin, bool asserted);

  std::mutex& lock_;
  const Change change_;
  const After after_;
  std::vector<u32> asserted_;  ///< number of asserted pins of each input
  std::deque<Pin> pins_;       ///< a deque: pins never move
};

}  // namespace bhyve::intc
