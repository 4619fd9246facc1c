// SPDX-License-Identifier: BSD-3-Clause
// How many voxel patterns one core fits in a second: six phases, cathode cell free, background and
// separator peak, 700 channels; and the same with nanocrystals whose size is free, too. The
// patterns come from the unit tests' simple generator, which shares no code with the fitter; the
// answers are checked, so that a fast wrong fit does not count.
//
//   voxel_fit_benchmark [patterns] [counts] [repetitions] [cells|sizes|both]

#include "rietveld/voxel/voxel_fitter.hpp"
#include "support/structures.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <random>
#include <string>

namespace {

using namespace xrdct;

struct Truth {
    double a = 0, c = 0, scale = 0, size = 0;
};

constexpr auto size_of = static_cast<std::size_t>(rietveld::Width::size);

/// The cathode of a voxel; `size` 0: large crystals.
test::SimpleSample cathode_of(const crystal::Phase& phase, const Truth& truth, double wavelength) {
    const double lorentz = truth.size > 0 ? 53.858 * wavelength / truth.size : 0;
    const auto profile = rietveld::pseudo_voigt({0.02, lorentz});
    return {phase, truth.scale, truth.a, truth.c, profile.fwhm, profile.fwhm, profile.mixing};
}

int run(std::size_t count, double counts, int repetitions, bool sizes) {
    const rietveld::RadialAxis axis = test::cell_axis();
    rietveld::PatternModel model;
    model.instrument.w.value = 0.02 * 0.02;
    const std::vector<crystal::Phase> phases = {
        test::cathode(),          test::iron(),
        test::copper(),           test::aluminium(),
        test::lithium_graphite(), test::dilute_lithium_graphite()};
    const double cells[][2] = {{2.84, 14.40}, {2.8665, 0},    {3.6149, 0},
                               {4.0495, 0},   {4.305, 3.706}, {4.288, 7.065}};
    std::vector<std::vector<double>> fixed;
    std::vector<double> unit;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        model.phases.emplace_back(phases[p]);
        for (std::size_t j = 0; j < model.phases[p].cell.size(); ++j) {
            model.phases[p].cell[j].value = cells[p][j];
        }
        fixed.push_back(
            test::simple_pattern(axis, {{phases[p], 1, cells[p][0], cells[p][1], 0.02}}));
        unit.push_back(1 / *std::max_element(fixed[p].begin(), fixed[p].end()));
        model.phases[p].scale.value = unit[p];
    }
    model.set_background(5);
    rietveld::SinglePeak separator;
    separator.name = "separator";
    separator.position.value = 1.65;
    separator.fwhm.value = 0.3;
    model.peaks.push_back(separator);

    // Cathode cells over ± 0.005 Å in a and ± 0.045 Å in c about the start.
    std::mt19937_64 random(20240501);
    std::uniform_real_distribution<double> uniform(0, 1);
    std::normal_distribution<double> normal;
    std::vector<std::vector<float>> patterns, variances;
    std::vector<Truth> truths;
    for (std::size_t i = 0; i < count; ++i) {
        Truth truth;
        truth.a = 2.84 + 0.01 * (uniform(random) - 0.5);
        truth.c = 14.40 + 0.09 * (uniform(random) - 0.5);
        truth.scale = unit[0] * (0.3 + 0.7 * uniform(random));
        truth.size = sizes ? 90 + 160 * uniform(random) : 0;
        auto y = test::simple_pattern(axis, {cathode_of(phases[0], truth, axis.wavelength())});
        for (std::size_t p = 1; p < phases.size(); ++p) {
            const double scale = 0.2 * unit[p] * uniform(random);
            for (std::size_t k = 0; k < y.size(); ++k) {
                y[k] += scale * fixed[p][k];
            }
        }
        std::vector<float> pattern, variance;
        for (std::size_t k = 0; k < y.size(); ++k) {
            const double mean = y[k] + 0.05 + 0.02 * axis.two_theta()[k] / 5;
            pattern.push_back(static_cast<float>(mean + std::sqrt(mean / counts) * normal(random)));
            variance.push_back(static_cast<float>(mean / counts));
        }
        patterns.push_back(std::move(pattern));
        variances.push_back(std::move(variance));
        truths.push_back(truth);
    }

    rietveld::VoxelFitOptions options;
    options.cell_phases = {"NMC"};
    if (sizes) {
        model.phases[0].size.value = 300;
        options.widths = {{"NMC", {true, false, false}}};
    }
    const auto begin = std::chrono::steady_clock::now();
    const rietveld::VoxelFitter fitter(axis, model, options);
    const double preparation =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    rietveld::VoxelFitter::Workspace workspace(fitter);
    std::vector<rietveld::VoxelFit> fits(count);
    double best = 1e30;
    for (int repetition = 0; repetition < repetitions; ++repetition) {
        const auto start = std::chrono::steady_clock::now();
        for (std::size_t i = 0; i < count; ++i) {
            fitter.fit(patterns[i], variances[i], workspace, fits[i]);
        }
        best = std::min(
            best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }

    std::size_t converged = 0, iterations = 0;
    std::vector<double> z, error, size_z, size_error;
    for (std::size_t i = 0; i < count; ++i) {
        const auto& phase = fits[i].phases[0];
        if (fits[i].status == rietveld::FitStatus::converged && std::isfinite(phase.cell[1])) {
            ++converged;
            z.push_back((phase.cell[1] - truths[i].c) / phase.cell_esd[1]);
            error.push_back(std::abs(phase.cell[1] - truths[i].c));
            const double size = phase.width[size_of];
            size_z.push_back((size - truths[i].size) / phase.width_esd[size_of]);
            size_error.push_back(std::abs(size / truths[i].size - 1));
        }
        iterations += static_cast<std::size_t>(fits[i].iterations);
    }
    if (z.empty()) {
        fmt::print("no voxel converged\n");
        return 1;
    }
    const double spread = test::robust_spread(z);
    fmt::print("voxel fits: {:.0f} patterns/s on one core ({:.1f} us each, {:.2f} iterations), 6 "
               "phases, {} free, {} "
               "channels\n",
               static_cast<double>(count) / best, 1e6 * best / static_cast<double>(count),
               static_cast<double>(iterations) / static_cast<double>(count),
               sizes ? "a, c and size" : "a and c", axis.size());
    fmt::print("preparation {:.3f} s, interpolation error {:.1e}; converged {} of {}; |error of c| "
               "median {:.5f} A, "
               "spread of error/esd {:.3f}\n",
               preparation, fitter.interpolation_error(), converged, count, test::median(error),
               spread);
    if (sizes) {
        fmt::print("|relative error of size| median {:.4f}, spread of error/esd {:.3f}\n",
                   test::median(size_error), test::robust_spread(size_z));
    }
    const bool good = static_cast<double>(converged) >= 0.99 * static_cast<double>(count) &&
                      spread > 0.85 && spread < 1.15;
    if (!good) {
        fmt::print("the answers are wrong\n");
    }
    return good ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    const std::size_t count = argc > 1 ? std::stoul(argv[1]) : 500;
    const double counts = argc > 2 ? std::stod(argv[2]) : 2000;
    const int repetitions = argc > 3 ? std::stoi(argv[3]) : 5;
    const std::string which = argc > 4 ? argv[4] : "both";
    const int cells = which == "sizes" ? 0 : run(count, counts, repetitions, false);
    return cells + (which == "cells" ? 0 : run(count, counts, repetitions, true));
}
