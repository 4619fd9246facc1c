// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "integration/azimuthal_integrator.hpp"
#include "jobs/program/provenance.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/frames/frame_series.hpp"
#include "mpi/frames/scan_grid.hpp"
#include "mpi/nexus/product_file.hpp"

#include <optional>
#include <string>

namespace xrdct::commands {

/// What an integrated scan says about itself.
struct PatternsInfo {
    std::string title;
    std::size_t frames = 0;
    std::vector<double> two_theta; ///< deg, channel centres
    integration::RadialUnit unit = integration::RadialUnit::two_theta;
    std::vector<double> radial; ///< centres in `unit`
    std::vector<float> pixels;  ///< [channel] unmasked detector pixels
    bool pixels_per_frame = false;
    bool counts = true;    ///< intensities are mean counts per pixel
    double wavelength = 0; ///< Å; 0: not known
    double distance = 0;   ///< mm
    bool solid_angle_corrected = true;
    bool polarization_corrected = false;
    frames::FrameVectors vectors;
    std::optional<frames::ScanGrid> grid; ///< given: a sinogram is written, else patterns
};

/// Writes integrated frames as they come: a sinogram /entry/data [rotation, translation, channel]
/// when there is a grid, else /entry/patterns [frame, channel]; see docs/file-formats.md. The
/// constructor, commit() and the destructor are collective.
class PatternWriter {
  public:
    PatternWriter(const std::filesystem::path& path, bool force, const PatternsInfo& info,
                  const program::Provenance& provenance, const mpi::Communicator& communicator);

    /// Frames first, first + 1, …; [frame][channel] each. `invalid` [frame]: pixels without a
    /// value. Not collective; every frame must be written by exactly one rank.
    void write(std::size_t first, std::span<const float> intensity, std::span<const float> errors,
               std::span<const float> kept, std::span<const std::int32_t> invalid);

    void commit(const program::Timings& timings);

  private:
    void write_rows(hdf5::Dataset& dataset, std::size_t first, std::span<const float> values);

    nexus::ProductFile product_;
    std::size_t channels_;
    std::optional<frames::ScanGrid> grid_;
    std::optional<hdf5::Group> process_;
    std::optional<hdf5::Dataset> intensity_, errors_, kept_, invalid_;
};

} // namespace xrdct::commands
