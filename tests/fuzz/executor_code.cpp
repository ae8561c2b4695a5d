#include "fuzz/executor_code.hpp"

#include <algorithm>
#include <array>

#include "engine/diff_random.hpp"

namespace bhyve::fuzz {
namespace {

/// The generator of the differential tests, in the widths that code is made of.
class Random final {
 public:
  explicit Random(u64 seed) : source_(seed) {}
  u64 next() { return source_.next(); }
  unsigned below(unsigned n) { return static_cast<unsigned>(source_.below(n)); }
  bool one_in(unsigned n) { return source_.one_in(n); }
  u8 byte() { return static_cast<u8>(next()); }

 private:
  test::diff::Random source_;
};

/// Programs are lists of pieces; branches name the piece that they go to.
struct Piece final {
  std::vector<u8> bytes;
  int target = -1;  ///< bytes end with a rel32 to that piece
};

class Writer final {
 public:
  Writer(Mode mode, u64 seed) : wide_(is_64(mode)), random_(seed) {}
  std::vector<u8> write();

 private:
  void piece();
  void integer();
  void integer_0f();
  void vector();
  void stack();
  void string();
  void branch();
  void loop();
  void call();
  void indirect();
  void start() { pieces_.emplace_back(); }
  void put(unsigned b) { pieces_.back().bytes.push_back(static_cast<u8>(b)); }
  void prefixes(bool sized);
  void modrm(int reg = -1);
  void immediate(unsigned bytes) {
    for (unsigned n = 0; n < bytes; ++n) put(random_.one_in(3) ? 0xff : random_.byte());
  }

