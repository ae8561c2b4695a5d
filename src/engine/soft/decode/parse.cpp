#include "engine/soft/decode/parse.hpp"

#include "engine/soft/cpu.hpp"

namespace bhyve::soft {

namespace {

/// The legacy prefixes, with the last of each group.
struct Prefixes final {
  bool operand_size = false, address_size = false, lock = false;
  bool size_after_rep = false;  ///< 66h came after F2h or F3h
  u8 rep = 0;                   ///< 0, 2 (F2h) or 3 (F3h)
  u8 seg = 7;                   ///< x86::Seg; 7 = none
};

class Parser final {
 public:
  Parser(CodeSize code_size, const u8* bytes, unsigned available, Parsed& out)
      : size_(code_size), at_(bytes), begin_(bytes), end_(bytes + available), out_(out) {}

  [[nodiscard]] bool run();

 private:
  [[nodiscard]] bool long_mode() const { return size_ == CodeSize::bits64; }
  [[nodiscard]] bool have(unsigned n) const { return at_ + n <= end_; }
  template <class T>
  [[nodiscard]] bool take(T& v) {
    if (!have(sizeof(T))) return false;
    __builtin_memcpy(&v, at_, sizeof(T));
    at_ += sizeof(T);
    return true;
  }
  [[nodiscard]] bool prefixes();
  [[nodiscard]] bool segment_prefix(u8 seg);
  [[nodiscard]] bool opcode();
  [[nodiscard]] bool vex(u8 first);
  [[nodiscard]] bool evex();
  [[nodiscard]] bool escape();
  [[nodiscard]] bool modrm();
  [[nodiscard]] bool memory16(unsigned mod, unsigned rm);
  [[nodiscard]] bool memory(unsigned mod, unsigned rm);
  [[nodiscard]] bool sib(unsigned mod, bool& no_base);
  [[nodiscard]] bool displacement(unsigned bytes);
  void group_3();
  [[nodiscard]] bool immediate();
  template <class T>
  [[nodiscard]] bool immediate_of() {
    T v;
    if (!take(v)) return false;
    out_.imm = static_cast<u64>(static_cast<i64>(v));
    return true;
  }
  /// Log2 bytes of the operand, as the prefixes say.
  [[nodiscard]] unsigned operand_log2() const {
    if (rex_ & 8) return 3;
    const bool narrow = size_ == CodeSize::bits16;
    return narrow != prefix_.operand_size ? 1 : 2;
  }
  void compose();

