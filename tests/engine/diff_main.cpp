// Differential instruction test: the host CPU against one configuration.
//   diff_test CONFIGURATION KNOWN_LIST [--iterations N] [--seed N] [--floor FORMS] [--only TEXT]
// One iteration goes over all opcodes of all maps once. Ends with status 1 when something differs
// that the known list does not have, or when fewer than FORMS forms could be compared (the default
// depends on whether the host has AVX-512; it may only grow).
#include <cstring>
#include <iostream>
#include <map>
#include <unordered_map>

#include <fmt/format.h>

#include "diff_guest.hpp"
#include "diff_host.hpp"
#include "diff_inputs.hpp"
#include "diff_known.hpp"

namespace {

using namespace bhyve;
using namespace bhyve::test::diff;

struct Options {
  std::string configuration, known;
  u64 iterations = 3, seed = 1;
  u64 floor = components() & x86::xcr0::avx512 ? 6000 : 2000;
  std::string only;
};

Options parse(int argc, char** argv) {
  if (argc < 3) throw std::runtime_error("usage: diff_test CONFIGURATION KNOWN_LIST [options]");
  Options o{.configuration = argv[1], .known = argv[2], .only = {}};
  for (int i = 3; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    if (key == "--iterations") o.iterations = std::stoull(argv[i + 1]);
    else if (key == "--seed") o.seed = std::stoull(argv[i + 1]);
    else if (key == "--floor") o.floor = std::stoull(argv[i + 1]);
    else if (key == "--only") o.only = argv[i + 1];
    else throw std::runtime_error("no option " + key);
  }
  return o;
}

/// Bits of a page fault's error code that both sides define (whether the page is present is the
/// host kernel's business).
u64 comparable_error(const After& r) {
  return r.vector == static_cast<int>(x86::Vector::pf) ? r.error & (x86::pf::write | x86::pf::user)
                                                       : r.error;
}

class Session final {
 public:
  Session(const Options& options, const test::Configuration& configuration)
      : options_(options), known_(options.known), random_(options.seed), inputs_(random_),
        guest_(configuration) {}

  int run();

 private:
  void use(Candidate& c);
  void compare(const Candidate& c, const State& in, After& host, After& guest);
  void differs(const Candidate& c, const State& in, const std::string& aspect,
               const std::string& text);

  const Options& options_;
  Known known_;
  Random random_;
  Inputs inputs_;
  HostCpu host_;
  GuestCpu guest_;
  u64 cases_ = 0, wrong_ = 0, allowed_ = 0;
  std::unordered_map<std::string, u64> forms_;  ///< cases of each, that the host did not refuse
  std::map<std::string, u64> wrong_by_;
};

void Session::differs(const Candidate& c, const State& in, const std::string& aspect,
                      const std::string& text) {
  if (known_.expected(c, aspect)) {
    ++allowed_;
    return;
  }
  ++wrong_;
  const u64 seen = wrong_by_[fmt::format("{} {}", ZydisMnemonicGetString(c.insn.mnemonic), aspect)]++;
  if (seen < 2 && wrong_ < 400)
    std::cout << fmt::format("{}: {} {}\n", c.describe(in.rip), aspect, text);
}

void Session::compare(const Candidate& c, const State& in, After& host, After& guest) {
  if (host.vector != guest.vector || host.state.rip != guest.state.rip ||
      comparable_error(host) != comparable_error(guest)) {
    differs(c, in, "fault",
            fmt::format("host {} ({:#x}) rip {:#x} cr2 {:#x}, guest {} ({:#x}) rip {:#x} cr2 {:#x}",
                        host.vector, host.error, host.state.rip, host.cr2, guest.vector,
                        guest.error, guest.state.rip, guest.cr2));
    return;  // the rest follows from it
  }
  if (host.cr2 != guest.cr2)
    differs(c, in, "cr2", fmt::format("host {:#x}, guest {:#x}", host.cr2, guest.cr2));
  for (usize i = 0; i < x86::gpr_count; ++i)
    if (host.state.gpr[i] != guest.state.gpr[i]) {
      differs(c, in, "gpr", fmt::format("{}: host {:#x}, guest {:#x}, before {:#x}", i,
                                        host.state.gpr[i], guest.state.gpr[i], in.gpr[i]));
      break;
    }
  if ((host.state.flags ^ guest.state.flags) & compared_flags)
    differs(c, in, "flags",
            fmt::format("host {:#x}, guest {:#x}, before {:#x}", host.state.flags & compared_flags,
                        guest.state.flags & compared_flags, in.flags));
  const auto hm = host_.memory(), gm = guest_.memory();
  if (std::memcmp(hm.data(), gm.data(), hm.size()) != 0) {
    const auto at = std::mismatch(hm.begin(), hm.end(), gm.begin()).first - hm.begin();
    differs(c, in, "memory", fmt::format("at {:#x}: host {:#x}, guest {:#x}", data + static_cast<u64>(at),
                                         hm[static_cast<usize>(at)], gm[static_cast<usize>(at)]));
  }
  normalise(host.state.vectors);
  normalise(guest.state.vectors);
  if (host.state.vectors != guest.state.vectors) {
    const auto [h, g] = std::mismatch(host.state.vectors.begin(), host.state.vectors.end(),
                                      guest.state.vectors.begin());
    differs(c, in, "vector", fmt::format("xsave byte {}: host {:#x}, guest {:#x}",
                                         h - host.state.vectors.begin(), *h, *g));
  }
}

void Session::use(Candidate& c) {
  if (!may_run(c) || known_.skip(c)) return;
  if (!options_.only.empty() && c.form().find(options_.only) == std::string::npos) return;
  State in;
  if (!inputs_.make(c, in, host_.memory()) || !may_run(c)) return;
  std::copy(host_.memory().begin(), host_.memory().end(), guest_.memory().begin());
  After host, guest;
  host_.run(c.text(), in, host);
  try {
    guest_.run(c.text(), in, guest);
  } catch (const std::exception& e) {
    throw std::runtime_error(fmt::format("{}: {}", c.describe(in.rip), e.what()));
  }
  ++cases_;
  if (host.vector != static_cast<int>(x86::Vector::ud)) ++forms_[c.form()];
  compare(c, in, host, guest);
}

int Session::run() {
  for (u64 i = 0; i < options_.iterations; ++i)
    for_each_candidate(random_, [this](Candidate& c) { use(c); });
  for (const auto& [what, count] : wrong_by_) std::cout << fmt::format("  {:6} {}\n", count, what);
  std::cout << fmt::format(
      "seed {}: {} cases, {} forms (floor {}), {} differences, {} known differences\n", options_.seed,
      cases_, forms_.size(), options_.floor, wrong_, allowed_);
  return wrong_ == 0 && forms_.size() >= options_.floor ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    const test::Configuration* row = test::find_configuration(options.configuration);
    if (row == nullptr) throw std::runtime_error("no configuration " + options.configuration);
    return Session(options, *row).run();
  } catch (const std::exception& e) {
    std::cerr << "diff_test: " << e.what() << '\n';
    return 2;
  }
}
