#pragma once

#include "jobs/settings.hpp"

#include <optional>
#include <string>

namespace xrdct {

/// The [dlsr] table of a job.
struct DlsrSettings {
    std::string scales = "voxel";     ///< voxel, or map: the conventional map times one factor
    double tolerance = 1e-3;          ///< of the compression of the patterns
    long layers = 0;                  ///< along the beam; 0: by the widths of the lines
    bool bounded = true;              ///< amounts may not be negative
    std::optional<double> smoothness; ///< of cells: strength; nullopt: by held-out projections
    double amount_smoothness = 0;     ///< of amounts
    double edge = 0;                  ///< 0: quadratic
    double gap = 0;                   ///< mm, across which voxels of a phase are neighbours
    long max_iterations = 12;
    double convergence = 1e-5;
    bool refine_widths = true;
    std::string petsc; ///< options for PETSc
};

DlsrSettings read_dlsr_settings(Settings& settings);

} // namespace xrdct
