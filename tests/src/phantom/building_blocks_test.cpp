// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "phantom/log_histogram.hpp"
#include "phantom/poisson.hpp"
#include "phantom/smearing.hpp"
#include "phantom/structures.hpp"

#include "crystal/phase.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

namespace xrdct::phantom {
namespace {

TEST(LogHistogram, QuantilesToATenthOfAPercent) {
    phantom::RayRandom random(3, 0, 0);
    std::vector<float> values(20000);
    for (float& v : values)
        v = static_cast<float>(std::exp(12 * random.uniform() - 6));
    phantom::LogHistogram histogram;
    histogram.add(values);
    std::sort(values.begin(), values.end());
    for (const double q : {0.01, 0.3, 0.5, 0.99, 0.9999}) {
        const double exact = values[static_cast<std::size_t>(q * 20000) - 1];
        EXPECT_NEAR(histogram.quantile(q) / exact, 1, 2.5e-3) << q;
    }
    EXPECT_EQ(histogram.total(), 20000U);
}

TEST(LogHistogram, SharesAddUp) {
    const std::vector<float> values{1, 2, 3, 4, 5, 6, 7, 8};
    phantom::LogHistogram whole, left, right;
    whole.add(values);
    left.add(std::span(values).first(3));
    right.add(std::span(values).subspan(3));
    left.merge(right);
    EXPECT_TRUE(std::equal(whole.bins().begin(), whole.bins().end(), left.bins().begin()));
}

TEST(LogHistogram, OddValues) {
    phantom::LogHistogram histogram;
    EXPECT_EQ(histogram.quantile(0.5), 0);
    const float inf = std::numeric_limits<float>::infinity();
    histogram.add(std::vector<float>{NAN, inf, -3.0F, 0.0F, std::numeric_limits<float>::max()});
    EXPECT_EQ(histogram.total(), 3U);
    EXPECT_EQ(histogram.quantile(0.5), 0);
    EXPECT_GT(histogram.quantile(1), 3.39e38);
}

TEST(Poisson, MeanVarianceAndThirdMoment) {
    for (const double mean : {0.05, 0.8, 5.0, 11.9, 12.1, 40.0, 2000.0}) {
        phantom::RayRandom random(7, static_cast<std::uint64_t>(1000 * mean), 1);
        const int n = 400000;
        double s1 = 0, s2 = 0, s3 = 0;
        for (int i = 0; i < n; ++i) {
            const double d = random.poisson(mean) - mean;
            s1 += d;
            s2 += d * d;
            s3 += d * d * d;
        }
        EXPECT_NEAR(s1 / n, 0, 5 * std::sqrt(mean / n)) << mean;
        EXPECT_NEAR(s2 / n / mean, 1, 5 * std::sqrt((2 + 1 / mean) / n)) << mean;
        // Var[(x − μ)³] = 15 μ³ + 25 μ² + μ
        EXPECT_NEAR(s3 / n, mean,
                    6 * std::sqrt((15 * mean * mean * mean + 25 * mean * mean + mean) / n))
            << mean;
    }
}

TEST(Poisson, FrequenciesFollowTheDistribution) {
    for (const double mean : {3.0, 30.0}) {
        phantom::RayRandom random(11, 0, 0);
        const int n = 300000;
        std::vector<int> histogram(200, 0);
        for (int i = 0; i < n; ++i)
            ++histogram[static_cast<std::size_t>(random.poisson(mean))];
        double chi2 = 0;
        int cells = 0;
        for (std::size_t k = 0; k < histogram.size(); ++k) {
            const double expected = n * std::exp(static_cast<double>(k) * std::log(mean) - mean -
                                                 std::lgamma(static_cast<double>(k) + 1));
            if (expected < 20)
                continue;
            chi2 += (histogram[k] - expected) * (histogram[k] - expected) / expected;
            ++cells;
        }
        EXPECT_LT(chi2, cells + 5 * std::sqrt(2.0 * cells)) << mean;
    }
    phantom::RayRandom random(1, 2, 3);
    EXPECT_EQ(random.poisson(0), 0);
    EXPECT_EQ(random.poisson(-1), 0);
    EXPECT_EQ(random.poisson(NAN), 0);
}

TEST(Poisson, StreamsOfRaysDiffer) {
    EXPECT_EQ(phantom::RayRandom(1, 2, 3).bits(), phantom::RayRandom(1, 2, 3).bits());
    EXPECT_NE(phantom::RayRandom(1, 2, 3).bits(), phantom::RayRandom(1, 3, 2).bits());
    EXPECT_NE(phantom::RayRandom(1, 2, 3).bits(), phantom::RayRandom(2, 2, 3).bits());
    EXPECT_NE(phantom::RayRandom(1, 2, 3).bits(), phantom::RayRandom(1, 2, 4).bits());
}

TEST(PeakShape, WidthAgreesWithTheVoigtFunction) {
    // Half maximum found from the profile itself; Voigt width by Olivero & Longbothum (1977).
    for (const auto& [g, l] : {std::pair{0.02, 0.0}, {0.0, 0.02}, {0.02, 0.005}, {0.015, 0.02}}) {
        const phantom::PeakShape shape = phantom::PeakShape::tch(g * g, l);
        const double h = 1e-6;
        const double top = shape.mean(0, h);
        EXPECT_NEAR(shape.mean(0.5 * shape.fwhm, h) / top, 0.5, 1e-4);
        const double voigt = 0.5346 * l + std::sqrt(0.2166 * l * l + g * g);
        EXPECT_NEAR(shape.fwhm / voigt, 1, 0.01);
        EXPECT_NEAR(shape.cumulative(0), 0.5, 1e-12);
        EXPECT_NEAR(shape.cumulative(1e5), 1, 1e-6);
    }
    EXPECT_NEAR(phantom::PeakShape::tch(4e-4, 0).lorentz, 0, 1e-9);
    EXPECT_NEAR(phantom::PeakShape::tch(0, 0.02).lorentz, 1, 1e-5);
}

TEST(PeakShape, DefaultInstrumentIsThatOfTheStandard) {
    const InstrumentProfile profile;
    EXPECT_NEAR(instrument_shape(profile, 0, 0.11979, 2.2).fwhm, 0.0185, 2e-4);
    EXPECT_NEAR(instrument_shape(profile, 0, 0.11979, 6.6).fwhm, 0.0243, 3e-4);
    // Scherrer: 0.94 · 0.11979 / 500 rad, Lorentzian alone.
    const InstrumentProfile none{0, 0, 0, 0, 0};
    EXPECT_NEAR(instrument_shape(none, 500, 0.11979, 3).fwhm,
                0.94 * 0.11979 / 500 * 180 / std::numbers::pi / std::cos(0.026179939), 1e-9);
}

TEST(Smearing, OneLineBecomesTheProfileWhereverItFalls) {
    const phantom::Smearing::Channels channels{300, 2.0, 0.00566};
    const InstrumentProfile profile;
    for (const double size : {0.0, 300.0}) {
        const phantom::Smearing smearing(channels, 0.5, profile, size, 0.11979);
        for (double two_theta : {2.5, 2.5004, 2.5009, 3.1, 3.3123, 1.8}) {
            const double t = std::tan(two_theta * std::numbers::pi / 180);
            std::vector<float> spectrum(smearing.bins(), 0.0F), y(channels.count, 0.0F);
            const double position = smearing.position(t);
            const int bin = static_cast<int>(std::lround(position));
            phantom::Smearing::deposit(
                spectrum.data(), bin,
                phantom::Smearing::weights(static_cast<float>(position - bin)));
            smearing.add(1, spectrum.data(), y.data());
            const phantom::PeakShape shape = instrument_shape(profile, size, 0.11979, two_theta);
            const double top = shape.mean(0, channels.width);
            for (std::size_t k = 0; k < channels.count; ++k) {
                const double x =
                    channels.first + static_cast<double>(k) * channels.width - two_theta;
                const double expected = shape.mean(x, channels.width);
                ASSERT_NEAR(y[k], expected, 1.5e-3 * top) << two_theta << " channel " << k;
                if (std::abs(x) > 0.06) {
                    ASSERT_NEAR(y[k], expected, 0.02 * expected + 1e-5 * top) << "tail at " << x;
                }
            }
        }
    }
}

TEST(Smearing, BroadPeaksAndSeveralSpectraAtOnce) {
    const phantom::Smearing::Channels channels{200, 1.2, 0.00566};
    const phantom::PeakShape shape{0.16, 0.5};
    const phantom::Smearing smearing(channels, 0.5, shape);
    std::vector<float> spectra(2 * smearing.bins(), 0.0F), y(2 * channels.count, 1.0F);
    const double t = std::tan(1.65 * std::numbers::pi / 180);
    const double position = smearing.position(t);
    const int bin = static_cast<int>(std::lround(position));
    phantom::Smearing::deposit(spectra.data() + smearing.bins(), bin,
                               phantom::Smearing::weights(static_cast<float>(position - bin)));
    smearing.add(2, spectra.data(), y.data());
    const double top = shape.mean(0, channels.width);
    for (std::size_t k = 0; k < channels.count; ++k) {
        const double x = channels.first + static_cast<double>(k) * channels.width - 1.65;
        EXPECT_EQ(y[k], 1.0F);
        EXPECT_NEAR(y[channels.count + k], 1 + shape.mean(x, channels.width), 1e-2 * top);
    }
}

TEST(Structures, AreSoundCrystals) {
    const std::vector<std::pair<const char*, double>> density{
        {"Fe", 7.874},   {"Cu", 8.935},         {"Al", 2.699},       {"NMC532", 4.734},
        {"LiC6", 2.206}, {"LiC12", 2.230},      {"graphite", 2.261}, {"CeO2", 7.214},
        {"TiO2", 3.893}, {"gamma-Al2O3", 3.648}};
    ASSERT_EQ(structure_files().size(), density.size());
    for (const auto& [name, value] : density) {
        const auto& file = structure_file(name);
        const auto phase = crystal::Phase::from_cif_text(file.text, file.file_name());
        EXPECT_NEAR(phase.density(), value, 2e-3 * value) << name;
        EXPECT_TRUE(phase.warnings().empty()) << name;
    }
    EXPECT_THROW(structure_file("unobtainium"), Error);
}

} // namespace
} // namespace xrdct::phantom
