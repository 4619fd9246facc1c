// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"
#include "solvers/dlsr/geometry.hpp"
#include "solvers/dlsr/setup.hpp"

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::dlsr {

/// What a DLSR found; whole on the root, without maps on the other ranks.
struct Result {
    std::size_t n = 0;
    std::vector<double> x; ///< mm, both axes of the maps
    /// Amounts and voxel shapes [y · n + x]; NaN outside the part's mask. `errors` is empty where
    /// no e.s.d. were asked for.
    struct Map {
        Quantity quantity;
        std::vector<double> values, errors;
        double smoothness = 0; ///< regularisation weight in force; 0: none
        double resolution = 0; ///< mm, effective (FWHM), median over the mask; 0: not determined
    };
    std::vector<Map> maps;
    struct Global {
        Quantity quantity;
        double value = 0, esd = 0; ///< esd NaN: not determined
        bool at_bound = false;
    };
    std::vector<Global> globals;
    rietveld::PatternModel model; ///< with the global values set
    std::vector<unsigned char> sample;
    std::vector<std::vector<unsigned char>> masks; ///< per phase

    // Diagnostics.
    std::vector<double> rotation, translation; ///< deg, mm, as in the scan
    /// Mean over the channels of squared residual over variance [rotation][translation]; NaN where
    /// a ray was left out.
    std::vector<double> residual_sinogram;
    std::vector<double> two_theta;                        ///< deg [channel]
    std::vector<double> observed, calculated, background; ///< mean over the rays [channel]
    /// Observed over calculated intensity of one line as the sample turns, minus 1.
    struct LineResidual {
        std::string phase, hkl;
        double two_theta = 0;
        std::vector<double> ratio, error; ///< [rotation]
    };
    std::vector<LineResidual> lines;
    struct Step {
        int iteration = 0;
        double objective = 0, misfit = 0, gradient_norm = 0, step_length = 0;
        double rwp = 0; ///< as Result::rwp, of the data that the step saw
        int linear_iterations = 0;
        double data_squares = 0; ///< Σ W d² of the coefficients that the step saw: 2 misfit without
                                 ///< a model
    };
    std::vector<Step> history;
    /// A weight of the smoothness and what the validation projections say of it (squared residual
    /// over variance): over all, with the standard error of the difference from the best weight,
    /// and of each.
    struct Validation {
        double smoothness = 0, chi_squared = 0, error = 0;
        std::vector<double> projections;
    };
    std::vector<Validation> validation;
    double rwp = 0, gof = 0;
    /// Shares of the samples that were masked, and beyond the threshold of a robust loss; NaN: all
    /// samples counted in full.
    double masked = std::numeric_limits<double>::quiet_NaN(), outlying = masked;
    std::string stop_reason;
    bool converged = false;
    std::optional<GeometryResult> geometry;
    std::vector<std::string> remarks; ///< such as handedness tried, axis offset, guards

    std::size_t unknowns = 0;      ///< of all ranks
    double smoothness = 0;         ///< regularisation weight of voxel cells in the end
    double checkpoint_seconds = 0; ///< in Observer::keep, waiting included
};

} // namespace xrdct::dlsr
