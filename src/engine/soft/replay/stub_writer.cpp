#include "engine/soft/replay/stub_writer.hpp"

namespace bhyve::soft {

namespace {
constexpr unsigned rdi = 7;
constexpr u8 modrm(unsigned mod, unsigned reg, unsigned rm) {
  return static_cast<u8>(mod << 6 | (reg & 7) << 3 | (rm & 7));
}
}  // namespace

void StubWriter::word(u32 v) {
  for (unsigned n = 0; n < 4; ++n) byte(static_cast<u8>(v >> (8 * n)));
}

void StubWriter::access(u8 opcode, unsigned host, u32 offset) {
  byte(static_cast<u8>(0x48 | (host >> 3) << 2));
  byte(opcode);
  byte(modrm(2, host, rdi));
  word(offset);
}

void StubWriter::load_byte(unsigned host, u32 offset) {
  byte(static_cast<u8>(0x40 | (host >> 3) << 2));
  byte(0x0f);
  byte(0xb6);
  byte(modrm(2, host, rdi));
  word(offset);
}

void StubWriter::flags_in(u32 offset) {
  byte(0x0f), byte(0xb7), byte(modrm(2, 0, rdi)), word(offset);  // movzx eax, word [rdi+offset]
  byte(0x04), byte(0x7f);                                        // add al, 7Fh
  byte(0x9e);                                                    // sahf
}

void StubWriter::flags_out(u32 offset) {
  byte(0x9f);                                                    // lahf
  byte(0x0f), byte(0x90), byte(0xc0);                            // seto al
  byte(0x66), byte(0x89), byte(modrm(2, 0, rdi)), word(offset);  // mov [rdi+offset], ax
}

void StubWriter::finish() {
  byte(0x31), byte(0xc0), byte(0xc3);
}

}  // namespace bhyve::soft
