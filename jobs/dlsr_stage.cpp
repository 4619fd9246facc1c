#include "base/error.hpp"
#include "jobs/dlsr_checkpoint.hpp"
#include "jobs/dlsr_model.hpp"
#include "jobs/dlsr_output.hpp"
#include "jobs/dlsr_resolution.hpp"
#include "jobs/dlsr_scan.hpp"
#include "jobs/pipeline.hpp"
#include "jobs/progress.hpp"
#include "jobs/run_record.hpp"
#include "jobs/stop_request.hpp"
#include "mpi/product_file.hpp"
#include "solvers/dlsr_operator.hpp"
#include "solvers/dlsr_problem.hpp"
#include "solvers/dlsr_uncertainty.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct {

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
/// Distance of layers in standard deviations of the narrowest line.
constexpr double layer_spacing = 0.2;
/// First strength of the smoothness that is tried, and the factor between strengths.
constexpr double first_smoothness = 8, smoothness_factor = 3;
constexpr int most_strengths = 7;
/// Products with the Gauss-Newton matrix in a step, and where a strength is only tried.
constexpr int most_products = 30, held_out_products = 30;
/// Steps between two replacements of masked and outlying samples, and the change of the data
/// (standard deviations per unknown) that ends them.
constexpr int steps_per_pass = 2;
constexpr double data_tolerance = 0.05;
/// Voxels about one whose samples of noise tell its e.s.d. together (Gaussian, σ).
constexpr double error_window = 2.5;

std::size_t layers_for(const DlsrSettings& settings, const RadialAxis& axis,
                       const PatternModel& model, double half_depth, double distance) {
    if (settings.layers > 0)
        return static_cast<std::size_t>(settings.layers);
    // Depth shifts lines most at the end of the axis.
    const double last = axis.two_theta().back();
    const auto line =
        pseudo_voigt(peak_widths(model.instrument.profile(), last, axis.wavelength()));
    const double sigma = line.fwhm / (2 * std::sqrt(2 * std::log(2.0)));
    const double t = std::tan(last * std::numbers::pi / 180);
    const double shift = 180 / std::numbers::pi * half_depth / distance * t / (1 + t * t);
    return std::max<std::size_t>(
        2, static_cast<std::size_t>(std::ceil(2 * shift / (layer_spacing * sigma))) + 1);
}

/// One DLSR: its data and model, the fit and what follows from it.
class DlsrRun {
  public:
    DlsrRun(StageContext& context, Timings& timings)
        : context_(context), job_(context.job), communicator_(context.communicator),
          timings_(timings), scan_(context), session_(communicator_, job_.dlsr.petsc),
          checkpoint_path_(job_.output / "dlsr-checkpoint.nxs") {}

    void prepare();
    void check_senses();
    void fit();
    void errors();
    void resolutions();
    DlsrResult result();
    double chosen_smoothness() const { return state_.smoothness; }
    std::size_t unknowns() const { return problem_->size(); }
    void remove_checkpoint() const {
        std::error_code code;
        if (communicator_.is_root())
            std::filesystem::remove(checkpoint_path_, code);
    }
    const PatternBasis& basis() const { return *basis_; }

  private:
    StageContext& context_;
    const Job& job_;
    const mpi::Communicator& communicator_;
    Timings& timings_;
    DlsrScan scan_;
    petsc::Session session_;
    std::filesystem::path checkpoint_path_;

    ConventionalResult conventional_;
    DlsrSetup setup_;
    ImageGrid grid_;
    std::unique_ptr<PatternBasis> basis_;
    std::vector<float> data_, weight_;
    std::unique_ptr<DlsrOperator> model_;
    std::unique_ptr<DlsrProblem> problem_;
    DlsrCheckpoint state_;
    double data_squares_ = 0; ///< Σ W d²
    int passes_ = 0;          ///< over the data, to replace them
    std::string stop_reason_;
    bool converged_ = false;
    int linear_limit_ = most_products;
    std::vector<std::string> remarks_;
    std::vector<double> resolution_; ///< mm, per field; empty: not determined
    std::vector<double> esd_;        ///< of all unknowns, in their units; empty: none
    DepthLayers layers_;
    PatternBasisOptions basis_options_;
    std::vector<double> channel_weight_, start_values_;
    std::vector<DlsrField> fields_;
    bool parallax_ = false, resumed_ = false;

