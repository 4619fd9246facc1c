// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/palette.hpp"

#include <filesystem>
#include <vector>

namespace xrdct::test {

/// A decoded PNG.
struct Png {
    int width = 0, height = 0;
    std::vector<unsigned char> pixels; ///< [row from the top, column, rgb]

    report::Rgb at(int x, int y) const;
    /// Number of pixels of that colour, each channel within `tolerance`.
    int count(report::Rgb colour, int tolerance = 2) const;
    /// Mean row and column of those pixels.
    std::pair<double, double> centre(report::Rgb colour, int tolerance = 2) const;
};

Png read_png(const std::filesystem::path& path);

} // namespace xrdct::test
