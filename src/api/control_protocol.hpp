#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/types.hpp"
#include "bhyve/inspect.hpp"

/// The control protocol: one JSON object a line. Request {"command": NAME, ...arguments}; answer
/// {"ok": true, "result": ...} or {"ok": false, "errno": N, "error": SENTENCE}.
namespace bhyve::api {

using Json = nlohmann::json;

/// Bounds of one line, the newline included: what a client may send, and what it may be answered.
inline constexpr usize max_request = 16 * KiB, max_answer = 4 * MiB;

/// Parses a line that must be a JSON object, nested no deeper than a request ever is.
[[nodiscard]] Result<Json> parse_line(std::string_view line);
[[nodiscard]] std::string answer_line(const Result<Json>& result);
/// The result of an answer, or the error that it carries.
[[nodiscard]] Result<Json> parse_answer(std::string_view line);

/// Arguments of a request; the sentence of a failure names the argument.
[[nodiscard]] Result<std::string> text_argument(const Json& request, const char* name);
/// An integer in lowest..highest.
[[nodiscard]] Result<i64> integer_argument(const Json& request, const char* name, i64 lowest,
                                           i64 highest);

}  // namespace bhyve::api

namespace bhyve {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RegisterValue, name, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DescriptorValue, name, base, limit, access, selector)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VcpuRegisters, registers, descriptors)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Statistic, text, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MemoryMapping, address, length, segment, offset, protection)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CpuSets, sockets, cores, threads, maxcpus, active, suspended)
}  // namespace bhyve
