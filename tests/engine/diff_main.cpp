// Differential instruction test: the host CPU against one configuration.
//   diff_test CONFIGURATION KNOWN_LIST [--mode user64|user32|user16|kernel64] [--iterations N]
//             [--sequences N] [--flows N] [--seed N] [--floor FORMS] [--only TEXT]
// One iteration goes over all opcodes of all maps once; then come random sequences of up to six
// instructions, and those woven into random control flow. Ends with status 1 when something differs
// that the known list does not have, or when fewer than FORMS forms could be compared (the default
// depends on the mode and on whether the host has AVX-512; it may only grow).
#include <cstring>
#include <iostream>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>

#include <fmt/format.h>

#include "diff_flow.hpp"
#include "diff_guest.hpp"
#include "diff_host.hpp"
#include "diff_inputs.hpp"
#include "diff_known.hpp"

namespace {

using namespace bhyve;
using namespace bhyve::test::diff;

struct Options {
  std::string configuration, known;
  Mode mode = Mode::user64;
  u64 iterations = 3, sequences = 20'000, flows = 20'000, seed = 1;
  std::optional<u64> floor;
  std::string only;
};

Options parse(int argc, char** argv) {
  if (argc < 3) throw std::runtime_error("usage: diff_test CONFIGURATION KNOWN_LIST [options]");
  Options o;
  o.configuration = argv[1];
  o.known = argv[2];
  for (int i = 3; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    const std::string_view value = argv[i + 1];
    if (key == "--mode" && value == "user64") o.mode = Mode::user64;
    else if (key == "--mode" && value == "user32") o.mode = Mode::user32;
    else if (key == "--mode" && value == "user16") o.mode = Mode::user16;
    else if (key == "--mode" && value == "kernel64") o.mode = Mode::kernel64;
    else if (key == "--sequences") o.sequences = std::stoull(argv[i + 1]);
    else if (key == "--flows") o.flows = std::stoull(argv[i + 1]);
    else if (key == "--iterations") o.iterations = std::stoull(argv[i + 1]);
    else if (key == "--seed") o.seed = std::stoull(argv[i + 1]);
    else if (key == "--floor") o.floor = std::stoull(argv[i + 1]);
    else if (key == "--only") o.only = argv[i + 1];
    else throw std::runtime_error("no option " + key);
  }
  if (!o.floor) {
    const bool avx512 = components() & x86::xcr0::avx512;
    const bool thorough = o.mode == Mode::user64 && o.iterations > 2;
    o.floor = thorough ? (avx512 ? 6400 : 2000) : (avx512 ? 5600 : 1800);
  }
  return o;
}

/// Bits of a page fault's error code that both sides define (whether the page is present is the
/// host kernel's business).
u64 comparable_error(const After& r, Mode mode) {
  if (r.vector != static_cast<int>(x86::Vector::pf)) return r.error;
  return r.error & (x86::pf::write | (mode == Mode::kernel64 ? 0 : x86::pf::user));
}

class Session final {
 public:
  Session(const Options& options, const test::Configuration& configuration)
      : options_(options), known_(options.known), random_(options.seed), inputs_(random_),
        host_(options.mode), guest_(configuration, options.mode),
        lazy_flags_(configuration.name == "soft-translate") {}

  int run();

 private:
  void use(Candidate& c);
  void use_sequence(bool flow);
  void run_both(std::span<const u8> text, const State& in, const Candidate& last, After& host,
                After& guest);
  void compare(const Candidate& c, const State& in, After& host, After& guest);
  void differs(const Candidate& c, const State& in, const std::string& aspect,
               const std::string& text);

