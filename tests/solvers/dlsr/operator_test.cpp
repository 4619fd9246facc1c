// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/operator.hpp"

#include "base/error.hpp"
#include "small_scan.hpp"
#include "tomography/strip_projector.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <limits>

namespace {

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;

constexpr float nan_float = std::numeric_limits<float>::quiet_NaN();

/// Factor of a line whose equivalents stand at angles δ (their cosines) to the fibre axis, itself
/// at ψ to the beam: the double mean that defines it.
double ring_factor(double cos_psi, const std::vector<double>& cosines, double r) {
    constexpr int steps = 40;
    const double sin_psi = std::sqrt(std::max(0.0, 1 - cos_psi * cos_psi));
    double sum = 0;
    for (const double c : cosines)
        for (int i = 0; i < steps / 2; ++i) {
            const double alpha = std::acos(sin_psi * std::cos(2 * M_PI * (i + 0.5) / steps));
            for (int j = 0; j < steps / 2; ++j) {
                const double x = std::cos(alpha) * c + std::sin(alpha) *
                                                           std::sqrt(std::max(0.0, 1 - c * c)) *
                                                           std::cos(2 * M_PI * (j + 0.5) / steps);
                sum += 1 / std::pow(std::sqrt(r * r * x * x + (1 - x * x) / r), 3);
            }
        }
    return sum / (0.25 * steps * steps) / static_cast<double>(cosines.size());
}

/// Of the cathode about 0 0 1 or of the metal about 1 1 1.
std::vector<double> axis_cosines(bool cathode, const rietveld::PatternModel& model,
                                 const crystal::Miller& hkl) {
    std::vector<double> cosines;
    if (cathode) {
        const double a = model.phases[0].cell[0].value, c = model.phases[0].cell[1].value;
        const double along = hkl[2] / c,
                     across =
                         std::sqrt(4.0 / 3 * (hkl[0] * (hkl[0] + hkl[1]) + hkl[1] * hkl[1])) / a;
        return {along / std::hypot(along, across)};
    }
    const double norm = std::sqrt(3.0 * (hkl[0] * hkl[0] + hkl[1] * hkl[1] + hkl[2] * hkl[2]));
    for (int signs = 0; signs < 8; ++signs)
        cosines.push_back(((signs & 1 ? -hkl[0] : hkl[0]) + (signs & 2 ? -hkl[1] : hkl[1]) +
                           (signs & 4 ? -hkl[2] : hkl[2])) /
                          norm);
    return cosines;
}

enum class LayersOf { wound, radial, untextured };

/// Factors of all lines of a textured phase for a voxel at (x, y) from the centre of the layers.
std::vector<double> texture_factors(const rietveld::PatternCalculator& calculator,
                                    const rietveld::PatternModel& model, std::size_t phase,
                                    double r, double x, double y, double omega, LayersOf layers) {
    // The beam runs along z = −x sin ω + y cos ω.
    const double radius = std::hypot(x, y);
    double cosine = (-x * std::sin(omega) + y * std::cos(omega)) / radius;
    if (layers == LayersOf::radial)
        cosine = std::sqrt(1 - cosine * cosine);
    std::vector<double> factors;
    for (const auto& line : calculator.reflections(phase)) {
        const auto cosines = axis_cosines(phase == 0, model, line.hkl);
        if (radius > 1e-9) {
            factors.push_back(ring_factor(cosine, cosines, r));
            continue;
        }
        double mean = 0;
        for (int i = 0; i < 32; ++i)
            mean += ring_factor(std::cos(M_PI * (i + 0.5) / 32), cosines, r) / 32;
        factors.push_back(mean);
    }
    return factors;
}

/// Every voxel's own pattern at its depth times its strip weights: rays [ray][M] in double until
/// they are compressed. Depths are multiplied by `depth_factor`.
std::vector<float> brute_force(const SmallScan& scan, const dlsr::Operator& op,
                               std::span<const double> values, double depth_factor = 1,
                               LayersOf layers = LayersOf::wound) {
    const auto& g = scan.geometry;
    const std::size_t translations = g.translation.size(), n = scan.axis.size();
    const tomography::StripProjector strips(g, scan.grid, {.field_of_view_only = false});
    rietveld::PatternModel plain = scan.model;
    rietveld::PatternModel model =
        scan.basis->model_at(values.subspan(op.global_offset(), scan.basis->global_count()));
    const double march[2] = {model.phases[0].texture.r, model.phases[1].texture.r};
    for (std::size_t phase = 0; phase < 2; ++phase)
        plain.phases[phase].texture = model.phases[phase].texture = {};
    const rietveld::PatternCalculator calculator(scan.axis, plain);
    model.distance = std::isfinite(g.distance) ? g.distance : 0;
    for (auto& phase : model.phases)
        phase.scale.value = 1;
    const double degree = M_PI / 180, position = model.peaks[0].position.value;
    rietveld::PatternModel only_peak = model;
    for (auto& phase : only_peak.phases)
        phase.scale.value = 0;
    std::vector<float> rays;
    std::vector<double> y(n), total(translations * n);
    for (std::size_t i = 0; i < g.rotation.size(); ++i) {
        const double w = g.rotation_sense * g.rotation[i] * degree;
        std::fill(total.begin(), total.end(), 0.0);
        for (std::size_t p = 0; p < 4; ++p)
            for (std::size_t v = 0; v < op.pixels(p).size(); ++v) {
                const std::size_t iy = op.pixels(p)[v] / scan.grid.n,
                                  ix = op.pixels(p)[v] % scan.grid.n;
                const double x = scan.grid.coordinate(ix), yy = scan.grid.coordinate(iy);
                const double z = std::isfinite(g.distance)
                                     ? depth_factor * (-x * std::sin(w) + yy * std::cos(w))
                                     : 0;
                const double ratio = 1 - z / g.distance;
                if (p == term_part) {
                    calculator.chebyshev(1, y);
                } else if (p == peak_part) {
                    auto& peak = only_peak.peaks[0];
                    peak.position.value = std::atan(ratio * std::tan(position * degree)) / degree;
                    peak.area.value = 1 / (ratio * ratio);
                    calculator.evaluate(only_peak, y);
                } else {
                    const std::size_t phase = p == cathode_part ? 0 : 1;
                    model.phases[phase].depth.value = z;
                    if (p == cathode_part)
                        for (int c = 0; c < 2; ++c)
                            model.phases[0].cell[static_cast<std::size_t>(c)].value =
                                values[op.offset(p, c) + v];
                    if (march[phase] != 1 && layers != LayersOf::untextured)
                        model.phases[phase].line_factors =
                            texture_factors(calculator, plain, phase, march[phase],
                                            x - scan.options.layer_centre[0],
                                            yy - scan.options.layer_centre[1], w, layers);
                    calculator.evaluate_phase(model, phase, y);
                }
                for (std::size_t j = 0; j < translations; ++j) {
                    const double weight = strips.weight(i, j, iy, ix) * values[op.offset(p) + v];
                    if (weight != 0)
                        for (std::size_t k = 0; k < n; ++k)
                            total[j * n + k] += weight * y[k];
                }
            }
        for (std::size_t j = 0; j < translations; ++j) {
            std::vector<float> pattern(n), out(scan.basis->size());
            for (std::size_t k = 0; k < n; ++k)
                pattern[k] =
                    static_cast<float>(scan.transmission[i * translations + j] * total[j * n + k]);
            scan.basis->compress(pattern, out);
            rays.insert(rays.end(), out.begin(), out.end());
        }
    }
    return rays;
}

/// One scan for the tests that do not change it.
const SmallScan& deep_scan() {
    static const SmallScan scan;
    return scan;
}
const SmallScan& flat_scan() {
    static const SmallScan scan({.distance = infinity, .layers = 1});
    return scan;
}

const SmallScan& textured_scan() {
    static const SmallScan scan({.n = 9,
                                 .rotations = 5,
                                 .layers = 9,
                                 .march = 0.7,
                                 .metal_march = 1.5,
                                 .layer_centre = {0.7, -1.4}});
    return scan;
}

class DlsrForward : public testing::TestWithParam<SmallScanOptions> {};

TEST_P(DlsrForward, IsTheSumOfVoxelsEachAtItsDepth) {
    const SmallScan scan(GetParam());
    dlsr::Operator op = scan.make_operator();
    const auto values = scan.values(op);
    const auto found = predict(op, values);
    const auto expected = brute_force(scan, op, values);
    EXPECT_LT(test::distance(found, expected), 3 * scan.options.tolerance * norm(expected));
    if (!std::isfinite(scan.options.distance))
        return;
    // The same without parallax, and with the depths reversed, is another matter.
    EXPECT_GT(test::distance(brute_force(scan, op, values, 0), expected), 0.03 * norm(expected));
    EXPECT_GT(test::distance(brute_force(scan, op, values, -1), expected), 0.06 * norm(expected));
}

class DlsrTexture : public testing::TestWithParam<SmallScanOptions> {};

TEST_P(DlsrTexture, IsTheSumOfVoxelsEachWithItsLines) {
    const SmallScan scan(GetParam());
    dlsr::Operator op = scan.make_operator();
    const auto values = scan.values(op);
    const auto found = predict(op, values), expected = brute_force(scan, op, values);
    const double error = test::distance(found, expected);
    EXPECT_LT(error, 0.005 * norm(expected));
    // Layers across these and no texture are another matter.
    for (const auto layers : {LayersOf::radial, LayersOf::untextured})
        EXPECT_LT(error, 0.1 * test::distance(brute_force(scan, op, values, 1, layers), expected));
}

constexpr const char* texture_names[] = {"BothPhases", "OffCentreAndReversed", "OneLane"};
INSTANTIATE_TEST_SUITE_P(
    All, DlsrTexture,
    testing::Values(SmallScanOptions{.n = 9, .rotations = 4, .march = 0.7, .metal_march = 1.5},
                    SmallScanOptions{.n = 8,
                                     .rotations = 4,
                                     .range = 360,
                                     .rotation_sense = -1,
                                     .march = 0.6,
                                     .layer_centre = {0.7, -1.4}},
                    SmallScanOptions{.n = 8,
                                     .rotations = 4,
                                     .distance = infinity,
                                     .layers = 1,
                                     .tolerance = 1e-4,
                                     .metal_march = 0.5}),
    [](const auto& info) { return std::string(texture_names[info.index]); });

constexpr const char* case_names[] = {"HalfTurn", "FullTurn", "SenseReversed", "WithoutDepth",
                                      "MoreThanATile"};
INSTANTIATE_TEST_SUITE_P(All, DlsrForward,
                         testing::Values(SmallScanOptions{}, SmallScanOptions{.range = 360},
                                         SmallScanOptions{.n = 11, .rotation_sense = -1},
                                         SmallScanOptions{.distance = infinity, .layers = 1},
                                         SmallScanOptions{.n = 19, .rotations = 2, .pixel = 0.6}),
                         [](const auto& info) { return std::string(case_names[info.index]); });

void check_jacobian(const SmallScan& scan) {
    dlsr::Operator op = scan.make_operator();
    test::check_jacobian(op, scan.values(op), scan.scale(op));
}

TEST(Operator, JacobianIsTheDerivativeOfThePrediction) {
    check_jacobian(deep_scan());
}
TEST(Operator, JacobianWithoutDepth) {
    check_jacobian(flat_scan());
}
TEST(Operator, JacobianWithTexture) {
    check_jacobian(textured_scan());
}

std::vector<float> random_direction(const SmallScan& scan, const dlsr::Operator& op,
                                    unsigned seed) {
    auto direction = random_floats(op.value_count(), seed);
    const auto scale = scan.scale(op);
    for (std::size_t i = 0; i < direction.size(); ++i)
        direction[i] *= static_cast<float>(scale[i]);
    return direction;
}

TEST(Operator, AdjointIsTheTransposeOfTheJacobian) {
    for (const SmallScan* scan : {&deep_scan(), &flat_scan(), &textured_scan()}) {
        dlsr::Operator op = scan->make_operator();
        op.set_point(scan->values(op), true);
        const auto direction = random_direction(*scan, op, 1);
        const auto rays = jacobian(op, direction);
        auto other = random_floats(rays.size(), 2);
        const auto size = static_cast<float>(norm(rays) / norm(other));
        for (std::size_t i = 0; i < rays.size(); ++i)
            other[i] = size * other[i] + 0.3F * rays[i];
        std::vector<float> back(op.value_count(), 7);
        op.adjoint(other, back);
        EXPECT_NEAR(dot(direction, back) / dot(rays, other), 1, 1e-5);
        // Group by group, so that none hides behind a larger one.
        for (std::size_t p = 0; p < 4; ++p) {
            std::vector<float> part(op.value_count(), 0.0F);
            const std::size_t end = p < 3 ? op.offset(p + 1) : op.global_offset();
            std::copy(direction.begin() + static_cast<std::ptrdiff_t>(op.offset(p)),
                      direction.begin() + static_cast<std::ptrdiff_t>(end),
                      part.begin() + static_cast<std::ptrdiff_t>(op.offset(p)));
            const auto image = jacobian(op, part);
            EXPECT_NEAR(dot(part, back), dot(image, other), 1e-5 * norm(image) * norm(other)) << p;
        }
        for (std::size_t g = op.global_offset(); g < op.value_count(); ++g) {
            std::vector<float> part(op.value_count(), 0.0F);
            part[g] = direction[g];
            const auto image = jacobian(op, part);
            EXPECT_NEAR(dot(part, back), dot(image, other), 1e-5 * norm(image) * norm(other)) << g;
        }
    }
}

void check_normal_product(const SmallScan& scan) {
    dlsr::Operator op = scan.make_operator();
    op.set_point(scan.values(op), true);
    const auto direction = random_direction(scan, op, 3);
    auto rays = jacobian(op, direction);
    const std::size_t m = scan.basis->size();
    for (std::size_t i = 0; i < rays.size(); ++i)
        rays[i] *= scan.weight[i / m];
    std::vector<float> expected(op.value_count()), found(op.value_count(), 5);
    op.adjoint(rays, expected);
    op.gauss_newton(direction, found);
    const auto scale = scan.scale(op);
    for (std::size_t i = 0; i < found.size(); ++i) {
        found[i] *= static_cast<float>(scale[i]);
        expected[i] *= static_cast<float>(scale[i]);
    }
    EXPECT_GT(norm(expected), 0);
    EXPECT_LT(test::distance(found, expected), 1e-5 * norm(expected));
}

TEST(Operator, GaussNewtonIsTheWeightedNormalProduct) {
    check_normal_product(deep_scan());
}
TEST(Operator, GaussNewtonWithTexture) {
    check_normal_product(textured_scan());
}

// A condensed product errs by the square of the tolerance, more or less, and an exact one comes
// back with the next point.
void check_condensed_products(const SmallScan& scan) {
    auto op = scan.make_operator();
    const auto values = scan.values(op);
    op.set_point(values, true);
    const auto direction = random_direction(scan, op, 3);
    std::vector<float> exact(op.value_count()), condensed(exact.size()), again(exact.size());
    op.gauss_newton(direction, exact);
    const auto scale = scan.scale(op);
    const auto difference = [&](const std::vector<float>& other) {
        double above = 0, below = 0;
        for (std::size_t i = 0; i < op.global_offset(); ++i) {
            above += std::pow(scale[i] * (other[i] - exact[i]), 2);
            below += std::pow(scale[i] * exact[i], 2);
        }
        return std::sqrt(above / below);
    };
    double last = 1;
    std::size_t size = 0;
    for (const double tolerance : {0.3, 0.03, 0.003}) {
        op.set_low_rank_tolerance(tolerance);
        op.gauss_newton(direction, condensed);
        EXPECT_LT(difference(condensed), 2 * tolerance) << tolerance;
        EXPECT_LE(difference(condensed), last) << tolerance;
        EXPECT_GE(op.low_rank_size(), size) << tolerance;
        last = difference(condensed);
        size = op.low_rank_size();
    }
    op.set_low_rank_tolerance(0.3);
    op.gauss_newton(direction, condensed);
    EXPECT_GT(difference(condensed), 1e-5);
    EXPECT_LT(op.low_rank_size(), op.packed_size());
    op.set_point(values, true);
    op.gauss_newton(direction, again);
    EXPECT_EQ(again, exact);
}
TEST(Operator, CondensedProducts) {
    check_condensed_products(deep_scan());
}
TEST(Operator, CondensedProductsWithTexture) {
    check_condensed_products(textured_scan());
}

void check_sums_of_parts(SmallScan scan) {
    scan.weight[5] = scan.weight[17] = 0;
    auto op = scan.make_operator();
    const auto values = scan.values(op);
    op.set_point(values, true);
    const auto sums = op.part_sums();
    const std::size_t m = scan.basis->size(), translations = scan.geometry.translation.size(),
                      rotations = scan.geometry.rotation.size();
    ASSERT_EQ(sums.size(), rotations * 4 * m);
    for (std::size_t p = 0; p < 4; ++p) {
        std::vector<float> direction(op.value_count(), 0.0F);
        for (std::size_t v = 0; v < op.pixels(p).size(); ++v)
            direction[op.offset(p) + v] = static_cast<float>(values[op.offset(p) + v]);
        const auto rays = jacobian(op, direction);
        double worst = 0, largest = 0;
        for (std::size_t i = 0; i < rotations; ++i)
            for (std::size_t k = 0; k < m; ++k) {
                double expected = 0;
                for (std::size_t j = 0; j < translations; ++j)
                    if (scan.weight[i * translations + j] > 0)
                        expected += rays[(i * translations + j) * m + k];
                worst = std::max(worst, std::abs(sums[(i * 4 + p) * m + k] - expected));
                largest = std::max(largest, std::abs(expected));
            }
        EXPECT_GT(largest, 0) << p;
        EXPECT_LT(worst, 1e-5 * largest) << p;
    }
}

TEST(Operator, SumsOfParts) {
    check_sums_of_parts(SmallScan());
}
TEST(Operator, SumsOfPartsWithTexture) {
    check_sums_of_parts(SmallScan({.n = 7, .march = 0.7}));
}

TEST(Operator, MisfitsOfRotations) {
    const SmallScan scan;
    auto op = scan.make_operator();
    op.set_point(scan.values(op), false);
    const std::vector<float> data(op.coefficient_count(), 0.1F);
    const auto misfits = op.rotation_misfits(data);
    ASSERT_EQ(misfits.size(), scan.geometry.rotation.size());
    double sum = 0;
    for (const double misfit : misfits) {
        EXPECT_GT(misfit, 0);
        sum += misfit;
    }
    EXPECT_DOUBLE_EQ(sum, op.objective(data));
}

TEST(Operator, GradientOfTheObjective) {
    const SmallScan& scan = deep_scan();
    dlsr::Operator op = scan.make_operator();
    const auto data = predict(op, scan.perturbed(op, 0.2, 4));
    const auto values = scan.values(op);
    op.set_point(values, true);
    std::vector<float> gradient(op.value_count(), 3);
    const double f = op.objective(data, gradient);
    EXPECT_GT(f, 0);
    EXPECT_DOUBLE_EQ(op.objective(data), f);

    // From its definition.
    const auto rays = predict(op);
    double expected = 0;
    for (std::size_t i = 0; i < rays.size(); ++i)
        expected += 0.5 * scan.weight[i / scan.basis->size()] *
                    std::pow(static_cast<double>(rays[i]) - data[i], 2);
    EXPECT_NEAR(f / expected, 1, 1e-5);

    const auto along = [&](const std::vector<float>& direction) {
        const auto at = [&](double h) {
            auto moved = values;
            for (std::size_t i = 0; i < moved.size(); ++i)
                moved[i] += h * direction[i];
            op.set_point(moved, false);
            return op.objective(data);
        };
        constexpr double h = 0.01;
        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
    };
    for (unsigned seed = 0; seed < 4; ++seed) {
        auto direction = random_direction(scan, op, 5 + seed);
        // Amounts, cells, globals, all.
        for (std::size_t i = 0; i < direction.size(); ++i) {
            const bool global = i >= op.global_offset(),
                       cell = i >= op.offset(0, 0) && i < op.offset(1);
            if ((seed == 0 && (global || cell)) || (seed == 1 && !cell) || (seed == 2 && !global))
                direction[i] = 0;
            // Downhill, so that the derivative is not small by chance.
            else if (seed < 2)
                direction[i] = std::copysign(direction[i], -gradient[i]);
        }
        const double slope = along(direction);
        EXPECT_NEAR(dot(gradient, direction) / slope, 1, 2e-3) << seed;
    }
}

TEST(Operator, RaysWithoutWeightAreIgnored) {
    SmallScan scan({.n = 8, .rotations = 4});
    // An operator chooses functions of the depth at its first point: one for each point.
    dlsr::Operator op = scan.make_operator(), elsewhere = scan.make_operator();
    const auto values = scan.values(op);
    const std::size_t m = scan.basis->size();
    const auto data = predict(elsewhere, scan.perturbed(op, 0.1, 4));
    op.set_point(values, true);

    const auto weight = scan.weight;
    auto masked = data;
    for (std::size_t r = 0; r < scan.rays(); r += 5) {
        scan.weight[r] = 0;
        scan.transmission[r] = nan_float;
        std::fill_n(masked.begin() + static_cast<std::ptrdiff_t>(r * m), m, nan_float);
    }
    dlsr::Operator other = scan.make_operator();
    other.set_point(values, true);
    std::vector<float> gradient(op.value_count()), all(op.value_count());
    const double f = other.objective(masked, gradient);
    const auto full = predict(op), seen = predict(other);
    const double size = norm(full);
    double expected = 0;
    std::vector<float> residual(full.size(), 0.0F);
    for (std::size_t i = 0; i < full.size(); ++i) {
        if (i / m % 5 == 0)
            continue;
        ASSERT_NEAR(seen[i], full[i], 1e-6 * size);
        residual[i] = weight[i / m] * (full[i] - data[i]);
        expected += 0.5 * weight[i / m] * std::pow(full[i] - data[i], 2.0);
    }
    EXPECT_NEAR(f / expected, 1, 1e-5);
    op.adjoint(residual, all);
    const auto scale = scan.scale(op);
    for (std::size_t i = 0; i < all.size(); ++i) {
        all[i] *= static_cast<float>(scale[i]);
        gradient[i] *= static_cast<float>(scale[i]);
    }
    EXPECT_LT(test::distance(gradient, all), 1e-5 * norm(all));

    const auto direction = random_direction(scan, op, 6);
    std::vector<float> product(op.value_count());
    other.gauss_newton(direction, product);
    for (const float value : product)
        ASSERT_TRUE(std::isfinite(value));
    for (const float value : jacobian(other, direction))
        ASSERT_TRUE(std::isfinite(value));
    for (const float value : test::diagonal(other))
        ASSERT_TRUE(std::isfinite(value));
}

TEST(Operator, TransmissionIsAFactorOfTheRay) {
    SmallScan scan({.n = 8, .rotations = 4});
    dlsr::Operator op = scan.make_operator();
    const auto values = scan.values(op);
    op.set_point(values, true);
    const auto absorbed = predict(op);
    const auto direction = random_direction(scan, op, 1);
    const auto image = jacobian(op, direction);
    const auto transmission = scan.transmission;
    std::fill(scan.transmission.begin(), scan.transmission.end(), 1.0F);
    dlsr::Operator clear = scan.make_operator();
    clear.set_point(values, true);
    const auto whole = predict(clear), clear_image = jacobian(clear, direction);
    const double size = norm(whole), image_size = norm(clear_image);
    for (std::size_t i = 0; i < whole.size(); ++i) {
        const float t = transmission[i / scan.basis->size()];
        ASSERT_NEAR(absorbed[i], t * whole[i], 1e-6 * size);
        ASSERT_NEAR(image[i], t * clear_image[i], 1e-6 * image_size);
    }
    double larger = 0;
    for (std::size_t i = 0; i < scan.grid.size(); ++i)
        larger += clear.pixel_weight()[i] > op.pixel_weight()[i] ? 1 : 0;
    EXPECT_EQ(larger, scan.grid.size());
}

TEST(Operator, DiagonalAndBlocksAreThoseOfTheColumns) {
    const SmallScan scan({.n = 7, .rotations = 5, .distance = infinity, .layers = 1});
    dlsr::Operator op = scan.make_operator();
    op.set_point(scan.values(op), true);
    const std::size_t m = scan.basis->size();
    std::vector<std::vector<float>> columns;
    for (std::size_t i = 0; i < op.value_count(); ++i) {
        std::vector<float> unit(op.value_count(), 0.0F);
        unit[i] = 1;
        columns.push_back(jacobian(op, unit));
        for (std::size_t k = 0; k < columns.back().size(); ++k)
            columns.back()[k] *= std::sqrt(scan.weight[k / m]);
    }
    const auto diagonal = test::diagonal(op);
    ASSERT_EQ(diagonal.size(), op.value_count());
    for (std::size_t i = 0; i < diagonal.size(); ++i) {
        const double expected = dot(columns[i], columns[i]);
        EXPECT_GT(expected, 0);
        EXPECT_NEAR(diagonal[i] / expected, 1, 1e-4) << i;
    }
    std::vector<unsigned char> seen(op.global_offset(), 0), pixel_seen(scan.grid.size(), 0);
    EXPECT_EQ(op.pixel_count(), scan.grid.size()); // the peak is everywhere
    for (std::size_t i = 0; i < op.pixel_count(); ++i) {
        std::size_t pixel = 0;
        std::vector<std::size_t> members;
        std::vector<float> gram;
        op.pixel_block(i, pixel, members, gram);
        ASSERT_EQ(gram.size(), members.size() * members.size());
        EXPECT_EQ(pixel_seen[pixel]++, 0);
        for (std::size_t a = 0; a < members.size(); ++a) {
            EXPECT_EQ(seen[members[a]]++, 0);
            for (std::size_t b = 0; b < members.size(); ++b) {
                const auto &ca = columns[members[a]], &cb = columns[members[b]];
                EXPECT_NEAR(gram[a * members.size() + b] * op.pixel_weight()[pixel], dot(ca, cb),
                            1e-4 * norm(ca) * norm(cb));
            }
        }
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<long>(seen.size()));
}

// The functions of ψ enter with their means over a turn.
TEST(Operator, BlocksWithTextureAreMeansOverATurn) {
    const SmallScan scan({.n = 7,
                          .rotations = 24,
                          .range = 360,
                          .distance = infinity,
                          .layers = 1,
                          .globals = false,
                          .march = 0.6});
    dlsr::Operator op = scan.make_operator();
    op.set_point(scan.values(op), true);
    const std::size_t m = scan.basis->size();
    const auto found = test::diagonal(op);
    double worst = 0, without = 0;
    const SmallScan untextured({.n = 7,
                                .rotations = 24,
                                .range = 360,
                                .distance = infinity,
                                .layers = 1,
                                .globals = false});
    dlsr::Operator plain = untextured.make_operator();
    plain.set_point(untextured.values(plain), true);
    const auto plain_diagonal = test::diagonal(plain);
    for (std::size_t v = 0; v < op.pixels(cathode_part).size(); ++v) {
        std::vector<float> unit(op.value_count(), 0.0F);
        unit[op.offset(cathode_part) + v] = 1;
        auto column = jacobian(op, unit);
        for (std::size_t k = 0; k < column.size(); ++k)
            column[k] *= std::sqrt(scan.weight[k / m]);
        const double expected = dot(column, column);
        worst = std::max(worst, std::abs(found[op.offset(cathode_part) + v] / expected - 1));
        without =
            std::max(without, std::abs(plain_diagonal[op.offset(cathode_part) + v] / expected - 1));
    }
    EXPECT_LT(worst, 0.15);
    EXPECT_GT(without, worst);
}

TEST(Operator, PointMayMoveWithAndWithoutDerivatives) {
    const SmallScan& scan = deep_scan();
    dlsr::Operator op = scan.make_operator();
    const auto here = scan.values(op), there = scan.perturbed(op, 0.1, 8);
    const auto direction = random_direction(scan, op, 9);
    op.set_point(there, true);
    const auto prediction = predict(op), image = jacobian(op, direction);
    op.set_point(here, true);
    EXPECT_GT(test::distance(predict(op), prediction), 0.01 * norm(prediction));
    EXPECT_GT(test::distance(jacobian(op, direction), image), 0.01 * norm(image));
    op.set_point(there, false);
    EXPECT_EQ(predict(op), prediction);
    op.set_point(there, true);
    EXPECT_EQ(predict(op), prediction);
    EXPECT_EQ(jacobian(op, direction), image);
    // Globals alone, then the other values alone.
    auto mixed = here;
    std::copy(there.begin() + static_cast<std::ptrdiff_t>(op.global_offset()), there.end(),
              mixed.begin() + static_cast<std::ptrdiff_t>(op.global_offset()));
    op.set_point(here, true);
    op.set_point(mixed, true);
    op.set_point(there, true);
    EXPECT_EQ(jacobian(op, direction), image);
}

TEST(Operator, PartsWithoutPixels) {
    SmallScan scan({.n = 6, .rotations = 2});
    scan.pixels[cathode_part].clear();
    scan.pixels[term_part].clear();
    dlsr::Operator op = scan.make_operator();
    EXPECT_EQ(op.value_count(),
              scan.pixels[metal_part].size() + scan.grid.size() + scan.basis->global_count());
    const auto values = scan.values(op);
    op.set_point(values, true);
    EXPECT_LT(test::distance(predict(op), brute_force(scan, op, values)), 3e-3 * norm(predict(op)));
}

std::string message(const std::function<void(SmallScan&)>& spoil) {
    static const SmallScanOptions options{.n = 6, .rotations = 2, .layers = 3, .globals = false};
    try {
        SmallScan scan(options);
        spoil(scan);
        scan.make_operator();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(Operator, BadInput) {
    EXPECT_EQ(message([](SmallScan&) {}), "no error");
    EXPECT_THAT(message([](SmallScan& s) { s.weight[3] = -1; }), HasSubstr("negative"));
    EXPECT_THAT(message([](SmallScan& s) { s.weight[3] = nan_float; }), HasSubstr("not finite"));
    EXPECT_THAT(message([](SmallScan& s) { s.transmission[3] = 0; }),
                HasSubstr("no positive transmission"));
    EXPECT_THAT(message([](SmallScan& s) { s.transmission[3] = nan_float; }),
                HasSubstr("no positive transmission"));
    EXPECT_THAT(message([](SmallScan& s) { s.transmission[3] = -1; }),
                HasSubstr("no positive transmission"));
    EXPECT_THAT(message([](SmallScan& s) { s.pixels.pop_back(); }), HasSubstr("parts or layers"));
    EXPECT_THAT(message([](SmallScan& s) { s.layers.count = 4; }), HasSubstr("parts or layers"));
    EXPECT_THAT(message([](SmallScan& s) { s.pixels[1].push_back(36); }),
                HasSubstr("pixel outside the grid"));

    const SmallScan scan({.n = 6, .rotations = 2, .layers = 3});
    const std::vector<float> few(scan.rays() - 1, 1.0F);
    EXPECT_THROW(dlsr::Operator(scan.geometry, scan.grid, *scan.basis, scan.layers, scan.places(),
                                few, scan.transmission),
                 Error);
    EXPECT_THROW(dlsr::Operator(scan.geometry, scan.grid, *scan.basis, scan.layers, scan.places(),
                                scan.weight, few),
                 Error);
    dlsr::Operator op = scan.make_operator();
    std::vector<double> values = scan.values(op), short_values(values.size() - 1);
    EXPECT_THROW(op.set_point(short_values, true), Error);
    op.set_point(values, true);
    std::vector<float> rays(op.coefficient_count()), less(rays.size() - 1), v(op.value_count()),
        fewer(v.size() - 1);
    EXPECT_THROW(op.predict(less), Error);
    EXPECT_THROW(op.objective(less), Error);
    EXPECT_THROW(op.objective(rays, fewer), Error);
    EXPECT_THROW(op.jacobian(fewer, rays), Error);
    EXPECT_THROW(op.jacobian(v, less), Error);
    EXPECT_THROW(op.adjoint(less, v), Error);
    EXPECT_THROW(op.adjoint(rays, fewer), Error);
    EXPECT_THROW(op.gauss_newton(fewer, v), Error);
    EXPECT_THROW(op.gauss_newton(v, fewer), Error);
}

} // namespace
