// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/numbers.hpp"

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::maps {

/// A value with its estimated standard deviation; NaN: unknown.
struct Estimate {
    double value = 0.0;
    double error = 0.0;
};

/// How the lithium content of a phase is known: by a calibration table of a lattice parameter, or
/// fixed.
struct LithiumCalibration {
    std::string phase;           ///< for messages
    std::string parameter = "c"; ///< a, b, c [Å], c/a, or volume [Å³]
    /// (lattice value, lithium per host unit), strictly monotonic in the lattice value, at least
    /// two; empty: the content is fixed.
    std::vector<std::pair<double, double>> table;
    bool clamp = false;           ///< values beyond the table get that of its end; else none (NaN)
    double content = nan_value;   ///< of a phase of fixed composition, per host unit
    double host_mass = nan_value; ///< mass of the phase per host unit [g/mol]; NaN: 1
    double gamma = 120;           ///< between the axes of a phase with a and c only [deg]
};

/// Lithium content by the calibration table, linear between its pairs, beyond it NaN
/// or that of the end (`clamp`). The error is |slope| times that of the lattice value; NaN where
/// clamped.
Estimate interpolate_lithium(const LithiumCalibration& calibration, Estimate lattice);

/// The quantity that `calibration.parameter` names, from the cell parameters that are known ("a",
/// "b", "c", "alpha", …; lengths [Å], angles [deg]; "cell_volume" [Å³] where a product has it):
/// those that are absent follow from the others as symmetry would have it (a alone: cubic; a and
/// alpha: rhombohedral; a and c: `calibration.gamma`; else right angles). The error is propagated
/// to first order with the parameters taken as uncorrelated. NaN when a needed parameter is
/// missing.
Estimate lattice_quantity(const LithiumCalibration& calibration,
                          const std::map<std::string, Estimate>& cell);

/// One phase of an electrode, maps [voxel].
struct LithiumPhase {
    LithiumCalibration calibration;
    std::vector<Estimate> lattice;     ///< value of calibration.parameter; empty: fixed composition
    std::vector<double> amount;        ///< mass per voxel, any common unit; NaN and < 0 count as 0
    std::vector<double> amount_errors; ///< empty: unknown
};

/// Lithium content of an electrode.
struct LithiumMap {
    std::vector<double> values; ///< lithium per host unit [voxel]; NaN: none
    std::vector<double> errors; ///< standard deviations; NaN: unknown
    std::vector<double>
        weights;                ///< moles of host, amount / host_mass; 0 where the electrode is not
    std::size_t electrode = 0;  ///< voxels that hold the electrode
    std::size_t no_lattice = 0; ///< of these, without a lattice value (too little of the phase)
    std::size_t beyond = 0;     ///< of these, with a phase beyond its table (given up or clamped)
};

/// A voxel holds the electrode when its moles of host N = Σ amount / host_mass exceed five
/// standard deviations (where they are known) and 5 % of their 99th percentile. There the content
/// is Σ n_p x_p / Σ n_p over the phases that have one, if these hold 90 % of N, else NaN. The error
/// contains those of the lattice and of the amounts, taken as uncorrelated.
/// @throws Error when maps have different lengths, or when a phase's lattice values are so far from
/// its table that the units must differ.
LithiumMap lithium_map(std::span<const LithiumPhase> phases);

} // namespace xrdct::maps
