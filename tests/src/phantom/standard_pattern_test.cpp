// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/standard_pattern.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/standards.hpp"
#include "phantom/smearing.hpp"
#include "rietveld/fit/calibration.hpp"
#include "small_cell.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

namespace xrdct::phantom {
namespace {

const crystal::Phase& ceria() {
    static const auto phase = crystal::powder_standard("CeO2").phase();
    return phase;
}

// The calibration has its own lines, widths and profile.
TEST(StandardPattern, ACalibrationFindsTheInstrument) {
    ScanDesign scan;
    const auto counts = standard_pattern(scan, ceria());
    std::vector<double> centres, variance;
    for (std::size_t k = 0; k < counts.size(); ++k) {
        centres.push_back(scan.two_theta_first + static_cast<double>(k) * scan.two_theta_width);
        variance.push_back(std::max(counts[k], 1.0));
    }
    const auto found = rietveld::calibrate(
        rietveld::RadialAxis::from_two_theta(centres, scan.wavelength), counts, variance, ceria());
    EXPECT_NEAR(found.cell_ppm, 0, 5 * found.cell_ppm_esd + 5);
    EXPECT_NEAR(found.fit.agreement.gof, 1, 0.1);
    for (const double two_theta : {1.5, 3.0, 5.0})
        EXPECT_NEAR(found.fwhm(two_theta) /
                        instrument_shape(scan.profile, 0, scan.wavelength, two_theta).fwhm,
                    1, 0.02)
            << two_theta;
}

TEST(StandardPattern, HighestChannelHoldsTheCountsAndSeedsDiffer) {
    ScanDesign scan;
    scan.noise = false;
    const auto exact = standard_pattern(scan, ceria(), 5000);
    EXPECT_NEAR(*std::max_element(exact.begin(), exact.end()), 5000, 60);
    scan.noise = true;
    const auto one = standard_pattern(scan, ceria(), 5000);
    scan.seed = 2;
    const auto other = standard_pattern(scan, ceria(), 5000);
    EXPECT_NE(one, other);
    double chi_squared = 0;
    for (std::size_t k = 0; k < exact.size(); ++k)
        chi_squared += std::pow(one[k] - exact[k], 2) / exact[k];
    EXPECT_NEAR(chi_squared / static_cast<double>(exact.size()), 1, 0.2);
}

TEST(StandardPattern, NoLineIsAnError) {
    ScanDesign scan;
    scan.channels = 5;
    scan.two_theta_first = 0.5;
    EXPECT_THROW(standard_pattern(scan, ceria()), Error);
}

// Of the standard's nearness to the detector every line is too far out, and the distance too small.
TEST(ScanSimulator, ACalibrantOffTheAxisStretchesTheRecordedScale) {
    auto scan = small_scan();
    const ScanSimulator straight(small_cell(), scan);
    scan.calibrant_shift = 5;
    const ScanSimulator shifted(small_cell(), scan);
    EXPECT_DOUBLE_EQ(shifted.distance(), straight.distance() - 5);
    const auto right = straight.two_theta(), recorded = shifted.two_theta();
    for (std::size_t k = 0; k < right.size(); ++k)
        EXPECT_NEAR(std::tan(radians(recorded[k])) / std::tan(radians(right[k])), 1000.0 / 995.0,
                    1e-12);
    EXPECT_EQ(line(straight, 1).intensity, line(shifted, 1).intensity);
}

// Few grains of the can's iron: single lines of single rays scatter, their mean does not.
TEST(ScanSimulator, CoarseGrainsScatterTheLinesOfMetals) {
    auto scan = small_scan();
    const ScanSimulator fine(iron_rod(), scan);
    scan.metal_grains = 40;
    const ScanSimulator coarse(iron_rod(), scan);
    double expected = 0, found = 0, squares = 0;
    std::size_t rays = 0;
    for (std::size_t i = 0; i < fine.n_rotations(); ++i) {
        const auto smooth = line(fine, i), spotty = line(coarse, i);
        EXPECT_EQ(smooth.transmission, spotty.transmission);
        const std::size_t n = fine.n_channels();
        for (std::size_t t = 4; t + 4 < fine.n_translations(); ++t) {
            const auto sum = [&](const Line& l) {
                const auto at = l.intensity.begin() + static_cast<std::ptrdiff_t>(t * n);
                return std::accumulate(at, at + static_cast<std::ptrdiff_t>(n), 0.0);
            };
            const double a = sum(smooth), b = sum(spotty);
            expected += a;
            found += b;
            squares += std::pow(b / a - 1, 2);
            ++rays;
        }
    }
    EXPECT_NEAR(found / expected, 1, 0.03);
    // A few strong lines of some 150 grains each along 4 mm.
    const double scatter = std::sqrt(squares / static_cast<double>(rays));
    EXPECT_GT(scatter, 0.02);
    EXPECT_LT(scatter, 0.15);
}

} // namespace
} // namespace xrdct::phantom
