// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/body_shape.hpp"
#include "phantom/body_simulator.hpp"

#include "base/error.hpp"
#include "crystal/phase.hpp"
#include "phantom/smearing.hpp"
#include "phantom/structures.hpp"
#include "rietveld/model/peak_profile.hpp"
#include "truth_sums.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numbers>

namespace xrdct::phantom {
namespace {

using std::numbers::pi;
using testing::HasSubstr;

BodyDesign small_body(BodyKind kind) {
    BodyDesign body;
    body.kind = kind;
    body.diameter = kind == BodyKind::pouch ? 2.4 : 1.6;
    body.height = 1.1;
    return body;
}

ScanDesign body_scan() {
    ScanDesign scan;
    scan.translations = 40;
    scan.rotations = 12;
    scan.channels = 300;
    scan.two_theta_first = 1.8;
    scan.two_theta_width = 0.012;
    scan.background = 0;
    scan.separator_peak = 0;
    return scan;
}

using Maps = test::TruthMaps;
using test::sum_of;
using test::truth_of;

/// Area [mm²] that a phase fills, times its volume fraction.
double area_of(Maps& maps, const BodySimulator& simulator, const char* phase) {
    return sum_of(maps[{phase, "volume_fraction"}]) * simulator.scan().step * simulator.scan().step;
}

/// Distance of the outline of overlapping discs about the origin, in a direction.
double outline(const std::array<Trilobe::Disc, 3>& discs, double angle) {
    double far = 0;
    for (const auto& disc : discs) {
        const double along = disc.x * std::cos(angle) + disc.y * std::sin(angle);
        const double across = disc.x * std::sin(angle) - disc.y * std::cos(angle);
        far = std::max(far, along + std::sqrt(disc.radius * disc.radius - across * across));
    }
    return far;
}

struct Recorded {
    std::vector<float> intensity, transmission;
};

Recorded recorded(const Simulation& simulator, std::size_t rotation) {
    Recorded line{std::vector<float>(simulator.n_translations() * simulator.n_channels()),
                  std::vector<float>(simulator.n_translations())};
    simulator.simulate_rotation(rotation, line.intensity, line.transmission);
    return line;
}

/// Sum over the translations of intensity over transmission [channel].
std::vector<double> corrected_pattern(const Simulation& simulator, std::size_t rotation) {
    const Recorded line = recorded(simulator, rotation);
    std::vector<double> pattern(simulator.n_channels(), 0.0);
    for (std::size_t t = 0; t < simulator.n_translations(); ++t)
        for (std::size_t k = 0; k < pattern.size(); ++k)
            pattern[k] += line.intensity[t * pattern.size() + k] / line.transmission[t];
    return pattern;
}

std::string message_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(Extrudate, TruthIntegratesToTheAreaOfTheLobes) {
    for (const std::uint64_t seed : {1U, 2U, 9U}) {
        BodyDesign body = small_body(BodyKind::extrudate);
        body.seed = seed;
        body.centre_x = 0.3;
        body.centre_y = -0.2;
        body.rotation = 20;
        const BodySimulator simulator(body, body_scan());
        Maps maps = truth_of(simulator);
        const Trilobe shape(simulator.body().diameter, simulator.body().shell, seed);
        double area = 0;
        constexpr int n = 20000;
        for (int i = 0; i < n; ++i)
            area += pi / n * std::pow(outline(shape.discs(), 2 * pi * i / n), 2);
        EXPECT_NEAR(area_of(maps, simulator, "CeO2") / (0.10 * area), 1, 2e-3) << seed;
        for (int i = 0; i < n; ++i)
            EXPECT_LE(outline(shape.discs(), 2 * pi * i / n), shape.radius() + 1e-9);
    }
}

TEST(Extrudate, CopperIsWithinTheShellOnly) {
    const BodyDesign body = small_body(BodyKind::extrudate);
    const BodySimulator simulator(body, body_scan());
    Maps maps = truth_of(simulator);
    const double shell = simulator.body().shell;
    const Trilobe shape(simulator.body().diameter, shell, body.seed);
    const auto axis = simulator.axis();
    const double diagonal = simulator.scan().step / std::sqrt(2.0);
    std::size_t within = 0, below = 0;
    for (std::size_t iy = 0; iy < axis.size(); ++iy)
        for (std::size_t ix = 0; ix < axis.size(); ++ix) {
            const double x = axis[ix], y = axis[iy];
            if (std::hypot(x, y) > outline(shape.discs(), std::atan2(y, x)))
                continue;
            double depth = 1e9;
            for (int i = 0; i < 4000; ++i) {
                const double angle = 2 * pi * i / 4000, r = outline(shape.discs(), angle);
                depth =
                    std::min(depth, std::hypot(x - r * std::cos(angle), y - r * std::sin(angle)));
            }
            const double copper = maps[{"Cu", "volume_fraction"}][iy * axis.size() + ix];
            if (depth > diagonal && depth < shell - diagonal) {
                EXPECT_NEAR(copper, 0.06, 1e-6);
                ++within;
            } else if (depth > shell + diagonal) {
                EXPECT_EQ(copper, 0);
                ++below;
            }
        }
    EXPECT_GT(within, 50U);
    EXPECT_GT(below, 50U);
}

TEST(Extrudate, PiecesDifferAndDoNotOverlap) {
    BodyDesign body = small_body(BodyKind::extrudate);
    body.pieces = 4;
    ScanDesign scan = body_scan();
    scan.translations = 90;
    const BodySimulator simulator(body, scan);
    Maps maps = truth_of(simulator);
    const Bundle bundle(simulator.body().diameter, simulator.body().shell, body.seed, 4);
    double area = 0;
    constexpr int n = 5000;
    for (const auto& piece : bundle.pieces())
        for (int i = 0; i < n; ++i)
            area += pi / n * std::pow(outline(piece.shape.discs(), 2 * pi * i / n), 2);
    EXPECT_NEAR(area_of(maps, simulator, "CeO2") / (0.10 * area), 1, 3e-3);
    EXPECT_NE(bundle.pieces()[0].shape.discs()[0].radius,
              bundle.pieces()[1].shape.discs()[0].radius);
}

TEST(PackedCapillary, TruthIsTheAreaOfTheGrains) {
    for (const std::uint64_t seed : {1U, 5U}) {
        BodyDesign body = small_body(BodyKind::capillary);
        body.seed = seed;
        body.centre_x = 0.25;
        ScanDesign scan = body_scan();
        scan.translations = 60;
        const BodySimulator simulator(body, scan);
        Maps maps = truth_of(simulator);
        const BodyDesign& d = simulator.body();
        const Capillary capillary(d.diameter, d.wall, d.grain, seed);
        std::array<double, n_grain_kinds> area{};
        double all = 0;
        const auto& grains = capillary.grains();
        for (std::size_t i = 0; i < grains.size(); ++i) {
            EXPECT_LE(std::hypot(grains[i].x, grains[i].y) + grains[i].radius,
                      capillary.inner_radius() + 1e-9);
            for (std::size_t j = 0; j < i; ++j)
                EXPECT_GE(std::hypot(grains[i].x - grains[j].x, grains[i].y - grains[j].y),
                          grains[i].radius + grains[j].radius - 1e-9);
            area[static_cast<std::size_t>(grains[i].kind)] += pi * std::pow(grains[i].radius, 2);
            all += std::pow(grains[i].radius / capillary.inner_radius(), 2);
        }
        EXPECT_GT(all, 0.55) << "packed";
        const std::array<std::pair<const char*, double>, n_grain_kinds> fractions{
            {{"CeO2", 0.30}, {"Cu", 0.30}, {"TiO2", 0.50}, {"graphite", 0.70}}};
        for (std::size_t k = 0; k < fractions.size(); ++k)
            EXPECT_NEAR(area_of(maps, simulator, fractions[k].first), fractions[k].second * area[k],
                        4e-3 * fractions[k].second * area[k])
                << fractions[k].first;
    }
}

TEST(PouchCell, TruthIsTheAreaOfTheLayers) {
    const BodySimulator simulator(small_body(BodyKind::pouch), body_scan());
    Maps maps = truth_of(simulator);
    const BodyDesign& d = simulator.body();
    const PouchStrip strip(d.diameter, d.height, d.layers, d.seed);
    std::map<int, double> area;
    for (const auto& layer : strip.layers())
        area[layer.region] += (layer.to - layer.from) * 2 * strip.half_length();
    EXPECT_NEAR(area_of(maps, simulator, "NMC532") / (0.62 * area[cathode_coating]), 1, 3e-3);
    EXPECT_NEAR(area_of(maps, simulator, "LiC6") / (0.40 * area[anode_coating]), 1, 3e-3);
    EXPECT_NEAR(area_of(maps, simulator, "Cu") / area[copper_layer], 1, 3e-2);
    const double foil = d.diameter * d.height -
                        (d.diameter - 2 * PouchStrip::foil) * (d.height - 2 * PouchStrip::foil);
    EXPECT_NEAR(area_of(maps, simulator, "Al") / (0.4 * foil + area[aluminium_layer]), 1, 1e-2);
}

class AnyBody : public testing::TestWithParam<BodyKind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, AnyBody,
                         testing::Values(BodyKind::extrudate, BodyKind::capillary, BodyKind::pouch),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(AnyBody, TransmissionIsThatOfTheTruth) {
    BodyDesign body = small_body(GetParam());
    body.centre_x = 0.35;
    body.centre_y = -0.2;
    body.rotation = 33;
    for (const int sense : {1, -1}) {
        ScanDesign scan = body_scan();
        scan.translations = 80;
        scan.rotations = 4;
        scan.rotation_range = 360;
        scan.rotation_sense = sense;
        scan.beam_width = 0;
        const BodySimulator simulator(body, scan);
        Maps maps = truth_of(simulator);
        const auto& mu = maps[{"", "mu"}];
        const std::size_t n = scan.translations;
        // The ray at s sees x = s at 0°, y = s a quarter of a turn on, −y the other way round.
        for (const std::size_t rotation : {0U, 1U}) {
            const Recorded line = recorded(simulator, rotation);
            for (std::size_t t = 0; t < n; ++t) {
                double path = 0;
                for (std::size_t i = 0; i < n; ++i)
                    path +=
                        (rotation == 0 ? mu[i * n + t] : mu[(sense > 0 ? t : n - 1 - t) * n + i]) *
                        simulator.scan().step;
                EXPECT_NEAR(line.transmission[t], std::exp(-path), 4e-3)
                    << rotation << " " << t << " " << sense;
            }
        }
    }
}

TEST_P(AnyBody, ScattersTheSameAtEveryRotation) {
    // So small that absorption is a matter of per cents, corrected to first order.
    BodyDesign body = small_body(GetParam());
    const double scale = 0.1;
    body.diameter *= scale;
    body.height *= scale;
    for (double* layer : {&body.layers.cathode, &body.layers.aluminium, &body.layers.anode,
                          &body.layers.copper, &body.layers.separator})
        *layer *= scale;
    if (GetParam() == BodyKind::pouch) {
        body.diameter = 0.8;
        body.height = 0.32;
    }
    body.centre_x = 0.02;
    ScanDesign scan = body_scan();
    scan.distance = 1e9;
    const BodySimulator simulator(body, scan);
    std::vector<double> sums;
    for (std::size_t r = 0; r < scan.rotations; ++r) {
        double sum = 0;
        for (const double v : corrected_pattern(simulator, r))
            sum += v;
        sums.push_back(sum);
    }
    for (const double sum : sums)
        EXPECT_NEAR(sum / sums.front(), 1, 4e-3);
}

TEST_P(AnyBody, PatternIsThatOfTheTruth) {
    BodyDesign body = small_body(GetParam());
    body.layers = {0.12, 0.03, 0.12, 0.02, 0.04};
    // One cell everywhere: the truth's scale says all.
    const auto phases_of_kind = BodySimulator(body, body_scan()).phases();
    for (const PhantomPhase& phase : phases_of_kind) {
        body.cells.push_back({phase.name, 200, 200, 0});
        body.sizes.push_back({phase.name, 180, 180, 0});
        body.microstrains.push_back({phase.name, 0.002, 0.002, 0});
    }
    ScanDesign scan = body_scan();
    scan.distance = 1e9;
    scan.beam_width = 0;
    scan.translations = 120;
    const BodySimulator simulator(body, scan);
    Maps maps = truth_of(simulator);
    const auto two_theta = simulator.two_theta();
    std::vector<double> expected(two_theta.size(), 0.0);
    for (const PhantomPhase& phase : simulator.phases()) {
        const double amount = sum_of(maps[{phase.name, "scale"}]) * simulator.scan().step;
        const auto crystal =
            crystal::Phase::from_cif_text(structure_file(phase.structure).text, phase.name)
                .with_cell(phase.cell);
        for (const auto& line : merge_coincident(crystal.reflections(0.8), crystal.crystal_system(),
                                                 crystal.unique_axis())) {
            const double sine =
                0.5 * scan.wavelength * std::sqrt(phase.cell.inverse_d_squared(line.hkl));
            const double theta = std::asin(sine), angle = 2 * theta * 180 / pi;
            const double lp =
                (1 + std::pow(std::cos(2 * theta), 2)) / (2 * sine * sine * std::cos(theta));
            const auto& p = scan.profile;
            const auto shape = rietveld::pseudo_voigt(rietveld::peak_widths(
                {p.u, p.v, p.w, p.x, p.y, 0}, angle, scan.wavelength, 180, 0.002));
            const PeakShape peak{shape.fwhm, shape.mixing};
            for (std::size_t k = 0; k < expected.size(); ++k)
                expected[k] += amount * line.intensity * lp *
                               peak.mean(two_theta[k] - angle, scan.two_theta_width);
        }
    }
    const auto found = corrected_pattern(simulator, 0);
    const double top = *std::max_element(expected.begin(), expected.end());
    for (std::size_t k = 0; k < expected.size(); ++k)
        EXPECT_NEAR(found[k], expected[k], 0.012 * top) << two_theta[k];
}

TEST(BodyFields, FollowTheDepthWithinTheirValues) {
    BodyDesign body = small_body(BodyKind::extrudate);
    body.sizes = {{"CeO2", 90, 250, 0}};
    body.microstrains = {{"CeO2", 0.004, 0.001, 0.3}};
    const BodySimulator simulator(body, body_scan());
    Maps maps = truth_of(simulator);
    const Trilobe shape(simulator.body().diameter, simulator.body().shell, body.seed);
    const auto axis = simulator.axis();
    const double step = simulator.scan().step;
    double outer = 0, inner = 0, outer_strain = 0, inner_strain = 0, n_outer = 0, n_inner = 0;
    for (std::size_t i = 0; i < axis.size() * axis.size(); ++i) {
        const double size = maps[{"CeO2", "size"}][i], strain = maps[{"CeO2", "microstrain"}][i];
        const double amount = maps[{"CeO2", "volume_fraction"}][i];
        EXPECT_EQ(std::isfinite(size), amount > 0);
        if (!std::isfinite(size))
            continue;
        EXPECT_GE(size, 90 - 1e-9);
        EXPECT_LE(size, 250 + 1e-9);
        if (const double copper = maps[{"Cu", "size"}][i]; std::isfinite(copper)) {
            EXPECT_NEAR(copper, 300, 1e-9);
        }
        const Place place = shape.at(axis[i % axis.size()], axis[i / axis.size()]);
        if (place.depth > 0 && place.depth < 1.5 * step) {
            outer += size;
            outer_strain += strain;
            ++n_outer;
        } else if (place.depth > 0.8 * place.reach) {
            inner += size;
            inner_strain += strain;
            ++n_inner;
        }
    }
    ASSERT_GT(n_outer, 10);
    ASSERT_GT(n_inner, 10);
    EXPECT_LT(outer / n_outer, 145);
    EXPECT_GT(inner / n_inner, 225);
    EXPECT_GT(outer_strain / n_outer, 0.0025);
    EXPECT_LT(inner_strain / n_inner, 0.0015);
}

TEST(BodySimulator, SeedsGiveOtherBodiesAndTheSameSeedTheSame) {
    BodyDesign body = small_body(BodyKind::capillary);
    const BodySimulator a(body, body_scan()), b(body, body_scan());
    body.seed = 2;
    const BodySimulator other(body, body_scan());
    EXPECT_EQ(recorded(a, 3).intensity, recorded(b, 3).intensity);
    EXPECT_NE(recorded(a, 3).intensity, recorded(other, 3).intensity);
}

TEST(BodySimulator, FewGrainsScatterTheLinesOfMetalsOnly) {
    BodyDesign body = small_body(BodyKind::capillary);
    ScanDesign scan = body_scan();
    const BodySimulator fine(body, scan);
    scan.metal_grains = 20;
    const BodySimulator coarse(body, scan);
    const Recorded f = recorded(fine, 0), c = recorded(coarse, 0);
    EXPECT_EQ(f.transmission, c.transmission);
    double largest = 0, everything = 0;
    for (std::size_t i = 0; i < f.intensity.size(); ++i) {
        largest = std::max<double>(largest, std::abs(c.intensity[i] - f.intensity[i]));
        everything = std::max<double>(everything, f.intensity[i]);
    }
    EXPECT_GT(largest, 0.05 * everything);
    // The first channels hold no line of copper.
    for (std::size_t t = 0; t < scan.translations; ++t)
        EXPECT_NEAR(c.intensity[t * scan.channels], f.intensity[t * scan.channels],
                    1e-2 * everything);
}

TEST(BodySimulator, SaysWhatIsWrongWithADesign) {
    const auto message = [](BodyDesign body) {
        return message_of([&] { BodySimulator(body, body_scan()); });
    };
    BodyDesign body = small_body(BodyKind::extrudate);
    EXPECT_EQ(message(body), "");
    body.shell = 2;
    EXPECT_THAT(message(body), HasSubstr("the shell is 2 mm"));
    body = small_body(BodyKind::extrudate);
    body.diameter = -1;
    EXPECT_THAT(message(body), HasSubstr("diameter is -1"));
    body = small_body(BodyKind::extrudate);
    body.sizes = {{"Ni", 100, 100, 0}};
    EXPECT_THAT(message(body), HasSubstr("\"Ni\""));
    EXPECT_THAT(message(body), HasSubstr("CeO2, Cu, graphite"));
    body.sizes = {{"Cu", 2, 100, 0}};
    EXPECT_THAT(message(body), HasSubstr("crystallite size of Cu is 2"));
    body.sizes = {{"Cu", 100, 100, 0}, {"Cu", 200, 200, 0}};
    EXPECT_THAT(message(body), HasSubstr("Cu has two fields"));
    body.sizes.clear();
    body.microstrains = {{"Cu", 0, 1, 0}};
    EXPECT_THAT(message(body), HasSubstr("microstrain of Cu is 1"));
    body.microstrains.clear();
    body.pieces = 0;
    EXPECT_THAT(message(body), HasSubstr("pieces is 0"));
    body = small_body(BodyKind::capillary);
    body.wall = 0.8;
    EXPECT_THAT(message(body), HasSubstr("no room for grains"));
    body = small_body(BodyKind::capillary);
    body.grain = 1e-4;
    EXPECT_THAT(message(body), HasSubstr("too many"));
    body = small_body(BodyKind::pouch);
    body.height = 0.2;
    EXPECT_THAT(message(body), HasSubstr("no room for layers"));
    body = small_body(BodyKind::pouch);
    body.rotation = NAN;
    EXPECT_THAT(message(body), HasSubstr("rotation is nan"));
    body.centre_x = NAN;
    EXPECT_THAT(message(body), HasSubstr("centre_x is nan"));
    EXPECT_THAT(message_of([] { body_from_string("ball"); }), HasSubstr("\"ball\""));
    EXPECT_THAT(message_of([] { support_from_string("wood"); }), HasSubstr("\"wood\""));
}

} // namespace
} // namespace xrdct::phantom
