// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "jobs/pipeline/conventional_maps.hpp"
#include "jobs/pipeline/dlsr_checkpoint.hpp"
#include "jobs/pipeline/dlsr_observer.hpp"
#include "jobs/pipeline/dlsr_options.hpp"
#include "jobs/pipeline/dlsr_output.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "jobs/pipeline/scan_rays.hpp"
#include "jobs/pipeline/solver_options.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/dlsr/solve.hpp"
#include "solvers/dlsr/system.hpp"
#include "solvers/petsc/session.hpp"
#include "tomography/fbp.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

/// Map of μ [1/mm] from the absorption product, or of −ln of the transmission where that is
/// measured. Throws Error for a product that is missing or does not fit, a map that is not finite.
/// Not collective.
std::vector<float> attenuation_map(const StageContext& context, const tomography::ImageGrid& grid) {
    const auto& job = context.job;
    std::vector<float> mu;
    std::string source = job.input.file.string() + ": the transmission";
    if (job.absorption.method == settings::AbsorptionMethod::phases) {
        source = product_path(job, "absorption").string() + ": entry/absorption/attenuation/mu";
        mu = read_absorption_product(job).mu;
        if (mu.size() != grid.size())
            throw Error(fmt::format("{} has {} values for an image of {} × {}", source, mu.size(),
                                    grid.n, grid.n));
    } else {
        std::vector<float> integral;
        for (const float value : context.transmission)
            integral.push_back(value > 0 ? -std::log(value)
                                         : std::numeric_limits<float>::quiet_NaN());
        mu.resize(grid.size());
        tomography::FilteredBackProjection(context.scan.geometry(), grid, fbp_options(job))
            .reconstruct(integral, 1, mu);
    }
    if (!std::all_of(mu.begin(), mu.end(), [](float value) { return std::isfinite(value); }))
        throw Error(fmt::format("{} gives no attenuation in all of the image, which "
                                "dlsr.exit_ray = \"deviated\" needs",
                                source));
    return mu;
}

void check_ranks(const StageContext& context) {
    const std::size_t rotations = context.scan.geometry().rotation.size();
    if (static_cast<std::size_t>(context.communicator.size()) > rotations)
        throw Error(fmt::format("{}: the dlsr stage shares the scan's rotations out over the "
                                "ranks: {} ranks are too many for {} rotations",
                                context.job.input.file.string(), context.communicator.size(),
                                rotations));
}

/// Where an earlier run of the same job stopped. Collective.
std::optional<dlsr::State> earlier_state(const StageContext& context, const DlsrObserver& observer,
                                         const dlsr::System& system) {
    if (!context.options.resume)
        return {};
    auto earlier = context.communicator.collectively([&] {
        return earlier_dlsr_state(observer.checkpoint_path(), observer.origin(), system,
                                  context.options.force);
    });
    if (earlier)
        system.log(fmt::format("goes on from {} (step {}, {})", observer.checkpoint_path().string(),
                               earlier->fit.iteration, to_string(earlier->phase)));
    return earlier;
}

/// Collective.
void write_product(const StageContext& context, const dlsr::Result& result,
                   program::Timings& timings) {
    const auto constant = read_amount_constant(context.job, context.communicator);
    context.communicator.collectively([&] {
        if (!context.communicator.is_root())
            return;
        auto product = nexus::ProductFile::create(product_path(context.job, "dlsr"),
                                                  existing(context.options));
        {
            auto stage = write_provenance(product.root(), context.provenance, context.job.title);
            write_dlsr_result(stage, result, constant);
            set_default_phase(stage, context.job);
            timings.lap("write");
            write_timings(stage, timings);
        }
        product.commit();
    });
}

/// Phases that parallax hides start absent, wherever their leaders are, unless somebody drew their
/// masks. Collective: what the root sees of the images counts.
void start_hidden_phases(const StageContext& context, dlsr::Options& options) {
    const auto& job = context.job;
    for (const auto& hidden : phases_hidden_by_parallax(job, context.scan.geometry())) {
        auto& phase = options.phases[hidden.phase];
        const auto image = settings::mask_file(job.mask.images, job.phases[hidden.phase].name);
        phase.starts_absent = true;
        phase.leader =
            !job.mask.images.empty() && std::filesystem::exists(image) ? -1 : hidden.leader;
        context.communicator.broadcast(phase.leader);
    }
}

} // namespace

StageSummary run_dlsr_stage(StageContext& context) {
    program::Timings timings;
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    check_ranks(context);
    const petsc::Session session(communicator, job.dlsr.petsc);
    DlsrObserver observer(
        communicator, timings, job.output / "dlsr-checkpoint.nxs",
        {context.provenance.settings, nlohmann::json(context.provenance.inputs).dump()});
    // The model has the absorption, not the data.
    const ScanRays rays(context.scan, communicator);
    auto options = dlsr_options(job);
    start_hidden_phases(context, options);
    std::vector<std::string> notes; // the rietveld stage has told them
    dlsr::System system(rays, context.transmission, context.scan.grid(),
                        communicator.collectively([&] {
                            return read_conventional_maps(job, context.scan.wavelength(), notes);
                        }),
                        options, communicator, observer,
                        [&] { return attenuation_map(context, context.scan.grid()); });
    const auto result = dlsr::solve(session, system, earlier_state(context, observer, system));
    write_product(context, result, timings);
    observer.remove_checkpoint();
    for (const auto& remark : result.remarks)
        context.notes.push_back("dlsr: " + remark);
    if (!result.converged)
        context.notes.push_back("dlsr: the fit did not converge: " + result.stop_reason);
    return {"dlsr",
            product_path(job, "dlsr"),
            false,
            timings.total(),
            timings.parts(),
            {{"unknowns", static_cast<double>(result.unknowns)},
             {"steps", static_cast<double>(result.history.size())},
             {"rwp", result.rwp},
             {"gof", result.gof},
             {"smoothness", result.smoothness},
             {"checkpoint_seconds", result.checkpoint_seconds}}};
}

} // namespace xrdct::pipeline
