// SPDX-License-Identifier: BSD-3-Clause
#include "small_cell.hpp"
#include "truth_sums.hpp"

#include "phantom/cell_model.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <numbers>

namespace xrdct::phantom {
namespace {

using Maps = test::TruthMaps;
using test::sum_of;
using test::truth_of;

double mean_by(const std::vector<double>& values, const std::vector<double>& weights) {
    double s = 0, w = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isfinite(values[i])) {
            s += values[i] * weights[i];
            w += weights[i];
        }
    return s / w;
}

/// Area between the fractions u0 and u1 of all windings from v0 to v1 turns.
double layer_area(const phantom::CellModel& m, double u0, double u1, double v0, double v1) {
    const double p = m.period();
    const auto integral = [&](double v) {
        return v * (m.core_radius() + 0.5 * p * (u0 + u1)) + 0.5 * p * v * v;
    };
    return 2 * std::numbers::pi * p * (u1 - u0) * (integral(v1) - integral(v0));
}

TEST(Truth, AreasOfTheLayersAreThoseOfTheSpiral) {
    phantom::CellDesign cell = small_cell();
    cell.tab_length = 0;
    cell.hot_spots_per_mm2 = 0;
    phantom::ScanDesign scan = small_scan();
    scan.translations = 60;
    const phantom::ScanSimulator simulator(cell, scan);
    const phantom::CellModel model(cell, scan.sizes, scan.wavelength);
    const double pixel = simulator.scan().step * simulator.scan().step;
    Maps maps = truth_of(simulator);
    const auto area = [&](const char* phase) {
        return sum_of(maps[{phase, "volume_fraction"}]) * pixel;
    };
    EXPECT_NEAR(area("Fe"), std::numbers::pi * (1.6 * 1.6 - 1.45 * 1.45), 1e-3);
    const auto& b = model.layer_bounds();
    const double copper = layer_area(model, b[5], b[6], 0, model.turns());
    EXPECT_NEAR(area("Cu") / copper, 1, 5e-3);
    const double cathode = layer_area(model, b[0], b[1], 1, model.turns()) +
                           layer_area(model, b[2], b[3], 1, model.turns());
    EXPECT_NEAR(area("NMC532") / (0.62 * cathode), 1, 3e-3);
    const double anode = layer_area(model, b[4], b[5], 0, model.turns()) +
                         layer_area(model, b[6], b[7], 0, model.turns());
    EXPECT_NEAR((area("LiC6") + area("LiC12")) / (0.65 * anode), 1, 3e-3);
    EXPECT_NEAR(area("Al") / layer_area(model, b[1], b[2], 1, model.turns()), 1, 5e-3);
}

TEST(Truth, FractionsAndDensitiesAreConsistent) {
    const phantom::ScanSimulator simulator(small_cell(), small_scan());
    const double scale = 7.5;
    Maps maps = truth_of(simulator, scale);
    const std::size_t n = simulator.n_translations();
    for (std::size_t i = 0; i < n * n; ++i) {
        double weight = 0, volume = 0;
        for (const auto& phase : simulator.phases()) {
            const auto value = [&](const char* quantity) {
                return maps[{phase.name, quantity}][i];
            };
            const double v = value("volume_fraction");
            weight += value("weight_fraction");
            volume += v;
            const double expected = scale * v / std::pow(phase.cell.volume(), 2);
            if (phase.varying_cell) {
                EXPECT_NEAR(value("scale"), expected, 0.01 * expected);
            } else {
                EXPECT_NEAR(value("density"), v * phase.density, 1e-9);
                EXPECT_NEAR(value("scale"), expected, 1e-9 * expected);
            }
            EXPECT_EQ(std::isnan(value("c")), v == 0);
        }
        EXPECT_LE(volume, 1 + 1e-9);
        if (volume > 0) {
            EXPECT_NEAR(weight, 1, 1e-9);
        } else {
            EXPECT_TRUE(std::isnan(weight));
        }
    }
}

TEST(Truth, RowsCanBeMadeApart) {
    const phantom::ScanSimulator simulator(small_cell(), small_scan());
    const auto whole = simulator.truth_rows(0, 24, 1), part = simulator.truth_rows(7, 9, 1);
    ASSERT_EQ(whole.size(), part.size());
    for (std::size_t m = 0; m < whole.size(); ++m) {
        EXPECT_EQ(whole[m].phase, part[m].phase);
        EXPECT_EQ(whole[m].quantity, part[m].quantity);
        for (std::size_t i = 0; i < 2 * 24; ++i) {
            const double a = whole[m].values[7 * 24 + i], b = part[m].values[i];
            EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b)));
        }
    }
    EXPECT_TRUE(simulator.truth_rows(5, 5, 1).front().values.empty());
}

