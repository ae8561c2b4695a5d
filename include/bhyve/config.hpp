#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bhyve/abi/error.hpp"

namespace bhyve {

/// The configuration tree of a VM: variables with dotted names and text values (bhyve_config(5)).
/// A later setting replaces an earlier one. `%(var)` in a value is replaced by the value of `var`
/// and `%%` by a percent sign when the value is read. Unknown variables are kept.
/// Thread safety: none; a tree is built by one thread and then only read.
class Config final {
 public:
  Config() = default;

  /// Sets a variable. The name must not be empty.
  void set(std::string_view name, std::string_view value);
  /// Sets from "var=value", as -o and lines of a -k file have it.
  [[nodiscard]] Result<void> set_assignment(std::string_view text);
  /// Reads a file of var=value lines; `#` begins a comment line.
  [[nodiscard]] Result<void> load_file(const std::string& path);
  void remove(std::string_view name);

  [[nodiscard]] bool has(std::string_view name) const;
  /// True when a variable lies below `prefix` ("pci.0.31.0" has "pci.0.31.0.device" below it).
  [[nodiscard]] bool has_below(std::string_view prefix) const;
  /// The value before expansion.
  [[nodiscard]] std::optional<std::string> raw(std::string_view name) const;
  /// Names of the direct children of a node, in natural order (2 before 10).
  [[nodiscard]] std::vector<std::string> children(std::string_view prefix) const;

  /// The expanded value, or nullopt when not set. Fails on a reference to an unknown variable, on a
  /// circle of references, and on a `%` that begins neither form.
  [[nodiscard]] Result<std::optional<std::string>> get(std::string_view name) const;
  /// Typed values; `fallback` when not set. The sentence of a failure names the variable.
  [[nodiscard]] Result<std::string> get_text(std::string_view name, std::string_view fallback) const;
  [[nodiscard]] Result<bool> get_bool(std::string_view name, bool fallback) const;
  [[nodiscard]] Result<std::uint64_t> get_integer(std::string_view name,
                                                  std::uint64_t fallback) const;
  /// A memory size in bytes; see parse_memory_size().
  [[nodiscard]] Result<std::uint64_t> get_size(std::string_view name, std::uint64_t fallback) const;

  /// All variables as "name=value" lines, unexpanded, sorted by name.
  [[nodiscard]] std::string dump() const;
  [[nodiscard]] const std::map<std::string, std::string, std::less<>>& variables() const {
    return values_;
  }

 private:
  Result<std::string> expand(std::string_view name, std::string_view value, unsigned depth) const;
  std::map<std::string, std::string, std::less<>> values_;
};

/// true, on, yes, 1 / false, off, no, 0 (any case).
[[nodiscard]] std::optional<bool> parse_bool(std::string_view text);
/// Decimal, 0x hexadecimal or 0 octal.
[[nodiscard]] std::optional<std::uint64_t> parse_integer(std::string_view text);
/// vm_parse_memsize(): a bare number below 1048576 is in MiB and one above it in bytes; otherwise one
/// of the suffixes K M G T in either case.
[[nodiscard]] std::optional<std::uint64_t> parse_memory_size(std::string_view text);
/// Numbers and ranges such as "0,2-5", sorted, each once, all below `limit`.
[[nodiscard]] std::optional<std::vector<unsigned>> parse_number_set(std::string_view text,
                                                                    unsigned limit);

}  // namespace bhyve
