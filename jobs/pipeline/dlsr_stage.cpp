#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/pipeline/dlsr_errors.hpp"
#include "jobs/pipeline/dlsr_fit.hpp"
#include "jobs/pipeline/dlsr_geometry_fit.hpp"
#include "jobs/pipeline/dlsr_output.hpp"
#include "jobs/pipeline/dlsr_resolution.hpp"
#include "jobs/pipeline/dlsr_scan.hpp"
#include "jobs/pipeline/dlsr_senses.hpp"
#include "jobs/pipeline/dlsr_strength.hpp"
#include "jobs/pipeline/dlsr_system.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

/// First steps, geometry, strength of the smoothness, last steps: from the phase where the state
/// is to the one of the errors. Collective.
void run_fit(DlsrFit& fit) {
    auto& system = fit.system();
    auto& state = fit.state();
    auto& timings = system.timings();
    const auto& settings = system.job().dlsr;
    const bool choose = !settings.smoothness && system.has_smooth_fields();
    const int steps = static_cast<int>(settings.max_iterations);
    const bool settle =
        !state.settled && (settings.axis_offset != "fixed" || settings.distance == "refine" ||
                           settings.radial_scale == "metals");
    // What judges the strength is not seen before it is chosen.
    system.use_rays(
        choose && (state.phase == "fit" || state.phase == "geometry" || state.phase == "held-out")
            ? held_out_weight(system, false)
            : system.weight());
    const auto after_geometry = choose ? "held-out" : "final";
    if (state.phase == "fit" && !choose && !settle)
        state.phase = "final";
    if (state.phase == "fit") {
        fit.set_smoothness(choose ? first_smoothness : settings.smoothness.value_or(0));
        // Strengths are compared from a fit that has settled: the next ones go on from it, and what
        // its steps had left to gain would count for them.
        fit.solve_and_replace("step", choose ? settings.convergence : 1e-2,
                              std::min(steps, choose ? 8 : 2));
        state.phase = settle ? "geometry" : after_geometry;
        timings.lap("fit");
    }
    if (state.phase == "geometry") {
        fit.set_smoothness(choose ? first_smoothness : settings.smoothness.value_or(0));
        // One that goes on may be in the steps that follow a change of the radial scale.
        const bool follow = settle ? settle_geometry(fit) : state.iteration > 0;
        timings.lap("geometry");
        if (follow)
            fit.solve("step", 2e-2, 3, true);
        else
            fit.save();
        state.phase = after_geometry;
        timings.lap("fit");
    }
    if (state.phase == "held-out") {
        choose_smoothness(fit);
        state.phase = "final";
        timings.lap("smoothness");
    }
    system.use_rays(system.weight());
    if (state.phase == "final") {
        fit.set_smoothness(choose ? state.smoothness : settings.smoothness.value_or(0));
        fit.solve_and_replace(choose ? "last step" : "step", settings.convergence, steps);
        state.phase = "errors";
        timings.lap("fit");
    }
    fit.set_smoothness(state.smoothness);
}

/// Effective resolutions [mm] per field where the fit has ended. Collective.
std::vector<double> map_resolutions(const DlsrFit& fit) {
    const auto& system = fit.system();
    const auto& communicator = system.communicator();
    const auto& settings = system.job().dlsr;
    const auto& x = fit.x();
    petsc::BoundedGaussNewton solver(fit.session(), communicator, system.problem(), x,
                                     dlsr_solver_options(settings.convergence, 1));
    const auto found =
        find_resolutions(communicator, system.team(), system.problem(), solver, x, system.setup(),
                         system.grid(), static_cast<int>(settings.resolution_products));
    if (!communicator.is_root())
        return found.width;
    fmt::print(stderr, "dlsr: effective resolution (FWHM):");
    const auto& fields = system.setup().fields;
    for (std::size_t f = 0; f < fields.size(); ++f)
        if (fields[f].field.shape >= 0 && found.width[f] > 0)
            fmt::print(stderr, " {} {} {:.3g} mm,", fields[f].quantity.group,
                       fields[f].quantity.name, found.width[f]);
    fmt::print(stderr, " in {} products\n", found.products);
    return found.width;
}

/// What follows from a fit that has ended; empty vectors were not asked for.
struct Findings {
    SharedArray<double> esd; ///< of all unknowns, in their units
    DlsrGeometry geometry;
    std::vector<double> resolution; ///< mm, per field
};

/// A field as a map; `values` in the operator's order.
DlsrResult::Map map_of(DlsrFit& fit, std::size_t f, std::span<const double> values,
                       const Findings& findings) {
    const auto& system = fit.system();
    const auto& grid = system.grid();
    const auto& field = system.setup().fields[f];
    const auto pixels = system.model().pixels(field.field.part);
    const std::size_t first = system.model().offset(field.field.part, field.field.shape);
    DlsrResult::Map map;
    map.quantity = field.quantity;
    map.values.assign(grid.size(), nan_value);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        map.values[pixels[v]] = values[first + v];
    const auto& esd = findings.esd;
    if (!esd.empty() && field.field.treatment != dlsr::FieldTreatment::fixed) {
        map.errors.assign(grid.size(), nan_value);
        const std::size_t unknown = system.problem().field_unknowns(f).begin;
        for (std::size_t v = 0; v < pixels.size(); ++v)
            map.errors[pixels[v]] = field.field.treatment == dlsr::FieldTreatment::voxel
                                        ? esd[unknown + v] * field.field.unit
                                        : esd[unknown] * field.start[pixels[v]];
    }
    map.smoothness = field.field.shape >= 0 ? fit.state().smoothness : field.field.smoothness;
    map.resolution = findings.resolution.empty() ? 0 : findings.resolution[f];
    return map;
}

