// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "rietveld/model/radial_axis.hpp"

#include <string>
#include <vector>

namespace xrdct::test {

crystal::Phase iron(const std::string& name = "Fe");      ///< body-centred cubic
crystal::Phase aluminium(const std::string& name = "Al"); ///< face-centred cubic
crystal::Phase copper(const std::string& name = "Cu");    ///< face-centred cubic
crystal::Phase cathode(const std::string& name = "NMC");  ///< LiMO2, R -3 m, hexagonal axes
crystal::Phase lithium_graphite(const std::string& name = "LiC6");         ///< P 6/m m m
crystal::Phase dilute_lithium_graphite(const std::string& name = "LiC12"); ///< P 6/m m m
crystal::Phase triclinic(const std::string& name = "triclinic");
crystal::Phase monoclinic(const std::string& name = "monoclinic");

/// 700 channels of 0.00566° from 1.2°, 0.11979 Å: the channels of a cell scan.
rietveld::RadialAxis cell_axis(std::size_t channels = 700);

/// A pattern written down without the library's model: line positions from the quadratic forms of
/// cubic and hexagonal cells, Lorentz and polarisation factors, and a sum of a Gaussian and a
/// Lorentzian sampled 16 times per channel.
struct SimpleSample {
    crystal::Phase phase;
    double scale = 1;
    double a = 1, c = 0;              ///< c = 0: cubic
    double gauss = 0.02, lorentz = 0; ///< widths [deg] of the Gaussian and Lorentzian part
    double mixing = 0;                ///< Lorentzian fraction
};
std::vector<double> simple_pattern(const rietveld::RadialAxis& axis,
                                   const std::vector<SimpleSample>& samples);

/// Half the distance between the quantiles that hold 68.27 % of a sample: its standard deviation if
/// normal.
double robust_spread(std::vector<double> values);
double median(std::vector<double> values);

/// A pattern with normal noise, and its variances.
struct NoisyPattern {
    std::vector<float> y, variance;
};
/// Variances are those of counts on a background of 0.02 of the highest channel, which holds
/// `counts`.
NoisyPattern noisy_pattern(const std::vector<double>& exact, double counts, unsigned seed);

} // namespace xrdct::test
