// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/exit_absorption.hpp"

#include "base/units.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace xrdct::phantom {

namespace {

constexpr int subsamples = 4; ///< per side of a pixel

/// How columns u = s − slope z of the lattice lie to those of s at a depth.
struct Shift {
    std::ptrdiff_t whole;
    float part;

    Shift(double columns)
        : whole(static_cast<std::ptrdiff_t>(std::floor(columns))),
          part(static_cast<float>(columns - std::floor(columns))) {}
};

} // namespace

ExitAbsorption::ExitAbsorption(const CellModel& cell, double lowest, double highest)
    : radius_(cell.outer_radius()) {
    double thinnest = cell.period();
    for (std::size_t i = 0; i < n_layers; ++i)
        thinnest = std::min(thinnest,
                            (cell.layer_bounds()[i + 1] - cell.layer_bounds()[i]) * cell.period());
    pixel_ = std::clamp(thinnest, radius_ / 600, radius_ / 150);
    n_ = 2 * static_cast<std::size_t>(std::ceil(radius_ / pixel_)) + 3;
    first_ = -0.5 * static_cast<double>(n_ - 1) * pixel_;
    mu_.resize(n_ * n_);
    for (std::size_t iy = 0; iy < n_; ++iy)
        for (std::size_t ix = 0; ix < n_; ++ix) {
            double sum = 0;
            for (int sy = 0; sy < subsamples; ++sy)
                for (int sx = 0; sx < subsamples; ++sx) {
                    const auto at = [&](std::size_t i, int sample) {
                        return first_ +
                               (static_cast<double>(i) + (sample + 0.5) / subsamples - 0.5) *
                                   pixel_;
                    };
                    sum += cell.at(at(ix, sx), at(iy, sy)).mu;
                }
            mu_[iy * n_ + ix] = static_cast<float>(sum / (subsamples * subsamples));
        }
    for (std::size_t j = 0; j < nodes; ++j)
        tangents_.push_back(lowest + (highest - lowest) * static_cast<double>(j) / (nodes - 1));
    columns_ = n_;
    room_ = static_cast<std::size_t>(std::ceil(highest * (radius_ / pixel_ + 2))) + 2;
}

ExitAbsorption::Place ExitAbsorption::place(double tangent) const {
    const auto above = std::upper_bound(tangents_.begin() + 1, tangents_.end() - 1, tangent);
    const auto node = static_cast<std::size_t>(above - tangents_.begin()) - 1;
    const double from = tangents_[node] * tangents_[node],
                 to = tangents_[node + 1] * tangents_[node + 1];
    return {node,
            static_cast<float>(std::clamp((tangent * tangent - from) / (to - from), 0.0, 1.0))};
}

double ExitAbsorption::depth_of(std::size_t row) const {
    return -first_ - static_cast<double>(row) * pixel_;
}

/// The slice turned: rows of one depth, from the detector's side inwards, with room for columns
/// that a shear brings in.
void ExitAbsorption::turn_section(double omega, Table& table) const {
    const std::size_t row_size = columns_ + 4 * room_;
    table.section.assign(n_ * row_size, 0.0F);
    const double cosine = std::cos(omega), sine = std::sin(omega);
    const double limit = static_cast<double>(n_) - 1.001;
    for (std::size_t row = 0; row < n_; ++row) {
        const double z = depth_of(row);
        float* to = &table.section[row * row_size + 2 * room_];
        for (std::size_t i = 0; i < columns_; ++i) {
            const double s = first_ + static_cast<double>(i) * pixel_;
            const double x = (s * cosine - z * sine - first_) / pixel_,
                         y = (s * sine + z * cosine - first_) / pixel_;
            if (!(x >= 0 && y >= 0 && x <= limit && y <= limit))
                continue;
            const auto ix = static_cast<std::size_t>(x), iy = static_cast<std::size_t>(y);
            const auto fx = static_cast<float>(x - static_cast<double>(ix)),
                       fy = static_cast<float>(y - static_cast<double>(iy));
            const float* p = &mu_[iy * n_ + ix];
            const float lower = p[0] + fx * (p[1] - p[0]), upper = p[n_] + fx * (p[n_ + 1] - p[n_]);
            to[i] = lower + fy * (upper - lower);
        }
    }
}