/// Maps, global values and diagnostics of a fit that has ended. Collective.
DlsrResult result_of(DlsrFit& fit, const Findings& findings) {
    auto& system = fit.system();
    const auto& setup = system.setup();
    const auto& state = fit.state();
    const auto& esd = findings.esd;
    DlsrResult result;
    const auto values = fit.values();
    system.problem().set_operator_point(fit.x(), true);
    system.model().set_ray_weight(system.weight());
    const auto globals = system.global_values(fit.globals());
    result.model = system.basis().model_at(globals);
    result.geometry = findings.geometry;
    system.scan().diagnose(system.model(), result.model, system.weight(), result);
    system.timings().lap("diagnostics");
    const auto& conventional = system.conventional();
    result.n = system.grid().n;
    result.x = conventional.x;
    result.sample = conventional.sample;
    for (const auto& phase : conventional.phases)
        result.masks.push_back(phase.mask);
    for (std::size_t f = 0; f < setup.fields.size() && system.communicator().is_root(); ++f)
        result.maps.push_back(map_of(fit, f, values, findings));
    for (std::size_t g = 0; g < setup.globals.size(); ++g) {
        const auto& global = setup.globals[g];
        const double margin = 1e-6 * global.unit;
        result.globals.push_back(
            {setup.global_quantities[g], globals[g],
             esd.empty() ? nan_value : esd[system.first_global() + g] * global.unit,
             globals[g] <= global.lower + margin || globals[g] >= global.upper - margin});
    }
    result.history = state.history;
    result.held_out = state.held_out;
    result.stop_reason = fit.stop_reason();
    result.converged = fit.converged();
    if (system.scan().needs_model()) {
        const auto& counts = system.scan().counts();
        result.masked = counts.masked / counts.samples;
        result.outlying = counts.outlying / counts.samples;
        if (counts.masked > 0)
            system.remark(fmt::format("{:.3g} % of the samples of the rays and channels in "
                                      "use are masked",
                                      100 * result.masked));
        const auto& settings = system.job().dlsr;
        if (settings.loss == "huber")
            system.remark(fmt::format("{:.3g} % of the samples lie beyond {:.3g} standard "
                                      "deviations",
                                      100 * result.outlying,
                                      settings.threshold * system.scan().residual_scale()));
    }
    result.remarks = system.remarks();
    for (const auto& remark : findings.geometry.remarks())
        result.remarks.push_back(remark);
    return result;
}

} // namespace

StageSummary run_dlsr_stage(StageContext& context) {
    program::Timings timings;
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, "dlsr");
    const std::size_t rotations = context.scan.geometry().rotation.size();
    if (static_cast<std::size_t>(communicator.size()) > rotations)
        throw Error(fmt::format("{}: the dlsr stage shares the scan's rotations out over the "
                                "ranks: {} ranks are too many for {} rotations",
                                job.input.file.string(), communicator.size(), rotations));
    DlsrScan scan(context);
    const petsc::Session session(communicator, job.dlsr.petsc);
    DlsrSystem system(context, timings, scan);
    DlsrFit fit(session, system);
    if (job.dlsr.check_senses && system.has_parallax() && !fit.resumed()) {
        check_senses(fit);
        timings.lap("senses");
    }
    run_fit(fit);
    Findings findings;
    if (job.dlsr.error_samples > 0) {
        findings.esd = sample_errors(fit);
        timings.lap("errors");
    }
    findings.geometry = check_geometry(
        fit, findings.esd.empty() ? std::span<const double>()
                                  : findings.esd.span().subspan(system.first_global()));
    timings.lap("geometry");
    if (job.dlsr.resolution_products > 0) {
        findings.resolution = map_resolutions(fit);
        timings.lap("resolution");
    }
    const auto result = result_of(fit, findings);
    const auto constant = read_amount_constant(job, communicator);
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto product = nexus::ProductFile::create(path, context.options.force
                                                            ? nexus::ProductFile::Existing::replace
                                                            : nexus::ProductFile::Existing::refuse);
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            write_dlsr_result(stage, result, constant);
            timings.lap("write");
            write_timings(stage, timings);
        }
        product.commit();
    });
    fit.remove_checkpoint();
    for (const auto& remark : result.remarks)
        context.notes.push_back("dlsr: " + remark);
    if (!result.converged)
        context.notes.push_back("dlsr: the fit did not converge: " + result.stop_reason);
    return {"dlsr",
            path,
            false,
            timings.total(),
            timings.parts(),
            {{"unknowns", static_cast<double>(system.problem().size())},
             {"steps", static_cast<double>(result.history.size())},
             {"rwp", result.rwp},
             {"gof", result.gof},
             {"smoothness", fit.state().smoothness},
             {"checkpoint_seconds", fit.checkpoint_seconds()}}};
}

} // namespace xrdct::pipeline
