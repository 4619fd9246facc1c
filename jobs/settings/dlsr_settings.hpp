// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/settings.hpp"

#include <optional>
#include <string>
#include <vector>

namespace xrdct::settings {

/// The [dlsr] table of a job.
struct DlsrSettings {
    std::string scales = "voxel";     ///< voxel, or map: the conventional map times one factor
    bool bounded = false;             ///< amounts may not be negative
    bool refine_widths = true;        ///< global sizes and strains, again
    std::optional<double> smoothness; ///< of voxel cells; nullopt: by held-out projections
    std::optional<double> amount_smoothness; ///< of amounts; nullopt: from the data
    double edge = 0;                         ///< 0: quadratic
    double gap = 0.3;                        ///< mm, across which voxels of a phase are neighbours
    std::string loss = "squares";            ///< squares, huber
    double threshold = 3;                    ///< standard deviations, of huber
    long held_out = 7;                       ///< every n-th projection judges the smoothness
    long error_samples = 3;                  ///< 0: no e.s.d.
    long resolution_products = 30;           ///< 0: resolutions are not determined
    bool check_senses = true;
    std::string axis_offset = "auto";   ///< auto, fixed, refine
    std::string distance = "fixed";     ///< fixed, refine: as lever arm of the parallax
    std::string radial_scale = "fixed"; ///< fixed, metals: by the cells of the standards
    std::vector<std::string> standards; ///< phases of known cell; empty: the metals
    double standard_uncertainty = 1e-4; ///< relative, of their cells
    double tolerance = 3e-3;            ///< of the compression of the patterns
    long layers = 0;                    ///< along the beam; 0: by the widths of the lines
    std::string exit_ray = "straight";  ///< straight, deviated: of the absorption
    long max_iterations = 30;
    double convergence = 1e-3;
    std::string petsc; ///< options for PETSc
};

/// Reads the table. Throws Error naming a key that is out of range.
DlsrSettings read_dlsr_settings(Settings& settings);

} // namespace xrdct::settings
