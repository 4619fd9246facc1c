// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"
#include "rietveld/model/radial_axis.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace xrdct::rietveld {

/// How the pattern of a ray is taken apart.
struct RayDecompositionOptions {
    /// Depths z [mm], positive towards the detector, at which a phase may lie along the ray; a
    /// phase's pattern appears at tan 2θ' = (1 − z / D) tan 2θ with its intensity times (D / (D −
    /// z))². One depth, 0, without parallax.
    std::vector<double> depths{0};
    double distance = 0; ///< D [mm], rotation axis to detector; needed for depths other than 0
    /// Phases whose cell varies inside the object: their pattern at cells that differ by ±
    /// cell_spread (relative) in one parameter counts towards their path
    /// integral.
    std::vector<std::string> varying_cells;
    double cell_spread = 0.003;
};

/// Path integrals of phases along a ray, by linear least squares: the pattern of a ray is the sum
/// of every phase's pattern at a few depths and cells (scales ≥ 0), single peaks (areas ≥ 0) and a
/// Chebyshev background. The path integral of a phase, the sum of its scales over depths and cells,
/// is ∫ S dl and does not depend on where along the beam the phase lies: peaks that parallax splits
/// or broadens keep their area. Immutable; shareable by threads, each with its own Workspace.
class RayDecomposition {
  public:
    /// `model`: cells, widths, background terms and peaks in force; scales are ignored. `variance`
    /// [n] of a typical ray; the same weights serve all rays. Throws Error for lengths, an unknown
    /// phase name, depths without distance, PatternCalculator's reasons.
    RayDecomposition(const RadialAxis& axis, const PatternModel& model,
                     std::span<const double> variance, const RayDecompositionOptions& options);
    ~RayDecomposition();
    RayDecomposition(RayDecomposition&&) noexcept;
    RayDecomposition& operator=(RayDecomposition&&) noexcept;
    RayDecomposition(const RayDecomposition&) = delete;
    RayDecomposition& operator=(const RayDecomposition&) = delete;

    std::size_t channel_count() const;
    std::size_t phase_count() const;
    std::size_t peak_count() const;
    std::size_t column_count() const;

    class Workspace {
      public:
        explicit Workspace(const RayDecomposition& decomposition);
        ~Workspace();
        Workspace(Workspace&&) noexcept;
        Workspace& operator=(Workspace&&) noexcept;
        Workspace(const Workspace&) = delete;
        Workspace& operator=(const Workspace&) = delete;

      private:
        friend class RayDecomposition;
        struct State;
        std::unique_ptr<State> state_;
    };

    /// Takes a pattern [n] apart. `integrals` [phase_count() + peak_count()]: path integrals of the
    /// phases and areas of the peaks, in the order of the model. Channels that are not finite are
    /// left out; NaN everywhere when fewer than twice column_count() are left. Throws Error for
    /// wrong lengths only.
    void fit(std::span<const float> intensity, std::span<double> integrals,
             Workspace& workspace) const;

  private:
    struct Impl;
    std::unique_ptr<const Impl> impl_;
};

} // namespace xrdct::rietveld
