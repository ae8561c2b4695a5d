#include "base/log.hpp"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

namespace bhyve {

namespace log_detail {

std::atomic<u32> mask{0};

void write(const char* level, std::string_view text) {
  // One write a line: lines of several threads do not mix.
  const std::string line = fmt::format("bhyve: {}: {}\n", level, text);
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace log_detail

namespace {

struct Component {
  std::string_view name;
  u32 bits;
};

constexpr u32 bits_of(Log component) { return static_cast<u32>(component); }

constexpr std::array components{
    Component{"cpu", bits_of(Log::cpu)},     Component{"mem", bits_of(Log::mem)},
    Component{"apic", bits_of(Log::apic)},   Component{"timer", bits_of(Log::timer)},
    Component{"pci", bits_of(Log::pci)},     Component{"dev", bits_of(Log::dev)},
    Component{"vmm", bits_of(Log::vmm)},     Component{"api", bits_of(Log::api)},
    Component{"all", ~u32{0}},
};

u32 bits_by_name(std::string_view name) {
  for (const Component& c : components)
    if (c.name == name) return c.bits;
  log_warn("BHYVE_TRACE: unknown component '{}' ignored, expected cpu, mem, apic, timer, pci, dev, "
           "vmm, api or all", name);
  return 0;
}

}  // namespace

void log_init() {
  const char* value = std::getenv("BHYVE_TRACE");
  u32 mask = 0;
  for (std::string_view rest = value ? value : ""; !rest.empty();) {
    const usize comma = rest.find(',');
    const std::string_view name = rest.substr(0, comma);
    if (!name.empty()) mask |= bits_by_name(name);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  log_detail::mask.store(mask, std::memory_order_relaxed);
}

}  // namespace bhyve
