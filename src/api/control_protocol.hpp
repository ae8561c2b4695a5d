#pragma once
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// Any number of 64 bits.
[[nodiscard]] Result<u64> word_argument(const Json& request, const char* name);
[[nodiscard]] Result<bool> bool_argument(const Json& request, const char* name);
/// Bytes travel as two hexadecimal digits each.
[[nodiscard]] std::string to_hex(std::span<const u8> bytes);
[[nodiscard]] Result<std::vector<u8>> from_hex(std::string_view text);

}  // namespace bhyve::api

namespace bhyve {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RegisterValue, name, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DescriptorValue, name, base, limit, access, selector)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VcpuRegisters, registers, descriptors)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Statistic, text, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MemoryMapping, address, length, segment, offset, protection)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MemorySegment, id, length, name)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CpuSets, sockets, cores, threads, maxcpus, active, suspended,
                                   debug)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(EventInfo, state, halted, waits_for_sipi, nmi_pending,
                                   interrupt_pending, nmi_blocked, interrupt_shadow)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(IoAccess, sequence, time, vcpu, memory, write, size, address, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(IoTrace, accesses, next)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VmInfo, engine, state, memory, resident, cpus, uptime,
                                   cpu_seconds, pid)
}  // namespace bhyve
