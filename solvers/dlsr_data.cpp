#include "solvers/dlsr_data.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct {

namespace {
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
}

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
    std::vector<std::size_t> missing;
    double sum = 0;
    for (std::size_t k = 0; k < channel_sum_.size(); ++k) {
        if (!std::isfinite(intensity[k]) || !std::isfinite(variance[k])) {
            missing.push_back(k);
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

FactoredWeights WeightFactors::finish(const mpi::Communicator& communicator,
                                      std::span<const unsigned char> excluded,
                                      double floor) const {
    FactoredWeights result;
    auto sum = channel_sum_;
    auto count = channel_count_;
    communicator.allreduce(std::span<double>(sum), mpi::Reduction::sum);
    communicator.allreduce(std::span<double>(count), mpi::Reduction::sum);
    const double rays = communicator.allreduce(static_cast<double>(ray_sum_.size()),
                                               mpi::Reduction::sum);
    double total = 0, kept = 0;
    result.channel_variance.assign(sum.size(), nan_value);
    for (std::size_t k = 0; k < sum.size(); ++k) {
        if (excluded[k] || !(count[k] > 0.5 * rays))
            continue;
        result.channel_variance[k] = sum[k] / count[k];
        total += result.channel_variance[k];
        kept += 1;
    }
    const double mean = kept > 0 ? total / kept : 0;
    double all = 0;
    for (double& variance : result.channel_variance) {
        if (std::isfinite(variance))
            variance = std::max(variance, floor * mean);
        all += std::isfinite(variance) ? variance : 0;
    }
    // Of the channels that are kept only, which a ray's own sum has to match.
    std::vector<double> ray_total = ray_sum_;
    for (double& value : ray_total)
        value = all > 0 ? std::max(value / all, floor) : nan_value;
    for (std::size_t i = 0; i < missing_.size(); ++i)
        for (const std::size_t k : missing_[i])
            if (std::isfinite(result.channel_variance[k]))
                ray_total[missing_ray_[i]] = nan_value;
    result.ray_variance = std::move(ray_total);
    return result;
}

} // namespace xrdct
