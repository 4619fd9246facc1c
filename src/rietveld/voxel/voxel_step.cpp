// SPDX-License-Identifier: BSD-3-Clause
#include "base/numbers.hpp"
#include "rietveld/voxel/voxel_task.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::rietveld {

namespace {

constexpr double newton_pivot = 1e-3; ///< below it the second-order term is not trusted

} // namespace

/// Columns of the joint problem: free linear ones, then those of active movers with signal.
/// s_.slope holds what a parameter multiplies its column with, s_.gradient its half gradient (0 for
/// linear ones: they are at their optimum).
std::size_t VoxelTask::list_joint() {
    s_.list.clear();
    for (std::size_t c = 0; c < linear_; ++c) {
        if (s_.state[c] == 0) {
            s_.list.push_back(static_cast<int>(c));
            s_.slope[s_.list.size() - 1] = 1;
        }
    }
    for (std::size_t m = 0; m < f_.movers.size(); ++m) {
        const Mover& mover = f_.movers[m];
        if (s_.active[m] && s_.x[mover.column] > 0) {
            for (std::size_t j = 0; j < moving(m); ++j) {
                s_.list.push_back(static_cast<int>(mover.derivative + j));
                s_.slope[s_.list.size() - 1] = s_.x[mover.column];
            }
        }
    }
    return s_.list.size();
}

void VoxelTask::fill_joint(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const double* row = &s_.gram[static_cast<std::size_t>(s_.list[i]) * total_];
        for (std::size_t j = 0; j <= i; ++j) {
            s_.joint[i * count + j] =
                row[static_cast<std::size_t>(s_.list[j])] * s_.slope[i] * s_.slope[j];
        }
    }
}

/// Σ w r ∂²y of tabulated lines, lower triangle of `sum` [a · most_moving + b].
void VoxelTask::curvature_of_lines(const std::vector<LinePlace>& places, std::size_t size,
                                   double* sum) {
    for (const LinePlace& line : places) {
        const Pack* c2 = packs(line.coefficients) + 2 * line.count;
        const Pack* c3 = c2 + line.count;
        const Pack* r = packs(weighted_residual() + line.first);
        const float sixfold = 6 * line.t, twice = 2;
        Pack total{};
        for (std::size_t k = 0; k < line.count; ++k) {
            total += r[k] * (twice * c2[k] + sixfold * c3[k]);
        }
        const double value = sum_of(total) * line.per_step * line.per_step;
        for (std::size_t a = 0; a < size; ++a) {
            for (std::size_t b = 0; b <= a; ++b) {
                sum[a * most_moving + b] += value * line.slope[a] * line.slope[b];
            }
        }
    }
}

/// The same of lines whose widths move, too.
void VoxelTask::curvature_of_wide(const std::vector<WidePlace>& places, std::size_t size,
                                  double* sum) {
    for (const WidePlace& line : places) {
        const auto c =
            f_.shapes.curvature(line.position, line.fwhm, line.mixing, weighted_residual());
        for (std::size_t a = 0; a < size; ++a) {
            for (std::size_t b = 0; b <= a; ++b) {
                sum[a * most_moving + b] +=
                    line.amplitude *
                    (c.position * line.moved[a] * line.moved[b] +
                     c.mixed * (line.moved[a] * line.widened[b] + line.widened[a] * line.moved[b]) +
                     c.fwhm * line.widened[a] * line.widened[b]);
            }
        }
    }
}

/// The mover whose parameters begin at a place of the joint list; −1: none.
int VoxelTask::mover_from(std::size_t place) const {
    const auto column = static_cast<std::size_t>(s_.list[place]);
    const int m = f_.column_mover[column];
    return m >= 0 && f_.movers[m].derivative == column ? m : -1;
}

/// − Σ w r ∂²y: the profiles' curvature along the line shifts, and the product of scale and shift.
/// The curvature of the line positions themselves is smaller by FWHM / 2θ and left out.
void VoxelTask::add_curvature(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const int m = mover_from(i);
        if (m < 0) {
            continue;
        }
        const Mover& mover = f_.movers[m];
        const std::size_t size = moving(static_cast<std::size_t>(m));
        std::array<double, most_moving * most_moving> sum{};
        if (mover.widths.empty()) {
            curvature_of_lines(s_.places[m], size, sum.data());
        } else {
            curvature_of_wide(s_.wide[m].places, size, sum.data());
        }
        const double x = s_.x[mover.column];
        const int scale = position_of(mover.column);
        for (std::size_t a = 0; a < size; ++a) {
            for (std::size_t b = 0; b <= a; ++b) {
                s_.joint[(i + a) * count + i + b] -= x * sum[a * most_moving + b];
            }
            if (scale >= 0) {
                s_.joint[(i + a) * count + static_cast<std::size_t>(scale)] -=
                    s_.gradient[i + a] / x;
            }
        }
    }
}

