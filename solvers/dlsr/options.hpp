// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::dlsr {

/// How a value of a phase is determined.
enum class Treatment {
    fixed,  ///< keeps its start value
    global, ///< one value for the whole object
    voxel,  ///< a map
};

/// What of a phase is refined.
struct PhaseOptions {
    Treatment scale = Treatment::voxel;
    std::array<Treatment, 6> cell{}; ///< a, b, c, alpha, beta, gamma; the free ones count
    Treatment size = Treatment::fixed, microstrain = Treatment::fixed;
    Treatment gauss_microstrain = Treatment::fixed, march = Treatment::fixed;
    /// Amounts start at 0 and not at the conventional ones, which parallax has made: free in every
    /// voxel, two phases of one structure can stand for a cell that varies. In the rough steps the
    /// cell is held and amounts are tied to their neighbours as if a tenth of the conventional ones
    /// were much, then as if what was found were.
    bool starts_absent = false;
    /// Of a phase that starts absent: the phase with the same structure, whose voxels it may be in,
    /// too; −1: none.
    int leader = -1;
};

/// What of a single peak is refined besides its area.
struct PeakOptions {
    bool refine_position = true, refine_fwhm = true;
};

/// What a residual costs.
enum class Loss { squares, huber };

/// Whether the axis offset is refined: where the first steps show it to be off, never, always.
enum class AxisRefinement { automatic, fixed, refined };

/// What a DLSR is asked to do.
struct Options {
    std::vector<PhaseOptions> phases;                ///< as in the start model
    std::vector<PeakOptions> peaks;                  ///< likewise
    std::vector<std::pair<double, double>> excluded; ///< regions of 2θ [deg] that are not fitted
    bool scale_maps = false;                 ///< amounts of phases: the start map times one factor
    bool bounded = false;                    ///< amounts of phases are not negative
    bool refine_widths = true;               ///< global sizes and strains
    std::optional<double> smoothness;        ///< weight of voxel cells'; none: by cross-validation
    std::optional<double> amount_smoothness; ///< weight of the amounts'; none: from the data
    double edge = 0; ///< of edge-preserving smoothness [units]; 0: quadratic
    double gap = 0;  ///< mm, across which voxels of a phase are neighbours
    Loss loss = Loss::squares;
    double threshold = 3;         ///< standard deviations, of Huber's loss
    long validation_interval = 7; ///< every n-th projection validates the smoothness, ≥ 2
    int noise_samples = 3;        ///< for the e.s.d.; 0: no e.s.d.
    int resolution_products = 30; ///< 0: resolutions are not determined
    bool check_handedness = true;
    AxisRefinement axis_offset = AxisRefinement::automatic;
    bool refine_distance = false;       ///< as the lever arm of the parallax
    bool correct_radial_scale = false;  ///< by the cells of the standards
    std::vector<std::string> standards; ///< phases of known cell; empty: those of one element
    double standard_uncertainty = 1e-4; ///< relative, of their cells
    double tolerance = 3e-3;            ///< of the compression of the patterns
    std::size_t layers = 0;             ///< along the beam; 0: by the widths of the lines
    bool deviated_exit_rays = false;    ///< absorption of rays that leave at the lines' mean angle
    int max_iterations = 30;            ///< steps
    double convergence = 1e-3;          ///< relative decrease of the objective that ends the fit
};

} // namespace xrdct::dlsr
