// SPDX-License-Identifier: BSD-3-Clause
#include "integration/azimuthal_integrator.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "integration/detector_gaps.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <numeric>
#include <random>

using namespace xrdct;
using ::testing::HasSubstr;

namespace {

integration::DetectorGeometry small_detector() {
    integration::DetectorGeometry g;
    g.rows = 70;
    g.columns = 90;
    g.pixel_1 = 0.1;
    g.pixel_2 = 0.13;
    g.distance = 60;
    g.poni_1 = 7.3;
    g.poni_2 = 11.2; // the beam meets the detector near its middle
    g.rotation_1 = 0.1;
    g.rotation_2 = -0.07;
    g.rotation_3 = 1.1;
    g.wavelength = 0.2;
    return g;
}

struct Result {
    std::vector<float> intensity, errors, kept;
    std::size_t invalid = 0;
};

template <typename T>
Result integrate(const integration::AzimuthalIntegrator& integrator, const std::vector<T>& frame) {
    Result r;
    for (auto* values : {&r.intensity, &r.errors, &r.kept})
        values->assign(integrator.channels(), -1.0F);
    integration::AzimuthalIntegrator::Workspace workspace;
    if constexpr (std::is_integral_v<T>)
        r.invalid = integrator.integrate(frame, 100000, workspace, r.intensity, r.errors, r.kept);
    else
        r.invalid = integrator.integrate(frame, workspace, r.intensity, r.errors, r.kept);
    return r;
}

std::vector<std::int32_t> random_frame(std::size_t n) {
    std::mt19937_64 random(2);
    std::vector<std::int32_t> frame(n);
    for (auto& value : frame)
        value = std::poisson_distribution<int>(40)(random);
    return frame;
}

integration::IntegrationSettings coarse() {
    integration::IntegrationSettings s;
    s.channels = 25;
    return s;
}

void expect_error(const std::function<void()>& work, const char* word) {
    try {
        work();
        FAIL() << "no error with " << word;
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(word));
    }
}

} // namespace

TEST(AzimuthalIntegrator, MeanIsRatioOfSums) {
    const auto g = small_detector();
    const integration::PixelDirections directions(g);
    auto s = coarse();
    s.from = 1;
    s.to = 4.5;
    s.polarization = 0.9;
    s.polarization_axis = 20;
    const std::size_t n = g.pixels();
    std::vector<std::uint8_t> mask(n);
    std::vector<float> dark(n), flat(n);
    for (std::size_t p = 0; p < n; ++p) {
        mask[p] = p % 11 == 0;
        dark[p] = 3 + static_cast<float>(p % 5);
        flat[p] = 0.8F + 0.001F * static_cast<float>(p % 400);
    }
    flat[500] = 0;             // dead
    dark[501] = std::nanf(""); // never measured
    auto frame = random_frame(n);
    frame[700] = -1;
    frame[701] = 100001;
    std::vector<double> sum(25), norm(25), raw(25), count(25);
    std::size_t far = n; // beyond the range, without a value: it is counted, too
    for (std::size_t p = 0; p < n; ++p) {
        const double i = static_cast<double>(p / g.columns) + 0.5,
                     j = static_cast<double>(p % g.columns) + 0.5;
        const double x = degrees(directions.two_theta(i, j));
        if (far == n && !mask[p] && x > 4.6) {
            far = p;
            frame[p] = -1;
        }
        if (mask[p] || p == 500 || p == 501 || p == 700 || p == 701 || x < 1 || x >= 4.5)
            continue;
        const auto k = static_cast<std::size_t>((x - 1) / 3.5 * 25);
        sum[k] += frame[p] - dark[p];
        raw[k] += frame[p];
        norm[k] += flat[p] * directions.solid_angle(i, j) *
                   directions.polarization(i, j, 0.9, radians(20));
        count[k] += 1;
    }
    for (const auto noise : {integration::ErrorSource::counts, integration::ErrorSource::scatter}) {
        s.noise = noise;
        const integration::AzimuthalIntegrator integrator(g, mask, dark, flat, s);
        const auto r = integrate(integrator, frame);
        ASSERT_LT(far, n);
        EXPECT_EQ(r.invalid, 3U);
        for (std::size_t k = 0; k < 25; ++k) {
            ASSERT_GT(count[k], 10);
            EXPECT_NEAR(r.intensity[k], sum[k] / norm[k], 2e-6 * sum[k] / norm[k]);
            EXPECT_EQ(r.kept[k], count[k]);
            const double counting = std::sqrt(raw[k]) / norm[k];
            EXPECT_NEAR(r.errors[k], counting,
                        (noise == integration::ErrorSource::counts ? 1e-5 : 0.5) * counting);
        }
        // floats say the same
        std::vector<float> floats(frame.begin(), frame.end());
        floats[700] = std::nanf("");
        floats[701] = INFINITY;
        floats[far] = std::nanf("");
        const auto f = integrate(integrator, floats);
        EXPECT_EQ(f.invalid, 3U);
        for (std::size_t k = 0; k < 25; ++k)
            EXPECT_NEAR(f.intensity[k], r.intensity[k], 1e-5 * r.intensity[k]);
    }
}

