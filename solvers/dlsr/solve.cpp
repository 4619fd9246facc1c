// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/solve.hpp"

#include "base/numbers.hpp"
#include "solvers/dlsr/amount_smoothness.hpp"
#include "solvers/dlsr/cross_validation.hpp"
#include "solvers/dlsr/diagnostics.hpp"
#include "solvers/dlsr/fit.hpp"
#include "solvers/dlsr/geometry_fit.hpp"
#include "solvers/dlsr/handedness.hpp"
#include "solvers/dlsr/map_resolution.hpp"
#include "solvers/dlsr/monte_carlo_esd.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

constexpr int rough_limit = 5; ///< steps

/// The phases of a fit up to its last steps. Members are collective.
class Phases {
  public:
    explicit Phases(Fit& fit)
        : fit_(fit), system_(fit.system()), options_(system_.options()),
          choose_(!options_.smoothness && system_.has_smooth_fields()),
          tie_(!options_.amount_smoothness),
          settle_(!fit.state().geometry.settled &&
                  (options_.axis_offset != AxisRefinement::fixed || options_.refine_distance ||
                   options_.correct_radial_scale)) {}

    /// From the phase where the state is to the one of the e.s.d.
    void run();

  private:
    Phase phase() const { return fit_.state().phase; }
    Phase after_first_steps() const { return tie_ ? Phase::amounts : after_amounts(); }
    Phase after_amounts() const { return settle_ ? Phase::geometry : after_geometry(); }
    Phase after_geometry() const { return choose_ ? Phase::validation : Phase::last_steps; }
    double weight() const { return choose_ ? first_weight : options_.smoothness.value_or(0); }
    void take_rough_steps();
    void take_first_steps();
    void tie_amounts();
    void find_geometry();
    void take_last_steps();

    Fit& fit_;
    System& system_;
    const Options& options_;
    bool choose_; ///< the weight of the smoothness
    bool tie_;    ///< amounts, as strongly as the data ask for
    bool settle_; ///< the geometry
};

/// A phase that starts absent with a cell like another one's would take its share of the other's
/// spread, before the maps have it, and go there with its cell.
void Phases::take_rough_steps() {
    const auto& late = system_.setup().late;
    if (std::find(late.begin(), late.end(), 1) != late.end()) {
        fit_.set_smoothness(weight());
        fit_.solve_and_replace("step", 1e-2, std::min(options_.max_iterations, rough_limit));
        fit_.tie_late_amounts();
    }
    fit_.enter(Phase::first_steps);
}

void Phases::take_first_steps() {
    fit_.set_smoothness(weight());
    // Weights are compared from a fit that has settled: the next ones go on from it, and what
    // its steps had left to gain would count for them.
    fit_.solve_and_replace("step", choose_ ? options_.convergence : 1e-2,
                           std::min(options_.max_iterations, choose_ && !tie_ ? 8 : 2));
    fit_.enter(after_first_steps());
    system_.observer().lap("fit");
}

void Phases::tie_amounts() {
    fit_.set_smoothness(weight());
    choose_amount_smoothness(fit_, choose_ ? options_.convergence : 1e-2,
                             std::min(options_.max_iterations, choose_ ? 8 : 2));
    fit_.enter(after_amounts());
    system_.observer().lap("amounts");
}

void Phases::find_geometry() {
    fit_.set_smoothness(weight());
    // One that goes on may be in the steps that follow a change of the radial scale.
    const bool follow = settle_ ? settle_geometry(fit_) : fit_.state().fit.iteration > 0;
    system_.observer().lap("geometry");
    if (follow)
        fit_.solve("step", 2e-2, 3, true);
    else
        fit_.save();
    fit_.enter(after_geometry());
    system_.observer().lap("fit");
}

void Phases::take_last_steps() {
    fit_.set_smoothness(choose_ ? fit_.state().fit.smoothness : options_.smoothness.value_or(0));
    fit_.solve_and_replace(choose_ ? "last step" : "step", options_.convergence,
                           options_.max_iterations);
    fit_.enter(Phase::esd);
    system_.observer().lap("fit");
}

