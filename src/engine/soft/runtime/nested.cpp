// The nested walker: guest-physical address -> host, through the EPT entries of the VM's pmap.
#include "engine/soft/cpu.hpp"
#include "engine/soft/direct/direct_executor.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

using mem::Prot;
namespace ept = x86::ept;

std::byte* Cpu::nested(Gpa gpa, Prot access, bool& failed) {
  NestedEntry& e = nested_[gpa.page_number() & (nested_entries - 1)];
  const u64 page = gpa.page().value();
  const bool hit = has(access, Prot::write)  ? e.write == page
                   : has(access, Prot::exec) ? e.exec == page
                                             : e.read == page;
  if (hit) [[likely]] return e.host + gpa.page_offset();
  return nested_walk(gpa, access, failed);
}

void Cpu::sync_apic_page() {
  const u64 page = leave().apic_page(id_).value();
  if (page == apic_page_) return;
  apic_page_ = page;
  for (NestedEntry& e : nested_) e = NestedEntry{};
  flush_tlb(false);
}

/// Walks the EPT (SDM vol. 3, 28.3.2) with accessed and dirty bits, asks the vmspace on a violation.
/// nullptr with failed = false means that there is no memory (device memory or ROM written to).
std::byte* Cpu::nested_walk(Gpa gpa, Prot access, bool& failed) {
  if (gpa.page().value() == apic_page_) return nullptr;
  const pmap::FrameArena& arena = vm_.space.arena();
  const bool ad = vm_.space.pmap().ad_bits();
  u64 need = 0;
  if (has(access, Prot::read)) need |= ept::r;
  if (has(access, Prot::write)) need |= ept::w;
  if (has(access, Prot::exec)) need |= ept::x;

  for (;;) {
    ArenaAddr table = vm_.space.pmap().root();
    u64 rights = ept::rwx;
    for (int level = 3; level >= 0; --level) {
      const unsigned shift = page_shift + 9 * static_cast<unsigned>(level);
      auto* slot = reinterpret_cast<u64*>(arena.host(table)) + (gpa.value() >> shift & 511);
      u64 entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
      rights &= entry;
      if (!(entry & ept::rwx) || (rights & need) != need || gpa.value() >> 48) break;
      const bool leaf = level == 0 || (level < 3 && (entry & ept::ps));
      if (ad) {
        const u64 marks = ept::a | (leaf && (need & ept::w) ? ept::d : 0);
        if ((entry & marks) != marks &&
            !__atomic_compare_exchange_n(slot, &entry, entry | marks, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST)) {
          ++level;  // the entry changed under us: look at it again
          continue;
        }
      }
      table = ArenaAddr(entry & ept::frame);
      if (!leaf) continue;

      const u64 span = (u64{1} << shift) - 1;
      std::byte* host = arena.host(ArenaAddr((entry & ept::frame & ~span) | (gpa.value() & span)));
      NestedEntry& e = nested_[gpa.page_number() & (nested_entries - 1)];
      const u64 page = gpa.page().value();
      std::byte* page_host = host - gpa.page_offset();
      if (e.host != page_host || (e.read != page && e.write != page && e.exec != page))
        e = NestedEntry{};
      e.host = page_host;
      if (rights & ept::r) e.read = page;
      if (rights & ept::x) e.exec = page;
      if (need & ept::w) e.write = page;  // only now is D set
      return host;
    }
    ++counters.nested_faults;
    fpu.park();
    mem::FaultResult result = vm_.space.fault(gpa, access);
    const bool waits = result == mem::FaultResult::wait && !delivering_;
    // Nothing brings the delivery of an event back: it waits here, where others may wait for it.
    if (result == mem::FaultResult::wait && delivering_) result = vm_.space.resolve(gpa, access);
    switch (result) {
      case mem::FaultResult::resolved: continue;
      case mem::FaultResult::mmio:
      case mem::FaultResult::denied: return nullptr;
      case mem::FaultResult::wait:
      case mem::FaultResult::error: break;
    }
    exit_.paging = {gpa, access, waits};
    leave_with(abi::ExitCode::paging);
    failed = true;
    return nullptr;
  }
}

}  // namespace bhyve::soft
