// Data accesses that miss the TLB: translation, protection, page borders, device memory, code pages.
#include "engine/soft/cpu.hpp"
#include "engine/soft/runtime/page_walker.hpp"
#include "engine/soft/runtime/soft_vm.hpp"
#include "engine/soft/translate/store_journal.hpp"

namespace bhyve::soft {

using mem::Prot;
using x86::Seg;

Tlb& Cpu::tlb_for(bool system) {
  const bool smap = s.cr4 & x86::cr4::smap;
  if (system) return tlbs_[smap ? supervisor_smap : supervisor_plain];
  if (cpl_ == 3) return tlbs_[user + space_];
  const bool allowed = !smap || (sysflags & x86::rflags::ac);
  return tlbs_[allowed ? supervisor_plain : supervisor_smap];
}

void Cpu::page_fault(u64 la, u32 error) {
  s.cr2 = la;
  raise(x86::Vector::pf, error);
}

/// Canonical form, then alignment (CR0.AM, EFLAGS.AC, CPL 3; SDM vol. 3, 6.15 #AC).
bool Cpu::check_linear(u64 la, unsigned size, Seg seg, bool system) {
  if (long_mode() && (!x86::is_canonical(la) || !x86::is_canonical(la + size - 1))) [[unlikely]] {
    raise(seg == Seg::ss ? x86::Vector::ss : x86::Vector::gp, 0);
    return false;
  }
  if (ac_ && !system && (la & (size - 1)) && (size & (size - 1)) == 0) [[unlikely]] {
    raise(x86::Vector::ac, 0);
    return false;
  }
  return true;
}

bool Cpu::resolve(u64 la, Prot access, bool system, Place& out) {
  if (!long_mode()) la = static_cast<u32>(la);
  const bool writing = has(access, Prot::write);
  Tlb& tlb = tlb_for(system);
  Tlb::Entry& e = tlb.at(la);
  Tlb::Detail& d = tlb.detail(la);
  const u64 page = la & ~page_mask;
  const u64 key = writing ? e.write : has(access, Prot::exec) ? d.exec : e.read;
  if (key == Tlb::key(page)) {
    out = {e.host + (la & page_mask), d.gpa + (la & page_mask), false};
    return true;
  }

  ++counters.tlb_misses;
  const bool is_user = !system && cpl_ == 3;
  const bool smap = &tlb == &tlbs_[supervisor_smap];
  PageWalker::Result r;
  u32 error = 0;
  switch (PageWalker(*this).walk(la, access, is_user, smap, r, error)) {
    case PageWalker::Status::ok: break;
    case PageWalker::Status::fault: page_fault(la, error); return false;
    case PageWalker::Status::stopped: return false;
  }
  bool failed = false;
  std::byte* host = nested(r.gpa, access, failed);
  if (failed) return false;
  out = {host, r.gpa, false};
  if (!host) return true;

  const bool watched = vm_.space.code_pages().watched(r.gpa.page_number());
  out.code = writing && watched;
  const Gpa gpa_page = r.gpa.page();
  if (d.page != page + 1 || d.gpa != gpa_page) tlb.clear(la);
  tlb.note(la, r.global);
  if (journal_) [[unlikely]] journal_->note_fill(tlb, la);
  d = {d.exec, page + 1, gpa_page, r.global, r.large};
  if (r.large) large_pages_[la >> 27 & 63] |= bit(la >> 21 & 63);
  if (r.huge) huge_pages_ |= bit(la >> 30 & 63);
  e.host = host - (la & page_mask);
  e.addend = reinterpret_cast<u64>(host) - la;
  if (has(access, Prot::exec)) {
    d.exec = Tlb::key(page);
    return true;
  }
  e.read = Tlb::key(page);
  const bool may_write = r.writable || (!is_user && !(s.cr0 & x86::cr0::wp));
  const bool nested_dirty = nested_[r.gpa.page_number() & (nested_entries - 1)].write ==
                            gpa_page.value();
  if (r.dirty && may_write && nested_dirty && !watched) {
    e.write = Tlb::key(page);
    note_writer(tlb, la, gpa_page);
  }
  return true;
}

bool Cpu::mmio(Gpa gpa, unsigned size, u64& v, Dir dir) {
  if (!single_) {  // device accesses happen one instruction at a time: it may have to start again
    failed_ = Step::single;
    return false;
  }
  Answer a;
  if (!delivering_ && take_answer(Answer::Kind::mmio, dir, gpa.value(), size, a)) {
    v = a.value;
    return true;
  }
  ++counters.mmio;
  u64 value = v;
  switch (leave().mmio(id_, gpa, size, value, dir)) {
    case engine::Client::Access::done:
      break;
    case engine::Client::Access::fault:
      gp0();
      return false;
    case engine::Client::Access::exit:
      if (delivering_) {
        value = ~u64{0};
        break;
      }
      exit_.mmio = {gpa, static_cast<u8>(size), dir == Dir::write, v};
      leave_with(abi::ExitCode::inst_emul);
      return false;
  }
  if (dir == Dir::read) v = size == 8 ? value : value & (bit(size * 8) - 1);
  if (!delivering_)
    keep_answer({Answer::Kind::mmio, dir, static_cast<u8>(size), false, gpa.value(), v});
  return true;
}

bool Cpu::read_place(const Place& p, unsigned size, u64& v) {
  if (!p.host) {
    if ((size & (size - 1)) == 0) return mmio(p.gpa, size, v, Dir::read);
    v = 0;
    for (unsigned n = 0; n < size; ++n) {
      u64 byte = 0;
      if (!mmio(p.gpa + n, 1, byte, Dir::read)) return false;
      v |= byte << (8 * n);
    }
    return true;
  }
  switch (size) {
    case 1: v = mem::ram_load<u8>(p.host); return true;
    case 2: v = mem::ram_load<u16>(p.host); return true;
    case 4: v = mem::ram_load<u32>(p.host); return true;
    case 8: v = mem::ram_load<u64>(p.host); return true;
    default: break;
  }
  v = 0;
  for (unsigned n = 0; n < size; ++n) v |= u64{mem::ram_load<u8>(p.host + n)} << (8 * n);
  return true;
}

bool Cpu::write_place(const Place& p, unsigned size, u64 v) {
  if (!p.host) {
    if ((size & (size - 1)) == 0) return mmio(p.gpa, size, v, Dir::write);
    for (unsigned n = 0; n < size; ++n) {
      u64 byte = v >> (8 * n) & 0xff;
      if (!mmio(p.gpa + n, 1, byte, Dir::write)) return false;
    }
    return true;
  }
  if (journal_) [[unlikely]] journal_->note(p.host, size);
  switch (size) {
    case 1: mem::ram_store<u8>(p.host, static_cast<u8>(v)); break;
    case 2: mem::ram_store<u16>(p.host, static_cast<u16>(v)); break;
    case 4: mem::ram_store<u32>(p.host, static_cast<u32>(v)); break;
    case 8: mem::ram_store<u64>(p.host, v); break;
    default:
      for (unsigned n = 0; n < size; ++n)
        mem::ram_store<u8>(p.host + n, static_cast<u8>(v >> (8 * n)));
  }
  if (p.code) {
    ++counters.code_writes;
    vm_.space.code_pages().written(p.gpa.page_number());
  }
  return true;
}

bool Cpu::read_slow(u64 la, unsigned size, u64& v, Seg seg, bool system) {
  if (!check_linear(la, size, seg, system)) return false;
  Place first;
  if (!resolve(la, Prot::read, system, first)) return false;
  if (watching_) [[unlikely]] note_access(la, size, false);
  const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
  if (size <= room) return read_place(first, size, v);
  Place second;
  u64 low = 0, high = 0;
  if (!resolve(la + room, Prot::read, system, second) || !read_place(first, room, low) ||
      !read_place(second, size - room, high))
    return false;
  v = low | high << (8 * room);
  return true;
}

bool Cpu::write_slow(u64 la, unsigned size, u64 v, Seg seg, bool system) {
  if (!check_linear(la, size, seg, system)) return false;
  Place first, second;
  if (!resolve(la, Prot::write, system, first)) return false;
  const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
  const bool crosses = size > room;
  if (crosses && !resolve(la + room, Prot::write, system, second)) return false;
  if (watching_) [[unlikely]] note_access(la, size, true);
  if ((first.code || second.code) && !single_) {
    failed_ = Step::single;
    return false;
  }
  if (!crosses) return write_place(first, size, v);
  return write_place(first, room, v) && write_place(second, size - room, v >> (8 * room));
}

bool Cpu::read_bytes(u64 la, void* into, unsigned n, Seg seg) {
  if (!check_linear(la, n, seg, true)) return false;
  if (watching_) [[unlikely]] note_access(la, n, false);
  auto* to = static_cast<u8*>(into);
  while (n) {
    const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
    const unsigned part = n < room ? n : room;
    Place p;
    if (!resolve(la, Prot::read, false, p)) return false;
    if (p.host) {
      mem::ram_copy(to, p.host, part);
    } else {
      for (unsigned done = 0; done < part;) {  // the widest naturally aligned pieces
        unsigned size = 8;
        while (size > part - done || (p.gpa.value() + done) % size) size /= 2;
        u64 v = 0;
        if (!mmio(p.gpa + done, size, v, Dir::read)) return false;
        mem::ram_copy(to + done, &v, size);
        done += size;
      }
    }
    la += part;
    to += part;
    n -= part;
  }
  return true;
}

bool Cpu::probe_write(u64 la, unsigned n, Seg seg) {
  if (!check_linear(la, n, seg, true)) return false;
  while (n) {
    const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
    const unsigned part = n < room ? n : room;
    Place p;
    if (!resolve(la, Prot::write, false, p)) return false;
    if ((p.code || !p.host) && !single_) {
      failed_ = Step::single;
      return false;
    }
    la += part;
    n -= part;
  }
  return true;
}

bool Cpu::write_bytes(u64 la, const void* from, unsigned n, Seg seg) {
  if (!probe_write(la, n, seg)) return false;
  if (watching_) [[unlikely]] note_access(la, n, true);
  const auto* bytes = static_cast<const u8*>(from);
  while (n) {
    const unsigned room = static_cast<unsigned>(page_size - (la & page_mask));
    const unsigned part = n < room ? n : room;
    Place p;
    if (!resolve(la, Prot::write, false, p)) return false;
    if (p.host) {
      if (journal_) [[unlikely]] journal_->note(p.host, part);
      mem::ram_copy(p.host, bytes, part);
      if (p.code) vm_.space.code_pages().written(p.gpa.page_number());
    } else {
      for (unsigned done = 0; done < part;) {
        unsigned size = 8;
        while (size > part - done || (p.gpa.value() + done) % size) size /= 2;
        u64 v = 0;
        mem::ram_copy(&v, bytes + done, size);  // not libc: vector registers may be the guest's
        if (!mmio(p.gpa + done, size, v, Dir::write)) return false;
        done += size;
      }
    }
    la += part;
    bytes += part;
    n -= part;
  }
  return true;
}

std::byte* Cpu::direct(u64 la, unsigned n, bool write) {
  const Tlb::Entry& e = frame.tlb->at(la);
  if (n == 0 || !Tlb::hits(write ? e.write : e.read, la, n)) return nullptr;
  return e.host + (la & page_mask);
}

bool Cpu::translate(u64 la, Prot access, bool is_user, Gpa& out) {
  PageWalker::Result r;
  u32 error = 0;
  const bool smap = !is_user && &tlb_for(false) == &tlbs_[supervisor_smap];
  switch (PageWalker(*this).walk(la, access, is_user, smap, r, error)) {
    case PageWalker::Status::ok: out = r.gpa; return true;
    case PageWalker::Status::fault: page_fault(la, error); return false;
    case PageWalker::Status::stopped: break;
  }
  return false;
}

}  // namespace bhyve::soft
