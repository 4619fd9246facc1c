// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/picture.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::report {

/// Widths of an instrument's lines against the angle.
struct WidthPicture {
    std::vector<double> two_theta;                ///< deg, ascending
    std::vector<double> fwhm, gauss, lorentz;     ///< deg, of the profile at `two_theta`
    std::vector<double> line_two_theta;           ///< deg, lines fitted alone
    std::vector<double> line_fwhm, line_fwhm_esd; ///< deg
    std::string title, subtitle;
};

/// Draws it as the other pictures are drawn (see write_map_picture).
std::vector<std::filesystem::path> write_width_picture(const WidthPicture& picture,
                                                       const std::filesystem::path& stem,
                                                       const PictureOptions& options = {});

} // namespace xrdct::report
