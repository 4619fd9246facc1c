// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/pattern_basis.hpp"

#include "base/error.hpp"
#include "support/structures.hpp"

#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <limits>
#include <random>

namespace {

using namespace xrdct;
using Kind = rietveld::ShapeParameter::Kind;
using testing::HasSubstr;

constexpr double distance = 1000, half_depth = 6;
constexpr std::size_t layer_count = 21, channels = 150;

rietveld::RadialAxis coarse_axis() {
    std::vector<double> two_theta;
    for (std::size_t i = 0; i < channels; ++i)
        two_theta.push_back(1.2 + 0.027 * static_cast<double>(i));
    return rietveld::RadialAxis::from_two_theta(two_theta, 0.11979);
}

rietveld::PatternModel some_model() {
    rietveld::PatternModel model;
    model.instrument.w.value = 0.08 * 0.08;
    model.phases.emplace_back(test::cathode());
    model.phases.back().size.value = 2000;
    model.phases.emplace_back(test::copper());
    model.set_background(3);
    rietveld::SinglePeak peak;
    peak.name = "separator";
    peak.position.value = 1.9;
    peak.fwhm.value = 0.25;
    model.peaks.push_back(peak);
    return model;
}

constexpr std::size_t nmc = 0, copper = 1, peak = 2, term = 3;

std::vector<rietveld::PatternPart> some_parts() {
    rietveld::PatternPart cathode{rietveld::PatternPart::Kind::phase, 0, {}, {}};
    cathode.voxel = {{Kind::cell, 0, 2.855, 2.885}, {Kind::cell, 1, 14.15, 14.35}};
    cathode.global = {{Kind::size, 0, 1 / 4000.0, 1 / 1000.0}};
    rietveld::PatternPart metal{rietveld::PatternPart::Kind::phase, 1, {}, {}};
    metal.global = {{Kind::cell, 0, 3.605, 3.625}};
    rietveld::PatternPart single{rietveld::PatternPart::Kind::peak, 0, {}, {}};
    single.global = {{Kind::position, 0, 1.88, 1.93}, {Kind::fwhm, 0, 0.22, 0.28}};
    rietveld::PatternPart background{rietveld::PatternPart::Kind::background, 2, {}, {}};
    return {cathode, metal, single, background};
}

/// Uneven by a factor of ten.
std::vector<double> uneven_weights() {
    std::vector<double> weight;
    for (std::size_t k = 0; k < channels; ++k)
        weight.push_back(1e-3 * (1.1 + std::sin(0.37 * static_cast<double>(k))));
    return weight;
}

rietveld::PatternBasisOptions layered(double tolerance = 1e-3) {
    rietveld::PatternBasisOptions options;
    options.tolerance = tolerance;
    options.layers = layer_count;
    options.depth_first = -half_depth;
    options.depth_spacing = 2 * half_depth / (layer_count - 1);
    options.distance = distance;
    return options;
}

const rietveld::PatternBasis& some_basis() {
    static const rietveld::PatternBasis basis(coarse_axis(), some_model(), some_parts(),
                                              uneven_weights(), layered());
    return basis;
}

/// Pattern of a part for unit amount by PatternCalculator, as if it were alone at a depth.
std::vector<double> exact(std::size_t part, const std::vector<double>& eta,
                          const std::vector<double>& globals, double depth) {
    static const rietveld::PatternCalculator calculator(coarse_axis(), some_model());
    rietveld::PatternModel model = some_model();
    model.distance = distance;
    std::vector<double> y(channels);
    if (part == peak) {
        // A part of the sample at depth z is at the distance D − z: the calculator knows no depth
        // of single peaks.
        const double ratio = 1 - depth / distance, degree = M_PI / 180;
        model.peaks[0].position.value = std::atan(ratio * std::tan(globals[2] * degree)) / degree;
        model.peaks[0].fwhm.value = globals[3];
        model.peaks[0].area.value = 1 / (ratio * ratio);
        for (auto& phase : model.phases)
            phase.scale.value = 0;
        calculator.evaluate(model, y);
        return y;
    }
    if (part == term) {
        calculator.chebyshev(2, y);
        return y;
    }
    if (part == nmc) {
        model.phases[0].cell[0].value = eta[0];
        model.phases[0].cell[1].value = eta[1];
        model.phases[0].size.value = 1 / globals[0];
    } else {
        model.phases[1].cell[0].value = globals[1];
    }
    model.phases[part].depth.value = depth;
    calculator.evaluate_phase(model, part, y);
    return y;
}

struct Draw {
    std::vector<double> eta, globals;
    double depth = 0;
};
Draw draw(std::mt19937& random, const std::vector<rietveld::PatternPart>& parts, std::size_t part) {
    std::uniform_real_distribution<double> uniform(0, 1);
    const auto within = [&](const rietveld::ShapeParameter& p) {
        return p.lower + uniform(random) * (p.upper - p.lower);
    };
    Draw result;
    for (const auto& p : parts[part].voxel)
        result.eta.push_back(within(p));
    for (const auto& each : parts)
        for (const auto& p : each.global)
            result.globals.push_back(within(p));
    result.depth = half_depth * (2 * uniform(random) - 1);
    return result;
}

std::vector<float> compressed(const rietveld::PatternBasis& basis, const std::vector<double>& y) {
    const std::vector<float> pattern(y.begin(), y.end());
    std::vector<float> coefficients(basis.size());
    basis.compress(pattern, coefficients);
    return coefficients;
}

double norm(std::span<const float> y) {
    double sum = 0;
    for (const float value : y)
        sum += static_cast<double>(value) * value;
    return std::sqrt(sum);
}
double difference(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    return std::sqrt(sum);
}
double weighted_norm(const std::vector<double>& weight, const std::vector<double>& y) {
    double sum = 0;
    for (std::size_t k = 0; k < y.size(); ++k)
        if (weight[k] > 0)
            sum += weight[k] * y[k] * y[k];
    return std::sqrt(sum);
}

/// Relative weighted distance of a pattern and what becomes of it in the basis.
double left_out(const rietveld::PatternBasis& basis, const std::vector<double>& y) {
    std::vector<float> again(channels);
    basis.expand(compressed(basis, y), again);
    std::vector<double> rest(channels);
    for (std::size_t k = 0; k < channels; ++k)
        rest[k] = again[k] - y[k];
    return weighted_norm(basis.channel_weight(), rest) / weighted_norm(basis.channel_weight(), y);
}

/// Σ_l h_l(z) Σ_i u_i(η) B_i(z_l).
std::vector<float> from_tables(const rietveld::PatternBasis& basis,
                               const rietveld::PatternBasis::Tables& tables, std::size_t part,
                               const std::vector<double>& eta, double depth) {
    const std::size_t m = basis.size(), lanes = basis.components(part),
                      layers = basis.layer_count();
    std::vector<float> u(lanes), y(m, 0.0F);
    basis.shape_functions(part, eta, u, {});
    const double place = (depth + half_depth) / (2 * half_depth) * static_cast<double>(layers - 1);
    const auto lower = std::min<std::size_t>(static_cast<std::size_t>(place), layers - 2);
    const auto upper_share = static_cast<float>(place - static_cast<double>(lower));
    for (std::size_t i = 0; i < lanes; ++i)
        for (std::size_t side = 0; side < 2; ++side) {
            const float share = (side ? upper_share : 1 - upper_share) * u[i];
            const float* row =
                tables.values.data() +
                ((lower + side) * basis.component_count() + basis.first_component(part) + i) * m;
            for (std::size_t k = 0; k < m; ++k)
                y[k] += share * row[k];
        }
    return y;
}

TEST(PatternBasis, HoldsThePatternsOfAllShapesAndDepths) {
    const auto& basis = some_basis();
    std::mt19937 random(1);
    for (std::size_t part = 0; part < 4; ++part) {
        double squares = 0, worst = 0;
        for (int i = 0; i < 40; ++i) {
            const Draw at = draw(random, basis.parts(), part);
            const double error = left_out(basis, exact(part, at.eta, at.globals, at.depth));
            squares += error * error / 40;
            worst = std::max(worst, error);
        }
        EXPECT_LT(std::sqrt(squares), 3e-3) << part;
        EXPECT_LT(worst, 6e-3) << part;
    }
    EXPECT_LE(basis.basis_error(), 1e-3);
    EXPECT_GT(basis.basis_error(), 0);
    // It holds these patterns, not all.
    EXPECT_LT(basis.size(), channels / 2);
    rietveld::PatternModel other = some_model();
    other.phases = {rietveld::PhaseModel(test::iron())};
    std::vector<double> y(channels);
    rietveld::PatternCalculator(coarse_axis(), other).evaluate_phase(other, 0, y);
    EXPECT_GT(left_out(basis, y), 0.05);
}

TEST(PatternBasis, ToleranceGovernsSizeAndError) {
    const rietveld::PatternBasis coarse(coarse_axis(), some_model(), some_parts(), uneven_weights(),
                                        layered(3e-2));
    EXPECT_LT(coarse.size(), some_basis().size());
    EXPECT_GT(coarse.basis_error(), some_basis().basis_error());
    EXPECT_LE(coarse.basis_error(), 3e-2);
    EXPECT_LE(coarse.shape_error(), 3e-2);
    EXPECT_LE(some_basis().shape_error(), 1e-3);
}

TEST(PatternBasis, KeepsWeightedNormAndProducts) {
    const auto& basis = some_basis();
    std::mt19937 random(2);
    const Draw a = draw(random, basis.parts(), nmc), b = draw(random, basis.parts(), nmc);
    const auto ya = exact(nmc, a.eta, a.globals, a.depth);
    const auto yb = exact(nmc, b.eta, b.globals, b.depth);
    EXPECT_NEAR(norm(compressed(basis, ya)) / weighted_norm(basis.channel_weight(), ya), 1, 1e-5);
    std::vector<double> rest(channels);
    for (std::size_t k = 0; k < channels; ++k)
        rest[k] = ya[k] - yb[k];
    const double far = weighted_norm(basis.channel_weight(), rest);
    EXPECT_GT(far, 0.05 * weighted_norm(basis.channel_weight(), ya));
    EXPECT_NEAR(difference(compressed(basis, ya), compressed(basis, yb)) / far, 1, 1e-2);
}

TEST(PatternBasis, TablesGiveThePatternsBetweenNodesAndLayers) {
    const auto& basis = some_basis();
    std::mt19937 random(3);
    for (int set = 0; set < 3; ++set) {
        const auto globals = draw(random, basis.parts(), nmc).globals;
        const auto tables = basis.tables(globals, false);
        ASSERT_EQ(tables.values.size(), layer_count * basis.component_count() * basis.size());
        EXPECT_TRUE(tables.derivatives.empty());
        for (std::size_t part = 0; part < 4; ++part)
            for (int i = 0; i < 10; ++i) {
                const Draw at = draw(random, basis.parts(), part);
                const auto expected = compressed(basis, exact(part, at.eta, globals, at.depth));
                const auto found = from_tables(basis, tables, part, at.eta, at.depth);
                EXPECT_LT(difference(found, expected), 3e-3 * norm(expected))
                    << "part " << part << " depth " << at.depth;
            }
    }
}

TEST(PatternBasis, LayersMatter) {
    const auto& basis = some_basis();
    const auto& globals = basis.start_globals();
    const auto near = compressed(basis, exact(copper, {}, globals, half_depth));
    const auto far = compressed(basis, exact(copper, {}, globals, -half_depth));
    EXPECT_GT(difference(near, far), 0.3 * norm(far));
    const auto tables = basis.tables(globals, false);
    EXPECT_LT(difference(from_tables(basis, tables, copper, {}, half_depth), near),
              2e-3 * norm(near));
    EXPECT_LT(difference(from_tables(basis, tables, copper, {}, -half_depth), far),
              2e-3 * norm(far));
}

TEST(PatternBasis, FewLayersErrLessThanInterpolatedPatterns) {
    // Of a parabola by straight pieces: r.m.s. h²/√720 f″ at best, h²/√120 f″ through its values.
    rietveld::PatternBasisOptions options = layered();
    options.layers = 7;
    options.depth_spacing = 2 * half_depth / 6;
    const rietveld::PatternBasis basis(coarse_axis(), some_model(), some_parts(), uneven_weights(),
                                       options);
    const auto& globals = basis.start_globals();
    const auto tables = basis.tables(globals, false);
    for (const std::size_t part : {nmc, copper}) {
        const std::vector<double> eta =
            part == nmc ? std::vector<double>{2.868, 14.27} : std::vector<double>{};
        double found = 0, plain = 0;
        for (int i = 0; i <= 60; ++i) {
            const double depth = half_depth * (i / 30.0 - 1);
            const int lower = std::min(i / 10, 5);
            const auto share = static_cast<float>(i / 10.0 - lower);
            const auto expected = compressed(basis, exact(part, eta, globals, depth));
            const double z = options.depth_first + lower * options.depth_spacing;
            auto between = compressed(basis, exact(part, eta, globals, z));
            const auto upper =
                compressed(basis, exact(part, eta, globals, z + options.depth_spacing));
            for (std::size_t k = 0; k < between.size(); ++k)
                between[k] = (1 - share) * between[k] + share * upper[k];
            found +=
                std::pow(difference(from_tables(basis, tables, part, eta, depth), expected), 2);
            plain += std::pow(difference(between, expected), 2);
        }
        EXPECT_NEAR(std::sqrt(found / plain), std::sqrt(1 / 6.0), 0.1) << part;
    }
}

TEST(PatternBasis, WithoutDepth) {
    rietveld::PatternBasisOptions options;
    options.tolerance = 1e-3;
    const rietveld::PatternBasis basis(coarse_axis(), some_model(), some_parts(), uneven_weights(),
                                       options);
    EXPECT_EQ(basis.layer_count(), 1U);
    EXPECT_LT(basis.size(), some_basis().size());
    std::mt19937 random(4);
    const auto tables = basis.tables(basis.start_globals(), false);
    for (int i = 0; i < 10; ++i) {
        const Draw at = draw(random, basis.parts(), nmc);
        const auto expected = compressed(basis, exact(nmc, at.eta, basis.start_globals(), 0));
        const std::size_t m = basis.size(), lanes = basis.components(nmc);
        std::vector<float> u(lanes), found(m, 0.0F);
        basis.shape_functions(nmc, at.eta, u, {});
        for (std::size_t l = 0; l < lanes; ++l)
            for (std::size_t k = 0; k < m; ++k)
                found[k] += u[l] * tables.values[(basis.first_component(nmc) + l) * m + k];
        EXPECT_LT(difference(found, expected), 2e-3 * norm(expected));
    }
}

TEST(PatternBasis, StartsAtTheModel) {
    const auto& basis = some_basis();
    ASSERT_EQ(basis.global_count(), 4U);
    EXPECT_THAT(basis.start_globals(),
                testing::ElementsAre(testing::DoubleEq(1 / 2000.0),
                                     testing::DoubleEq(some_model().phases[1].cell[0].value), 1.9,
                                     0.25));
    const std::vector<double> globals{1 / 1500.0, 3.62, 1.91, 0.24};
    const rietveld::PatternModel model = basis.model_at(globals);
    EXPECT_DOUBLE_EQ(model.phases[0].size.value, 1500);
    EXPECT_DOUBLE_EQ(model.phases[1].cell[0].value, 3.62);
    EXPECT_DOUBLE_EQ(model.peaks[0].position.value, 1.91);
    EXPECT_DOUBLE_EQ(model.peaks[0].fwhm.value, 0.24);
}

TEST(PatternBasis, LanesAreNumberedThrough) {
    const auto& basis = some_basis();
    EXPECT_GT(basis.components(nmc), 1U);
    std::size_t first = 0;
    for (std::size_t part = 0; part < 4; ++part) {
        EXPECT_EQ(basis.first_component(part), first);
        first += basis.components(part);
        EXPECT_TRUE(part == nmc || basis.components(part) == 1U);
    }
    EXPECT_EQ(basis.component_count(), first);
    std::vector<float> u(1);
    basis.shape_functions(copper, {}, u, {});
    EXPECT_EQ(u[0], 1);
}

TEST(PatternBasis, DerivativesOfTheShapeFunctions) {
    const auto& basis = some_basis();
    const std::size_t lanes = basis.components(nmc);
    const auto& voxel = basis.parts()[nmc].voxel;
    std::mt19937 random(5);
    const auto u_at = [&](std::vector<double> eta) {
        std::vector<float> u(lanes);
        basis.shape_functions(nmc, eta, u, {});
        return u;
    };
    for (int i = 0; i < 5; ++i) {
        const auto eta = draw(random, basis.parts(), nmc).eta;
        std::vector<float> u(lanes), du(2 * lanes);
        basis.shape_functions(nmc, eta, u, du);
        EXPECT_EQ(u, u_at(eta));
        for (std::size_t d = 0; d < 2; ++d) {
            const double range = voxel[d].upper - voxel[d].lower, h = 2e-3 * range;
            auto up = eta, down = eta;
            up[d] = std::min(eta[d] + h, voxel[d].upper);
            down[d] = std::max(eta[d] - h, voxel[d].lower);
            const auto upper = u_at(up), lower = u_at(down);
            for (std::size_t k = 0; k < lanes; ++k)
                EXPECT_NEAR(range * du[d * lanes + k],
                            range * (upper[k] - lower[k]) / (up[d] - down[d]), 5e-3)
                    << d << " " << k;
        }
    }
}

TEST(PatternBasis, ShapesBeyondTheRangeCountAsItsEnd) {
    const auto& basis = some_basis();
    const std::size_t lanes = basis.components(nmc);
    std::vector<float> u(lanes), du(2 * lanes), end(lanes), slope(2 * lanes);
    basis.shape_functions(nmc, std::vector<double>{2.885, 14.2}, end, slope);
    basis.shape_functions(nmc, std::vector<double>{2.95, 14.2}, u, du);
    EXPECT_EQ(u, end);
    EXPECT_EQ(du, slope);
    EXPECT_GT(norm(std::span(du).first(lanes)), 0);
}

TEST(PatternBasis, ShapeDerivativesAreThoseOfPatterns) {
    const auto& basis = some_basis();
    const auto& globals = basis.start_globals();
    const auto tables = basis.tables(globals, false);
    const std::size_t lanes = basis.components(nmc), m = basis.size(), middle = layer_count / 2;
    const std::vector<double> eta{2.868, 14.27};
    std::vector<float> u(lanes), du(2 * lanes);
    basis.shape_functions(nmc, eta, u, du);
    for (std::size_t d = 0; d < 2; ++d) {
        std::vector<float> found(m, 0.0F), expected(m);
        for (std::size_t i = 0; i < lanes; ++i)
            for (std::size_t k = 0; k < m; ++k)
                found[k] += du[d * lanes + i] *
                            tables.values[(middle * basis.component_count() + i) * m + k];
        const double h = d == 0 ? 1e-4 : 1e-3;
        auto up = eta, down = eta;
        up[d] += h;
        down[d] -= h;
        auto y = exact(nmc, up, globals, 0);
        const auto below = exact(nmc, down, globals, 0);
        for (std::size_t k = 0; k < channels; ++k)
            y[k] = (y[k] - below[k]) / (2 * h);
        expected = compressed(basis, y);
        EXPECT_LT(difference(found, expected), 0.02 * norm(expected)) << d;
    }
}

TEST(PatternBasis, DerivativesOfTheTables) {
    auto options = layered();
    options.layers = 4;
    const rietveld::PatternBasis basis(coarse_axis(), some_model(), some_parts(), uneven_weights(),
                                       options);
    std::mt19937 random(6);
    const auto globals = draw(random, basis.parts(), nmc).globals;
    const auto tables = basis.tables(globals, true);
    ASSERT_EQ(tables.derivatives.size(), 4U);
    EXPECT_THAT(tables.part, testing::ElementsAre(nmc, copper, peak, peak));
    EXPECT_EQ(tables.values, basis.tables(globals, false).values);
    std::size_t g = 0;
    const std::size_t m = basis.size();
    for (std::size_t part = 0; part < 3; ++part)
        for (const auto& parameter : basis.parts()[part].global) {
            const double h = 0.005 * (parameter.upper - parameter.lower);
            auto up = globals, down = globals;
            up[g] += h;
            down[g] -= h;
            const auto upper = basis.tables(up, false).values;
            const auto lower = basis.tables(down, false).values;
            const std::size_t lanes = basis.components(part);
            ASSERT_EQ(tables.derivatives[g].size(), options.layers * lanes * m);
            double error = 0, size = 0, elsewhere = 0;
            for (std::size_t l = 0; l < options.layers; ++l)
                for (std::size_t i = 0; i < basis.component_count(); ++i)
                    for (std::size_t k = 0; k < m; ++k) {
                        const std::size_t at = (l * basis.component_count() + i) * m + k;
                        const double slope = (static_cast<double>(upper[at]) - lower[at]) / (2 * h);
                        if (i < basis.first_component(part) ||
                            i >= basis.first_component(part) + lanes) {
                            elsewhere = std::max(elsewhere, std::abs(slope));
                            continue;
                        }
                        const double found =
                            tables
                                .derivatives[g]
                                            [(l * lanes + i - basis.first_component(part)) * m + k];
                        error += (found - slope) * (found - slope);
                        size += slope * slope;
                    }
            EXPECT_GT(size, 0);
            EXPECT_LT(std::sqrt(error / size), 3e-3) << "global " << g;
            EXPECT_EQ(elsewhere, 0) << "global " << g;
            ++g;
        }
}

TEST(PatternBasis, GlobalsBeyondTheirRangeCountAsItsEnd) {
    const auto& basis = some_basis();
    auto inside = basis.start_globals();
    auto outside = inside;
    inside[1] = basis.parts()[copper].global[0].upper;
    outside[1] = inside[1] + 1;
    EXPECT_EQ(basis.tables(inside, false).values, basis.tables(outside, false).values);
}

TEST(PatternBasis, ChannelsWithoutWeightAreIgnored) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    auto weight = uneven_weights();
    for (std::size_t k = 40; k < 55; ++k)
        weight[k] = 0;
    const rietveld::PatternBasis basis(coarse_axis(), some_model(), some_parts(), weight,
                                       layered());
    std::mt19937 random(7);
    const Draw at = draw(random, basis.parts(), copper);
    const auto y = exact(copper, {}, at.globals, at.depth);
    std::vector<float> pattern(y.begin(), y.end()), clean(basis.size()), found(basis.size());
    basis.compress(pattern, clean);
    for (std::size_t k = 40; k < 55; ++k)
        pattern[k] = k % 2 ? nan : 1e6F;
    basis.compress(pattern, found);
    EXPECT_EQ(found, clean);
    EXPECT_NEAR(norm(found), weighted_norm(weight, y), 5e-3 * norm(found));
    std::vector<float> again(channels);
    basis.expand(found, again);
    for (std::size_t k = 0; k < channels; ++k)
        EXPECT_EQ(std::isnan(again[k]), weight[k] == 0) << k;
    const auto tables = basis.tables(basis.start_globals(), true);
    for (const float value : tables.values)
        ASSERT_TRUE(std::isfinite(value));
}

