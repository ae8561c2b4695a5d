#include "engine/soft/translate/perf_map.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace bhyve::soft {

Result<std::unique_ptr<PerfMap>> PerfMap::create() {
  const std::string path = fmt::format("/tmp/perf-{}.map", ::getpid());
  ::unlink(path.c_str());  // of a process that had this number before
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
  if (!fd) return fail(errno, "cpu.perf_map: cannot make {}: {}", path, std::strerror(errno));
  return std::unique_ptr<PerfMap>(new PerfMap(std::move(fd)));
}

void PerfMap::add(const u8* code, usize bytes, std::string_view name) {
  const std::string line = fmt::format("{:x} {:x} {}\n", reinterpret_cast<u64>(code), bytes, name);
  const std::lock_guard guard(lock_);
  // A full disk costs names, nothing else.
  [[maybe_unused]] const ssize_t written = ::write(fd_.get(), line.data(), line.size());
}

}  // namespace bhyve::soft