void Phases::run() {
    // What validates the weight is not seen before it is chosen.
    system_.use_rays(choose_ && phase() <= Phase::validation ? training_rays(system_)
                                                             : system_.weight());
    if (phase() == Phase::rough_steps)
        take_rough_steps();
    if (phase() == Phase::first_steps && !choose_ && !settle_ && !tie_)
        fit_.enter(Phase::last_steps);
    if (phase() == Phase::first_steps)
        take_first_steps();
    if (phase() == Phase::amounts)
        tie_amounts();
    if (phase() == Phase::geometry)
        find_geometry();
    if (phase() == Phase::validation) {
        choose_by_cross_validation(fit_);
        settle_ties(fit_);
        fit_.enter(Phase::last_steps);
        system_.observer().lap("smoothness");
    }
    system_.use_rays(system_.weight());
    if (phase() == Phase::last_steps)
        take_last_steps();
    fit_.set_smoothness(fit_.state().fit.smoothness);
}

/// Effective resolutions [mm] per field where the fit has ended. Collective.
std::vector<double> map_resolutions(const Fit& fit) {
    const auto& system = fit.system();
    const auto& communicator = system.communicator();
    const auto& options = system.options();
    const auto& x = fit.x();
    petsc::BoundedGaussNewton solver(fit.session(), communicator, system.problem(), x,
                                     solver_options(options.convergence, 1));
    const auto found = find_resolutions(communicator, system.team(), system.problem(), solver, x,
                                        system.setup(), system.grid(), options.resolution_products);
    std::string text = "effective resolution (FWHM):";
    const auto& fields = system.setup().fields;
    for (std::size_t f = 0; f < fields.size(); ++f)
        if (fields[f].field.shape >= 0 && found.width[f] > 0)
            text += fmt::format(" {} {} {:.3g} mm,", fields[f].quantity.group,
                                fields[f].quantity.name, found.width[f]);
    system.log(text + fmt::format(" in {} matrix-vector products", found.products));
    return found.width;
}

/// What follows from a fit that has ended; empty vectors were not asked for.
struct Findings {
    SharedArray<double> esd; ///< of all unknowns, in their units
    GeometryResult geometry;
    std::vector<double> resolution; ///< mm, per field
};

/// Collective.
Findings find_what_follows(Fit& fit) {
    const auto& system = fit.system();
    const auto& options = system.options();
    auto& observer = system.observer();
    Findings findings;
    if (options.noise_samples > 0) {
        findings.esd = sample_esd(fit);
        observer.lap("errors");
    }
    findings.geometry = check_geometry(
        fit, findings.esd.empty() ? std::span<const double>()
                                  : findings.esd.span().subspan(system.first_global()));
    observer.lap("geometry");
    if (options.resolution_products > 0) {
        findings.resolution = map_resolutions(fit);
        observer.lap("resolution");
    }
    return findings;
}

/// Widths are fitted in units of shapes; as maps they are sizes [Å] and strains.
void turn_into_widths(rietveld::ShapeParameter::Kind kind, Result::Map& map) {
    using Kind = rietveld::ShapeParameter::Kind;
    if (kind != Kind::size && kind != Kind::gauss_microstrain)
        return;
    map.quantity = kind == Kind::size ? Quantity{map.quantity.group, "size", "angstrom"}
                                      : Quantity{map.quantity.group, "gauss_microstrain", ""};
    for (std::size_t i = 0; i < map.values.size(); ++i) {
        const double shape = map.values[i];
        map.values[i] = kind == Kind::size ? 1 / shape : std::sqrt(std::max(shape, 0.0));
        if (!map.errors.empty())
            map.errors[i] *= kind == Kind::size ? map.values[i] * map.values[i]
                                                : 0.5 / std::max(map.values[i], 1e-6);
    }
}

