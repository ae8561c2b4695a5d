#include "host/stdio_backend.hpp"

#include <unistd.h>

#include <atomic>

namespace bhyve::host {

namespace {

std::atomic<bool> taken{false};

}  // namespace

Result<std::unique_ptr<StdioBackend>> StdioBackend::open(EventLoop& loop) {
  if (taken.exchange(true))
    return fail(EBUSY, "stdio is already used by another device; only one can have it");
  return std::unique_ptr<StdioBackend>(new StdioBackend(loop));
}

StdioBackend::StdioBackend(EventLoop& loop)
    : raw_(STDIN_FILENO), fds_(loop, STDIN_FILENO, STDOUT_FILENO) {}

StdioBackend::~StdioBackend() { taken.store(false); }

}  // namespace bhyve::host
