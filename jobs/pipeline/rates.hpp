// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/units.hpp"
#include "jobs/pipeline/scan.hpp"

/// What estimates of stages have in common: the size of a scan as numbers, and rates measured on
/// one core at 3 GHz (see the benchmarks).
namespace xrdct::pipeline::rates {

inline constexpr double back_projection = 1.2e10; ///< pixel · rotation · channel per second
inline constexpr double disk = 5e8;               ///< bytes per second, all ranks together

struct Size {
    double rotations, translations, rays;
    double pixels, disc; ///< of an image; inside its inscribed circle
    double channels;     ///< in use
};

inline Size size_of(const Scan& scan) {
    const double rotations = static_cast<double>(scan.geometry().rotation.size());
    const double translations = static_cast<double>(scan.geometry().translation.size());
    const double pixels = static_cast<double>(scan.grid().size());
    return {rotations, translations,    rotations * translations,
            pixels,    pixels * pi / 4, static_cast<double>(scan.n_channel())};
}

} // namespace xrdct::pipeline::rates
