// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/counting.hpp"

#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::conditioning {

void counting_variances(std::span<const float> values, std::span<const double> pixels, double scale,
                        std::size_t n_channel, std::span<float> variances) {
    for (std::size_t t = 0; t < values.size() / n_channel; ++t)
        for (std::size_t k = 0; k < n_channel; ++k) {
            const float value = values[t * n_channel + k];
            const double count = pixels.empty() ? 1.0 : pixels[k];
            variances[t * n_channel + k] =
                std::isnan(value) || !(count > 0)
                    ? missing_value
                    : static_cast<float>(scale * std::max(0.0F, value) / count);
        }
}

std::size_t undo_dead_time(Line& line, std::size_t n_channel, std::span<const double> exposure,
                           double dead_time, DeadTimeModel model) {
    std::size_t saturated = 0;
    for (std::size_t t = 0; t < exposure.size(); ++t)
        for (std::size_t k = 0; k < n_channel; ++k) {
            float& value = line.values[t * n_channel + k];
            const auto corrected = correct_dead_time(value, exposure[t], dead_time, model);
            saturated += std::isnan(corrected.value) && !std::isnan(value) ? 1 : 0;
            value = static_cast<float>(corrected.value);
            line.variances[t * n_channel + k] *=
                static_cast<float>(corrected.derivative * corrected.derivative);
        }
    return saturated;
}

void apply_flux(Line& line, std::size_t n_channel, std::span<const float> factors) {
    for (std::size_t t = 0; t < factors.size(); ++t) {
        const float factor = factors[t];
        for (std::size_t i = t * n_channel; i < (t + 1) * n_channel; ++i) {
            line.values[i] *= factor;
            line.variances[i] *= factor * factor;
        }
    }
}

double mean_of_usable(std::span<const float> point, std::span<const unsigned char> dead) {
    double sum = 0;
    std::size_t n = 0, usable = 0;
    for (std::size_t k = 0; k < point.size(); ++k) {
        if (!dead.empty() && dead[k])
            continue;
        ++usable;
        if (!std::isnan(point[k])) {
            sum += point[k];
            ++n;
        }
    }
    return n > 0 && (dead.empty() || 10 * n >= 9 * usable) ? sum / static_cast<double>(n)
                                                           : std::nan("");
}

ScanSurvey::ScanSurvey(std::size_t n_translation, std::size_t n_channel)
    : n_translation_(n_translation), n_channel_(n_channel), channels_(n_channel) {}

void ScanSurvey::add(std::size_t stored, std::span<const float> values, std::span<double> mean) {
    constexpr std::size_t every = 7, stride = 5, max_samples = 400000;
    channels_.add(values);
    for (std::size_t t = 0; t < n_translation_; ++t) {
        const auto point = values.subspan(t * n_channel_, n_channel_);
        mean[t] = mean_of_usable(point, {});
        std::size_t nans = 0;
        for (const float value : point)
            nans += std::isnan(value) ? 1 : 0;
        (nans == n_channel_ ? missing_points_ : missing_values_) += nans == n_channel_ ? 1 : nans;
        if ((stored * n_translation_ + t) % every == 0 && scatter_.size() < max_samples)
            for (std::size_t k = 1; k + 1 < n_channel_; k += stride) {
                const double a = point[k - 1], b = point[k], c = point[k + 1];
                const double level = (a + b + c) / 3, d = b - 0.5 * (a + c);
                if (level > 0)
                    scatter_.push_back(d * d / (1.5 * level));
            }
    }
}

double ScanSurvey::variance_over_intensity() const {
    // The median of χ² with one degree of freedom is 0.4549.
    return scatter_.empty() ? 0 : median(scatter_) / 0.4549;
}

} // namespace xrdct::conditioning
