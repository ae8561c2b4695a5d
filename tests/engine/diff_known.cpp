#include "diff_known.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace bhyve::test::diff {

Known::Known(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string what, aspect, reason;
    if (!(words >> what >> aspect >> reason)) throw std::runtime_error("no reason: " + line);
    rows_.emplace_back(what, aspect);
  }
}

bool Known::mentions(const Candidate& c) const {
  constexpr std::array aspects{"gpr", "flags", "memory", "vector", "cr2", "fault", "skip", "all"};
  return std::any_of(aspects.begin(), aspects.end(),
                     [&](const char* aspect) { return listed(c, aspect); });
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
