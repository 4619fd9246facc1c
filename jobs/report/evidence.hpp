// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/numbers.hpp"
#include "jobs/report/products.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace xrdct::report {

/// Where a phase was found, and whether its parameters moved freely there.
struct PhaseEvidence {
    std::string phase;
    bool has_cell_maps = false;
    bool has_status = false;
    std::size_t sought = 0;   ///< voxels whose model contains it
    std::size_t found = 0;    ///< of these, those in which it is significant
    std::size_t at_bound = 0; ///< of the latter, those with a cell on its bound
    /// Quantities of the phase that have one and the same value, an end of the map's range, in most
    /// of its voxels.
    std::vector<std::string> stuck;
    std::size_t unresolved = 0; ///< of those where it is significant, without a width that is told
};

/// A refined length of a cell over that of the structure's file.
struct CellRatio {
    std::string phase;
    double ratio = 1.0;
};

/// What the product of a stage tells of the worth of its maps, beyond the statistics of an
/// analysis.
struct Evidence {
    /// √(Σ w (y_o − y_c)² / Σ w (y_o − y_b)²) of the mean pattern, w = 1 / max(y_o, 1 % of the
    /// highest): an Rwp without background that hardly depends on the number of counts; NaN: there
    /// is no mean pattern with a model.
    double mean_pattern_rwp = nan_value;
    /// Share of the squared patterns that is neither noise nor model, see unexplained_share():
    /// median over the voxels; NaN: no fits of voxels.
    double unexplained = nan_value;
    /// Share of the voxels, counted with their intensities, of which more than half is
    /// unexplained.
    double lost_voxels = nan_value;
    /// ‖s − k P t‖ / ‖s‖ of the summed rays and their image, NaN: the folder has no image.
    double reprojection_misfit = nan_value;
    std::vector<PhaseEvidence> phases;
    std::vector<CellRatio> cells;
    std::vector<std::string> globals_at_bound; ///< of the model of the mean pattern
    std::vector<std::string> alike; ///< pairs of phases with nearly the same lines, "A and B"
};

/// (Rwp² − Rexp²) / (1 − Rexp²) with Rexp = Rwp / GoF: the share of Σ w y² that neither model nor
/// noise explains; 0: GoF 1, 1: no model at all, whatever the number of counts. NaN for what is no
/// fit.
double unexplained_share(double rwp, double gof);

/// Reads maps: not thread-safe. `products`: the folder's, for the image.
Evidence find_evidence(const Products& products, const ProductStage& stage);

} // namespace xrdct::report
