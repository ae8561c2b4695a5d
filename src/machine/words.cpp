#include "bhyve/words.hpp"

#include <algorithm>
#include <array>

#include "base/types.hpp"

namespace bhyve {
namespace {

constexpr usize longest_word = 64;

/// Damerau-Levenshtein distance of neighbouring letters; words up to longest_word.
usize distance(std::string_view a, std::string_view b) {
  std::array<std::array<usize, longest_word + 1>, longest_word + 1> d;
  for (usize i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (usize j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (usize i = 1; i <= a.size(); ++i) {
    for (usize j = 1; j <= b.size(); ++j) {
      const usize change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string_view>& known) {
  if (word.empty() || word.size() > longest_word) return {};
  const usize enough = word.size() <= 3 ? 1 : word.size() <= 6 ? 2 : 3;
  usize best = enough + 1;
  std::string_view found;
  for (const std::string_view candidate : known) {
    if (candidate.size() > longest_word) continue;
    const usize d = distance(word, candidate);
    if (d < best && d < candidate.size()) best = d, found = candidate;
  }
  return std::string(found);
}

std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known) {
  const std::string near = nearest_word(word, known);
  return near.empty() ? std::string() : ", did you mean '" + near + "'?";
}

}  // namespace bhyve
