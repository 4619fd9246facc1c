// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/calibration.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/standards.hpp"
#include "support/noise.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <vector>

namespace {

using namespace xrdct;
using ::testing::HasSubstr;

constexpr double nominal = 0.12;

/// A standard on an instrument whose profile, wavelength, distance and zero are known.
struct Truth {
    std::string standard = "CeO2";
    double low = 1.8, high = 9;
    std::size_t channels = 1500;
    rietveld::InstrumentProfile profile{0.07, 0, 3e-4, 3e-3, 0, 0};
    double wavelength = nominal;
    double stretch = 1; ///< D / D₀
    double zero = 0;
    double counts = 2e4; ///< of the strongest channel
    double background = 0.005;

    rietveld::RadialAxis axis() const {
        std::vector<double> centres;
        for (std::size_t k = 0; k < channels; ++k) {
            centres.push_back(low + (high - low) * static_cast<double>(k) /
                                        static_cast<double>(channels - 1));
        }
        return rietveld::RadialAxis::from_two_theta(centres, nominal);
    }

    std::vector<double> pattern() const {
        rietveld::PatternModel model;
        model.phases.emplace_back(crystal::powder_standard(standard).phase());
        model.wavelength.value = wavelength;
        model.instrument = rietveld::InstrumentParameters(profile);
        model.distance = 1000;
        model.displacement.value = 1000 * (1 - stretch);
        model.zero.value = zero;
        const rietveld::PatternCalculator calculator(axis(), model);
        std::vector<double> y(channels);
        calculator.evaluate(model, y);
        const double factor = counts / *std::max_element(y.begin(), y.end());
        for (double& value : y) {
            value = value * factor + background * counts;
        }
        return y;
    }
};

std::vector<double> poisson_variance(const std::vector<double>& y) {
    std::vector<double> variance;
    for (const double value : y) {
        variance.push_back(std::max(value, 1.0));
    }
    return variance;
}

rietveld::Calibration calibrate_truth(const Truth& truth,
                                      const rietveld::CalibrationOptions& options,
                                      std::uint64_t seed = 1) {
    const auto y = test::poisson_counts(truth.pattern(), seed);
    return calibrate(truth.axis(), y, poisson_variance(y),
                     crystal::powder_standard(truth.standard).phase(), options);
}

std::string message_of(const Truth& truth, const rietveld::CalibrationOptions& options) {
    try {
        calibrate_truth(truth, options);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(Calibration, WavelengthAndProfile) {
    Truth truth;
    truth.wavelength = nominal * (1 + 300e-6);
    rietveld::CalibrationOptions options;
    options.scale = rietveld::RadialScale::wavelength;
    const auto result = calibrate_truth(truth, options);
    EXPECT_FALSE(result.extracted);
    EXPECT_TRUE(result.wavelength.refined);
    EXPECT_FALSE(result.zero.refined);
    EXPECT_NEAR(result.wavelength.value, truth.wavelength, 3 * result.wavelength.esd);
    EXPECT_LT(result.wavelength.esd, 10e-6 * nominal);
    const double expected[] = {truth.profile.u, 0, truth.profile.w, truth.profile.x, 0, 0};
    for (std::size_t i = 0; i < 6; ++i) {
        const auto& term = result.profile[i];
        EXPECT_NEAR(term.value, expected[i], 3.5 * term.esd + 1e-12) << term.name;
        EXPECT_EQ(term.refined, expected[i] != 0) << term.name;
        EXPECT_EQ(term.reason.empty(), term.refined) << term.name;
    }
    for (const double angle : {2.0, 5.0, 9.0}) {
        const double fwhm = pseudo_voigt(peak_widths(truth.profile, angle, truth.wavelength)).fwhm;
        EXPECT_NEAR(result.fwhm(angle), fwhm, 0.01 * fwhm) << angle;
    }
    ASSERT_GE(result.lines.size(), 8U);
    for (const auto& line : result.lines) {
        EXPECT_NEAR(line.fwhm, line.curve, 5 * line.fwhm_esd + 0.01 * line.curve) << line.two_theta;
        EXPECT_NEAR(line.shift, 0, 5 * line.shift_esd) << line.two_theta;
    }
    ASSERT_GE(result.worst_line(), 0);
    EXPECT_LT(std::abs(result.lines[static_cast<std::size_t>(result.worst_line())].deviation()),
              0.1);
}

/// Spread of values over their e.s.d., by the quartiles.
double robust_spread(std::vector<double> pulls) {
    std::sort(pulls.begin(), pulls.end());
    const auto quantile = [&](double f) {
        return pulls[static_cast<std::size_t>(f * static_cast<double>(pulls.size() - 1))];
    };
    EXPECT_NEAR(quantile(0.5), 0, 0.3);
    return (quantile(0.75) - quantile(0.25)) / 1.349;
}

// Errors over their e.s.d. of repeated measurements must have unit spread.
void expect_honest(const Truth& truth) {
    rietveld::CalibrationOptions options;
    options.scale = rietveld::RadialScale::wavelength;
    options.single_lines = false;
    options.intensities = rietveld::IntensitySource::structure;
    constexpr std::uint64_t seeds = 200;
    std::vector<double> pulls;
    std::array<std::vector<double>, 6> profile_pulls;
    std::size_t right_terms = 0;
    const auto& p = truth.profile;
    const std::array<double, 6> expected{p.u, p.v, p.w, p.x, p.y, p.z};
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        const auto result = calibrate_truth(truth, options, seed);
        pulls.push_back((result.wavelength.value - truth.wavelength) / result.wavelength.esd);
        const bool right = std::all_of(
            result.profile.begin(), result.profile.end(), [&](const rietveld::ProfileTerm& term) {
                const auto i = static_cast<std::size_t>(&term - result.profile.data());
                return term.refined == (expected[i] != 0);
            });
        right_terms += right ? 1 : 0;
        for (std::size_t i = 0; right && i < 6; ++i) {
            if (expected[i] != 0) {
                const auto& term = result.profile[i];
                profile_pulls[i].push_back((term.value - expected[i]) / term.esd);
            }
        }
    }
    const double spread = robust_spread(pulls);
    ::testing::Test::RecordProperty("spread", std::to_string(spread));
    EXPECT_GE(spread, 0.85);
    EXPECT_LE(spread, 1.15);
    EXPECT_GE(
        std::count_if(pulls.begin(), pulls.end(), [](double pull) { return std::abs(pull) < 3; }),
        196);
    // Profile terms, where those were kept that the truth has.
    ::testing::Test::RecordProperty("right_terms", std::to_string(right_terms));
    EXPECT_GE(right_terms, 2 * seeds / 5);
    for (std::size_t i = 0; i < 6; ++i) {
        if (expected[i] != 0) {
            const double term_spread = robust_spread(profile_pulls[i]);
            ::testing::Test::RecordProperty("spread_of_term_" + std::to_string(i),
                                            std::to_string(term_spread));
            EXPECT_GE(term_spread, 0.75) << i;
            EXPECT_LE(term_spread, 1.25) << i;
        }
    }
}

TEST(Calibration, HonestErrorsOnAShortPattern) {
    Truth truth;
    truth.wavelength = nominal * (1 + 300e-6);
    truth.channels = 500;
    truth.low = 2;
    truth.high = 5.5;
    truth.counts = 2000;
    truth.background = 0.02;
    expect_honest(truth);
}

TEST(Calibration, HonestErrorsOnALongPattern) {
    Truth truth;
    truth.standard = "LaB6";
    truth.wavelength = nominal * (1 - 300e-6);
    truth.channels = 1800;
    truth.high = 11;
    expect_honest(truth);
}

TEST(Calibration, Distance) {
    Truth truth;
    truth.stretch = 1.002;
    rietveld::CalibrationOptions options;
    options.scale = rietveld::RadialScale::distance;
    options.distance = 800; // the ratio counts, whatever the nominal distance
    const auto result = calibrate_truth(truth, options);
    EXPECT_NEAR(result.distance.value, 800 * truth.stretch, 3 * result.distance.esd);
    EXPECT_LT(result.distance.esd, 800 * 20e-6);
    EXPECT_GT(result.distance.esd, 0);
    EXPECT_EQ(result.wavelength.value, nominal);
}

TEST(Calibration, ZeroAlone) {
    Truth truth;
    truth.zero = 0.004;
    rietveld::CalibrationOptions options;
    options.scale = rietveld::RadialScale::none;
    options.refine_zero = true;
    const auto result = calibrate_truth(truth, options);
    EXPECT_NEAR(result.zero.value, truth.zero, 3 * result.zero.esd);
    EXPECT_TRUE(result.zero.refined);
    EXPECT_FALSE(result.cell[0].refined);
}

TEST(Calibration, CellAgainstTheCertificate) {
    Truth truth;
    truth.wavelength = nominal * (1 - 200e-6); // seems 200 ppm larger at the nominal wavelength
    const auto result = calibrate_truth(truth, {});
    EXPECT_NEAR(result.cell_ppm, 200, 3 * result.cell_ppm_esd + 1);
    EXPECT_TRUE(result.cell[0].refined);
    EXPECT_FALSE(result.wavelength.refined);
}

TEST(Calibration, SpoiltIntensitiesAreExtracted) {
    Truth truth;
    truth.wavelength = nominal * (1 + 300e-6);
    auto y = truth.pattern();
    const auto axis = truth.axis();
    for (std::size_t k = 0; k < y.size(); ++k) { // as coarse grains do
        const double base = truth.background * truth.counts;
        y[k] = base + (y[k] - base) * (1 + 0.8 * std::sin(7 * std::round(axis.two_theta()[k] * 3)));
    }
    y = test::poisson_counts(y, 4);
    rietveld::CalibrationOptions options;
    options.scale = rietveld::RadialScale::wavelength;
    const auto result =
        calibrate(axis, y, poisson_variance(y), crystal::powder_standard("CeO2").phase(), options);
    EXPECT_TRUE(result.extracted);
    ASSERT_FALSE(result.notes.empty());
    EXPECT_THAT(result.notes[0], HasSubstr("extracted"));
    EXPECT_NEAR(result.wavelength.value / truth.wavelength, 1, 30e-6);
}

// A tilted detector that is seen over part of the rings and integrated as if it were not tilted.
TEST(Calibration, SaysWhatATiltDoes) {
    Truth truth;
    truth.high = 12;
    truth.channels = 2500;
    const auto y = test::poisson_counts(truth.pattern(), 2);
    std::vector<double> apparent;
    constexpr double tilt = 3e-3;
    const auto axis = truth.axis();
    for (const double angle : axis.two_theta()) {
        apparent.push_back(angle + degrees(tilt * std::pow(std::sin(radians(angle)), 2)));
    }
    rietveld::CalibrationOptions options;
    options.scale = rietveld::RadialScale::wavelength;
    const auto notes = [&](const rietveld::RadialAxis& channels) {
        const auto result = calibrate(channels, y, poisson_variance(y),
                                      crystal::powder_standard("CeO2").phase(), options);
        std::string text;
        for (const auto& note : result.notes) {
            text += note + '\n';
        }
        return text;
    };
    for (const bool zero : {false, true}) {
        options.refine_zero = zero;
        const auto tilted = notes(rietveld::RadialAxis::from_two_theta(apparent, nominal));
        EXPECT_THAT(tilted, ::testing::ContainsRegex("tilted by about 0.1[678] deg"))
            << zero; // 0.172
        EXPECT_THAT(notes(axis), ::testing::Not(HasSubstr("tilted"))) << zero;
    }
}

TEST(Calibration, RefusesWhatTheRangeDoesNotTellApart) {
    Truth truth;
    truth.low = 7;
    truth.high = 9;
    rietveld::CalibrationOptions options;
    options.refine_zero = true;
    for (const auto scale : {rietveld::RadialScale::wavelength, rietveld::RadialScale::distance,
                             rietveld::RadialScale::cell}) {
        options.scale = scale;
        options.distance = 1000;
        EXPECT_THAT(message_of(truth, options), HasSubstr("cannot be refined together"));
    }
    // over a long range they can
    truth.low = 1.5;
    truth.high = 20;
    truth.channels = 3000;
    truth.zero = 0.003;
    options.scale = rietveld::RadialScale::wavelength;
    const auto result = calibrate_truth(truth, options);
    EXPECT_NEAR(result.zero.value, truth.zero, 4 * result.zero.esd);
    EXPECT_NEAR(result.wavelength.value, nominal, 4 * result.wavelength.esd);
}

TEST(Calibration, FailuresAreSaidInWords) {
    Truth truth;
    truth.low = 1;
    truth.high = 1.5;
    truth.counts = 1000;
    const auto axis = truth.axis();
    std::vector<double> flat(axis.size(), 100);
    const auto phase = crystal::powder_standard("CeO2").phase();
    const auto message = [&](const rietveld::RadialAxis& a, const std::vector<double>& y,
                             const rietveld::CalibrationOptions& options) -> std::string {
        try {
            calibrate(a, y, poisson_variance(y), phase, options);
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_THAT(message(axis, flat, {}), HasSubstr("no line of CeO2"));

    const Truth good;
    const auto y = test::poisson_counts(good.pattern(), 1);
    for (const double factor : {0.5, 0.8, 0.93, 1.05, 1.3, 2.0}) {
        for (const auto scale : {rietveld::RadialScale::wavelength, rietveld::RadialScale::cell}) {
            for (const auto source :
                 {rietveld::IntensitySource::automatic, rietveld::IntensitySource::extracted}) {
                rietveld::CalibrationOptions options;
                options.scale = scale;
                options.intensities = source;
                EXPECT_THAT(message(good.axis().with_wavelength(nominal * factor), y, options),
                            HasSubstr("check standard, wavelength"))
                    << factor;
            }
        }
    }
    const auto noise = test::poisson_counts(std::vector<double>(y.size(), 100), 3);
    EXPECT_THAT(message(good.axis(), noise, {}), HasSubstr("check standard"));
    rietveld::CalibrationOptions distance;
    distance.scale = rietveld::RadialScale::distance;
    EXPECT_THAT(message(good.axis(), y, distance), HasSubstr("nominal distance"));
}

} // namespace
