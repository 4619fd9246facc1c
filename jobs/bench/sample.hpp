// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/decomposition.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"
#include "solvers/dlsr/problem.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace xrdct::bench {

/// Size of the scan that is measured or predicted.
struct Problem {
    std::size_t translations = 140, rotations = 220, channels = 700;
    bool sizes = false; ///< fits: the size of the cathode's crystallites in every voxel, too
    bool operator==(const Problem&) const = default;
};

/// A cell as it matters to the cost of the stages, made from formulas alone: a disc of rolled
/// layers in a steel can with six phases, a peak and three background terms; cells a and c of the
/// cathode differ from voxel to voxel, two widths are global. 1 m from the detector, 32 layers of
/// depth. Nothing is collective and every rank makes the same.
class Sample {
  public:
    /// Throws Error for fewer than 16 translations, 1 rotation or 64 channels.
    explicit Sample(const Problem& problem);
    Sample(const Sample&) = delete;
    Sample& operator=(const Sample&) = delete;

    const Problem& problem() const { return problem_; }
    const tomography::ImageGrid& grid() const { return grid_; }
    const rietveld::PatternBasis& basis() const { return *basis_; }
    /// The rotations `i` mod problem().rotations of a range: beyond the scan's own they repeat.
    tomography::ScanGeometry geometry(const mpi::BlockRange& rotations) const;
    /// Collective over `team`.
    dlsr::Operator make_operator(const mpi::BlockRange& rotations,
                                 const SharedMemoryTeam& team = SharedMemoryTeam::single()) const;
    std::vector<dlsr::Field> fields() const;
    std::vector<dlsr::Global> globals() const;
    /// Values at which a fit starts, and those that the data are made of.
    std::vector<double> start(const dlsr::Operator& model) const;
    std::vector<double> truth(const dlsr::Operator& model) const;

    /// Sinogram [rotation of the range][translation][channel], positive, smooth; rotations and
    /// channels of the scan repeat.
    std::vector<float> sinogram(const mpi::BlockRange& rotations,
                                const mpi::BlockRange& channels) const;

    /// Fits the patterns of voxels that carry the cathode.
    const rietveld::VoxelFitter& fitter() const { return *fitter_; }
    static constexpr std::size_t distinct_patterns = 64;
    /// One of the distinct noisy patterns [channel] and its variance.
    std::span<const float> pattern(std::size_t i) const;
    std::span<const float> variance(std::size_t i) const;
    std::size_t sample_voxels() const { return sample_voxels_; }
    /// Pixels y · n + x of the sample in row y mod n.
    std::vector<std::size_t> row_voxels(std::size_t y) const;
    /// Pixels in the field of view.
    std::size_t view_pixels() const;

  private:
    void place_scan();
    void place_parts(std::size_t parts);
    void find_unit_amounts(const rietveld::PatternCalculator& calculator, std::size_t parts);
    void make_patterns(const rietveld::PatternCalculator& calculator);

    std::vector<double> values(const dlsr::Operator& model, double change) const;

    Problem problem_;
    tomography::ImageGrid grid_;
    tomography::ScanGeometry geometry_; ///< all rotations of the scan
    tomography::DepthLayers layers_;
    rietveld::PatternModel model_;
    std::vector<std::vector<std::size_t>> pixels_; ///< per part
    std::vector<double> unit_amount_;              ///< per part, gives patterns of highest point 1
    std::size_t sample_voxels_ = 0;
    std::unique_ptr<rietveld::PatternBasis> basis_;
    std::unique_ptr<rietveld::VoxelFitter> fitter_;
    std::vector<float> patterns_, variances_;
};

} // namespace xrdct::bench
