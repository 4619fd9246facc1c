// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"
#include "maps/amounts.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/product_file.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "tomography/scan_geometry.hpp"

#include <string>
#include <vector>

/// What the products of the rietveld and dlsr stages have in common. Serial: the files are open on
/// one rank.
namespace xrdct::pipeline {

using maps::cell_volumes;
using maps::PhaseMapView;
using maps::weight_fractions;
using maps::WeightFractions;

/// Whether a product may take the place of one that exists.
nexus::ProductFile::Existing existing(const RunOptions& options);

/// Attributes @meaning of what is called Rwp, GoF and e.s.d.; the glossary says the same.
inline constexpr const char* voxel_rwp_meaning =
    "sqrt(sum w (y - m)^2 / sum w y^2) over the channels of the voxel's reconstructed pattern, "
    "background included, w = 1/variance";
inline constexpr const char* voxel_gof_meaning =
    "sqrt(sum w (y - m)^2 / (channels - parameters)) of the voxel, w = 1/variance";
inline constexpr const char* mean_rwp_meaning =
    "sqrt(sum w (y - m)^2 / sum w y^2) over the channels of the mean over the voxels, background "
    "included, w = 1/variance";
inline constexpr const char* dlsr_rwp_meaning =
    "sqrt(sum w (y - m)^2 / sum w y^2) over all channels of all rays as measured, background "
    "included, w the factored weights of the fit; outlying samples of a robust loss left out";
inline constexpr const char* dlsr_gof_meaning =
    "sqrt(mean of (y - m)^2 / variance) over all channels of all rays; outlying samples of a "
    "robust loss left out";
inline constexpr const char* counting_esd_meaning =
    "e.s.d. from counting noise alone: no errors of model, wavelength, calibration or parallax";

/// Marks the maps "<quantity>_errors" of a group as e.s.d. of counting noise alone (`scaled`:
/// multiplied by GoF, where variances are known up to a factor).
void describe_errors(const hdf5::Group& group, bool scaled);

/// Axes y and x [mm] of square maps.
void write_map_axes(hdf5::Group& group, const std::vector<double>& x);
/// The same of an image.
void write_image_axes(hdf5::Group& group, const tomography::ImageGrid& grid);

/// The map "mask".
void write_mask_map(hdf5::Group& group, const std::vector<unsigned char>& mask, std::size_t n,
                    const std::string& long_name);

/// The maps "volume_fraction" and "density" of maps::phase_amounts().
void write_amounts(hdf5::Group& group, std::size_t n, const rietveld::PhaseModel& phase,
                   const PhaseMapView& view, double constant);

/// The lengths of the cell in the phase's structure file [Å] as attributes reference_a, … of its
/// group, to compare what was found with.
void write_reference_cell(hdf5::Group& group, const rietveld::PhaseModel& phase);

/// Lets viewers open the phase that the job is about (maps::main_phase(), by the phases' density
/// maps, else their scales) and its volume fraction, else density, weight fraction; its lattice
/// parameters are the auxiliary signals. For a stage whose groups of phases are written; one that
/// has none keeps the default it has.
void set_default_phase(hdf5::Group& stage, const settings::Job& job);

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
