// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/body_design.hpp"
#include "phantom/simulation.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace xrdct::phantom {

/// Simulates the scan of a body, ray by ray, from its geometry (no voxels): the intensities of
/// ScanSimulator, with profiles Ω that depend on crystallite size and microstrain at the place, and
/// positions and strengths of lines on the cell there.
///
/// Sampling: a strip is made of at least 6 rays, at most 10 µm and a quarter of the thinnest layer
/// apart; along a ray the borders of
/// regions are found to 0.1 µm and all else changes in steps of at most 20 µm and a third of the
/// scan's step. Profiles are interpolated between sizes 12 % apart, linearly in 1/size so that mean
/// breadths are exact, and between microstrains a twelfth of their range apart; lines linearly
/// between 64 cells. The broad peak of a separator, textures, and exit rays are not simulated.
class BodySimulator : public Simulation {
  public:
    /// Throws Error, naming the setting, for a design that makes no sense.
    BodySimulator(const BodyDesign& body, const ScanDesign& scan);
    ~BodySimulator() override;
    BodySimulator(BodySimulator&&) noexcept;
    BodySimulator& operator=(BodySimulator&&) noexcept;
    BodySimulator(const BodySimulator&) = delete;
    BodySimulator& operator=(const BodySimulator&) = delete;

    const BodyDesign& body() const; ///< with the lengths of its kind

    const std::vector<PhantomPhase>& phases() const override;
    std::string sample() const override;
    void simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                           std::span<float> transmission) const override;
    /// Beside the quantities of all samples `size` (harmonic mean over the phase in the voxel, as
    /// the mean breadth of its lines is) and `microstrain`.
    std::vector<TruthMap> truth_rows(std::size_t y_begin, std::size_t y_end,
                                     double counts_scale) const override;

  private:
    struct Model;
    std::unique_ptr<const Model> model_;
};

} // namespace xrdct::phantom
