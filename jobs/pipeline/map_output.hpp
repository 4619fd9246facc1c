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
