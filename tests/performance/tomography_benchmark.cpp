// SPDX-License-Identifier: BSD-3-Clause
// Speed of the tomographic kernels on one core, 570 translations × 400 rotations → 570², with their
// answers checked: a wrong answer is a non-zero exit. Columns per benchmark:
//   ms_per_channel    processor time
//   GFLOP/s           multiply-adds that the method needs (mean number of weights per pixel and
//   rotation) × 2 load_limit_ms     time for loading each sample under each weight once from the
//   first-level cache, two 32-byte loads per
//                     cycle at the clock measured at the start
//
//   tomography_benchmark [Google Benchmark options]

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "base/units.hpp"
#include "clock.hpp"
#include "support/discs.hpp"
#include "tomography/fbp.hpp"
#include "tomography/ramp_filter.hpp"
#include "tomography/strip_projector.hpp"

namespace {

using namespace xrdct;
using test::clock_rate;
using test::processor_time;

constexpr std::size_t n_translations = 570, n_rotations = 400;
constexpr double step = 0.02;

bool failed = false;

void require(bool good, const std::string& what) {
    if (good)
        return;
    fmt::print(stderr, "tomography_benchmark: WRONG: {}\n", what);
    failed = true;
}

tomography::ScanGeometry geometry(double beam) {
    tomography::ScanGeometry g = test::scan(n_rotations, 180, n_translations, step);
    g.axis_offset = 0.007;
    g.beam_width = beam * step;
    return g;
}

const tomography::ImageGrid grid{n_translations, step};

double active_pixels() {
    double count = 0;
    for (const unsigned char inside : field_of_view_mask(geometry(0), grid))
        count += inside;
    return count;
}

std::vector<float> random_data(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(0, 1);
    std::vector<float> data(size);
    for (float& x : data)
        x = uniform(random);
    return data;
}

/// Counters from the processor time of all iterations; weights: mean number per pixel and rotation.
void report(benchmark::State& state, double seconds, std::size_t channels, double weights,
            double bytes) {
    static const double clock = clock_rate();
    const double count = static_cast<double>(state.iterations()) * static_cast<double>(channels);
    const double multiplications = active_pixels() * n_rotations * weights;
    state.counters["ms_per_channel"] = 1e3 * seconds / count;
    state.counters["GFLOP/s"] = 2e-9 * multiplications * count / seconds;
    state.counters["load_limit_ms"] = 1e3 * multiplications * sizeof(float) / (64 * clock);
    state.counters["GB/s"] = 1e-9 * bytes * count / seconds;
}

// Samples under a pixel: the mean width of its footprint in steps, the number of points of a grid
// it covers.
double mean_taps(double beam) {
    return 4 / pi + 1 + beam;
}

constexpr double sinogram_bytes = sizeof(float) * n_translations * n_rotations;
constexpr double image_bytes = sizeof(float) * n_translations * n_translations;

void forward(benchmark::State& state) {
    const auto channels = static_cast<std::size_t>(state.range(0));
    const double beam = static_cast<double>(state.range(1));
    const tomography::StripProjector projector(geometry(beam), grid);
    const auto image = random_data(grid.size() * channels, 1);
    std::vector<float> sinogram(projector.rays() * channels);
    double seconds = 0;
    for (auto _ : state) {
        const double start = processor_time();
        projector.forward(image, channels, sinogram);
        seconds += processor_time() - start;
    }
    // Random rays against the definition.
    std::mt19937 random(3);
    for (int k = 0; k < 20; ++k) {
        const std::size_t i = random() % n_rotations, j = random() % n_translations,
                          c = random() % channels;
        double expected = 0;
        for (std::size_t p = 0; p < grid.size(); ++p)
            if (const double w = projector.weight(i, j, p / grid.n, p % grid.n); w > 0)
                expected += w * image[p * channels + c];
        const double found = sinogram[(i * n_translations + j) * channels + c];
        require(std::abs(found - expected) <= 2e-5 * (std::abs(expected) + step),
                fmt::format("forward: ray ({}, {}) is {}, expected {}", i, j, found, expected));
    }
    report(state, seconds, channels, mean_taps(beam), sinogram_bytes + image_bytes);
}

void adjoint(benchmark::State& state) {
    const auto channels = static_cast<std::size_t>(state.range(0));
    const double beam = static_cast<double>(state.range(1));
    const tomography::StripProjector projector(geometry(beam), grid);
    const auto sinogram = random_data(projector.rays() * channels, 2);
    std::vector<float> image(grid.size() * channels);
    double seconds = 0;
    for (auto _ : state) {
        const double start = processor_time();
        projector.adjoint(sinogram, channels, image);
        seconds += processor_time() - start;
    }
    std::mt19937 random(4);
    for (int k = 0; k < 20; ++k) {
        const std::size_t iy = random() % grid.n, ix = random() % grid.n, c = random() % channels;
        double expected = 0;
        for (std::size_t i = 0; i < n_rotations; ++i)
            for (std::size_t j = 0; j < n_translations; ++j)
                expected += projector.weight(i, j, iy, ix) *
                            sinogram[(i * n_translations + j) * channels + c];
        const double found = image[(iy * grid.n + ix) * channels + c];
        require(std::abs(found - expected) <= 2e-5 * (std::abs(expected) + step),
                fmt::format("adjoint: pixel ({}, {}) is {}, expected {}", iy, ix, found, expected));
    }
    report(state, seconds, channels, mean_taps(beam), sinogram_bytes + image_bytes);
}

const std::vector<test::Disc> discs{
    {0, 0, 4.2, 1}, {1.7, -2.1, 1.1, 2}, {-2.4, 1.2, 0.8, -0.6}, {0.4, 2.9, 0.5, 1.5}};

void fbp(benchmark::State& state) {
    const auto channels = static_cast<std::size_t>(state.range(0));
    const tomography::ScanGeometry g = geometry(0);
    const auto one = test::project_discs(g, discs);
    std::vector<float> sinogram(one.size() * channels), image(grid.size() * channels);
    for (std::size_t i = 0; i < one.size(); ++i)
        for (std::size_t c = 0; c < channels; ++c)
            sinogram[i * channels + c] = static_cast<float>(one[i] * static_cast<double>(c + 1));
    tomography::FilteredBackProjection reconstruction(g, grid);
    double seconds = 0;
    for (auto _ : state) {
        const double start = processor_time();
        reconstruction.reconstruct(sinogram, channels, image);
        seconds += processor_time() - start;
    }
    const auto truth = test::smooth(test::image_of_discs(grid, discs), grid.n, 1.5);
    for (const std::size_t c : {std::size_t{0}, channels - 1}) {
        std::vector<double> map(grid.size());
        for (std::size_t p = 0; p < grid.size(); ++p)
            map[p] = image[p * channels + c] / static_cast<double>(c + 1);
        map = test::smooth(map, grid.n, 1.5);
        double difference = 0, squares = 0, mean = 0, expected = 0;
        for (std::size_t p = 0; p < grid.size(); ++p) {
            const double x = grid.coordinate(p % grid.n), y = grid.coordinate(p / grid.n);
            if (std::hypot(x, y) < g.field_of_view_radius() - 4 * step) {
                difference += std::pow(map[p] - truth[p], 2);
                squares += truth[p] * truth[p];
            }
            if (std::hypot(x - 1.7, y + 2.1) < 0.9) {
                mean += map[p];
                expected += truth[p];
            }
        }
        const double rmse = std::sqrt(difference / squares), bias = mean / expected - 1;
        require(rmse <= 0.02 && std::abs(bias) <= 0.005,
                fmt::format("FBP: relative RMSE {}, mean off by {}", rmse, bias));
        state.counters["rmse"] = rmse;
        state.counters["mean_error"] = bias;
    }
    report(state, seconds, channels, 2, sinogram_bytes + image_bytes);
}

void ramp_filter(benchmark::State& state) {
    const auto channels = static_cast<std::size_t>(state.range(0));
    const tomography::RampFilter filter(n_translations, step);
    const auto original = random_data(n_rotations * n_translations * channels, 5);
    std::vector<float> data;
    double seconds = 0;
    for (auto _ : state) {
        data = original;
        const double start = processor_time();
        filter.apply(data, channels);
        seconds += processor_time() - start;
    }
    for (std::size_t i = 0; i < n_translations; i += 97) {
        double expected = 0;
        for (std::size_t j = 0; j < n_translations; ++j)
            expected += filter.kernel()[i > j ? i - j : j - i] *
                        original[(7 * n_translations + j) * channels];
        const double found = data[(7 * n_translations + i) * channels];
        require(std::abs(found - expected) <= 1e-4 / step,
                fmt::format("ramp filter: {}, expected {}", found, expected));
    }
    state.counters["ms_per_channel"] =
        1e3 * seconds / (static_cast<double>(state.iterations()) * static_cast<double>(channels));
}

BENCHMARK(forward)
    ->ArgNames({"channels", "beam"})
    ->Args({32, 0})
    ->Args({128, 0})
    ->Args({256, 0})
    ->Args({128, 1})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(adjoint)
    ->ArgNames({"channels", "beam"})
    ->Args({32, 0})
    ->Args({128, 0})
    ->Args({256, 0})
    ->Args({128, 1})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(ramp_filter)->ArgName("channels")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(fbp)->ArgName("channels")->Arg(32)->Arg(128)->Unit(benchmark::kMillisecond);

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return failed ? 1 : 0;
}
