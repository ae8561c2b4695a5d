#pragma once
// The in-line part of Cpu's memory accesses. Included by cpu.hpp, not by others.
#include "engine/soft/cpu.hpp"
#include "mem/ram_access.hpp"

namespace bhyve::soft {

inline u64 Cpu::effective_address(const Insn& i) const {
  u64 ea = reg<u64>(i.base) + (reg<u64>(i.index) << i.scale) + static_cast<u64>(i64{i.disp});
  if (i.ea == Ea::flat64) return ea;
  if (i.address_size == 2) return static_cast<u32>(ea);
  if (i.address_size == 1) return static_cast<u16>(ea);
  return ea;
}

inline bool Cpu::linear(const Insn& i, unsigned size, bool write, u64& la) {
  const u64 ea = effective_address(i);
  if (i.ea == Ea::flat64) [[likely]] {
    la = ea + seg_base[i.base_seg];
    return true;
  }
  return linear(static_cast<x86::Seg>(+i.seg), ea, size, write, la);
}

template <class T>
inline bool Cpu::read(u64 la, T& v, x86::Seg seg) {
  const Tlb::Entry& e = frame.tlb->at(la);
  if (Tlb::hits(e.read, la, sizeof(T))) [[likely]] {
    v = mem::ram_load<T>(e.host + (la & page_mask));
    return true;
  }
  u64 wide = 0;
  if (!read_slow(la, sizeof(T), wide, seg, false)) return false;
  v = static_cast<T>(wide);
  return true;
}

template <class T>
inline bool Cpu::write(u64 la, T v, x86::Seg seg) {
  const Tlb::Entry& e = frame.tlb->at(la);
  if (Tlb::hits(e.write, la, sizeof(T))) [[likely]] {
    mem::ram_store<T>(e.host + (la & page_mask), v);
    return true;
  }
  return write_slow(la, sizeof(T), v, seg, false);
}

template <class T>
inline bool Cpu::load(const Insn& i, T& v) {
  u64 la;
  return linear(i, sizeof(T), false, la) && read(la, v, static_cast<x86::Seg>(+i.seg));
}

template <class T>
inline bool Cpu::store(const Insn& i, T v) {
  u64 la;
  return linear(i, sizeof(T), true, la) && write(la, v, static_cast<x86::Seg>(+i.seg));
}

template <class T>
inline bool Cpu::read_system(u64 la, T& v) {
  u64 wide = 0;
  if (!read_slow(la, sizeof(T), wide, x86::Seg::ds, true)) return false;
  v = static_cast<T>(wide);
  return true;
}

template <class T>
inline bool Cpu::write_system(u64 la, T v) {
  return write_slow(la, sizeof(T), v, x86::Seg::ds, true);
}

}  // namespace bhyve::soft
