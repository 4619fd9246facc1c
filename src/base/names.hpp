// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct {

/// Levenshtein distance of two words in bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The closest of `candidates` to a misspelt word by edit distance, if one is close enough to be
/// meant.
std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& candidates);

/// The `count` candidates that are closest to `word` by edit distance, best first; of equally close
/// ones the earlier in the list first. Fewer where there are fewer candidates.
std::vector<std::string> nearest_names(std::string_view word,
                                       const std::vector<std::string>& candidates,
                                       std::size_t count = 3);

/// Whether upper and lower case letters of a misspelt word differ.
enum class LetterCase { matters, ignored };

/// End of a message about a misspelt word: "; nearest is 'NAME'", or "" where nearest_name() finds
/// nothing close enough.
std::string nearest_hint(std::string_view word, const std::vector<std::string>& candidates,
                         LetterCase letters = LetterCase::matters);

/// The same as a question: "; did you mean 'NAME'?", or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

} // namespace xrdct
