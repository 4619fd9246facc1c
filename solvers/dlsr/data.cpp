// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/data.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {
constexpr int max_iterations = 100;
/// Channels and rays of which less than this part is there are left out: what they tell is little
/// and found slowly.
constexpr double min_part = 0.1;
} // namespace

std::vector<double> FactoredWeights::channel_weight() const {
    std::vector<double> weight;
    for (const double variance : channel_variance)
        weight.push_back(variance > 0 ? 1 / variance : 0);
    return weight;
}
std::vector<float> FactoredWeights::ray_weight() const {
    std::vector<float> weight;
    for (const double variance : ray_variance)
        weight.push_back(variance > 0 ? static_cast<float>(1 / variance) : 0.0F);
    return weight;
}

WeightFactors::WeightFactors(std::size_t channels, std::size_t own_rays)
    : channel_sum_(channels, 0.0), channel_count_(channels, 0.0), ray_sum_(own_rays, 0.0) {}

void WeightFactors::add(std::size_t ray, std::span<const float> intensity,
                        std::span<const float> variance) {
    if (ray >= ray_sum_.size() || intensity.size() != channel_sum_.size() ||
        variance.size() != channel_sum_.size())
        throw Error(fmt::format("DLSR weights: ray {} of {} with {} intensities and {} variances "
                                "for {} channels",
                                ray, ray_sum_.size(), intensity.size(), variance.size(),
                                channel_sum_.size()));
    std::vector<std::uint32_t> missing;
    double sum = 0;
    for (std::size_t k = 0; k < channel_sum_.size(); ++k) {
        if (!std::isfinite(intensity[k]) || !std::isfinite(variance[k])) {
            missing.push_back(static_cast<std::uint32_t>(k));
            continue;
        }
        channel_sum_[k] += variance[k];
        channel_count_[k] += 1;
        sum += variance[k];
    }
    ray_sum_[ray] = sum;
    if (!missing.empty()) {
        missing_ray_.push_back(ray);
        missing_.push_back(std::move(missing));
    }
}

/// Sums over rays and over channels determine the factors, also when samples are missing:
/// sum_k = c_k Σ_i r_i, sum_i = r_i Σ_k c_k, each over the samples that are there.
WeightFactors::Factors WeightFactors::find_factors(const mpi::Communicator& communicator,
                                                   std::span<const double> count,
                                                   double rays) const {
    const std::size_t channels = channel_sum_.size(), own = ray_sum_.size();
    auto sum = channel_sum_;
    communicator.allreduce(std::span<double>(sum), mpi::Reduction::sum);
    Factors factors{std::vector<double>(channels, 0.0), std::vector<double>(own, 0.0)};
    auto& [channel, ray] = factors;
    std::vector<double> seen(channels);
    for (std::size_t k = 0; k < channels; ++k)
        channel[k] = count[k] > 0 ? sum[k] / count[k] : 0;
    for (int iteration = 0; iteration < max_iterations; ++iteration) {
        double all = 0;
        for (const double variance : channel)
            all += variance;
        std::vector<double> there(own, all);
        for (std::size_t i = 0; i < missing_.size(); ++i)
            for (const std::size_t k : missing_[i])
                there[missing_ray_[i]] -= channel[k];
        double total = 0;
        for (std::size_t i = 0; i < own; ++i) {
            ray[i] = there[i] > 1e-9 * all ? ray_sum_[i] / there[i] : 0;
            total += ray[i];
        }
        std::fill(seen.begin(), seen.end(), 0.0);
        for (std::size_t i = 0; i < missing_.size(); ++i)
            for (const std::size_t k : missing_[i])
                seen[k] -= ray[missing_ray_[i]];
        communicator.allreduce(std::span<double>(seen), mpi::Reduction::sum);
        total = communicator.allreduce(total, mpi::Reduction::sum);
        double change = 0;
        for (std::size_t k = 0; k < channels; ++k) {
            const double rest = total + seen[k];
            const double next = rest > 1e-9 * total ? sum[k] / rest * (total / rays) : 0;
            change = std::max(change, std::abs(next - channel[k]) / std::max(next, 1e-300));
            channel[k] = next;
        }
        // The same on all ranks: `seen` and `total` are.
        if (change < 1e-9)
            break;
    }
    return factors;
}

FactoredWeights WeightFactors::finish(const mpi::Communicator& communicator,
                                      std::span<const unsigned char> excluded, double floor) const {
    const std::size_t channels = channel_sum_.size(), own = ray_sum_.size();
    communicator.collectively([&] {
        if (excluded.size() != channels)
            throw Error(fmt::format("DLSR weights: {} marks of excluded channels for {} channels",
                                    excluded.size(), channels));
    });
    auto count = channel_count_;
    communicator.allreduce(std::span<double>(count), mpi::Reduction::sum);
    const double rays = communicator.allreduce(static_cast<double>(own), mpi::Reduction::sum);
    const Factors factors = find_factors(communicator, count, rays);

    FactoredWeights result;
    result.channel_variance.assign(channels, nan_value);
    const double most = channels > 0 ? *std::max_element(count.begin(), count.end()) : 0;
    double total = 0, kept = 0;
    for (std::size_t k = 0; k < channels; ++k) {
        if (excluded[k] || !(count[k] > min_part * most))
            continue;
        result.channel_variance[k] = factors.channel[k];
        total += factors.channel[k];
        kept += 1;
    }
    const double mean = kept > 0 ? total / kept : 0;
    for (double& variance : result.channel_variance)
        if (std::isfinite(variance))
            variance = std::max(variance, floor * mean);
    result.ray_variance.assign(own, nan_value);
    if (mean > 0) {
        double rays_mean = 0;
        for (const double variance : factors.ray)
            rays_mean += variance;
        rays_mean = communicator.allreduce(rays_mean, mpi::Reduction::sum) / rays;
        for (std::size_t i = 0; i < own; ++i)
            result.ray_variance[i] = std::max(factors.ray[i], floor * rays_mean);
    }
    for (std::size_t i = 0; i < missing_.size(); ++i) {
        double there = kept;
        for (const std::size_t k : missing_[i])
            there -= std::isfinite(result.channel_variance[k]);
        if (there > min_part * kept)
            result.masked += kept - there;
        else
            result.ray_variance[missing_ray_[i]] = nan_value;
    }
    result.masked = communicator.allreduce(result.masked, mpi::Reduction::sum);
    return result;
}

} // namespace xrdct::dlsr
