// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <limits>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// The numbers of a scan that a wrong unit would make senseless. NaN: not known.
struct Magnitudes {
    double energy = std::numeric_limits<double>::quiet_NaN();        ///< keV
    double distance = std::numeric_limits<double>::quiet_NaN();      ///< mm; from 1e7: no parallax
    double translation_range = 0;                                    ///< mm, steps times step
    double translation_step = 0;                                     ///< mm
    double beam_width = std::numeric_limits<double>::quiet_NaN();    ///< mm
    double two_theta_max = std::numeric_limits<double>::quiet_NaN(); ///< deg
};

/// What is out of the range of experiments, with the factor of the usual slips of unit.
std::vector<Finding> check_magnitudes(const Magnitudes& magnitudes);

/// Range, gaps and spacing of `rotation` [deg], strictly monotonic: how the directions cover half a
/// turn.
std::vector<Finding> check_rotations(std::span<const double> rotation);

} // namespace xrdct::inspection
