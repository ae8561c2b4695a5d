#include "intc/vlapic_timer.hpp"

namespace bhyve::intc {

u64 Vlapic::tsc_deadline(Nanos now) {
  settle_timer(now);
  const std::lock_guard lock(timer_lock_);
  return timer_.tsc_deadline();
}

void Vlapic::set_tsc_deadline(u64 tsc, Nanos now) {
  const auto& convert = bus_.config().tsc_to_nanos;
  const Nanos when = tsc != 0 && convert ? convert(tsc, id_) : never;
  settle_timer(now);
  bool fire = false;
  with_timer([&](LapicTimer& timer) {
    timer.set_tsc_deadline(tsc, when);
    fire = timer.expire(now);
  });
  if (fire) fire_lvt(static_cast<unsigned>(LvtIndex::timer));
}

void Vlapic::tsc_changed(Nanos now) {
  const u64 tsc = tsc_deadline(now);
  const auto& convert = bus_.config().tsc_to_nanos;
  if (tsc == 0 || !convert) return;
  const Nanos when = convert(tsc, id_);
  bool fire = false;
  with_timer([&](LapicTimer& timer) {
    if (timer.tsc_deadline() != tsc) return;  // it expired meanwhile
    timer.set_tsc_deadline(tsc, when);
    fire = timer.expire(now);
  });
  if (fire) fire_lvt(static_cast<unsigned>(LvtIndex::timer));
}

void Vlapic::timer_expired(Nanos now) {
  bool fire = false;
  with_timer([&](LapicTimer& timer) { fire = timer.expire(now); });
  if (fire) fire_lvt(static_cast<unsigned>(LvtIndex::timer));
}

VlapicTimer::VlapicTimer(Vlapic& lapic, CalloutWheel& wheel)
    : lapic_(lapic),
      callout_(wheel, [this] { lapic_.timer_expired(monotonic_now()); }, lapic.id()) {
  lapic_.set_timer_sink(this);
}

VlapicTimer::~VlapicTimer() {
  pause();
  lapic_.set_timer_sink(nullptr);
}

Nanos VlapicTimer::wanted() const { return running_.load() ? lapic_.timer_deadline() : never; }

void VlapicTimer::start() {
  running_.store(true);
  timer_changed();
}

void VlapicTimer::pause() {
  running_.store(false);
  timer_changed();
  callout_.drain();
}

void VlapicTimer::timer_changed() {
  // Two threads may arm in the wrong order: the last one to arm sees that the deadline is another
  // by now and repairs it, so no lock need be held across arm().
  for (Nanos deadline = wanted();;) {
    callout_.arm(deadline);
    const Nanos again = wanted();
    if (again == deadline) return;
    deadline = again;
  }
}

}  // namespace bhyve::intc
