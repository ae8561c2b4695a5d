#include "engine/soft/runtime/soft_vm.hpp"

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

void SoftVm::code_written(u64 page) noexcept {
  for (const auto& slot : cpus_)
    if (Cpu* cpu = slot.load(std::memory_order_acquire)) cpu->code_written(page);
}

u64 SoftVm::new_code_epoch(const Cpu& self) {
  const u64 epoch = code_epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
  kick_others(self);
  return epoch;
}

void SoftVm::kick_others(const Cpu& self) {
  for (const auto& slot : cpus_)
    if (Cpu* cpu = slot.load(std::memory_order_acquire); cpu && cpu != &self) cpu->request_check();
}

bool SoftVm::others_run(const Cpu& self) const {
  for (const auto& slot : cpus_) {
    const Cpu* cpu = slot.load(std::memory_order_acquire);
    if (cpu && cpu != &self && cpu->runs() && !cpu->bus.aside) return true;
  }
  return false;
}

bool SoftVm::code_epoch_passed(u64 epoch, const Cpu& self) const {
  for (const auto& slot : cpus_) {
    const Cpu* cpu = slot.load(std::memory_order_acquire);
    if (cpu && cpu != &self && !cpu->passed_code_epoch(epoch)) return false;
  }
  return true;
}

void SoftVm::renew_stubs(u64 full, const Cpu& self) {
  bool passed = true;
  for (const auto& slot : cpus_) {
    Cpu* cpu = slot.load(std::memory_order_acquire);
    if (!cpu || cpu == &self || cpu->passed_stub_generation(full)) continue;
    cpu->request_check();
    passed = false;
  }
  if (passed) stubs.begin_next(full);
}

}  // namespace bhyve::soft
