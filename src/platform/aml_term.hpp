#pragma once
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/types.hpp"

/// A small AML assembler (ACPI 6.4, chapter 20): every function returns the bytes of one term, and
/// terms nest as the ASL they stand for. Names are ASL paths ("\\_SB.PC00", "^LNKA", "_CRS").
/// Built from the machine's configuration only, never from guest input: misuse is a programming
/// error and asserts.
namespace bhyve::platform::aml {

using Term = std::vector<u8>;
using Terms = std::vector<Term>;

/// One term after the other.
[[nodiscard]] Term operator+(Term a, const Term& b);

[[nodiscard]] Term integer(u64 value);         ///< the shortest form
[[nodiscard]] Term text(std::string_view s);   ///< String
[[nodiscard]] Term path(std::string_view s);   ///< NameString
[[nodiscard]] Term eisa_id(std::string_view id);  ///< EisaId("PNP0A03")
/// ToUUID: 36 characters in the mixed-endian order of ACPI 6.4, 19.6.142.
[[nodiscard]] Term uuid(std::string_view id);
[[nodiscard]] Term buffer(std::span<const u8> bytes);
[[nodiscard]] Term package(const Terms& elements);  ///< at most 255
[[nodiscard]] Term name(std::string_view object, const Term& value);
[[nodiscard]] Term scope(std::string_view where, const Terms& body);
[[nodiscard]] Term device(std::string_view object, const Terms& body);
/// A Serialized method: such a one may create named objects.
[[nodiscard]] Term method(std::string_view object, unsigned arguments, const Terms& body);

enum class Space : u8 { system_memory = 0, system_io = 1, pci_config = 2 };
[[nodiscard]] Term op_region(std::string_view object, Space space, u64 offset, u64 length);
/// One unit of a Field: an empty name is a gap.
struct FieldUnit final {
  std::string_view name;
  u32 bits = 0;
};
/// Field (region, ByteAcc, NoLock, Preserve).
[[nodiscard]] Term byte_field(std::string_view region, std::initializer_list<FieldUnit> units);
[[nodiscard]] Term create_word_field(const Term& source, u64 byte, std::string_view object);
[[nodiscard]] Term create_dword_field(const Term& source, u64 byte, std::string_view object);

// Expressions; `target` may be null_target().
[[nodiscard]] Term local(unsigned n);
[[nodiscard]] Term argument(unsigned n);
[[nodiscard]] Term null_target();
[[nodiscard]] Term and_(const Term& a, const Term& b, const Term& target = null_target());
[[nodiscard]] Term or_(const Term& a, const Term& b, const Term& target = null_target());
[[nodiscard]] Term shift_left(const Term& a, const Term& count, const Term& target = null_target());
[[nodiscard]] Term find_set_right_bit(const Term& a, const Term& target = null_target());
[[nodiscard]] Term equal(const Term& a, const Term& b);
[[nodiscard]] Term not_(const Term& a);  ///< LNot

// Statements.
[[nodiscard]] Term store(const Term& source, const Term& target);
[[nodiscard]] Term decrement(const Term& target);
[[nodiscard]] Term if_(const Term& predicate, const Terms& body);
[[nodiscard]] Term else_(const Terms& body);  ///< right after an if_
[[nodiscard]] Term return_(const Term& value);

}  // namespace bhyve::platform::aml