    std::vector<double> own(const std::vector<double>& whole) const {
        const auto range = problem_->own();
        return {whole.begin() + static_cast<std::ptrdiff_t>(range.begin),
                whole.begin() + static_cast<std::ptrdiff_t>(range.end)};
    }
    bool has_smooth_fields() const {
        return std::any_of(setup_.fields.begin(), setup_.fields.end(), [](const auto& field) {
            return field.field.shape >= 0 && field.field.treatment == FieldTreatment::voxel;
        });
    }
    void set_smoothness(double strength) {
        for (std::size_t f = 0; f < setup_.fields.size(); ++f)
            if (setup_.fields[f].field.shape >= 0)
                problem_->set_smoothness(f, strength, setup_.fields[f].field.edge);
        state_.smoothness = strength;
    }
    std::vector<float> held_out_weight(bool held_out) const;
    double held_out_misfit(const std::vector<double>& x);
    petsc::BoundedGaussNewtonOptions solver_options(double convergence, int steps) const;
    void solve(const std::string& what, double convergence, int steps, bool keep);
    void solve_and_replace(const std::string& what, double convergence, int steps);
    double replace_data();
    void sum_data_squares();
    void choose_smoothness();
    void save();
};

void DlsrRun::prepare() {
    const auto& scan = context_.scan;
    std::vector<std::string> notes;
    conventional_ = communicator_.collectively(
        [&] { return read_conventional_result(job_, scan.wavelength(), notes); });
    grid_ = scan.grid();
    setup_ = communicator_.collectively(
        [&] { return make_dlsr_setup(job_, conventional_, grid_.pixel); });
    for (std::size_t p = 0; p < setup_.model.phases.size(); ++p)
        if (setup_.pixels[p].empty())
            remarks_.push_back(fmt::format("phase '{}' is nowhere significant: it is not in the "
                                           "model",
                                           setup_.model.phases[p].name));
    const auto weights = scan_.weights();
    weight_ = weights.ray_weight();
    const auto& transmission = scan_.transmission();
    double kept = 0;
    for (std::size_t r = 0; r < weight_.size(); ++r) {
        if (!(transmission[r] > 0))
            weight_[r] = 0;
        kept += weight_[r] > 0;
    }
    kept = communicator_.allreduce(kept, mpi::Reduction::sum);
    const auto rays =
        static_cast<double>(scan.geometry().rotation.size() * scan.geometry().translation.size());
    if (kept == 0)
        throw Error(fmt::format("{}: no ray of the scan can be used by the dlsr stage: all samples "
                                "are masked (not finite), or the rays have no transmission",
                                job_.input.file.string()));
    if (kept < rays)
        remarks_.push_back(fmt::format("{:.0f} of {:.0f} rays are left out: their transmission or "
                                       "(nearly) all their channels are missing",
                                       rays - kept, rays));
    timings_.lap("weights");

    double half_depth = 0;
    for (std::size_t i = 0; i < conventional_.sample.size(); ++i)
        if (conventional_.sample[i])
            half_depth = std::max(half_depth, std::hypot(grid_.coordinate(i % grid_.n),
                                                         grid_.coordinate(i / grid_.n)));
    half_depth += 0.5 * grid_.pixel;
    const double distance = scan.geometry().distance;
    parallax_ = std::isfinite(distance) && half_depth / distance > 1e-7;
    const auto axis = communicator_.collectively(
        [&] { return RadialAxis::from_two_theta(scan.two_theta(), scan.wavelength()); });
    layers_ = DepthLayers::across(
        parallax_ ? half_depth : 0,
        parallax_ ? layers_for(job_.dlsr, axis, setup_.model, half_depth, distance) : 1);
    basis_options_.tolerance = job_.dlsr.tolerance;
    basis_options_.layers = layers_.count;
    basis_options_.depth_first = layers_.first;
    basis_options_.depth_spacing = layers_.spacing;
    basis_options_.distance = parallax_ ? distance : 0;
    channel_weight_ = weights.channel_weight();
    basis_ = communicator_.collectively([&] {
        return std::make_unique<PatternBasis>(axis, setup_.model, setup_.parts, channel_weight_,
                                              basis_options_);
    });
    timings_.lap("basis");
    data_ = communicator_.collectively([&] { return scan_.compress(*basis_, weight_); });
    timings_.lap("compress");
    model_ = communicator_.collectively([&] {
        return std::make_unique<DlsrOperator>(scan_.geometry(), grid_, *basis_, layers_,
                                              setup_.pixels, weight_, transmission);
    });
    auto& start = start_values_;
    start.assign(model_->value_count(), 0.0);
    for (const auto& field : setup_.fields) {
        fields_.push_back(field.field);
        const auto& pixels = model_->pixels(field.field.part);
        const std::size_t first = model_->offset(field.field.part, field.field.shape);
        for (std::size_t v = 0; v < pixels.size(); ++v)
            start[first + v] = field.start[pixels[v]];
    }
    for (std::size_t g = 0; g < basis_->global_count(); ++g)
        start[model_->global_offset() + g] = basis_->start_globals()[g];
    problem_ = std::make_unique<DlsrProblem>(communicator_, *model_, grid_, scan.geometry(), data_,
                                             fields_, setup_.globals, start);
    sum_data_squares();
    timings_.lap("prepare");

    // Where an earlier run stopped.
    state_.settings = context_.provenance.settings;
    state_.inputs = nlohmann::json(context_.provenance.inputs).dump();
    state_.x = communicator_.allgather(std::span<const double>(problem_->start()));
    problem_->objective(problem_->start());
    if (communicator_.is_root())
        fmt::print(
            stderr,
            "dlsr: {} unknowns; {:.0f} rays of {} channels as {} coefficients, {} layers as {} "
            "packed functions\n",
            problem_->size(), kept, scan.n_channel(), basis_->size(), layers_.count,
            model_->packed_size());
    auto found = communicator_.collectively([&]() -> std::optional<DlsrCheckpoint> {
        if (!context_.options.resume)
            return {};
        std::optional<DlsrCheckpoint> earlier;
        try {
            earlier = read_dlsr_checkpoint(checkpoint_path_);
        } catch (const Error&) {
            if (!context_.options.force)
                throw;
        }
        if (!earlier)
            return {};
        if (earlier->settings != state_.settings || earlier->inputs != state_.inputs ||
            earlier->x.size() != state_.x.size()) {
            if (context_.options.force)
                return {};
            throw Error(fmt::format("{}: is of another job or of other settings; --force starts "
                                    "over",
                                    checkpoint_path_.string()));
        }
        return earlier;
    });
    if (found) {
        state_ = std::move(*found);
        resumed_ = true;
        if (state_.phase == "errors") {
            const auto reason = static_cast<petsc::StopReason>(state_.reason);
            stop_reason_ = std::string(petsc::describe(reason));
            converged_ = petsc::is_converged(reason);
        }
        if (communicator_.is_root())
            fmt::print(stderr, "dlsr: goes on from {} (step {}, {})\n", checkpoint_path_.string(),
                       state_.iteration, state_.phase);
        // The data are those of this point now, so a fit that had ended goes on.
        if (scan_.needs_model()) {
            replace_data();
            if (state_.phase != "errors") {
                state_.iteration = state_.reason = 0;
                state_.trust_radius = state_.initial_gradient_norm = 0;
            }
        }
    }
}

