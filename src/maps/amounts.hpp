// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"

#include <span>
#include <vector>

namespace xrdct::maps {

/// Maps [y · n + x] of one phase; NaN: the phase is not in the voxel's model.
struct PhaseMapView {
    const std::vector<double>* scale = nullptr;
    const std::vector<double>* scale_errors = nullptr; ///< null: not known
    /// Per independent cell parameter, in the order of PhaseModel::cell; null or NaN: the model's.
    std::vector<const std::vector<double>*> cell;
};

/// Cell volume [Å³] in every voxel.
std::vector<double> cell_volumes(const rietveld::PhaseModel& phase, const PhaseMapView& maps);

/// Values in every voxel [y · n + x]; NaN where there are none. `errors` is empty where those of a
/// scale are not known.
struct ValuesWithErrors {
    std::vector<double> values, errors;
};

/// How much of a phase there is in every voxel.
struct PhaseAmounts {
    ValuesWithErrors volume_fraction; ///< K S V²
    ValuesWithErrors density;         ///< mass of the phase per volume of the voxel [g/cm³]
};
/// With `constant` for K (the absorption correction finds it), S the scale, V the cell volume; the
/// errors are those of the scale.
PhaseAmounts phase_amounts(const rietveld::PhaseModel& phase, const PhaseMapView& maps,
                           double constant);

/// The crystalline mass of a voxel over its error from which on weight fractions are given. At 5
/// the errors, which follow the tangent of the ratio, are right to (1/5)² = 4 % of the fraction.
inline constexpr double min_mass_significance = 5;

using WeightFractions = ValuesWithErrors;
/// W_p = S_p (ZMV)_p / Σ S (ZMV) in every voxel for all phases (Hill & Howard, J. Appl. Cryst. 20
/// (1987) 467), with the cells of the voxels; the errors take those of the scales as independent. A
/// phase with a NaN as scale does not count. Nothing but NaN where the sum is not positive or, with
/// errors, below min_mass_significance times its own error: a ratio of noise is no fraction.
std::vector<WeightFractions> weight_fractions(const std::vector<rietveld::PhaseModel>& phases,
                                              const std::vector<PhaseMapView>& maps);

/// What main_phase() asks of a phase.
struct PhaseRole {
    double mass = 0;           ///< in the whole object, in any unit that the phases share
    bool varies = false;       ///< its cell is mapped
    bool is_reference = false; ///< the container that amounts are calibrated with
};
/// The phase that a viewer shows first: the one with the most mass among those whose cell is
/// mapped; where none is or none has mass, among those that are no reference; then among all.
/// `phases` must not be empty; a mass that is not finite counts as none.
std::size_t main_phase(std::span<const PhaseRole> phases);

/// Densities and weight fractions of phases that have one cell in the whole object.
struct PhaseDensities {
    std::vector<std::vector<double>> density;         ///< [phase][voxel], g/cm³
    std::vector<std::vector<double>> weight_fraction; ///< of the crystalline part [phase][voxel]
    std::vector<double> mean_weight_fraction;         ///< [phase], of the whole object
};
/// From maps of volume fractions [phase][voxel]. Weight fractions are NaN where the density of all
/// phases is no more than 2 % of its highest value in `sample` (0: outside).
PhaseDensities phase_densities(const std::vector<rietveld::PhaseModel>& phases,
                               std::span<const std::vector<float>> volume_fractions,
                               std::span<const unsigned char> sample);

} // namespace xrdct::maps
