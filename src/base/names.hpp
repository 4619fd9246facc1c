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

} // namespace xrdct
