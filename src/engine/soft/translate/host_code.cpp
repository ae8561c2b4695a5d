#include "engine/soft/translate/host_code.hpp"

namespace bhyve::soft {

void HostCode::modrm(u8 reg, const HostMem& m, bool wide_disp) {
  if (m.base == HostMem::none) {  // [index * scale + disp32]
    byte((reg & 7u) << 3 | 4u);
    byte(unsigned{m.scale} << 6 | (m.index & 7u) << 3 | 5u);
    word(static_cast<u32>(m.disp));
    return;
  }
  const bool sib = m.index != HostMem::none || (m.base & 7) == 4;
  const bool no_disp = m.disp == 0 && (m.base & 7) != 5;
  const bool short_disp = !wide_disp && m.disp == static_cast<i8>(m.disp);
  const unsigned mod = no_disp ? 0 : short_disp ? 1 : 2;
  byte(mod << 6 | (reg & 7u) << 3 | (sib ? 4u : m.base & 7u));
  if (sib)
    byte(unsigned{m.scale} << 6 | (m.index == HostMem::none ? 4u : m.index & 7u) << 3 | (m.base & 7u));
  if (mod == 1) byte(static_cast<u8>(m.disp));
  if (mod == 2) word(static_cast<u32>(m.disp));
}

void HostCode::alu_imm(unsigned which, u8 reg, i32 imm, bool w) {
  rex(w, 0, 0, reg);
  const bool small = imm == static_cast<i8>(imm);
  byte(small ? 0x83 : 0x81);
  modrm(static_cast<u8>(which), reg);
  if (small)
    byte(static_cast<u8>(imm));
  else
    word(static_cast<u32>(imm));
}

void HostCode::move_imm(u8 reg, u64 imm) {
  if (imm <= 0xffff'ffff) {
    rex(false, 0, 0, reg);
    byte(0xb8u | (reg & 7u));
    word(static_cast<u32>(imm));
  } else if (imm == static_cast<u64>(i64{static_cast<i32>(imm)})) {
    rex(true, 0, 0, reg);
    byte(0xc7);
    modrm(0, reg);
    word(static_cast<u32>(imm));
  } else {
    rex(true, 0, 0, reg);
    byte(0xb8u | (reg & 7u));
    quad(imm);
  }
}

}  // namespace bhyve::soft
