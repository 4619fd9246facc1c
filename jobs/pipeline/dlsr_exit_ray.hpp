#pragma once

#include "jobs/pipeline/pipeline.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "rietveld/model/radial_axis.hpp"
#include "tomography/depth_projector.hpp"

#include <span>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// What the deviation of the diffracted rays makes of their absorption (exit_ray_factors), for the
/// job's dlsr.exit_ray = "deviated".
class DlsrExitRay {
  public:
    /// Map of μ from the absorption product, or of −ln of the transmission where that is measured;
    /// the angle is the mean 2θ of the model's lines in channels in use, weighted with their
    /// intensities. Throws Error for a product that is missing or does not fit, a map that is not
    /// finite, a model without lines. Not collective.
    DlsrExitRay(const StageContext& context, const rietveld::RadialAxis& axis,
                const rietveld::PatternModel& model, std::span<const double> channel_weight);

    double two_theta() const { return two_theta_; } ///< deg
    /// Factors [rotation][translation][layer] of the rotations of `geometry`; `reversed`: for the
    /// detector on the other side.
    std::vector<float> factors(const tomography::ScanGeometry& geometry,
                               const tomography::DepthLayers& layers, bool reversed = false) const;
    /// The angle and the range of factors [own ray][layer] of the rays with weight, in words.
    /// Collective.
    std::string describe(const mpi::Communicator& communicator, std::span<const float> factors,
                         std::span<const float> ray_weight) const;

  private:
    tomography::ImageGrid grid_;
    std::vector<float> mu_;
    double two_theta_ = 0;
};

} // namespace xrdct::pipeline
