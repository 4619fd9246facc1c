// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/ray_decomposition.hpp"

#include "base/error.hpp"
#include "rietveld/fit/least_squares.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::rietveld {

struct RayDecomposition::Impl {
    std::size_t n = 0, phases = 0, peaks = 0, columns = 0;
    std::vector<int> owner;      ///< per column: phase, phases + peak, or −1
    std::vector<double> lower;   ///< 0 or −∞
    std::vector<double> size;    ///< norm a column was divided by
    std::vector<float> weighted; ///< [column][n], w · column
    std::vector<double> gram;    ///< [column][column]
    std::vector<double> column;  ///< [column][n]

    /// Normalises the columns and makes what the weights of all rays go into.
    void weigh(std::span<const double> variance);
};

struct RayDecomposition::Workspace::State {
    BoundedSolver solver;
    std::vector<double> right, solution, gram, upper;
    std::vector<std::int8_t> state;
};

namespace {

constexpr double unbounded = std::numeric_limits<double>::infinity();

/// Collects columns and what they belong to.
struct Columns {
    std::size_t n;
    std::vector<double> values;
    std::vector<int> owner;
    std::vector<double> lower;

    std::span<double> add(int whose, double bound) {
        owner.push_back(whose);
        lower.push_back(bound);
        values.resize(values.size() + n);
        return std::span<double>(values).last(n);
    }
};

/// Throws Error for what the constructor says of lengths and depths.
void check_options(std::size_t n, std::span<const double> variance,
                   const RayDecompositionOptions& options) {
    if (variance.size() != n)
        throw Error(
            fmt::format("ray decomposition: {} variances for {} channels", variance.size(), n));
    if (options.depths.empty())
        throw Error("ray decomposition: no depth is given");
    for (const double z : options.depths)
        if (z != 0 && !(options.distance > std::abs(z)))
            throw Error(fmt::format(
                "ray decomposition: a depth of {} mm needs a distance larger than that, not {}", z,
                options.distance));
}

/// Every phase at the depths of a ray.
void add_depths(const PatternCalculator& calculator, PatternModel& work,
                const RayDecompositionOptions& options, Columns& columns) {
    const double zero_displacement = work.displacement.value;
    for (std::size_t p = 0; p < work.phases.size(); ++p) {
        for (const double z : options.depths) {
            work.displacement.value = zero_displacement + z;
            const auto column = columns.add(static_cast<int>(p), 0.0);
            calculator.evaluate_phase(work, p, column);
            const double closer = z == 0 ? 1 : options.distance / (options.distance - z);
            for (double& value : column)
                value *= closer * closer;
        }
        work.displacement.value = zero_displacement;
    }
}

/// Phases whose cell varies, at cells to either side.
void add_varying_cells(const PatternCalculator& calculator, PatternModel& work,
                       const RayDecompositionOptions& options, Columns& columns) {
    for (const auto& name : options.varying_cells) {
        const std::size_t p = work.find_phase(name);
        for (auto& cell : work.phases[p].cell) {
            const double value = cell.value;
            for (const double sign : {-1.0, 1.0}) {
                cell.value = value * (1 + sign * options.cell_spread);
                calculator.evaluate_phase(work, p, columns.add(static_cast<int>(p), 0.0));
            }
            cell.value = value;
        }
    }
}

/// Single peaks of unit area; their owners are numbered from `first` on.
void add_peaks(const PatternCalculator& calculator, const PatternModel& work, std::size_t first,
               Columns& columns) {
    PatternModel alone = work;
    for (auto& phase : alone.phases)
        phase.scale.value = 0;
    for (auto& term : alone.background)
        term.value = 0;
    for (auto& peak : alone.peaks)
        peak.area.value = 0;
    for (std::size_t i = 0; i < alone.peaks.size(); ++i) {
        alone.peaks[i].area.value = 1;
        calculator.evaluate(alone, columns.add(static_cast<int>(first + i), 0.0));
        alone.peaks[i].area.value = 0;
    }
}

} // namespace

void RayDecomposition::Impl::weigh(std::span<const double> variance) {
    const std::size_t count = columns = owner.size();
    weighted.resize(count * n);
    size.assign(count, 1);
    const auto weight = [&](std::size_t k) {
        return std::isfinite(variance[k]) && variance[k] > 0 ? 1 / variance[k] : 0.0;
    };
    for (std::size_t i = 0; i < count; ++i) {
        double* values = column.data() + i * n;
        double norm = 0;
        for (std::size_t k = 0; k < n; ++k)
            norm += weight(k) * values[k] * values[k];
        norm = norm > 0 ? std::sqrt(norm) : 1;
        size[i] = norm;
        for (std::size_t k = 0; k < n; ++k) {
            values[k] /= norm;
            weighted[i * n + k] = static_cast<float>(weight(k) * values[k]);
        }
    }
    gram.assign(count * count, 0);
    for (std::size_t i = 0; i < count; ++i)
        for (std::size_t j = 0; j <= i; ++j) {
            double sum = 0;
            for (std::size_t k = 0; k < n; ++k)
                sum += weight(k) * column[i * n + k] * column[j * n + k];
            gram[i * count + j] = gram[j * count + i] = sum;
        }
}

