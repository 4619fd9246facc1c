#pragma once

#include "jobs/pipeline/dlsr_output.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "mpi/comm/decomposition.hpp"
#include "solvers/dlsr/data.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/pseudo_data.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::pipeline {

/// The rotations of a scan that a rank holds, as the DLSR reads them: monitor applied, absorption
/// left in. The scan is read anew by every pass; nothing with a channel axis is kept.
class DlsrScan {
  public:
    /// Refers to the context, which must outlive it. Not collective.
    explicit DlsrScan(const StageContext& context);

    const tomography::ScanGeometry& geometry() const { return own_; } ///< own rotations
    mpi::BlockRange rotations() const { return rows_; }
    std::size_t ray_count() const { return rows_.size() * translations_; }
    std::size_t channel_count() const { return channels_; }
    const std::vector<float>& transmission() const { return transmission_; } ///< own rays

    /// Collective. First of all passes over the data.
    dlsr::FactoredWeights weights();
    /// True when the data depend on the model: samples are masked or the loss is
    /// robust.
    bool needs_model() const { return needs_model_; }
    /// Coefficients of all own rays [ray][M], 0 for rays without weight: what can be said without a
    /// model. Not collective.
    std::vector<float> compress(const rietveld::PatternBasis& basis,
                                std::span<const float> ray_weight);
    /// Pseudo-data (see PseudoData) at a point: coefficients of the model's prediction [own ray][M]
    /// are replaced by those of the data. Collective.
    void replace(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                 std::span<float> predicted);
    const dlsr::PseudoDataCounts& counts() const { return counts_; } ///< of the last replace()
    double residual_scale() const { return scale_; }                 ///< of the last replace()
    /// Samples of the noise of all own rays, compressed likewise [ray][M]. Not collective.
    std::vector<float> noise(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                             std::uint64_t seed);
    /// Residual sinogram, mean patterns, residuals of lines, Rwp and GoF at the operator's point
    /// (set with derivatives). With a robust loss outlying samples are not in Rwp and GoF. Fills
    /// the result on the root. Collective.
    void diagnose(dlsr::Operator& model, const rietveld::PatternModel& at,
                  std::span<const float> ray_weight, DlsrResult& result);

  private:
    /// Fills line_ and variance_ [translation][channel].
    void read(std::size_t rotation);
    std::span<const float> pattern(std::size_t translation) const;
    std::span<const float> variance(std::size_t translation) const;
    float pixels_of(std::size_t channel) const; ///< that a channel of counts is a mean of
    dlsr::RaySamples samples(std::size_t rotation, std::size_t translation) const;
    /// Of the residuals at a prediction, from some of the rotations. Collective.
    double find_scale(const rietveld::PatternBasis& basis, std::span<const float> ray_weight,
                      std::span<const float> predicted);

    const StageContext& context_;
    StageContext unabsorbed_;
    mpi::BlockRange rows_;
    tomography::ScanGeometry own_;
    std::size_t translations_ = 0, channels_ = 0;
    std::vector<double> two_theta_;
    std::vector<float> transmission_, line_, variance_;
    std::vector<double> ray_variance_; ///< factors
    std::optional<dlsr::PseudoData> pseudo_;
    bool needs_model_ = false;
    dlsr::PseudoDataCounts counts_;
    double scale_ = 1;
};

} // namespace xrdct::pipeline
