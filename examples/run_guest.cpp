// Runs a guest from memory and handles its exits: the whole life of a VM in 40 lines.
#include <cstdio>
#include <cstring>

#include <bhyve/own_vm.hpp>

// Real mode: says "hello" on port 3F8h, one letter a time, then halts.
constexpr unsigned char guest[] = {0xbe, 0x0f, 0x10, 0xba, 0xf8, 0x03, 0xac, 0x3c, 0, 0x74, 0x03,
                                   0xee, 0xeb, 0xf8, 0xf4, 'h',  'e',  'l',  'l', 'o', '\n', 0};
constexpr std::uint64_t start = 0x1000;

int main(int argc, char** argv) {
  bhyve::Config config;
  config.set("name", argc > 1 ? argv[1] : "example");
  config.set("memory.size", "16M");
  auto vm = bhyve::OwnVm::create(config);
  if (!vm) return std::fprintf(stderr, "%s\n", vm.error().message.c_str()), 1;
  std::memcpy(vm->map(start, sizeof guest), guest, sizeof guest);
  bhyve::Control control = vm->control();
  auto ready = control.set_register(0, "cs", 0);
  if (ready) ready = control.set_descriptor(0, {"cs", 0, 0xffff, 0x93, 0});
  if (ready) ready = control.set_register(0, "rip", start);
  bhyve::VcpuExit exit;
  while (ready && (ready = vm->run(0, exit))) {
    using bhyve::abi::ExitCode;
    if (exit.code == ExitCode::inout && !exit.inout.in)
      std::putchar(static_cast<int>(exit.inout.eax & 0xff));
    else if (exit.code == ExitCode::suspended)
      break;  // halted for good
  }
  if (!ready) std::fprintf(stderr, "%s\n", ready.error().message.c_str());
  return vm->destroy() && ready ? 0 : 1;
}
