#pragma once
#include <atomic>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/types.hpp"

namespace bhyve {

/// Trace components (bits of the mask). Levels: error and warn are always written, info and trace
/// only for components switched on. Set by BHYVE_TRACE=cpu,apic,... or `all` at start.
enum class Log : u32 { cpu = 1, mem = 2, apic = 4, timer = 8, pci = 16, dev = 32, vmm = 64, api = 128 };

namespace log_detail {
extern std::atomic<u32> mask;
void write(const char* level, std::string_view text);
}  // namespace log_detail

/// Reads BHYVE_TRACE. Called once at program start.
void log_init();

template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log_detail::write("warning", fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_detail::write("error", fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void trace(Log component, fmt::format_string<Args...> format, Args&&... args) {
  if (log_detail::mask.load(std::memory_order_relaxed) & static_cast<u32>(component)) [[unlikely]]
    log_detail::write("trace", fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace bhyve
