#include "base/error.hpp"
#include "jobs/dlsr_checkpoint.hpp"
#include "jobs/dlsr_exit_ray.hpp"
#include "jobs/dlsr_geometry.hpp"
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
#include "solvers/petsc/unknown_estimate.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numbers>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct {

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
/// Distance of layers in standard deviations of the narrowest line.
constexpr double layer_spacing = 0.2;
/// First strength of the smoothness that is tried, the strongest one too, and the factor between
/// strengths. Stronger ones leave so few independent values that samples of noise do not tell their
/// e.s.d.
constexpr double first_smoothness = 8, smoothness_factor = 3;
constexpr int most_strengths = 7;
/// Steps with a strength that is tried, where they are cut short.
constexpr int most_cut_steps = 4;
/// Products with the Gauss-Newton matrix in a step.
constexpr int most_products = 30;
/// Part of the patterns' derivatives that the products may leave out: steps correct it.
constexpr double product_tolerance = 0.05;
/// Steps between two replacements of masked and outlying samples, and the change of the data
/// (standard deviations per unknown) that ends them.
constexpr int steps_per_pass = 2;
constexpr double data_tolerance = 0.05;
/// Voxels about one whose samples of noise tell its e.s.d. together (Gaussian, σ).
constexpr double error_window = 3;
/// Products for what the maps make of a change of the geometry.
constexpr int geometry_products = 25;
/// Times that the ranges of global shapes are moved after their values.
constexpr int most_moves = 6;
/// Rounds of geometry and maps in turn, and the changes of axis [steps] and distance (relative)
/// that end them.
constexpr int geometry_rounds = 5;
constexpr double axis_settled = 0.01, distance_settled = 2e-4;
/// Ranges of the axis [steps] and of the distance (relative), and what counts as a change of them.
constexpr double axis_range = 2, distance_range = 0.3, axis_unit = 0.02, distance_unit = 0.01;
/// A distance that the data tell worse than this (relative) is not refined.
constexpr double distance_guard = 0.02;
/// Where there is no distance, lines are moved as if it were this [mm].
constexpr double nominal_distance = 1000;
/// Layers that factors of exit rays need at least, and a distance [mm] that makes no parallax.
constexpr std::size_t least_exit_layers = 17;
constexpr double far_away = 1e9;

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

/// The strength that held-out projections choose.
struct StrengthChoice {
    double chosen = 0, best = 0;
    bool best_is_clear = true; ///< better than every other one by more than a standard error
    std::vector<double> best_projections;

