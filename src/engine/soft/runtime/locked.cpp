// Where locked instructions find their operand: the host's own locked instruction does the rest,
// or, across a cache line, BusLock.
#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/store_journal.hpp"

namespace bhyve::soft {

using mem::Prot;

namespace {

constexpr u64 line_size = 64;

/// Bytes of the n at `p` that lie before the end of its cache line.
unsigned in_line(const std::byte* p, unsigned n) {
  const u64 room = line_size - (reinterpret_cast<u64>(p) & (line_size - 1));
  return room < n ? static_cast<unsigned>(room) : n;
}

}  // namespace

bool Cpu::locked_operand(u64 la, unsigned n, x86::Seg seg, LockedOperand& out) {
  Place first, second;
  const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
  const bool crosses = n > room;
  first.host = direct(la, n, true);
  if (!first.host) {
    if (!check_linear(la, n, seg, false)) return false;
    if (!resolve(la, Prot::write, false, first)) return false;
    if (crosses && !resolve(la + room, Prot::write, false, second)) return false;
    const bool device = !first.host || (crosses && !second.host);
    if ((first.code || second.code || device) && !single_) {
      failed_ = Step::single;
      return false;
    }
    if (watching_) [[unlikely]] note_access(la, n, true);
    if (device) {
      out = {};
      return true;
    }
    // The store comes after this returns, so the pages count as written when the instruction ends.
    if (first.code) late_code_writes_[0] = first.gpa.page_number();
    if (second.code) late_code_writes_[1] = second.gpa.page_number();
  }
  if (journal_) [[unlikely]] {
    journal_->note(first.host, crosses ? room : n);
    if (crosses) journal_->note(second.host, n - room);
  }
  out = {first.host, nullptr, crosses ? room : in_line(first.host, n)};
  if (out.in_first == n) return true;
  out.second = crosses ? second.host : first.host + out.in_first;
  ++counters.bus_locks;
  fpu.park();
  return true;
}

}  // namespace bhyve::soft
