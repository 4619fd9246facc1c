// SPDX-License-Identifier: BSD-3-Clause
// Textured phases and deviated exit rays of the simulated scan against series, chords and brute
// force.

#include "small_cell.hpp"

#include "absorption/exit_ray.hpp"
#include "base/error.hpp"
#include "crystal/march_dollase.hpp"
#include "phantom/exit_absorption.hpp"
#include "phantom/poisson.hpp"
#include "phantom/ring_texture.hpp"
#include "phantom/structures.hpp"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numbers>

namespace xrdct::phantom {
namespace {

constexpr double pi = std::numbers::pi;

/// The addition theorem, once for each of the two circles: Σ_l w_l P_l(cos δ) P_l(sin θ) P_l(cos
/// ψ).
double series(double r, double cos_psi, double sin_theta, double cos_delta) {
    double sum = 0;
    const auto w = crystal::march_coefficients(r);
    for (std::size_t term = 0; term < w.size(); ++term) {
        const auto l = static_cast<unsigned>(2 * term);
        sum += w[term] * std::legendre(l, cos_delta) * std::legendre(l, sin_theta) *
               std::legendre(l, cos_psi);
    }
    return sum;
}

TEST(RingTexture, IsTheLegendreSeries) {
    for (const double r : {0.2, 0.5, 0.7, 0.95, 1.0, 1.6, 5.0})
        for (const double psi : {0.0, 0.3, 0.8, 1.2, 0.5 * pi})
            for (const double sin_theta : {0.0, 0.05, 0.3})
                for (const double cos_delta : {0.0, 0.4, 0.8, 1.0}) {
                    const double exact = series(r, std::cos(psi), sin_theta, cos_delta);
                    EXPECT_NEAR(ring_texture(r, std::cos(psi), sin_theta, cos_delta), exact,
                                1e-5 * std::max(1.0, exact))
                        << r << " " << psi << " " << sin_theta << " " << cos_delta;
                }
}

TEST(RingTexture, MeanOverAllOrientationsIsOne) {
    for (const double r : {0.3, 0.7, 2.0})
        for (const double cos_delta : {0.1, 0.9}) {
            double sum = 0;
            constexpr int n = 400;
            for (int i = 0; i < n; ++i)
                sum += ring_texture(r, (i + 0.5) / n, 0.04, cos_delta) / n;
            EXPECT_NEAR(sum, 1, 1e-4) << r << " " << cos_delta;
        }
    EXPECT_NEAR(ring_texture(1, 0.3, 0.04, 0.6), 1, 1e-12);
    // Platelets along the layers: seen edge-on, the basal reflection is strong; seen face-on, not.
    EXPECT_GT(ring_texture(0.7, 0, 0.03, 1), 1.2);
    EXPECT_LT(ring_texture(0.7, 1, 0.03, 1), 0.7);
    for (const double r : {0.1, 6.0, std::numeric_limits<double>::quiet_NaN()})
        EXPECT_THROW(static_cast<void>(ring_texture(r, 0, 0, 1)), Error);
}

TEST(RingTexture, TableInterpolatesToThisMuch) {
    for (const auto& [r, tolerance] : {std::pair{0.5, 3e-4}, {0.7, 6e-5}}) {
        const std::vector<phantom::TextureTable::Line> lines{
            {0.02, 1.0}, {0.04, 0.5}, {0.04, 0.05}};
        const phantom::TextureTable table(r, lines, 8);
        double worst = 0;
        for (double psi = 0; psi <= 0.5 * pi; psi += 0.0037) {
            const auto at = table.at(static_cast<float>(psi));
            for (std::size_t l = 0; l < lines.size(); ++l) {
                const double value = at.value[l] + at.part * at.slope[l];
                worst = std::max(worst,
                                 std::abs(value - ring_texture(r, std::cos(psi), lines[l].sin_theta,
                                                               lines[l].cos_delta)));
            }
            EXPECT_EQ(at.value[7] + at.part * at.slope[7], 1.0F);
        }
        EXPECT_LT(worst, tolerance) << r;
        EXPECT_GT(worst, 0.01 * tolerance) << r;
        const auto last = table.at(static_cast<float>(0.5 * pi));
        EXPECT_NEAR(last.value[0] + last.part * last.slope[0],
                    ring_texture(r, 0, lines[0].sin_theta, 1), 1e-5);
    }
}

TEST(RingTexture, AngleToTheBasalNormal) {
    crystal::UnitCell cell;
    cell.a = cell.b = 2.46;
    cell.c = 6.71;
    cell.gamma = 120;
    EXPECT_NEAR(cos_to_basal_normal(cell, {0, 0, 2}), 1, 1e-12);
    EXPECT_NEAR(cos_to_basal_normal(cell, {1, 1, 0}), 0, 1e-12);
    // tan δ = (2 c) / (√3 a) for 1 0 1
    EXPECT_NEAR(cos_to_basal_normal(cell, {1, 0, -1}),
                1 / std::hypot(1, 2 * cell.c / (std::sqrt(3) * cell.a)), 1e-12);
}

double mu_of_iron(double wavelength) {
    const auto iron = crystal::Phase::from_cif_text(structure_file("Fe").text, "Fe");
    return 0.1 * iron.density() * iron.mass_attenuation(12.398419843 / wavelength);
}

/// A of a disc of uniform μ, by chords; much finer in χ.
double disc_factor(double mu, double radius, double s, double z, double tangent) {
    const double straight = std::sqrt(radius * radius - s * s) - z;
    double sum = 0;
    constexpr int n = 100;
    for (int k = 0; k < n; ++k) {
        const double t = tangent * std::cos(2 * pi * (k + 0.5) / n);
        // |(s + h t, z + h)| = radius
        const double a = 1 + t * t, b = s * t + z, c = s * s + z * z - radius * radius;
        const double h = (-b + std::sqrt(b * b - a * c)) / a;
        sum += std::exp(mu * (straight - h * std::sqrt(1 + tangent * tangent))) / n;
    }
    return sum;
}

/// All factors at one point, from a table made for its depth.
std::vector<float> factors_at(const phantom::ExitAbsorption& exit, double omega, double s,
                              double z) {
    phantom::ExitAbsorption::Table table;
    const std::vector<double> depths{z - 0.1, z, z + 0.07};
    exit.fill(omega, depths, table);
    std::vector<float> all(phantom::ExitAbsorption::nodes * 3), one;
    exit.along(table, s, all);
    for (std::size_t j = 0; j < phantom::ExitAbsorption::nodes; ++j)
        one.push_back(all[3 * j + 1]);
    return one;
}

// At 50 keV the deviation matters more than at the default wavelength.
constexpr double soft = 0.25;

TEST(ExitAbsorption, OfADiscIsThatOfItsChords) {
    const phantom::CellDesign design = iron_rod();
    const phantom::CellModel cell(design, {}, soft);
    const double mu = mu_of_iron(soft);
    const phantom::ExitAbsorption exit(cell, 0.01, 0.2);
    double largest = 0;
    for (const auto& [s, z] : {std::pair{0.9, -1.2}, {-1.5, 0.0}, {0.7, 1.1}, {1.85, -0.3}}) {
        const auto factors = factors_at(exit, 0.4, s, z);
        for (const double tangent : {0.03, 0.1, 0.15, 0.195}) {
            const auto [node, part] = exit.place(tangent);
            const double found = factors[node] + part * (factors[node + 1] - factors[node]),
                         exact = disc_factor(mu, 2, s, z, tangent);
            EXPECT_NEAR(found, exact, 3e-3 * std::abs(exact - 1) + 1e-3)
                << s << " " << z << " " << tangent;
            largest = std::max(largest, std::abs(exact - 1));
        }
    }
    RecordProperty("largest", std::to_string(largest));
    EXPECT_GT(largest, 0.05);
    phantom::ExitAbsorption::Table table;
    exit.fill(0, std::vector<double>{0}, table);
    std::vector<float> beyond(phantom::ExitAbsorption::nodes, 0.0F);
    exit.along(table, 2.3, beyond);
    EXPECT_EQ(beyond, std::vector<float>(phantom::ExitAbsorption::nodes, 1.0F));
}

// Light that a strip takes out of the cell, over that of straight exit; single paths along a foil
// jump.
TEST(ExitAbsorption, OfLayersIsThatOfTheirPaths) {
    const phantom::CellModel cell(small_cell(), {}, soft);
    const phantom::ExitAbsorption exit(cell, 0.01, 0.2);
    phantom::RayRandom random(5, 0, 0);
    double square = 0, deviation = 0;
    int n = 0;
    for (int i = 0; i < 4; ++i) {
        const double omega = 6 * random.uniform(), centre = 2.6 * random.uniform() - 1.3,
                     z = 2 * random.uniform() - 1.4;
        phantom::ExitAbsorption::Table table;
        exit.fill(omega, std::vector<double>{z}, table);
        for (const double tangent : {0.1, 0.17}) {
            const auto [node, part] = exit.place(tangent);
            double found = 0, exact = 0, alone = 0;
            constexpr int rays = 48, azimuths = 24;
            for (int ray = 0; ray < rays; ++ray) {
                const double s = centre + 0.13 * ((ray + 0.5) / rays - 0.5);
                std::vector<float> factors(phantom::ExitAbsorption::nodes);
                exit.along(table, s, factors);
                const auto path = [&](double t) {
                    double sum = 0;
                    constexpr double h = 0.0015;
                    for (double depth = z + 0.5 * h; depth < 1.7; depth += h) {
                        const double x = s + (depth - z) * t;
                        sum += h * cell.at(x * std::cos(omega) - depth * std::sin(omega),
                                           x * std::sin(omega) + depth * std::cos(omega))
                                       .mu;
                    }
                    return sum;
                };
                const double straight = path(0), length = std::sqrt(1 + tangent * tangent);
                alone += std::exp(-straight) / rays;
                found += std::exp(-straight) *
                         (factors[node] + part * (factors[node + 1] - factors[node])) / rays;
                for (int k = 0; k < azimuths; ++k)
                    exact +=
                        std::exp(-length * path(tangent * std::cos(pi * (k + 0.5) / azimuths))) /
                        (rays * azimuths);
            }
            square += std::pow((found - exact) / alone, 2);
            deviation += std::pow(exact / alone - 1, 2);
            ++n;
        }
    }
    RecordProperty("rms", std::to_string(std::sqrt(square / n)));
    RecordProperty("deviation", std::to_string(std::sqrt(deviation / n)));
    EXPECT_LT(std::sqrt(square / n), 0.15 * std::sqrt(deviation / n));
    EXPECT_GT(std::sqrt(deviation / n), 0.005);
}

// The reconstruction's factors, of rays through the middle of their strips and a map of μ, made by
// other code.
TEST(ExitAbsorption, IsThatOfTheReconstruction) {
    const phantom::CellModel cell(small_cell(), {}, soft);
    const phantom::ExitAbsorption exit(cell, 0.01, 0.2);
    tomography::ImageGrid grid{240, 0.015};
    std::vector<float> mu(grid.size());
    constexpr int samples = 3;
    for (std::size_t i = 0; i < mu.size(); ++i)
        for (int k = 0; k < samples * samples; ++k) {
            const auto at = [&](std::size_t index, int sample) {
                return grid.coordinate(index) + grid.pixel * ((sample + 0.5) / samples - 0.5);
            };
            mu[i] += cell.at(at(i % grid.n, k % samples), at(i / grid.n, k / samples)).mu /
                     (samples * samples);
        }
    tomography::ScanGeometry geometry;
    geometry.rotation = {0, 50, 110, 230};
    for (int j = 0; j < 161; ++j)
        geometry.translation.push_back(0.02 * (j - 80));
    const auto layers = tomography::DepthLayers::across(1.4, 9);
    const double tangent = 0.15;
    const auto theirs = absorption::exit_ray_factors(geometry, grid, mu, layers,
                                                     {std::atan(tangent) * 180 / pi, 12, 1});
    std::vector<double> depths;
    for (std::size_t l = 0; l < layers.count; ++l)
        depths.push_back(layers.depth(l));
    const auto [node, part] = exit.place(tangent);
    double difference = 0, deviation = 0, reversed = 0;
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        phantom::ExitAbsorption::Table table;
        exit.fill(geometry.omega(i), depths, table);
        // Means of seven rays: single ones jump where they graze a foil.
        std::vector<float> factors(phantom::ExitAbsorption::nodes * layers.count);
        for (std::size_t first = 4; first + 7 < 160; first += 7)
            for (std::size_t l = 0; l < layers.count; ++l) {
                double mine = 0, other = 0, behind = 0;
                for (std::size_t j = first; j < first + 7; ++j) {
                    exit.along(table, geometry.translation[j], factors);
                    const float* f = &factors[node * layers.count + l];
                    mine += f[0] + part * (f[layers.count] - f[0]);
                    const float* g = &theirs[(i * geometry.translation.size() + j) * layers.count];
                    other += g[l];
                    behind += g[layers.count - 1 - l];
                }
                if (std::hypot(geometry.translation[first + 3], depths[l]) > 1.5)
                    continue;
                difference += std::pow(mine - other, 2);
                reversed += std::pow(mine - behind, 2);
                deviation += std::pow(mine - 7, 2);
            }
    }
    RecordProperty("difference", std::to_string(std::sqrt(difference / deviation)));
    RecordProperty("reversed", std::to_string(std::sqrt(reversed / deviation)));
    EXPECT_LT(std::sqrt(difference / deviation), 0.4);
    EXPECT_GT(std::sqrt(reversed / deviation), 1);
}

phantom::ScanDesign deviated_scan() {
    phantom::ScanDesign scan = small_scan();
    scan.exit_rays = phantom::ExitRays::deviated;
    return scan;
}

TEST(ExitRays, OfAnIronRod) {
    phantom::CellDesign cell = iron_rod();
    phantom::ScanDesign scan = deviated_scan();
    scan.translations = 16;
    scan.step = 0.25;
    scan.beam_width = 0;
    scan.distance = 1e9;
    scan.wavelength = soft;
    scan.channels = 40; // about 110
    scan.two_theta_first = 6.96;
    const double mu = mu_of_iron(scan.wavelength);
    // Light of a strip over that of straight exit, from chords.
    const auto expected = [&](double centre, double tangent) {
        double straight = 0, deviated = 0;
        constexpr int n_s = 60, n_z = 40;
        for (int is = 0; is < n_s; ++is) {
            const double s = centre + ((is + 0.5) / n_s - 0.5) * scan.step;
            const double half = std::sqrt(4 - s * s), through = half * std::exp(-2 * mu * half);
            for (int iz = 0; iz < n_z; ++iz) {
                const double z = ((iz + 0.5) / n_z * 2 - 1) * half;
                straight += through;
                deviated += through * disc_factor(mu, 2, s, z, tangent);
            }
        }
        return deviated / straight;
    };
    const auto sum = [&](const phantom::ScanDesign& design, std::size_t strip) {
        const phantom::Line l = line(phantom::ScanSimulator(cell, design), 1);
        double total = 0;
        for (std::size_t k = 0; k < design.channels; ++k)
            total += l.intensity[strip * design.channels + k];
        return total;
    };
    phantom::ScanDesign straight = scan;
    straight.exit_rays = phantom::ExitRays::straight;
    for (const std::size_t strip : {10, 14, 15}) {
        const double centre = phantom::ScanSimulator(cell, scan).translation()[strip];
        const auto iron = crystal::Phase::from_cif_text(structure_file("Fe").text, "Fe");
        const double two_theta = 2 * std::asin(scan.wavelength / 2 *
                                               std::sqrt(iron.cell().inverse_d_squared({1, 1, 0})));
        EXPECT_NEAR(sum(scan, strip) / sum(straight, strip), expected(centre, std::tan(two_theta)),
                    1.5e-3)
            << strip;
    }
    // Diffuse scattering leaves at its channel's 2θ.
    for (phantom::ScanDesign* design : {&scan, &straight}) {
        design->background = 1;
        design->two_theta_first = 12.0;
        design->channels = 3;
    }
    const double tangent = std::tan((12.0 + scan.two_theta_width) * pi / 180);
    const double centre = phantom::ScanSimulator(cell, scan).translation()[15];
    EXPECT_NEAR(sum(scan, 15) / sum(straight, 15), expected(centre, tangent), 2e-3);
    EXPECT_GT(std::abs(expected(centre, tangent) - 1), 0.03);
    EXPECT_EQ(line(phantom::ScanSimulator(cell, scan), 0).transmission,
              line(phantom::ScanSimulator(cell, straight), 0).transmission);
}

// A phase without texture is placed by depth, one of a coefficient next to 1 point by point.
TEST(ExitRays, SamePointByPoint) {
    for (const phantom::ExitRays rays :
         {phantom::ExitRays::straight, phantom::ExitRays::deviated}) {
        phantom::ScanDesign scan = deviated_scan();
        scan.exit_rays = rays;
        scan.channels = 300;
        scan.two_theta_first = 1.9;
        scan.distance = 300;
        phantom::CellDesign plain = small_cell();
        plain.centre_x = 0.1;
        plain.centre_y = -0.05;
        phantom::CellDesign points = plain;
        for (const char* phase : {"NMC532", "NMC532_secondary", "LiC6", "LiC12"})
            points.textures.push_back({phase, 1 + 1e-9});
        const phantom::Line a = line(phantom::ScanSimulator(plain, scan), 1),
                            b = line(phantom::ScanSimulator(points, scan), 1);
        const double top = *std::max_element(a.intensity.begin(), a.intensity.end());
        for (std::size_t i = 0; i < a.intensity.size(); ++i)
            ASSERT_NEAR(a.intensity[i], b.intensity[i], 1e-3 * top) << i;
    }
}

TEST(Texture, BadOnesAreRefused) {
    const auto refused = [](std::vector<phantom::CellDesign::Texture> textures) {
        phantom::CellDesign cell = small_cell();
        cell.textures = std::move(textures);
        try {
            const phantom::ScanSimulator simulator(cell, small_scan());
            return std::string("no error");
        } catch (const Error& error) {
            return std::string(error.what());
        }
    };
    EXPECT_THAT(refused({{"NMC523", 0.7}}), testing::HasSubstr("\"NMC523\""));
    EXPECT_THAT(refused({{"NMC523", 0.7}}), testing::HasSubstr("LiC12"));
    EXPECT_THAT(refused({{"Cu", 0.7}}), testing::HasSubstr("\"Cu\""));
    EXPECT_THAT(refused({{"LiC6", 0.1}}), testing::HasSubstr("0.1"));
    EXPECT_THAT(refused({{"LiC6", NAN}}), testing::HasSubstr("LiC6"));
    EXPECT_THAT(refused({{"LiC6", 0.7}, {"LiC6", 0.8}}), testing::HasSubstr("two"));
    EXPECT_EQ(refused({{"LiC6", 0.7}}), "no error");
    EXPECT_THROW(exit_rays_from_string("bent"), Error);
    EXPECT_EQ(exit_rays_from_string("deviated"), phantom::ExitRays::deviated);
}

} // namespace
} // namespace xrdct::phantom
