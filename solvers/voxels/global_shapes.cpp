// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/global_shapes.hpp"

#include "base/error.hpp"
#include "mpi/comm/node_team.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace xrdct::voxels {

namespace {

/// The variable in which χ² is nearly a parabola and no broadening is 0.
double to_variable(GlobalShape::Kind kind, double value) {
    switch (kind) {
    case GlobalShape::Kind::size:
        return 1 / value;
    case GlobalShape::Kind::gauss_microstrain:
        return value * value;
    case GlobalShape::Kind::microstrain:
    case GlobalShape::Kind::cell:
        break;
    }
    return value;
}

double from_variable(GlobalShape::Kind kind, double variable) {
    switch (kind) {
    case GlobalShape::Kind::size:
        return variable > 0 ? 1 / variable : rietveld::infinite_size;
    case GlobalShape::Kind::gauss_microstrain:
        return std::sqrt(variable);
    case GlobalShape::Kind::microstrain:
    case GlobalShape::Kind::cell:
        break;
    }
    return variable;
}

rietveld::Parameter& parameter_of(rietveld::PatternModel& model, const GlobalShape& shape) {
    auto& phase = model.phases.at(shape.phase);
    switch (shape.kind) {
    case GlobalShape::Kind::cell:
        return phase.cell.at(shape.index);
    case GlobalShape::Kind::size:
        return phase.size;
    case GlobalShape::Kind::gauss_microstrain:
        return phase.gauss_microstrain;
    case GlobalShape::Kind::microstrain:
        break;
    }
    return phase.microstrain;
}

/// χ² of all ranks' patterns, each at the minimum of its own parameters.
class SampleObjective {
  public:
    SampleObjective(const mpi::Communicator& communicator, const rietveld::RadialAxis& axis,
                    const rietveld::VoxelFitOptions& options, std::span<const PatternTile> own,
                    bool cells)
        : communicator_(communicator), team_(communicator), axis_(axis), options_(options),
          own_(own), cells_(cells) {}

    /// Collective.
    double operator()(const rietveld::PatternModel& model) {
        double sum = 0;
        communicator_.collectively([&] { sum = own_sum(model); });
        ++evaluations_;
        return communicator_.allreduce(sum, mpi::Reduction::sum) *
               static_cast<double>(axis_.size());
    }
    int evaluations() const { return evaluations_; }

  private:
    double own_sum(const rietveld::PatternModel& model) {
        if (!first_ || cells_)
            first_.emplace(axis_, model, options_, team_);
        const rietveld::VoxelFitter fitter(*first_, model, team_);
        rietveld::VoxelFitter::Workspace workspace(fitter);
        rietveld::VoxelFit fit;
        const std::size_t n = fitter.channel_count(), phases = model.phases.size();
        double sum = 0;
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
        return sum;
    }