    /// Standard error of the mean difference from the best one.
    double error_of(const DlsrResult::HeldOut& entry) const {
        const std::size_t n = std::min(entry.projections.size(), best_projections.size());
        if (n < 2)
            return 0;
        double mean = 0, square = 0;
        for (std::size_t i = 0; i < n; ++i)
            mean += (entry.projections[i] - best_projections[i]) / static_cast<double>(n);
        for (std::size_t i = 0; i < n; ++i)
            square += std::pow(entry.projections[i] - best_projections[i] - mean, 2);
        return std::sqrt(square / static_cast<double>(n * (n - 1)));
    }
};
StrengthChoice choose_strength(const std::vector<DlsrResult::HeldOut>& tried) {
    StrengthChoice choice;
    const auto best =
        std::min_element(tried.begin(), tried.end(), [](const auto& a, const auto& b) {
            return a.chi_squared < b.chi_squared;
        });
    choice.best = choice.chosen = best->smoothness;
    choice.best_projections = best->projections;
    for (const auto& entry : tried) {
        if (entry.smoothness == best->smoothness ||
            entry.chi_squared - best->chi_squared > choice.error_of(entry))
            continue;
        choice.best_is_clear = false;
        choice.chosen = std::max(choice.chosen, entry.smoothness);
    }
    return choice;
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
    void check_geometry();
    void resolutions();
    DlsrResult result();
    double chosen_smoothness() const { return state_.smoothness; }
    double checkpoint_seconds() const { return checkpoint_seconds_; }
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
    std::vector<float> used_weight_; ///< of the rays that the fit sees
    double data_squares_ = 0;        ///< Σ W d² of these
    int passes_ = 0;                 ///< over the data, to replace them
    int moves_ = 0;                  ///< of the ranges of global shapes
    std::string stop_reason_;
    bool converged_ = false;
    double checkpoint_seconds_ = 0; ///< spent on writing checkpoints, waiting included
    bool step_was_cut_ = false;     ///< the last one: trials before it were rejected
    std::vector<std::string> remarks_;
    std::vector<double> resolution_; ///< mm, per field; empty: not determined
    std::vector<double> esd_;        ///< of all unknowns, in their units; empty: none
    DepthLayers layers_;
    PatternBasisOptions basis_options_;
    std::vector<double> channel_weight_, start_values_;
    std::vector<DlsrField> fields_;
    std::unique_ptr<DlsrExitRay> exit_ray_;
    std::vector<float> depth_factors_; ///< [own ray][layer]; empty: 1
    bool parallax_ = false, resumed_ = false;
    std::vector<GeometryParameter> geometry_parameters_;
    std::vector<DlsrGlobal> globals_; ///< shapes, then the geometry's
    std::vector<std::size_t> standards_;
    DlsrGeometry geometry_;

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
    void build_model();
    void build_model_at(const std::vector<double>& values);
    std::vector<double> global_values() const;
    bool move_ranges();
    std::optional<DlsrCheckpoint> earlier_state() const;
    RadialAxis radial_axis() const {
        return RadialAxis::from_two_theta(context_.scan.two_theta(), context_.scan.wavelength());
    }
    double model_distance() const {
        return parallax_ ? context_.scan.geometry().distance : nominal_distance;
    }
    std::size_t geometry_unknown(GeometryParameter parameter) const;
    void hold_geometry(DlsrProblem& problem) const;
    petsc::UnknownEstimate estimate(GeometryParameter parameter);
    void refine_geometry(GeometryParameter parameter, const petsc::UnknownEstimate& first,
                         double small);
    RadialScale radial_scale(const std::vector<double>& values,
                             const std::vector<double>& unknown_esd) const;
    void settle_geometry();
    std::vector<float> summed_sinogram() const;
    std::vector<float> held_out_weight(bool held_out) const;
    DlsrResult::HeldOut judge(double strength);
    void use_rays(std::vector<float> weight);
    petsc::BoundedGaussNewtonOptions solver_options(double convergence, int steps) const;
    enum class Stop { finished, range_left };
    Stop take_steps(const std::string& what, double convergence, int steps, bool keep);
    void solve(const std::string& what, double convergence, int steps, bool keep);
    void solve_and_replace(const std::string& what, double convergence, int steps);
    double replace_data();
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
    standards_ = communicator_.collectively([&] {
        auto standards = radial_standards(setup_, job_.dlsr.standards);
        if (job_.dlsr.radial_scale == "metals" && standards.empty())
            throw Error("dlsr.radial_scale is \"metals\", but no phase of the model is a standard: "
                        "one of a single element with cell = \"global\", or named in "
                        "dlsr.standards");
        return standards;
    });
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
    const auto axis = communicator_.collectively([&] { return radial_axis(); });
    const bool deviated = job_.dlsr.exit_ray == "deviated";
    std::size_t layers =
        parallax_ ? layers_for(job_.dlsr, axis, setup_.model, half_depth, distance) : 1;
    if (deviated)
        layers = job_.dlsr.layers > 0 ? static_cast<std::size_t>(job_.dlsr.layers)
                                      : std::max(layers, least_exit_layers);
    layers_ = DepthLayers::across(parallax_ || deviated ? half_depth : 0, layers);
    basis_options_.tolerance = job_.dlsr.tolerance;
    basis_options_.layers = layers_.count;
    basis_options_.depth_first = layers_.first;
    basis_options_.depth_spacing = layers_.spacing;
    basis_options_.distance = parallax_ ? distance : deviated ? far_away : 0;
    channel_weight_ = weights.channel_weight();
    if (deviated) {
        communicator_.collectively([&] {
            exit_ray_ =
                std::make_unique<DlsrExitRay>(context_, axis, setup_.model, channel_weight_);
            depth_factors_ = exit_ray_->factors(scan_.geometry(), layers_);
        });
        remarks_.push_back(exit_ray_->describe(communicator_, depth_factors_, weight_));
        if (communicator_.is_root())
            fmt::print(stderr, "dlsr: {}\n", remarks_.back());
        timings_.lap("exit rays");
    }
    geometry_parameters_ = {GeometryParameter::axis_offset};
    if (parallax_)
        geometry_parameters_.push_back(GeometryParameter::distance);
    state_.settings = context_.provenance.settings;
    state_.inputs = nlohmann::json(context_.provenance.inputs).dump();
    auto found = earlier_state();
    if (found && found->radial_scale != 1) {
        state_.radial_scale = found->radial_scale;
        apply_radial_scale(setup_, state_.radial_scale, model_distance());
    }
    build_model();

    // Where an earlier run stopped.
    state_.x = communicator_.allgather(std::span<const double>(problem_->start()));
    if (communicator_.is_root())
        fmt::print(
            stderr,
            "dlsr: {} unknowns; {:.0f} rays of {} channels as {} coefficients, {} layers as {} "
            "packed functions\n",
            problem_->size(), kept, scan.n_channel(), basis_->size(), layers_.count,
            model_->packed_size());
    communicator_.collectively([&] {
        if (!found || found->x.size() == state_.x.size())
            return;
        if (!context_.options.force)
            throw Error(fmt::format("{}: is of another job or of other settings; --force starts "
                                    "over",
                                    checkpoint_path_.string()));
        found.reset();
    });
    if (found) {
        state_ = std::move(*found);
        resumed_ = true;
        if (!state_.ranges.start.empty()) {
            const auto values = problem_->values(own(state_.x));
            set_global_ranges(setup_, state_.ranges);
            build_model_at(values);
        }
        hold_geometry(*problem_);
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

/// Where an earlier run of the same job stopped. Collective.
std::optional<DlsrCheckpoint> DlsrRun::earlier_state() const {
    return communicator_.collectively([&]() -> std::optional<DlsrCheckpoint> {
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
        if (earlier->settings != state_.settings || earlier->inputs != state_.inputs) {
            if (context_.options.force)
                return {};
            throw Error(fmt::format("{}: is of another job or of other settings; --force starts "
                                    "over",
                                    checkpoint_path_.string()));
        }
        return earlier;
    });
}

/// Patterns, data, operator and problem of the setup.
void DlsrRun::build_model() {
    const auto& scan = context_.scan;
    const auto& transmission = scan_.transmission();
    problem_.reset();
    model_.reset();
    basis_ = communicator_.collectively([&] {
        return std::make_unique<PatternBasis>(radial_axis(), setup_.model, setup_.parts,
                                              channel_weight_, basis_options_);
    });
    timings_.lap("basis");
    data_ = communicator_.collectively([&] { return scan_.compress(*basis_, weight_); });
    timings_.lap("compress");
    model_ = communicator_.collectively([&] {
        auto model = std::make_unique<DlsrOperator>(scan_.geometry(), grid_, *basis_, layers_,
                                                    setup_.pixels, weight_, transmission,
                                                    geometry_parameters_, setup_.layer_centre);
        model->set_depth_factors(depth_factors_);
        return model;
    });
    auto& start = start_values_;
    start.assign(model_->value_count(), 0.0);
    fields_.clear();
    for (const auto& field : setup_.fields) {
        fields_.push_back(field.field);
        const auto& pixels = model_->pixels(field.field.part);
        const std::size_t first = model_->offset(field.field.part, field.field.shape);
        for (std::size_t v = 0; v < pixels.size(); ++v)
            start[first + v] = field.start[pixels[v]];
    }
    for (std::size_t g = 0; g < basis_->global_count(); ++g)
        start[model_->global_offset() + g] = basis_->start_globals()[g];
    globals_ = setup_.globals;
    const double step = std::abs(scan.geometry().step());
    globals_.push_back({-axis_range * step, axis_range * step, axis_unit * step});
    if (parallax_)
        globals_.push_back({-distance_range, distance_range, distance_unit});
    problem_ = std::make_unique<DlsrProblem>(communicator_, *model_, grid_, scan.geometry(), data_,
                                             fields_, globals_, start);
    problem_->set_product_tolerance(product_tolerance);
    hold_geometry(*problem_);
    use_rays(used_weight_.empty() ? weight_ : used_weight_);
    // Functions of the depth are chosen at the first point: the start, wherever the fit stands.
    problem_->objective(problem_->start());
    timings_.lap("prepare");
}

/// The setup has changed: the model is built again, and stands at `values` (in the operator's
/// order).
void DlsrRun::build_model_at(const std::vector<double>& values) {
    build_model();
    state_.x = communicator_.allgather(problem_->unknowns(values));
    set_smoothness(state_.smoothness);
}

/// Of the global shapes at the state's x.
std::vector<double> DlsrRun::global_values() const {
    const std::size_t first = problem_->field_unknowns(setup_.fields.size()).begin;
    std::vector<double> values;
    for (std::size_t g = 0; g < setup_.globals.size(); ++g)
        values.push_back(state_.x[first + g] * globals_[g].unit);
    return values;
}

/// Global shapes at the end of the range for which patterns are tabulated get another range.
bool DlsrRun::move_ranges() {
    const auto ranges = moved_ranges(setup_, global_values());
    if (!ranges || moves_++ >= most_moves)
        return false;
    const auto values = problem_->values(own(state_.x));
    if (communicator_.is_root())
        for (std::size_t g = 0; g < ranges->start.size(); ++g)
            if (ranges->upper[g] != setup_.globals[g].upper)
                fmt::print(stderr, "dlsr: {} {} leaves its range: {:.6g} to {:.6g} from here on\n",
                           setup_.global_quantities[g].group, setup_.global_quantities[g].name,
                           ranges->lower[g], ranges->upper[g]);
    set_global_ranges(setup_, *ranges);
    state_.ranges = *ranges;
    build_model_at(values);
    if (scan_.needs_model())
        replace_data();
    return true;
}

/// Masked samples and those beyond the threshold get what the model at the state's x says. Returns
/// the change of the data per unknown in standard deviations (root mean square), which bounds that
/// of the unknowns.
double DlsrRun::replace_data() {
    std::vector<float> data(data_.size());
    problem_->set_operator_point(own(state_.x), true);
    communicator_.collectively([&] { model_->predict(data); });
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
    use_rays(used_weight_);
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

/// Two steps on some of the projections with depths as they are and with depths reversed, which is
/// what a reversed rotation or translation amounts to (both together mirror the maps only).
void DlsrRun::check_senses() {
    if (!job_.dlsr.check_senses || !parallax_ || resumed_)
        return;
    // Some fifty projections are enough to tell.
    const std::size_t every =
        std::max<std::size_t>(4, context_.scan.geometry().rotation.size() / 50);
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
        DlsrOperator other(scan_.geometry(), grid_, basis, layers_, setup_.pixels, weight_,
                           scan_.transmission(), geometry_parameters_, setup_.layer_centre);
        if (exit_ray_)
            other.set_depth_factors(exit_ray_->factors(scan_.geometry(), layers_, true));
        return other;
    });
    model.set_geometry_columns(false);
    model.set_ray_weight(weight);
    if (model.value_count() != start_values_.size()) {
        remarks_.push_back("the opposite depth sense could not be tried: its patterns need another "
                           "number of values");
        return;
    }
    DlsrProblem problem(communicator_, model, grid_, context_.scan.geometry(), data, fields_,
                        globals_, start_values_);
    hold_geometry(problem);
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
    const auto begin = std::chrono::steady_clock::now();
    communicator_.collectively([&] {
        if (communicator_.is_root())
            write_dlsr_checkpoint(checkpoint_path_, state_);
    });
    checkpoint_seconds_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    stop_if_asked(communicator_);
}

petsc::BoundedGaussNewtonOptions DlsrRun::solver_options(double convergence, int steps) const {
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = steps;
    options.objective_tolerance = convergence;
    options.linear_tolerance = 0.04;
    options.linear_max_iterations = most_products;
    options.objective_noise = 1e-7;
    options.initial_trust_radius = 1e6; // the problem is nearly quadratic: full steps first
    return options;
}

/// Steps from the state's x; `keep`: the steps are those of the history and are saved, and ranges
/// of global shapes follow them.
void DlsrRun::solve(const std::string& what, double convergence, int steps, bool keep) {
    // At the end of a range steps are cut short; the next ones are judged afresh.
    while (take_steps(what, convergence, steps, keep) == Stop::range_left && move_ranges())
        state_.trust_radius = 0;
    // The reason stays: a run resumed after the fit tells how it ended.
    state_.iteration = 0;
    state_.trust_radius = 0;
    state_.initial_gradient_norm = 0;
}

DlsrRun::Stop DlsrRun::take_steps(const std::string& what, double convergence, int steps,
                                  bool keep) {
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
        step_was_cut_ = report.accepted && report.rejected_trials > 0;
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
                       "{} products ({} packed functions){}\n",
                       what, report.iteration, report.objective, 100 * rwp, report.gradient_norm,
                       report.step_length, report.linear_iterations, model_->condensed_size(),
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
            return Stop::finished;
        }
        if (keep && moves_ < most_moves && moved_ranges(setup_, global_values()))
            return Stop::range_left;
    }
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

