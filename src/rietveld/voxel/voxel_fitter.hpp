// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "rietveld/fit/refinement.hpp"
#include "rietveld/model/pattern_model.hpp"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::rietveld {

/// The widths of a phase, in the order in which they are kept.
enum class Width : int { size = 0, microstrain = 1, gauss_microstrain = 2 };
inline constexpr std::size_t width_count = 3;
/// "size", "microstrain", "gauss_microstrain".
std::string_view to_string(Width width);

/// Which widths of a phase are refined in every voxel.
struct VoxelWidths {
    std::string phase;
    std::array<bool, width_count> refine{}; ///< by Width
};

struct VoxelFitOptions {
    /// Phases whose cells are refined in every voxel: the parameters that the start model marks
    /// `refine`, or all independent ones where it marks none.
    std::vector<std::string> cell_phases;
    /// Phases of which widths are refined in every voxel, from the start model's on.
    std::vector<VoxelWidths> widths;
    /// Least size of a voxel [Å], and not below the start model's bound.
    double least_size = 10;
    /// Single peaks whose position is refined in every voxel.
    std::vector<std::string> position_peaks;
    /// Relative half-range of the voxel cells about the start model's.
    double cell_range = 0.025;
    /// Relative half-range of a coarse search of each voxel's cell before refining, taken only
    /// where it lowers χ² clearly; 0: none. Never beyond cell_range.
    double cell_search = 0.012;
    /// A phase whose scale / e.s.d. is below this keeps the start cell, reported as NaN.
    double significance = 3;
    int max_iterations = 25;
    /// Converged when the next step would move every parameter by less than about this many e.s.d.
    double tolerance = 3e-3;
    /// Multiply e.s.d. by GoF where GoF > 1 (always done when no variance is given).
    bool scale_errors = false;
};

/// State of one phase in one voxel; values are written to maps.
enum class VoxelPhaseStatus : int {
    refined = 0,       ///< significant; cell refined if asked for
    insignificant = 1, ///< scale below the significance limit: its cell is NaN
    at_bound = 2,      ///< a cell parameter ended on its bound: cell NaN
    absent = 3,        ///< not in the model of this voxel (outside the phase's mask): all NaN
    unresolved = 4,    ///< as refined, but a width ended on a bound or is not told from none: NaN
};

struct VoxelPhaseFit {
    double scale = 0, scale_esd = 0;
    double weight_fraction = 0,
           weight_fraction_esd = 0; ///< Hill & Howard, of the refined crystalline phases
    /// Independent cell parameters (order of PhaseModel::cell) and e.s.d.; NaN when not refined in
    /// this voxel.
    std::array<double, 6> cell{}, cell_esd{};
    /// Size [Å], microstrain and Gaussian microstrain, by Width, and e.s.d.; NaN likewise.
    std::array<double, width_count> width{}, width_esd{};
    VoxelPhaseStatus status = VoxelPhaseStatus::insignificant;
};

struct VoxelPeakFit {
    double area = 0, area_esd = 0;
    double position = 0, position_esd = 0; ///< deg; esd NaN when not refined
};

struct VoxelFit {
    FitStatus status = FitStatus::masked;
    int iterations = 0;
    double rwp = 0, gof = 0; ///< NaN when nothing was fitted
    std::vector<VoxelPhaseFit> phases;
    std::vector<VoxelPeakFit> peaks;
    std::vector<double> background, background_esd;
};

/// One column of the table of results: `phase/quantity`, with an e.s.d. column of its own called
/// `…_errors`.
struct VoxelQuantity {
    std::string group; ///< phase or peak name, "background", or "" for the voxel as a whole
    std::string
        quantity; ///< "scale", "weight_fraction", "a", "area", "rwp", "status", "scale_errors", …
    std::string unit; ///< "angstrom", "deg", "" …
};

