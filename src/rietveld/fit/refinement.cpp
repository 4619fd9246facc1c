#include "rietveld/fit/refinement.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "rietveld/fit/cell_search.hpp"
#include "rietveld/fit/least_squares.hpp"
#include "rietveld/model/line_calculator.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

namespace xrdct::rietveld {

std::string_view to_string(FitStatus status) {
    switch (status) {
    case FitStatus::converged:
        return "converged";
    case FitStatus::masked:
        return "masked";
    case FitStatus::no_signal:
        return "no signal";
    case FitStatus::not_converged:
        return "not converged";
    case FitStatus::singular:
        return "singular";
    case FitStatus::at_bound:
        return "at bound";
    }
    return "unknown";
}

Agreement agreement(std::span<const double> observed, std::span<const double> variance,
                    std::span<const double> calculated, std::size_t parameters) {
    Agreement result;
    result.parameters = parameters;
    double difference = 0, sum = 0, weighted = 0;
    for (std::size_t k = 0; k < observed.size(); ++k) {
        const double v = variance.empty() ? 1 : variance[k];
        if (!std::isfinite(observed[k]) || !std::isfinite(v) || v <= 0) {
            continue;
        }
        const double r = observed[k] - calculated[k];
        ++result.observations;
        difference += std::abs(r);
        sum += std::abs(observed[k]);
        result.chi_squared += r * r / v;
        weighted += observed[k] * observed[k] / v;
    }
    const double freedom =
        static_cast<double>(result.observations) - static_cast<double>(parameters);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    result.rp = sum > 0 ? difference / sum : nan;
    result.rwp = weighted > 0 ? std::sqrt(result.chi_squared / weighted) : nan;
    result.rexp = weighted > 0 && freedom > 0 ? std::sqrt(freedom / weighted) : nan;
    result.gof = freedom > 0 ? std::sqrt(result.chi_squared / freedom) : nan;
    return result;
}

std::vector<double> estimate_variance(const RadialAxis& axis, std::span<const double> intensity) {
    const std::size_t n = axis.size();
    if (intensity.size() != n) {
        throw Error(fmt::format("the pattern has {} channels, its axis {}", intensity.size(), n));
    }
    std::size_t finite = 0;
    for (const double value : intensity) {
        finite += std::isfinite(value) ? 1 : 0;
    }
    if (finite < 20) {
        throw Error(fmt::format("{} finite channels are too few to estimate a variance", finite));
    }
    std::vector<double> level(n, 0.0);
    for (std::size_t k = 0; k < n; ++k) {
        double sum = 0;
        int count = 0;
        for (std::size_t i = k > 1 ? k - 2 : 0; i < std::min(k + 3, n); ++i) {
            if (std::isfinite(intensity[i])) {
                sum += std::abs(intensity[i]);
                ++count;
            }
        }
        level[k] = count > 0 ? sum / count : 0;
    }
    // A third difference 1 −3 3 −1 of independent values has 20 times their variance; the median of
    // a squared normal deviate is 0.4549.
    std::vector<double> ratios, levels;
    for (std::size_t k = 0; k + 3 < n; ++k) {
        const double d =
            intensity[k] - 3 * intensity[k + 1] + 3 * intensity[k + 2] - intensity[k + 3];
        const double mean = 0.5 * (level[k + 1] + level[k + 2]);
        if (std::isfinite(d) && mean > 0) {
            ratios.push_back(d * d / 20 / mean);
        }
    }
    for (const double value : level) {
        if (value > 0) {
            levels.push_back(value);
        }
    }
    const double gain = ratios.empty() ? 0 : median(ratios) / 0.4549;
    std::vector<double> variance(n, 0.0);
    if (!(gain > 0)) {
        // Exact or constant data: any constant will do.
        for (std::size_t k = 0; k < n; ++k) {
            variance[k] = std::isfinite(intensity[k]) ? 1 : 0;
        }
        return variance;
    }
    const double floor = std::max(gain * gain, 0.01 * gain * median(levels));
    for (std::size_t k = 0; k < n; ++k) {
        variance[k] = std::isfinite(intensity[k]) ? std::max(gain * level[k], floor) : 0;
    }
    return variance;
}

namespace {

/// Pivot of the normalised normal matrix below which a parameter counts as undetermined.
constexpr double singular_pivot = 1e-10;

enum class Role {
    scale,
    cell,
    broadening,
    displacement_factor,
    position,
    background,
    area,
    peak_shape
};

/// What is refined for a parameter p: p, 1/p (sizes) or p² (Gaussian microstrain), regular at "no
/// broadening".
enum class Scale { plain, inverse, square };

/// A parameter the refinement may change.
struct Free {
    std::size_t index = 0; ///< in list_parameters()
    Role role = Role::scale;
    int phase = -1;
    Scale scale = Scale::plain;
    double lower = -infinity, upper = infinity;

