// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "phantom/design.hpp"
#include "phantom/log_histogram.hpp"
#include "phantom/structures.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace xrdct::phantom {

/// A phase of the simulated cell, as a job has to name it.
struct PhantomPhase {
    std::string name;            ///< "Fe", "NMC532", "NMC532_secondary", "LiC_dilute", …
    std::string structure;       ///< name of its StructureFile; two phases may share one
    crystal::UnitCell cell;      ///< true cell; of the primary cathode: its bulk
    double crystallite_size = 0; ///< Å
    bool varying_cell = false;   ///< a and c vary in space
    double density = 0;          ///< g/cm³ of the true (bulk) crystal
    double march = 1;            ///< March coefficient of 0 0 1 about the layers' normal; 1: none
};

/// A named map of the truth, values [y][x] of the rows asked for.
struct TruthMap {
    std::string phase;    ///< empty for maps of the whole sample
    std::string quantity; ///< volume_fraction, density, weight_fraction, scale, a, c; mu
    std::string units;    ///< "", "g/cm^3", "angstrom", "1/mm"
    std::vector<double> values;
};

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
///
/// Immutable after construction; one call works on one rotation, calls for different rotations may
/// run in different threads or processes and give the same result whatever their order.
class ScanSimulator {
  public:
    /// Throws Error, naming the setting, for a design that makes no sense.
    ScanSimulator(const CellDesign& cell, const ScanDesign& scan);
    ~ScanSimulator();
    ScanSimulator(ScanSimulator&&) noexcept;
    ScanSimulator& operator=(ScanSimulator&&) noexcept;
    ScanSimulator(const ScanSimulator&) = delete;
    ScanSimulator& operator=(const ScanSimulator&) = delete;

    const CellDesign& cell() const;
    const ScanDesign& scan() const; ///< with step and beam width resolved

    std::vector<double> rotation() const;    ///< degrees, recorded; missing ones left out
    std::vector<double> translation() const; ///< mm, recorded, centred on zero
    std::vector<double> two_theta() const;   ///< degrees, recorded channel centres
    double distance() const;                 ///< mm, recorded
    std::size_t n_rotations() const;
    std::size_t n_translations() const;
    std::size_t n_channels() const;

    const std::vector<PhantomPhase>& phases() const;

    /// Noise-free scan line `i_rotation` (of rotation()) before scaling to counts: `intensity`
    /// [translation][channel], `transmission` [translation] = ⟨exp(−∫μ dl)⟩.
    void simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                           std::span<float> transmission) const;

    /// The constant κ for a histogram of all noise-free intensities: counts / 99.99th percentile.
    double counts_scale(const LogHistogram& histogram) const;

    /// Multiplies a noise-free line by `scale` and, if the scan is to be noisy, draws Poisson
    /// counts. The random stream of a ray depends on seed, i_rotation and translation alone.
    void finish_rotation(std::size_t i_rotation, double scale, std::span<float> intensity) const;

    /// Truth averaged over the voxels of rows [y_begin, y_end) of the N × N image with N
    /// translations and pixel = step, centred on the axis. `scale` is κ φ/V² for κ =
    /// `counts_scale`. a and c are NaN where the phase is absent, weight_fraction where nothing
    /// crystalline is.
    std::vector<TruthMap> truth_rows(std::size_t y_begin, std::size_t y_end,
                                     double counts_scale) const;
    std::vector<double> axis() const; ///< mm, x (and y) of the pixels' centres

  private:
    struct Model;
    std::unique_ptr<const Model> model_;
};

} // namespace xrdct::phantom
