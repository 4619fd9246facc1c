// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <vector>

#include "tomography/scan_geometry.hpp"

namespace xrdct::test {

/// Disc of uniform density; mm.
struct Disc {
    double x, y, radius, density;
};

/// Exact strip averages of discs [rotation][translation]: the chord averaged over the step and over
/// the beam's box.
std::vector<double> project_discs(const tomography::ScanGeometry& geometry,
                                  const std::vector<Disc>& discs);

/// Density averaged over the pixels [y][x], by sub-sampling.
std::vector<double> image_of_discs(const tomography::ImageGrid& grid,
                                   const std::vector<Disc>& discs, int samples = 8);

/// Rotations from `first` in even steps, translations symmetric about 0.
tomography::ScanGeometry scan(std::size_t rotations, double range, std::size_t translations,
                              double step, bool closed = false);

/// Gaussian smoothing of a map [y][x], σ in pixels.
std::vector<double> smooth(const std::vector<double>& image, std::size_t n, double sigma);

} // namespace xrdct::test
