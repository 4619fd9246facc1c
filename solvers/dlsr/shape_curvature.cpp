// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/shape_curvature.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::dlsr {

namespace {

/// Amounts (in their unit) from which on the pattern's change with a shape is known.
constexpr double min_amount = 0.1;

} // namespace

void ShapeCurvature::allocate() {
    const auto& fields = unknowns_.fields();
    of_field_.resize(fields.size());
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (!unknowns_.is_per_voxel(f) || fields[f].shape < 0)
            continue;
        for (std::size_t a = 0; a < fields.size(); ++a)
            if (fields[a].part == fields[f].part && fields[a].shape < 0 &&
                unknowns_.is_per_voxel(a)) {
                if (!of_field_[f])
                    of_field_[f].emplace();
                of_field_[f]->amount = a;
                of_field_[f]->information.resize(unknowns_.team(), unknowns_.voxels(f));
                of_field_[f]->stiffness.resize(unknowns_.team(), unknowns_.voxels(f));
            }
    }
}

void ShapeCurvature::take_block(std::span<const std::uint32_t> unknown,
                                std::span<const std::uint16_t> field,
                                std::span<const double> matrix, std::span<const double> x,
                                std::span<const double> stiffness, std::span<float> sensitivity) {
    const std::size_t n = unknown.size();
    for (std::size_t a = 0; a < n; ++a) {
        if (!of_field_[field[a]])
            continue;
        OfField& shape = *of_field_[field[a]];
        const std::size_t v = unknown[a] - unknowns_.first(field[a]);
        float& of_voxel = sensitivity[unknown[a]];
        of_voxel = std::numeric_limits<float>::quiet_NaN();
        for (std::size_t b = 0; b < n; ++b) {
            if (field[b] != shape.amount)
                continue;
            const double amount = x[unknowns_.first(shape.amount) + v],
                         information = matrix[b * n + b];
            shape.information[v] = static_cast<float>(information);
            shape.stiffness[v] = static_cast<float>(stiffness[unknown[a]]);
            if (std::abs(amount) > min_amount && information > 0)
                of_voxel = static_cast<float>((matrix[a * n + a] - stiffness[unknown[a]]) /
                                              (amount * amount * information));
        }
    }
}

double ShapeCurvature::median_sensitivity(std::size_t field,
                                          std::span<const float> sensitivity) const {
    std::vector<float> known;
    for (std::size_t v = 0; v < unknowns_.voxels(field); ++v)
        if (const float value = sensitivity[unknowns_.first(field) + v]; !std::isnan(value))
            known.push_back(value);
    if (known.empty())
        return 0;
    const auto middle = known.begin() + static_cast<std::ptrdiff_t>(known.size() / 2);
    std::nth_element(known.begin(), middle, known.end());
    return static_cast<double>(std::max(*middle, 0.0F));
}

void ShapeCurvature::set_sensitivity(std::size_t field, double sensitivity) {
    if (of_field_[field])
        of_field_[field]->sensitivity = sensitivity;
}

bool ShapeCurvature::has_any() const {
    return std::any_of(of_field_.begin(), of_field_.end(),
                       [](const auto& shape) { return shape.has_value(); });
}

void ShapeCurvature::retract(std::span<const double> from, std::span<const double> to,
                             std::span<double> trial) const {
    for (std::size_t f = 0; f < of_field_.size(); ++f) {
        const auto& shape = of_field_[f];
        if (!shape || !(shape->sensitivity > 0))
            continue;
        const Field& field = unknowns_.fields()[f];
        const double farthest = 1 / std::sqrt(shape->sensitivity);
        for (std::size_t v = 0; v < unknowns_.voxels(f); ++v) {
            const std::size_t i = unknowns_.first(f) + v;
            if (!unknowns_.owns(i))
                continue;
            // min over Δη' of s I (a₁ Δη' − a₀ Δη)² + k (Δη' − Δη)²
            const double before = from[unknowns_.first(shape->amount) + v],
                         after = to[unknowns_.first(shape->amount) + v],
                         information = shape->sensitivity * shape->information[v],
                         stiffness = shape->stiffness[v] + shape->sensitivity;
            const double step = (to[i] - from[i]) * (information * before * after + stiffness) /
                                (information * after * after + stiffness);
            trial[i - unknowns_.own().begin] =
                std::clamp(from[i] + std::clamp(step, -farthest, farthest),
                           field.lower / field.unit, field.upper / field.unit);
        }
    }
}

} // namespace xrdct::dlsr
