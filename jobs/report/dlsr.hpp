// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/numbers.hpp"
#include "jobs/report/products.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::report {

/// What the product of the dlsr stage tells beyond its maps.
struct DlsrDiagnostics {
    double rwp = 0.0, gof = 0.0; ///< over all rays and channels; NaN: not said
    bool converged = false;
    std::string stop_reason;
    std::vector<std::string> remarks;

    /// A value that holds for the whole object.
    struct Global {
        std::string group, quantity, units;
        double value = 0.0, esd = 0.0; ///< esd NaN: not determined
        bool at_bound = false;
    };
    std::vector<Global> globals;

    /// A number of the geometry that the fit had an opinion of.
    struct Geometry {
        std::string quantity, units;
        double value = 0.0, esd = 0.0, given = 0.0; ///< NaN: not determined, nothing given
        bool refined = false;
        double systematic = nan_value; ///< uncertainty by the model; NaN: not estimated
    };
    std::vector<Geometry> geometry;

    /// How strongly the voxels of a map are tied to their neighbours.
    struct MapState {
        std::string group, quantity;
        double smoothness = 0.0; ///< strength; 0: none
        double resolution = 0.0; ///< mm, FWHM; 0: not determined
    };
    std::vector<MapState> maps;

    /// Observed over calculated intensity of a line as the sample turns, minus 1.
    struct Line {
        std::string phase, hkl;
        double two_theta = 0.0;            ///< deg
        std::vector<double> ratio, errors; ///< [rotation]; NaN: not determined

        /// Whether the ratio is determined at all: to better than one half.
        bool known(std::size_t rotation) const { return errors[rotation] < 0.5; }
        double rms() const;        ///< of the known ratios
        double rms_errors() const; ///< of their errors
        double excess() const;     ///< root mean square of ratio over error; about 1: noise alone
    };
    std::vector<Line> lines;
    std::vector<double> rotation; ///< deg

    struct Step {
        double iteration = 0.0, objective = 0.0, misfit = 0.0, gradient_norm = 0.0, rwp = 0.0,
               linear_iterations = 0.0, data_squares = 0.0; ///< the last one 0: not said
    };
    std::vector<Step> history;
    std::vector<std::pair<double, double>> held_out; ///< smoothness, squared residual over variance

    const MapState* find(const std::string& group, const std::string& quantity) const;
};

/// Nothing for another stage, or a product without diagnostics. Not thread-safe (reads the file).
/// @throws Error when arrays that belong together have different lengths.
std::optional<DlsrDiagnostics> read_dlsr_diagnostics(const ProductStage& stage);

/// A global value as it is read: sizes for inverse sizes, microstrains for their squares, with the
/// name and unit that go with it.
DlsrDiagnostics::Global customary(const DlsrDiagnostics::Global& global);

/// DLSR minus conventional map of one quantity of a phase, weighted with the phase's amount in the
/// DLSR, over the voxels that have a value in both.
struct MapDifference {
    std::string phase, quantity, units;
    std::size_t voxels = 0;
    double conventional = 0.0, dlsr = 0.0; ///< means
    double rms = 0.0;                      ///< of the difference, mean included
    double correlation = 0.0;              ///< NaN where one of them does not vary
};

/// Quantities of a phase (or single peak) that are put side by side: those that both have and of
/// which one varies, the amount first.
std::vector<std::string> compared_quantities(const ProductStage& conventional,
                                             const ProductStage& dlsr, const ProductData& phase);

/// The stage the DLSR is compared with: one called rietveld with maps on the same axes; null:
/// none.
const ProductStage* conventional_stage(const Products& products, const ProductStage& dlsr);

std::vector<MapDifference> map_differences(const ProductStage& conventional,
                                           const ProductStage& dlsr);

} // namespace xrdct::report
