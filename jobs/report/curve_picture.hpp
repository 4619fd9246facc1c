// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/picture.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::report {

/// Curves over one abscissa, in panels one above the other.
struct CurvePicture {
    struct Series {
        std::string name;           ///< in a legend when a panel has several
        std::vector<double> x, y;   ///< NaN in y: a gap
        std::vector<double> spread; ///< half height of a band about y; empty: none
    };
    struct Panel {
        std::string name;     ///< shown inside, any text
        std::string quantity; ///< see describe_quantity
        std::string units;    ///< as in the file
        std::vector<Series> series;
    };
    std::vector<Panel> panels;
    std::string title;
    std::string x_label; ///< any text
    std::string x_units;
    bool points = false;    ///< mark the points of the curves
    bool log_scale = false; ///< of the ordinates; values that are not positive are gaps
};

/// Draws `<stem>.png` and `<stem>.svg`. @throws Error naming the picture, as write_map_picture.
std::vector<std::filesystem::path> write_curve_picture(const CurvePicture& picture,
                                                       const std::filesystem::path& stem,
                                                       const PictureOptions& options = {});

} // namespace xrdct::report
