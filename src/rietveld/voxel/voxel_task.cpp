// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/voxel_task.hpp"

#include "base/numbers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace xrdct::rietveld {

namespace {

constexpr double search_gain = 20; ///< in χ², needed to leave the start cell

} // namespace

// Four rows at a time share the loads of a.
void dots(const float* a, const float* const* b, std::size_t count, std::size_t n, double* out) {
    const Pack* pa = packs(a);
    const std::size_t m = n / simd_width;
    std::size_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const Pack *b0 = packs(b[j]), *b1 = packs(b[j + 1]), *b2 = packs(b[j + 2]),
                   *b3 = packs(b[j + 3]);
        Pack s0{}, s1{}, s2{}, s3{};
        for (std::size_t k = 0; k < m; ++k) {
            const Pack v = pa[k];
            s0 += v * b0[k];
            s1 += v * b1[k];
            s2 += v * b2[k];
            s3 += v * b3[k];
        }
        out[j] = sum_of(s0);
        out[j + 1] = sum_of(s1);
        out[j + 2] = sum_of(s2);
        out[j + 3] = sum_of(s3);
    }
    for (; j < count; ++j) {
        const Pack* b0 = packs(b[j]);
        Pack s0{};
        for (std::size_t k = 0; k < m; ++k) {
            s0 += pa[k] * b0[k];
        }
        out[j] = sum_of(s0);
    }
}

/// Brings intensities and weights to the order of 1 (float32 sums); false when too few channels are
/// valid.
bool VoxelTask::load(std::span<const float> intensity, std::span<const float> variance) {
    constexpr float largest = std::numeric_limits<float>::max();
    const std::size_t n = f_.n;
    float* data = y();
    float* weight = w();
    unit_weights_ = variance.empty();
    std::copy(intensity.begin(), intensity.end(), data);
    if (unit_weights_) {
        std::fill(weight, weight + n, 1.0f);
    } else {
        std::copy(variance.begin(), variance.end(), weight);
    }
    float highest = 0, least = largest;
    for (std::size_t k = 0; k < n; ++k) {
        // Without branches; comparisons with NaN are false.
        const bool good = static_cast<int>(std::abs(data[k]) <= largest) &
                          static_cast<int>(weight[k] > 0) & static_cast<int>(weight[k] <= largest);
        data[k] = good ? data[k] : 0.0f;
        weight[k] = good ? weight[k] : 0.0f;
        valid_ += static_cast<std::size_t>(good);
        highest = std::max(highest, std::abs(data[k]));
        least = std::min(least, good ? weight[k] : largest);
    }
    if (valid_ <= total_) {
        return false;
    }
    if (highest < 1e-36f) {
        highest = 1;
    }
    data_scale_ = static_cast<double>(highest);
    chi_unit_ = data_scale_ * data_scale_ / static_cast<double>(least);
    const float inverse_scale = 1 / highest;
    float* wy = weighted_y();
    for (std::size_t k = 0; k < n; ++k) {
        data[k] *= inverse_scale;
        weight[k] = weight[k] > 0 ? least / weight[k] : 0.0f;
        wy[k] = weight[k] * data[k];
    }
    const float* rows[] = {data};
    dots(wy, rows, 1, stride_, &weighted_squares_);
    return true;
}

void VoxelTask::weigh(std::size_t column) {
    const Pack* source = packs(s_.column[column]);
    const Pack* weight = packs(w());
    Pack* target = packs(s_.weighted[column]);
    for (std::size_t k = 0; k < stride_ / simd_width; ++k) {
        target[k] = weight[k] * source[k];
    }
}

/// Row of the normal matrix against the columns in s_.list.
void VoxelTask::gram_row(std::size_t column) {
    const std::vector<int>& list = s_.list;
    for (std::size_t i = 0; i < list.size(); ++i) {
        s_.rows[i] = s_.column[static_cast<std::size_t>(list[i])];
    }
    dots(s_.weighted[column], s_.rows.data(), list.size(), stride_, s_.dot.data());
    for (std::size_t i = 0; i < list.size(); ++i) {
        const auto other = static_cast<std::size_t>(list[i]);
        s_.gram[column * total_ + other] = s_.gram[other * total_ + column] = s_.dot[i];
    }
}

void VoxelTask::list_linear(std::size_t count) {
    s_.list.clear();
    for (std::size_t c = 0; c < count; ++c) {
        s_.list.push_back(static_cast<int>(c));
    }
}

