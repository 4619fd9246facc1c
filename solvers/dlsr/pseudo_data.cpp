// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/pseudo_data.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Variances of samples in units of the factored ones: few counts tell theirs badly, and a spot's
/// own error would excuse it.
constexpr double min_variance = 0.05, max_variance = 10;

} // namespace

PseudoDataCounts& PseudoDataCounts::operator+=(const PseudoDataCounts& other) {
    samples += other.samples;
    masked += other.masked;
    outlying += other.outlying;
    return *this;
}

PseudoData::PseudoData(std::vector<double> channel_variance, double threshold,
                       std::vector<float> channel_gain)
    : channel_variance_(std::move(channel_variance)), threshold_(threshold),
      channel_gain_(std::move(channel_gain)) {
    if (!(threshold_ >= 0) || !std::isfinite(threshold_))
        throw Error(fmt::format("DLSR: a threshold of {} standard deviations", threshold_));
    if (channel_gain_.empty())
        channel_gain_.assign(channel_variance_.size(), 1.0F);
    if (channel_gain_.size() != channel_variance_.size())
        throw Error(fmt::format("DLSR: {} gains for {} channels", channel_gain_.size(),
                                channel_variance_.size()));
}

bool PseudoData::masked(const RaySamples& ray, std::size_t k) const {
    return !std::isfinite(ray.intensity[k]) || !std::isfinite(ray.variance[k]);
}
double PseudoData::factored(const RaySamples& ray, std::size_t k) const {
    return ray.ray_variance * channel_variance_[k];
}
double PseudoData::variance(const RaySamples& ray, std::size_t k, double calculated) const {
    const double typical = factored(ray, k);
    if (ray.gain > 0)
        return std::max(ray.gain * channel_gain_[k] * calculated, min_variance * typical);
    return std::clamp<double>(ray.variance[k], min_variance * typical, max_variance * typical);
}
double PseudoData::clip(const RaySamples& ray, std::size_t k, double residual, double variance,
                        double scale) const {
    if (!(threshold_ > 0))
        return residual;
    const double limit = threshold_ * scale * std::sqrt(variance);
    // Few counts are skewed: the next term of the expansion of Poisson's quantiles (Cornish and
    // Fisher 1938).
    const double skew =
        ray.gain > 0 ? std::max(0.0, threshold_ * threshold_ - 1) / 6 * ray.gain * channel_gain_[k]
                     : 0.0;
    return std::clamp(residual, -limit, limit + skew);
}

void PseudoData::start(std::span<const RaySamples> row, std::span<float> out) const {
    const std::size_t channels = channel_variance_.size();
    if (out.size() != row.size() * channels)
        throw Error("DLSR: wrong size for the start of the data");
    for (std::size_t j = 0; j < row.size(); ++j) {
        const auto& ray = row[j];
        const auto to = out.subspan(j * channels, channels);
        for (std::size_t k = 0; k < channels; ++k) {
            to[k] = 0;
            if (!(channel_variance_[k] > 0))
                continue;
            double low = std::numeric_limits<double>::infinity(), high = -low, sum = 0, count = 0;
            for (const long step : {-1L, 1L}) {
                const auto other = static_cast<std::size_t>(static_cast<long>(j) + step);
                if (other >= row.size() || masked(row[other], k))
                    continue;
                const double value = row[other].intensity[k];
                low = std::min(low, value);
                high = std::max(high, value);
                sum += value;
                count += 1;
            }
            if (masked(ray, k)) {
                // The nearest channel on either side is all that a ray on its own can tell.
                if (count == 0)
                    for (const long step : {-1L, 1L}) {
                        std::size_t other = k;
                        do
                            other = static_cast<std::size_t>(static_cast<long>(other) + step);
                        while (other < channels &&
                               (!(channel_variance_[other] > 0) || masked(ray, other)));
                        if (other < channels) {
                            sum += ray.intensity[other];
                            count += 1;
                        }
                    }
                to[k] = count > 0 ? static_cast<float>(sum / count) : 0.0F;
                continue;
            }
            const double value = ray.intensity[k];
            for (const long step : {-2L, -1L, 1L, 2L}) {
                const auto other = static_cast<std::size_t>(static_cast<long>(k) + step);
                if (other >= channels || !(channel_variance_[other] > 0) || masked(ray, other))
                    continue;
                low = std::min<double>(low, ray.intensity[other]);
                high = std::max<double>(high, ray.intensity[other]);
            }
            const double nearest = low <= high ? std::clamp(value, low, high) : value;
            to[k] = static_cast<float>(nearest +
                                       clip(ray, k, value - nearest, variance(ray, k, nearest), 1));
        }
    }
}

PseudoDataCounts PseudoData::replace(const RaySamples& ray, double scale,
                                     std::span<float> pattern) const {
    PseudoDataCounts counts;
    for (std::size_t k = 0; k < channel_variance_.size(); ++k) {
        if (!(channel_variance_[k] > 0))
            continue;
        counts.samples += 1;
        if (masked(ray, k)) {
            counts.masked += 1;
            continue;
        }
        const double calculated = pattern[k], residual = ray.intensity[k] - calculated;
        const double clipped = clip(ray, k, residual, variance(ray, k, calculated), scale);
        pattern[k] = static_cast<float>(calculated + clipped);
        counts.outlying += clipped != residual;
    }
    return counts;
}

void PseudoData::residuals(const RaySamples& ray, std::span<const float> calculated,
                           std::span<float> out) const {
    for (std::size_t k = 0; k < channel_variance_.size(); ++k)
        out[k] = static_cast<float>(channel_variance_[k] > 0 && !masked(ray, k)
                                        ? (ray.intensity[k] - calculated[k]) /
                                              std::sqrt(variance(ray, k, calculated[k]))
                                        : nan_value);
}

bool PseudoData::counts_in_full(const RaySamples& ray, std::size_t k, float calculated,
                                double scale) const {
    if (masked(ray, k))
        return false;
    const double residual = ray.intensity[k] - calculated;
    return clip(ray, k, residual, variance(ray, k, calculated), scale) == residual;
}

void PseudoData::noise_variance(const RaySamples& ray, std::span<float> out) const {
    for (std::size_t k = 0; k < channel_variance_.size(); ++k) {
        out[k] = 0;
        if (!(channel_variance_[k] > 0) || masked(ray, k))
            continue;
        out[k] = ray.variance[k];
        if (threshold_ > 0)
            out[k] = static_cast<float>(std::min<double>(out[k], max_variance * factored(ray, k)));
    }
}

double residual_scale(std::span<const double> bins, double width) {
    double total = 0;
    for (const double count : bins)
        total += count;
    double below = 0;
    for (std::size_t i = 0; i < bins.size(); ++i) {
        if (bins[i] > 0 && below + bins[i] >= 0.9 * total)
            return (static_cast<double>(i) + (0.9 * total - below) / bins[i]) * width / 1.64485;
        below += bins[i];
    }
    return 0;
}

} // namespace xrdct::dlsr
