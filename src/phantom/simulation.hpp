// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "phantom/design.hpp"
#include "phantom/log_histogram.hpp"
#include "phantom/structures.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace xrdct::phantom {

/// A phase of the simulated sample, as a job has to name it.
struct PhantomPhase {
    std::string name;            ///< "Fe", "NMC532", "NMC532_secondary", "LiC_dilute", …
    std::string structure;       ///< name of its StructureFile; two phases may share one
    crystal::UnitCell cell;      ///< true cell; of one that varies: its bulk
    double crystallite_size = 0; ///< Å; of one that varies: inside
    bool varying_cell = false;   ///< a and c vary in space
    double density = 0;          ///< g/cm³ of the true (bulk) crystal
    double march = 1;            ///< March coefficient of 0 0 1 about the layers' normal; 1: none
    double microstrain = 0;      ///< ε, Lorentzian FWHM 4 ε tan θ; of one that varies: inside
    bool varying_size = false, varying_microstrain = false;
};

/// A named map of the truth, values [y][x] of the rows asked for.
struct TruthMap {
    std::string phase;    ///< empty for maps of the whole sample
    std::string quantity; ///< volume_fraction, density, weight_fraction, scale, a, c, of bodies
                          ///< size and microstrain, too; mu
    std::string units;    ///< "", "g/cm^3", "angstrom", "1/mm"
    std::vector<double> values;
};

/// A simulated scan of some sample, and its truth. What is recorded of a scan follows from its
/// ScanDesign alone, whatever the sample.
///
/// Immutable after construction; one call works on one rotation, calls for different rotations may
/// run in different threads or processes and give the same result whatever their order.
class Simulation {
  public:
    virtual ~Simulation() = default;
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    const ScanDesign& scan() const { return scan_; } ///< with step and beam width resolved
    virtual const std::vector<PhantomPhase>& phases() const = 0;
    /// A few words for titles.
    virtual std::string sample() const = 0;

    std::vector<double> rotation() const;    ///< degrees, recorded; missing ones left out
    std::vector<double> translation() const; ///< mm, recorded, centred on zero
    std::vector<double> two_theta() const;   ///< degrees, recorded channel centres
    std::vector<double> axis() const;        ///< mm, x (and y) of the pixels' centres
    double distance() const;                 ///< mm, recorded
    std::size_t n_rotations() const { return rotation_index_.size(); }
    std::size_t n_translations() const { return scan_.translations; }
    std::size_t n_channels() const { return scan_.channels; }
    /// Indices in the full scan of the rotations that are not missing.
    const std::vector<std::size_t>& rotation_index() const { return rotation_index_; }

    /// Noise-free scan line `i_rotation` (of rotation()) before scaling to counts: `intensity`
    /// [translation][channel], `transmission` [translation] = ⟨exp(−∫μ dl)⟩.
    virtual void simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                                   std::span<float> transmission) const = 0;

    /// The constant κ for a histogram of all noise-free intensities: counts / 99.99th percentile.
    double counts_scale(const LogHistogram& histogram) const;

    /// Multiplies a noise-free line by `scale` and, if the scan is to be noisy, draws Poisson
    /// counts. The random stream of a ray depends on seed, i_rotation and translation alone.
    void finish_rotation(std::size_t i_rotation, double scale, std::span<float> intensity) const;

    /// Truth averaged over the voxels of rows [y_begin, y_end) of the N × N image with N
    /// translations and pixel = step, centred on the axis. `scale` is κ φ/V² for κ =
    /// `counts_scale`. a and c (size and microstrain) are NaN where the phase is absent,
    /// weight_fraction where nothing crystalline is.
    virtual std::vector<TruthMap> truth_rows(std::size_t y_begin, std::size_t y_end,
                                             double counts_scale) const = 0;

  protected:
    /// `scan` as resolved() returns it.
    explicit Simulation(ScanDesign scan);
    Simulation(Simulation&&) = default;
    Simulation& operator=(Simulation&&) = default;
    /// Throws Error unless the room is that of one line.
    void check_line(std::size_t i_rotation, std::size_t intensities,
                    std::size_t transmissions) const;

  private:
    ScanDesign scan_;
    std::vector<std::size_t> rotation_index_;
};

/// How a sample stands in the scan.
struct Standing {
    double diameter = 0;               ///< mm, of a circle about its centre that holds it
    double centre_x = 0, centre_y = 0; ///< mm from the rotation axis
    double rotation = 0;               ///< degrees
    /// mm, the field that a step of 0 divides by the translations
    double field = 0;
};

/// The design with its step, beam width and missing rotations made definite. Throws Error, naming
/// the setting, for a design that makes no sense.
ScanDesign resolved(ScanDesign scan, const Standing& standing);

} // namespace xrdct::phantom
