// SPDX-License-Identifier: BSD-3-Clause
#include "base/names.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <utility>

namespace xrdct {

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] =
                std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& candidates) {
    std::optional<std::string> best;
    std::size_t best_distance = std::max<std::size_t>(2, word.size() / 2) + 1;
    for (const auto& candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

std::vector<std::string> nearest_names(std::string_view word,
                                       const std::vector<std::string>& candidates,
                                       std::size_t count) {
    std::vector<std::pair<std::size_t, std::string>> ranked;
    ranked.reserve(candidates.size());
    for (const std::string& candidate : candidates)
        ranked.emplace_back(edit_distance(word, candidate), candidate);
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::string> names;
    for (std::size_t i = 0; i < std::min(count, ranked.size()); ++i)
        names.push_back(ranked[i].second);
    return names;
}

std::string nearest_hint(std::string_view word, const std::vector<std::string>& candidates,
                         LetterCase letters) {
    if (letters == LetterCase::matters) {
        const auto nearest = nearest_name(word, candidates);
        return nearest ? "; nearest is '" + *nearest + "'" : "";
    }
    std::vector<std::string> lowered;
    for (const auto& candidate : candidates)
        lowered.push_back(lower_case(candidate));
    const auto nearest = nearest_name(lower_case(word), lowered);
    if (!nearest)
        return "";
    const auto index = std::find(lowered.begin(), lowered.end(), *nearest) - lowered.begin();
    return "; nearest is '" + candidates[static_cast<std::size_t>(index)] + "'";
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
    const auto nearest = nearest_name(word, candidates);
    return nearest ? "; did you mean '" + *nearest + "'?" : "";
}

} // namespace xrdct
