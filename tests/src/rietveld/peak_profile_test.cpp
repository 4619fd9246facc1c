// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/peak_profile.hpp"

#include <cmath>
#include <gtest/gtest.h>

namespace {

using namespace xrdct;

rietveld::RadialAxis fine_axis(double step) {
    std::vector<double> two_theta;
    for (double x = 5; x < 15; x += step) {
        two_theta.push_back(x);
    }
    return rietveld::RadialAxis::from_two_theta(two_theta, 0.2);
}

double value_at(const rietveld::RadialAxis& axis, const rietveld::ProfileBuffer& p, double x) {
    // channel that holds x
    for (std::size_t i = 0; i < p.size(); ++i) {
        if (axis.edges()[p.first + i] <= x && x < axis.edges()[p.first + i + 1]) {
            return p.value[i];
        }
    }
    return 0;
}

TEST(PeakProfile, ChannelAverageIsTheIntegralOfTheDensity) {
    const auto axis = fine_axis(0.03);
    const double fwhm = 0.05, position = 10.0123;
    for (const double mixing : {0.0, 0.37, 1.0}) {
        rietveld::ProfileBuffer p;
        channel_averaged_profile(axis, position, fwhm, mixing, 40, false, p);
        for (std::size_t i = 0; i < p.size(); ++i) {
            const std::size_t k = p.first + i;
            if (std::abs(axis.two_theta()[k] - position) > 30 * fwhm) {
                continue; // the taper
            }
            // Simpson's rule on 200 pieces
            double integral = 0;
            const int pieces = 200;
            const double h = axis.width(k) / pieces;
            for (int q = 0; q <= pieces; ++q) {
                const double x = (axis.edges()[k] + q * h - position) / fwhm;
                const double density =
                    (mixing * 2 / std::acos(-1.0) / (1 + 4 * x * x) +
                     (1 - mixing) * 2 * std::sqrt(std::log(2.0) / std::acos(-1.0)) *
                         std::exp(-4 * std::log(2.0) * x * x)) /
                    fwhm;
                integral += density * h / 3 * (q == 0 || q == pieces ? 1 : (q % 2 == 1 ? 4 : 2));
            }
            EXPECT_NEAR(p.value[i], integral / axis.width(k), 1e-8 / fwhm);
        }
    }
}

TEST(PeakProfile, AreaIsOneButForTheTails) {
    const auto axis = fine_axis(0.01);
    for (const double mixing : {0.0, 0.5, 1.0}) {
        rietveld::ProfileBuffer p;
        channel_averaged_profile(axis, 10.003, 0.02, mixing, 100, false, p);
        double area = 0;
        for (std::size_t i = 0; i < p.size(); ++i) {
            area += p.value[i] * axis.width(p.first + i);
        }
        // Beyond r FWHM a Lorentzian has 1 − (2/π) atan 2r; the taper runs from 80 to 100.
        const auto outside = [](double r) { return 1 - 2 / std::acos(-1.0) * std::atan(2 * r); };
        EXPECT_LE(area, 1 - mixing * outside(100) + 1e-12);
        EXPECT_GE(area, 1 - mixing * outside(80) - 1e-12);
    }
}

TEST(PeakProfile, FullWidthAtHalfMaximum) {
    const auto axis = fine_axis(0.0002);
    for (const double mixing : {0.0, 0.4, 1.0}) {
        rietveld::ProfileBuffer p;
        channel_averaged_profile(axis, 10, 0.05, mixing, 20, false, p);
        const double top = value_at(axis, p, 10.00001);
        EXPECT_NEAR(value_at(axis, p, 10.025) / top, 0.5, 5e-3);
        EXPECT_NEAR(value_at(axis, p, 9.975) / top, 0.5, 5e-3);
    }
}

TEST(PeakProfile, DerivativesMatchFiniteDifferences) {
    const auto axis = fine_axis(0.01);
    const double position = 10.0037, fwhm = 0.043, mixing = 0.45, h = 1e-6;
    rietveld::ProfileBuffer p, plus, minus;
    channel_averaged_profile(axis, position, fwhm, mixing, 30, true, p);
    const auto compare = [&](const std::vector<double>& analytic, double dp, double df, double dm) {
        channel_averaged_profile(axis, position + dp, fwhm + df, mixing + dm, 30, false, plus);
        channel_averaged_profile(axis, position - dp, fwhm - df, mixing - dm, 30, false, minus);
        double largest = 0;
        for (const double value : analytic) {
            largest = std::max(largest, std::abs(value));
        }
        for (std::size_t i = 0; i < p.size(); ++i) {
            const auto at = [&](const rietveld::ProfileBuffer& b) {
                const std::size_t k = p.first + i;
                return k < b.first || k >= b.first + b.size() ? 0.0 : b.value[k - b.first];
            };
            EXPECT_NEAR(analytic[i], (at(plus) - at(minus)) / (2 * h), 1e-7 * largest) << i;
        }
    };
    compare(p.position, h, 0, 0);
    compare(p.fwhm, 0, h, 0);
    compare(p.mixing, 0, 0, h);
}

TEST(PeakProfile, TchLimitsAndDerivatives) {
    EXPECT_NEAR(rietveld::pseudo_voigt({0.03, 0}).fwhm, 0.03, 1e-15);
    EXPECT_NEAR(rietveld::pseudo_voigt({0.03, 0}).mixing, 0, 1e-15);
    EXPECT_NEAR(rietveld::pseudo_voigt({0, 0.04}).fwhm, 0.04, 1e-15);
    EXPECT_NEAR(rietveld::pseudo_voigt({0, 0.04}).mixing, 1.0, 1e-5);
    // Whiting's approximation of the Voigt width; the two differ by up to 0.5 %
    const double g = 0.03, l = 0.02;
    EXPECT_NEAR(rietveld::pseudo_voigt({g, l}).fwhm, 0.5346 * l + std::sqrt(0.2166 * l * l + g * g),
                2e-4);
    const double h = 1e-7;
    const auto p = rietveld::pseudo_voigt({g, l});
    EXPECT_NEAR(
        p.fwhm_gauss,
        (rietveld::pseudo_voigt({g + h, l}).fwhm - rietveld::pseudo_voigt({g - h, l}).fwhm) /
            (2 * h),
        1e-7);
    EXPECT_NEAR(
        p.fwhm_lorentz,
        (rietveld::pseudo_voigt({g, l + h}).fwhm - rietveld::pseudo_voigt({g, l - h}).fwhm) /
            (2 * h),
        1e-7);
    EXPECT_NEAR(
        p.mixing_gauss,
        (rietveld::pseudo_voigt({g + h, l}).mixing - rietveld::pseudo_voigt({g - h, l}).mixing) /
            (2 * h),
        1e-6);
    EXPECT_NEAR(
        p.mixing_lorentz,
        (rietveld::pseudo_voigt({g, l + h}).mixing - rietveld::pseudo_voigt({g, l - h}).mixing) /
            (2 * h),
        1e-6);
}

TEST(PeakProfile, WidthsFollowTheStatedFormulas) {
    const double degree = std::acos(-1.0) / 180, theta = 4 * degree;
    const auto w = rietveld::peak_widths({2e-3, -1e-3, 5e-4, 3e-3, 2e-2, 1e-3}, 8, 0.2, 500, 2e-4);
    EXPECT_NEAR(w.gauss,
                std::sqrt(2e-3 * std::pow(std::tan(theta), 2) - 1e-3 * std::tan(theta) + 5e-4),
                1e-15);
    EXPECT_NEAR(w.lorentz,
                3e-3 / std::cos(theta) + 2e-2 * std::tan(theta) + 1e-3 +
                    0.94 * 0.2 / (500 * std::cos(theta)) / degree +
                    4 * 2e-4 * std::tan(theta) / degree,
                1e-14);
}

} // namespace
