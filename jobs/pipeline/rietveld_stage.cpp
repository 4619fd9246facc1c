// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/rietveld_stage.hpp"

#include "absorption/image_levels.hpp"
#include "base/error.hpp"
#include "jobs/pipeline/absorption_product.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/pipeline/rates.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/pipeline/rietveld_output.hpp"
#include "jobs/pipeline/rietveld_steps.hpp"
#include "jobs/pipeline/solver_options.hpp"
#include "jobs/pipeline/stage_observer.hpp"
#include "jobs/pipeline/volume_file.hpp"
#include "maps/sample_mask.hpp"
#include "mpi/files/cif_file.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/voxels/voxel_refinement.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

constexpr std::array rietveld_labels{
    QuantityLabel{"scale", "scale factor", "", "", QuantityKind::amount},
    QuantityLabel{"volume_fraction", "volume fraction", "", "", QuantityKind::amount},
    QuantityLabel{"weight_fraction", "weight fraction", "", "", QuantityKind::amount},
    QuantityLabel{"density", "mass per voxel volume", "", "", QuantityKind::amount},
    QuantityLabel{"size", "crystallite size", "", "", QuantityKind::value},
    QuantityLabel{"microstrain", "microstrain", "", "", QuantityKind::value},
    QuantityLabel{"gauss_microstrain", "Gaussian microstrain", "", "", QuantityKind::value},
    QuantityLabel{"area", "peak area", "", "", QuantityKind::amount},
    QuantityLabel{"position", "peak position", "", "", QuantityKind::value},
    QuantityLabel{"fwhm", "peak width (FWHM)", "", "", QuantityKind::value},
    QuantityLabel{"status", "status of the fit", "", "", QuantityKind::value},
    QuantityLabel{"iterations", "iterations", "", "", QuantityKind::count},
};

constexpr double fits_per_second = 15000; ///< voxel patterns of 700 channels
constexpr double widths_cost = 0.8; ///< of a fit without: what a phase with widths of its own adds

/// Widths that are refined in every voxel: of how many phases, and how many.
std::pair<double, double> count_widths(const settings::Job& job) {
    std::pair<double, double> count{};
    for (const auto& phase : job.phases) {
        double own = 0;
        for (const auto treatment :
             {phase.size_treatment, phase.microstrain_treatment, phase.gauss_microstrain_treatment})
            own += treatment == settings::Treatment::voxel ? 1 : 0;
        count.first += own > 0 ? 1 : 0;
        count.second += own;
    }
    return count;
}

} // namespace

std::span<const QuantityLabel> RietveldStage::quantities() const {
    return rietveld_labels;
}

std::vector<std::string> RietveldStage::tables(const settings::Job& /*job*/) const {
    return {"absorption", "fbp", "noise", "mask", "instrument", "rietveld", "phase", "peak"};
}

std::vector<std::string> RietveldStage::reserved_names() const {
    return {"maps", "mean_pattern", "start_model", "timings"};
}

std::vector<NeededProduct> RietveldStage::needs(const settings::Job& /*job*/) const {
    return {{"fbp", "the rietveld stage needs the fbp stage's product",
             "the scan or the reconstruction"}};
}

void RietveldStage::check(const settings::Job& job) const {
    if (job.phases.empty())
        throw Error(fmt::format("{}: the rietveld stage needs at least one [[phase]]",
                                job.source.string()));
}

// Structures are checked before hours go into a reconstruction.
void RietveldStage::check_inputs(const RunSize& run) const {
    for (const auto& phase : run.job.phases)
        files::read_phase(phase.cif, phase.name, phase.block);
}

StageEstimate RietveldStage::estimate(const RunSize& run) const {
    const auto size = rates::size_of(run.scan);
    const auto& job = run.job;
    StageEstimate one;
    one.stage = name();
    const double passes = job.mask.phases || !job.mask.images.empty() ? 2 : 1;
    const auto [phases, widths] = count_widths(job);
    one.seconds = passes * (size.disc * size.channels / 700 * (1 + widths_cost * phases) /
                                fits_per_second / run.ranks +
                            4 * size.pixels * size.channels / rates::disk);
    const double columns = 8.0 + 8.0 * static_cast<double>(job.phases.size()) + 2 * widths;
    one.memory = static_cast<std::uint64_t>(1.1e8 + 2 * 8 * size.pixels * columns +
                                            3 * 4 * (size.pixels > 0 ? size.translations : 0) *
                                                size.channels);
    one.disk = static_cast<std::uint64_t>(8 * size.pixels * columns);
    return one;
}

StageSummary RietveldStage::run(StageContext& context) const {
    program::Timings timings;
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, name());
    const auto volume_path = product_path(job, needs(job).front().stage);
    const auto volume = communicator.collectively(
        [&] { return std::make_unique<VolumeFile>(volume_path, job.rietveld.excluded); });
    const auto sample = job.mask.threshold
                            ? absorption::sample_mask(volume->total(), *job.mask.threshold)
                            : maps::sample_mask(volume->total(), volume->n());
    if (std::none_of(sample.begin(), sample.end(), [](unsigned char m) { return m != 0; }))
        throw Error(
            fmt::format("{}: no voxel has intensity above the mask's threshold; nothing to fit",
                        volume_path.string()));
    const auto model = communicator.collectively([&] {
        auto start = start_model(job, volume->wavelength(), context.notes);
        widen_by_parallax(start, job, context.scan.geometry());
        return start;
    });
    StageObserver observer(context, name());
    voxels::VoxelRefinement voxels(communicator, *volume, sample,
                                   voxel_options(job, model, volume->relative_variance()),
                                   observer);
    refine_voxels(voxels, model, context, volume->n(), timings);
    const auto& state = voxels.state();
    const RietveldResult result{state,
                                sample,
                                volume->total(),
                                volume->x(),
                                volume->two_theta(),
                                volume->relative_variance(),
                                read_amount_constant(job, communicator)};
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto product = nexus::ProductFile::create(path, existing(context.options));
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            write_rietveld_result(stage, result);
            set_default_phase(stage, job);
            timings.lap("write");
            write_timings(stage, timings);
        }
        product.commit();
        write_masks(job, result);
    });
    const auto& summary = state.fits.summary;
    const double fitted = static_cast<double>(summary.fitted);
    return {name(),
            path,
            false,
            timings.total(),
            timings.parts(),
            {{"voxels", fitted},
             {"converged", static_cast<double>(summary.converged)},
             {"fits_per_core_second", fitted / std::max(1e-9, summary.fit_seconds)},
             {"mean_pattern_rwp", state.start.agreement.rwp}}};
}

} // namespace xrdct::pipeline
