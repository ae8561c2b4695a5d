#include "engine/soft/decode/opcode_maps.hpp"

#include <array>

namespace bhyve::soft {

namespace {

// One letter an opcode, sixteen a row. Without ModRM: '.' nothing follows, 'k' 's' 'z' 'v' 'r' 'R' 'w'
// an immediate. With ModRM: 'M' nothing, 'K' 'S' 'Z' an immediate. '-' is a prefix or an escape,
// 'x' is left to Zydis: rare, with two immediates or far pointers, or with a ModRM that is no ModRM.
// Groups 3 (F6, F7) have an immediate by ModRM.reg: 'M' here, the parser knows.
constexpr char one_byte_map[] =
    "MMMMsz..MMMMsz.-"  // 00
    "MMMMsz..MMMMsz.."  // 10
    "MMMMsz-.MMMMsz-."  // 20
    "MMMMsz-.MMMMsz-."  // 30
    "................"  // 40
    "................"  // 50
    "..MM----zZsS...."  // 60
    "rrrrrrrrrrrrrrrr"  // 70
    "SZSSMMMMMMMMMMMM"  // 80
    "..........x....."  // 90
    "xxxx....sz......"  // A0
    "ssssssssvvvvvvvv"  // B0
    "KKw.MMSZx.w..k.."  // C0
    "MMMMkk..MMMMMMMM"  // D0
    "rrrrkkkkRRxr...."  // E0
    "-.--..MM......MM"; // F0

constexpr char map_0f_map[] =
    "MMMMx.....xxxMxx"  // 00
    "MMMMMMMMMMxxMMMM"  // 10
    "xxxxxxxxMMMMMMMM"  // 20
    "......xx-x-xxxxx"  // 30
    "MMMMMMMMMMMMMMMM"  // 40
    "MMMMMMMMMMMMMMMM"  // 50
    "MMMMMMMMMMMMMMMM"  // 60
    "KKKKMMM.xxxxMMMM"  // 70
    "RRRRRRRRRRRRRRRR"  // 80
    "MMMMMMMMMMMMMMMM"  // 90
    "...MKMxx..xMKMMM"  // A0
    "MMMMMMMMMxKMMMMM"  // B0
    "MMKMKKKM........"  // C0
    "MMMMMMMMMMMMMMMM"  // D0
    "MMMMMMMMMMMMMMMM"  // E0
    "MMMMMMMMMMMMMMMx"; // F0

static_assert(sizeof one_byte_map == 257 && sizeof map_0f_map == 257);

constexpr OpcodeShape shape_of(char letter) {
  switch (letter) {
    case '.': return {true, false, Imm::none};
    case 'k': return {true, false, Imm::key};
    case 's': return {true, false, Imm::signed8};
    case 'z': return {true, false, Imm::operand};
    case 'v': return {true, false, Imm::full};
    case 'r': return {true, false, Imm::rel8};
    case 'R': return {true, false, Imm::rel};
    case 'w': return {true, false, Imm::word};
    case 'M': return {true, true, Imm::none};
    case 'K': return {true, true, Imm::key};
    case 'S': return {true, true, Imm::signed8};
    case 'Z': return {true, true, Imm::operand};
    default: return {};
  }
}

constexpr std::array<OpcodeShape, 256> shapes_of(const char (&letters)[257]) {
  std::array<OpcodeShape, 256> all{};
  for (unsigned n = 0; n < 256; ++n) all[n] = shape_of(letters[n]);
  return all;
}

constexpr auto one_byte_shapes = shapes_of(one_byte_map);
constexpr auto map_0f_shapes = shapes_of(map_0f_map);

/// Map 0F with VEX or EVEX: shifts by an immediate, shuffles and compares have one.
constexpr bool has_immediate_0f(u8 opcode) {
  return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 ||
         (opcode >= 0xc4 && opcode <= 0xc6);
}

/// Gathers and scatters (some for EVEX only): the index is a vector register, part of the form.
constexpr bool has_vector_index(u8 opcode) {
  return (opcode >= 0x90 && opcode <= 0x93) || (opcode >= 0xa0 && opcode <= 0xa3) ||
         opcode == 0xc6 || opcode == 0xc7;
}

/// AMX loads and stores, which must have a SIB byte.
constexpr bool is_tile(u8 opcode) { return opcode == 0x4b; }

}  // namespace

OpcodeShape legacy_shape(OpcodeMap map, u8 opcode) {
  switch (map) {
    case OpcodeMap::one_byte: return one_byte_shapes[opcode];
    case OpcodeMap::map_0f: return map_0f_shapes[opcode];
    case OpcodeMap::map_0f38: return {true, true, Imm::none};
    case OpcodeMap::map_0f3a: return {true, true, Imm::key};
    default: return {};
  }
}

OpcodeShape vex_shape(unsigned map, u8 opcode) {
  switch (map) {
    case 1:
      if (opcode == 0x77) return {true, false, Imm::none};  // VZEROUPPER, VZEROALL
      return {true, true, has_immediate_0f(opcode) ? Imm::key : Imm::none};
    case 2: return {!has_vector_index(opcode) && !is_tile(opcode), true, Imm::none};
    case 3: return {true, true, Imm::key};
    default: return {};
  }
}

OpcodeShape evex_shape(unsigned map, u8 opcode) {
  switch (map) {
    case 1: return {true, true, has_immediate_0f(opcode) ? Imm::key : Imm::none};
    case 2: return {!has_vector_index(opcode), true, Imm::none};
    case 3: return {true, true, Imm::key};
    case 5:
    case 6: return {true, true, Imm::none};
    default: return {};
  }
}

}  // namespace bhyve::soft