void VoxelTask::start_columns() {
    for (std::size_t c = 0; c < linear_; ++c) {
        s_.column[c] = f_.start_rows[c];
    }
    for (std::size_t c = linear_; c < total_; ++c) {
        s_.column[c] = s_.moving[c];
    }
    for (std::size_t c = 0; c < linear_; ++c) {
        weigh(c);
        list_linear(c + 1);
        gram_row(c);
        s_.lower[c] = f_.columns[c].lower / unit(c);
        s_.upper[c] = f_.columns[c].upper / unit(c);
        s_.state[c] = s_.lower[c] == s_.upper[c] ? -1 : 0;
    }
    dots(weighted_y(), s_.column.data(), linear_, stride_, s_.right.data());
    for (const Mover& mover : f_.movers) {
        std::copy(mover.start.begin(), mover.start.end(),
                  s_.values.begin() + static_cast<std::ptrdiff_t>(mover.place));
    }
    std::fill(s_.active.begin(), s_.active.end(), true);
    std::fill(s_.held.begin(), s_.held.end(), false);
    for (std::size_t p = 0; p < f_.phase_column.size(); ++p) {
        if (!absent(p)) {
            continue;
        }
        const std::size_t c = f_.phase_column[p];
        s_.lower[c] = s_.upper[c] = 0;
        s_.state[c] = -1;
        if (f_.phase_mover[p] >= 0) {
            s_.active[static_cast<std::size_t>(f_.phase_mover[p])] = false;
        }
    }
}

void VoxelTask::solve_linear() {
    s_.solver.solve(s_.gram.data(), static_cast<int>(linear_), static_cast<int>(total_),
                    s_.right.data(), s_.lower.data(), s_.upper.data(), s_.x.data(), s_.state.data(),
                    voxel_pivot);
}

/// Residual and objective of the current linear parameters.
void VoxelTask::update_residual() {
    Pack* r = packs(residual());
    Pack* wr = packs(weighted_residual());
    const Pack* weight = packs(w());
    const std::size_t m = stride_ / simd_width;
    std::memcpy(residual(), y(), stride_ * sizeof(float));
    std::size_t c = 0;
    for (; c + 2 <= linear_; c += 2) {
        const auto x0 = static_cast<float>(s_.x[c]), x1 = static_cast<float>(s_.x[c + 1]);
        const Pack *c0 = packs(s_.column[c]), *c1 = packs(s_.column[c + 1]);
        for (std::size_t k = 0; k < m; ++k) {
            r[k] -= x0 * c0[k] + x1 * c1[k];
        }
    }
    if (c < linear_) {
        const auto x0 = static_cast<float>(s_.x[c]);
        const Pack* c0 = packs(s_.column[c]);
        for (std::size_t k = 0; k < m; ++k) {
            r[k] -= x0 * c0[k];
        }
    }
    Pack sum{};
    for (std::size_t k = 0; k < m; ++k) {
        wr[k] = weight[k] * r[k];
        sum += wr[k] * r[k];
    }
    objective_ = sum_of(sum);
}

/// Parameters of a mover that move: not its widths where these are held.
std::size_t VoxelTask::moving(std::size_t m) const {
    return s_.held[m] ? f_.movers[m].without_widths() : f_.movers[m].size();
}

std::size_t VoxelTask::nonlinear() const {
    std::size_t count = 0;
    for (std::size_t m = 0; m < f_.movers.size(); ++m) {
        count += s_.active[m] ? moving(m) : 0;
    }
    return count;
}

/// Variance of unit weight in units of w' r'²: the scatter, but not less than the given variances
/// say.
double VoxelTask::unit_variance() const {
    const double freedom = std::max(1.0, static_cast<double>(valid_) -
                                             static_cast<double>(f_.refined_columns + nonlinear()));
    const double reduced = objective_ / freedom;
    return unit_weights_ ? reduced : std::max(reduced, 1 / chi_unit_);
}

