// SPDX-License-Identifier: BSD-3-Clause
#include "small_cell.hpp"

#include "base/error.hpp"
#include "crystal/march_dollase.hpp"
#include "phantom/cell_model.hpp"
#include "phantom/structures.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <numbers>
#include <numeric>

namespace xrdct::phantom {
namespace {

constexpr double pi = std::numbers::pi;
double rad(double degrees) {
    return degrees * pi / 180;
}
double deg(double radians) {
    return radians * 180 / pi;
}

// The expected patterns are made here from the formulas, point by point, with a Voigt-like profile
// of their own.
struct Reference {
    const phantom::ScanDesign& scan;

    /// FWHM and η of the Thompson–Cox–Hastings profile.
    std::pair<double, double> widths(double two_theta, double size) const {
        const double th = rad(two_theta) / 2;
        const InstrumentProfile& p = scan.profile;
        const double g = std::sqrt(p.u * std::tan(th) * std::tan(th) + p.v * std::tan(th) + p.w);
        const double l = p.x / std::cos(th) + p.y * std::tan(th) +
                         deg(0.94 * scan.wavelength / (size * std::cos(th)));
        double sum = 0;
        const double c[6] = {1, 2.69269, 2.42843, 4.47163, 0.07842, 1};
        for (int i = 0; i < 6; ++i)
            sum += c[i] * std::pow(g, 5 - i) * std::pow(l, i);
        const double f = std::pow(sum, 0.2), q = l / f;
        return {f, 1.36603 * q - 0.47719 * q * q + 0.11116 * q * q * q};
    }
    /// Channel mean by numerical quadrature of the density.
    double profile(double two_theta, double centre, double size) const {
        const auto [f, eta] = widths(centre, size);
        double sum = 0;
        const int n = 8;
        for (int i = 0; i < n; ++i) {
            const double x = two_theta + ((i + 0.5) / n - 0.5) * scan.two_theta_width - centre;
            const double gauss = 2 / f * std::sqrt(std::log(2.0) / pi) *
                                 std::exp(-4 * std::log(2.0) * x * x / (f * f));
            const double lorentz = f / (2 * pi) / (x * x + f * f / 4);
            sum += eta * lorentz + (1 - eta) * gauss;
        }
        return sum / n;
    }
    struct Peak {
        double two_theta, intensity;
    };
    /// Where and how strongly a reflection of a point at depth z appears.
    Peak peak(const crystal::PowderLine& line, const crystal::UnitCell& cell, double z) const {
        const double theta =
            std::asin(scan.wavelength / 2 * std::sqrt(cell.inverse_d_squared(line.hkl)));
        const double t2 = 2 * theta;
        const double lp = (1 + std::cos(t2) * std::cos(t2)) /
                          (2 * std::sin(theta) * std::sin(theta) * std::cos(theta));
        const double apparent = std::atan((1 - z / scan.distance) * std::tan(t2));
        const double near = scan.distance / (scan.distance - z);
        const double amplitude = near * near * std::pow(std::cos(t2) / std::cos(apparent), 3);
        const double v = cell.volume();
        return {deg(apparent), line.intensity * lp * amplitude / (v * v)};
    }
};

TEST(IronRod, TransmissionIsThatOfTheChord) {
    const phantom::CellDesign cell = iron_rod();
    phantom::ScanDesign scan = small_scan();
    scan.translations = 40;
    scan.step = 0.11;
    const phantom::ScanSimulator simulator(cell, scan);
    const phantom::Line l = line(simulator, 2);
    const auto iron = crystal::Phase::from_cif_text(structure_file("Fe").text, "Fe");
    const double mu = 0.1 * iron.density() * iron.mass_attenuation(12.398419843 / scan.wavelength);
    const auto t = simulator.translation();
    for (std::size_t i = 0; i < t.size(); ++i) {
        // Triangle: box of the step and box of the beam, equally wide.
        if (std::abs(t[i]) < 0.1 + 0.12)
            continue;
        double sum = 0, weight = 0;
        const int n = 2000;
        for (int k = 0; k < n; ++k) {
            const double x = ((k + 0.5) / n * 2 - 1) * 0.11;
            const double s = t[i] + x, w = 0.11 - std::abs(x);
            const double chord = std::abs(s) < 2 ? 2 * std::sqrt(4 - s * s) : 0;
            sum += w * std::exp(-mu * chord);
            weight += w;
        }
        EXPECT_NEAR(l.transmission[i], sum / weight, 3e-4) << t[i];
    }
    // Outside the sample nothing is absorbed and nothing scatters.
    EXPECT_EQ(l.transmission[0], 1.0F);
    EXPECT_EQ(*std::max_element(l.intensity.begin(), l.intensity.begin() + 120), 0.0F);
}

class IronRodPattern : public testing::TestWithParam<double> {};

TEST_P(IronRodPattern, IsTheSumOverDepth) {
    const phantom::CellDesign cell = iron_rod();
    phantom::ScanDesign scan = small_scan();
    scan.translations = 16;
    scan.step = 0.25;
    scan.beam_width = 0;
    scan.channels = 320; // 110 and 200
    scan.two_theta_first = 3.15;
    scan.distance = GetParam();
    const phantom::ScanSimulator simulator(cell, scan);
    const phantom::Line l = line(simulator, 1);
    const auto two_theta = simulator.two_theta();
    const auto iron = crystal::Phase::from_cif_text(structure_file("Fe").text, "Fe");
    const double mu = 0.1 * iron.density() * iron.mass_attenuation(12.398419843 / scan.wavelength);
    const auto lines = merge_coincident(iron.reflections(1.1), crystal::CrystalSystem::cubic);

    const Reference reference{scan};
    const std::size_t strip = 10;
    const double centre = simulator.translation()[strip];
    std::vector<double> expected(scan.channels, 0.0);
    const int n_s = 25, n_z = 40;
    for (int is = 0; is < n_s; ++is) {
        const double s = centre + ((is + 0.5) / n_s - 0.5) * scan.step;
        const double half = std::sqrt(4 - s * s);
        const double through = std::exp(-mu * 2 * half);
        for (int iz = 0; iz < n_z; ++iz) {
            const double z = ((iz + 0.5) / n_z * 2 - 1) * half;
            for (const crystal::PowderLine& line : lines) {
                const auto peak = reference.peak(line, iron.cell(), z);
                for (std::size_t k = 0; k < scan.channels; ++k)
                    if (std::abs(two_theta[k] - peak.two_theta) < 0.7)
                        expected[k] +=
                            through / n_s * 2 * half / n_z * peak.intensity *
                            reference.profile(two_theta[k], peak.two_theta, scan.sizes.metal);
            }
        }
    }
    const double top = *std::max_element(expected.begin(), expected.end());
    for (std::size_t k = 0; k < scan.channels; ++k)
        ASSERT_NEAR(l.intensity[strip * scan.channels + k], expected[k], 2e-3 * top)
            << two_theta[k];
}

INSTANTIATE_TEST_SUITE_P(Distances, IronRodPattern, testing::Values(1e9, 1000.0, 150.0));

/// Everything at once: a whole cell, one strip, by brute force over points classified with
/// CellModel::at.
class WholeCell
    : public testing::TestWithParam<std::tuple<phantom::Preset, int, int, double, bool, double>> {};

/// Factors of a textured phase's lines, [line][ψ in thirds of a degree], by Legendre series.
std::vector<std::vector<double>> texture_factors(const std::vector<crystal::PowderLine>& lines,
                                                 const crystal::UnitCell& cell,
                                                 const crystal::Phase& phase, double wavelength,
                                                 double march) {
    std::vector<std::vector<double>> factors;
    const auto w = crystal::march_coefficients(march);
    for (const crystal::PowderLine& line : lines) {
        const auto moments = axis_moments(phase, cell, line.hkl, {0, 0, 1}, w.size());
        const double sin_theta = wavelength / 2 * std::sqrt(cell.inverse_d_squared(line.hkl));
        std::vector<double> row(271, 0.0);
        for (std::size_t i = 0; i < row.size(); ++i)
            for (std::size_t term = 0; term < w.size(); ++term) {
                const auto l = static_cast<unsigned>(2 * term);
                row[i] += w[term] * moments[term] * std::legendre(l, sin_theta) *
                          std::legendre(l, std::cos(rad(static_cast<double>(i) / 3)));
            }
        factors.push_back(row);
    }
    return factors;
}

TEST_P(WholeCell, IsTheSumOverItsPoints) {
    const auto [preset, rotation_sense, translation_sense, offset, stepped, march] = GetParam();
    phantom::CellDesign cell = small_cell(preset);
    const std::string textured = preset == phantom::Preset::discharged ? "graphite" : "LiC12";
    if (march != 1)
        cell.textures = {{"NMC532", march}, {textured, march}};
    cell.stepped_lattice = stepped;
    phantom::ScanDesign scan = small_scan();
    scan.distance = 250;
    scan.channels = 400;
    scan.two_theta_first = 1.3;
    scan.rotation_range = 360;
    scan.rotation_sense = rotation_sense;
    scan.translation_sense = translation_sense;
    scan.axis_offset = offset;
    scan.beam_width = 0.05;
    const phantom::ScanSimulator simulator(cell, scan);
    const double step = simulator.scan().step;
    const std::size_t i_rotation = 1, strip = 5;
    const phantom::Line l = line(simulator, i_rotation);
    const double omega = rad(rotation_sense * simulator.rotation()[i_rotation]);
    const double s0 = translation_sense * simulator.translation()[strip] - offset;

    const phantom::CellModel model(cell, scan.sizes, scan.wavelength);
    std::vector<std::vector<crystal::PowderLine>> lines;
    for (const auto& p : model.phases())
        lines.push_back(merge_coincident(p.crystal.reflections(1.6), p.crystal.crystal_system()));

    std::vector<std::vector<std::vector<double>>> textures(lines.size());
    for (std::size_t p = 0; p < lines.size(); ++p) {
        const auto& phase = model.phases()[p];
        if (march != 1 && (phase.info.name == "NMC532" || phase.info.name == textured))
            textures[p] =
                texture_factors(lines[p], phase.info.cell, phase.crystal, scan.wavelength, march);
    }
    // The angle between the gradient of the winding coordinate and the beam, by differences.
    const auto angle = [&](double x, double y) {
        const auto winding = [&](double u, double v) {
            const double turned = u * std::cos(std::atan2(y, x)) + v * std::sin(std::atan2(y, x)),
                         across = v * std::cos(std::atan2(y, x)) - u * std::sin(std::atan2(y, x));
            return std::hypot(u, v) / model.period() - std::atan2(across, turned) / (2 * pi);
        };
        const double h = 1e-4, gx = winding(x + h, y) - winding(x - h, y),
                     gy = winding(x, y + h) - winding(x, y - h);
        return std::acos(std::abs(gy * std::cos(omega) - gx * std::sin(omega)) /
                         std::hypot(gx, gy));
    };

    // Lines are collected in steps of 2e-4° by size and smeared afterwards.
    const Reference reference{simulator.scan()};
    const double fine = 2e-4;
    std::map<double, std::map<int, double>> spectra;
    double transmission = 0;
    const double reach = 0.5 * (step + scan.beam_width), h_s = 0.002, h_z = 0.002;
    const int n_s = static_cast<int>(2 * reach / h_s);
    double weights = 0;
    for (int is = 0; is < n_s; ++is) {
        const double x = ((is + 0.5) / n_s * 2 - 1) * reach;
        const double weight = std::min(scan.beam_width, reach - std::abs(x));
        weights += weight;
        const double s = s0 + x;
        double attenuation = 0;
        std::vector<std::tuple<int, double, double, double, double>> parts;
        const int n_z = static_cast<int>(3.3 / h_z);
        for (int iz = 0; iz < n_z; ++iz) {
            const double z = (iz + 0.5) * h_z - 1.65;
            const double px = s * std::cos(omega) - z * std::sin(omega),
                         py = s * std::sin(omega) + z * std::cos(omega);
            const phantom::Material m = model.at(px, py);
            const double psi = march != 1 ? angle(px, py) : 0;
            attenuation += m.mu * h_z;
            for (int i = 0; i < m.n_parts; ++i)
                parts.emplace_back(m.part[static_cast<std::size_t>(i)].phase,
                                   m.part[static_cast<std::size_t>(i)].fraction * h_z, z, m.lithium,
                                   psi);
        }
        const double through = std::exp(-attenuation);
        transmission += weight * through;
        for (const auto& [phase, amount, z, lithium, psi] : parts) {
            const auto& p = model.phases()[static_cast<std::size_t>(phase)];
            const crystal::UnitCell unit_cell =
                phase == model.primary_cathode() ? model.cathode_cell(lithium) : p.info.cell;
            const auto& texture = textures[static_cast<std::size_t>(phase)];
            const auto place = static_cast<std::size_t>(std::lround(3 * deg(psi)));
            for (std::size_t i = 0; i < lines[static_cast<std::size_t>(phase)].size(); ++i) {
                const crystal::PowderLine& line = lines[static_cast<std::size_t>(phase)][i];
                auto peak = reference.peak(line, unit_cell, z);
                if (!texture.empty())
                    peak.intensity *= texture[i][place];
                spectra[p.info.crystallite_size]
                       [static_cast<int>(std::lround(peak.two_theta / fine))] +=
                    weight * through * amount * peak.intensity;
            }
        }
    }
    EXPECT_NEAR(l.transmission[strip], transmission / weights, 2e-3);

    const auto two_theta = simulator.two_theta();
    std::vector<double> expected(scan.channels, 0.0);
    for (const auto& [size, spectrum] : spectra)
        for (const auto& [bin, value] : spectrum)
            for (std::size_t k = 0; k < scan.channels; ++k) {
                const double centre = bin * fine;
                if (std::abs(two_theta[k] - centre) < 0.3)
                    expected[k] += value / weights * reference.profile(two_theta[k], centre, size);
            }
    const double top = *std::max_element(expected.begin(), expected.end());
    double difference = 0, norm = 0;
    for (std::size_t k = 0; k < scan.channels; ++k) {
        const double y = l.intensity[strip * scan.channels + k];
        ASSERT_NEAR(y, expected[k], 0.01 * top) << two_theta[k];
        difference += (y - expected[k]) * (y - expected[k]);
        norm += expected[k] * expected[k];
    }
    EXPECT_LT(std::sqrt(difference / norm), 5e-3);
}

INSTANTIATE_TEST_SUITE_P(
    Designs, WholeCell,
    testing::Values(std::tuple{phantom::Preset::mixed, 1, 1, 0.0, false, 1.0},
                    std::tuple{phantom::Preset::mixed, -1, 1, 0.05, false, 0.7},
                    std::tuple{phantom::Preset::discharged, 1, -1, 0.0, false, 0.5},
                    std::tuple{phantom::Preset::discharged, -1, 1, 0.13, false, 1.0},
                    std::tuple{phantom::Preset::charged, 1, -1, -0.2, false, 1.0},
                    std::tuple{phantom::Preset::mixed, -1, -1, 0.1, true, 1.0}));

TEST(Strip, WideStepIsTheMeanOfNarrowOnes) {
    const phantom::CellDesign cell = small_cell();
    phantom::ScanDesign wide = small_scan();
    wide.beam_width = 0;
    wide.step = 0.16;
    phantom::ScanDesign narrow = wide;
    narrow.step = 0.02;
    narrow.translations = 192;
    phantom::ScanDesign beam = wide;
    beam.beam_width = 0.08;
    const phantom::Line w = line(phantom::ScanSimulator(cell, wide), 1),
                        n = line(phantom::ScanSimulator(cell, narrow), 1),
                        b = line(phantom::ScanSimulator(cell, beam), 1);
    // Eight narrow strips make a step, four the beam.
    const double weights[12] = {0.5, 1.5, 2.5, 3.5, 4, 4, 4, 4, 3.5, 2.5, 1.5, 0.5};
    const double top = *std::max_element(w.intensity.begin(), w.intensity.end());
    for (std::size_t i = 1; i < 23; ++i) {
        double mean = 0, blurred = 0;
        for (std::size_t j = 0; j < 8; ++j)
            mean += n.transmission[8 * i + j] / 8;
        for (std::size_t j = 0; j < 12; ++j)
            blurred += weights[j] / 32 * n.transmission[8 * i - 2 + j];
        EXPECT_NEAR(w.transmission[i], mean, 1e-4);
        EXPECT_NEAR(b.transmission[i], blurred, 1e-3);
        for (std::size_t k = 0; k < 120; ++k) {
            double m = 0, s = 0;
            for (std::size_t j = 0; j < 8; ++j)
                m += n.intensity[(8 * i + j) * 120 + k] / 8;
            for (std::size_t j = 0; j < 12; ++j)
                s += weights[j] / 32 * n.intensity[(8 * i - 2 + j) * 120 + k];
            ASSERT_NEAR(w.intensity[i * 120 + k], m, 1e-3 * top);
            ASSERT_NEAR(b.intensity[i * 120 + k], s, 4e-3 * top);
        }
    }
}

TEST(Senses, MirrorTheScan) {
    const phantom::CellDesign cell = small_cell();
    phantom::ScanDesign scan = small_scan();
    scan.rotation_range = 360;
    const phantom::ScanSimulator plain(cell, scan);
    phantom::ScanDesign turned = scan;
    turned.rotation_sense = -1;
    phantom::ScanDesign moved = scan;
    moved.translation_sense = -1;
    const phantom::ScanSimulator other_turn(cell, turned), other_move(cell, moved);
    const phantom::Line a = line(plain, 2), b = line(other_turn, 4), c = line(other_move, 2);
    for (std::size_t i = 0; i < 24; ++i) {
        EXPECT_NEAR(a.transmission[i], b.transmission[i], 1e-6);
        EXPECT_NEAR(a.transmission[i], c.transmission[23 - i], 1e-6);
        EXPECT_NEAR(a.intensity[i * 120 + 33], c.intensity[(23 - i) * 120 + 33], 1e-12);
    }
    // Opposite views see the same chord from both ends: parallax shifts the other way, so the
    // pattern differs.
    const phantom::Line d = line(plain, 5);
    double difference = 0;
    for (std::size_t i = 0; i < 24; ++i) {
        EXPECT_NEAR(a.transmission[i], d.transmission[23 - i], 2e-4);
        for (std::size_t k = 0; k < 120; ++k)
            difference = std::max<double>(
                difference, std::abs(a.intensity[i * 120 + k] - d.intensity[(23 - i) * 120 + k]));
    }
    EXPECT_GT(difference, 0.01 * *std::max_element(a.intensity.begin(), a.intensity.end()));
}

TEST(AxisOffset, OfOneStepShiftsByOne) {
    const phantom::CellDesign cell = small_cell();
    phantom::ScanDesign scan = small_scan();
    scan.step = 0.15;
    phantom::ScanDesign shifted = scan;
    shifted.axis_offset = 0.15;
    const phantom::Line a = line(phantom::ScanSimulator(cell, scan), 1),
                        b = line(phantom::ScanSimulator(cell, shifted), 1);
    for (std::size_t i = 0; i + 1 < 24; ++i)
        EXPECT_NEAR(a.transmission[i], b.transmission[i + 1], 1e-5);
}

TEST(Counts, ThePercentileIsWhatWasAsked) {
    phantom::ScanDesign scan = small_scan();
    scan.counts = 321;
    scan.noise = false;
    scan.background = 0.3;
    const phantom::ScanSimulator simulator(small_cell(), scan);
    phantom::LogHistogram histogram;
    std::vector<phantom::Line> lines;
    for (std::size_t i = 0; i < 6; ++i) {
        lines.push_back(line(simulator, i));
        histogram.add(lines.back().intensity);
    }
    const double scale = simulator.counts_scale(histogram);
    std::vector<float> all;
    for (std::size_t i = 0; i < 6; ++i) {
        simulator.finish_rotation(i, scale, lines[i].intensity);
        all.insert(all.end(), lines[i].intensity.begin(), lines[i].intensity.end());
    }
    std::sort(all.begin(), all.end());
    const double exact = all[static_cast<std::size_t>(0.9999 * static_cast<double>(all.size()))];
    EXPECT_NEAR(exact / 321, 1, 5e-3);
    EXPECT_THROW(static_cast<void>(simulator.counts_scale(phantom::LogHistogram{})), Error);
}

TEST(Noise, IsPoissonAndBelongsToTheRay) {
    phantom::ScanDesign scan = small_scan();
    const phantom::ScanSimulator simulator(small_cell(), scan);
    std::vector<float> mean = line(simulator, 3).intensity;
    const double scale = 50 / static_cast<double>(*std::max_element(mean.begin(), mean.end()));
    std::vector<float> noisy = mean, again = mean;
    simulator.finish_rotation(3, scale, noisy);
    simulator.finish_rotation(3, scale, again);
    EXPECT_EQ(noisy, again);
    std::vector<float> other = mean;
    simulator.finish_rotation(2, scale, other);
    EXPECT_NE(noisy, other);

    double chi2 = 0, sum = 0, expected = 0;
    int n = 0;
    for (std::size_t i = 0; i < mean.size(); ++i) {
        const double m = scale * mean[i];
        EXPECT_EQ(noisy[i], std::floor(noisy[i]));
        sum += noisy[i];
        expected += m;
        if (m > 2) {
            chi2 += (noisy[i] - m) * (noisy[i] - m) / m;
            ++n;
        }
    }
    EXPECT_NEAR(sum, expected, 5 * std::sqrt(expected));
    EXPECT_NEAR(chi2 / n, 1, 6 * std::sqrt(2.5 / n));

    // A missing rotation does not change the noise of the others.
    phantom::ScanDesign gap = scan;
    gap.missing_rotations = {1, 2};
    const phantom::ScanSimulator fewer(small_cell(), gap);
    EXPECT_EQ(fewer.n_rotations(), 4U);
    EXPECT_DOUBLE_EQ(fewer.rotation()[1], 90);
    phantom::Line same = line(fewer, 1);
    fewer.finish_rotation(1, scale, same.intensity);
    EXPECT_EQ(same.intensity, noisy);
}

TEST(Ranks, OrderAndShareOfRotationsDoNotMatter) {
    const phantom::ScanSimulator simulator(small_cell(), small_scan());
    std::vector<phantom::Line> forward;
    for (std::size_t i = 0; i < 6; ++i)
        forward.push_back(line(simulator, i));
    const phantom::ScanSimulator second(small_cell(), small_scan());
    for (const std::size_t i : {5, 1, 3}) {
        const phantom::Line l = line(second, i);
        EXPECT_EQ(l.intensity, forward[i].intensity);
        EXPECT_EQ(l.transmission, forward[i].transmission);
    }
}

TEST(Background, HasTheRatioThatWasAsked) {
    // Without absorption the ratio would be exact; the cell absorbs diffuse and Bragg scattering
    // nearly alike.
    phantom::CellDesign cell = small_cell();
    phantom::ScanDesign scan = small_scan();
    scan.channels = 700;
    scan.two_theta_first = 1.2;
    const auto total = [&](double background, double separator) {
        scan.background = background;
        scan.separator_peak = separator;
        const phantom::ScanSimulator simulator(cell, scan);
        double sum = 0;
        for (const float v : line(simulator, 0).intensity)
            sum += v;
        return sum;
    };
    const double bragg = total(0, 0);
    EXPECT_NEAR(total(0.5, 0) / bragg, 1.5, 0.03);
    EXPECT_NEAR(total(0, 0.1) / bragg, 1.1, 0.01);
}

TEST(Options, EachChangesTheScan) {
    using Change = std::function<void(phantom::CellDesign&, phantom::ScanDesign&)>;
    const std::map<std::string, Change> changes{
        {"preset", [](auto& c, auto&) { c.preset = phantom::Preset::discharged; }},
        {"outer_diameter", [](auto& c, auto&) { c.outer_diameter = 3.1; }},
        {"can_thickness", [](auto& c, auto&) { c.can_thickness = 0.1; }},
        {"core_diameter", [](auto& c, auto&) { c.core_diameter = 0.7; }},
        {"can_gap", [](auto& c, auto&) { c.can_gap = 0.1; }},
        {"layers.cathode", [](auto& c, auto&) { c.layers.cathode = 0.04; }},
        {"layers.aluminium", [](auto& c, auto&) { c.layers.aluminium = 0.02; }},
        {"layers.anode", [](auto& c, auto&) { c.layers.anode = 0.04; }},
        {"layers.copper", [](auto& c, auto&) { c.layers.copper = 0.02; }},
        {"layers.separator", [](auto& c, auto&) { c.layers.separator = 0.02; }},
        {"windings_without_cathode", [](auto& c, auto&) { c.windings_without_cathode = 3; }},
        {"tab_length", [](auto& c, auto&) { c.tab_length = 0; }},
        {"cathode.a", [](auto& c, auto&) { c.cathode.a = 2.83; }},
        {"cathode.c", [](auto& c, auto&) { c.cathode.c = 14.4; }},
        {"cathode.delta_a", [](auto& c, auto&) { c.cathode.delta_a = 0; }},
        {"cathode.delta_c", [](auto& c, auto&) { c.cathode.delta_c = 0; }},
        {"stepped_lattice", [](auto& c, auto&) { c.stepped_lattice = true; }},
        {"hot_spots_per_mm2", [](auto& c, auto&) { c.hot_spots_per_mm2 = 0; }},
        {"hot_spot_radius_max", [](auto& c, auto&) { c.hot_spot_radius_max = 0.15; }},
        {"iron_ppm", [](auto& c, auto&) { c.iron_ppm = 500; }},
        {"copper_ppm", [](auto& c, auto&) { c.copper_ppm = 500; }},
        {"aluminium_ppm", [](auto& c, auto&) { c.aluminium_ppm = 500; }},
        {"cathode_solid", [](auto& c, auto&) { c.cathode_solid = 0.5; }},
        {"anode_solid", [](auto& c, auto&) { c.anode_solid = 0.5; }},
        {"separator_solid", [](auto& c, auto&) { c.separator_solid = 0.4; }},
        {"textures",
         [](auto& c, auto&) {
             c.textures = {{"NMC532", 0.7}};
         }},
        {"exit_rays", [](auto&, auto& s) { s.exit_rays = phantom::ExitRays::deviated; }},
        {"cell.seed", [](auto& c, auto&) { c.seed = 2; }},
        {"step", [](auto&, auto& s) { s.step = 0.1; }},
        {"rotations", [](auto&, auto& s) { s.rotations = 7; }},
        {"rotation_range", [](auto&, auto& s) { s.rotation_range = 360; }},
        {"two_theta_first", [](auto&, auto& s) { s.two_theta_first = 3.1; }},
        {"two_theta_width", [](auto&, auto& s) { s.two_theta_width = 0.006; }},
        {"wavelength", [](auto&, auto& s) { s.wavelength = 0.121; }},
        {"distance", [](auto&, auto& s) { s.distance = 1e9; }},
        {"rotation_sense", [](auto&, auto& s) { s.rotation_sense = -1; }},
        {"translation_sense", [](auto&, auto& s) { s.translation_sense = -1; }},
        {"axis_offset", [](auto&, auto& s) { s.axis_offset = 0.05; }},
        {"beam_width", [](auto&, auto& s) { s.beam_width = 0; }},
        {"profile.u", [](auto&, auto& s) { s.profile.u = 0.3; }},
        {"profile.v", [](auto&, auto& s) { s.profile.v = 0.001; }},
        {"profile.w", [](auto&, auto& s) { s.profile.w = 4e-4; }},
        {"profile.x", [](auto&, auto& s) { s.profile.x = 0.01; }},
        {"profile.y", [](auto&, auto& s) { s.profile.y = 0.2; }},
        {"sizes.metal", [](auto&, auto& s) { s.sizes.metal = 300; }},
        {"sizes.cathode", [](auto&, auto& s) { s.sizes.cathode = 300; }},
        {"sizes.anode", [](auto&, auto& s) { s.sizes.anode = 300; }},
        {"scan.seed", [](auto&, auto& s) { s.seed = 2; }},
        {"noise", [](auto&, auto& s) { s.noise = false; }},
        {"counts", [](auto&, auto& s) { s.counts = 1000; }},
        {"background", [](auto&, auto& s) { s.background = 0.1; }},
        {"separator_peak", [](auto&, auto& s) { s.separator_peak = 0.3; }},
        {"separator_d", [](auto&, auto& s) { s.separator_d = 4.4; }},
        {"separator_fwhm", [](auto&, auto& s) { s.separator_fwhm = 0.3; }},
    };
    const auto run = [](const phantom::CellDesign& cell, const phantom::ScanDesign& scan) {
        const phantom::ScanSimulator simulator(cell, scan);
        phantom::Line l = line(simulator, 1);
        phantom::LogHistogram histogram;
        histogram.add(l.intensity);
        simulator.finish_rotation(1, simulator.counts_scale(histogram), l.intensity);
        return l.intensity;
    };
    const auto designs = [] {
        std::pair<phantom::CellDesign, phantom::ScanDesign> d{small_cell(), small_scan()};
        d.second.translations = 12;
        d.second.channels = 90;
        d.second.two_theta_first = 3.25;
        d.second.background = 0.2;
        d.second.separator_peak = 0.2;
        d.second.separator_d = 2;
        return d;
    };
    const auto [cell, scan] = designs();
    const auto base = run(cell, scan);
    EXPECT_EQ(run(cell, scan), base);
    for (const auto& [name, change] : changes) {
        auto [c, s] = designs();
        change(c, s);
        EXPECT_NE(run(c, s), base) << name;
    }
}

TEST(DesignErrors, NameTheSetting) {
    using Change = std::function<void(phantom::CellDesign&, phantom::ScanDesign&)>;
    const std::vector<std::pair<std::string, Change>> bad{
        {"outer_diameter", [](auto& c, auto&) { c.outer_diameter = -1; }},
        {"core", [](auto& c, auto&) { c.core_diameter = 3; }},
        {"layers.copper", [](auto& c, auto&) { c.layers.copper = 0; }},
        {"tab_length", [](auto& c, auto&) { c.tab_length = 30; }},
        {"anode_solid", [](auto& c, auto&) { c.anode_solid = 1.5; }},
        {"hot_spot_radius_max", [](auto& c, auto&) { c.hot_spot_radius_max = 0.01; }},
        {"cathode.a", [](auto& c, auto&) { c.cathode.a = 28; }},
        {"translations", [](auto&, auto& s) { s.translations = 0; }},
        {"rotations", [](auto&, auto& s) { s.rotations = 0; }},
        {"channels", [](auto&, auto& s) { s.channels = 0; }},
        {"distance", [](auto&, auto& s) { s.distance = -1000; }},
        {"rotation_sense", [](auto&, auto& s) { s.rotation_sense = 0; }},
        {"missing_rotations", [](auto&, auto& s) { s.missing_rotations = {6}; }},
        {"missing_rotations", [](auto&, auto& s) { s.missing_rotations = {0, 1, 2, 3, 4, 5}; }},
        {"wavelength", [](auto&, auto& s) { s.wavelength = 0; }},
        {"counts", [](auto&, auto& s) { s.counts = 0; }},
        {"profile",
         [](auto&, auto& s) {
             s.profile = {0, 0, 0, 0, 0};
         }},
        {"two_theta_width", [](auto&, auto& s) { s.two_theta_width = -1; }},
    };
    for (const auto& [name, change] : bad) {
        phantom::CellDesign cell = small_cell();
        phantom::ScanDesign scan = small_scan();
        change(cell, scan);
        try {
            const phantom::ScanSimulator simulator(cell, scan);
            ADD_FAILURE() << name << ": no error";
        } catch (const Error& e) {
            EXPECT_THAT(e.what(), testing::HasSubstr(name));
        }
    }
    EXPECT_THROW(preset_from_string("half-full"), Error);
    EXPECT_EQ(preset_from_string("discharged"), phantom::Preset::discharged);
    const phantom::ScanSimulator simulator(small_cell(), small_scan());
    std::vector<float> small(3), transmission(24);
    EXPECT_THROW(simulator.simulate_rotation(0, small, transmission), Error);
    EXPECT_THROW(simulator.finish_rotation(99, 1, small), Error);
    EXPECT_THROW(static_cast<void>(simulator.truth_rows(3, 99, 1)), Error);
}

} // namespace
} // namespace xrdct::phantom
