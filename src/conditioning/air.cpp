// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/air.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <cmath>

#include <fmt/format.h>

namespace xrdct::conditioning {

void subtract_air(Line& line, const AirScatter& air, std::span<const unsigned char> dead,
                  std::span<const double> transmission) {
    const std::size_t n_channel = dead.size();
    for (std::size_t t = 0; t < line.values.size() / n_channel; ++t) {
        float* values = line.values.data() + t * n_channel;
        float* variances = line.variances.data() + t * n_channel;
        const auto attenuation = transmission.empty() ? 1.0F : static_cast<float>(transmission[t]);
        for (std::size_t k = 0; k < n_channel; ++k) {
            if (dead[k]) {
                values[k] = variances[k] = missing_value;
            } else if (!air.empty()) {
                values[k] -= attenuation * static_cast<float>(air.pattern[k]);
                variances[k] += attenuation * attenuation * static_cast<float>(air.variance[k]);
            }
        }
    }
}

EdgeAir::EdgeAir(std::span<const float> sinogram, std::size_t n_translation, std::size_t n_channel,
                 std::size_t edge)
    : sinogram_(sinogram), n_translation_(n_translation), n_channel_(n_channel), edge_(edge),
      sum_(n_channel, 0), variance_(n_channel, 0), count_(n_channel, 0) {
    std::vector<double> edges, inside;
    for (std::size_t i = 0; i < sinogram.size(); ++i)
        if (std::isfinite(sinogram[i]))
            (at_edge(i % n_translation) ? edges : inside).push_back(sinogram[i]);
    if (edges.empty())
        throw Error(fmt::format("the {} outermost translations are missing throughout", edge));
    level_ = median(edges);
    std::vector<double> deviations;
    deviations.reserve(edges.size());
    for (const double value : edges)
        deviations.push_back(std::abs(value - level_));
    limit_ = 6 * 1.4826 * median(deviations) + 1e-6 * std::abs(level_);
    median_inside_ = median(inside);
}

void EdgeAir::add(std::size_t row, const Line& line) {
    for (std::size_t t = 0; t < n_translation_; ++t) {
        const float mean = sinogram_[row * n_translation_ + t];
        if (!at_edge(t) || !std::isfinite(mean))
            continue;
        if (std::abs(mean - level_) > limit_) {
            ++left_out_;
            continue;
        }
        ++used_;
        for (std::size_t k = 0; k < n_channel_; ++k) {
            const float value = line.values[t * n_channel_ + k];
            if (std::isnan(value))
                continue;
            sum_[k] += value;
            variance_[k] += line.variances[t * n_channel_ + k];
            count_[k] += 1;
        }
    }
}

AirScatter EdgeAir::result(std::span<const unsigned char> dead) const {
    AirScatter air{std::vector<double>(n_channel_, 0), std::vector<double>(n_channel_, 0)};
    for (std::size_t k = 0; k < n_channel_; ++k)
        if (dead[k]) {
            air.pattern[k] = nan_value;
        } else if (count_[k] > 0) {
            air.pattern[k] = sum_[k] / count_[k];
            air.variance[k] = variance_[k] / (count_[k] * count_[k]);
        }
    return air;
}

} // namespace xrdct::conditioning
