// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "tomography/scan_geometry.hpp"

#include <span>
#include <vector>

namespace xrdct::absorption {

/// A tube that holds the sample and does not diffract in lines: glass, quartz, a polymer.
struct Container {
    double mu = 0;                             ///< of its wall [1/mm]
    double outer_radius = 0, inner_radius = 0; ///< mm
    double centre_x = 0, centre_y = 0;         ///< mm, once it is found
};

/// Mean path [mm] of every ray [rotation][translation] in a disc, averaged over the ray's strip.
std::vector<float> disc_paths(const tomography::ScanGeometry& geometry, double centre_x,
                              double centre_y, double radius);

/// Optical depth of every ray in the container's wall: −ln of its mean transmission over the strip.
std::vector<double> container_depths(const tomography::ScanGeometry& geometry,
                                     const Container& container);

/// What tells where a container is, [rotation][translation]; NaN: missing.
struct ContainerEvidence {
    std::vector<std::span<const float>> amounts; ///< of the phases, corrected as far as known
    std::span<const float> total;                ///< intensity, corrected likewise
    /// Centre and radius [mm] of the smallest circle about the sample.
    double sample_x = 0, sample_y = 0, sample_radius = 0;
};

struct ContainerPlace {
    Container container; ///< with its centre
    /// Its wall is seen in the scattering that no phase explains; else its centre is that of the
    /// sample.
    bool seen = false;
};

/// Finds the place of a container of known radii: where its wall's share of the total intensity,
/// beside those of the phases and of what fills the bore evenly, explains most; where that is not
/// significant, about the sample. Throws Error when the sample does not fit into the bore, or the
/// wall is seen at other radii than those given. Not collective.
ContainerPlace find_container(const tomography::ScanGeometry& geometry, const Container& container,
                              const ContainerEvidence& evidence);

/// Smallest circle about the pixels [y][x] of a mask: centre and radius [mm]; 0 for none.
struct Circle {
    double x = 0, y = 0, radius = 0;
};
Circle enclosing_circle(const tomography::ImageGrid& grid, std::span<const unsigned char> mask);

} // namespace xrdct::absorption
