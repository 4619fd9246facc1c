// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/units.hpp"
#include "phantom/body_scan.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

constexpr double body_truth_spacing = 0.004; ///< mm
constexpr double golden_ratio = 0.61803398874989485;

} // namespace

/// Sums over so many points of the pixel about (x, y) [mm].
void BodySimulator::Model::sum_pixel(double x, double y, std::size_t samples,
                                     PixelTruth& truth) const {
    for (auto& sum : truth.sums)
        sum.fill(0);
    truth.mu = 0;
    const BodyDesign& design = body.design();
    if (std::hypot(x - design.centre_x, y - design.centre_y) > body.shape().radius() + scan.step)
        return;
    const double cosine = std::cos(radians(design.rotation)),
                 sine = std::sin(radians(design.rotation));
    for (std::size_t i = 0; i < samples; ++i) {
        // A lattice of rank 1: no two points are equal in x or in y, however layers lie.
        const double u = (static_cast<double>(i) + 0.5) / static_cast<double>(samples);
        const double v = std::fmod(golden_ratio * (static_cast<double>(i) + 0.5), 1.0);
        const double dx = x + (u - 0.5) * scan.step - design.centre_x,
                     dy = y + (v - 0.5) * scan.step - design.centre_y;
        const double bx = dx * cosine + dy * sine, by = -dx * sine + dy * cosine;
        const Place place = body.shape().at(bx, by);
        if (place.region == nothing)
            continue;
        const auto mixture = body.mixture(place.region, bx, by);
        truth.mu += mixture.mu;
        for (int i = 0; i < mixture.n_parts; ++i) {
            const auto& part = mixture.part[static_cast<std::size_t>(i)];
            const auto& phase = body.phases()[static_cast<std::size_t>(part.phase)];
            const crystal::UnitCell cell = body.cell(phase, phase.cell.at(place, bx, by));
            const double phi = part.fraction, volume = cell.volume();
            auto& sum = truth.sums[static_cast<std::size_t>(part.phase)];
            sum[fraction] += phi;
            sum[density] += phi * phase.info.density * phase.info.cell.volume() / volume;
            sum[scale] += phi / (volume * volume);
            sum[cell_a] += phi * cell.a;
            sum[cell_c] += phi * cell.c;
            sum[size] += phi / phase.size.at(place, bx, by);
            sum[microstrain] += phi * phase.microstrain.at(place, bx, by);
        }
    }
}

std::vector<TruthMap> BodySimulator::truth_rows(std::size_t y_begin, std::size_t y_end,
                                                double counts_scale) const {
    const Model& m = *model_;
    const std::size_t n = m.scan.translations;
    if (y_begin > y_end || y_end > n)
        throw Error(fmt::format("simulated scan: truth of rows {} to {} of {}", y_begin, y_end, n));
    const auto side = std::max<std::size_t>(
        8, static_cast<std::size_t>(std::ceil(m.scan.step / body_truth_spacing)));
    const std::size_t samples = side * side;
    constexpr std::array<std::pair<const char*, const char*>, Model::n_quantities> quantities{
        {{"volume_fraction", ""},
         {"density", "g/cm^3"},
         {"weight_fraction", ""},
         {"scale", ""},
         {"a", "angstrom"},
         {"c", "angstrom"},
         {"size", "angstrom"},
         {"microstrain", ""}}};
    std::vector<TruthMap> maps;
    for (const PhantomPhase& phase : m.phases)
        for (const auto& [quantity, units] : quantities)
            maps.push_back(
                {phase.name, quantity, units, std::vector<double>((y_end - y_begin) * n, 0.0)});
    maps.push_back({"", "mu", "1/mm", std::vector<double>((y_end - y_begin) * n, 0.0)});
    const std::vector<double> centres = axis();
    const double inverse = 1.0 / static_cast<double>(samples);
    Model::PixelTruth truth;
    truth.sums.resize(m.phases.size());
    for (std::size_t iy = y_begin; iy < y_end; ++iy)
        for (std::size_t ix = 0; ix < n; ++ix) {
            const std::size_t pixel = (iy - y_begin) * n + ix;
            m.sum_pixel(centres[ix], centres[iy], samples, truth);
            double total = 0;
            for (const auto& sum : truth.sums)
                total += sum[Model::density];
            for (std::size_t p = 0; p < truth.sums.size(); ++p) {
                const auto& sum = truth.sums[p];
                TruthMap* map = &maps[p * Model::n_quantities];
                const double phi = sum[Model::fraction];
                const auto mean = [&](Model::Quantity q) { return phi > 0 ? sum[q] / phi : NAN; };
                map[Model::fraction].values[pixel] = phi * inverse;
                map[Model::density].values[pixel] = sum[Model::density] * inverse;
                map[Model::weight].values[pixel] = total > 0 ? sum[Model::density] / total : NAN;
                map[Model::scale].values[pixel] = counts_scale * sum[Model::scale] * inverse;
                map[Model::cell_a].values[pixel] = mean(Model::cell_a);
                map[Model::cell_c].values[pixel] = mean(Model::cell_c);
                map[Model::size].values[pixel] = 1 / mean(Model::size);
                map[Model::microstrain].values[pixel] = mean(Model::microstrain);
            }
            maps.back().values[pixel] = truth.mu * inverse;
        }
    return maps;
}

} // namespace xrdct::phantom
