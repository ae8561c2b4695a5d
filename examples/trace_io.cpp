// Traces all port and memory-mapped I/O of a guest that runs in another thread, here one of our own: prints
// each access once, with how often it came. `trace_io NAME` instead watches a VM of another process by its
// counters.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include <bhyve/own_vm.hpp>

namespace {

// Real mode: for (cx = 100; cx; cx--) { out(80h, al); al = in(61h); [A000:0] = al; } hlt
constexpr unsigned char guest[] = {0xb9, 100, 0,    0xb8, 0x00, 0xa0, 0x8e, 0xd8, 0xe6, 0x80,
                                   0xe4, 0x99, 0xa2, 0x00, 0x00, 0xe2, 0xf7, 0xf4};
constexpr std::uint64_t start = 0x1000;

int fail(const bhyve::Error& error) {
  std::fprintf(stderr, "trace_io: %s\n", error.message.c_str());
  return 1;
}

/// Another process's VM: its I/O by FreeBSD's counters, once a second until it ends.
int watch(const std::string& name) {
  auto control = bhyve::Control::connect(name);
  if (!control) return fail(control.error());
  while (true) {
    const auto stats = control->statistics(0);
    if (!stats) return stats.error().code == ESRCH ? 0 : fail(stats.error());
    for (const auto& s : *stats)
      if (s.text == "number of times in/out was intercepted" ||
          s.text == "vm exits for instruction emulation")
        std::printf("%s: %llu\n", s.text.c_str(), static_cast<unsigned long long>(s.value));
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

int trace(const std::string& name) {
  bhyve::Config config;
  config.set("name", name);
  config.set("memory.size", "16M");
  auto vm = bhyve::OwnVm::create(config);
  if (!vm) return fail(vm.error());
  std::memcpy(vm->map(start, sizeof guest), guest, sizeof guest);
  bhyve::Control control = vm->control();
  for (auto done : {control.set_register(0, "cs", 0),
                    control.set_descriptor(0, {"cs", 0, 0xffff, 0x93, 0}),
                    control.set_register(0, "rip", start)})
    if (!done) return fail(done.error());
  std::map<std::string, unsigned> seen;
  bhyve::VcpuExit exit;
  using bhyve::abi::ExitCode;
  do {
    if (auto done = vm->run(0, exit); !done) return fail(done.error());
    char text[64] = "";
    if (exit.code == ExitCode::inout)
      std::snprintf(text, sizeof text, "%s port %#x, %u bytes", exit.inout.in ? "in " : "out",
                    unsigned{exit.inout.port}, unsigned{exit.inout.bytes});
    if (exit.code == ExitCode::inst_emul)
      std::snprintf(text, sizeof text, "%s gpa %#llx, %u bytes", exit.mmio.write ? "write" : "read",
                    static_cast<unsigned long long>(exit.mmio.gpa), unsigned{exit.mmio.size});
    if (*text) ++seen[text];
  } while (exit.code != ExitCode::suspended);
  for (const auto& [text, count] : seen) std::printf("%-28s %u\n", text.c_str(), count);
  return vm->destroy() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2) return watch(argv[2]);
  return trace(argc > 1 ? argv[1] : "trace");
}
