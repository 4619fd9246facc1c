// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "rietveld/model/radial_axis.hpp"
#include "tomography/depth_projector.hpp"
#include "tomography/scan_geometry.hpp"

#include <span>
#include <string>
#include <vector>

namespace xrdct::dlsr {

/// What the deviation of the diffracted rays makes of their absorption (exit_ray_factors), at one
/// angle that stands for all channels.
class ExitRay {
  public:
    /// `mu` [y][x] of the grid [1/mm], finite. The angle is the mean 2θ of the model's lines in
    /// channels with weight, weighted with their intensities. Throws Error for a map of another
    /// size and a model without lines. Not collective.
    ExitRay(const tomography::ImageGrid& grid, std::vector<float> mu,
            const rietveld::RadialAxis& axis, const rietveld::PatternModel& model,
            std::span<const double> channel_weight);

    double two_theta() const { return two_theta_; } ///< deg
    /// Root mean square of tan²2θ over its value at two_theta(), less 1, over the lines weighted
    /// with their intensities: the share of A − 1 that one angle leaves uncorrected where A − 1
    /// grows with tan²2θ, as it does in media that are smooth over the way the rays move sideways.
    double left_share() const { return left_share_; }
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
    double two_theta_ = 0, left_share_ = 0;
};

} // namespace xrdct::dlsr
