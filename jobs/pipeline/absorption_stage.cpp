// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/absorption_stage.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/absorption_output.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/pipeline/rates.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/pipeline/scan_rays.hpp"
#include "jobs/pipeline/solver_options.hpp"
#include "jobs/pipeline/stage_observer.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/absorption/phase_absorption.hpp"
#include "solvers/fbp/channel_passes.hpp"

#include <array>
#include <cmath>
#include <map>
#include <optional>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

using settings::AbsorptionMethod;

constexpr std::array absorption_labels{
    QuantityLabel{"mu", "attenuation coefficient μ", "attenuation coefficient {/:Italic μ}",
                  "attenuation coefficient <i>μ</i>", QuantityKind::amount},
    QuantityLabel{"transmission", "transmission I/I₀", "transmission {/:Italic I}/{/:Italic I}_0",
                  "transmission <i>I</i>/<i>I</i><sub>0</sub>", QuantityKind::value},
    QuantityLabel{"correction_factor", "correction factor", "", "", QuantityKind::misfit},
    QuantityLabel{"path_length", "path length", "", "", QuantityKind::amount},
    QuantityLabel{"change", "change of the transmission", "", "", QuantityKind::value},
};

constexpr double rays_per_second = 14000; ///< taken apart into phases, 700 channels
constexpr double iterated_rays_per_second = 15000;
constexpr double imaged_rays_per_second = 700; ///< of a body without a can

/// A correction with the model that it was found with; no phases: without a model.
struct Correction {
    absorption::SelfAbsorptionResult result;
    rietveld::PatternModel model;
    bool phases = false;
    std::optional<absorption::BodyFindings> body;
};

/// Collective.
Correction correct_by_phases(StageContext& context, const std::string& stage,
                             program::Timings& timings) {
    const auto& communicator = context.communicator;
    const auto& job = context.job;
    std::vector<std::string> notes;
    auto start = communicator.collectively(
        [&] { return start_model(job, context.scan.wavelength(), notes); });
    const ScanRays rays(context.scan, communicator);
    const std::vector<float> measured = job.absorption.method == AbsorptionMethod::transmission
                                            ? context.transmission
                                            : std::vector<float>();
    StageObserver observer(context, stage);
    absorption::PhaseAbsorption solver(communicator, rays, context.scan.grid(), std::move(start),
                                       measured, absorption_options(job), observer);
    static const std::map<absorption::PhaseAbsorption::Step, const char*> part{
        {absorption::PhaseAbsorption::Step::sums, "read"},
        {absorption::PhaseAbsorption::Step::model, "start model"},
        {absorption::PhaseAbsorption::Step::decomposition, "amounts"},
        {absorption::PhaseAbsorption::Step::correction, "compute"}};
    context.notes.insert(context.notes.end(), notes.begin(), notes.end());
    while (!solver.finished())
        timings.lap(part.at(solver.step()));
    context.transmission = solver.state().result.transmission;
    auto state = solver.take_state();
    return {std::move(state.result), std::move(state.model), true, std::move(state.body)};
}

/// Collective.
Correction correct(StageContext& context, const std::string& stage, program::Timings& timings) {
    const auto& scan = context.scan;
    const auto& job = context.job;
    const bool patterns = !scan.two_theta().empty() && !std::isnan(scan.wavelength());
    if (job.absorption.method == AbsorptionMethod::phases) {
        if (!patterns)
            throw Error(fmt::format("{}: absorption.method = \"phases\" needs a radial axis and a "
                                    "wavelength",
                                    job.source.string()));
        return correct_by_phases(context, stage, timings);
    }
    // The correction itself needs no phases: what they cannot tell costs volumes only.
    if (!job.phases.empty() && patterns && fits_patterns(job)) {
        try {
            return correct_by_phases(context, stage, timings);
        } catch (const Error& error) {
            context.notes.push_back(
                fmt::format("no volume fractions and densities: {}", error.what()));
        }
    }
    auto result = context.communicator.collectively([&] {
        return absorption::measured_absorption(scan.geometry(), scan.grid(), context.transmission,
                                               fbp_options(job));
    });
    timings.lap("compute");
    return {std::move(result), {}, false, {}};
}

} // namespace

std::span<const QuantityLabel> AbsorptionStage::quantities() const {
    return absorption_labels;
}

std::vector<std::string> AbsorptionStage::tables(const settings::Job& /*job*/) const {
    return {"absorption", "fbp", "instrument", "rietveld", "phase", "peak"};
}

std::vector<std::string> AbsorptionStage::reserved_names() const {
    return {"attenuation", "rays", "convergence", "body", "timings"};
}

bool AbsorptionStage::is_active(const settings::Job& job) const {
    return job.absorption.method != AbsorptionMethod::none;
}

StageEstimate AbsorptionStage::estimate(const RunSize& run) const {
    const auto size = rates::size_of(run.scan);
    StageEstimate one;
    one.stage = name();
    one.seconds = size.disc * size.rotations / rates::back_projection;
    if (!run.job.phases.empty()) {
        // Amounts along the rays; then, on every rank, the iteration.
        one.seconds += size.rays * size.channels / 700 / rays_per_second / run.ranks +
                       4 * size.rays * size.channels / rates::disk;
        if (run.job.absorption.method == AbsorptionMethod::phases)
            one.seconds +=
                1 + size.rays / (is_body_calibration(resolved_calibration(run.job.absorption))
                                     ? imaged_rays_per_second
                                     : iterated_rays_per_second);
    }
    one.disk = static_cast<std::uint64_t>(8 * (size.pixels + size.rays));
    one.memory = fbp::memory_per_rank(
        {static_cast<std::uint64_t>(size.rays), run.scan.grid().size(), run.scan.n_channel()}, 1);
    return one;
}

StageSummary AbsorptionStage::run(StageContext& context) const {
    program::Timings timings;
    const auto& job = context.job;
    const auto path = product_path(job, name());
    const auto found = correct(context, name(), timings);
    context.communicator.collectively([&] {
        if (!context.communicator.is_root())
            return;
        auto product = nexus::ProductFile::create(path, existing(context.options));
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            write_attenuation(stage, context.scan, found.result);
            if (found.phases)
                write_phase_absorption(stage, context.scan, found.model, found.result);
            if (found.body)
                write_body(stage, *found.body);
            set_default_phase(stage, job);
            stage.write_string(
                "method",
                job.absorption.method == AbsorptionMethod::transmission
                    ? "measured transmission, zero order: intensity / transmission"
                : found.body
                    ? "transmission from one image of what attenuates, zero order; it agrees with "
                      "the amounts of the phases along all rays that it corrects"
                    : "transmission from the amounts of the phases along every ray, zero order; "
                      "iterated until it agrees with the amounts that it corrects");
            timings.lap("write");
            write_timings(stage, timings);
        }
        product.commit();
    });
    std::map<std::string, double> numbers;
    if (found.phases) {
        numbers["amount_constant"] = found.result.constant;
        numbers["iterations"] = found.result.iterations;
        numbers["converged"] = found.result.converged ? 1 : 0;
    }
    return {name(), path, false, timings.total(), timings.parts(), numbers};
}

} // namespace xrdct::pipeline
