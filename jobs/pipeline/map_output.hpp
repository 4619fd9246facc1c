#pragma once

#include "mpi/hdf5/hdf5.hpp"
#include "rietveld/model/pattern_model.hpp"

#include <string>
#include <vector>

/// What the products of the rietveld and dlsr stages have in common. Serial: the files are open on
/// one rank.
namespace xrdct::pipeline {

/// Maps [y · n + x] of one phase; NaN: the phase is not in the voxel's model.
struct PhaseMapView {
    const std::vector<double>* scale = nullptr;
    const std::vector<double>* scale_errors = nullptr; ///< null: not known
    /// Per independent cell parameter, in the order of PhaseModel::cell; null or NaN: the model's.
    std::vector<const std::vector<double>*> cell;
};

/// Cell volume [Å³] in every voxel.
std::vector<double> cell_volumes(const rietveld::PhaseModel& phase, const PhaseMapView& maps);

/// Axes y and x [mm] of square maps.
void write_map_axes(hdf5::Group& group, const std::vector<double>& x);

/// The map "mask".
void write_mask_map(hdf5::Group& group, const std::vector<unsigned char>& mask, std::size_t n,
                    const std::string& long_name);

/// The maps "volume_fraction", K S V² with `constant` for K, and "density" [g/cm³]; their errors
/// are those of the scale.
void write_amounts(hdf5::Group& group, std::size_t n, const rietveld::PhaseModel& phase,
                   const PhaseMapView& maps, double constant);

/// A weight fraction in every voxel [y · n + x]; `errors` empty where those of a scale are missing.
struct WeightFractions {
    std::vector<double> values, errors;
};
/// W_p = S_p (ZMV)_p / Σ S (ZMV) in every voxel for all phases (Hill & Howard, J. Appl. Cryst. 20
/// (1987) 467), with the cells of the voxels; the errors take those of the scales as independent. A
/// phase with a NaN as scale does not count; nothing but NaN where the sum is not positive.
std::vector<WeightFractions> weight_fractions(const std::vector<rietveld::PhaseModel>& phases,
                                              const std::vector<PhaseMapView>& maps);

/// A mean pattern [channel] and its model.
struct MeanPatternView {
    const std::vector<double>& two_theta; ///< deg
    const std::vector<double>&observed, &calculated, &background;
    std::string units;
    double rwp = 0, gof = 0;
};
/// The group "mean_pattern"; `lines` are written as ticks of the phases they belong to.
void write_mean_pattern(hdf5::Group& stage, const MeanPatternView& pattern,
                        const std::vector<rietveld::PhaseModel>& phases,
                        const std::vector<rietveld::PatternLine>& lines);

} // namespace xrdct::pipeline