void DlsrRun::sum_data_squares() {
    const std::size_t m = basis_->size();
    double own = 0;
    for (std::size_t r = 0; r < weight_.size(); ++r)
        for (std::size_t i = 0; i < m; ++i)
            own += static_cast<double>(weight_[r]) * data_[r * m + i] * data_[r * m + i];
    data_squares_ = communicator_.allreduce(own, mpi::Reduction::sum);
}

/// Masked samples and those beyond the threshold get what the model at the state's x says. Returns
/// the change of the data per unknown in standard deviations (root mean square), which bounds that
/// of the unknowns.
double DlsrRun::replace_data() {
    const auto values = problem_->values(own(state_.x));
    std::vector<float> data(data_.size());
    communicator_.collectively([&] {
        model_->set_point(values, true);
        model_->predict(data);
    });
    problem_->forget_point();
    scan_.replace(*basis_, weight_, data);
    const std::size_t m = basis_->size();
    double change = 0;
    for (std::size_t r = 0; r < weight_.size(); ++r)
        for (std::size_t i = 0; i < m; ++i) {
            const double difference = data[r * m + i] - data_[r * m + i];
            change += weight_[r] * difference * difference;
        }
    change = std::sqrt(communicator_.allreduce(change, mpi::Reduction::sum) /
                       static_cast<double>(problem_->size()));
    data_.swap(data);
    problem_->set_data(data_);
    sum_data_squares();
    ++passes_;
    if (communicator_.is_root()) {
        const auto& counts = scan_.counts();
        fmt::print(stderr, "dlsr: pass {} over the data: {:.3f} % masked{}, change {:.3f} e.s.d.\n",
                   passes_, 100 * counts.masked / counts.samples,
                   job_.dlsr.loss == "huber"
                       ? fmt::format(", {:.3f} % beyond {:.3g} s.d.",
                                     100 * counts.outlying / counts.samples,
                                     job_.dlsr.threshold * scan_.residual_scale())
                       : "",
                   change);
    }
    return change;
}