/// Attenuation projected from the map along the rays of each view, against −ln T of the scan.
void expect_map_and_scan_agree(const phantom::CellDesign& cell) {
    phantom::ScanDesign scan = small_scan();
    scan.translations = 64;
    scan.rotation_range = 360;
    scan.rotations = 4; // 0, 90, 180, 270 degrees: rays run along rows and columns
    scan.beam_width = 0;
    const phantom::ScanSimulator simulator(cell, scan);
    Maps maps = truth_of(simulator);
    const auto& mu = maps[{"", "mu"}];
    const std::size_t n = 64;
    const double step = simulator.scan().step;
    for (std::size_t r = 0; r < 4; ++r) {
        const phantom::Line l = line(simulator, r);
        double error = 0, mirrored = 0;
        for (std::size_t t = 0; t < n; ++t) {
            // s = x cos ω + y sin ω: column t, row t, and both reversed.
            const std::size_t index = r < 2 ? t : n - 1 - t;
            double p = 0;
            for (std::size_t i = 0; i < n; ++i)
                p += step * (r % 2 == 0 ? mu[i * n + index] : mu[index * n + i]);
            error += std::abs(-std::log(l.transmission[t]) - p);
            mirrored += std::abs(-std::log(l.transmission[n - 1 - t]) - p);
        }
        EXPECT_LT(error / n, 2e-3) << r;
        EXPECT_GT(mirrored / n, 2 * error / n) << r;
    }
}

TEST(Truth, LiesInTheImageAsTheScanSeesIt) {
    expect_map_and_scan_agree(small_cell());
}

TEST(Truth, LiesInTheImageAsTheScanSeesItWhenTheCellIsMoved) {
    phantom::CellDesign cell = small_cell();
    cell.outer_diameter = 2.8; // stays within the scan
    cell.rotation = 17;
    cell.centre_x = 0.13;
    cell.centre_y = -0.08;
    expect_map_and_scan_agree(cell);
}

TEST(Truth, OfAMovedCellIsTheMovedTruth) {
    phantom::CellDesign cell = small_cell();
    phantom::ScanDesign scan = small_scan();
    scan.translations = 60;
    scan.step = 0.07;
    const Maps still = truth_of(phantom::ScanSimulator(cell, scan));
    cell.rotation = 90;
    cell.centre_x = 3 * scan.step;
    cell.centre_y = -5 * scan.step;
    const Maps moved = truth_of(phantom::ScanSimulator(cell, scan));
    for (const auto& [key, values] : still)
        for (std::size_t y = 8; y < 52; ++y)
            for (std::size_t x = 8; x < 52; ++x) {
                // (x, y) → (−y, x) about the middle of the image, then the shift.
                const std::size_t to_x = 59 - y + 3, to_y = x - 5;
                const double a = values[y * 60 + x], b = moved.at(key)[to_y * 60 + to_x];
                ASSERT_EQ(std::isnan(a), std::isnan(b)) << key.second;
                if (!std::isnan(a)) {
                    ASSERT_NEAR(a, b, 1e-3 * std::max(1.0, std::abs(a))) << key.second;
                }
            }
}

TEST(Scan, OfATurnedCellIsTheScanFromOtherAngles) {
    phantom::CellDesign cell = small_cell();
    phantom::ScanDesign scan = small_scan();
    scan.rotations = 12;
    scan.rotation_range = 360;
    scan.noise = false;
    const phantom::ScanSimulator still(cell, scan);
    cell.rotation = 60; // two steps
    const phantom::ScanSimulator turned(cell, scan);
    const phantom::Line a = line(still, 3), b = line(turned, 5);
    for (std::size_t i = 0; i < a.intensity.size(); ++i)
        ASSERT_NEAR(a.intensity[i], b.intensity[i], 1e-4F * (1 + std::abs(a.intensity[i])));
}

TEST(Scan, SeesTheDepthOfACellOffTheAxis) {
    // Downstream by 20 mm at 1000 mm, the lines appear at angles smaller by 2 %.
    phantom::CellDesign cell = iron_rod(1);
    phantom::ScanDesign scan;
    scan.translations = 5;
    scan.step = 0.3;
    scan.rotations = 1;
    scan.background = scan.separator_peak = 0;
    const auto centre_of_110 = [&](double depth) {
        cell.centre_y = depth;
        const phantom::ScanSimulator simulator(cell, scan);
        const phantom::Line l = line(simulator, 0);
        const auto axis = simulator.two_theta();
        const float* pattern = &l.intensity[2 * simulator.n_channels()];
        double sum = 0, first = 0;
        for (std::size_t k = 0; k < axis.size(); ++k)
            if (axis[k] > 3.15 && axis[k] < 3.55) {
                sum += pattern[k];
                first += pattern[k] * axis[k];
            }
        return first / sum;
    };
    const double on_axis = centre_of_110(0);
    EXPECT_NEAR(centre_of_110(20) / on_axis, 0.98, 1e-3);
}

