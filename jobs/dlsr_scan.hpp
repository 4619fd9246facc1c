#pragma once

#include "jobs/dlsr_output.hpp"
#include "jobs/pipeline.hpp"
#include "mpi/decomposition.hpp"
#include "solvers/dlsr_data.hpp"
#include "solvers/dlsr_operator.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace xrdct {

/// The rotations of a scan that a rank holds, as the DLSR reads them: monitor applied, absorption
/// left in. The scan is read anew by every pass; nothing with a channel axis is kept.
class DlsrScan {
  public:
    /// Refers to the context, which must outlive it. Not collective.
    explicit DlsrScan(const StageContext& context);

    const ScanGeometry& geometry() const { return own_; } ///< own rotations
    mpi::BlockRange rotations() const { return rows_; }
    std::size_t ray_count() const { return rows_.size() * translations_; }
    std::size_t channel_count() const { return channels_; }
    const std::vector<float>& transmission() const { return transmission_; } ///< own rays

    /// Collective.
    FactoredWeights weights();
    /// Coefficients of all own rays [ray][M], 0 for rays without weight. Not collective.
    std::vector<float> compress(const PatternBasis& basis, std::span<const float> ray_weight);
    /// Samples of the noise of all own rays, compressed likewise [ray][M]. Not collective.
    std::vector<float> noise(const PatternBasis& basis, std::span<const float> ray_weight,
                             std::uint64_t seed);
    /// Residual sinogram, mean patterns, residuals of lines, Rwp and GoF at the operator's point
    /// (set with derivatives). Fills the result on the root. Collective.
    void diagnose(DlsrOperator& model, const PatternModel& at, std::span<const float> ray_weight,
                  DlsrResult& result);

  private:
    /// Fills line_ and variance_ [translation][channel].
    void read(std::size_t rotation);
    std::span<const float> pattern(std::size_t translation) const;
    std::span<const float> variance(std::size_t translation) const;

    const StageContext& context_;
    StageContext unabsorbed_;
    mpi::BlockRange rows_;
    ScanGeometry own_;
    std::size_t translations_ = 0, channels_ = 0;
    std::vector<double> two_theta_;
    std::vector<float> transmission_, line_, variance_;
};

} // namespace xrdct
