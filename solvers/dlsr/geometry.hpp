// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/radial_axis.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/setup.hpp"

#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::dlsr {

/// A phase whose cell is known, and what the fit made of it.
struct RadialStandard {
    std::string phase;
    double reference = 0, cell = 0; ///< a of the CIF and of the fit [Å]
    double esd = 0;                 ///< of the cell [Å]; NaN: not known
    /// tan 2θ of the data's axis over the one at which the standard's lines belong.
    double factor = 1;
    double uncertainty = 0; ///< of the factor: e.s.d. and that of the reference
};

/// The radial axis against the standards.
struct StandardsScale {
    std::vector<RadialStandard> standards;
    double factor = 1, uncertainty = 0; ///< weighted mean; NaN without standards
    double chi_squared = 0;             ///< of the standards about it, per degree of freedom
    /// More than three uncertainties from 1.
    bool is_off() const { return std::abs(factor - 1) > 3 * uncertainty; }
    /// They agree on one factor: no one departs by what its reference does not explain.
    bool agree() const { return !(chi_squared > 9); }
};

/// The global value that is a phase's (only) cell length; setup.globals.size(): there is none.
std::size_t global_cell(const Setup& setup, std::size_t phase);

/// Phases of the model that serve as standards: those `named`, or, when none is, all with one
/// element, one cell parameter and the treatment "global" (metals of can and foils). Throws Error,
/// naming dlsr.standards, for a phase that does not exist, has more than one free cell parameter or
/// whose cell is not refined as a global value.
std::vector<std::size_t> radial_standards(const Setup& setup,
                                          const std::vector<std::string>& named);

/// Compares cells `value` with e.s.d. `esd` (NaN: not known) of the phases with the cells of their
/// CIFs, known to `reference_uncertainty` (relative). The lines on `axis` weigh with their
/// intensities.
StandardsScale compare_standards(const Setup& setup, const rietveld::RadialAxis& axis,
                                 std::span<const std::size_t> phases, std::span<const double> value,
                                 std::span<const double> esd, double reference_uncertainty);

/// The setup for data whose axis has tan 2θ too large by `factor`: lines move with it, and the
/// lengths of cells that are refined, with their ranges and units, are multiplied by it. `distance`
/// [mm] is that of the detector, any positive number where there is none. Collective over the team
/// that holds the setup's maps.
void apply_radial_scale(const SharedMemoryTeam& team, Setup& setup, double factor, double distance);
/// The same for values in the operator's order, in the memory of its team. Collective over it.
void apply_radial_scale(const Setup& setup, const Operator& model, double factor,
                        std::span<double> values);

/// A parameter of the geometry that the data have an opinion of.
struct GeometryEstimate {
    double given = 0;
    double found = std::numeric_limits<double>::quiet_NaN();
    double esd = std::numeric_limits<double>::quiet_NaN(); ///< of noise alone
    bool refined = false; ///< the maps are those of `found`; else of `given`
    /// What errors of the model make of it, as a standard uncertainty; NaN: not estimated.
    double systematic = std::numeric_limits<double>::quiet_NaN();
};

/// Relative systematic uncertainty of a distance from the parallax of voxels of `pixel` mm in a
/// sample that reaches `half_depth` mm from the axis: the depth within a voxel and what regularised
/// maps make of the sample's depth (docs/theory.md).
double distance_systematic(double pixel, double half_depth);

/// What a DLSR found out about the geometry.
struct GeometryResult {
    GeometryEstimate axis_offset; ///< mm
    /// mm, from the summed sinogram alone: no map has a say in it.
    std::optional<GeometryEstimate> sinogram_axis;
    double step = 0;                          ///< mm
    std::optional<GeometryEstimate> distance; ///< mm, from the parallax alone
    double applied_scale = 1;                 ///< that the model's lines were moved by
    StandardsScale radial;                    ///< of the data, `applied_scale` included

    bool axis_is_off() const; ///< given and found differ by more than 0.05 step and 5 e.s.d.
    std::vector<std::string> remarks() const;
};

/// Axis offset by the centres of mass and mirrored projections of a sinogram
/// [rotation][translation], NaN where missing; nothing when it cannot be found.
std::optional<GeometryEstimate> sinogram_axis(const tomography::ScanGeometry& geometry,
                                              std::span<const float> sinogram);

/// Off by enough to matter and to be sure of.
bool axis_matters(double change, double esd, double step);

} // namespace xrdct::dlsr
