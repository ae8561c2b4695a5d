// Runs one guest program on the vmm's own chips and judges it by the directives in its source's first
// comment:
//   @vcpus N                      vCPUs of the machine (1)
//   @modes xapic|x2apic           the one mode of the local APICs at power-up it is for (both)
//   @mptable                      the MP table is in memory
//   @expect end N | halt          how it must end (end 0); halt: all vCPUs halted for good
//   @spindowns N                  how often a vCPU must have left as SPINDOWN_CPU (0)
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "chips_machine.hpp"

namespace {

using namespace bhyve;
using test::ChipsMachine;

constexpr unsigned seconds = 60;

struct Directives {
  ChipsMachine::Options machine;
  std::string modes;
  bool halt = false;
  unsigned status = 0, spindowns = 0;
};

Directives parse(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  Directives d;
  for (std::string line; std::getline(file, line) && line.find("*/") == std::string::npos;) {
    const auto at = line.find('@');
    if (at == std::string::npos) continue;
    std::istringstream words(line.substr(at));
    std::string key, how;
    words >> key;
    if (key == "@vcpus") words >> d.machine.vcpus;
    else if (key == "@modes") words >> d.modes;
    else if (key == "@mptable") d.machine.mptable = true;
    else if (key == "@spindowns") words >> d.spindowns;
    else if (key == "@expect" && words >> how && !(d.halt = how == "halt")) words >> d.status;
    if (words.fail()) throw std::runtime_error("bad directive " + key);
  }
  return d;
}

int run(const std::string& binary, const std::string& source, const std::string& mode) {
  Directives d = parse(source);
  if (!d.modes.empty() && d.modes != mode) {
    std::cout << "not for this mode\n";
    return 0;
  }
  d.machine.x2apic = mode == "x2apic";
  std::ifstream file(binary, std::ios::binary);
  const std::vector<char> image{std::istreambuf_iterator<char>(file), {}};
  if (image.empty()) throw std::runtime_error("cannot read " + binary);
  ChipsMachine machine(d.machine);
  machine.load(std::span(reinterpret_cast<const u8*>(image.data()), image.size()));
  machine.start();
  const auto outcome = machine.finish(seconds);
  std::cout << machine.output();
  using Kind = ChipsMachine::Outcome::Kind;
  const bool right = d.halt ? outcome.kind == Kind::suspended &&
                                  outcome.how == abi::SuspendHow::halt
                            : outcome.kind == Kind::ended && outcome.status == d.status;
  if (right && machine.spindowns() == d.spindowns) return 0;
  constexpr const char* kinds[] = {"ended", "suspended", "timeout", "error"};
  std::cout << kinds[static_cast<unsigned>(outcome.kind)] << " status " << outcome.status
            << " reason " << static_cast<unsigned>(outcome.how) << " spindowns "
            << machine.spindowns() << ' ' << outcome.detail << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: run_apic BINARY SOURCE xapic|x2apic\n";
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& e) {
    std::cerr << "run_apic: " << e.what() << '\n';
    return 2;
  }
}
