// Traces all port and memory-mapped I/O of a VM that another process runs: `trace_io NAME` prints each access
// until the VM ends, `trace_io NAME COUNT` that many.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <bhyve/vm.hpp>

namespace {

int fail(const bhyve::Error& error) {
  std::fprintf(stderr, "trace_io: %s\n", error.message.c_str());
  return 1;
}

void print(const bhyve::IoAccess& a) {
  std::printf("%" PRIu32 " %s %s %#" PRIx64 " %" PRIu32 " bytes %#" PRIx64 "\n", a.vcpu,
              a.memory ? "memory" : "port", a.write ? "write" : "read", a.address, a.size, a.value);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: trace_io NAME [COUNT]\n"), 2;
  unsigned long long left = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : ~0ull;
  auto vm = bhyve::Control::connect(argv[1]);
  if (!vm) return fail(vm.error());
  for (std::uint64_t next = 0; left > 0;) {
    const auto trace = vm->io_trace(next);
    if (!trace) return trace.error().code == ESRCH ? 0 : fail(trace.error());
    for (const auto& access : trace->accesses) {
      if (access.sequence > next && next != 0)
        std::printf("%" PRIu64 " missed\n", access.sequence - next);
      print(access);
      next = access.sequence + 1;
      if (--left == 0) break;
    }
    next = left ? trace->next : next;
    std::fflush(stdout);
    if (trace->accesses.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return vm->end_io_trace() ? 0 : 1;
}
