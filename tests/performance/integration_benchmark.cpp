// SPDX-License-Identifier: BSD-3-Clause
// How many frames of a Pilatus 2M one core integrates in a second: 1679 × 1475 pixels, gaps masked,
// 2048 channels, frames in memory (more of them than the caches hold). Before anything is timed,
// every estimator is compared with a plain one that sorts the pixels of each channel in double
// precision.

#include "integration/azimuthal_integrator.hpp"
#include "integration/detector_gaps.hpp"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <random>

namespace {

using namespace xrdct;

constexpr std::size_t n_frames = 8;

integration::DetectorGeometry pilatus() {
    integration::DetectorGeometry geometry;
    geometry.rows = 1679;
    geometry.columns = 1475;
    geometry.pixel_1 = geometry.pixel_2 = 0.172;
    geometry.distance = 543.9;
    geometry.poni_1 = 144.7;
    geometry.poni_2 = 127.5;
    geometry.rotation_1 = -0.002;
    geometry.rotation_2 = 0.004;
    geometry.wavelength = 0.1746;
    return geometry;
}

std::vector<std::uint8_t> gaps() {
    std::vector<std::uint8_t> mask(1679 * 1475);
    integration::mask_gaps(*integration::module_grid(1679, 1475), 1679, 1475, mask);
    return mask;
}

/// Rings on a background, Poisson noise, gaps at −1.
const std::vector<std::vector<std::int32_t>>& frames() {
    static const auto made = [] {
        const auto geometry = pilatus();
        const integration::PixelDirections directions(geometry);
        const auto mask = gaps();
        std::vector<double> mean(geometry.pixels());
        for (std::size_t p = 0; p < mean.size(); ++p) {
            const double row = static_cast<double>(p / geometry.columns) + 0.5,
                         column = static_cast<double>(p % geometry.columns) + 0.5;
            const double two_theta = directions.two_theta(row, column) * 180 / 3.14159265358979;
            const double phase = std::fmod(two_theta, 1.3) - 0.6;
            mean[p] = directions.solid_angle(row, column) *
                      (60 + 900 * std::exp(-0.5 * phase * phase / (0.03 * 0.03)));
        }
        std::vector<std::vector<std::int32_t>> list;
        std::mt19937_64 random(5);
        std::normal_distribution<double> normal;
        for (std::size_t f = 0; f < n_frames; ++f) {
            std::vector<std::int32_t> frame(mean.size(), -1);
            for (std::size_t p = 0; p < mean.size(); ++p)
                if (!mask[p])
                    frame[p] = static_cast<std::int32_t>(
                        std::max(0.0, std::round(mean[p] + std::sqrt(mean[p]) * normal(random))));
            list.push_back(std::move(frame));
        }
        return list;
    }();
    return made;
}

integration::AzimuthalIntegrator integrator(integration::Estimator estimator,
                                            integration::PixelSplitting splitting) {
    integration::IntegrationSettings settings;
    settings.estimator = estimator;
    settings.splitting = splitting;
    return {pilatus(), gaps(), {}, {}, settings};
}

/// The same for pixels spread over the radial extent of their corners.
double check_split(const integration::AzimuthalIntegrator& integrator,
                   const std::vector<std::int32_t>& frame) {
    const auto geometry = integrator.geometry();
    const integration::PixelDirections directions(geometry);
    const auto mask = gaps();
    const auto radial = [&](double two_theta) {
        return (two_theta * 180 / 3.14159265358979323846 - integrator.from()) *
               static_cast<double>(integrator.channels()) / (integrator.to() - integrator.from());
    };
    std::vector<double> sum(integrator.channels()), norm(integrator.channels());
    for (std::size_t p = 0; p < frame.size(); ++p) {
        if (mask[p])
            continue;
        const double row = static_cast<double>(p / geometry.columns),
                     column = static_cast<double>(p % geometry.columns);
        const double centre =
            radial(directions.centre_two_theta(p / geometry.columns, p % geometry.columns));
        double extent = 0;
        for (const auto& [i, j] : {std::pair{0, 0}, {0, 1}, {1, 0}, {1, 1}})
            extent = std::max(extent,
                              std::abs(radial(directions.two_theta(row + i, column + j)) - centre));
        const double low = std::max(centre - extent, 0.0), high = centre + extent;
        const double solid_angle = directions.solid_angle(row + 0.5, column + 0.5);
        for (std::size_t k = static_cast<std::size_t>(low); k < sum.size(); ++k) {
            const double edge = static_cast<double>(k);
            const double share = (std::min(edge + 1, high) - std::max(edge, low)) / (high - low);
            if (share <= 0)
                break;
            sum[k] += share * frame[p];
            norm[k] += share * solid_angle;
        }
    }
    integration::AzimuthalIntegrator::Workspace workspace;
    std::vector<float> intensity(integrator.channels()), errors(intensity), kept(intensity);
    integrator.integrate(frame, 1 << 20, workspace, intensity, errors, kept);
    double worst = 0;
    for (std::size_t k = 0; k < sum.size(); ++k)
        if (kept[k] > 1)
            worst = std::max(worst, std::abs(intensity[k] / (sum[k] / norm[k]) - 1));
    return worst;
}

/// The largest relative difference from a plain computation.
double check(const integration::AzimuthalIntegrator& integrator,
             const std::vector<std::int32_t>& frame) {
    const auto geometry = integrator.geometry();
    const integration::PixelDirections directions(geometry);
    const auto mask = gaps();
    std::vector<std::vector<double>> values(integrator.channels()), norms(integrator.channels());
    for (std::size_t p = 0; p < frame.size(); ++p) {
        if (mask[p])
            continue;
        const double row = static_cast<double>(p / geometry.columns) + 0.5,
                     column = static_cast<double>(p % geometry.columns) + 0.5;
        const double x = directions.centre_two_theta(p / geometry.columns, p % geometry.columns) *
                         180 / 3.14159265358979323846;
        const auto bin = static_cast<std::size_t>((x - integrator.from()) *
                                                  static_cast<double>(integrator.channels()) /
                                                  (integrator.to() - integrator.from()));
        const auto k = std::min(bin, integrator.channels() - 1);
        const double norm = directions.solid_angle(row, column);
        values[k].push_back(frame[p] / norm);
        norms[k].push_back(norm);
    }
    integration::AzimuthalIntegrator::Workspace workspace;
    std::vector<float> intensity(integrator.channels()), errors(intensity), kept(intensity);
    integrator.integrate(frame, 1 << 20, workspace, intensity, errors, kept);
    double worst = 0;
    for (std::size_t k = 0; k < values.size(); ++k) {
        auto& v = values[k];
        if (v.empty())
            continue;
        double expected = 0;
        switch (integrator.settings().estimator) {
        case integration::Estimator::mean: {
            double sum = 0, total = 0;
            for (std::size_t i = 0; i < v.size(); ++i) {
                sum += v[i] * norms[k][i];
                total += norms[k][i];
            }
            expected = sum / total;
            break;
        }
        case integration::Estimator::median:
            std::sort(v.begin(), v.end());
            expected = 0.5 * (v[v.size() / 2] + v[(v.size() - 1) / 2]);
            break;
        case integration::Estimator::trimmed_mean: {
            std::sort(v.begin(), v.end());
            const auto cut = static_cast<std::size_t>(0.1 * static_cast<double>(v.size()));
            double sum = 0;
            for (std::size_t i = cut; i < v.size() - cut; ++i)
                sum += v[i];
            expected = sum / static_cast<double>(v.size() - 2 * cut);
            break;
        }
        case integration::Estimator::sigma_clip:
            return 0; // timed only; the unit tests check it
        }
        worst = std::max(worst, std::abs(intensity[k] / expected - 1));
    }
    return worst;
}

void integrate(benchmark::State& state, integration::Estimator estimator,
               integration::PixelSplitting splitting = integration::PixelSplitting::none) {
    const auto one = integrator(estimator, splitting);
    const double worst = splitting == integration::PixelSplitting::none
                             ? check(one, frames().front())
                             : check_split(one, frames().front());
    if (!(worst < 1e-6)) {
        fmt::print(stderr, "wrong: a channel is off by {:.3g}\n", worst);
        std::exit(1);
    }
    integration::AzimuthalIntegrator::Workspace workspace;
    std::vector<float> intensity(one.channels()), errors(intensity), kept(intensity);
    std::size_t i = 0;
    for (auto _ : state) {
        one.integrate(frames()[i++ % n_frames], 1 << 20, workspace, intensity, errors, kept);
        benchmark::DoNotOptimize(intensity.data());
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()));
}

} // namespace

BENCHMARK_CAPTURE(integrate, mean, integration::Estimator::mean)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(integrate, mean_bounding_box, integration::Estimator::mean,
                  integration::PixelSplitting::bounding_box)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(integrate, trimmed_mean, integration::Estimator::trimmed_mean)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(integrate, median, integration::Estimator::median)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(integrate, sigma_clip, integration::Estimator::sigma_clip)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_MAIN();
