// Runs one guest program (tests/guest) on one configuration and judges it by the directives in its
// source's first comment:
//   @start long|protected|real   mode it begins in (long when absent)
//   @load ADDRESS                where the flat binary goes and begins (100000h when absent)
//   @vcpus N                     vCPUs of the machine (1)
//   @highmem N                   MiB of RAM from 4 GiB on (0)
//   @expect end N | triple-fault how it must end (end 0)
//   @output TEXT                 what it must have printed, in addition to the end
//   @seconds N                   time limit (20), for a build without sanitizers
//   @memory NAMES                what it is for: plain, emulated, paged (all; CMakeLists.txt reads it)
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>

#include "test_modes.hpp"

namespace {

using namespace bhyve;
using test::Outcome;

struct Directives {
  std::string start = "long";
  u64 load = 0x10'0000;
  u32 vcpus = 1;
  u64 highmem = 0;  ///< MiB
  bool triple_fault = false;
  unsigned status = 0;
  std::string output;
  unsigned seconds = 20;
};

void parse_line(std::istringstream& words, const std::string& key, Directives& d) {
  if (key == "@start") words >> d.start;
  else if (key == "@load") words >> std::hex >> d.load;
  else if (key == "@vcpus") words >> d.vcpus;
  else if (key == "@highmem") words >> std::dec >> d.highmem;
  else if (key == "@seconds") words >> d.seconds;
  else if (key == "@output") std::getline(words >> std::ws, d.output);
  else if (key == "@expect") {
    std::string how;
    words >> how;
    d.triple_fault = how == "triple-fault";
    if (!d.triple_fault) words >> d.status;
  }
  if (words.fail()) throw std::runtime_error("bad directive " + key);
}

Directives parse(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  Directives d;
  for (std::string line; std::getline(file, line);) {
    const auto at = line.find('@');
    if (line.find("*/") != std::string::npos) break;
    if (at == std::string::npos) continue;
    std::istringstream words(line.substr(at));
    std::string key;
    words >> key;
    parse_line(words, key, d);
  }
  return d;
}

engine::VcpuState first_state(test::TestMachine& machine, const Directives& d) {
  constexpr u64 stack = 0x8'0000;
  if (d.start == "real") return test::enter_real_mode(static_cast<u16>(d.load), 0x7000);
  if (d.start == "protected")
    return test::enter_protected_mode(machine, static_cast<u32>(d.load), stack);
  return test::enter_long_mode(machine, d.load, stack);
}

bool judge(const Directives& d, const Outcome& outcome, const std::string& output) {
  const bool right_end =
      d.triple_fault ? outcome.kind == Outcome::Kind::triple_fault
                     : outcome.kind == Outcome::Kind::ended && outcome.status == d.status;
  if (right_end && output.find(d.output) != std::string::npos) return true;
  constexpr const char* kinds[] = {"running", "end", "triple fault", "timeout", "error"};
  std::cout << fmt::format("{} {} {}\n", kinds[static_cast<unsigned>(outcome.kind)],
                           outcome.status, outcome.detail);
  return false;
}

test::TestMachine::Options::Nested nested_of(const std::string& word) {
  using Nested = test::TestMachine::Options::Nested;
  if (word == "emulated") return Nested::emulated;
  if (word == "paged") return Nested::paged;
  if (word.empty()) return Nested::plain;
  throw std::runtime_error("no such memory: " + word);
}

int run(const std::string& binary, const std::string& source, const std::string& name,
        const std::string& memory) {
  const test::Configuration* configuration = test::find_configuration(name);
  if (configuration == nullptr) throw std::runtime_error("no configuration " + name);
  const Directives d = parse(source);
  std::ifstream file(binary, std::ios::binary);
  const std::vector<char> image{std::istreambuf_iterator<char>(file), {}};
  if (image.empty()) throw std::runtime_error("cannot read " + binary);

  test::TestMachine machine(*configuration, {.vcpus = d.vcpus,
                                             .high_memory = d.highmem * MiB,
                                             .nested = nested_of(memory)});
  machine.write(d.load, std::span(reinterpret_cast<const u8*>(image.data()), image.size()));
  machine.vcpu(0).load(engine::StateGroups::all, first_state(machine, d));
  const Outcome outcome = machine.run(d.seconds * BHYVE_PATIENCE);
  const std::string output = machine.client().output();
  std::cout << output;
  return judge(d, outcome, output) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "usage: run_guest BINARY SOURCE CONFIGURATION [emulated|paged]\n";
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "");
  } catch (const std::exception& e) {
    std::cerr << "run_guest: " << e.what() << '\n';
    return 2;
  }
}
