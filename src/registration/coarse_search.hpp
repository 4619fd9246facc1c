// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "registration/alignment_objective.hpp"

#include <array>
#include <optional>
#include <vector>

namespace xrdct::registration {

struct Candidate {
    RigidTransform transform;
    double correlation = -1;
};

struct SearchRange {
    std::optional<double> angle;
    std::optional<std::array<double, 2>> shift;
    bool try_mirrored = false;
    double min_overlap = 0.5;
};

/// Candidates over all angles and shifts, best first, at most `count`, no two alike. All images of
/// the pairs have the same pixel.
std::vector<Candidate> coarse_search(const ImagePairs& pairs, const SearchRange& range,
                                     std::size_t count);

} // namespace xrdct::registration