/// The rays of this weight are those that the fit sees from now on.
void DlsrRun::use_rays(std::vector<float> weight) {
    used_weight_ = std::move(weight);
    model_->set_ray_weight(used_weight_);
    const std::size_t m = basis_->size();
    double sum = 0;
    for (std::size_t r = 0; r < used_weight_.size(); ++r)
        if (used_weight_[r] > 0)
            for (std::size_t i = 0; i < m; ++i)
                sum += static_cast<double>(used_weight_[r]) * data_[r * m + i] * data_[r * m + i];
    data_squares_ = communicator_.allreduce(sum, mpi::Reduction::sum);
}

/// What the held-out projections say of the state's x: squared residual over variance per
/// coefficient, over all and of each of them.
DlsrResult::HeldOut DlsrRun::judge(double strength) {
    const std::size_t all = context_.scan.geometry().rotation.size(),
                      translations = context_.scan.geometry().translation.size();
    const auto weight = held_out_weight(true);
    std::vector<double> sums(2 * all, 0.0);
    problem_->set_operator_point(own(state_.x), false);
    communicator_.collectively([&] {
        model_->set_ray_weight(weight);
        const auto misfits = model_->rotation_misfits(data_);
        for (std::size_t i = 0; i < misfits.size(); ++i) {
            const std::size_t rotation = scan_.rotations().begin + i;
            sums[rotation] = 2 * misfits[i];
            for (std::size_t j = 0; j < translations; ++j)
                sums[all + rotation] += weight[i * translations + j] > 0;
        }
        model_->set_ray_weight(used_weight_);
    });
    communicator_.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    DlsrResult::HeldOut result;
    result.smoothness = strength;
    double total = 0, count = 0;
    for (std::size_t i = 0; i < all; ++i) {
        const double coefficients = sums[all + i] * static_cast<double>(basis_->size());
        if (coefficients == 0)
            continue;
        result.projections.push_back(sums[i] / coefficients);
        total += sums[i];
        count += coefficients;
    }
    result.chi_squared = total / std::max(1.0, count);
    return result;
}