TEST(Presets, HoldWhatTheyPromise) {
    phantom::ScanDesign scan;
    scan.translations = 60;
    scan.channels = 20;
    for (const phantom::Preset preset :
         {phantom::Preset::charged, phantom::Preset::discharged, phantom::Preset::mixed}) {
        phantom::CellDesign cell;
        cell.preset = preset;
        const phantom::ScanSimulator simulator(cell, scan);
        Maps maps = truth_of(simulator);
        const auto& a = maps[{"NMC532", "a"}];
        const auto& c = maps[{"NMC532", "c"}];
        const auto& amount = maps[{"NMC532", "density"}];
        const double mean_a = mean_by(a, amount), mean_c = mean_by(c, amount);
        double low = 1e9, high = 0;
        for (const double v : c)
            if (std::isfinite(v)) {
                low = std::min(low, v);
                high = std::max(high, v);
            }
        const bool discharged = preset == phantom::Preset::discharged;
        EXPECT_EQ(maps.count({"LiC6", "a"}), discharged ? 0U : 1U);
        EXPECT_EQ(maps.count({"graphite", "a"}), discharged ? 1U : 0U);
        EXPECT_EQ(maps.count({"LiC_dilute", "a"}), discharged ? 1U : 0U);
        if (preset == phantom::Preset::charged) {
            EXPECT_NEAR(low, 14.507, 1e-9);
            EXPECT_NEAR(high, 14.507, 1e-9);
            EXPECT_NEAR(mean_a, 2.822, 1e-9);
        } else {
            EXPECT_GT(high - low, 0.06);
            EXPECT_LE(high - low, 0.0901);
        }
        if (discharged) {
            EXPECT_NEAR(mean_a, 2.859, 1.5e-3);
            EXPECT_NEAR(mean_c, 14.316, 5e-3);
        }
        double crystalline = 0;
        for (const auto& phase : simulator.phases())
            crystalline += sum_of(maps[{phase.name, "density"}]);
        const double secondary = sum_of(maps[{"NMC532_secondary", "density"}]) / crystalline;
        EXPECT_GT(secondary, 0.01);
        EXPECT_LT(secondary, 0.04);
        EXPECT_NEAR(sum_of(amount) / crystalline, 0.34, 0.04);
        // More lithium by the can than half-way out.
        if (preset == phantom::Preset::mixed) {
            const auto axis = simulator.axis();
            const auto mean_between = [&](double from, double to) {
                double total = 0, n = 0;
                for (std::size_t i = 0; i < c.size(); ++i) {
                    const double r = std::hypot(axis[i % 60], axis[i / 60]);
                    if (std::isfinite(c[i]) && r > from && r < to) {
                        total += c[i];
                        ++n;
                    }
                }
                return total / n;
            };
            EXPECT_LT(mean_between(4.3, 5), mean_between(2.6, 3.4) - 0.02);
        }
    }
}

TEST(Presets, HotSpotsHoldMuchSecondaryCathode) {
    phantom::CellDesign cell;
    phantom::ScanDesign scan;
    scan.translations = 150;
    scan.channels = 20;
    Maps maps = truth_of(phantom::ScanSimulator(cell, scan));
    const auto& first = maps[{"NMC532", "density"}];
    const auto& second = maps[{"NMC532_secondary", "density"}];
    int hot = 0;
    for (std::size_t i = 0; i < first.size(); ++i)
        hot += first[i] > 0 && second[i] / (first[i] + second[i]) > 0.2 ? 1 : 0;
    EXPECT_GT(hot, 50);
    EXPECT_LT(hot, 2000);
}

TEST(Presets, SteppedFieldsHaveFewValues) {
    phantom::CellDesign cell = small_cell();
    cell.stepped_lattice = true;
    const phantom::CellModel model(cell, {}, 0.11979);
    std::map<float, int> values;
    for (int i = 0; i < 20000; ++i) {
        const double r = 0.3 + 1.1 * i / 20000.0;
        const phantom::Material m = model.at(r * std::cos(i * 0.37), r * std::sin(i * 0.37));
        for (int p = 0; p < m.n_parts; ++p)
            if (m.part[static_cast<std::size_t>(p)].phase == model.primary_cathode())
                ++values[m.lithium];
    }
    EXPECT_LE(values.size(), 4U);
    EXPECT_GE(values.size(), 3U);
}

TEST(Presets, MetalsOffTheirCifs) {
    phantom::CellDesign cell = small_cell();
    cell.copper_ppm = 250;
    cell.iron_ppm = -100;
    const phantom::ScanSimulator simulator(cell, small_scan());
    for (const auto& phase : simulator.phases()) {
        if (phase.name == "Cu") {
            EXPECT_NEAR(phase.cell.a, 3.6149 * (1 + 250e-6), 1e-9);
        }
        if (phase.name == "Fe") {
            EXPECT_NEAR(phase.cell.a, 2.8665 * (1 - 100e-6), 1e-9);
        }
    }
}

TEST(Voxels, CathodeFractionTellsHalfFilledOnes) {
    // Solid cathode is 0.62 of the coating, the secondary phase included.
    phantom::CellDesign cell = small_cell();
    phantom::ScanDesign scan = small_scan();
    scan.translations = 300;
    Maps maps = truth_of(phantom::ScanSimulator(cell, scan));
    const auto& first = maps[{"NMC532", "volume_fraction"}];
    const auto& second = maps[{"NMC532_secondary", "volume_fraction"}];
    double most = 0;
    for (std::size_t i = 0; i < first.size(); ++i)
        most = std::max(most, first[i] + second[i]);
    EXPECT_NEAR(most, 0.62, 1e-6);
}

} // namespace
} // namespace xrdct::phantom
