#include "diff_known.hpp"

#include <cpuid.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace bhyve::test::diff {

namespace {

/// As the list writes it.
std::string host_vendor() { return host_is_intel() ? "@intel" : "@amd"; }

}  // namespace

bool host_is_intel() {
  u32 a = 0, b = 0, c = 0, d = 0;
  __get_cpuid(0, &a, &b, &c, &d);
  return b == signature_INTEL_ebx;
}

Known::Known(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string what, aspect, reason;
    if (!(words >> what >> aspect >> reason)) throw std::runtime_error("no reason: " + line);
    mentioned_.insert(what);
    const usize at = aspect.find('@');
    if (at != std::string::npos && aspect.substr(at) != host_vendor()) continue;
    rows_.emplace_back(what, aspect.substr(0, at));
  }
}

bool Known::mentions(const Candidate& c) const {
  return mentioned_.contains(ZydisMnemonicGetString(c.insn.mnemonic)) ||
         mentioned_.contains(std::string("isa:") + ZydisISAExtGetString(c.insn.meta.isa_ext));
}

bool Known::listed(const Candidate& c, const std::string& aspect) const {
  const std::string mnemonic = ZydisMnemonicGetString(c.insn.mnemonic);
  const std::string isa = std::string("isa:") + ZydisISAExtGetString(c.insn.meta.isa_ext);
  return std::any_of(rows_.begin(), rows_.end(), [&](const auto& row) {
    return row.second == aspect && (row.first == mnemonic || row.first == isa);
  });
}

bool Known::expected(const Candidate& c, const std::string& aspect) const {
  return listed(c, aspect) || listed(c, "all") || (aspect == "cr2" && listed(c, "fault"));
}

}  // namespace bhyve::test::diff