/// The largest strength that predicts the held-out projections no worse than the best one, within
/// one standard error of their differences, projection by projection (the one-standard-error rule
/// of Breiman et al., Classification and Regression Trees, 1984). Strengths are tried from the
/// first one, which is the strongest, downwards as long as they predict better than that.
void DlsrRun::choose_smoothness() {
    auto& held_out = state_.held_out;
    const auto tried = [&](double strength) {
        return std::any_of(held_out.begin(), held_out.end(), [&](const auto& entry) {
            return std::abs(entry.smoothness / strength - 1) < 1e-6;
        });
    };
    std::map<double, std::vector<double>> found; // what is not there any more starts from the state
    const auto judge_and_keep = [&](double strength) {
        held_out.push_back(judge(strength));
        found[strength] = state_.x;
        if (communicator_.is_root())
            fmt::print(stderr, "dlsr: smoothness {:.3g}: {:.6f} per held-out coefficient\n",
                       strength, held_out.back().chi_squared);
    };
    if (held_out.empty()) {
        judge_and_keep(first_smoothness);
        save();
    }
    while (static_cast<int>(held_out.size()) < most_strengths) {
        const auto choice = choose_strength(held_out);
        double from = choice.chosen, next = choice.chosen * smoothness_factor;
        if (next > 1.01 * first_smoothness || tried(next)) {
            from = choice.best;
            next = choice.best / smoothness_factor;
            if (!choice.best_is_clear || tried(next))
                break;
        }
        if (const auto start = found.find(from); start != found.end())
            state_.x = start->second;
        const auto kept = state_.x;
        set_smoothness(next);
        // One step, unless it had to be cut short: what it did not change would count for it.
        int steps = 0;
        do
            solve(fmt::format("held out, smoothness {:.3g}, step", next), job_.dlsr.convergence, 1,
                  false);
        while (step_was_cut_ && ++steps < most_cut_steps);
        judge_and_keep(next);
        state_.x = kept;
        save();
    }
    const auto choice = choose_strength(held_out);
    for (auto& entry : held_out)
        entry.error = choice.error_of(entry);
    if (const auto start = found.find(choice.chosen); start != found.end())
        state_.x = start->second;
    set_smoothness(choice.chosen);
}

