// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "solvers/dlsr/data.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/options.hpp"
#include "solvers/dlsr/pseudo_data.hpp"
#include "solvers/dlsr/result.hpp"
#include "solvers/ray_source.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace xrdct::dlsr {

/// The rays of a scan that a rank holds, whole rotations, as the DLSR reads them: absorption left
/// in. The scan is read anew by every pass; nothing with a channel axis is kept.
class ScanData {
  public:
    /// `rays` are not corrected for absorption; `transmission` [rotation][translation] of all
    /// rotations, empty: 1. Rays and communicator must outlive the object. Not collective.
    ScanData(const solvers::RaySource& rays, const mpi::Communicator& communicator,
             std::span<const float> transmission, const Options& options);

    const solvers::RaySource& rays() const { return rays_; }
    const tomography::ScanGeometry& geometry() const { return own_; } ///< own rotations
    mpi::BlockRange rotations() const { return rows_; }               ///< own ones, among all
    std::size_t ray_count() const { return rows_.size() * translations_; }
    std::size_t channel_count() const { return channels_; }
    const std::vector<float>& transmission() const { return transmission_; } ///< own rays

    /// Collective. First of all passes over the data.
    FactoredWeights weights();
    /// True when the data depend on the model: samples are masked or the loss is
    /// robust.
    bool needs_model() const { return needs_model_; }
    /// Coefficients of all own rays [ray][M], 0 for rays without weight: what can be said without a
    /// model. `squares` [own ray], or empty: Σ w y² of their patterns, w the weights of the
    /// channels. Not collective.
    std::vector<float> compress(const rietveld::PatternBasis& basis,
                                std::span<const float> ray_weight, std::span<double> squares = {});
    /// Pseudo-data (see PseudoData) at a point: coefficients of the model's prediction [own ray][M]
    /// are replaced by those of the data; `squares` as in compress(). Collective.
    void replace(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                 std::span<float> predicted, std::span<double> squares = {});
    const PseudoDataCounts& counts() const { return counts_; } ///< of the last replace()
    double residual_scale() const { return scale_; }           ///< of the last replace()
    /// Samples of the noise of all own rays, compressed likewise [ray][M]. Not collective.
    std::vector<float> noise(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                             std::uint64_t seed);
    // For those that read ray by ray. Not collective.

    /// Reads a rotation: pattern() and variance() are of it until the next call.
    void read(std::size_t rotation);
    std::span<const float> pattern(std::size_t translation) const;  ///< [channel]
    std::span<const float> variance(std::size_t translation) const; ///< [channel]
    RaySamples samples(std::size_t rotation, std::size_t translation) const;
    const PseudoData& pseudo_data() const { return *pseudo_; } ///< after weights()

  private:
    void limit_variances(std::size_t first_ray, const FactoredWeights& factors);
    std::vector<unsigned char> excluded_channels() const;
    /// Of the residuals at a prediction, from some of the rotations. Collective.
    double find_scale(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                      std::span<const float> predicted);

    const solvers::RaySource& rays_;
    const mpi::Communicator& communicator_;
    std::vector<std::pair<double, double>> excluded_;
    double threshold_; ///< 0: squares
    mpi::BlockRange rows_;
    tomography::ScanGeometry own_;
    std::size_t translations_ = 0, channels_ = 0;
    std::vector<float> transmission_, line_, variance_; ///< the last two of the rotation read
    std::vector<double> ray_variance_;                  ///< factors
    std::optional<PseudoData> pseudo_;
    bool needs_model_ = false;
    PseudoDataCounts counts_;
    double scale_ = 1;
};

} // namespace xrdct::dlsr