  CodeSize size_;
  const u8* at_;
  const u8* begin_;
  const u8* end_;
  Parsed& out_;
  Prefixes prefix_;
  u8 rex_ = 0;         ///< REX, or for VEX and EVEX the X and B bits in its places
  u32 payload_ = 0;    ///< of VEX and EVEX
  OpcodeMap map_ = OpcodeMap::one_byte;
  u8 opcode_ = 0, modrm_ = 0, imm8_ = 0;
  OpcodeShape shape_;
};

bool Parser::segment_prefix(u8 seg) {
  if (prefix_.seg != 7) return prefix_.seg == seg;  // several ones: Zydis knows which counts
  prefix_.seg = seg;
  return true;
}

bool Parser::prefixes() {
  for (; have(1); ++at_) {
    bool good = true;
    switch (*at_) {
      case 0x26: good = segment_prefix(0); break;
      case 0x2e: good = segment_prefix(1); break;
      case 0x36: good = segment_prefix(2); break;
      case 0x3e: good = segment_prefix(3); break;
      case 0x64: good = segment_prefix(4); break;
      case 0x65: good = segment_prefix(5); break;
      case 0x66:
        prefix_.operand_size = true;
        prefix_.size_after_rep = prefix_.rep != 0;
        break;
      case 0x67: prefix_.address_size = true; break;
      case 0xf0: prefix_.lock = true; break;
      case 0xf2:
      case 0xf3:
        good = prefix_.rep == 0 || prefix_.rep == (*at_ & 3);
        prefix_.rep = *at_ & 3;
        break;
      default:
        if (long_mode() && (*at_ & 0xf0) == 0x40) rex_ = *at_++;
        return have(1);
    }
    if (!good) return false;
  }
  return false;
}

/// VEX and EVEX come with no other prefixes but segments and 67h, else they are #UD.
bool Parser::vex(u8 first) {
  u8 p1, p2 = 0;
  if (rex_ || prefix_.operand_size || prefix_.rep || prefix_.lock || !take(p1)) return false;
  unsigned map = 1;
  if (first == 0xc4) {
    if (!take(p2)) return false;
    map = p1 & 0x1f;
    rex_ = long_mode() ? static_cast<u8>(~p1 >> 5 & 3) : 0;
    map_ = OpcodeMap::vex3;
  } else {
    map_ = OpcodeMap::vex2;
  }
  payload_ = static_cast<u32>(p1 | p2 << 8);
  if (!take(opcode_)) return false;
  shape_ = vex_shape(map, opcode_);
  return shape_.known;
}

bool Parser::evex() {
  u8 p[3];
  if (rex_ || prefix_.operand_size || prefix_.rep || prefix_.lock || !take(p)) return false;
  rex_ = long_mode() ? static_cast<u8>(~p[0] >> 5 & 3) : 0;
  payload_ = static_cast<u32>(p[0] | p[1] << 8 | p[2] << 16);
  map_ = OpcodeMap::evex;
  if (!take(opcode_)) return false;
  shape_ = evex_shape(p[0] & 7, opcode_);
  return shape_.known;
}

bool Parser::escape() {
  map_ = OpcodeMap::map_0f;
  if (!take(opcode_)) return false;
  if (opcode_ == 0x38 || opcode_ == 0x3a) {
    map_ = opcode_ == 0x38 ? OpcodeMap::map_0f38 : OpcodeMap::map_0f3a;
    if (!take(opcode_)) return false;
  }
  shape_ = legacy_shape(map_, opcode_);
  return shape_.known;
}

bool Parser::opcode() {
  if (!take(opcode_)) return false;
  switch (opcode_) {
    case 0x0f: return escape();
    case 0xc4:
    case 0xc5:
      if (!have(1)) return false;
      if (long_mode() || *at_ >= 0xc0) return vex(opcode_);
      break;
    case 0x62:
      if (!have(1)) return false;
      if (long_mode() || *at_ >= 0xc0) return evex();
      break;
    case 0x8f:
      if (!have(1) || (*at_ & 0x38)) return false;  // XOP
      break;
    default: break;
  }
  shape_ = legacy_shape(map_, opcode_);
  return shape_.known;
}

bool Parser::displacement(unsigned bytes) {
  switch (bytes) {
    case 0: return true;
    case 1: {
      i8 d;
      if (!take(d)) return false;
      out_.disp = d;
      return true;
    }
    case 2: {
      i16 d;
      if (!take(d)) return false;
      out_.disp = d;
      return true;
    }
    default: return take(out_.disp);
  }
}

/// SDM vol. 2, table 2-1.
bool Parser::memory16(unsigned mod, unsigned rm) {
  constexpr u8 bx = slot::of(3), bp = slot::of(5), si = slot::of(6), di = slot::of(7);
  constexpr u8 bases[8] = {bx, bx, bp, bp, si, di, bp, bx};
  constexpr u8 indices[8] = {si, di, si, di, slot::zero, slot::zero, slot::zero, slot::zero};
  const bool absolute = mod == 0 && rm == 6;
  if (!absolute) {
    out_.base = bases[rm];
    out_.index = indices[rm];
    if (out_.base == bp) out_.seg = 2;
  }
  return displacement(absolute ? 2 : mod);
}

/// Table 2-3.
bool Parser::sib(unsigned mod, bool& no_base) {
  u8 byte;
  if (!take(byte)) return false;
  const unsigned index = (byte >> 3 & 7) | (rex_ & 2) << 2;
  if (index != 4) {
    out_.index = slot::of(index);
    out_.scale = byte >> 6;
  }
  const unsigned base = byte & 7;
  no_base = base == 5 && mod == 0;
  if (!no_base) out_.base = slot::of(base | (rex_ & 1) << 3);
  return true;
}

/// Table 2-2.
bool Parser::memory(unsigned mod, unsigned rm) {
  bool no_base = false;
  if (rm == 4) {
    if (!sib(mod, no_base)) return false;
  } else if (rm == 5 && mod == 0) {
    no_base = true;
    out_.rip_relative = long_mode();
  } else {
    out_.base = slot::of(rm | (rex_ & 1) << 3);
  }
  if (out_.base == slot::of(4) || out_.base == slot::of(5)) out_.seg = 2;
  return displacement(no_base ? 4 : mod == 2 ? 4 : mod);
}

bool Parser::modrm() {
  if (!take(modrm_)) return false;
  const unsigned mod = modrm_ >> 6, rm = modrm_ & 7;
  if (mod == 3) return true;
  out_.memory = true;
  // Where the operand is does not belong to the form; but the x87 records its whole opcode (FOP).
  if (map_ != OpcodeMap::one_byte || (opcode_ & 0xf8) != 0xd8) modrm_ &= 0x38;
  out_.disp8 = mod == 1 && map_ == OpcodeMap::evex;
  if (!(out_.address_size == 1 ? memory16(mod, rm) : memory(mod, rm))) return false;
  // ES, CS, SS and DS prefixes mean nothing in 64-bit mode, and no prefix does to LEA.
  const bool lea = map_ == OpcodeMap::one_byte && opcode_ == 0x8d;
  if (prefix_.seg != 7 && !lea && (!long_mode() || prefix_.seg >= 4)) out_.seg = prefix_.seg;
  return true;
}

/// TEST of group 3 has an immediate, the others do not.
void Parser::group_3() {
  if (map_ == OpcodeMap::one_byte && (opcode_ & 0xfe) == 0xf6 && (modrm_ & 0x30) == 0)
    shape_.imm = opcode_ == 0xf6 ? Imm::signed8 : Imm::operand;
}

bool Parser::immediate() {
  out_.imm_apart = shape_.imm != Imm::none && shape_.imm != Imm::key;
  switch (shape_.imm) {
    case Imm::none: return true;
    case Imm::key: return take(imm8_);
    case Imm::signed8:
    case Imm::rel8: return immediate_of<i8>();
    case Imm::word: return immediate_of<u16>();
    case Imm::operand: return operand_log2() == 1 ? immediate_of<i16>() : immediate_of<i32>();
    case Imm::rel:
      return !long_mode() && operand_log2() == 1 ? immediate_of<i16>() : immediate_of<i32>();
    case Imm::full:
      switch (operand_log2()) {
        case 1: return immediate_of<i16>();
        case 2: return immediate_of<i32>();
        default: return immediate_of<i64>();
      }
  }
  return false;
}

void Parser::compose() {
  const bool extended = map_ >= OpcodeMap::vex2;
  u32 payload = extended ? payload_ : rex_;
  u8 seg = prefix_.seg;
  if (out_.memory) {
    // So is which registers make its address: X and B, inverted in VEX and EVEX.
    if (!extended) payload &= ~3u;
    else if (map_ != OpcodeMap::vex2) payload |= 0x60;
    seg = 7;
  }
  out_.form = u64{static_cast<u8>(size_)} | u64{prefix_.operand_size} << 2 |
              u64{prefix_.address_size} << 3 | u64{prefix_.lock} << 4 |
              u64{prefix_.rep} << 5 | u64{prefix_.size_after_rep} << 7 |
              u64{static_cast<u8>(map_)} << 8 | u64{opcode_} << 11 | u64{modrm_} << 19 |
              u64{out_.memory} << 27 | u64{out_.disp8} << 28 | u64{seg} << 29 |
              u64{imm8_} << 32 | u64{payload} << 40;
}

bool Parser::run() {
  if (!prefixes()) return false;
  const bool narrow = size_ == CodeSize::bits16;
  out_.address_size = long_mode() ? (prefix_.address_size ? 2 : 3)
                                  : (narrow != prefix_.address_size ? 1 : 2);
  if (!opcode()) return false;
  if (shape_.modrm) {
    if (!modrm()) return false;
    group_3();
  }
  if (!immediate()) return false;
  compose();
  out_.length = static_cast<u8>(at_ - begin_);
  return true;
}

}  // namespace

bool parse(CodeSize code_size, const u8* bytes, unsigned available, Parsed& out) {
  return Parser(code_size, bytes, available, out).run();
}

}  // namespace bhyve::soft