    bool linear() const {
        return role == Role::scale || role == Role::background || role == Role::area;
    }
};

class Refiner {
  public:
    Refiner(const RadialAxis& axis, std::span<const double> intensity,
            std::span<const double> variance, const PatternModel& start,
            const RefinementOptions& options)
        : axis_(axis), intensity_(intensity.begin(), intensity.end()), options_(options),
          model_(start), calculator_(axis, start, refinement_cell_margin(options.cell_search)),
          n_(axis.size()), unit_weights_(variance.empty()) {
        weights_.assign(n_, 0);
        for (std::size_t k = 0; k < n_; ++k) {
            const double v = unit_weights_ ? 1 : variance[k];
            if (std::isfinite(intensity[k]) && std::isfinite(v) && v > 0) {
                weights_[k] = 1 / v;
                ++observations_;
            } else {
                intensity_[k] = 0;
            }
        }
        list_ = list_parameters(model_);
        classify();
        frozen_.assign(model_.phases.size(), false);
        calculated_.assign(n_, 0);
    }

    RefinementResult run();

  private:
    void classify();
    void check_contradictions() const;
    double get(const Free& free) const;
    void set(const Free& free, double value);
    std::vector<std::size_t> select(auto&& wanted) const;
    void evaluate(const std::vector<std::size_t>& active, bool jacobian);
    double chi_squared() const;
    void normal_equations(std::size_t count);
    void solve_linear();
    void update_significance();
    bool optimise(const std::vector<std::size_t>& active);
    void finish(RefinementResult& result, bool converged);
    void phase_results(RefinementResult& result, const std::vector<double>& covariance,
                       const std::vector<int>& place);
    struct LineArea {
        double observed = 0, calculated = 0;
    };
    std::vector<LineArea> partition(std::size_t phase) const;
    double r_bragg(std::size_t phase) const;
    void start_extraction();
    double extract();

