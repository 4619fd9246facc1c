// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/rebinning.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::conditioning {

std::vector<CoarseBin> coarse_bins(std::size_t n, double factor) {
    if (!(factor >= 1) || !std::isfinite(factor))
        throw Error(fmt::format("a binning factor must be at least 1, found {}", factor));
    const auto count = static_cast<std::size_t>(std::floor(static_cast<double>(n) / factor + 1e-9));
    if (count == 0)
        throw Error(fmt::format("binning {} by a factor of {} leaves nothing", n, factor));
    std::vector<CoarseBin> bins(count);
    for (std::size_t j = 0; j < count; ++j) {
        const double begin = static_cast<double>(j) * factor, end = begin + factor;
        auto& bin = bins[j];
        bin.first = static_cast<std::size_t>(std::floor(begin + 1e-9));
        for (std::size_t i = bin.first; i < n; ++i) {
            const double share =
                std::min(end, static_cast<double>(i + 1)) - std::max(begin, static_cast<double>(i));
            if (share < 1e-9)
                break;
            bin.share.push_back(share);
        }
    }
    return bins;
}

std::vector<double> rebin_axis(std::span<const double> positions, std::span<const CoarseBin> bins) {
    std::vector<double> axis;
    for (const auto& bin : bins) {
        double sum = 0, weight = 0;
        for (std::size_t i = 0; i < bin.share.size(); ++i) {
            sum += bin.share[i] * positions[bin.first + i];
            weight += bin.share[i];
        }
        axis.push_back(sum / weight);
    }
    return axis;
}

std::vector<double> rebin_sum(std::span<const double> values, std::span<const CoarseBin> bins) {
    std::vector<double> sums;
    for (const auto& bin : bins) {
        double sum = 0;
        for (std::size_t i = 0; i < bin.share.size(); ++i)
            sum += bin.share[i] * values[bin.first + i];
        sums.push_back(sum);
    }
    return sums;
}

Rebinning::Rebinning(std::vector<CoarseBin> translation, std::vector<CoarseBin> channel,
                     std::span<const double> channel_weight)
    : translation_(std::move(translation)), channel_(std::move(channel)) {
    for (const auto& bin : channel_) {
        double whole = 0;
        auto& weights = channel_weights_.emplace_back(bin.share);
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (!channel_weight.empty())
                weights[i] *= channel_weight[bin.first + i];
            whole += weights[i];
        }
        full_.push_back(whole);
    }
    clear();
}

void Rebinning::clear() {
    const std::size_t n = n_translation() * n_channel();
    sum_.assign(n, 0);
    weight_.assign(n, 0);
    variance_.assign(n, 0);
    rotation_share_ = 0;
}

void Rebinning::add(std::span<const float> values, std::span<const float> variances,
                    std::size_t n_channel, double share) {
    rotation_share_ += share;
    const bool with_variances = !variances.empty();
    for (std::size_t j = 0; j < translation_.size(); ++j) {
        const auto& bin = translation_[j];
        for (std::size_t i = 0; i < bin.share.size(); ++i) {
            const double outer = share * bin.share[i];
            const std::size_t line = (bin.first + i) * n_channel;
            for (std::size_t k = 0; k < channel_.size(); ++k) {
                const std::size_t first = line + channel_[k].first;
                const auto& weights = channel_weights_[k];
                const std::size_t at = j * channel_.size() + k;
                for (std::size_t c = 0; c < weights.size(); ++c) {
                    const float value = values[first + c];
                    if (std::isnan(value))
                        continue;
                    const double w = outer * weights[c];
                    sum_[at] += w * value;
                    weight_[at] += w;
                    if (with_variances)
                        variance_[at] += w * w * variances[first + c];
                }
            }
        }
    }
}

void Rebinning::finish(std::span<float> values, std::span<float> variances) const {
    constexpr float missing = std::numeric_limits<float>::quiet_NaN();
    for (std::size_t j = 0; j < translation_.size(); ++j) {
        double whole = 0;
        for (const double share : translation_[j].share)
            whole += share;
        for (std::size_t k = 0; k < channel_.size(); ++k) {
            const std::size_t at = j * channel_.size() + k;
            const double weight = weight_[at];
            const bool enough =
                weight > 0 && weight >= 0.499999 * rotation_share_ * whole * full_[k];
            values[at] = enough ? static_cast<float>(sum_[at] / weight) : missing;
            if (!variances.empty())
                variances[at] =
                    enough ? static_cast<float>(variance_[at] / (weight * weight)) : missing;
        }
    }
}

} // namespace xrdct::conditioning
