#include "platform/aml_term.hpp"

#include <cassert>
#include <utility>

namespace bhyve::platform::aml {
namespace {

/// Opcodes (ACPI 6.4, 20.3). Those above FFh are the extended ones, 5Bh before them.
enum class Op : u16 {
  zero = 0x00, one = 0x01, name = 0x08, byte = 0x0a, word = 0x0b, dword = 0x0c, string = 0x0d,
  qword = 0x0e, scope = 0x10, buffer = 0x11, package = 0x12, method = 0x14, dual_name = 0x2e,
  multi_name = 0x2f, local0 = 0x60, arg0 = 0x68, store = 0x70, decrement = 0x76,
  shift_left = 0x79, and_ = 0x7b, or_ = 0x7d, find_set_right_bit = 0x82, create_dword = 0x8a,
  create_word = 0x8b, not_ = 0x92, equal = 0x93, if_ = 0xa0, else_ = 0xa1, return_ = 0xa4,
  op_region = 0x5b80, field = 0x5b81, device = 0x5b82,
};

Term op(Op code) {
  const auto v = static_cast<u16>(code);
  if (v > 0xff) return {static_cast<u8>(v >> 8), static_cast<u8>(v)};
  return {static_cast<u8>(v)};
}

Term join(const Terms& terms) {
  Term out;
  for (const Term& t : terms) out.insert(out.end(), t.begin(), t.end());
  return out;
}

Term little_endian(u64 value, unsigned size) {
  Term out;
  for (unsigned i = 0; i < size; ++i) out.push_back(static_cast<u8>(value >> (8 * i)));
  return out;
}

/// PkgLength (20.2.4) holding `value` in `size` bytes.
Term pkg_length_bytes(u64 value, unsigned size) {
  assert(size >= 1 && size <= 4 && value < (size == 1 ? 64u : 1u << (4 + 8 * (size - 1))));
  if (size == 1) return {static_cast<u8>(value)};
  Term out{static_cast<u8>((size - 1) << 6 | (value & 0xf))};
  return std::move(out) + little_endian(value >> 4, size - 1);
}

unsigned pkg_length_size(u64 value) {
  return value < 64 ? 1 : value < (1u << 12) ? 2 : value < (1u << 20) ? 3 : 4;
}

/// The PkgLength of `body`, which counts itself, then the body.
Term packaged(const Term& body) {
  unsigned size = 1;
  while (pkg_length_size(body.size() + size) > size) ++size;
  return pkg_length_bytes(body.size() + size, size) + body;
}

Term segment(std::string_view seg) {
  assert(!seg.empty() && seg.size() <= 4);
  Term out(seg.begin(), seg.end());
  out.resize(4, '_');
  return out;
}

Term binary(Op code, const Term& a, const Term& b, const Term& target) {
  return op(code) + a + b + target;
}

}  // namespace

Term operator+(Term a, const Term& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Term integer(u64 value) {
  if (value == 0) return op(Op::zero);
  if (value == 1) return op(Op::one);
  if (value <= 0xff) return op(Op::byte) + little_endian(value, 1);
  if (value <= 0xffff) return op(Op::word) + little_endian(value, 2);
  if (value <= 0xffff'ffff) return op(Op::dword) + little_endian(value, 4);
  return op(Op::qword) + little_endian(value, 8);
}

Term text(std::string_view s) {
  return op(Op::string) + Term(s.begin(), s.end()) + Term{0};
}

Term path(std::string_view s) {
  Term prefix;
  while (!s.empty() && (s.front() == '\\' || s.front() == '^')) {
    prefix.push_back(static_cast<u8>(s.front()));
    s.remove_prefix(1);
  }
  Term segments;
  unsigned count = 0;
  while (!s.empty()) {
    const usize dot = s.find('.');
    segments = std::move(segments) + segment(s.substr(0, dot));
    ++count;
    s = dot == s.npos ? std::string_view() : s.substr(dot + 1);
  }
  if (count == 0) prefix.push_back(0);
  if (count == 2) prefix = std::move(prefix) + op(Op::dual_name);
  if (count > 2) prefix = std::move(prefix) + op(Op::multi_name) + Term{static_cast<u8>(count)};
  return std::move(prefix) + segments;
}

Term eisa_id(std::string_view id) {
  assert(id.size() == 7);
  u32 v = 0;
  for (usize i = 0; i < 3; ++i) v = v << 5 | (static_cast<u32>(id[i] - '@') & 0x1f);
  for (usize i = 3; i < 7; ++i) {
    const char c = id[i];
    v = v << 4 | static_cast<u32>(c <= '9' ? c - '0' : c - 'A' + 10);
  }
  return integer(__builtin_bswap32(v));
}

Term uuid(std::string_view id) {
  assert(id.size() == 36);
  constexpr u8 order[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
  const auto nibble = [&id](usize at) {
    const char c = id[at];
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
  };
  Term bytes;
  for (const u8 at : order) {
    bytes.push_back(static_cast<u8>(nibble(at) << 4 | nibble(at + usize{1})));
  }
  return buffer(bytes);
}

Term buffer(std::span<const u8> bytes) {
  return op(Op::buffer) + packaged(integer(bytes.size()) + Term(bytes.begin(), bytes.end()));
}

Term package(const Terms& elements) {
  assert(elements.size() <= 255);
  return op(Op::package) + packaged(Term{static_cast<u8>(elements.size())} + join(elements));
}

Term name(std::string_view object, const Term& value) {
  return op(Op::name) + path(object) + value;
}

Term scope(std::string_view where, const Terms& body) {
  return op(Op::scope) + packaged(path(where) + join(body));
}

Term device(std::string_view object, const Terms& body) {
  return op(Op::device) + packaged(path(object) + join(body));
}

Term method(std::string_view object, unsigned arguments, const Terms& body) {
  assert(arguments <= 7);
  constexpr u8 serialized = 1u << 3;
  const Term flags{static_cast<u8>(arguments | serialized)};
  return op(Op::method) + packaged(path(object) + flags + join(body));
}

Term op_region(std::string_view object, Space space, u64 offset, u64 length) {
  return op(Op::op_region) + path(object) + Term{static_cast<u8>(space)} + integer(offset) +
         integer(length);
}

Term byte_field(std::string_view region, std::initializer_list<FieldUnit> units) {
  constexpr u8 byte_access = 1;
  Term list;
  for (const FieldUnit& unit : units) {
    list = std::move(list) + (unit.name.empty() ? Term{0} : segment(unit.name)) +
           pkg_length_bytes(unit.bits, pkg_length_size(unit.bits));
  }
  return op(Op::field) + packaged(path(region) + Term{byte_access} + list);
}

Term create_word_field(const Term& source, u64 byte, std::string_view object) {
  return op(Op::create_word) + source + integer(byte) + path(object);
}

Term create_dword_field(const Term& source, u64 byte, std::string_view object) {
  return op(Op::create_dword) + source + integer(byte) + path(object);
}

Term local(unsigned n) {
  assert(n < 8);
  return {static_cast<u8>(static_cast<unsigned>(Op::local0) + n)};
}

Term argument(unsigned n) {
  assert(n < 7);
  return {static_cast<u8>(static_cast<unsigned>(Op::arg0) + n)};
}

Term null_target() { return {0}; }

Term and_(const Term& a, const Term& b, const Term& target) {
  return binary(Op::and_, a, b, target);
}

Term or_(const Term& a, const Term& b, const Term& target) { return binary(Op::or_, a, b, target); }

Term shift_left(const Term& a, const Term& count, const Term& target) {
  return binary(Op::shift_left, a, count, target);
}

Term find_set_right_bit(const Term& a, const Term& target) {
  return op(Op::find_set_right_bit) + a + target;
}

Term equal(const Term& a, const Term& b) { return op(Op::equal) + a + b; }

Term not_(const Term& a) { return op(Op::not_) + a; }

Term store(const Term& source, const Term& target) { return op(Op::store) + source + target; }

Term decrement(const Term& target) { return op(Op::decrement) + target; }

Term if_(const Term& predicate, const Terms& body) {
  return op(Op::if_) + packaged(predicate + join(body));
}

Term else_(const Terms& body) { return op(Op::else_) + packaged(join(body)); }

Term return_(const Term& value) { return op(Op::return_) + value; }

}  // namespace bhyve::platform::aml
