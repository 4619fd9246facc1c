// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/model/pattern_basis.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// Weights that factor into ray × channel: the variance of a sample is taken as
/// ray_variance[ray] · channel_variance[channel].
struct FactoredWeights {
    std::vector<double> channel_variance; ///< [channel]; NaN: channel left out
    std::vector<double> ray_variance;     ///< [own ray]; NaN: ray left out
    double masked = 0; ///< samples missing in the channels and rays that are kept, of all ranks
    std::vector<double> channel_weight() const; ///< 1 / variance, 0 where left out
    std::vector<float> ray_weight() const;
};

/// Finds the factors of a scan's variances. A rank hands in its own rays, then all agree.
class WeightFactors {
  public:
    WeightFactors(std::size_t channels, std::size_t own_rays);
    /// `variance` [channel] of own ray `ray`, once each; samples that are not finite count as
    /// missing. Throws Error for lengths.
    void add(std::size_t ray, std::span<const float> intensity, std::span<const float> variance);
    /// The factors whose sums over rays and over channels are those of the samples that are there:
    /// exact when the variances factor. Rays and channels that see less than `floor` of the mean
    /// variance get that much: few counts tell their own variance badly. A channel that is there
    /// in less than a tenth of the rays of the channel with most, or is `excluded`, is left out; so
    /// is a ray of which less than a tenth of the kept channels is there. Collective. Throws Error
    /// on all ranks when the length of `excluded` is not that of the channels.
    FactoredWeights finish(const mpi::Communicator& communicator,
                           std::span<const unsigned char> excluded, double floor = 0.01) const;

  private:
    struct Factors {
        std::vector<double> channel, ray;
    };
    /// `count` [channel] samples that are there, of all ranks; `rays` of all ranks. Collective.
    Factors find_factors(const mpi::Communicator& communicator, std::span<const double> count,
                         double rays) const;

    std::vector<double> channel_sum_, channel_count_;
    std::vector<double> ray_sum_;
    std::vector<std::vector<std::uint32_t>> missing_; ///< channels, per ray that misses any
    std::vector<std::size_t> missing_ray_;
};

} // namespace xrdct::dlsr
