#include "engine/soft/runtime/page_walker.hpp"

#include <algorithm>

#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/store_journal.hpp"

namespace bhyve::soft {

namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;
namespace pte = x86::pte;
using mem::Prot;

namespace {

/// Sets `bits` in a guest entry unless it changed meanwhile. False: walk again.
template <class T>
bool set_bits(T* host, T& entry, T bits) {
  if ((entry & bits) == bits) return true;
  T expected = entry;
  const T desired = entry | bits;
  if (!__atomic_compare_exchange_n(host, &expected, desired, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST))
    return false;
  entry = desired;
  return true;
}

constexpr unsigned max_retries = 16;  ///< another vCPU rewrites the entry again and again

}  // namespace

PageWalker::PageWalker(Cpu& cpu) : cpu_(cpu), nested_ad_(cpu.vm().space.pmap().ad_bits()) {}

u32 PageWalker::error_code(u32 cause, Prot access, bool user) const {
  u32 e = cause;
  if (has(access, Prot::write)) e |= x86::pf::write;
  if (user) e |= x86::pf::user;
  const bool nx_on = (cpu_.s.efer & x86::efer::nxe) && (cpu_.s.cr4 & cr4::pae);
  if (has(access, Prot::exec) && (nx_on || (cpu_.s.cr4 & cr4::smep))) e |= x86::pf::fetch;
  return e;
}

bool PageWalker::permitted(const Result& r, Prot access, bool user, bool smap) const {
  if (has(access, Prot::exec)) {
    if (user) return r.user && r.executable;
    return r.executable && !(r.user && (cpu_.s.cr4 & cr4::smep));
  }
  if (user && !r.user) return false;
  if (!user && r.user && smap) return false;
  if (has(access, Prot::write) && !r.writable) return !user && !(cpu_.s.cr0 & cr0::wp);
  return true;
}

template <class T>
PageWalker::Status PageWalker::read_entry(Gpa at, T*& host, T& entry) {
  bool failed = false;
  // With EPT accessed/dirty bits, accesses to guest tables count as writes (SDM vol. 3, 28.3.5).
  std::byte* p = cpu_.nested(at, nested_ad_ ? Prot::rw : Prot::read, failed);
  if (failed) return Status::stopped;
  if (!p) {
    // Tables in ROM: A and D stay as they are. In device memory or in nothing they read as all
    // ones, as from an idle bus.
    p = cpu_.nested(at, Prot::read, failed);
    if (failed) return Status::stopped;
    host = nullptr;
    entry = p ? __atomic_load_n(reinterpret_cast<T*>(p), __ATOMIC_RELAXED)
              : static_cast<T>(~T{0});
    return Status::ok;
  }
  host = reinterpret_cast<T*>(p);
  entry = __atomic_load_n(host, __ATOMIC_RELAXED);
  return Status::ok;
}

template <class T>
PageWalker::Status PageWalker::mark(Gpa at, T* host, T& entry, u64 bits, bool& again) {
  again = false;
  const T wanted = static_cast<T>(bits);
  if (!host || (entry & wanted) == wanted) return Status::ok;
  if (!nested_ad_) {
    bool failed = false;
    host = reinterpret_cast<T*>(cpu_.nested(at, Prot::rw, failed));
    if (failed) return Status::stopped;
    if (!host) return Status::ok;  // a table in ROM
  }
  // Taken back and marked again: what is cached of the page must not stay.
  if (cpu_.journal_) [[unlikely]] cpu_.journal_->note_marked(reinterpret_cast<std::byte*>(host), sizeof(T));
  again = !set_bits<T>(host, entry, wanted);
  return Status::ok;
}

PageWalker::Status PageWalker::walk64(u64 la, Prot access, bool user, bool smap, Result& out,
                                      u32& error) {
  const bool la4 = cpu_.s.efer & x86::efer::lma;
  const bool nx_on = cpu_.s.efer & x86::efer::nxe;
  const u64 address_reserved = pte::frame & ~((u64{1} << cpu_.model().physical_bits()) - 1);
  const u64 reserved = address_reserved | (nx_on ? 0 : pte::nx);
  const bool pages_1gb = cpu_.model().has(CpuModel::Feature::page1gb);

  for (unsigned attempt = 0; attempt < max_retries; ++attempt) {
    bool writable = true, user_ok = true, executable = true, again = false;
    Gpa table(cpu_.s.cr3 & pte::frame);
    if (!la4) {
      const u64 pdpte = cpu_.pdpte_[la >> 30 & 3];
      if (!(pdpte & pte::p)) {
        error = error_code(0, access, user);
        return Status::fault;
      }
      table = Gpa(pdpte & pte::frame);
    }
    for (int level = la4 ? 3 : 1; level >= 0; --level) {
      const unsigned shift = page_shift + 9 * static_cast<unsigned>(level);
      const u64 index = la >> shift & 511;
      u64* host;
      u64 entry;
      const Gpa at = table + index * 8;
      if (const Status st = read_entry<u64>(at, host, entry); st != Status::ok) return st;
      if (!(entry & pte::p)) {
        error = error_code(0, access, user);
        return Status::fault;
      }
      u64 bad = reserved;
      const bool leaf = level == 0 || (level < 3 && (entry & pte::ps));
      if (level == 3 || (level == 2 && !pages_1gb)) bad |= pte::ps;
      if (!la4) bad |= 0x7ff0'0000'0000'0000;
      if (leaf && level > 0) bad |= ((u64{1} << shift) - 1) & ~u64{0x1fff};
      if (entry & bad) {
        error = error_code(x86::pf::present | x86::pf::reserved, access, user);
        return Status::fault;
      }
      writable &= (entry & pte::rw) != 0;
      user_ok &= (entry & pte::us) != 0;
      executable &= !(entry & pte::nx) || !nx_on;
      if (!leaf) {
        if (const Status st = mark<u64>(at, host, entry, pte::a, again); st != Status::ok) return st;
        if (again) break;
        table = Gpa(entry & pte::frame);
        continue;
      }
      const u64 span = (u64{1} << shift) - 1;
      out = {Gpa((entry & pte::frame & ~span) | (la & span)), writable, user_ok, executable,
             false, (entry & pte::g) && (cpu_.s.cr4 & cr4::pge), level > 0, level > 1};
      if (!permitted(out, access, user, smap)) {
        error = error_code(x86::pf::present, access, user);
        return Status::fault;
      }
      const u64 marks = pte::a | (has(access, Prot::write) ? pte::d : 0);
      if (const Status st = mark<u64>(at, host, entry, marks, again); st != Status::ok) return st;
      if (again) break;
      out.dirty = entry & pte::d;
      return Status::ok;
    }
    if (!again) break;
  }
  error = error_code(0, access, user);  // spurious fault: the guest simply tries again
  return Status::fault;
}

PageWalker::Status PageWalker::walk32(u64 la, Prot access, bool user, bool smap, Result& out,
                                      u32& error) {
  const bool pse = cpu_.s.cr4 & cr4::pse;
  // PSE-36: bits 20-13 are address bits 39-32, of which those that do not exist are reserved.
  const unsigned high_bits = std::min(cpu_.model().physical_bits(), 40u) - 32;
  const u32 reserved = static_cast<u32>(bit(21) | ((0xff << high_bits & 0xff) << 13));
  for (unsigned attempt = 0; attempt < max_retries; ++attempt) {
    u32 *dir_host, *host, pde, entry;
    bool again;
    Gpa at;
    const Gpa dir((cpu_.s.cr3 & 0xffff'f000) + (la >> 22 & 1023) * 4);
    if (const Status st = read_entry<u32>(dir, dir_host, pde); st != Status::ok) return st;
    if (!(pde & pte::p)) {
      error = error_code(0, access, user);
      return Status::fault;
    }
    bool large = pse && (pde & pte::ps);
    if (large) {
      if (pde & reserved) {
        error = error_code(x86::pf::present | x86::pf::reserved, access, user);
        return Status::fault;
      }
      host = dir_host;
      at = dir;
      entry = pde;
      const u64 high = u64{pde >> 13 & 0xff} << 32;  // PSE-36
      out = {Gpa(high | (pde & 0xffc0'0000) | (la & 0x3f'ffff)), (pde & pte::rw) != 0,
             (pde & pte::us) != 0, true, false, false, true, true};
    } else {
      if (const Status st = mark<u32>(dir, dir_host, pde, pte::a, again); st != Status::ok) return st;
      if (again) continue;
      at = Gpa((pde & 0xffff'f000) + (la >> 12 & 1023) * 4);
      if (const Status st = read_entry<u32>(at, host, entry); st != Status::ok) return st;
      if (!(entry & pte::p)) {
        error = error_code(0, access, user);
        return Status::fault;
      }
      out = {Gpa((entry & 0xffff'f000) | (la & page_mask)), (pde & entry & pte::rw) != 0,
             (pde & entry & pte::us) != 0, true, false, false, false, false};
    }
    out.global = (entry & pte::g) && (cpu_.s.cr4 & cr4::pge);
    if (!permitted(out, access, user, smap)) {
      error = error_code(x86::pf::present, access, user);
      return Status::fault;
    }
    const u64 marks = pte::a | (has(access, Prot::write) ? pte::d : 0);
    if (const Status st = mark<u32>(at, host, entry, marks, again); st != Status::ok) return st;
    if (again) continue;
    out.dirty = entry & pte::d;
    return Status::ok;
  }
  error = error_code(0, access, user);
  return Status::fault;
}

PageWalker::Status PageWalker::read_pdptes(u64 cr3, std::array<u64, 4>& out) {
  const u64 address_reserved = ~u64{0} << cpu_.model().physical_bits();
  const Gpa table(cr3 & 0xffff'ffe0);
  for (unsigned n = 0; n < out.size(); ++n) {
    u64* host;
    if (const Status st = read_entry<u64>(table + n * 8, host, out[n]); st != Status::ok) return st;
    if (out[n] & pte::p && out[n] & (0x1e6 | address_reserved)) return Status::fault;
  }
  return Status::ok;
}

bool Cpu::load_pdptes(u64 cr3) {
  std::array<u64, 4> loaded;
  switch (PageWalker(*this).read_pdptes(cr3, loaded)) {
    case PageWalker::Status::ok: pdpte_ = loaded; return true;
    case PageWalker::Status::fault: gp0(); return false;
    default: return false;
  }
}

PageWalker::Status PageWalker::walk(u64 la, Prot access, bool user, bool smap, Result& out,
                                    u32& error) {
  ++cpu_.counters.page_walks;
  if (!(cpu_.s.cr0 & cr0::pg)) {
    out = {Gpa(la & 0xffff'ffff), true, true, true, true, false, false, false};
    return Status::ok;
  }
  if (cpu_.s.cr4 & cr4::pae) return walk64(la, access, user, smap, out, error);
  return walk32(la & 0xffff'ffff, access, user, smap, out, error);
}

}  // namespace bhyve::soft