/// Patterns of other cells against what the other columns leave.
void VoxelTask::search() {
    for (const Mover& mover : f_.movers) {
        if (mover.search_count == 0 ||
            (mover.phase >= 0 && absent(static_cast<std::size_t>(mover.phase)))) {
            continue;
        }
        // weight · (residual with this phase's part put back), in memory the first iteration
        // overwrites
        float* target = s_.weighted[mover.derivative];
        const float* own = s_.weighted[mover.column];
        const float* wr = weighted_residual();
        const auto x = static_cast<float>(s_.x[mover.column]);
        for (std::size_t k = 0; k < stride_; ++k) {
            target[k] = wr[k] + x * own[k];
        }
        const auto gain = [&](const float* row) {
            const Pack *p = packs(row), *t = packs(target), *weight = packs(w());
            Pack a{}, b{};
            for (std::size_t k = 0; k < stride_ / simd_width; ++k) {
                a += p[k] * t[k];
                b += weight[k] * p[k] * p[k];
            }
            const double projection = sum_of(a), norm = sum_of(b);
            return projection > 0 && norm > 0 ? projection * projection / norm : 0;
        };
        double best = gain(s_.column[mover.column]) + search_gain * unit_variance();
        std::size_t found = mover.search_count;
        for (std::size_t i = 0; i < mover.search_count; ++i) {
            const double value = gain(f_.search_row(mover.search_first + i));
            if (value > best) {
                best = value;
                found = i;
            }
        }
        if (found < mover.search_count) {
            std::copy_n(mover.search_values.begin() +
                            static_cast<std::ptrdiff_t>(found * mover.size()),
                        mover.size(), s_.values.begin() + static_cast<std::ptrdiff_t>(mover.place));
        }
    }
}

/// Moving columns at `values`, with their rows of the normal matrix and right-hand sides.
void VoxelTask::refresh(const std::vector<double>& values) {
    std::array<float*, most_moving> derivatives{};
    list_linear(linear_);
    for (std::size_t m = 0; m < f_.movers.size(); ++m) {
        const Mover& mover = f_.movers[m];
        if (!s_.active[m]) {
            continue;
        }
        for (std::size_t j = 0; j < mover.size(); ++j) {
            derivatives[j] = s_.moving[mover.derivative + j];
            s_.list.push_back(static_cast<int>(mover.derivative + j));
        }
        if (mover.widths.empty()) {
            f_.build(mover, s_.metrics[m], values.data() + mover.place, s_.moving[mover.column],
                     derivatives.data(), s_.places[m]);
        } else {
            f_.build_wide(mover, s_.metrics[m], values.data() + mover.place,
                          s_.moving[mover.column], derivatives.data(), s_.wide[m]);
        }
        s_.column[mover.column] = s_.moving[mover.column];
    }
    for (std::size_t m = 0; m < f_.movers.size(); ++m) {
        const Mover& mover = f_.movers[m];
        if (!s_.active[m]) {
            continue;
        }
        weigh(mover.column);
        gram_row(mover.column);
        dots(weighted_y(), &s_.column[mover.column], 1, stride_, &s_.right[mover.column]);
        for (std::size_t j = 0; j < mover.size(); ++j) {
            weigh(mover.derivative + j);
            gram_row(mover.derivative + j);
        }
    }
}

/// Puts a mover back to its start, where it stays.
void VoxelTask::release(std::size_t m) {
    const Mover& mover = f_.movers[m];
    s_.active[m] = false;
    s_.column[mover.column] = f_.start_rows[mover.column];
    weigh(mover.column);
    list_linear(linear_);
    gram_row(mover.column);
    dots(weighted_y(), &s_.column[mover.column], 1, stride_, &s_.right[mover.column]);
    std::copy(mover.start.begin(), mover.start.end(),
              s_.values.begin() + static_cast<std::ptrdiff_t>(mover.place));
}

/// Moves the active cells to the minimum; false at the iteration limit.
bool VoxelTask::refine(int& iterations) {
    constexpr double first_damping = 0.3, rounding = 1e-6;
    double damping = 0, accepted = infinity;
    s_.trial = s_.values;
    std::fill(s_.last.begin(), s_.last.end(), 0.0);
    bool current = true; // the matrices belong to s_.values
    bool converged = false;
    for (int i = 0; i < f_.options.max_iterations && !converged; ++i) {
        ++iterations;
        refresh(s_.trial);
        solve_linear();
        update_residual();
        if (!(objective_ <= accepted * (1 + rounding))) {
            current = false;
            damping = damping == 0 ? first_damping : damping * 8;
            bool moved = damping < 1e6;
            for (std::size_t k = 0; k < s_.trial.size(); ++k) {
                // Back along the same line: no stored matrices are needed.
                const double back = s_.values[k] + 0.3 * (s_.trial[k] - s_.values[k]);
                moved = moved && !(back == s_.trial[k] && back != s_.values[k]);
                s_.trial[k] = back;
            }
            if (!moved) {
                converged = true; // no descent within rounding
            }
            continue;
        }
        accepted = std::min(accepted, objective_);
        s_.values = s_.trial;
        current = true;
        damping = damping > 1e-2 ? damping * 0.2 : 0;
        const std::size_t count = list_joint();
        const double predicted = solve_step(count, damping);
        const double tolerance = f_.options.tolerance * f_.options.tolerance * unit_variance();
        converged = predicted < tolerance || !take_step(count);
    }
    if (!current) {
        refresh(s_.values);
        solve_linear();
        update_residual();
    }
    return converged;
}