TEST(AzimuthalIntegrator, SplitPixelsKeepTheirCounts) {
    const auto g = small_detector();
    auto s = coarse();
    s.channels = 400; // finer than the pixels
    s.solid_angle = false;
    s.splitting = integration::PixelSplitting::bounding_box;
    const integration::AzimuthalIntegrator integrator(g, {}, {}, {}, s);
    const auto frame = random_frame(g.pixels());
    const auto r = integrate(integrator, frame);
    double pixels = 0, counts = 0;
    for (std::size_t k = 0; k < s.channels; ++k)
        if (r.kept[k] > 0) {
            pixels += r.kept[k];
            counts += static_cast<double>(r.kept[k]) * r.intensity[k];
        }
    // The pixel under the beam reaches below zero and is cut there.
    EXPECT_NEAR(pixels, static_cast<double>(g.pixels()), 2e-3);
    EXPECT_NEAR(counts, std::accumulate(frame.begin(), frame.end(), 0.0), 0.5);
    // A frame of ones is one everywhere, whatever the shares.
    const auto ones = integrate(integrator, std::vector<std::int32_t>(g.pixels(), 1));
    for (std::size_t k = 0; k < s.channels; ++k)
        if (ones.kept[k] > 0) {
            EXPECT_NEAR(ones.intensity[k], 1, 1e-6);
        }
    // A pixel without a value takes its shares along.
    auto holes = std::vector<std::int32_t>(g.pixels(), 1);
    for (std::size_t p = 0; p < holes.size(); p += 7)
        holes[p] = -1;
    const auto rest = integrate(integrator, holes);
    EXPECT_EQ(rest.invalid, (g.pixels() + 6) / 7);
    for (std::size_t k = 0; k < s.channels; ++k)
        if (rest.kept[k] > 0.01F) {
            EXPECT_NEAR(rest.intensity[k], 1, 1e-4);
        }
}

TEST(AzimuthalIntegrator, FlatScatteringIsFlatAfterCorrection) {
    const auto g = small_detector();
    const integration::PixelDirections directions(g);
    std::vector<float> frame(g.pixels());
    for (std::size_t p = 0; p < frame.size(); ++p) {
        const double i = static_cast<double>(p / g.columns) + 0.5,
                     j = static_cast<double>(p % g.columns) + 0.5;
        frame[p] = static_cast<float>(1000 * directions.solid_angle(i, j) *
                                      directions.polarization(i, j, 0.7, 0));
    }
    for (const auto estimator :
         {integration::Estimator::mean, integration::Estimator::trimmed_mean,
          integration::Estimator::median, integration::Estimator::sigma_clip}) {
        auto s = coarse();
        s.estimator = estimator;
        s.polarization = 0.7;
        const auto r = integrate(integration::AzimuthalIntegrator(g, {}, {}, {}, s), frame);
        for (std::size_t k = 0; k < s.channels; ++k)
            EXPECT_NEAR(r.intensity[k], 1000, 1e-3);
        s.solid_angle = false;
        const auto uncorrected =
            integrate(integration::AzimuthalIntegrator(g, {}, {}, {}, s), frame);
        EXPECT_GT(std::abs(uncorrected.intensity.back() - uncorrected.intensity.front()), 1);
    }
}

TEST(AzimuthalIntegrator, RadialUnitsAgree) {
    const auto g = small_detector();
    auto s = coarse();
    for (const auto unit : {integration::RadialUnit::two_theta, integration::RadialUnit::q,
                            integration::RadialUnit::radius}) {
        s.unit = unit;
        const integration::AzimuthalIntegrator integrator(g, {}, {}, {}, s);
        const auto centres = integrator.centres(), two_theta = integrator.two_theta();
        for (std::size_t k = 0; k < s.channels; ++k) {
            const double angle = radians(two_theta[k]);
            const double expected =
                unit == integration::RadialUnit::q        ? 4 * pi * std::sin(angle / 2) / 0.2
                : unit == integration::RadialUnit::radius ? g.beam_distance() * std::tan(angle)
                                                          : two_theta[k];
            EXPECT_NEAR(centres[k], expected, 1e-9 * expected);
        }
        EXPECT_EQ(integrator.pixels_used(), g.pixels());
    }
    EXPECT_NEAR(g.beam_distance(), 60 / (std::cos(0.1) * std::cos(-0.07)), 1e-9);
}