TEST(PatternBasis, ShapeValues) {
    rietveld::PatternModel model = some_model();
    const auto round_trip = [&](bool phase, rietveld::ShapeParameter parameter, double value) {
        set_shape_value(model, phase, 0, parameter, value);
        return shape_value(model, phase, 0, parameter);
    };
    EXPECT_DOUBLE_EQ(round_trip(true, {Kind::cell, 1, 0, 1}, 14.3), 14.3);
    EXPECT_DOUBLE_EQ(model.phases[0].cell[1].value, 14.3);
    EXPECT_DOUBLE_EQ(round_trip(true, {Kind::size, 0, 0, 1}, 1e-3), 1e-3);
    EXPECT_DOUBLE_EQ(model.phases[0].size.value, 1000);
    EXPECT_DOUBLE_EQ(round_trip(true, {Kind::size, 0, 0, 1}, 0), 0);
    EXPECT_DOUBLE_EQ(round_trip(true, {Kind::microstrain, 0, 0, 1}, 2e-3), 2e-3);
    EXPECT_DOUBLE_EQ(round_trip(true, {Kind::gauss_microstrain, 0, 0, 1}, 4e-6), 4e-6);
    EXPECT_DOUBLE_EQ(model.phases[0].gauss_microstrain.value, 2e-3);
    EXPECT_DOUBLE_EQ(round_trip(false, {Kind::position, 0, 0, 1}, 1.7), 1.7);
    EXPECT_DOUBLE_EQ(round_trip(false, {Kind::fwhm, 0, 0, 1}, 0.3), 0.3);
    EXPECT_DOUBLE_EQ(model.peaks[0].position.value, 1.7);
    EXPECT_THROW(shape_value(model, true, 0, {Kind::position, 0, 0, 1}), Error);
    EXPECT_THROW(set_shape_value(model, true, 0, {Kind::fwhm, 0, 0, 1}, 1), Error);
}

