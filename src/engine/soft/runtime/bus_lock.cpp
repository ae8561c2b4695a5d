#include "engine/soft/runtime/bus_lock.hpp"

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

void BusLock::give_way(Cpu& self) {
  std::unique_lock lock(mutex_);
  if (!wanted()) return;
  self.bus.aside = true;
  ++giving_way_;
  changed_.notify_all();
  changed_.wait(lock, [this, turn = turn_] { return turn_ != turn; });
  self.bus.aside = false;
  if (--giving_way_ == 0) changed_.notify_all();
}

void BusLock::left() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void BusLock::acquire(Cpu& self) {
  std::unique_lock lock(mutex_);
  const u64 mine = next_turn_++;
  // Nothing of the instruction has been done yet: others may have their turns meanwhile.
  self.bus.aside = true;
  changed_.notify_all();
  changed_.wait(lock, [this, mine] { return turn_ == mine && giving_way_ == 0; });
  self.bus.aside = false;
  wanted_.store(true, std::memory_order_seq_cst);
  if (!vm_.others_run(self)) return;
  vm_.kick_others(self);
  changed_.wait(lock, [this, &self] { return !vm_.others_run(self); });
}

void BusLock::release() {
  const std::lock_guard lock(mutex_);
  wanted_.store(false, std::memory_order_seq_cst);
  ++turn_;
  changed_.notify_all();
}

BusLock::Hold::Hold(Cpu& self) : bus_(self.vm().bus) { bus_.acquire(self); }
BusLock::Hold::~Hold() { bus_.release(); }

namespace {

u64* word_of(std::byte* p) {
  return reinterpret_cast<u64*>(reinterpret_cast<u64>(p) & ~u64{7});
}
unsigned bit_offset(const std::byte* p) { return (reinterpret_cast<u64>(p) & 7) * 8; }

}  // namespace

SplitOperand::SplitOperand(std::byte* first, std::byte* second, unsigned in_first, unsigned size)
    : low_{word_of(first), bit_offset(first), 0, 0},
      high_{word_of(second), bit_offset(second), 0, 0},
      low_bits_(in_first * 8) {
  low_.mask = (bit(low_bits_) - 1) << low_.offset;
  high_.mask = (bit((size - in_first) * 8) - 1) << high_.offset;
}

u64 SplitOperand::load() {
  low_.seen = mem::ram_load<u64>(low_.word);
  high_.seen = mem::ram_load<u64>(high_.word);
  return (low_.seen & low_.mask) >> low_.offset |
         (high_.seen & high_.mask) >> high_.offset << low_bits_;
}

void SplitOperand::store(u64 value) {
  replace(low_, value << low_.offset);
  replace(high_, value >> low_bits_ << high_.offset);
}

void SplitOperand::replace(const Part& part, u64 bits) {
  u64 now = mem::ram_load<u64>(part.word);
  for (;;) {
    u64 mine = part.mask;
    for (u64 byte = 0xff; byte; byte <<= 8)
      if ((now ^ part.seen) & byte) mine &= ~byte;
    const u64 next = (now & ~mine) | (bits & mine);
    if (__atomic_compare_exchange_n(part.word, &now, next, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST))
      return;
  }
}

}  // namespace bhyve::soft