void DlsrRun::fit() {
    const bool choose = !job_.dlsr.smoothness && has_smooth_fields();
    const int steps = static_cast<int>(job_.dlsr.max_iterations);
    const bool settle =
        !state_.settled && (job_.dlsr.axis_offset != "fixed" || job_.dlsr.distance == "refine" ||
                            job_.dlsr.radial_scale == "metals");
    // What judges the strength is not seen before it is chosen.
    use_rays(choose && (state_.phase == "fit" || state_.phase == "held-out")
                 ? held_out_weight(false)
                 : weight_);
    if (state_.phase == "fit" && !choose && !settle)
        state_.phase = "final";
    if (state_.phase == "fit") {
        set_smoothness(choose ? first_smoothness : job_.dlsr.smoothness.value_or(0));
        // Strengths are compared from a fit that has settled: the next ones go on from it, and what
        // its steps had left to gain would count for them.
        solve_and_replace("step", choose ? job_.dlsr.convergence : 1e-2,
                          std::min(steps, choose ? 8 : 2));
        timings_.lap("fit");
        if (settle)
            settle_geometry();
        state_.phase = choose ? "held-out" : "final";
        timings_.lap("fit");
    }
    if (state_.phase == "held-out") {
        choose_smoothness();
        state_.phase = "final";
        timings_.lap("smoothness");
    }
    use_rays(weight_);
    if (state_.phase == "final") {
        set_smoothness(choose ? state_.smoothness : job_.dlsr.smoothness.value_or(0));
        solve_and_replace(choose ? "last step" : "step", job_.dlsr.convergence, steps);
        state_.phase = "errors";
        timings_.lap("fit");
    }
    set_smoothness(state_.smoothness);
}

