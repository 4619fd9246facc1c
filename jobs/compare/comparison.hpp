// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/compare/cells.hpp"
#include "maps/statistics.hpp"
#include "registration/image_registration.hpp"

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::compare {

struct CompareOptions {
    std::string reference; ///< a label; empty: the first
    bool align = true;
    bool try_mirrored = false;
    double pixel = 0;                                    ///< mm; 0: the coarsest of the inputs
    std::map<std::string, double> angles;                ///< known, by label, degrees
    std::map<std::string, std::array<double, 2>> shifts; ///< known, by label, mm
};

/// One cell in the reference's frame.
struct AlignedCell {
    registration::RigidTransform transform;
    /// None for the reference, and without alignment.
    std::optional<registration::RegistrationResult> registration;
    std::vector<std::string> channels; ///< what was compared to align, in the registration's order
    std::vector<CellGroup> groups;     ///< maps on the common grid
    std::vector<double> total;

    const CellGroup* find(const std::string& group) const;
};

/// A phase, peak or electrode that is in one of the cells at least.
struct ComparedGroup {
    std::string name;
    GroupKind kind = GroupKind::phase;
    std::vector<std::string> quantities; ///< of all cells, codes left out
};

/// aligned − reference on the common grid, where both have values.
struct Difference {
    std::string group, quantity, units;
    std::size_t cell = 0;
    std::vector<double> values;
    std::vector<double> errors;     ///< of independent maps; empty: not known
    maps::MapStatistics statistics; ///< of amounts plain, of properties weighted
};

struct Histogram {
    std::string group, quantity, units;
    double low = 0, width = 0;
    std::vector<std::vector<double>> shares; ///< [cell][bin], of the phase's amount; sum at most 1
};

struct Comparison {
    std::vector<Cell> cells; ///< the reference first
    std::vector<AlignedCell> aligned;
    registration::PixelGrid grid;
    std::vector<ComparedGroup> groups;
    /// [cell] → group → quantity, of the cell's own voxels before resampling.
    std::vector<std::map<std::string, std::map<std::string, maps::MapStatistics>>> statistics;
    std::vector<Difference> differences;
    std::vector<Histogram> histograms;
    std::vector<std::string> notes; ///< what a reader has to know
};

/// Whether a quantity is an amount (averaged over voxels) rather than a property (averaged over the
/// amount).
bool is_amount(const std::string& quantity);

/// Values and weights of a quantity as its statistics and histograms take them.
struct Weighted {
    std::vector<double> values, weights, errors; ///< weights empty: 1 each
};
Weighted weighted(const CellGroup& group, const std::string& quantity);

/// Aligns all cells to the reference, resamples, and compares them.
/// @throws Error: an unknown label, no common phase, units that differ, nothing left in common, or
/// what register_images throws (naming the cell).
Comparison compare_cells(std::vector<Cell> cells, const CompareOptions& options);

} // namespace xrdct::compare
