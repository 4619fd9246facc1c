// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "integration/azimuthal_integrator.hpp"
#include "mpi/frames/frame_series.hpp"
#include "mpi/frames/scan_grid.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::commands {

/// Everything the command line says.
struct IntegrateOptions {
    std::vector<std::string> frames;
    std::string poni, output, dark, flat, positions, text;
    std::vector<std::string> masks;
    frames::FrameSeries::Options series;
    integration::IntegrationSettings settings;
    bool noise_given = false;
    bool gaps = true;
    std::optional<std::int32_t> saturation;
    std::optional<double> wavelength; ///< Å
    std::optional<frames::RegularAxis> rotations, translations;
    frames::ScanOrder order;
    bool mask_bad_frames = true;
    bool patterns = false; ///< [frame, channel] even if there is a grid
    bool force = false, json = false;
};

/// Reads the command line of `xrdct integrate`. False when --help was asked for. Throws Error
/// naming the option.
bool read_integrate_options(const std::vector<std::string>& arguments, IntegrateOptions& options);

} // namespace xrdct::commands
