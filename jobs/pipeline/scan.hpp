// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/scan/sinogram_file.hpp"
#include "tomography/scan_geometry.hpp"

#include <optional>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// Where the arrays of a scan are, as a job's [input] and [geometry] say; nothing is required yet.
scan::SinogramSource sinogram_source(const settings::InputSettings& input,
                                     const settings::GeometrySettings& geometry);

/// A scan as a job sees it: the file, the geometry in force and the channels in use.
class Scan {
  public:
    /// Opens the job's scan. Serial; under MPI every rank opens it for reading by itself (call
    /// inside Communicator::collectively). Throws Error naming file and dataset.
    static Scan open(const settings::Job& job);

    const scan::SinogramFile& file() const { return file_; }
    const scan::SinogramMetadata& metadata() const { return file_.metadata(); }

    /// Geometry with senses and distance; axis_offset is the job's, or 0 until set_axis_offset().
    const tomography::ScanGeometry& geometry() const { return geometry_; }
    void set_axis_offset(double offset) { geometry_.axis_offset = offset; }
    tomography::ImageGrid grid() const { return grid_; }

    /// Channels of the file that the job uses.
    mpi::BlockRange channels() const { return channels_; }
    std::size_t n_channel() const { return channels_.size(); }
    /// Centres in degrees of the channels in use; empty for a single-channel scan.
    std::vector<double> two_theta() const;
    double wavelength() const { return file_.metadata().wavelength; } ///< Å, NaN when unknown

    /// Where variances come from; never `automatic`.
    settings::NoiseModel noise() const { return noise_; }
    /// The same in words, for products and reports.
    std::string noise_description() const;
    /// Whether variances are known up to a constant only.
    bool relative_variance() const { return noise_ == settings::NoiseModel::estimate; }
    /// Pixels per channel in use; empty when the file has none (then counts are single numbers).
    const std::vector<double>& pixels() const { return pixels_; }

    /// Divides by monitor over its mean: factor per ray [rotation][translation], empty without a
    /// monitor.
    const std::vector<float>& monitor_factor() const { return monitor_factor_; }
    /// Measured transmission per ray [rotation][translation]; throws Error when the file has none.
    std::vector<float> transmission() const;

  private:
    explicit Scan(scan::SinogramFile file) : file_(std::move(file)) {}

    scan::SinogramFile file_;
    tomography::ScanGeometry geometry_;
    tomography::ImageGrid grid_;
    mpi::BlockRange channels_;
    settings::NoiseModel noise_ = settings::NoiseModel::estimate;
    std::vector<double> pixels_;
    std::vector<float> monitor_factor_;
};

} // namespace xrdct::pipeline