std::size_t DlsrRun::geometry_unknown(GeometryParameter parameter) const {
    const auto at = std::find(geometry_parameters_.begin(), geometry_parameters_.end(), parameter);
    return problem_->field_unknowns(setup_.fields.size()).begin + setup_.globals.size() +
           static_cast<std::size_t>(at - geometry_parameters_.begin());
}

/// Holds the geometry where the state has it.
void DlsrRun::hold_geometry(DlsrProblem& problem) const {
    for (std::size_t g = 0; g < geometry_parameters_.size(); ++g) {
        const std::size_t global = setup_.globals.size() + g,
                          unknown = geometry_unknown(geometry_parameters_[g]);
        const double value =
            state_.x.size() > unknown ? state_.x[unknown] * globals_[global].unit : 0;
        problem.set_global_bounds(global, value, value);
    }
    model_->set_geometry_columns(false);
    problem.forget_point();
}

/// Moves a parameter of the geometry to where the data want it, `first` being the first estimate,
/// and lets the maps follow, in turn: both at once would need a hundred products a step. Few
/// products find a constant part of the change; two estimates tell which. Collective.
void DlsrRun::refine_geometry(GeometryParameter parameter, const petsc::UnknownEstimate& first,
                              double small) {
    const std::size_t unknown = geometry_unknown(parameter);
    const auto& global = globals_[unknown - problem_->field_unknowns(setup_.fields.size()).begin];
    auto found = first;
    double move = first.change, before = 0;
    for (int round = 0; round < geometry_rounds; ++round) {
        state_.x[unknown] =
            std::clamp(state_.x[unknown] * global.unit + move, global.lower, global.upper) /
            global.unit;
        hold_geometry(*problem_);
        solve("step", 2e-2, 2, true);
        before = found.change;
        found = estimate(parameter);
        if (std::abs(found.change) <= small)
            break;
        const double left = found.change / before;
        move = found.change / (1 - std::clamp(left, 0.0, 0.6));
    }
}

/// Change and e.s.d. [mm, relative] from the state's point, with all maps adapting; the e.s.d. is
/// that of the noise times the goodness of fit. Collective.
petsc::UnknownEstimate DlsrRun::estimate(GeometryParameter parameter) {
    const std::size_t unknown = geometry_unknown(parameter);
    model_->set_geometry_columns(true);
    problem_->forget_point();
    petsc::LinearSolveOptions options;
    options.tolerance = 1e-3;
    options.max_iterations = geometry_products;
    auto result = petsc::estimate_unknown(session_, communicator_, *problem_, own(state_.x),
                                          unknown, options);
    double rays = 0;
    for (const float w : used_weight_)
        rays += w > 0;
    rays = communicator_.allreduce(rays, mpi::Reduction::sum);
    const double goodness =
        2 * problem_->last_misfit() / std::max(1.0, rays * static_cast<double>(basis_->size()));
    const double unit =
        globals_[unknown - problem_->field_unknowns(setup_.fields.size()).begin].unit;
    result.change *= unit;
    result.esd *= unit * std::sqrt(std::max(1.0, goodness));
    hold_geometry(*problem_);
    return result;
}

