#include "solvers/voxels/global_widths.hpp"

#include "base/error.hpp"
#include "mpi/comm/node_team.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace xrdct::voxels {

namespace {

/// The variable in which χ² is nearly a parabola and no broadening is 0.
double to_variable(GlobalWidth::Kind kind, double value) {
    switch (kind) {
    case GlobalWidth::Kind::size:
        return 1 / value;
    case GlobalWidth::Kind::gauss_microstrain:
        return value * value;
    case GlobalWidth::Kind::microstrain:
        break;
    }
    return value;
}

double from_variable(GlobalWidth::Kind kind, double variable) {
    switch (kind) {
    case GlobalWidth::Kind::size:
        return variable > 0 ? 1 / variable : rietveld::infinite_size;
    case GlobalWidth::Kind::gauss_microstrain:
        return std::sqrt(variable);
    case GlobalWidth::Kind::microstrain:
        break;
    }
    return variable;
}

rietveld::Parameter& parameter_of(rietveld::PatternModel& model, const GlobalWidth& width) {
    auto& phase = model.phases.at(width.phase);
    switch (width.kind) {
    case GlobalWidth::Kind::size:
        return phase.size;
    case GlobalWidth::Kind::gauss_microstrain:
        return phase.gauss_microstrain;
    case GlobalWidth::Kind::microstrain:
        break;
    }
    return phase.microstrain;
}

/// χ² of all patterns, each at the minimum of its own parameters.
class Objective {
  public:
    Objective(const mpi::Communicator& communicator, const rietveld::RadialAxis& axis,
              const rietveld::VoxelFitOptions& options, std::span<const PatternTile> own)
        : communicator_(communicator), axis_(axis), options_(options), own_(own),
          team_(communicator) {}

    /// Collective.
    double operator()(const rietveld::PatternModel& model) {
        double sum = 0;
        communicator_.collectively([&] {
            if (!first_)
                first_.emplace(axis_, model, options_, team_);
            const rietveld::VoxelFitter fitter(*first_, model, team_);
            rietveld::VoxelFitter::Workspace workspace(fitter);
            rietveld::VoxelFit fit;
            const std::size_t n = fitter.channel_count(), phases = model.phases.size();
            for (const auto& tile : own_)
                for (std::size_t i = 0; i < tile.voxels.size(); ++i) {
                    const std::span<const float> y(tile.intensity.data() + i * n, n);
                    std::span<const float> v;
                    if (!tile.variance.empty())
                        v = {tile.variance.data() + (tile.variance.size() == n ? 0 : i * n), n};
                    std::span<const unsigned char> present;
                    if (!tile.present.empty())
                        present = {tile.present.data() + i * phases, phases};
                    fitter.fit(y, v, workspace, fit, present);
                    // Without variances the weighted squares are all there is.
                    const double size = v.empty() ? fit.rwp : fit.gof;
                    if (std::isfinite(size))
                        sum += size * size;
                }
        });
        ++evaluations_;
        return communicator_.allreduce(sum, mpi::Reduction::sum) *
               static_cast<double>(axis_.size());
    }
    int evaluations() const { return evaluations_; }

