// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/coarse_variance.hpp"

#include <algorithm>

namespace xrdct::voxels {

namespace {

float blend(float a, float b, double fraction) {
    if (!(b > 0))
        return a;
    if (!(a > 0))
        return b;
    return static_cast<float>((1 - fraction) * a + fraction * b);
}

} // namespace

std::pair<std::size_t, double> CoarseVariance::place(double x) const {
    const double centre = 0.5 * (static_cast<double>(n_) - 1);
    const double position = std::clamp(x / pixel_ + centre, 0.0, static_cast<double>(n_) - 1);
    const auto lower =
        std::min(static_cast<std::size_t>(position), n_ > 1 ? n_ - 2 : std::size_t{0});
    return {lower, position - static_cast<double>(lower)};
}

std::pair<std::size_t, std::size_t> CoarseVariance::rows(double y) const {
    return {place(y).first, std::min<std::size_t>(2, n_)};
}

void CoarseVariance::row_at(double y, std::span<const float> rows, std::vector<float>& out) const {
    const double fraction = place(y).second;
    out.resize(n_ * channels_);
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = n_ < 2 ? rows[i] : blend(rows[i], rows[out.size() + i], fraction);
}

void CoarseVariance::column_at(double x, std::span<const float> row, std::span<float> out) const {
    const auto [lower, fraction] = place(x);
    const float* a = row.data() + lower * channels_;
    const float* b = n_ > 1 ? a + channels_ : a;
    for (std::size_t k = 0; k < channels_; ++k)
        out[k] = blend(a[k], b[k], fraction);
}

} // namespace xrdct::voxels