/// Two steps on every fourth projection with depths as they are and with depths reversed, which is
/// what a reversed rotation or translation amounts to (both together mirror the maps only).
void DlsrRun::check_senses() {
    if (!job_.dlsr.check_senses || !parallax_ || resumed_)
        return;
    constexpr std::size_t every = 4;
    auto weight = weight_;
    const std::size_t translations = context_.scan.geometry().translation.size();
    for (std::size_t r = 0; r < weight.size(); ++r)
        if ((scan_.rotations().begin + r / translations) % every != 0)
            weight[r] = 0;
    const auto misfit_of = [&](DlsrProblem& problem) {
        for (std::size_t f = 0; f < fields_.size(); ++f)
            if (fields_[f].shape >= 0)
                problem.set_smoothness(f, first_smoothness, fields_[f].edge);
        auto options = solver_options(1e-6, 2);
        options.linear_max_iterations = 8;
        petsc::BoundedGaussNewton solver(session_, communicator_, problem, problem.start(),
                                         options);
        while (solver.step().reason == petsc::StopReason::none) {
        }
        problem.objective(solver.x());
        return problem.last_misfit();
    };
    model_->set_ray_weight(weight);
    const double as_is = misfit_of(*problem_);
    model_->set_ray_weight(weight_);

    auto reversed = basis_options_;
    reversed.depth_first = -basis_options_.depth_first;
    reversed.depth_spacing = -basis_options_.depth_spacing;
    const auto axis = communicator_.collectively([&] {
        return RadialAxis::from_two_theta(context_.scan.two_theta(), context_.scan.wavelength());
    });
    const auto basis = communicator_.collectively(
        [&] { return PatternBasis(axis, setup_.model, setup_.parts, channel_weight_, reversed); });
    const auto data = communicator_.collectively([&] { return scan_.compress(basis, weight); });
    auto model = communicator_.collectively([&] {
        return DlsrOperator(scan_.geometry(), grid_, basis, layers_, setup_.pixels, weight_,
                            scan_.transmission());
    });
    model.set_ray_weight(weight);
    if (model.value_count() != start_values_.size()) {
        remarks_.push_back("the opposite depth sense could not be tried: its patterns need another "
                           "number of values");
        return;
    }
    DlsrProblem problem(communicator_, model, grid_, context_.scan.geometry(), data, fields_,
                        setup_.globals, start_values_);
    const double opposite = misfit_of(problem);
    const double change = 100 * (opposite / as_is - 1);
    remarks_.push_back(
        opposite > as_is
            ? fmt::format(
                  "senses: with depths reversed (a reversed rotation or translation) the "
                  "misfit is {:.1f} % larger: the senses given are right, or both are wrong "
                  "and the maps mirrored",
                  change)
            : fmt::format("SENSES: with depths reversed the misfit is {:.1f} % smaller: "
                          "geometry.rotation_sense or geometry.translation_sense is probably "
                          "wrong, and the correction of the parallax does harm",
                          -change));
    if (communicator_.is_root())
        fmt::print(stderr, "dlsr: {}\n", remarks_.back());
    timings_.lap("senses");
}

