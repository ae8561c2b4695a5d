// Where locked instructions find their operand: the host's own locked instruction does the rest.
#include <sys/mman.h>

#include "engine/soft/cpu.hpp"
#include "engine/soft/decode/form_cache.hpp"
#include "engine/soft/runtime/block_cache.hpp"
#include "engine/soft/runtime/soft_vm.hpp"

namespace bhyve::soft {

using mem::Prot;

namespace {

/// Maps two pages of RAM side by side, so that one host instruction can lock an operand across
/// their border. nullptr when either is not plain RAM.
std::byte* map_pair(std::byte*& window, const mem::Vmspace& space, const std::byte* first_host,
                    Gpa first, const std::byte* second_host, Gpa second) {
  const std::byte* ram = space.arena().host(pmap::FrameArena::address(pmap::FrameArena::ram_bank, 0));
  if (first_host != ram + first.value() || second_host != ram + second.value()) return nullptr;
  if (!window) {
    void* p = ::mmap(nullptr, 2 * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    window = static_cast<std::byte*>(p);
  }
  const Gpa pages[] = {first.page(), second.page()};
  // The window is not known to mem::HostBacking: the pages are there before it shows them.
  (void)mem::ram_load<u8>(first_host);
  (void)mem::ram_load<u8>(second_host);
  for (unsigned n = 0; n < 2; ++n)
    if (::mmap(window + n * page_size, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
               space.ram_fd(), static_cast<off_t>(pages[n].value())) == MAP_FAILED)
      return nullptr;
  return window + first.page_offset();
}

}  // namespace

Cpu::~Cpu() {
  if (split_window_) ::munmap(split_window_, 2 * page_size);
}

bool Cpu::locked_pointer(u64 la, unsigned n, std::byte*& host, bool& is_mmio, x86::Seg seg) {
  is_mmio = false;
  host = direct(la, n, true);
  if (host) return true;
  if (!check_linear(la, n, seg, false)) return false;
  Place first, second;
  if (!resolve(la, Prot::write, false, first)) return false;
  const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
  const bool crosses = n > room;
  if (crosses && !resolve(la + room, Prot::write, false, second)) return false;
  const bool device = !first.host || (crosses && !second.host);
  if ((first.code || second.code || device) && !single_) {
    failed_ = Step::single;
    return false;
  }
  if (watching_) [[unlikely]] note_access(la, n, true);
  // The store comes after this returns, so the pages count as written when the instruction ends.
  if (first.code) late_code_writes_[0] = first.gpa.page_number();
  if (second.code) late_code_writes_[1] = second.gpa.page_number();
  host = first.host;
  if (!device && crosses) {
    fpu.park();
    host = map_pair(split_window_, vm_.space, first.host, first.gpa, second.host, second.gpa);
  }
  is_mmio = device || !host;
  if (is_mmio) host = nullptr;
  return true;
}

}  // namespace bhyve::soft