/// The joint problem's inverse, for which the joint list is made; returns the list's length.
std::size_t VoxelTask::invert_joint() {
    const std::size_t count = list_joint();
    fill_joint(count);
    const int size = static_cast<int>(count);
    dependent_ = s_.cholesky.factor(s_.joint.data(), size, size, voxel_pivot);
    s_.cholesky.invert(s_.inverse.data());
    return count;
}

/// The active mover whose scale fails the significance limit by most; movers.size() if none does.
std::size_t VoxelTask::weakest() {
    const std::size_t count = invert_joint();
    const double variance = unit_variance();
    double least = f_.options.significance;
    std::size_t failing = f_.movers.size();
    for (std::size_t m = 0; m < f_.movers.size(); ++m) {
        if (!s_.active[m]) {
            continue;
        }
        const std::size_t c = f_.movers[m].column;
        double ratio = 0;
        if (!f_.columns[c].refined) {
            ratio = infinity;
        } else if (const int i = position_of(c); i >= 0) {
            const double v =
                s_.inverse[static_cast<std::size_t>(i) * count + static_cast<std::size_t>(i)];
            ratio = v > 0 ? s_.x[c] / std::sqrt(v * variance) : 0;
        }
        if (!(ratio >= least)) {
            least = ratio;
            failing = m;
        }
    }
    return failing;
}

/// Widths that are as broad as they may be go back to their start, where they stay; false if there
/// are none.
bool VoxelTask::hold_widths() {
    bool any = false;
    for (std::size_t m = 0; m < f_.movers.size(); ++m) {
        const Mover& mover = f_.movers[m];
        const std::size_t cells = mover.without_widths();
        if (!s_.active[m] || s_.held[m]) {
            continue;
        }
        for (std::size_t j = cells; j < mover.size(); ++j) {
            s_.held[m] = s_.held[m] || s_.values[mover.place + j] >= mover.upper[j];
        }
        if (s_.held[m]) {
            any = true;
            std::copy(mover.start.begin() + static_cast<std::ptrdiff_t>(cells), mover.start.end(),
                      s_.values.begin() + static_cast<std::ptrdiff_t>(mover.place + cells));
        }
    }
    if (any) {
        refresh(s_.values);
        solve_linear();
        update_residual();
    }
    return any;
}

void VoxelTask::run(VoxelFit& result) {
    start_columns();
    solve_linear();
    update_residual();
    search();
    bool converged = true, inverted = false;
    // What proves insignificant stays at its start, one at a time, and the others are fitted again.
    for (std::size_t round = 0; nonlinear() > 0; ++round) {
        converged = refine(result.iterations);
        const std::size_t failing = weakest();
        if (failing < f_.movers.size()) {
            release(failing);
            solve_linear();
            update_residual();
            converged = true;
        } else if (!hold_widths()) {
            inverted = true;
            break;
        }
    }
    if (!inverted) {
        invert_joint();
    }
    write(converged, result);
}

void fit_voxel(const VoxelTables& tables, VoxelScratch& scratch, std::span<const float> intensity,
               std::span<const float> variance, std::span<const unsigned char> present,
               VoxelFit& result) {
    result.status = FitStatus::masked;
    result.iterations = 0;
    result.rwp = result.gof = nan_value;
    result.phases.resize(tables.model.phases.size());
    for (VoxelPhaseFit& phase : result.phases) {
        phase.scale = phase.scale_esd = nan_value;
        phase.weight_fraction = phase.weight_fraction_esd = nan_value;
        phase.cell.fill(nan_value);
        phase.cell_esd.fill(nan_value);
        phase.width.fill(nan_value);
        phase.width_esd.fill(nan_value);
        phase.status = VoxelPhaseStatus::insignificant;
    }
    result.peaks.assign(tables.model.peaks.size(), {nan_value, nan_value, nan_value, nan_value});
    result.background.assign(tables.model.background.size(), nan_value);
    result.background_esd.assign(tables.model.background.size(), nan_value);

    VoxelTask task(tables, scratch, present);
    if (task.load(intensity, variance)) {
        task.run(result);
    }
}

} // namespace xrdct::rietveld