void DlsrRun::save() {
    communicator_.collectively([&] {
        if (communicator_.is_root())
            write_dlsr_checkpoint(checkpoint_path_, state_);
    });
    stop_if_asked(communicator_);
}

petsc::BoundedGaussNewtonOptions DlsrRun::solver_options(double convergence, int steps) const {
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = steps;
    options.objective_tolerance = convergence;
    options.linear_tolerance = 0.04;
    options.linear_max_iterations = linear_limit_;
    options.objective_noise = 1e-7;
    options.initial_trust_radius = 1e6; // the problem is nearly quadratic: full steps first
    return options;
}

/// Steps from the state's x; `keep`: the steps are those of the history and are saved.
void DlsrRun::solve(const std::string& what, double convergence, int steps, bool keep) {
    petsc::BoundedGaussNewton solver(session_, communicator_, *problem_, own(state_.x),
                                     solver_options(convergence, steps));
    if (state_.iteration > 0 || state_.initial_gradient_norm > 0) {
        petsc::BoundedGaussNewton::State state;
        state.x = own(state_.x);
        state.trust_radius = state_.trust_radius;
        state.initial_gradient_norm = state_.initial_gradient_norm;
        state.iteration = state_.iteration;
        state.reason = static_cast<petsc::StopReason>(state_.reason);
        solver.restore(state);
    }
    for (;;) {
        const auto report = solver.step();
        const auto state = solver.state();
        state_.x = communicator_.allgather(std::span<const double>(state.x));
        state_.trust_radius = state.trust_radius;
        state_.initial_gradient_norm = state.initial_gradient_norm;
        state_.iteration = state.iteration;
        state_.reason = static_cast<int>(state.reason);
        const double rwp = std::sqrt(2 * problem_->last_misfit() / data_squares_);
        // Counted through: the fit is taken up again with other strengths and data.
        if (keep && report.accepted)
            state_.history.push_back({static_cast<int>(state_.history.size()) + 1, report.objective,
                                      problem_->last_misfit(), report.gradient_norm,
                                      report.step_length, rwp, report.linear_iterations});
        if (auto* record = RunRecord::current())
            record->iterate(report.iteration, rwp);
        if (communicator_.is_root())
            fmt::print(stderr,
                       "dlsr: {} {}: objective {:.6e}, Rwp {:.3f} %, gradient {:.2e}, step {:.2e}, "
                       "{} products{}\n",
                       what, report.iteration, report.objective, 100 * rwp, report.gradient_norm,
                       report.step_length, report.linear_iterations,
                       report.rejected_trials > 0
                           ? fmt::format(", {} trials rejected", report.rejected_trials)
                           : "");
        if (keep)
            save();
        if (report.reason != petsc::StopReason::none) {
            stop_reason_ = std::string(petsc::describe(report.reason));
            converged_ = petsc::is_converged(report.reason);
            if (report.reason == petsc::StopReason::non_finite_objective)
                throw Error("dlsr: the fit diverged: the objective is not finite; start from "
                            "better maps or bound the amounts (dlsr.bounded)");
            break;
        }
    }
    // The reason stays: a run resumed after the fit tells how it ended.
    state_.iteration = 0;
    state_.trust_radius = 0;
    state_.initial_gradient_norm = 0;
}

/// Steps and replacements of the data in turn, until neither changes anything.
void DlsrRun::solve_and_replace(const std::string& what, double convergence, int steps) {
    if (!scan_.needs_model()) {
        solve(what, convergence, steps, true);
        return;
    }
    const std::size_t before = state_.history.size();
    for (;;) {
        const auto taken = static_cast<int>(state_.history.size() - before);
        solve(what, convergence, std::clamp(steps - taken, 1, steps_per_pass), true);
        const bool settled = replace_data() < data_tolerance;
        if (settled && converged_)
            return;
        if (static_cast<int>(state_.history.size() - before) >= steps) {
            if (converged_) {
                converged_ = false;
                stop_reason_ = "maximum number of iterations, the replaced data still change";
                state_.reason = static_cast<int>(petsc::StopReason::max_iterations);
            }
            return;
        }
        state_.reason = 0;
    }
}

