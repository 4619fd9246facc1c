// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/rietveld_steps.hpp"

#include "jobs/pipeline/mask_image.hpp"
#include "jobs/pipeline/solver_options.hpp"

#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::pipeline {

namespace {

/// Where a phase is richest and what its cell is are found in turn, at most so often, until the
/// cell changes by less.
constexpr int cell_rounds = 3;
constexpr double settled_cell = 1e-4;

/// Edited masks [phase] of the job, on the root; empty where a phase has none. Collective.
std::vector<std::vector<unsigned char>>
edited_masks(const settings::Job& job, const mpi::Communicator& communicator, std::size_t n) {
    std::vector<std::vector<unsigned char>> masks(job.phases.size());
    communicator.collectively([&] {
        if (!communicator.is_root() || job.mask.images.empty())
            return;
        for (std::size_t p = 0; p < masks.size(); ++p)
            if (const auto image = settings::mask_file(job.mask.images, job.phases[p].name);
                std::filesystem::exists(image))
                masks[p] = read_mask_image(image, n, n);
    });
    return masks;
}

/// What the mean pattern did not tell, for the notes.
void note_start(const voxels::VoxelRefinement& voxels, StageContext& context, bool hidden) {
    const auto& job = context.job;
    const auto& start = voxels.state().start;
    if (start.status != rietveld::FitStatus::converged && job.rietveld.refine_start)
        context.notes.push_back(fmt::format("the start model on the mean pattern: {}{}",
                                            rietveld::to_string(start.status),
                                            start.message.empty() ? "" : "; " + start.message));
    else if (!start.message.empty())
        context.notes.push_back("the start model on the mean pattern: " + start.message);
    if (hidden && !phases_hidden_by_parallax(job, context.scan.geometry()).empty())
        context.notes.push_back("parallax hides the cells of a second phase of one structure: they "
                                "stay at the job's start in the conventional maps; the dlsr stage "
                                "refines them");
    if (const auto& untold = voxels.state().untold; !untold.empty())
        context.notes.push_back(fmt::format(
            "the mean pattern does not tell {} from the job's start: {}", fmt::join(untold, ", "),
            hidden ? "kept in the conventional maps; the dlsr stage refines what is global"
                   : "found where the phase is"));
    if (const auto& peaks = voxels.state().untold_peaks; !peaks.empty())
        context.notes.push_back(fmt::format("the mean pattern does not tell place and width of {}: "
                                            "kept as in the job",
                                            fmt::join(peaks, ", ")));
}

} // namespace

void refine_voxels(voxels::VoxelRefinement& voxels, const rietveld::PatternModel& model,
                   StageContext& context, std::size_t n, program::Timings& timings) {
    const auto& job = context.job;
    voxels.average();
    timings.lap("read");
    voxels.refine_start(model);
    const bool hidden = parallax_shows(context.scan.geometry());
    note_start(voxels, context, hidden);
    timings.lap("start model");
    const auto fit = [&](std::string_view title) {
        voxels.prepare();
        timings.lap("prepare");
        voxels.fit(title);
        timings.lap("fit");
    };
    const bool undecided = voxels.has_undecided() && !hidden;
    if (undecided || job.mask.phases || !job.mask.images.empty())
        fit("where the phases are");
    for (int round = 0; undecided && round < cell_rounds; ++round) {
        const double change = voxels.refine_cells();
        timings.lap("cells");
        fit("cells from where each phase is");
        if (change < settled_cell)
            break;
    }
    if (job.mask.phases || !job.mask.images.empty()) {
        const auto edited = edited_masks(job, context.communicator, n);
        voxels.find_masks(job.mask.phases, phase_mask_options(job), edited);
    }
    if (const auto widths = voxel_widths(job, model);
        !widths.empty() && job.rietveld.refine_start) {
        voxels.refine_widths(widths);
        timings.lap("widths");
    }
    fit({});
    voxels.find_alike();
    for (const auto& pair : voxels.state().alike)
        context.notes.push_back(fmt::format(
            "{} and {} have nearly the same lines (correlation of their amounts -{:.3f}): what "
            "there is of each is hardly told, their sum is",
            job.phases[pair.one].name, job.phases[pair.other].name, pair.likeness));
}

} // namespace xrdct::pipeline
