#include "bhyve/config.hpp"

#include <algorithm>
#include <fstream>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve {
namespace {

constexpr unsigned max_expansion_depth = 16;
constexpr usize max_value_length = 64 * KiB;

/// Numbers compare by value, everything else as text.
bool natural_less(const std::string& a, const std::string& b) {
  const auto x = parse_integer(a), y = parse_integer(b);
  if (x && y && *x != *y) return *x < *y;
  if (x.has_value() != y.has_value()) return x.has_value();
  return a < b;
}

}  // namespace

void Config::set(std::string_view name, std::string_view value) {
  values_.insert_or_assign(std::string(name), std::string(value));
}

Result<void> Config::set_assignment(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0)
    return fail(EINVAL, "'{}': expected var=value", text);
  set(text.substr(0, equals), text.substr(equals + 1));
  return {};
}

Result<void> Config::load_file(const std::string& path) {
  std::ifstream in(path);
  if (!in) return fail(errno ? errno : EIO, "{}: cannot read the configuration file", path);
  std::string line;
  for (unsigned number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    if (!set_assignment(line))
      return fail(EINVAL, "{}: line {}: expected var=value", path, number);
  }
  if (in.bad()) return fail(EIO, "{}: cannot read the configuration file", path);
  return {};
}

void Config::remove(std::string_view name) {
  if (const auto it = values_.find(name); it != values_.end()) values_.erase(it);
}

bool Config::has(std::string_view name) const { return values_.find(name) != values_.end(); }

bool Config::has_below(std::string_view prefix) const {
  const std::string start = std::string(prefix) + '.';
  const auto it = values_.lower_bound(start);
  return it != values_.end() && it->first.starts_with(start);
}

std::optional<std::string> Config::raw(std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) return std::nullopt;
  return it->second;
}

std::vector<std::string> Config::children(std::string_view prefix) const {
  const std::string start = prefix.empty() ? std::string() : std::string(prefix) + '.';
  std::vector<std::string> out;
  for (auto it = values_.lower_bound(start); it != values_.end(); ++it) {
    if (!it->first.starts_with(start)) break;
    const std::string_view rest = std::string_view(it->first).substr(start.size());
    out.emplace_back(rest.substr(0, rest.find('.')));
  }
  std::sort(out.begin(), out.end(), natural_less);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<std::string> Config::expand(std::string_view name, std::string_view value,
                                   unsigned depth) const {
  if (depth > max_expansion_depth) return fail(EINVAL, "{}: its references form a circle", name);
  std::string out;
  for (usize i = 0; i < value.size(); ++i) {
    if (value[i] != '%') {
      out += value[i];
    } else if (value.substr(i + 1, 1) == "%") {
      out += '%';
      ++i;
    } else {
      const auto end = value.find(')', i);
      if (value.substr(i + 1, 1) != "(" || end == std::string_view::npos)
        return fail(EINVAL, "{}: '%' must begin %(var) or %%", name);
      const auto reference = value.substr(i + 2, end - i - 2);
      const auto it = values_.find(reference);
      if (it == values_.end())
        return fail(EINVAL, "{}: %({}) names a variable that is not set", name, reference);
      auto inner = expand(name, it->second, depth + 1);
      if (!inner) return inner;
      out += *inner;
      i = end;
    }
    if (out.size() > max_value_length) return fail(E2BIG, "{}: its value is too long", name);
  }
  return out;
}

Result<std::optional<std::string>> Config::get(std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) return std::optional<std::string>();
  auto value = expand(name, it->second, 0);
  if (!value) return tl::make_unexpected(value.error());
  return std::optional<std::string>(std::move(*value));
}

Result<std::string> Config::get_text(std::string_view name, std::string_view fallback) const {
  auto value = get(name);
  if (!value) return tl::make_unexpected(value.error());
  return value->value_or(std::string(fallback));
}

Result<bool> Config::get_bool(std::string_view name, bool fallback) const {
  auto value = get(name);
  if (!value) return tl::make_unexpected(value.error());
  if (!*value) return fallback;
  if (const auto b = parse_bool(**value)) return *b;
  return fail(EINVAL, "{}={}: expected true or false", name, **value);
}

Result<std::uint64_t> Config::get_integer(std::string_view name, std::uint64_t fallback) const {
  auto value = get(name);
  if (!value) return tl::make_unexpected(value.error());
  if (!*value) return fallback;
  if (const auto n = parse_integer(**value)) return *n;
  return fail(EINVAL, "{}={}: expected a number", name, **value);
}

Result<std::uint64_t> Config::get_size(std::string_view name, std::uint64_t fallback) const {
  auto value = get(name);
  if (!value) return tl::make_unexpected(value.error());
  if (!*value) return fallback;
  if (const auto n = parse_memory_size(**value)) return *n;
  return fail(EINVAL, "{}={}: expected a size such as 512M or 2G", name, **value);
}

std::string Config::dump() const {
  std::string out;
  for (const auto& [name, value] : values_) out += name + '=' + value + '\n';
  return out;
}

}  // namespace bhyve