/// `values` in the operator's order, `unknown_esd` of all unknowns or empty.
RadialScale DlsrRun::radial_scale(const std::vector<double>& values,
                                  const std::vector<double>& unknown_esd) const {
    std::vector<double> cells, esds;
    const std::size_t first = problem_->field_unknowns(setup_.fields.size()).begin;
    for (const std::size_t phase : standards_) {
        const std::size_t g = global_cell(setup_, phase);
        cells.push_back(values[model_->global_offset() + g]);
        esds.push_back(unknown_esd.empty() ? nan_value
                                           : unknown_esd[first + g] * setup_.globals[g].unit);
    }
    auto result = compare_standards(setup_, radial_axis(), standards_, cells, esds,
                                    job_.dlsr.standard_uncertainty);
    return result;
}

/// After the first steps: whether the axis is refined, the distance can be, and which radial scale
/// holds. Everything later stands on it.
void DlsrRun::settle_geometry() {
    const auto& settings = job_.dlsr;
    const double step = std::abs(context_.scan.geometry().step());
    const auto tell = [&](const std::string& text) {
        if (communicator_.is_root())
            fmt::print(stderr, "dlsr: {}\n", text);
    };
    bool changed = false;
    if (settings.axis_offset != "fixed") {
        const auto axis = estimate(GeometryParameter::axis_offset);
        state_.axis_change = axis.change;
        state_.axis_esd = axis.esd;
        state_.refine_axis =
            settings.axis_offset == "refine" || axis_matters(axis.change, axis.esd, step);
        tell(
            fmt::format("axis offset: {:+.3f} +- {:.3f} steps from the one given: {} ({} products)",
                        axis.change / step, axis.esd / step,
                        state_.refine_axis ? "refined" : "kept", axis.solve.iterations));
        if (state_.refine_axis) {
            refine_geometry(GeometryParameter::axis_offset, axis, axis_settled * step);
            tell(fmt::format("axis offset: {:+.3f} steps from the one given",
                             state_.x[geometry_unknown(GeometryParameter::axis_offset)] *
                                 axis_unit));
        }
    }
    if (settings.distance == "refine" && parallax_) {
        const auto distance = estimate(GeometryParameter::distance);
        state_.refine_distance = distance.esd < distance_guard;
        tell(fmt::format("distance: {:+.2f} +- {:.2f} % from the one given: {}",
                         100 * distance.change, 100 * distance.esd,
                         state_.refine_distance ? "refined" : "kept"));
        if (state_.refine_distance) {
            refine_geometry(GeometryParameter::distance, distance,
                            std::max(distance.esd, distance_settled));
            tell(fmt::format("distance: {:+.3f} % from the one given",
                             100 * distance_unit *
                                 state_.x[geometry_unknown(GeometryParameter::distance)]));
        } else {
            remarks_.push_back(fmt::format("the distance is kept: the parallax tells it to {:.1f} "
                                           "% only",
                                           100 * distance.esd));
        }
    }
    if (settings.radial_scale == "metals") {
        auto values = problem_->values(own(state_.x));
        std::vector<double> esd;
        problem_->linearise(own(state_.x));
        for (const double variance : problem_->block_variances())
            esd.push_back(std::sqrt(variance));
        const auto scale = radial_scale(values, esd);
        if (scale.agree()) {
            tell(fmt::format("radial scale: {:+.0f} ppm by the standards: corrected",
                             1e6 * (scale.factor - 1)));
            apply_radial_scale(setup_, *model_, scale.factor, values);
            apply_radial_scale(setup_, scale.factor, model_distance());
            state_.radial_scale *= scale.factor;
            if (!state_.ranges.start.empty())
                state_.ranges = global_ranges(setup_);
            build_model_at(values);
            changed = true;
        } else {
            tell("radial scale: the standards do not agree: not corrected");
        }
    }
    state_.settled = true;
    hold_geometry(*problem_);
    timings_.lap("geometry");
    if (changed)
        solve("step", 2e-2, 3, true);
    else
        save();
}

