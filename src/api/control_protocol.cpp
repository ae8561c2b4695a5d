#include "api/control_protocol.hpp"

namespace bhyve::api {
namespace {

constexpr int max_depth = 8;

Result<Json> parse_object(std::string_view line, usize max) {
  if (line.size() > max) return fail(EMSGSIZE, "control message longer than {} bytes", max);
  bool too_deep = false;
  const auto check_depth = [&](int depth, Json::parse_event_t, Json&) {
    too_deep |= depth > max_depth;
    return !too_deep;
  };
  Json json = Json::parse(line, check_depth, false);
  if (too_deep || !json.is_object())
    return fail(EBADMSG, "control message: expected one JSON object a line");
  return json;
}

}  // namespace

Result<Json> parse_line(std::string_view line) { return parse_object(line, max_request); }

std::string answer_line(const Result<Json>& result) {
  Json answer;
  if (result)
    answer = {{"ok", true}, {"result", *result}};
  else
    answer = {{"ok", false}, {"errno", result.error().code}, {"error", result.error().message}};
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

Result<Json> parse_answer(std::string_view line) {
  auto answer = parse_object(line, max_answer);
  if (!answer) return answer;
  if (answer->value("ok", Json()) == true) return answer->value("result", Json());
  const Json code = answer->value("errno", Json()), text = answer->value("error", Json());
  if (!code.is_number_integer() || !text.is_string())
    return fail(EBADMSG, "control message: expected an answer");
  return tl::make_unexpected(Error{code.get<int>(), text.get<std::string>()});
}

Result<std::string> text_argument(const Json& request, const char* name) {
  const auto it = request.find(name);
  if (it == request.end() || !it->is_string())
    return fail(EINVAL, "control message: expected a text '{}'", name);
  return it->get<std::string>();
}

Result<i64> integer_argument(const Json& request, const char* name, i64 lowest, i64 highest) {
  const auto it = request.find(name);
  // A number above i64's range is unsigned in JSON and would wrap when read.
  const bool fits = it != request.end() && it->is_number_integer() &&
                    (!it->is_number_unsigned() || it->get<u64>() <= u64{INT64_MAX});
  if (fits) {
    const i64 value = it->get<i64>();
    if (value >= lowest && value <= highest) return value;
  }
  return fail(EINVAL, "{}: expected a number from {} to {}", name, lowest, highest);
}

Result<u64> word_argument(const Json& request, const char* name) {
  const auto it = request.find(name);
  if (it != request.end() && it->is_number_integer() &&
      (it->is_number_unsigned() || it->get<i64>() >= 0))
    return it->get<u64>();
  return fail(EINVAL, "{}: expected a number of 64 bits", name);
}

Result<bool> bool_argument(const Json& request, const char* name) {
  const auto it = request.find(name);
  if (it != request.end() && it->is_boolean()) return it->get<bool>();
  return fail(EINVAL, "{}: expected true or false", name);
}

std::string to_hex(std::span<const u8> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out(bytes.size() * 2, '0');
  for (usize i = 0; i < bytes.size(); ++i) {
    out[2 * i] = digits[bytes[i] >> 4];
    out[2 * i + 1] = digits[bytes[i] & 15];
  }
  return out;
}

Result<std::vector<u8>> from_hex(std::string_view text) {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  std::vector<u8> out(text.size() / 2);
  bool ok = text.size() % 2 == 0;
  for (usize i = 0; ok && i < out.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    ok = high >= 0 && low >= 0;
    out[i] = static_cast<u8>(high << 4 | low);
  }
  if (!ok) return fail(EINVAL, "data: expected pairs of hexadecimal digits");
  return out;
}

}  // namespace bhyve::api
