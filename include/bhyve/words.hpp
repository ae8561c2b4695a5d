#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace bhyve {

/// The known word that `word` is most likely to mean (fewest letters to insert, delete, change or swap),
/// or nothing when none is near.
[[nodiscard]] std::string nearest_word(std::string_view word,
                                       const std::vector<std::string_view>& known);
/// ", did you mean 'WORD'?" or an empty text: the end of a sentence about an unknown word.
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       const std::vector<std::string_view>& known);

}  // namespace bhyve