/// A field as a map; `values` in the operator's order.
Result::Map map_of(const Fit& fit, std::size_t f, std::span<const double> values,
                   const Findings& findings) {
    const auto& system = fit.system();
    const auto& grid = system.grid();
    const auto& field = system.setup().fields[f];
    const auto pixels = system.model().pixels(field.field.part);
    const std::size_t first = system.model().offset(field.field.part, field.field.shape);
    Result::Map map;
    map.quantity = field.quantity;
    map.values.assign(grid.size(), nan_value);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        map.values[pixels[v]] = values[first + v];
    const auto& esd = findings.esd;
    if (!esd.empty() && field.field.treatment != FieldTreatment::fixed) {
        map.errors.assign(grid.size(), nan_value);
        const std::size_t unknown = system.problem().field_unknowns(f).begin;
        for (std::size_t v = 0; v < pixels.size(); ++v)
            map.errors[pixels[v]] = field.field.treatment == FieldTreatment::voxel
                                        ? esd[unknown + v] * field.field.unit
                                        : esd[unknown] * field.start[pixels[v]];
    }
    map.smoothness = field.field.shape >= 0 ? fit.state().fit.smoothness : field.field.smoothness;
    map.resolution = findings.resolution.empty() ? 0 : findings.resolution[f];
    if (field.field.shape >= 0)
        turn_into_widths(system.setup()
                             .parts[field.field.part]
                             .voxel[static_cast<std::size_t>(field.field.shape)]
                             .kind,
                         map);
    return map;
}

std::vector<Result::Global> global_results(const System& system, std::span<const double> values,
                                           const SharedArray<double>& esd) {
    const auto& setup = system.setup();
    std::vector<Result::Global> result;
    for (std::size_t g = 0; g < setup.globals.size(); ++g) {
        const auto& global = setup.globals[g];
        const double margin = 1e-6 * global.unit;
        result.push_back(
            {setup.global_quantities[g], values[g],
             esd.empty() ? nan_value : esd[system.first_global() + g] * global.unit,
             values[g] <= global.lower + margin || values[g] >= global.upper - margin});
    }
    return result;
}

/// Shares of the samples that do not count in full, and remarks on them.
void count_samples(System& system, Result& result) {
    if (!system.scan().needs_model())
        return;
    const auto& counts = system.scan().counts();
    result.masked = counts.masked / counts.samples;
    result.outlying = counts.outlying / counts.samples;
    if (counts.masked > 0)
        system.remark(fmt::format("{:.3g} % of the samples of the rays and channels in "
                                  "use are masked",
                                  100 * result.masked));
    if (system.options().loss == Loss::huber)
        system.remark(fmt::format("{:.3g} % of the samples lie beyond {:.3g} standard deviations",
                                  100 * result.outlying,
                                  system.options().threshold * system.scan().residual_scale()));
}

/// Maps, global values and diagnostics of a fit that has ended. Collective.
Result result_of(Fit& fit, const Findings& findings) {
    auto& system = fit.system();
    const auto& setup = system.setup();
    const auto& state = fit.state();
    Result result;
    const auto values = fit.values();
    system.problem().set_operator_point(fit.x(), true);
    system.model().set_ray_weight(system.weight());
    const auto globals = system.global_values(fit.globals());
    result.model = system.basis().model_at(globals);
    result.geometry = findings.geometry;
    diagnose(system.communicator(), system.scan(), system.model(), result.model, system.weight(),
             result);
    system.observer().lap("diagnostics");
    const auto& conventional = system.conventional();
    result.n = system.grid().n;
    result.x = conventional.x;
    result.sample = conventional.sample;
    for (const auto& phase : conventional.phases)
        result.masks.push_back(phase.mask);
    for (std::size_t f = 0; f < setup.fields.size() && system.communicator().is_root(); ++f)
        result.maps.push_back(map_of(fit, f, values, findings));
    result.globals = global_results(system, globals, findings.esd);
    result.history = state.fit.history;
    result.validation = state.validation.tried;
    result.stop_reason = fit.stop_reason();
    result.converged = fit.converged();
    count_samples(system, result);
    result.remarks = system.remarks();
    for (const auto& remark : findings.geometry.remarks())
        result.remarks.push_back(remark);
    result.unknowns = system.problem().size();
    result.smoothness = state.fit.smoothness;
    result.checkpoint_seconds = fit.checkpoint_seconds();
    return result;
}

} // namespace

Result solve(const petsc::Session& session, System& system, std::optional<State> earlier) {
    Fit fit(session, system, std::move(earlier));
    if (system.options().check_handedness && system.has_parallax() && !fit.resumed()) {
        check_handedness(fit);
        system.observer().lap("senses");
    }
    Phases(fit).run();
    const auto findings = find_what_follows(fit);
    return result_of(fit, findings);
}

} // namespace xrdct::dlsr