  const Options& options_;
  Known known_;
  Random random_;
  Inputs inputs_;
  HostCpu host_;
  GuestCpu guest_;
  u64 cases_ = 0, sequences_ = 0, flows_ = 0, wrong_ = 0, allowed_ = 0;
  /// Translated code does not keep flags that a later instruction of the block overwrites: when one in
  /// between faults, they are not what a processor would show (src/engine/soft/README.md).
  const bool lazy_flags_;
  std::string context_;  ///< the instructions before, of a sequence
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
    std::cout << fmt::format("{}{}: {} {}\n", context_, c.describe(in.rip), aspect, text);
}

void Session::compare(const Candidate& c, const State& in, After& host, After& guest) {
  // At a segment's limit we fault as Intel's processors do, which look at alignment and errors of the
  // x87 first and only at elements that no mask suppresses. AMD's order was never compared.
  const auto limit = [](const After& r) { return r.vector == 12 || r.vector == 13; };
  if (options_.mode == Mode::user16 && !host_is_intel() && (limit(host) || limit(guest)) &&
      host.vector != guest.vector) {
    ++allowed_;
    return;
  }
  if (host.vector != guest.vector || host.state.rip != guest.state.rip ||
      comparable_error(host, options_.mode) != comparable_error(guest, options_.mode)) {
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
  const bool overwritten = lazy_flags_ && !context_.empty() && host.vector != After::none;
  if (!overwritten && (host.state.flags ^ guest.state.flags) & compared_flags)
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

void Session::run_both(std::span<const u8> text, const State& in, const Candidate& last, After& host,
                       After& guest) {
  std::copy(host_.memory().begin(), host_.memory().end(), guest_.memory().begin());
  host_.run(text, in, host);
  try {
    guest_.run(text, in, guest);
  } catch (const std::exception& e) {
    throw std::runtime_error(fmt::format("{}{}: {}", context_, last.describe(in.rip), e.what()));
  }
}

/// Random instructions one after the other; or as a flow, which branches.
void Session::use_sequence(bool flow) {
  std::vector<Candidate> sequence;
  for (u64 wanted = 2 + random_.below(5), tries = 0; sequence.size() < wanted && tries < 64; ++tries) {
    Candidate c;
    c.mode = options_.mode;
    if (random_candidate(random_, c) && may_run(c) && !known_.mentions(c)) sequence.push_back(c);
  }
  State in;
  inputs_.make(sequence, in, host_.memory());
  if (sequence.size() < 2) return;
  std::vector<u8> text;
  if (flow)
    text = weave(random_, sequence, in.rip, host_.memory());
  else
    for (const Candidate& c : sequence) text.insert(text.end(), c.text().begin(), c.text().end());
  if (text.empty() || text.size() > longest) return;
  context_.clear();
  for (usize n = 0; n + 1 < sequence.size(); ++n) context_ += sequence[n].describe(in.rip) + "; ";
  After host, guest;
  run_both(text, in, sequence.back(), host, guest);
  ++(flow ? flows_ : sequences_);
  compare(sequence.back(), in, host, guest);
  context_.clear();
}

void Session::use(Candidate& c) {
  if (!may_run(c) || known_.skip(c)) return;
  if (!options_.only.empty() && c.form().find(options_.only) == std::string::npos) return;
  State in;
  if (!inputs_.make(c, in, host_.memory()) || !may_run(c)) return;
  After host, guest;
  run_both(c.text(), in, c, host, guest);
  ++cases_;
  if (host.vector != static_cast<int>(x86::Vector::ud)) ++forms_[c.form()];
  compare(c, in, host, guest);
}

int Session::run() {
  for (u64 i = 0; i < options_.iterations; ++i)
    for_each_candidate(random_, options_.mode, [this](Candidate& c) { use(c); });
  for (u64 i = 0; i < options_.sequences; ++i) use_sequence(false);
  for (u64 i = 0; i < options_.flows; ++i) use_sequence(true);
  for (const auto& [what, count] : wrong_by_) std::cout << fmt::format("  {:6} {}\n", count, what);
  std::cout << fmt::format(
      "seed {}: {} cases, {} sequences, {} flows, {} forms (floor {}), {} differences, {} known differences\n",
      options_.seed, cases_, sequences_, flows_, forms_.size(), *options_.floor, wrong_, allowed_);
  return wrong_ == 0 && forms_.size() >= *options_.floor ? 0 : 1;
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