RayDecomposition::RayDecomposition(const RadialAxis& axis, const PatternModel& model,
                                   std::span<const double> variance,
                                   const RayDecompositionOptions& options) {
    auto impl = std::make_unique<Impl>();
    const std::size_t n = axis.size();
    impl->n = n;
    impl->phases = model.phases.size();
    impl->peaks = model.peaks.size();
    check_options(n, variance, options);
    PatternModel work = model;
    for (auto& phase : work.phases)
        phase.scale.value = 1;
    if (options.distance > 0)
        work.distance = options.distance;
    const PatternCalculator calculator(axis, work);
    Columns columns{n, {}, {}, {}};
    add_depths(calculator, work, options, columns);
    add_varying_cells(calculator, work, options, columns);
    add_peaks(calculator, work, impl->phases, columns);
    for (std::size_t i = 0; i < work.background.size(); ++i)
        calculator.chebyshev(i, columns.add(-1, -unbounded));
    impl->owner = std::move(columns.owner);
    impl->lower = std::move(columns.lower);
    impl->column = std::move(columns.values);
    impl->weigh(variance);
    impl_ = std::move(impl);
}

RayDecomposition::~RayDecomposition() = default;
RayDecomposition::RayDecomposition(RayDecomposition&&) noexcept = default;
RayDecomposition& RayDecomposition::operator=(RayDecomposition&&) noexcept = default;

std::size_t RayDecomposition::channel_count() const {
    return impl_->n;
}
std::size_t RayDecomposition::phase_count() const {
    return impl_->phases;
}
std::size_t RayDecomposition::peak_count() const {
    return impl_->peaks;
}
std::size_t RayDecomposition::column_count() const {
    return impl_->columns;
}

RayDecomposition::Workspace::Workspace(const RayDecomposition& decomposition)
    : state_(std::make_unique<State>()) {
    const std::size_t count = decomposition.column_count();
    state_->right.resize(count);
    state_->solution.resize(count);
    state_->upper.assign(count, unbounded);
    state_->state.assign(count, 0);
}
RayDecomposition::Workspace::~Workspace() = default;
RayDecomposition::Workspace::Workspace(Workspace&&) noexcept = default;
RayDecomposition::Workspace& RayDecomposition::Workspace::operator=(Workspace&&) noexcept = default;

void RayDecomposition::fit(std::span<const float> intensity, std::span<double> integrals,
                           Workspace& workspace) const {
    const Impl& f = *impl_;
    if (intensity.size() != f.n || integrals.size() != f.phases + f.peaks)
        throw Error(
            fmt::format("ray decomposition: {} channels and {} path integrals, expected {} and {}",
                        intensity.size(), integrals.size(), f.n, f.phases + f.peaks));
    auto& s = *workspace.state_;
    std::size_t valid = 0;
    for (const float value : intensity)
        valid += std::isfinite(value);
    if (valid < std::min(f.n, 2 * f.columns)) {
        std::fill(integrals.begin(), integrals.end(), std::numeric_limits<double>::quiet_NaN());
        return;
    }
    const double* gram = f.gram.data();
    if (valid < f.n) {
        s.gram = f.gram;
        for (std::size_t k = 0; k < f.n; ++k) {
            if (std::isfinite(intensity[k]))
                continue;
            for (std::size_t i = 0; i < f.columns; ++i)
                for (std::size_t j = 0; j < f.columns; ++j)
                    s.gram[i * f.columns + j] -=
                        static_cast<double>(f.weighted[i * f.n + k]) * f.column[j * f.n + k];
        }
        gram = s.gram.data();
    }
    for (std::size_t i = 0; i < f.columns; ++i) {
        const float* column = f.weighted.data() + i * f.n;
        double total = 0;
        for (std::size_t begin = 0; begin < f.n; begin += 64) {
            float part = 0;
            const std::size_t end = std::min(begin + 64, f.n);
            if (valid == f.n)
                for (std::size_t k = begin; k < end; ++k)
                    part += column[k] * intensity[k];
            else
                for (std::size_t k = begin; k < end; ++k)
                    part += std::isfinite(intensity[k]) ? column[k] * intensity[k] : 0.0F;
            total += part;
        }
        s.right[i] = total;
    }
    // The start is the same for every ray, so that a result depends on its own pattern alone.
    std::fill(s.state.begin(), s.state.end(), std::int8_t{0});
    const auto count = static_cast<int>(f.columns);
    s.solver.solve(gram, count, count, s.right.data(), f.lower.data(), s.upper.data(),
                   s.solution.data(), s.state.data(), 1e-9);
    std::fill(integrals.begin(), integrals.end(), 0.0);
    for (std::size_t i = 0; i < f.columns; ++i)
        if (f.owner[i] >= 0)
            integrals[static_cast<std::size_t>(f.owner[i])] += s.solution[i] / f.size[i];
}

} // namespace xrdct::rietveld