/// Step of the joint problem in s_.step; returns the fall of the objective that it predicts.
double VoxelTask::solve_step(std::size_t count, double damping) {
    for (std::size_t i = 0; i < count; ++i) {
        s_.rows[i] = s_.column[static_cast<std::size_t>(s_.list[i])];
    }
    dots(weighted_residual(), s_.rows.data(), count, stride_, s_.gradient.data());
    for (std::size_t i = 0; i < count; ++i) {
        const bool moving = static_cast<std::size_t>(s_.list[i]) >= linear_;
        s_.gradient[i] = moving ? s_.gradient[i] * s_.slope[i] : 0;
    }
    const auto finish = [&](bool newton) {
        fill_joint(count);
        if (newton) {
            add_curvature(count);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const auto column = static_cast<std::size_t>(s_.list[i]);
            const int m = f_.column_mover[column];
            if (m < 0) {
                continue;
            }
            const Mover& mover = f_.movers[m];
            const std::size_t j = column - mover.derivative;
            const double value = s_.values[mover.place + j];
            s_.joint[i * count + i] *= 1 + damping;
            // A parameter pressed against its bound stays there, in the second attempt as well,
            // which finds its gradient zero.
            if ((value <= mover.lower[j] && s_.gradient[i] <= 0) ||
                (value >= mover.upper[j] && s_.gradient[i] >= 0)) {
                for (std::size_t k = 0; k < count; ++k) {
                    if (k != i) {
                        s_.joint[std::max(i, k) * count + std::min(i, k)] = 0;
                    }
                }
                s_.gradient[i] = 0;
            }
        }
        const int size = static_cast<int>(count);
        return s_.cholesky.factor(s_.joint.data(), size, size,
                                  newton ? newton_pivot : voxel_pivot) == 0;
    };
    if (!finish(true)) {
        finish(false);
    }
    s_.cholesky.solve(s_.gradient.data(), s_.step.data());
    double predicted = 0;
    for (std::size_t i = 0; i < count; ++i) {
        predicted += s_.step[i] * s_.gradient[i];
    }
    return predicted;
}

/// How far a parameter may move at once; a width by part of what the lines have now.
double VoxelTask::largest_step(const Mover& mover, std::size_t j) const {
    const std::size_t cells = mover.without_widths();
    return j < cells ? mover.largest_step[j]
                     : 0.7 * (s_.values[mover.place + j] + 0.5 * mover.instrument[j - cells]);
}

/// Factor on the step of a mover from joint column `first` on: where residuals are large, steps
/// along its widths come out too long and would go to and fro. One that turns back on the last is
/// cut so that it ends where both would meet.
double VoxelTask::calm(const Mover& mover, std::size_t first, std::size_t size,
                       std::size_t count) const {
    double now = 0, last = 0, both = 0;
    for (std::size_t j = 0; j < size; ++j) {
        const double weight = s_.joint[(first + j) * count + first + j];
        const double a = s_.step[first + j], b = s_.last[mover.place + j];
        now += weight * a * a;
        last += weight * b * b;
        both += weight * a * b;
    }
    const double turned = 0.5 * std::sqrt(now * last);
    return both < -turned && now > 0 ? 1 / (1 + std::sqrt(now / last)) : 1;
}

/// s_.trial = s_.values + step, no farther than bounds and the trust in linearity allow; false if
/// nothing moves.
bool VoxelTask::take_step(std::size_t count) {
    bool moved = false;
    for (std::size_t i = 0; i < count; ++i) {
        const int m = mover_from(i);
        if (m < 0) {
            continue;
        }
        const Mover& mover = f_.movers[m];
        const std::size_t size = moving(static_cast<std::size_t>(m));
        double shrink = mover.widths.empty() ? 1 : calm(mover, i, size, count);
        for (std::size_t j = 0; j < size; ++j) {
            const double length = std::abs(s_.step[i + j]), most = largest_step(mover, j);
            if (length > most) {
                shrink = std::min(shrink, most / length);
            }
        }
        for (std::size_t j = 0; j < size; ++j) {
            s_.last[mover.place + j] = shrink * s_.step[i + j];
            const double before = s_.values[mover.place + j];
            double& after = s_.trial[mover.place + j];
            after = std::clamp(before + shrink * s_.step[i + j], mover.lower[j], mover.upper[j]);
            moved = moved || after != before;
        }
    }
    return moved;
}

} // namespace xrdct::rietveld