  private:
    const mpi::Communicator& communicator_;
    const rietveld::RadialAxis& axis_;
    const rietveld::VoxelFitOptions& options_;
    std::span<const PatternTile> own_;
    mpi::NodeTeam team_;
    std::optional<rietveld::VoxelFitter> first_;
    int evaluations_ = 0;
};

/// Three places with their χ² about a minimum; the outer ones may coincide with x at a bound.
struct Bracket {
    double x, best, lower, upper, f_lower, f_upper;
};

/// Downhill until the minimum is enclosed or a bound is met.
template <typename At>
void enclose(Bracket& bracket, double lowest, double highest, const At& at) {
    auto& [x, best, lower, upper, f_lower, f_upper] = bracket;
    for (int move = 0; move < 8; ++move) {
        if (f_upper < best && f_upper <= f_lower) {
            const double stride = 2 * (upper - x);
            lower = x, f_lower = best, x = upper, best = f_upper;
            upper = std::min(highest, x + stride);
            f_upper = upper > x ? at(upper) : best;
        } else if (f_lower < best) {
            const double stride = 2 * (x - lower);
            upper = x, f_upper = best, x = lower, best = f_lower;
            lower = std::max(lowest, x - stride);
            f_lower = lower < x ? at(lower) : best;
        } else {
            break;
        }
    }
}

/// Cuts the larger part of the bracket, by the vertex of the parabola if it lies well inside, else
/// in the golden section; `curvature` is that of the last parabola.
template <typename At>
void narrow(Bracket& bracket, double& curvature, const At& at) {
    auto& [x, best, lower, upper, f_lower, f_upper] = bracket;
    for (int cut = 0; cut < 6 && upper > lower; ++cut) {
        double next = upper - x > x - lower ? x + 0.382 * (upper - x) : x - 0.382 * (x - lower);
        if (lower < x && x < upper) {
            const double left = (best - f_lower) / (x - lower),
                         right = (f_upper - best) / (upper - x);
            curvature = 2 * (right - left) / (upper - lower);
            if (curvature > 0) {
                const double vertex = 0.5 * (x + lower) - left / curvature;
                // A change of χ² by less than a tenth says nothing.
                if (0.5 * curvature * (vertex - x) * (vertex - x) < 0.1 && cut > 1)
                    break;
                if (vertex > lower + 0.02 * (upper - lower) &&
                    vertex < upper - 0.02 * (upper - lower) &&
                    std::abs(vertex - x) > 1e-3 * (upper - lower))
                    next = vertex;
            }
        }
        const double value = at(next);
        if (value < best) {
            (next > x ? lower : upper) = x;
            (next > x ? f_lower : f_upper) = best;
            x = next;
            best = value;
        } else {
            (next > x ? upper : lower) = next;
            (next > x ? f_upper : f_lower) = value;
        }
    }
}

/// First step along a width, in its variable.
double first_step(const GlobalWidth& width, double value) {
    const double min_size = 1.0 / 3000, min_strain = 5e-4;
    const double floor = width.kind == GlobalWidth::Kind::size ? min_size
                         : width.kind == GlobalWidth::Kind::gauss_microstrain
                             ? min_strain * min_strain
                             : min_strain;
    return 0.4 * std::max(to_variable(width.kind, value), floor);
}

/// Minimises χ², now `current`, along one width of the model. Collective.
void minimise_along(const GlobalWidth& width, rietveld::PatternModel& model, Objective& objective,
                    double& step, double& curvature, double& current) {
    const auto kind = width.kind;
    auto& parameter = parameter_of(model, width);
    const double lowest = kind == GlobalWidth::Kind::size ? 0 : to_variable(kind, parameter.lower);
    const double highest =
        to_variable(kind, kind == GlobalWidth::Kind::size ? parameter.lower : parameter.upper);
    const auto at = [&](double variable) {
        parameter.value = from_variable(kind, variable);
        return objective(model);
    };
    const double x = to_variable(kind, parameter.value);
    Bracket bracket{x, current, std::max(lowest, x - step), std::min(highest, x + step), 0, 0};
    bracket.f_lower = bracket.lower < x ? at(bracket.lower) : current;
    bracket.f_upper = bracket.upper > x ? at(bracket.upper) : current;
    enclose(bracket, lowest, highest, at);
    narrow(bracket, curvature, at);
    parameter.value = from_variable(kind, bracket.x);
    current = bracket.best;
    if (curvature > 0)
        step = std::clamp(4 * std::sqrt(2 / curvature), 0.05 * step, step);
}

} // namespace

GlobalWidthsResult
refine_global_widths(const mpi::Communicator& communicator, const rietveld::RadialAxis& axis,
                     const rietveld::PatternModel& start, const rietveld::VoxelFitOptions& options,
                     const std::vector<GlobalWidth>& widths, std::span<const PatternTile> own) {
    GlobalWidthsResult result;
    result.model = start;
    std::size_t patterns = 0;
    for (const auto& tile : own)
        patterns += tile.voxels.size();
    result.patterns = static_cast<std::size_t>(
        communicator.allreduce(static_cast<std::int64_t>(patterns), mpi::Reduction::sum));
    Objective objective(communicator, axis, options, own);
    double current = objective(result.model);
    result.chi_squared_before = current;
    std::vector<double> step(widths.size()), curvature(widths.size(), 0.0);
    for (std::size_t i = 0; i < widths.size(); ++i)
        step[i] = first_step(widths[i], parameter_of(result.model, widths[i]).value);
    for (int round = 0; round < 3 && result.patterns > 0; ++round) {
        const double before = current;
        for (std::size_t i = 0; i < widths.size(); ++i)
            minimise_along(widths[i], result.model, objective, step[i], curvature[i], current);
        // What one width gains by another's change shows in a second round.
        if (widths.size() < 2 || before - current < 1)
            break;
    }
    result.chi_squared = current;
    result.evaluations = objective.evaluations();
    for (std::size_t i = 0; i < widths.size(); ++i) {
        const auto kind = widths[i].kind;
        const double value = parameter_of(result.model, widths[i]).value;
        const double esd = curvature[i] > 0 ? std::sqrt(2 / curvature[i]) : 0;
        const double variable = to_variable(kind, value);
        result.values.push_back(value);
        result.esd.push_back(esd > 0 ? std::abs(from_variable(kind, variable + esd) - value)
                                     : std::numeric_limits<double>::quiet_NaN());
    }
    return result;
}

} // namespace xrdct::voxels