std::string
message(const std::function<void(rietveld::PatternModel&, std::vector<rietveld::PatternPart>&,
                                 std::vector<double>&, rietveld::PatternBasisOptions&)>& spoil) {
    rietveld::PatternModel model = some_model();
    auto parts = some_parts();
    parts.erase(parts.begin()); // the quick ones
    auto weight = uneven_weights();
    rietveld::PatternBasisOptions options = layered();
    options.layers = 3;
    try {
        spoil(model, parts, weight, options);
        const rietveld::PatternBasis basis(coarse_axis(), model, parts, weight, options);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(PatternBasis, BadInput) {
    using Parts = std::vector<rietveld::PatternPart>;
    using Weight = std::vector<double>;
    EXPECT_EQ(message([](auto&, Parts&, Weight&, auto&) {}), "no error");
    EXPECT_THAT(message([](auto&, Parts&, Weight& w, auto&) { w.pop_back(); }),
                HasSubstr("149 channel weights for 150 channels"));
    EXPECT_THAT(message([](auto&, Parts&, Weight& w, auto&) { w[3] = -1; }),
                HasSubstr("negative or not finite"));
    EXPECT_THAT(message([](auto&, Parts&, Weight& w, auto&) { w[3] = std::nan(""); }),
                HasSubstr("negative or not finite"));
    EXPECT_THAT(message([](auto&, Parts&, Weight& w, auto&) { w.assign(w.size(), 0); }),
                HasSubstr("no channel with a weight"));
    EXPECT_THAT(message([](auto&, Parts& p, Weight&, auto&) { p.clear(); }),
                HasSubstr("there is no part"));
    EXPECT_THAT(
        message([](auto&, Parts&, Weight&, rietveld::PatternBasisOptions& o) { o.distance = 0; }),
        HasSubstr("need a distance"));
    EXPECT_THAT(
        message([](auto&, Parts&, Weight&, rietveld::PatternBasisOptions& o) { o.layers = 0; }),
        HasSubstr("layers"));
    EXPECT_THAT(
        message([](auto&, Parts& p, Weight&, auto&) { p[0].voxel.assign(4, p[0].global[0]); }),
        HasSubstr("at most 3"));
    EXPECT_THAT(message([](auto&, Parts& p, Weight&, auto&) {
                    std::swap(p[0].global[0].lower, p[0].global[0].upper);
                }),
                HasSubstr("range of a shape parameter is empty"));
    EXPECT_THAT(message([](auto&, Parts& p, Weight&, auto&) {
                    p[0].voxel = {{Kind::cell, 0, 3.6, 3.6}};
                }),
                HasSubstr("range of a shape parameter is empty"));
    EXPECT_NE(message([](rietveld::PatternModel& m, Parts&, Weight&, auto&) {
                  m.phases[1].name = m.phases[0].name;
              }),
              "no error");
}

TEST(PatternBasis, PartsThatTheModelDoesNotHave) {
    using Parts = std::vector<rietveld::PatternPart>;
    EXPECT_THAT(message([](auto&, Parts& p, auto&, auto&) { p[0].index = 2; }), HasSubstr("part"));
    EXPECT_THAT(message([](auto&, Parts& p, auto&, auto&) { p[1].index = 1; }), HasSubstr("part"));
    EXPECT_THAT(message([](auto&, Parts& p, auto&, auto&) { p[0].global[0].index = 1; }),
                HasSubstr("no such parameter"));
    EXPECT_THAT(
        message([](auto&, Parts& p, auto&, auto&) { p[0].global[0].kind = Kind::position; }),
        HasSubstr("no such parameter"));
    EXPECT_THAT(message([](auto&, Parts& p, auto&, auto&) { p[1].global[0].kind = Kind::cell; }),
                HasSubstr("no such parameter"));
    EXPECT_THAT(message([](auto&, Parts& p, auto&, auto&) {
                    p[2].voxel = {{Kind::position, 0, 1, 2}};
                }),
                HasSubstr("no such parameter"));
}

TEST(PatternBasis, WrongSizes) {
    const auto& basis = some_basis();
    std::vector<float> pattern(channels), coefficients(basis.size()), less(basis.size() - 1),
        u(basis.components(nmc)), du(u.size());
    const std::vector<double> eta{2.87, 14.2}, one{2.87};
    EXPECT_THROW(basis.compress(pattern, less), Error);
    EXPECT_THROW(basis.compress(coefficients, coefficients), Error);
    EXPECT_THROW(basis.expand(less, pattern), Error);
    EXPECT_THROW(basis.expand(coefficients, less), Error);
    EXPECT_THROW(basis.shape_functions(nmc, one, u, {}), Error);
    EXPECT_THROW(basis.shape_functions(nmc, eta, less, {}), Error);
    EXPECT_THROW(basis.shape_functions(nmc, eta, u, du), Error);
    EXPECT_THROW(basis.tables(one, false), Error);
}

} // namespace
