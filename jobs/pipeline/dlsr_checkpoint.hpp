#pragma once

#include "jobs/pipeline/dlsr_model.hpp"
#include "jobs/pipeline/dlsr_output.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// Where the refinement of a parameter of the geometry stands.
struct GeometryProgress {
    int parameter = 0;        ///< 0: axis, 1: distance, 2: radial scale; those before are settled
    int round = -1;           ///< −1: whether it is refined is not known yet
    bool moved = false;       ///< in this round, and the maps are following
    double change = 0;        ///< as estimated last
    double move = 0;          ///< of this round
    double settled_below = 0; ///< change that ends it
};

/// Where a DLSR stands: enough to go on after it was stopped, on any number of ranks.
struct DlsrCheckpoint {
    std::string settings; ///< of the stage, as resolved
    std::string inputs;   ///< checksums of the inputs, JSON
    /// What was being done: "fit" (with the first strength), "geometry", "held-out" (choosing the
    /// strength), "final" (with the chosen one), "errors".
    std::string phase = "fit";
    double smoothness = 0;
    std::vector<DlsrResult::HeldOut> held_out;
    std::vector<std::vector<double>> tried; ///< where the fit stood for each of these
    std::vector<double> x;                  ///< unknowns of all ranks
    /// Where masked and outlying samples got their values; empty: they have none of the model yet.
    std::vector<double> data_x;
    int passes_begin = -1; ///< length of the history where the passes over the data began; −1: none
    /// What was decided about the geometry: the parameters that are refined, and by how much the
    /// radial scale was corrected.
    bool settled = false, refine_axis = false, refine_distance = false;
    double axis_change = 0, axis_esd = 0; ///< of the axis where it was kept; esd 0: not known
    double radial_scale = 1;
    GeometryProgress geometry; ///< while a parameter is refined
    GlobalRanges ranges; ///< of the global shapes where some were moved; empty: as the job has them
    int range_moves = 0; ///< how often
    double trust_radius = 0, initial_gradient_norm = 0;
    int iteration = 0, reason = 0;
    std::vector<DlsrResult::Step> history;
    int error_samples = 0;             ///< done
    std::vector<double> error_squares; ///< sums over the samples
};

/// Written under a temporary name first; replaces the last one. Serial.
void write_dlsr_checkpoint(const std::filesystem::path& path, const DlsrCheckpoint& checkpoint);
/// Nothing when there is no file. Throws Error naming the file when it cannot be read whole.
std::optional<DlsrCheckpoint> read_dlsr_checkpoint(const std::filesystem::path& path);

} // namespace xrdct::pipeline