    RadialAxis axis_;
    std::vector<double> intensity_, weights_;
    RefinementOptions options_;
    PatternModel model_;
    PatternCalculator calculator_;
    std::size_t n_ = 0;
    bool unit_weights_ = false;
    std::size_t observations_ = 0;
    std::vector<NamedParameter> list_;
    std::vector<Free> free_;
    std::vector<bool> frozen_; ///< phases whose shape parameters rest, being insignificant
    std::vector<double> calculated_, jacobian_;
    Eigen::MatrixXd normal_;
    Eigen::VectorXd gradient_;
    BoundedSolver solver_;
    int iterations_ = 0;
    std::vector<std::string> remarks_;
    std::vector<std::size_t> extracted_; ///< phases with intensities from the pattern
};

void Refiner::classify() {
    std::size_t index = 0;
    const auto add = [&](Role role, int phase, Scale scale = Scale::plain) {
        const Parameter& p = *list_[index].parameter;
        if (p.refine) {
            Free free{index, role, phase, scale, p.lower, p.upper};
            if (scale == Scale::square) {
                free.lower = p.lower > 0 ? p.lower * p.lower : 0;
                free.upper = p.upper * p.upper;
            }
            if (scale == Scale::inverse) {
                free.lower = 1 / p.upper;
                free.upper = p.lower > 0 ? 1 / p.lower : infinity;
            }
            free_.push_back(free);
        }
        ++index;
    };
    for (int i = 0; i < 3; ++i) {
        add(Role::position, -1);
    }
    for (int i = 0; i < 6; ++i) {
        add(Role::broadening, -1);
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        const int phase = static_cast<int>(p);
        add(Role::scale, phase);
        for (std::size_t j = 0; j < model_.phases[p].cell.size(); ++j) {
            add(Role::cell, phase);
        }
        add(Role::broadening, phase, Scale::inverse);
        add(Role::broadening, phase);
        add(Role::broadening, phase, Scale::square);
        add(Role::displacement_factor, phase);
        add(Role::position, phase);
        if (model_.phases[p].depth.refine) {
            free_.back().lower = std::max(free_.back().lower, -0.4 * model_.distance);
            free_.back().upper = std::min(free_.back().upper, 0.4 * model_.distance);
        }
    }
    for (std::size_t i = 0; i < model_.background.size(); ++i) {
        add(Role::background, -1);
    }
    for (std::size_t i = 0; i < model_.peaks.size(); ++i) {
        add(Role::peak_shape, -1);
        add(Role::peak_shape, -1);
        add(Role::peak_shape, -1);
        add(Role::area, -1);
    }
}

void Refiner::check_contradictions() const {
    const auto cell_refined = [](const PhaseModel& phase) {
        return std::any_of(phase.cell.begin(), phase.cell.end(),
                           [](const Parameter& p) { return p.refine; });
    };
    bool depths = false;
    for (const PhaseModel& phase : model_.phases) {
        depths = depths || phase.depth.refine;
        if (phase.depth.refine && cell_refined(phase)) {
            throw Error(fmt::format(
                "phase '{}': its depth and its cell cannot be refined together, both stretch the "
                "pattern of its lines: fix the cell, as of a metal whose cell is known",
                phase.name));
        }
    }
    if (model_.wavelength.refine &&
        std::all_of(model_.phases.begin(), model_.phases.end(), cell_refined)) {
        throw Error(
            "the wavelength and the cells of all phases cannot be refined together: fix the "
            "wavelength, or the cell of one phase (a standard)");
    }
    // A depth may stand for an error of the radial scale: one phase must hold it.
    if (depths && (model_.wavelength.refine || model_.displacement.refine) &&
        std::all_of(model_.phases.begin(), model_.phases.end(), [&](const PhaseModel& phase) {
            return phase.depth.refine || cell_refined(phase);
        })) {
        throw Error(fmt::format(
            "the {} cannot be refined together with the depth or the cell of every phase: fix it, "
            "or the cell and the depth of one phase (a standard)",
            model_.displacement.refine ? "displacement" : "wavelength"));
    }
}

double Refiner::get(const Free& free) const {
    const double value = list_[free.index].parameter->value;
    switch (free.scale) {
    case Scale::inverse:
        return 1 / value;
    case Scale::square:
        return value * value;
    default:
        return value;
    }
}

void Refiner::set(const Free& free, double value) {
    list_[free.index].parameter->value = free.scale == Scale::inverse ? 1 / value
                                         : free.scale == Scale::square
                                             ? std::sqrt(std::max(value, 0.0))
                                             : value;
}

std::vector<std::size_t> Refiner::select(auto&& wanted) const {
    std::vector<std::size_t> active;
    for (std::size_t i = 0; i < free_.size(); ++i) {
        const Free& f = free_[i];
        const bool rests = f.phase >= 0 && frozen_[f.phase] && f.role != Role::scale;
        if (!rests && wanted(f)) {
            active.push_back(i);
        }
    }
    return active;
}

void Refiner::evaluate(const std::vector<std::size_t>& active, bool jacobian) {
    if (!jacobian) {
        calculator_.evaluate(model_, calculated_);
        return;
    }
    std::vector<std::size_t> indices;
    for (const std::size_t i : active) {
        indices.push_back(free_[i].index);
    }
    jacobian_.resize(n_ * active.size());
    calculator_.evaluate(model_, indices, calculated_, jacobian_);
}

double Refiner::chi_squared() const {
    double sum = 0;
    for (std::size_t k = 0; k < n_; ++k) {
        const double r = intensity_[k] - calculated_[k];
        sum += weights_[k] * r * r;
    }
    return sum;
}

void Refiner::normal_equations(std::size_t count) {
    Eigen::VectorXd residual(n_);
    Eigen::VectorXd root(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        root[k] = std::sqrt(weights_[k]);
        residual[k] = weights_[k] > 0 ? (intensity_[k] - calculated_[k]) * root[k] : 0;
    }
    Eigen::Map<Eigen::MatrixXd> jacobian(jacobian_.data(), static_cast<Eigen::Index>(n_),
                                         static_cast<Eigen::Index>(count));
    jacobian = root.asDiagonal() * jacobian;
    normal_.setZero(count, count);
    normal_.selfadjointView<Eigen::Lower>().rankUpdate(jacobian.transpose());
    normal_.triangularView<Eigen::StrictlyUpper>() = normal_.transpose();
    gradient_ = jacobian.transpose() * residual;
}

void Refiner::solve_linear() {
    const auto active = select([](const Free& f) { return f.linear(); });
    if (active.empty()) {
        evaluate({}, false);
        return;
    }
    // With all linear parameters at 0 the pattern holds what is fixed.
    for (const std::size_t i : active) {
        set(free_[i], 0);
    }
    evaluate(active, true);
    normal_equations(active.size());
    const auto count = active.size();
    std::vector<double> lower, upper, x(count);
    std::vector<std::int8_t> state(count, 0);
    for (const std::size_t i : active) {
        lower.push_back(free_[i].lower);
        upper.push_back(free_[i].upper);
    }
    solver_.solve(normal_.data(), static_cast<int>(count), static_cast<int>(count),
                  gradient_.data(), lower.data(), upper.data(), x.data(), state.data());
    for (std::size_t j = 0; j < count; ++j) {
        set(free_[active[j]], x[j]);
    }
    ++iterations_;
}

void Refiner::update_significance() {
    const auto active = select([](const Free& f) { return f.linear(); });
    evaluate(active, true);
    const double freedom =
        std::max(1.0, static_cast<double>(observations_) - static_cast<double>(active.size()));
    double variance = chi_squared() / freedom;
    if (!unit_weights_) {
        variance = std::max(variance, 1.0);
    }
    normal_equations(active.size());
    const auto count = static_cast<int>(active.size());
    SmallCholesky cholesky;
    cholesky.factor(normal_.data(), count, count, singular_pivot);
    std::vector<double> inverse(active.size() * active.size());
    cholesky.invert(inverse.data());
    for (std::size_t j = 0; j < active.size(); ++j) {
        const Free& f = free_[active[j]];
        if (f.role == Role::scale) {
            const double esd = std::sqrt(inverse[j * active.size() + j] * variance);
            const double value = get(f);
            frozen_[f.phase] = !(value > 0 && value > options_.significance * esd);
        }
    }
}

/// Levenberg–Marquardt over the chosen parameters; the trust region is Marquardt's scaled damping,
/// the step solves the bounded quadratic problem.
bool Refiner::optimise(const std::vector<std::size_t>& active) {
    if (active.empty()) {
        evaluate({}, false);
        return true;
    }
    const auto count = active.size();
    double damping = 1e-3;
    evaluate(active, true);
    double chi = chi_squared();
    std::vector<double> lower(count), upper(count), step(count), values(count);
    std::vector<std::int8_t> state(count, 0);
    Eigen::MatrixXd damped;
    for (int iteration = 0; iteration < options_.max_iterations; ++iteration) {
        ++iterations_;
        normal_equations(count);
        for (std::size_t j = 0; j < count; ++j) {
            const Free& f = free_[active[j]];
            values[j] = get(f);
            lower[j] = f.lower - values[j];
            upper[j] = f.upper - values[j];
            if (f.role == Role::cell) {
                const double limit = 0.01 * std::abs(values[j]);
                lower[j] = std::max(lower[j], -limit);
                upper[j] = std::min(upper[j], limit);
            }
        }
        const double freedom =
            std::max(1.0, static_cast<double>(observations_) - static_cast<double>(count));
        bool accepted = false;
        while (!accepted) {
            damped = normal_;
            for (std::size_t j = 0; j < count; ++j) {
                if (!free_[active[j]].linear()) {
                    damped(j, j) *= 1 + damping;
                }
            }
            std::fill(state.begin(), state.end(), std::int8_t{0});
            solver_.solve(damped.data(), static_cast<int>(count), static_cast<int>(count),
                          gradient_.data(), lower.data(), upper.data(), step.data(), state.data(),
                          1e-12);
            const Eigen::Map<const Eigen::VectorXd> delta(step.data(),
                                                          static_cast<Eigen::Index>(count));
            const double predicted = 2 * gradient_.dot(delta) - delta.dot(normal_ * delta);
            for (std::size_t j = 0; j < count; ++j) {
                set(free_[active[j]], values[j] + step[j]);
            }
            const bool small = predicted <= options_.tolerance * chi / freedom;
            evaluate(active, true);
            const double trial = chi_squared();
            if (std::isfinite(trial) && trial <= chi * (1 + 1e-13)) {
                chi = trial;
                damping = std::max(damping * 0.1, 1e-8);
                accepted = true;
                if (small && damping < 1e-2) {
                    return true;
                }
            } else {
                for (std::size_t j = 0; j < count; ++j) {
                    set(free_[active[j]], values[j]);
                }
                damping *= 8;
                if (small || damping > 1e12) {
                    evaluate(active, false);
                    return small || predicted <= 1e3 * options_.tolerance * chi / freedom;
                }
            }
        }
    }
    return false;
}

RefinementResult Refiner::run() {
    check_contradictions();
    RefinementResult result;
    if (observations_ <= free_.size()) {
        result.status = FitStatus::masked;
        result.message =
            fmt::format("{} valid channels for {} parameters", observations_, free_.size());
        result.model = model_;
        const auto nothing = std::vector<double>(n_, nan_value);
        result.calculated = result.background = nothing;
        result.agreement.observations = observations_;
        result.agreement.parameters = free_.size();
        return result;
    }
    const PatternModel original = model_;
    const bool linear_only = options_.max_iterations == 0;
    if (options_.cell_search > 0 && !linear_only) {
        search_cells(calculator_, intensity_, weights_, options_.cell_search, model_);
    }
    solve_linear();
    update_significance();

    if (linear_only) {
        // Nothing else is refined: leave it out of the e.s.d. too.
        std::erase_if(free_, [](const Free& f) { return !f.linear(); });
        finish(result, true);
        return result;
    }
    const auto all = [](const Free&) { return true; };
    if (options_.staged) {
        optimise(select([](const Free& f) { return f.linear() || f.role == Role::cell; }));
        update_significance();
    }
    if (!options_.extract_intensities.empty()) {
        start_extraction();
        constexpr int cycles = 40;
        constexpr double settled = 1e-3;
        const int limit = std::exchange(options_.max_iterations, 2);
        for (int cycle = 0; cycle < cycles; ++cycle) {
            const double change = extract();
            optimise(select(all));
            if (change < settled) {
                break;
            }
        }
        options_.max_iterations = limit;
    }
    if (options_.staged) {
        optimise(select([](const Free& f) {
            return f.linear() || f.role == Role::cell || f.role == Role::broadening ||
                   f.role == Role::peak_shape;
        }));
        update_significance();
    }
    bool converged = optimise(select(all));
    // A phase may become significant, or stop being so, once the others fit.
    for (int round = 0; round < 3; ++round) {
        const auto before = frozen_;
        update_significance();
        if (frozen_ == before) {
            break;
        }
        converged = optimise(select(all));
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        if (frozen_[p]) {
            PhaseModel& phase = model_.phases[p];
            const PhaseModel& initial = original.phases[p];
            bool moved = false;
            for (std::size_t j = 0; j < phase.cell.size(); ++j) {
                moved = moved || phase.cell[j].value != initial.cell[j].value;
                phase.cell[j].value = initial.cell[j].value;
            }
            phase.size.value = initial.size.value;
            phase.microstrain.value = initial.microstrain.value;
            phase.gauss_microstrain.value = initial.gauss_microstrain.value;
            phase.b_overall.value = initial.b_overall.value;
            phase.depth.value = initial.depth.value;
            if (moved) {
                converged = optimise(select(all)) && converged;
            }
        }
    }
    finish(result, converged);
    return result;
}

/// Rietveld's partition: every channel's net intensity is shared among lines as the model shares
/// it. Needs calculated_; lines off the axis get zeros.
std::vector<Refiner::LineArea> Refiner::partition(std::size_t phase) const {
    std::vector<double> background(n_);
    calculator_.evaluate_background(model_, background);
    const LineCalculator lines(
        model_, model_.phases[phase],
        model_.wavelength.value > 0 ? model_.wavelength.value : axis_.wavelength(),
        0.05 * (axis_.edges().back() - axis_.edges().front()) / static_cast<double>(n_));
    ProfileBuffer profile;
    CalculatedLine line;
    const auto& reflections = calculator_.reflections(phase);
    std::vector<LineArea> areas(reflections.size());
    for (std::size_t index = 0; index < reflections.size(); ++index) {
        if (!lines.calculate(reflections[index], line) || line.position < axis_.edges().front() ||
            line.position > axis_.edges().back()) {
            continue;
        }
        // Three FWHM hold the line; the rest of a Lorentzian says more about its neighbours.
        channel_averaged_profile(axis_, line.position, line.profile.fwhm, line.profile.mixing, 3,
                                 false, profile);
        const double amplitude = model_.phases[phase].scale.value *
                                 model_.phases[phase].line_factor(index) * line.intensity;
        for (std::size_t i = 0; i < profile.size(); ++i) {
            const std::size_t k = profile.first + i;
            const double net = calculated_[k] - background[k];
            const double part = amplitude * profile.value[i] * axis_.width(k);
            if (weights_[k] > 0 && net > 0) {
                areas[index].calculated += part;
                areas[index].observed += part * (intensity_[k] - background[k]) / net;
            }
        }
    }
    return areas;
}

double Refiner::r_bragg(std::size_t phase) const {
    double difference = 0, sum = 0;
    for (const LineArea& area : partition(phase)) {
        difference += std::abs(area.observed - area.calculated);
        sum += std::abs(area.observed);
    }
    return sum > 0 ? difference / sum : nan_value;
}

void Refiner::start_extraction() {
    for (const std::string& name : options_.extract_intensities) {
        const std::size_t p = model_.find_phase(name);
        if (frozen_[p]) {
            continue; // nothing to extract from
        }
        extracted_.push_back(p);
        model_.phases[p].line_factors.assign(calculator_.reflections(p).size(), 1.0);
        std::erase_if(free_, [&](const Free& f) {
            return f.phase == static_cast<int>(p) &&
                   (f.role == Role::scale || f.role == Role::displacement_factor);
        });
    }
}

/// One pass of the extraction; returns the sum of the intensities' changes relative to their sum.
double Refiner::extract() {
    double change = 0, sum = 0;
    evaluate({}, false);
    for (const std::size_t p : extracted_) {
        const auto areas = partition(p);
        auto& factors = model_.phases[p].line_factors;
        for (std::size_t i = 0; i < areas.size(); ++i) {
            if (areas[i].calculated > 0) {
                factors[i] *= std::clamp(areas[i].observed / areas[i].calculated, 0.1, 10.0);
                change += std::abs(areas[i].observed - areas[i].calculated);
                sum += std::abs(areas[i].observed);
            }
        }
    }
    return sum > 0 ? change / sum : 0;
}

void Refiner::phase_results(RefinementResult& result, const std::vector<double>& covariance,
                            const std::vector<int>& place) {
    const std::size_t count = result.parameters.size();
    std::vector<double> weight(model_.phases.size());
    double total = 0;
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        const PhaseModel& phase = model_.phases[p];
        weight[p] = phase.phase.cell_mass() * phase.unit_cell().volume();
        total += phase.scale.value * weight[p];
    }
    std::vector<int> scale_place(model_.phases.size(), -1);
    std::vector<std::vector<int>> cell_place(model_.phases.size());
    for (std::size_t i = 0; i < free_.size(); ++i) {
        if (free_[i].role == Role::scale) {
            scale_place[free_[i].phase] = place[i];
        }
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        const PhaseModel& phase = model_.phases[p];
        PhaseResult entry;
        entry.name = phase.name;
        entry.scale = phase.scale.value;
        entry.unit_cell = phase.unit_cell();
        entry.cell_parameters = phase.phase.free_parameters();
        entry.significant = !frozen_[p];
        entry.weight_fraction = total > 0 ? entry.scale * weight[p] / total : nan_value;
        double variance = 0;
        for (std::size_t q = 0; q < model_.phases.size(); ++q) {
            for (std::size_t r = 0; r < model_.phases.size(); ++r) {
                if (scale_place[q] < 0 || scale_place[r] < 0) {
                    continue;
                }
                const auto slope = [&](std::size_t s) {
                    return weight[s] / total * ((s == p ? 1.0 : 0.0) - entry.weight_fraction);
                };
                variance += slope(q) * slope(r) *
                            covariance[static_cast<std::size_t>(scale_place[q]) * count +
                                       static_cast<std::size_t>(scale_place[r])];
            }
        }
        entry.weight_fraction_esd = total > 0 ? std::sqrt(std::max(variance, 0.0)) : nan_value;
        if (scale_place[p] >= 0) {
            entry.scale_esd = result.parameters[scale_place[p]].esd;
        }
        for (const Parameter& parameter : phase.cell) {
            entry.cell.push_back(parameter.value);
            entry.cell_esd.push_back(nan_value);
        }
        for (std::size_t i = 0, j = 0; i < free_.size(); ++i) {
            if (free_[i].role == Role::cell && free_[i].phase == static_cast<int>(p)) {
                while (!phase.cell[j].refine) {
                    ++j;
                }
                if (place[i] >= 0 && !frozen_[p]) {
                    entry.cell_esd[j] = result.parameters[place[i]].esd;
                    entry.cell_refined = true;
                }
                ++j;
            }
        }
        entry.r_bragg = entry.scale > 0 ? r_bragg(p) : nan_value;
        result.phases.push_back(std::move(entry));
    }
}

void Refiner::finish(RefinementResult& result, bool converged) {
    const auto active = select([](const Free&) { return true; });
    evaluate(active, true);
    const std::size_t count = active.size();
    const std::vector<double> calculated = calculated_;
    normal_equations(count);

    std::vector<double> variance(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        variance[k] = weights_[k] > 0 ? 1 / weights_[k] : 0;
    }
    result.agreement = agreement(intensity_, variance, calculated, count);
    double factor = 1;
    if (unit_weights_) {
        factor = result.agreement.gof * result.agreement.gof;
        result.errors_scaled = true;
    } else if (options_.scale_errors && result.agreement.gof > 1) {
        factor = result.agreement.gof * result.agreement.gof;
        result.errors_scaled = true;
    }

    std::vector<std::size_t> inner; // positions in `active` that are not on a bound
    std::vector<bool> bound(count, false);
    for (std::size_t j = 0; j < count; ++j) {
        const Free& f = free_[active[j]];
        const double value = get(f);
        // Outward gradient on a bound: the bound decides, not the data. A vanishing gradient (in
        // e.s.d.) means that the parameter merely came to lie there, as one that the data do not
        // determine does.
        const double pull = gradient_[j] / std::sqrt(std::max(normal_(j, j), 1e-300));
        const double least = 1e-5 * std::max(result.agreement.gof, 1e-6);
        bound[j] = (value <= f.lower && pull <= -least) || (value >= f.upper && pull >= least) ||
                   ((value <= f.lower || value >= f.upper) && normal_(j, j) <= 0);
        if (!bound[j]) {
            inner.push_back(j);
        }
    }
    const std::size_t m = inner.size();
    std::vector<double> reduced(m * m), inverse(m * m), covariance(count * count, 0.0);
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            reduced[i * m + j] = normal_(inner[i], inner[j]);
        }
    }
    SmallCholesky cholesky;
    cholesky.factor(reduced.data(), static_cast<int>(m), static_cast<int>(m), singular_pivot);
    cholesky.invert(inverse.data());
    std::vector<bool> undetermined(count, false);
    for (std::size_t i = 0; i < m; ++i) {
        undetermined[inner[i]] = cholesky.dependent(static_cast<int>(i));
        for (std::size_t j = 0; j < m; ++j) {
            covariance[inner[i] * count + inner[j]] = inverse[i * m + j] * factor;
        }
    }

    std::vector<int> place(free_.size(), -1);
    std::vector<std::string> singular, on_bound;
    bool cell_on_bound = false;
    for (std::size_t j = 0; j < count; ++j) {
        const Free& f = free_[active[j]];
        place[active[j]] = static_cast<int>(j);
        RefinedParameter parameter;
        parameter.name = list_[f.index].name;
        parameter.unit = list_[f.index].unit;
        parameter.value = list_[f.index].parameter->value;
        parameter.at_bound = bound[j];
        double esd = std::sqrt(covariance[j * count + j]);
        if (f.scale == Scale::inverse) {
            esd *= parameter.value * parameter.value;
        } else if (f.scale == Scale::square) {
            esd /= 2 * parameter.value;
        }
        if (bound[j] || undetermined[j]) {
            esd = nan_value;
        }
        parameter.esd = esd;
        if (undetermined[j]) {
            singular.push_back(parameter.name);
        }
        if (bound[j] && f.role != Role::scale && f.role != Role::area) {
            on_bound.push_back(parameter.name);
            cell_on_bound = cell_on_bound || f.role == Role::cell;
        }
        result.parameters.push_back(std::move(parameter));
    }
    result.correlation.assign(count * count, 0.0);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = 0; j < count; ++j) {
            const double norm = std::sqrt(covariance[i * count + i] * covariance[j * count + j]);
            result.correlation[i * count + j] =
                i == j ? 1 : (norm > 0 ? covariance[i * count + j] / norm : 0);
        }
    }

    result.iterations = iterations_;
    result.background.resize(n_);
    calculator_.evaluate_background(model_, result.background);
    result.lines = calculator_.lines(model_);
    std::vector<std::string> insignificant;
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        if (frozen_[p]) {
            insignificant.push_back(model_.phases[p].name);
        }
    }
    calculated_ = calculated;
    phase_results(result, covariance, place);
    result.calculated = calculated;
    result.model = model_;

    if (!insignificant.empty()) {
        remarks_.push_back(fmt::format("not significant, cell and widths left at their start: {}",
                                       fmt::join(insignificant, ", ")));
    }
    if (!singular.empty()) {
        remarks_.push_back(
            fmt::format("not determined by the data: {}", fmt::join(singular, ", ")));
    }
    if (!on_bound.empty()) {
        remarks_.push_back(fmt::format("on a bound: {}", fmt::join(on_bound, ", ")));
    }
    // Zero shift, displacement and wavelength move all lines much as a change of the cells does.
    bool degenerate = false;
    for (std::size_t i = 0; i < count; ++i) {
        if (free_[active[i]].role != Role::position) {
            continue;
        }
        std::vector<std::string> partners;
        for (std::size_t j = 0; j < count; ++j) {
            const Role other = free_[active[j]].role;
            const bool pair = other == Role::cell || (other == Role::position && j > i);
            const double r = result.correlation[i * count + j];
            if (pair && std::abs(r) > 0.95) {
                partners.push_back(fmt::format("'{}' ({:+.4f})", result.parameters[j].name, r));
            }
        }
        if (!partners.empty()) {
            remarks_.push_back(fmt::format("'{}' is nearly degenerate with {} (correlation)",
                                           result.parameters[i].name, fmt::join(partners, ", ")));
            degenerate = true;
        }
    }
    if (degenerate) {
        remarks_.emplace_back(
            "nearly degenerate parameters move the lines alike, so that small faults of the model "
            "decide their values, which may be wrong by far more than their e.s.d.: refine one of "
            "them only, or fix the cell of a standard");
    }
    const bool nothing = !model_.phases.empty() &&
                         std::all_of(frozen_.begin(), frozen_.end(), [](bool f) { return f; });
    if (nothing) {
        result.status = FitStatus::no_signal;
    } else if (!singular.empty()) {
        result.status = FitStatus::singular;
    } else if (!converged) {
        result.status = FitStatus::not_converged;
    } else if (cell_on_bound) {
        result.status = FitStatus::at_bound;
    } else {
        result.status = FitStatus::converged;
    }
    result.message = fmt::format("{}", fmt::join(remarks_, "; "));
}

} // namespace

double refinement_cell_margin(double cell_search) {
    return std::max(0.06, 1.5 * cell_search);
}

RefinementResult refine(const RadialAxis& axis, std::span<const double> intensity,
                        std::span<const double> variance, const PatternModel& start,
                        const RefinementOptions& options) {
    if (intensity.size() != axis.size()) {
        throw Error(
            fmt::format("the pattern has {} channels, its axis {}", intensity.size(), axis.size()));
    }
    if (!variance.empty() && variance.size() != axis.size()) {
        throw Error(
            fmt::format("the variance has {} channels, the axis {}", variance.size(), axis.size()));
    }
    if (options.max_iterations < 0 || !(options.tolerance > 0) || !(options.cell_search >= 0) ||
        options.cell_search > 0.2) {
        throw Error(
            "refinement: max_iterations ≥ 0, tolerance > 0 and cell_search between 0 and 0.2 "
            "are expected");
    }
    return Refiner(axis, intensity, variance, start, options).run();
}

} // namespace xrdct::rietveld
