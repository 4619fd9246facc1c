// SPDX-License-Identifier: BSD-3-Clause
// Speed of the projector that keeps depths apart, on one core, for a cell of 140² and of 550²
// pixels; the answer is checked by the adjoint test.
//   ms_per_rotation   processor time
//   GFLOP/s           multiply-adds × 2
//   load_limit_ms     time for loading (forward: and storing) every sample under a weight once, two
//                     32-byte loads or one store per cycle at the clock measured at the start
//
//   depth_projector_benchmark [Google Benchmark options]

#include <cmath>
#include <cstdio>
#include <ctime>
#include <numbers>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "clock.hpp"
#include "support/discs.hpp"
#include "tomography/depth_projector.hpp"

namespace {

using namespace xrdct;
using test::clock_rate;
using test::processor_time;

constexpr std::size_t family_blocks = 5, layers = 32;
constexpr double step = 0.02;
bool failed = false;

/// Storage on the boundaries of vector registers.
template <class T>
struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t boundary{64};
    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), boundary)); }
    void deallocate(T* p, std::size_t) { ::operator delete(p, boundary); }
    friend bool operator==(Aligned, Aligned) { return true; }
};
using AlignedFloats = std::vector<float, Aligned<float>>;

double clock_hz = 0;

/// Rolled layers: eight single patterns everywhere, a family of forty in every other layer.
struct Cell {
    Cell(std::size_t n, std::size_t rotations, double layer_pixels)
        : grid{n, step}, scan(test::scan(rotations, 180, n, step)) {
        scan.beam_width = step;
        const double radius = 0.47 * static_cast<double>(n);
        for (std::size_t y = 0; y < n; ++y)
            for (std::size_t x = 0; x < n; ++x) {
                const double dx = static_cast<double>(x) - 0.5 * static_cast<double>(n - 1),
                             dy = static_cast<double>(y) - 0.5 * static_cast<double>(n - 1);
                const double r = std::hypot(dx, dy);
                if (r > radius)
                    continue;
                const double turn = std::atan2(dy, dx) / (2 * std::numbers::pi);
                const bool family = std::fmod(r / layer_pixels + turn + 1, 1.0) < 0.6;
                voxels.push_back(
                    {static_cast<std::uint32_t>(y * n + x),
                     family ? (std::uint32_t{2} << family_blocks) - 1 : std::uint32_t{1}});
                carried += family ? 1 + family_blocks : 1;
            }
        projector = std::make_unique<tomography::DepthProjector>(
            scan, grid, voxels, 1 + family_blocks,
            tomography::DepthLayers::across(0.5 * static_cast<double>(n) * step, layers));
        std::mt19937 random(1);
        std::uniform_real_distribution<float> uniform(0, 1);
        coefficients.resize(projector->coefficient_count());
        for (float& c : coefficients)
            c = uniform(random);
        buffer.resize(projector->buffer_size());
    }
    tomography::ImageGrid grid;
    tomography::ScanGeometry scan;
    std::vector<tomography::VoxelBlocks> voxels;
    std::size_t carried = 0; ///< blocks of all voxels
    std::unique_ptr<tomography::DepthProjector> projector;
    AlignedFloats coefficients, buffer;

    double updates() const { return static_cast<double>(carried * projector->padding() * 2); }
};

void report(benchmark::State& state, const Cell& cell, double processor, std::size_t calls,
            double vectors_per_cycle) {
    const double each = processor / static_cast<double>(calls);
    state.counters["ms_per_rotation"] = 1e3 * each;
    state.counters["GFLOP/s"] = 16 * cell.updates() / each * 1e-9;
    state.counters["load_limit_ms"] = 1e3 * cell.updates() / (vectors_per_cycle * clock_hz);
}

Cell make_cell(const benchmark::State& state) {
    return state.range(0) == 140 ? Cell(140, 220, 5.0) : Cell(550, 400, 20.0);
}

void forward(benchmark::State& state) {
    Cell cell = make_cell(state);
    std::size_t i = 0, calls = 0;
    double processor = 0;
    for (auto _ : state) {
        const double start = processor_time();
        cell.projector->forward(i, cell.coefficients, cell.buffer);
        processor += processor_time() - start;
        i = (i + 7) % cell.projector->rotations();
        ++calls;
    }
    report(state, cell, processor, calls, 1);
}

void adjoint(benchmark::State& state) {
    Cell cell = make_cell(state);
    AlignedFloats forward(cell.buffer.size()), back(cell.coefficients.size());
    // The padding stays 0: only rays that exist are compared.
    std::mt19937 random(2);
    std::uniform_real_distribution<float> uniform(0, 1);
    const std::size_t plane = cell.projector->plane_size(),
                      first = cell.projector->padding() * cell.projector->ray_size();
    for (std::size_t b = 0; b <= family_blocks; ++b)
        for (std::size_t k = first; k < plane - first; ++k)
            cell.buffer[b * plane + k] = uniform(random);
    cell.projector->forward(3, cell.coefficients, forward);
    cell.projector->adjoint(3, cell.buffer, back);
    double rays = 0, voxels = 0;
    for (std::size_t k = 0; k < forward.size(); ++k)
        rays += static_cast<double>(forward[k]) * cell.buffer[k];
    for (std::size_t k = 0; k < back.size(); ++k)
        voxels += static_cast<double>(back[k]) * cell.coefficients[k];
    if (!(std::abs(rays / voxels - 1) < 1e-5)) {
        fmt::print(stderr, "depth_projector_benchmark: WRONG: <A v, p> = {}, <v, Aᵀ p> = {}\n",
                   rays, voxels);
        failed = true;
    }
    std::size_t i = 0, calls = 0;
    double processor = 0;
    for (auto _ : state) {
        const double start = processor_time();
        cell.projector->adjoint(i, cell.buffer, back);
        processor += processor_time() - start;
        i = (i + 7) % cell.projector->rotations();
        ++calls;
    }
    report(state, cell, processor, calls, 2);
}

BENCHMARK(forward)->ArgName("pixels")->Arg(140)->Arg(550)->Unit(benchmark::kMillisecond);
BENCHMARK(adjoint)->ArgName("pixels")->Arg(140)->Arg(550)->Unit(benchmark::kMillisecond);

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    clock_hz = clock_rate();
    benchmark::RunSpecifiedBenchmarks();
    return failed ? 1 : 0;
}
