// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "maps/phase_mask.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/node_team.hpp"
#include "rietveld/fit/mean_refinement.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"
#include "solvers/observer.hpp"
#include "solvers/voxels/global_shapes.hpp"
#include "solvers/voxels/volume_source.hpp"
#include "solvers/voxels/voxelwise_rietveld.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::voxels {

struct VoxelRefinementOptions {
    bool refine_start = true;  ///< the start model on the mean pattern of the object
    double cell_search = 0.03; ///< relative, of the cells in that refinement
    /// [phase][parameter in the order of PhaseModel::cell]: refined in every voxel.
    std::vector<std::vector<bool>> voxel_cells;
    /// [phase] the phase with the same structure whose cell is refined in every voxel, or −1: on
    /// the mean pattern the cell stays at its start, then refine_cells() decides.
    std::vector<int> leader;
    rietveld::VoxelFitOptions fit;
};

/// Mean over voxels.
struct MeanPattern {
    std::vector<double> intensity, variance; ///< [channel]
    std::size_t voxels = 0;
};

/// The maps of an object by fits of its voxels' patterns: a start model from the mean pattern, fits
/// of all voxels, masks of the phases from a first fit of them, widths that hold for the whole
/// object from some of the voxels. The caller says which of the steps are made, in the order of
/// this class; each is collective and leaves its part of the state.
class VoxelRefinement {
  public:
    struct State {
        MeanPattern mean;
        rietveld::RefinementResult start; ///< on the mean pattern; its model is that of the fits
        /// Cell parameters for refine_cells(); those of a phase stand together.
        std::vector<GlobalShape> undecided;
        /// Those of them, "LiC6 a", that the mean pattern ought to have told but did not.
        std::vector<std::string> untold;
        /// Names of single peaks that it did not tell: they stay where they start.
        std::vector<std::string> untold_peaks;
        std::vector<rietveld::AlikePhases> alike; ///< phases of its model
        /// [phase][voxel] 0: not in the voxel's model; empty: all phases everywhere.
        std::vector<std::vector<unsigned char>> masks;
        VoxelwiseResult fits; ///< maps on the root only
    };

    /// `sample` [voxel] 0: not fitted. All must outlive the object. Collective.
    VoxelRefinement(const mpi::Communicator& communicator, const VolumeSource& volume,
                    const std::vector<unsigned char>& sample, const VoxelRefinementOptions& options,
                    solvers::Observer& observer);

    const State& state() const { return state_; }

    /// Whether refine_cells() has anything to decide.
    bool has_undecided() const { return !state_.undecided.empty(); }

    /// The mean pattern of the sample.
    void average();
    /// The model refined on it by rietveld::refine_mean(): what the mean pattern does not tell is
    /// undecided. Throws Error for refine()'s reasons.
    void refine_start(const rietveld::PatternModel& model);

    /// Makes the tables of the fits in node-wide memory. Throws Error for VoxelFitter's reasons.
    void prepare();
    /// Fits every voxel with what prepare() made, which it frees; `title` is for the observer.
    void fit(std::string_view title = {});

    /// Masks from the fits of all voxels, which they end; `edited` [phase] on the root, empty where
    /// a phase has none. `derive`: from the maps, else the whole sample.
    void find_masks(bool derive, const maps::PhaseMaskOptions& options,
                    const std::vector<std::vector<unsigned char>>& edited);
    /// The undecided cell parameters from the voxels that hold most of their phase by the
    /// fits of all voxels, which they end, into the start model. Returns the largest relative
    /// change; 0 where no phase is significant in enough voxels to tell. Collective.
    double refine_cells();
    /// Phases of the start model that no pattern tells apart, into the state.
    void find_alike();
    /// Widths from some of the voxels, into the start model.
    void refine_widths(const std::vector<GlobalShape>& widths);

  private:
    void find_undecided(const rietveld::PatternModel& model,
                        const std::vector<rietveld::CellPlace>& untold);
    void read_tile(std::size_t y, const unsigned char* wanted, PatternTile& tile) const;
    std::vector<PatternTile> tiles_of(const std::vector<unsigned char>& wanted) const;
    std::vector<unsigned char> evenly_sampled() const;
    std::vector<unsigned char> rich_voxels(std::size_t phase) const;
    std::span<const double> map_of(std::size_t phase, std::string_view quantity) const;
    void take_over(const GlobalShapesResult& refined, const std::vector<GlobalShape>& shapes);
    std::vector<unsigned char> mask_of(std::size_t phase, const maps::PhaseMaskOptions& options,
                                       std::vector<unsigned char> edited, bool derive) const;

    const mpi::Communicator& communicator_;
    const VolumeSource& volume_;
    const std::vector<unsigned char>& sample_;
    VoxelRefinementOptions options_;
    solvers::Observer& observer_;
    mpi::NodeTeam team_;
    rietveld::RadialAxis axis_;
    std::optional<rietveld::VoxelFitter> fitter_;
    State state_;
};

} // namespace xrdct::voxels
