// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/design.hpp"
#include "phantom/simulation.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace xrdct::phantom {

/// Simulates the scan of a jelly-roll cell, ray by ray, from its geometry (no voxels):
///
///   y(ω,t,k) = κ ⟨ exp(−∫μ dl) ∫ dl [ Σ_p φ_p/V_p² Σ_hkl m|F|² LP · Ω(2θ'_k) + diffuse ] ⟩
///
/// ⟨⟩ is the mean over the strip that a moving sample sees: a box one step wide convolved with the
/// beam's box. LP = (1 + cos²2θ) / (2 sin²θ cosθ). Each point at depth z appears at
/// tan 2θ' = (1 − z/D) tan 2θ with amplitude (D/(D − z))² (cos 2θ / cos 2θ')³. Ω is normalised per
/// degree of 2θ and averaged over the channel; κ follows from `counts`. Lengths along the ray are
/// in mm.
///
/// Sampling: a strip is made of rays at most 5 µm apart; along a ray the borders of layers are
/// found exactly and everything else changes in steps of at most 20 µm and a third of the scan's
/// step. Lithium and hot spots are smooth fields, tabulated every 20 µm or finer and interpolated,
/// the same for scan and truth.
class ScanSimulator : public Simulation {
  public:
    /// Throws Error, naming the setting, for a design that makes no sense.
    ScanSimulator(const CellDesign& cell, const ScanDesign& scan);
    ~ScanSimulator() override;
    ScanSimulator(ScanSimulator&&) noexcept;
    ScanSimulator& operator=(ScanSimulator&&) noexcept;
    ScanSimulator(const ScanSimulator&) = delete;
    ScanSimulator& operator=(const ScanSimulator&) = delete;

    const CellDesign& cell() const;

    const std::vector<PhantomPhase>& phases() const override;
    std::string sample() const override;
    void simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                           std::span<float> transmission) const override;
    std::vector<TruthMap> truth_rows(std::size_t y_begin, std::size_t y_end,
                                     double counts_scale) const override;

  private:
    struct Model;
    std::unique_ptr<const Model> model_;
};

} // namespace xrdct::phantom