/// Sum over the channels, corrected for absorption, [rotation][translation] of all ranks; NaN where
/// a ray is left out. Collective.
std::vector<float> DlsrRun::summed_sinogram() const {
    const auto& geometry = context_.scan.geometry();
    const std::size_t translations = geometry.translation.size(), m = basis_->size(),
                      first = scan_.rotations().begin * translations;
    std::vector<double> sums(geometry.rotation.size() * translations, 0.0), used(sums.size(), 0.0);
    std::vector<float> pattern(basis_->channel_count());
    for (std::size_t r = 0; r < weight_.size(); ++r) {
        if (!(weight_[r] > 0))
            continue;
        basis_->expand({data_.data() + r * m, m}, pattern);
        for (const float value : pattern)
            if (std::isfinite(value))
                sums[first + r] += value;
        sums[first + r] /= static_cast<double>(scan_.transmission()[r]);
        used[first + r] = 1;
    }
    communicator_.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    communicator_.allreduce(std::span<double>(used), mpi::Reduction::sum);
    std::vector<float> result;
    for (std::size_t i = 0; i < sums.size(); ++i)
        result.push_back(used[i] > 0 ? static_cast<float>(sums[i])
                                     : std::numeric_limits<float>::quiet_NaN());
    return result;
}

/// What the fit says of the geometry in the end.
void DlsrRun::check_geometry() {
    const auto& geometry = context_.scan.geometry();
    geometry_.step = std::abs(geometry.step());
    geometry_.applied_scale = state_.radial_scale;
    const std::size_t globals = problem_->field_unknowns(setup_.fields.size()).begin;
    const auto look = [&](GeometryParameter parameter, bool refined) {
        // What was kept before the last steps is not looked for again.
        const bool known =
            parameter == GeometryParameter::axis_offset && !refined && state_.axis_esd > 0;
        const auto found = known ? petsc::UnknownEstimate{state_.axis_change, state_.axis_esd, {}}
                                 : estimate(parameter);
        const std::size_t unknown = geometry_unknown(parameter);
        GeometryEstimate result;
        result.refined = refined;
        result.found =
            refined ? state_.x[unknown] * globals_[unknown - globals].unit : found.change;
        result.esd = found.esd;
        return result;
    };
    geometry_.axis_offset = look(GeometryParameter::axis_offset, state_.refine_axis);
    geometry_.axis_offset.given = geometry.axis_offset;
    geometry_.axis_offset.found += geometry.axis_offset;
    geometry_.sinogram_axis = sinogram_axis(geometry, summed_sinogram());
    if (parallax_) {
        auto distance = look(GeometryParameter::distance, state_.refine_distance);
        distance.given = geometry.distance;
        distance.found = geometry.distance * (1 + distance.found);
        distance.esd *= geometry.distance;
        geometry_.distance = distance;
    }
    geometry_.radial = radial_scale(problem_->values(own(state_.x)), esd_);
    geometry_.radial.factor *= state_.radial_scale;
    for (auto& standard : geometry_.radial.standards)
        standard.factor *= state_.radial_scale;
    timings_.lap("geometry");
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
    const auto information = problem_->information();
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
        // An unknown that is held has no sample.
        std::vector<double> squares, own;
        for (std::size_t i = range.begin; i < range.end; ++i) {
            squares.push_back(state_.error_squares[i] / samples);
            own.push_back(information[i]);
        }
        const auto variance = smoothed_variance(
            squares, own, model_->pixels(setup_.fields[f].field.part), grid_.n, error_window);
        for (std::size_t i = range.begin; i < range.end; ++i)
            esd_[i] =
                variance[i - range.begin] > 0 ? std::sqrt(variance[i - range.begin]) : nan_value;
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
    problem_->set_operator_point(own(state_.x), true);
    model_->set_ray_weight(weight_);
    const auto globals = global_values();
    result.model = basis_->model_at(globals);
    result.geometry = geometry_;
    scan_.diagnose(*model_, result.model, weight_, result);
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
    for (const auto& remark : geometry_.remarks())
        result.remarks.push_back(remark);
    return result;
}

} // namespace

StageSummary run_dlsr_stage(StageContext& context) {
    Timings timings;
    const auto& job = context.job;
    const auto& communicator = context.communicator;
    const auto path = product_path(job, "dlsr");
    const std::size_t rotations = context.scan.geometry().rotation.size();
    if (static_cast<std::size_t>(communicator.size()) > rotations)
        throw Error(fmt::format("{}: the dlsr stage shares the scan's rotations out over the "
                                "ranks: {} ranks are too many for {} rotations",
                                job.input.file.string(), communicator.size(), rotations));
    DlsrRun run(context, timings);
    run.prepare();
    run.check_senses();
    run.fit();
    run.errors();
    run.check_geometry();
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
             {"smoothness", run.chosen_smoothness()},
             {"checkpoint_seconds", run.checkpoint_seconds()}}};
}

} // namespace xrdct
