#include "engine/soft/replay/fpu.hpp"

#include <cpuid.h>

#include <cstring>

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

namespace {

constexpr u32 default_mxcsr = 0x1f80;
constexpr unsigned fcw_at = 0, fop_at = 6, fip_at = 8, fdp_at = 16, mxcsr_at = 24, st_at = 32, header_at = 512;

u64 read_xcr0() {
  u32 low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return u64{high} << 32 | low;
}

XsaveLayout read_layout() {
  XsaveLayout l;
  u32 a, b, c, d;
  auto offset = [&](unsigned component, u16 otherwise) {
    __cpuid_count(0xd, component, a, b, c, d);
    return a ? static_cast<u16>(b) : otherwise;
  };
  l.avx = offset(2, l.avx);
  l.opmask = offset(5, l.opmask);
  l.zmm_hi256 = offset(6, l.zmm_hi256);
  l.hi16_zmm = offset(7, l.hi16_zmm);
  l.size = static_cast<u16>(l.hi16_zmm + 1024);
  return l;
}

template <class T>
T field(const u8* area, unsigned at) {
  T v;
  __builtin_memcpy(&v, area + at, sizeof v);
  return v;
}
template <class T>
void set_field(u8* area, unsigned at, T v) {
  __builtin_memcpy(area + at, &v, sizeof v);
}

}  // namespace

const XsaveLayout& XsaveLayout::host() {
  static const XsaveLayout layout = read_layout();
  return layout;
}

u64 Fpu::host_xcr0() {
  static const u64 value = read_xcr0();
  return value;
}

u64 Fpu::host_components() {
  static const u64 components =
      host_xcr0() & (x86::xcr0::x87 | x86::xcr0::sse | x86::xcr0::avx | x86::xcr0::avx512);
  return components;
}

Fpu::Fpu(Cpu& cpu) : cpu_(cpu) {
  (void)XsaveLayout::host();
  set_field<u16>(area_.data(), fcw_at, 0x37f);
  set_field<u32>(area_.data(), mxcsr_at, default_mxcsr);
  (void)host_components();
}

void Fpu::make_live() {
  fetch();
  ++cpu_.counters.fpu_switches;
  const u64 mask = host_components();
  asm volatile("xrstor64 %0"
               :
               : "m"(area_), "a"(static_cast<u32>(mask)), "d"(static_cast<u32>(mask >> 32))
               : "memory");
  place_ = Place::live;
  cpu_.update_gates();
}

void Fpu::make_parked() {
  const u64 mask = host_components();
  asm volatile("xsave64 %0"
               : "+m"(area_)
               : "a"(static_cast<u32>(mask)), "d"(static_cast<u32>(mask >> 32))
               : "memory");
  // XSAVE writes MXCSR whatever XSTATE_BV says; the pointers are ours to keep.
  asm volatile("fninit\n\tldmxcsr %0" : : "m"(default_mxcsr));
  if (mask & x86::xcr0::avx) asm volatile("vzeroupper");
  place_ = Place::parked;
  cpu_.frame.gates = 0;
}

void Fpu::bring_home() {
  if (place_ == Place::live) return make_parked();
  place_ = Place::parked;
  if (holder_->bring_back(area_)) return take_pointers();
  lost_ = true;
  cpu_.request_check();
}

void Fpu::materialise(unsigned component) {
  u64& bv = xstate_bv();
  if (bv >> component & 1) return;
  if (component == 0) {
    std::memset(area_.data(), 0, mxcsr_at);
    set_field<u16>(area_.data(), fcw_at, 0x37f);
    std::memset(area_.data() + 32, 0, 128);
  } else if (component == 1) {
    std::memset(area_.data() + 160, 0, 256);
  } else {
    const auto part = XsaveLayout::host().part(component);
    std::memset(area_.data() + part.offset, 0, part.length);
  }
  bv |= bit(component);
}

void Fpu::export_to(std::span<u8> out) {
  fetch();
  std::memset(out.data(), 0, out.size());
  std::memcpy(out.data(), area_.data(), header_at);
  set_field<u16>(out.data(), fop_at, fop);
  set_field<u64>(out.data(), fip_at, fip);
  set_field<u64>(out.data(), fdp_at, fdp);
  const u64 bv = xstate_bv();
  set_field<u64>(out.data(), header_at, bv);
  for (const unsigned component : {2u, 5u, 6u, 7u}) {
    const auto from = XsaveLayout::host().part(component);
    const auto to = XsaveLayout::intel().part(component);
    if ((bv >> component & 1) && to.offset + to.length <= out.size())
      std::memcpy(out.data() + to.offset, area_.data() + from.offset, from.length);
  }
}

std::span<const u8> Fpu::complete() {
  fetch();
  materialise(1);  // the host's kernel takes MXCSR from there
  put_pointers();
  return {area_.data(), XsaveLayout::host().size};
}

void Fpu::put_pointers() {
  if (!(xstate_bv() & bit(0))) return;
  set_field<u16>(area_.data(), fop_at, fop);
  set_field<u64>(area_.data(), fip_at, fip);
  set_field<u64>(area_.data(), fdp_at, fdp);
}

/// The guest's own code ran.
void Fpu::take_pointers() {
  const bool used = xstate_bv() & bit(0);
  fop = used ? static_cast<u16>(field<u16>(area_.data(), fop_at) & 0x7ff) : u16{0};
  fip = used ? field<u64>(area_.data(), fip_at) : 0;
  fdp = used ? field<u64>(area_.data(), fdp_at) : 0;
}

/// Takes any bytes: what XRSTOR would refuse is cut away.
void Fpu::import_from(std::span<const u8> in) {
  place_ = Place::parked;
  lost_ = false;
  cpu_.frame.gates = 0;
  area_.fill(0);
  std::memcpy(area_.data(), in.data(), 416);
  for (usize n = 0; n < 8; ++n) std::memset(area_.data() + st_at + n * 16 + 10, 0, 6);  // as live ones have it
  const u64 bv = field<u64>(in.data(), header_at) & host_components();
  xstate_bv() = bv;
  fop = static_cast<u16>(field<u16>(in.data(), fop_at) & 0x7ff);
  fip = field<u64>(in.data(), fip_at);
  fdp = field<u64>(in.data(), fdp_at);
  set_field<u32>(area_.data(), mxcsr_at, field<u32>(in.data(), mxcsr_at) & 0xffff);
  for (const unsigned component : {2u, 5u, 6u, 7u}) {
    const auto to = XsaveLayout::host().part(component);
    const auto from = XsaveLayout::intel().part(component);
    if ((bv >> component & 1) && from.offset + from.length <= in.size())
      std::memcpy(area_.data() + to.offset, in.data() + from.offset, from.length);
  }
}

}  // namespace bhyve::soft