std::vector<float> DlsrRun::held_out_weight(bool held_out) const {
    auto weight = weight_;
    const std::size_t translations = context_.scan.geometry().translation.size();
    for (std::size_t r = 0; r < weight.size(); ++r) {
        const std::size_t rotation = scan_.rotations().begin + r / translations;
        const bool is_held_out =
            static_cast<long>(rotation) % job_.dlsr.held_out == job_.dlsr.held_out / 2;
        if (is_held_out != held_out)
            weight[r] = 0;
    }
    return weight;
}

/// Squared residual over variance per coefficient of the held-out projections.
double DlsrRun::held_out_misfit(const std::vector<double>& x) {
    const auto weight = held_out_weight(true);
    double rays = 0;
    for (const float w : weight)
        rays += w > 0;
    rays = communicator_.allreduce(rays, mpi::Reduction::sum);
    model_->set_ray_weight(weight);
    problem_->objective(own(x));
    const double misfit = problem_->last_misfit();
    model_->set_ray_weight(held_out_weight(false));
    const double count = std::max(1.0, rays * static_cast<double>(basis_->size()));
    return 2 * misfit / count;
}

/// From a first strength up and down as long as the held-out projections are predicted better.
void DlsrRun::choose_smoothness() {
    model_->set_ray_weight(held_out_weight(false));
    const auto tried = [&](double strength) {
        for (const auto& entry : state_.held_out)
            if (std::abs(entry.smoothness / strength - 1) < 1e-6)
                return true;
        return false;
    };
    const auto less = [](const auto& a, const auto& b) { return a.chi_squared < b.chi_squared; };
    while (static_cast<int>(state_.held_out.size()) < most_strengths) {
        double next = state_.smoothness;
        if (!state_.held_out.empty()) {
            const auto best =
                std::min_element(state_.held_out.begin(), state_.held_out.end(), less);
            next = best->smoothness * smoothness_factor;
            if (tried(next)) {
                next = best->smoothness / smoothness_factor;
            }
            if (tried(next))
                break;
        }
        // Every strength starts from the same point and gets the same work: with more of it the
        // fit follows the noise of the projections that it sees.
        const auto from = state_.x;
        set_smoothness(next);
        linear_limit_ = held_out_products;
        solve(fmt::format("held out, smoothness {:.3g}, step", next), job_.dlsr.convergence, 4,
              false);
        const double chi_squared = held_out_misfit(state_.x);
        state_.x = from;
        linear_limit_ = most_products;
        state_.held_out.push_back({next, chi_squared});
        if (communicator_.is_root())
            fmt::print(stderr, "dlsr: smoothness {:.3g}: {:.6f} per held-out coefficient\n", next,
                       chi_squared);
        save();
    }
    const auto best = std::min_element(state_.held_out.begin(), state_.held_out.end(), less);
    set_smoothness(best->smoothness);
    model_->set_ray_weight(weight_);
}

void DlsrRun::fit() {
    const bool choose = !job_.dlsr.smoothness && has_smooth_fields();
    const int steps = static_cast<int>(job_.dlsr.max_iterations);
    if (state_.phase == "fit" && !choose)
        state_.phase = "final";
    if (state_.phase == "fit") {
        set_smoothness(first_smoothness);
        solve_and_replace("step", 2e-2, std::min(steps, 2));
        state_.phase = "held-out";
        timings_.lap("fit");
    }
    if (state_.phase == "held-out") {
        choose_smoothness();
        state_.phase = "final";
        timings_.lap("smoothness");
    }
    if (state_.phase == "final") {
        set_smoothness(choose ? state_.smoothness : job_.dlsr.smoothness.value_or(0));
        solve_and_replace(choose ? "last step" : "step", job_.dlsr.convergence, steps);
        state_.phase = "errors";
        timings_.lap("fit");
    }
    set_smoothness(state_.smoothness);
}

