// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "phantom/scan_model.hpp"
#include "phantom/scan_simulator.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

constexpr double truth_spacing = 0.0025; ///< mm

enum TruthQuantity { fraction, density, weight, scale, cell_a, cell_c, n_quantities };

/// Not inlined, so that it is rounded before it is added, whatever the compiler makes of the sum.
[[gnu::noinline, gnu::noipa]] double product(double a, double b) {
    return a * b;
}

} // namespace

/// What the cell holds at one pixel: sums over samples × samples points in it, per phase and of μ.
struct ScanSimulator::Model::PixelTruth {
    std::vector<std::array<double, n_quantities>> sums;
    double mu;
};

/// The pixel's centre at (x, y) [mm].
void ScanSimulator::Model::sum_pixel(double x, double y, std::size_t samples,
                                     PixelTruth& truth) const {
    for (auto& sum : truth.sums)
        sum.fill(0);
    truth.mu = 0;
    const CellDesign& design = cell.design();
    if (std::hypot(x - design.centre_x, y - design.centre_y) > cell.outer_radius() + scan.step)
        return;
    const double cosine = std::cos(radians(design.rotation)),
                 sine = std::sin(radians(design.rotation));
    // Density, scale and cell of the cathode are functions of its lithium excess.
    const auto primary = static_cast<std::size_t>(cell.primary_cathode());
    const double reference_volume = cell.phases()[primary].info.cell.volume();
    for (std::size_t sy = 0; sy < samples; ++sy)
        for (std::size_t sx = 0; sx < samples; ++sx) {
            const auto offset = [&](std::size_t s) {
                return ((static_cast<double>(s) + 0.5) / static_cast<double>(samples) - 0.5) *
                       scan.step;
            };
            const double dx = x + offset(sx) - design.centre_x,
                         dy = y + offset(sy) - design.centre_y;
            const Material material = cell.at(dx * cosine + dy * sine, -dx * sine + dy * cosine);
            truth.mu += material.mu;
            for (int i = 0; i < material.n_parts; ++i) {
                const auto& part = material.part[static_cast<std::size_t>(i)];
                const auto p = static_cast<std::size_t>(part.phase);
                const PhantomPhase& info = phases[p];
                const double phi = part.fraction;
                crystal::UnitCell unit_cell = info.cell;
                double volume = 0, rho = info.density;
                if (p == primary && info.varying_cell) {
                    unit_cell = cell.cathode_cell(material.lithium);
                    volume = unit_cell.volume();
                    rho *= reference_volume / volume;
                }
                auto& sum = truth.sums[p];
                sum[fraction] += phi;
                sum[density] += product(phi, rho);
                sum[scale] += volume > 0 ? phi / (volume * volume) : 0;
                sum[cell_a] += phi * unit_cell.a;
                sum[cell_c] += phi * unit_cell.c;
            }
        }
}

/// Writes the maps [phase][quantity] of one pixel.
void ScanSimulator::Model::write_truth(const PixelTruth& truth, double inverse, double counts_scale,
                                       std::size_t pixel, std::vector<TruthMap>& maps) const {
    const auto primary = static_cast<std::size_t>(cell.primary_cathode());
    double total = 0;
    for (const auto& sum : truth.sums)
        total += sum[density];
    for (std::size_t p = 0; p < truth.sums.size(); ++p) {
        const auto& sum = truth.sums[p];
        TruthMap* map = &maps[p * n_quantities];
        const double volume = phases[p].cell.volume();
        const double scaled =
            p == primary && phases[p].varying_cell ? sum[scale] : sum[fraction] / (volume * volume);
        map[fraction].values[pixel] = sum[fraction] * inverse;
        map[density].values[pixel] = sum[density] * inverse;
        map[weight].values[pixel] = total > 0 ? sum[density] / total : NAN;
        map[scale].values[pixel] = counts_scale * scaled * inverse;
        map[cell_a].values[pixel] = sum[fraction] > 0 ? sum[cell_a] / sum[fraction] : NAN;
        map[cell_c].values[pixel] = sum[fraction] > 0 ? sum[cell_c] / sum[fraction] : NAN;
    }
    maps.back().values[pixel] = truth.mu * inverse;
}

std::vector<TruthMap> ScanSimulator::truth_rows(std::size_t y_begin, std::size_t y_end,
                                                double counts_scale) const {
    const Model& m = *model_;
    const std::size_t n = m.scan.translations;
    if (y_begin > y_end || y_end > n)
        throw Error(fmt::format("simulated scan: truth of rows {} to {} of {}", y_begin, y_end, n));
    const std::size_t n_values = (y_end - y_begin) * n;
    const auto samples =
        std::max<std::size_t>(8, static_cast<std::size_t>(std::ceil(m.scan.step / truth_spacing)));
    std::vector<TruthMap> maps;
    const std::array<std::pair<const char*, const char*>, n_quantities> quantities{
        {{"volume_fraction", ""},
         {"density", "g/cm^3"},
         {"weight_fraction", ""},
         {"scale", ""},
         {"a", "angstrom"},
         {"c", "angstrom"}}};
    for (const PhantomPhase& phase : m.phases)
        for (const auto& [quantity, units] : quantities)
            maps.push_back({phase.name, quantity, units, std::vector<double>(n_values, 0.0)});
    maps.push_back({"", "mu", "1/mm", std::vector<double>(n_values, 0.0)});

    const std::vector<double> centres = axis();
    const double inverse = 1.0 / static_cast<double>(samples * samples);
    Model::PixelTruth truth;
    truth.sums.resize(m.phases.size());
    for (std::size_t iy = y_begin; iy < y_end; ++iy)
        for (std::size_t ix = 0; ix < n; ++ix) {
            m.sum_pixel(centres[ix], centres[iy], samples, truth);
            m.write_truth(truth, inverse, counts_scale, (iy - y_begin) * n + ix, maps);
        }
    return maps;
}

} // namespace xrdct::phantom
