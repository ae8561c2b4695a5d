#include "engine/soft/replay/parked_registers.hpp"

#include "base/bits.hpp"

namespace bhyve::soft {

namespace {

constexpr unsigned sse = 1, avx = 2, opmasks = 5, zmm_hi256 = 6, hi16_zmm = 7;
constexpr u16 fsw_es = 0x80, fsw_top = 0x3800;
constexpr unsigned fsw_top_shift = 11;

/// Where component n begins in the parked area.
unsigned component_offset(unsigned component) {
  if (component == sse) return offsetof(LegacyRegion, xmm);
  return XsaveLayout::host().part(component).offset;
}

}  // namespace

void ParkedRegisters::get(unsigned component, unsigned offset, u8* to, unsigned n) const {
  if (initial(component))
    std::memset(to, 0, n);
  else
    std::memcpy(to, fpu_.area() + component_offset(component) + offset, n);
}

/// Zeros do not bring a component out of its initial state.
void ParkedRegisters::put(unsigned component, unsigned offset, const u8* from, unsigned n) {
  if (!(Fpu::host_components() >> component & 1)) return;
  if (initial(component)) {
    bool any = false;
    for (unsigned k = 0; k < n; ++k) any |= from[k] != 0;
    if (!any) return;
    fpu_.materialise(component);
  }
  std::memcpy(fpu_.area() + component_offset(component) + offset, from, n);
}

u64 ParkedRegisters::opmask(unsigned k) const {
  u64 v = 0;
  get(opmasks, k * 8, reinterpret_cast<u8*>(&v), 8);
  return v;
}

void ParkedRegisters::set_opmask(unsigned k, u64 value) {
  put(opmasks, k * 8, reinterpret_cast<const u8*>(&value), 8);
}

ParkedRegisters::Vector ParkedRegisters::read(unsigned reg) const {
  Vector v;
  if (reg < 16) {
    get(sse, reg * 16, v.bytes.data(), 16);
    get(avx, reg * 16, v.bytes.data() + 16, 16);
    get(zmm_hi256, reg * 32, v.bytes.data() + 32, 32);
  } else {
    get(hi16_zmm, (reg - 16) * 64, v.bytes.data(), 64);
  }
  return v;
}

void ParkedRegisters::write(unsigned reg, const Vector& v) {
  if (reg < 16) {
    put(sse, reg * 16, v.bytes.data(), 16);
    put(avx, reg * 16, v.bytes.data() + 16, 16);
    put(zmm_hi256, reg * 32, v.bytes.data() + 32, 32);
  } else {
    put(hi16_zmm, (reg - 16) * 64, v.bytes.data(), 64);
  }
}

u64 ParkedRegisters::mmx(unsigned n) {
  if (initial(0)) return 0;
  const unsigned top = (legacy().head.fsw & fsw_top) >> fsw_top_shift;
  u64 v;
  std::memcpy(&v, legacy().st[(n - top) & 7], 8);
  return v;
}

void ParkedRegisters::enter_mmx() {
  fpu_.materialise(0);
  LegacyRegion& area = legacy();
  const unsigned top = (area.head.fsw & fsw_top) >> fsw_top_shift;
  if (top) {
    u8 old[8][16];
    std::memcpy(old, area.st, sizeof old);
    for (unsigned physical = 0; physical < 8; ++physical)
      std::memcpy(area.st[physical], old[(physical - top) & 7], 16);
  }
  area.head.fsw = static_cast<u16>(area.head.fsw & ~fsw_top);
  area.head.ftw = 0xff;
}

bool ParkedRegisters::x87_pending() { return !initial(0) && (legacy().head.fsw & fsw_es); }

}  // namespace bhyve::soft