void DlsrRun::errors() {
    const int samples = static_cast<int>(job_.dlsr.error_samples);
    if (samples == 0)
        return;
    // Unknowns at their bounds stay there.
    const auto x = own(state_.x);
    std::vector<double> lower(x.size()), upper(x.size()), gradient(x.size());
    problem_->bounds(lower, upper);
    petsc::BoundedGaussNewton solver(session_, communicator_, *problem_, x,
                                     solver_options(job_.dlsr.convergence, 1));
    problem_->objective_and_gradient(x, gradient);
    problem_->linearise(x);
    std::vector<std::uint8_t> held(x.size(), 0);
    for (std::size_t i = 0; i < x.size(); ++i)
        held[i] = (x[i] <= lower[i] + 1e-9 && gradient[i] > 0) ||
                  (x[i] >= upper[i] - 1e-9 && gradient[i] < 0);
    if (state_.error_squares.size() != state_.x.size()) {
        state_.error_squares.assign(state_.x.size(), 0.0);
        state_.error_samples = 0;
    }
    Progress progress("dlsr: e.s.d.", static_cast<std::size_t>(samples), communicator_.is_root());
    petsc::LinearSolveOptions linear;
    linear.tolerance = 0.05;
    linear.max_iterations = 40;
    for (; state_.error_samples < samples; ++state_.error_samples) {
        const auto noise = communicator_.collectively([&] {
            return scan_.noise(*basis_, weight_,
                               static_cast<std::uint64_t>(state_.error_samples) + 1);
        });
        const auto right = problem_->back_project(noise);
        std::vector<double> change(x.size());
        solver.solve_linear(right, change, held, linear);
        const auto all = communicator_.allgather(std::span<const double>(change));
        for (std::size_t i = 0; i < all.size(); ++i)
            state_.error_squares[i] += all[i] * all[i];
        progress.update(static_cast<std::size_t>(state_.error_samples) + 1);
        ++state_.error_samples;
        save();
        --state_.error_samples;
    }
    progress.finish(fmt::format("{} samples of noise", samples));
    const auto expected = problem_->block_variances();
    esd_.assign(state_.x.size(), 0.0);
    for (std::size_t f = 0; f <= setup_.fields.size(); ++f) {
        const auto range = problem_->field_unknowns(f);
        const bool voxels =
            f < setup_.fields.size() && setup_.fields[f].field.treatment == FieldTreatment::voxel;
        if (!voxels) {
            for (std::size_t i = range.begin; i < range.end; ++i)
                esd_[i] = std::sqrt(state_.error_squares[i] / samples);
            continue;
        }
        std::vector<double> squares, block;
        for (std::size_t i = range.begin; i < range.end; ++i) {
            squares.push_back(state_.error_squares[i] / samples);
            // An unknown that is held has no sample.
            block.push_back(state_.error_squares[i] > 0 ? expected[i] : 0);
        }
        const auto variance = smoothed_variance(
            squares, block, model_->pixels(setup_.fields[f].field.part), grid_.n, error_window);
        for (std::size_t i = range.begin; i < range.end; ++i)
            esd_[i] = block[i - range.begin] > 0 ? std::sqrt(variance[i - range.begin]) : nan_value;
    }
    timings_.lap("errors");
}

void DlsrRun::resolutions() {
    if (job_.dlsr.resolution_products == 0)
        return;
    const auto x = own(state_.x);
    petsc::BoundedGaussNewton solver(session_, communicator_, *problem_, x,
                                     solver_options(job_.dlsr.convergence, 1));
    const auto found = find_resolutions(communicator_, *problem_, solver, x, setup_, grid_,
                                        static_cast<int>(job_.dlsr.resolution_products));
    resolution_ = found.width;
    timings_.lap("resolution");
    if (!communicator_.is_root())
        return;
    fmt::print(stderr, "dlsr: effective resolution (FWHM):");
    for (std::size_t f = 0; f < setup_.fields.size(); ++f)
        if (setup_.fields[f].field.shape >= 0 && resolution_[f] > 0)
            fmt::print(stderr, " {} {} {:.3g} mm,", setup_.fields[f].quantity.group,
                       setup_.fields[f].quantity.name, resolution_[f]);
    fmt::print(stderr, " in {} products\n", found.products);
}