  const bool wide_;
  Random random_;
  std::vector<Piece> pieces_;
  bool operand16_ = false, rex_w_ = false;
  unsigned loops_ = 0;
};

/// 66h and REX, which say what the operands are.
void Writer::prefixes(bool sized) {
  operand16_ = sized && random_.one_in(8);
  rex_w_ = false;
  if (operand16_) put(0x66);
  if (!wide_ || random_.one_in(3)) return;
  rex_w_ = random_.one_in(2);
  // REX.B would make r8-r15 the base, which mostly are no pointers: seldom.
  put(0x40 | (rex_w_ ? 8 : 0) | (random_.one_in(4) ? 4 : 0) | (random_.one_in(16) ? 1 : 0));
}

/// Register or memory operand; the base is RBX, RSI, RDI, RBP or RSP most of the time.
void Writer::modrm(int reg) {
  const unsigned r = reg >= 0 ? static_cast<unsigned>(reg) : random_.below(8);
  if (random_.one_in(2)) return put(0xc0 | r << 3 | random_.below(8));
  constexpr std::array<u8, 5> bases{3, 6, 7, 5, 4};
  const unsigned base = bases[random_.below(bases.size())];
  const unsigned mod = base == 5 || random_.one_in(2) ? 1 + random_.one_in(4) : 0;
  put(mod << 6 | r << 3 | base);
  if (base == 4) put(random_.one_in(4) ? random_.byte() : 0x24);
  if (mod == 1) put(random_.byte());
  if (mod == 2) {
    put(random_.byte()), put(random_.one_in(2) ? 0 : 0xff);
    const u8 sign = pieces_.back().bytes.back();
    put(sign), put(sign);
  }
}

void Writer::integer() {
  prefixes(true);
  const unsigned word = operand16_ ? 2 : 4;
  switch (random_.below(12)) {
    case 0:
    case 1:
    case 2:
      put(random_.below(8) << 3 | random_.below(4)), modrm();
      break;
    case 3:
      put(random_.below(8) << 3 | 4), immediate(1);
      break;
    case 4:
      put(0x81), modrm(), immediate(word);
      break;
    case 5:
      put(random_.one_in(3) ? 0x80 : 0x83), modrm(), immediate(1);
      break;
    case 6:
      put(0x84 + random_.below(8)), modrm();
      break;
    case 7:
      put(0xb8 + random_.below(8)), immediate(rex_w_ ? 8 : word);
      break;
    // Not ROL and ROR, which leave OF as they like.
    case 8:
      put(0xc0 + random_.below(2)), modrm(2 + static_cast<int>(random_.below(6))), immediate(1);
      break;
    case 9:
      put(0xd0 + random_.below(4)), modrm();
      break;
    case 10:
      put(0xf6 + random_.below(2)), modrm(2 + static_cast<int>(random_.below(6)));
      break;
    default: {
      constexpr std::array<u8, 10> others{0x98, 0x99, 0xf5, 0xf8, 0xf9,
                                          0xfc, 0x9e, 0x9f, 0x90, 0x97};
      put(others[random_.below(others.size())]);
    }
  }
}

void Writer::integer_0f() {
  const bool f3 = random_.one_in(10);
  if (f3) put(0xf3);
  prefixes(true);
  put(0x0f);
  if (f3) return put(0xb8 + (random_.one_in(2) ? 4 + random_.below(2) : 0)), modrm();
  switch (random_.below(10)) {
    case 0:
      put(0x40 + random_.below(16)), modrm();
      break;
    case 1:
      put(0x90 + random_.below(16)), modrm();
      break;
    case 2:
      put(0xa3 + 8 * random_.below(4)), modrm();
      break;
    case 3:
      put(0xba), modrm(4 + static_cast<int>(random_.below(4))), immediate(1);
      break;
    case 4:
      put(0xa4 + 8 * random_.below(2)), modrm(), immediate(1);
      break;
    case 5:
      put(0xa5 + 8 * random_.below(2)), modrm();
      break;
    case 6:
      put(0xb6 + random_.below(2) + 8 * random_.below(2)), modrm();
      break;
    case 7:
      put(random_.one_in(2) ? 0xb0 + random_.below(2) : 0xc0 + random_.below(2)), modrm();
      break;
    case 8:
      put(0xc8 + random_.below(8));
      break;
    default:
      put(0xaf), modrm();
  }
}

void Writer::vector() {
  constexpr std::array<u8, 4> mandatory{0, 0x66, 0xf3, 0xf2};
  const u8 p = mandatory[random_.below(4)];
  if (random_.one_in(3)) {
    put(0xc5), put(0x80 | random_.below(16) << 3 | random_.below(2) << 2 | random_.below(4));
  } else {
    if (p) put(p);
    put(0x0f);
  }
  constexpr std::array<u8, 12> opcodes{0x10, 0x11, 0x28, 0x29, 0x54, 0x57,
                                       0x58, 0x59, 0x6f, 0x7f, 0xd4, 0xef};
  put(random_.one_in(3) ? 0x50 + random_.below(0x2f) : opcodes[random_.below(opcodes.size())]);
  modrm();
}

void Writer::stack() {
  switch (random_.below(6)) {
    case 0:
      put(0x50 + random_.below(8));
      break;
    case 1:
      put(0x58 + (random_.below(8) | 1));
      break;  // not RSP
    case 2:
      put(0x68), immediate(4);
      break;
    case 3:
      put(0x9c), put(0x58);
      break;  // pushf, pop rax
    case 4:
      put(0xff), modrm(6);
      break;
    default:
      put(0x8f), modrm(0);
  }
}

void Writer::string() {
  put(0x6a), put(random_.below(24)), put(0x59);  // push n; pop rcx
  if (random_.one_in(4)) put(random_.one_in(2) ? 0xfd : 0xfc);
  constexpr std::array<u8, 10> opcodes{0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
  if (random_.one_in(6)) put(0x67);
  if (!random_.one_in(3)) put(0xf2 + random_.below(2));
  if (wide_ && random_.one_in(2)) put(0x48);
  put(opcodes[random_.below(opcodes.size())]);
}

void Writer::branch() {
  const int to = static_cast<int>(pieces_.size()) + static_cast<int>(random_.below(5));
  if (random_.one_in(6))
    put(0xe9);
  else
    put(0x0f), put(0x80 + random_.below(16));
  pieces_.back().target = to;
}

/// Back to an earlier piece while a counter in memory that nothing else knows lasts.
void Writer::loop() {
  const unsigned counter = static_cast<unsigned>(at::user_stack) + 0x100 + 8 * loops_++;
  const unsigned back = random_.below(6);
  put(0xff);  // inc dword [counter]
  if (wide_)
    put(0x04), put(0x25);
  else
    put(0x05);
  for (unsigned n = 0; n < 4; ++n) put(counter >> 8 * n);
  put(0xf6);  // test byte [counter], mask
  if (wide_)
    put(0x04), put(0x25);
  else
    put(0x05);
  for (unsigned n = 0; n < 4; ++n) put(counter >> 8 * n);
  put(random_.one_in(3) ? 15 : 3), put(0x0f), put(0x85);
  pieces_.back().target =
      std::max(0, static_cast<int>(pieces_.size()) - 1 - static_cast<int>(back));
}

/// call over; then the body with its return behind a jump around both.
void Writer::call() {
  put(0xe8);
  pieces_.back().target = static_cast<int>(pieces_.size()) + 1;
  start(), put(0xe9);
  const usize around = pieces_.size() - 1;
  for (unsigned n = 1 + random_.below(3); n-- > 0;) start(), integer();
  start();
  if (random_.one_in(4))
    put(0xc2), put(0), put(0);
  else
    put(0xc3);
  pieces_[around].target = static_cast<int>(pieces_.size());
}

/// push target; ret, or pop into a register and jump, or jump through memory.
void Writer::indirect() {
  put(0xe8);
  pieces_.back().target = static_cast<int>(pieces_.size());
  start();
  // The address of this piece is on the stack: move it behind the next bytes.
  const bool by_return = random_.one_in(2);
  if (wide_) put(0x48);
  put(0x83), put(0x04), put(0x24), put(wide_ ? (by_return ? 6 : 8) : (by_return ? 5 : 7));
  if (by_return)
    put(0xc3);
  else
    put(0x59), put(0xff), put(0xe1);
}

void Writer::piece() {
  start();
  const unsigned kind = random_.below(32);
  if (kind < 10)
    integer();
  else if (kind < 16)
    integer_0f();
  else if (kind < 19)
    vector();
  else if (kind < 22)
    stack();
  else if (kind < 23)
    string();
  else if (kind < 28)
    branch();
  else if (kind < 30 && loops_ < 4)
    loop();
  else if (kind < 31)
    call();
  else
    indirect();
}

std::vector<u8> Writer::write() {
  const unsigned count = 4 + random_.below(40);
  while (pieces_.size() < count) piece();
  std::vector<usize> starts;
  usize size = 0;
  for (const Piece& p : pieces_) {
    starts.push_back(size);
    size += p.bytes.size() + (p.target >= 0 ? 4 : 0);
  }
  std::vector<u8> out;
  for (const Piece& p : pieces_) {
    out.insert(out.end(), p.bytes.begin(), p.bytes.end());
    if (p.target < 0) continue;
    const usize to =
        static_cast<usize>(p.target) < starts.size() ? starts[static_cast<usize>(p.target)] : size;
    const u32 relative = static_cast<u32>(to - (out.size() + 4));
    for (unsigned n = 0; n < 4; ++n) out.push_back(static_cast<u8>(relative >> 8 * n));
  }
  return out;
}

}  // namespace

std::vector<u8> make_program(Mode mode, u64 seed) {
  return Writer(mode, seed).write();
}

}  // namespace bhyve::fuzz