    const mpi::Communicator& communicator_;
    mpi::NodeTeam team_;
    const rietveld::RadialAxis& axis_;
    const rietveld::VoxelFitOptions& options_;
    std::span<const PatternTile> own_;
    bool cells_; ///< cells change: structure factors are made anew
    std::optional<rietveld::VoxelFitter> first_;
    int evaluations_ = 0;
};

/// Three variables, the middle one of the lowest χ², unless that is at a bound.
struct Bracket {
    double lower, x, upper;
    double f_lower, best, f_upper;
};

/// Downhill until the minimum is enclosed or a bound is met.
template <class Objective>
void enclose(Bracket& b, double lowest, double highest, Objective&& at) {
    for (int move = 0; move < 8; ++move) {
        if (b.f_upper < b.best && b.f_upper <= b.f_lower) {
            const double stride = 2 * (b.upper - b.x);
            b.lower = b.x, b.f_lower = b.best, b.x = b.upper, b.best = b.f_upper;
            b.upper = std::min(highest, b.x + stride);
            b.f_upper = b.upper > b.x ? at(b.upper) : b.best;
        } else if (b.f_lower < b.best) {
            const double stride = 2 * (b.x - b.lower);
            b.upper = b.x, b.f_upper = b.best, b.x = b.lower, b.best = b.f_lower;
            b.lower = std::max(lowest, b.x - stride);
            b.f_lower = b.lower < b.x ? at(b.lower) : b.best;
        } else {
            break;
        }
    }
}

/// Cuts the larger part of the bracket, by the vertex of the parabola if it lies well inside, else
/// in the golden section. `curvature` becomes that of the last parabola.
template <class Objective>
void narrow(Bracket& b, double& curvature, Objective&& at) {
    for (int cut = 0; cut < 6 && b.upper > b.lower; ++cut) {
        double next = b.upper - b.x > b.x - b.lower ? b.x + 0.382 * (b.upper - b.x)
                                                    : b.x - 0.382 * (b.x - b.lower);
        if (b.lower < b.x && b.x < b.upper) {
            const double left = (b.best - b.f_lower) / (b.x - b.lower),
                         right = (b.f_upper - b.best) / (b.upper - b.x);
            curvature = 2 * (right - left) / (b.upper - b.lower);
            if (curvature > 0) {
                const double vertex = 0.5 * (b.x + b.lower) - left / curvature;
                // A change of χ² by less than a tenth says nothing; the vertex depends less on
                // rounding than the best of the points does.
                if (0.5 * curvature * (vertex - b.x) * (vertex - b.x) < 0.1 && cut > 1) {
                    b.x = std::clamp(vertex, b.lower, b.upper);
                    break;
                }
                if (vertex > b.lower + 0.02 * (b.upper - b.lower) &&
                    vertex < b.upper - 0.02 * (b.upper - b.lower) &&
                    std::abs(vertex - b.x) > 1e-3 * (b.upper - b.lower))
                    next = vertex;
            }
        }
        const double value = at(next);
        if (value < b.best) {
            (next > b.x ? b.lower : b.upper) = b.x;
            (next > b.x ? b.f_lower : b.f_upper) = b.best;
            b.x = next;
            b.best = value;
        } else {
            (next > b.x ? b.upper : b.lower) = next;
            (next > b.x ? b.f_upper : b.f_lower) = value;
        }
    }
}

double first_step(GlobalShape::Kind kind, double value) {
    if (kind == GlobalShape::Kind::cell)
        return 1e-3 * value;
    const double min_size = 1.0 / 3000, min_strain = 5e-4;
    const double floor = kind == GlobalShape::Kind::size                ? min_size
                         : kind == GlobalShape::Kind::gauss_microstrain ? min_strain * min_strain
                                                                        : min_strain;
    return 0.4 * std::max(to_variable(kind, value), floor);
}

/// Minimises χ² along one shape from `current`, its value now; returns the new one. `step`: of the
/// variable, adapted to the curvature.
double refine_shape(SampleObjective& objective, rietveld::PatternModel& model,
                    const GlobalShape& shape, double current, double& step, double& curvature) {
    const auto kind = shape.kind;
    auto& parameter = parameter_of(model, shape);
    const double lowest = kind == GlobalShape::Kind::size ? 0 : to_variable(kind, parameter.lower);
    const double highest =
        to_variable(kind, kind == GlobalShape::Kind::size ? parameter.lower : parameter.upper);
    const auto at = [&](double variable) {
        parameter.value = from_variable(kind, variable);
        return objective(model);
    };
    Bracket b{};
    b.x = to_variable(kind, parameter.value);
    b.best = current;
    b.lower = std::max(lowest, b.x - step);
    b.upper = std::min(highest, b.x + step);
    b.f_lower = b.lower < b.x ? at(b.lower) : b.best;
    b.f_upper = b.upper > b.x ? at(b.upper) : b.best;
    enclose(b, lowest, highest, at);
    narrow(b, curvature, at);
    parameter.value = from_variable(kind, b.x);
    if (curvature > 0)
        step = std::clamp(4 * std::sqrt(2 / curvature), 0.05 * step, step);
    return b.best;
}

} // namespace

GlobalShapesResult
refine_global_shapes(const mpi::Communicator& communicator, const rietveld::RadialAxis& axis,
                     const rietveld::PatternModel& start, const rietveld::VoxelFitOptions& options,
                     const std::vector<GlobalShape>& shapes, std::span<const PatternTile> own) {
    const bool cells = std::any_of(shapes.begin(), shapes.end(), [](const GlobalShape& shape) {
        return shape.kind == GlobalShape::Kind::cell;
    });
    SampleObjective objective(communicator, axis, options, own, cells);
    GlobalShapesResult result;
    result.model = start;
    std::size_t patterns = 0;
    for (const auto& tile : own)
        patterns += tile.voxels.size();
    result.patterns = static_cast<std::size_t>(
        communicator.allreduce(static_cast<std::int64_t>(patterns), mpi::Reduction::sum));

    double current = objective(result.model);
    result.chi_squared_before = current;
    std::vector<double> step, curvature(shapes.size(), 0.0);
    for (const GlobalShape& shape : shapes)
        step.push_back(first_step(shape.kind, parameter_of(result.model, shape).value));
    for (int round = 0; round < 3 && result.patterns > 0; ++round) {
        const double before = current;
        for (std::size_t i = 0; i < shapes.size(); ++i)
            current =
                refine_shape(objective, result.model, shapes[i], current, step[i], curvature[i]);
        // What one shape gains by another's change shows in a second round.
        if (shapes.size() < 2 || before - current < 1)
            break;
    }
    result.chi_squared = current;
    result.evaluations = objective.evaluations();
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        const auto kind = shapes[i].kind;
        const double value = parameter_of(result.model, shapes[i]).value;
        const double esd = curvature[i] > 0 ? std::sqrt(2 / curvature[i]) : 0;
        const double variable = to_variable(kind, value);
        result.values.push_back(value);
        result.esd.push_back(esd > 0 ? std::abs(from_variable(kind, variable + esd) - value)
                                     : std::numeric_limits<double>::quiet_NaN());
    }
    return result;
}

} // namespace xrdct::voxels