DlsrResult DlsrRun::result() {
    DlsrResult result;
    const auto values = problem_->values(own(state_.x));
    communicator_.collectively([&] { model_->set_point(values, true); });
    model_->set_ray_weight(weight_);
    const std::vector<double> globals(
        values.begin() + static_cast<std::ptrdiff_t>(model_->global_offset()), values.end());
    result.model = basis_->model_at(globals);
    scan_.diagnose(*model_, result.model, values, weight_, result);
    timings_.lap("diagnostics");
    result.n = grid_.n;
    result.x = conventional_.x;
    result.sample = conventional_.sample;
    for (const auto& phase : conventional_.phases)
        result.masks.push_back(phase.mask);
    for (std::size_t f = 0; f < setup_.fields.size(); ++f) {
        const auto& field = setup_.fields[f];
        const auto& pixels = model_->pixels(field.field.part);
        const std::size_t first = model_->offset(field.field.part, field.field.shape);
        DlsrResult::Map map;
        map.quantity = field.quantity;
        map.values.assign(grid_.size(), nan_value);
        for (std::size_t v = 0; v < pixels.size(); ++v)
            map.values[pixels[v]] = values[first + v];
        if (!esd_.empty() && field.field.treatment != FieldTreatment::fixed) {
            map.errors.assign(grid_.size(), nan_value);
            const std::size_t unknown = problem_->field_unknowns(f).begin;
            for (std::size_t v = 0; v < pixels.size(); ++v)
                map.errors[pixels[v]] = field.field.treatment == FieldTreatment::voxel
                                            ? esd_[unknown + v] * field.field.unit
                                            : esd_[unknown] * field.start[pixels[v]];
        }
        map.smoothness = field.field.shape >= 0 ? state_.smoothness : field.field.smoothness;
        map.resolution = resolution_.empty() ? 0 : resolution_[f];
        result.maps.push_back(std::move(map));
    }
    const auto range = problem_->field_unknowns(setup_.fields.size());
    for (std::size_t g = 0; g < setup_.globals.size(); ++g) {
        const auto& global = setup_.globals[g];
        const double margin = 1e-6 * global.unit;
        result.globals.push_back(
            {setup_.global_quantities[g], globals[g],
             esd_.empty() ? nan_value : esd_[range.begin + g] * global.unit,
             globals[g] <= global.lower + margin || globals[g] >= global.upper - margin});
    }
    result.history = state_.history;
    result.held_out = state_.held_out;
    result.stop_reason = stop_reason_;
    result.converged = converged_;
    if (scan_.needs_model()) {
        const auto& counts = scan_.counts();
        result.masked = counts.masked / counts.samples;
        result.outlying = counts.outlying / counts.samples;
        if (counts.masked > 0)
            remarks_.push_back(fmt::format("{:.3g} % of the samples of the rays and channels in "
                                           "use are masked",
                                           100 * result.masked));
        if (job_.dlsr.loss == "huber")
            remarks_.push_back(fmt::format("{:.3g} % of the samples lie beyond {:.3g} standard "
                                           "deviations",
                                           100 * result.outlying,
                                           job_.dlsr.threshold * scan_.residual_scale()));
    }
    result.remarks = remarks_;
    return result;
}

} // namespace

StageSummary run_dlsr_stage(StageContext& context) {
    Timings timings;
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, "dlsr");
    DlsrRun run(context, timings);
    run.prepare();
    run.check_senses();
    run.fit();
    run.errors();
    run.resolutions();
    const auto result = run.result();
    std::optional<double> constant;
    if (job.absorption.method != "none")
        constant = communicator.collectively([&]() -> std::optional<double> {
            if (!std::filesystem::exists(product_path(job, "absorption")))
                return {};
            return read_absorption_product(job).constant;
        });
    communicator.collectively([&] {
        if (!communicator.is_root())
            return;
        auto product = mpi::ProductFile::create(path, context.options.force
                                                          ? mpi::ProductFile::Existing::replace
                                                          : mpi::ProductFile::Existing::refuse);
        {
            auto stage = write_provenance(product.root(), context.provenance, job.title);
            write_dlsr_result(stage, result, constant);
            timings.lap("write");
            write_timings(stage, timings);
        }
        product.commit();
    });
    run.remove_checkpoint();
    for (const auto& remark : result.remarks)
        context.notes.push_back("dlsr: " + remark);
    if (!result.converged)
        context.notes.push_back("dlsr: the fit did not converge: " + result.stop_reason);
    return {"dlsr",
            path,
            false,
            timings.total(),
            timings.parts(),
            {{"unknowns", static_cast<double>(run.unknowns())},
             {"steps", static_cast<double>(result.history.size())},
             {"rwp", result.rwp},
             {"gof", result.gof},
             {"smoothness", run.chosen_smoothness()}}};
}

} // namespace xrdct