/// Fits the patterns of many voxels with one model: shared instrument, widths, wavelength; per
/// voxel the scales (≥ 0), the cells and widths of chosen phases, the refined background terms, the
/// areas of single peaks and chosen positions.
///
/// The start is the same for every voxel, so that a result depends on its own pattern alone. The
/// object is immutable and may be shared by threads; each thread needs its own Workspace.
///
/// Phases with fixed cells are precomputed columns. The lines of refined cells are tabulated
/// against 2θ and interpolated with cubic Hermite polynomials; those of refined widths are
/// calculated in float32. interpolation_error() says how far both are from the exact pattern.
///
/// Widths move in 1/size, ε and ε_G², in which lines without broadening are nothing special. A
/// width is unresolved where it ends on a bound (the least size; a broadening of 1/50 of the
/// instrument's width) or is less than two e.s.d. of that variable. On the broad bound it goes back
/// to the start and the rest is fitted again: so broad a line is rather background.
class VoxelFitter {
  public:
    /// `start`: normally RefinementResult::model of the mean pattern. Scales and areas with refine
    /// = false stay at their values; other `refine` flags (widths, zero, cells of other phases …)
    /// are ignored: they are global here. Throws Error for unknown or repeated names in `options`
    /// and for PatternCalculator's reasons. The tables lie in the memory of the team, whose members
    /// make them in parts: collective over it. It need not outlive the fitter.
    VoxelFitter(const RadialAxis& axis, const PatternModel& start, const VoxelFitOptions& options,
                const SharedMemoryTeam& team = SharedMemoryTeam::single());
    /// For a start that differs from that of `like` in sizes and strains alone, which spares the
    /// structure factors. Collective over the team.
    VoxelFitter(const VoxelFitter& like, const PatternModel& start,
                const SharedMemoryTeam& team = SharedMemoryTeam::single());
    ~VoxelFitter();
    VoxelFitter(VoxelFitter&&) noexcept;
    VoxelFitter& operator=(VoxelFitter&&) noexcept;
    VoxelFitter(const VoxelFitter&) = delete;
    VoxelFitter& operator=(const VoxelFitter&) = delete;

    class Workspace {
      public:
        explicit Workspace(const VoxelFitter& fitter);
        ~Workspace();
        Workspace(Workspace&&) noexcept;
        Workspace& operator=(Workspace&&) noexcept;
        Workspace(const Workspace&) = delete;
        Workspace& operator=(const Workspace&) = delete;

      private:
        friend class VoxelFitter;
        struct State;
        std::unique_ptr<State> state_;
    };

    /// Fits one pattern [n]. `variance` [n], or empty (constant weights, e.s.d. scaled by GoF).
    /// Channels whose intensity is not finite or whose variance is not finite and positive are left
    /// out. Throws only for wrong lengths.
    /// `present` [phases], or empty: whether a phase is in the model of this voxel at all.
    void fit(std::span<const float> intensity, std::span<const float> variance,
             Workspace& workspace, VoxelFit& result,
             std::span<const unsigned char> present = {}) const;
    /// The same with a workspace of its own; convenient, slow.
    VoxelFit fit(std::span<const float> intensity, std::span<const float> variance = {}) const;

    /// Calculated pattern [n] of a result.
    std::vector<double> calculate(const VoxelFit& result) const;

    std::size_t channel_count() const;
    const RadialAxis& axis() const;
    const PatternModel& model() const;
    const VoxelFitOptions& options() const;
    /// Largest error of an interpolated pattern relative to its highest point, measured at
    /// construction half-way between the nodes of every table, and of phases with refined widths
    /// between the bounds of cell and widths.
    double interpolation_error() const;

    /// Columns of a flattened result: status, iterations, rwp, gof, then per phase scale,
    /// weight_fraction, status, the cell parameters and the widths refined per voxel, per peak
    /// area (and position), then the background coefficients; each value followed by its `_errors`.
    const std::vector<VoxelQuantity>& quantities() const;
    /// Writes a result as quantities().size() numbers.
    void flatten(const VoxelFit& result, std::span<double> row) const;

  private:
    struct Implementation;
    std::unique_ptr<const Implementation> implementation_;
};

} // namespace xrdct::rietveld