TEST(AzimuthalIntegrator, ChannelsWithoutPixelsOrCounts) {
    const auto g = small_detector();
    auto s = coarse();
    s.from = 0;
    s.to = 30;
    for (const auto estimator :
         {integration::Estimator::mean, integration::Estimator::trimmed_mean,
          integration::Estimator::median, integration::Estimator::sigma_clip}) {
        s.estimator = estimator;
        const integration::AzimuthalIntegrator integrator(g, {}, {}, {}, s);
        const auto zero = integrate(integrator, std::vector<std::int32_t>(g.pixels(), 0));
        EXPECT_TRUE(std::isnan(zero.intensity.back()));
        EXPECT_TRUE(std::isnan(zero.errors.back()));
        EXPECT_EQ(zero.kept.back(), 0);
        // no counts: known to about one count over the pixels, not exactly
        EXPECT_EQ(zero.intensity.front(), 0);
        EXPECT_NEAR(zero.errors.front(), 1 / zero.kept.front(), 0.1 / zero.kept.front());
        const auto gone = integrate(integrator, std::vector<std::int32_t>(g.pixels(), -2));
        EXPECT_EQ(gone.invalid, g.pixels());
        for (const float value : gone.intensity)
            EXPECT_TRUE(std::isnan(value));
    }
}

TEST(AzimuthalIntegrator, BadInput) {
    const auto g = small_detector();
    const auto with = [&](const std::function<void(integration::IntegrationSettings&)>& change) {
        return [&g, change] {
            auto s = coarse();
            change(s);
            integration::AzimuthalIntegrator(g, {}, {}, {}, s);
        };
    };
    expect_error(with([](auto& s) { s.channels = 0; }), "channels");
    expect_error(with([](auto& s) { s.channels = 70000; }), "channels");
    expect_error(with([](auto& s) { s.trim = 0.5; }), "trimmed fraction");
    expect_error(with([](auto& s) { s.threshold = 0; }), "threshold");
    expect_error(with([](auto& s) { s.polarization = 1.1; }), "polarisation");
    expect_error(with([](auto& s) { s.from = 5, s.to = 4; }), "range");
    expect_error(with([](auto& s) { s.from = 40, s.to = 50; }), "no unmasked pixel");
    expect_error(with([](auto& s) { s.to = 190; }), "190");
    expect_error(with([](auto& s) {
                     s.splitting = integration::PixelSplitting::bounding_box;
                     s.estimator = integration::Estimator::median;
                 }),
                 "whole pixels");
    const std::vector<std::uint8_t> all(g.pixels(), 1), other(g.pixels() + 1);
    expect_error([&] { integration::AzimuthalIntegrator(g, all, {}, {}, coarse()); },
                 "mask leaves no pixel");
    expect_error([&] { integration::AzimuthalIntegrator(g, other, {}, {}, coarse()); }, "mask");
    auto blind = g;
    blind.wavelength = 0;
    auto s = coarse();
    s.unit = integration::RadialUnit::q;
    expect_error([&] { integration::AzimuthalIntegrator(blind, {}, {}, {}, s); }, "wavelength");
    const integration::AzimuthalIntegrator integrator(g, {}, {}, {}, coarse());
    expect_error([&] { integrate(integrator, std::vector<std::int32_t>(7)); }, "frame");
}

TEST(DetectorGaps, FamiliesByTheirShape) {
    EXPECT_EQ(integration::module_grid(1679, 1475)->name, "Pilatus");
    EXPECT_EQ(integration::module_grid(619, 487)->name, "Pilatus");
    EXPECT_EQ(integration::module_grid(2167, 2070)->name, "Eiger");
    EXPECT_EQ(integration::module_grid(2162, 2068)->name, "Eiger2");
    EXPECT_FALSE(integration::module_grid(195, 487)); // one module has no gaps
    EXPECT_FALSE(integration::module_grid(2048, 2048));
    std::vector<std::uint8_t> mask(1679 * 1475);
    const std::size_t n =
        integration::mask_gaps(*integration::module_grid(1679, 1475), 1679, 1475, mask);
    EXPECT_EQ(n, 1679U * 1475U - 24U * 195U * 487U);
    EXPECT_EQ(mask[194 * 1475 + 486], 0);
    EXPECT_EQ(mask[195 * 1475], 1);
    EXPECT_EQ(mask[487], 1);
    EXPECT_EQ(mask[212 * 1475 + 494], 0);
}