/// Calls each(depth, exponent [column]) with ∫ μ dz from the depth on along lines of one slope.
template <typename Each>
void ExitAbsorption::integrate(double slope, std::span<const double> depths, Table& table,
                               const Each& each) const {
    const std::size_t rows = n_, width = columns_ + 2 * room_, row_size = columns_ + 4 * room_;
    table.sums.assign(width, 0.0F);
    std::size_t row = 0;
    for (std::size_t d = depths.size(); d-- > 0;) {
        const double z = std::clamp(depths[d], first_, -first_);
        // Rows reach half a pixel to either side of their depth.
        const auto sheared = [&](std::size_t r) {
            const Shift shift(slope * depth_of(r) / pixel_);
            return std::pair{&table.section[r * row_size] + static_cast<std::ptrdiff_t>(room_) +
                                 shift.whole,
                             shift.part};
        };
        while (row < rows && depth_of(row) - 0.5 * pixel_ >= z) {
            const auto [from, part] = sheared(row);
            const auto h = static_cast<float>(pixel_);
            for (std::size_t i = 0; i < width; ++i)
                table.sums[i] += h * (from[i] + part * (from[i + 1] - from[i]));
            ++row;
        }
        const auto rest =
            row < rows ? static_cast<float>(std::max(0.0, depth_of(row) + 0.5 * pixel_ - z)) : 0.0F;
        const auto [base, part] = sheared(std::min(row, rows - 1));
        const Shift back(-slope * z / pixel_);
        const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(room_) + back.whole;
        const float* sums = table.sums.data() + offset;
        const float* from = base + offset;
        for (std::size_t i = 0; i < columns_; ++i) {
            const float a = sums[i] + rest * (from[i] + part * (from[i + 1] - from[i])),
                        b = sums[i + 1] + rest * (from[i + 1] + part * (from[i + 2] - from[i + 1]));
            table.exponent[i] = a + back.part * (b - a);
        }
        each(d, table.exponent.data());
    }
}

void ExitAbsorption::fill(double omega, std::span<const double> depths, Table& table) const {
    table.depths = depths.size();
    table.factor.assign(nodes * depths.size() * columns_, 0.0F);
    turn_section(omega, table);
    table.exponent.resize(columns_);
    table.straight.resize(depths.size() * columns_);
    integrate(0, depths, table, [&](std::size_t d, const float* path) {
        std::copy_n(path, columns_, &table.straight[d * columns_]);
    });
    const auto n = static_cast<Eigen::Index>(columns_);
    for (std::size_t j = 0; j < nodes; ++j) {
        const auto length = static_cast<float>(std::sqrt(1 + tangents_[j] * tangents_[j]));
        for (std::size_t k = 0; k < azimuths; ++k) {
            const double chi = pi * (static_cast<double>(k) + 0.5) / azimuths;
            integrate(tangents_[j] * std::cos(chi), depths, table,
                      [&](std::size_t d, const float* path) {
                          Eigen::Map<Eigen::ArrayXf> factor(
                              &table.factor[(j * depths.size() + d) * columns_], n);
                          const Eigen::Map<const Eigen::ArrayXf> along(path, n),
                              straight(&table.straight[d * columns_], n);
                          factor += (straight - length * along).exp() * (1.0F / azimuths);
                      });
        }
    }
}

void ExitAbsorption::along(const Table& table, double s, std::span<float> out) const {
    const double position = (s - first_) / pixel_;
    if (!(position >= 0 && position < static_cast<double>(columns_ - 1))) {
        std::fill(out.begin(), out.end(), 1.0F);
        return;
    }
    const auto i = static_cast<std::size_t>(position);
    const auto part = static_cast<float>(position - static_cast<double>(i));
    const float* from = table.factor.data() + i;
    for (float& value : out) {
        value = from[0] + part * (from[1] - from[0]);
        from += columns_;
    }
}

} // namespace xrdct::phantom
