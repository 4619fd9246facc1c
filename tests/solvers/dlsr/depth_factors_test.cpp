// SPDX-License-Identifier: BSD-3-Clause
// Factors of what a ray gets from its depths: those of rays that leave at an angle.

#include "absorption/exit_ray.hpp"
#include "base/error.hpp"
#include "mpi/comm/communicator.hpp"
#include "small_scan.hpp"
#include "solvers/dlsr/problem.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace {

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;

mpi::BlockRange all_rotations(const SmallScan& scan) {
    return {0, scan.geometry.rotation.size()};
}

dlsr::Operator make_operator(const SmallScan& scan, const mpi::BlockRange& rotations,
                             std::span<const float> factors) {
    dlsr::Operator op(scan.part_geometry(rotations), scan.grid, *scan.basis, scan.layers,
                      scan.places(), scan.part<float>(scan.weight, rotations),
                      scan.part<float>(scan.transmission, rotations), both);
    if (!factors.empty())
        op.set_depth_factors(scan.part<float>(factors, rotations, scan.layers.count));
    return op;
}

/// Of all rays of the scan, with a trend along the depth.
std::vector<float> random_factors(const SmallScan& scan) {
    auto factors = random_floats(scan.rays() * scan.layers.count, 11);
    for (std::size_t i = 0; i < factors.size(); ++i)
        factors[i] = 0.8F + 0.2F * factors[i] +
                     0.4F * static_cast<float>(i % scan.layers.count) /
                         static_cast<float>(scan.layers.count);
    return factors;
}

std::vector<double> values_of(const SmallScan& scan, const dlsr::Operator& op) {
    auto values = scan.values(op);
    values[op.value_count() - 2] = 0.1;
    values[op.value_count() - 1] = 0.02;
    return values;
}
/// Typical sizes, the geometry's, too.
std::vector<double> scale_of(const SmallScan& scan, const dlsr::Operator& op) {
    auto scale = scan.scale(op);
    scale[op.value_count() - 2] = 0.2;
    scale[op.value_count() - 1] = 0.1;
    return scale;
}
std::vector<float> random_direction(const SmallScan& scan, const dlsr::Operator& op,
                                    unsigned seed) {
    auto direction = random_floats(op.value_count(), seed);
    const auto scale = scale_of(scan, op);
    for (std::size_t i = 0; i < direction.size(); ++i)
        direction[i] *= static_cast<float>(scale[i]);
    return direction;
}

std::vector<float> adjoint(const dlsr::Operator& op, std::span<const float> rays) {
    std::vector<float> direction(op.value_count());
    op.adjoint(rays, direction);
    return direction;
}
std::vector<float> gauss_newton(const dlsr::Operator& op, std::span<const float> direction) {
    std::vector<float> out(op.value_count());
    op.gauss_newton(direction, out);
    return out;
}
std::vector<float> scaled(std::vector<float> values, const std::vector<double>& scale) {
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] *= static_cast<float>(scale[i]);
    return values;
}

const SmallScan& small() {
    static const SmallScan scan({.n = 8, .rotations = 6, .channels = 60, .layers = 9});
    return scan;
}

TEST(DepthFactors, OnesChangeNothing) {
    const SmallScan& scan = small();
    const std::vector<float> ones(scan.rays() * scan.layers.count, 1.0F);
    dlsr::Operator without = make_operator(scan, own_rotations(scan), {}),
                   with = make_operator(scan, own_rotations(scan), ones),
                   reset = make_operator(scan, own_rotations(scan), random_factors(scan));
    reset.set_depth_factors({});
    const auto direction = random_direction(scan, without, 1);
    without.set_point(values_of(scan, without), true);
    const auto rays = predict(without);
    for (dlsr::Operator* op : {&with, &reset}) {
        op->set_point(values_of(scan, *op), true);
        EXPECT_EQ(predict(*op), rays);
        EXPECT_EQ(jacobian(*op, direction), jacobian(without, direction));
        EXPECT_EQ(adjoint(*op, rays), adjoint(without, rays));
        EXPECT_EQ(gauss_newton(*op, direction), gauss_newton(without, direction));
        EXPECT_EQ(op->part_sums(), without.part_sums());
        EXPECT_EQ(test::diagonal(*op), test::diagonal(without));
    }
    without.set_low_rank_tolerance(0.1);
    with.set_low_rank_tolerance(0.1);
    EXPECT_EQ(gauss_newton(with, direction), gauss_newton(without, direction));
}

// Layer by layer, and every layer where DepthLayers has it.
TEST(DepthFactors, ScaleWhatTheLayersContribute) {
    const SmallScan scan({.n = 6, .rotations = 4, .channels = 60, .layers = 7, .globals = false});
    const std::size_t layers = scan.layers.count, m = scan.basis->size(),
                      translations = scan.geometry.translation.size();
    const auto factors = random_factors(scan);
    dlsr::Operator op = make_operator(scan, all_rotations(scan), factors);
    auto values = scan.values(op);
    op.set_point(values, false);
    const auto whole = predict(op);
    std::vector<double> sum(whole.size(), 0.0);
    // A voxel of the metal alone tells where it lies.
    std::vector<double> voxel(values.size(), 0.0);
    for (std::size_t v = 0; v < 2 * op.pixels(cathode_part).size(); ++v)
        voxel[op.offset(cathode_part, 0) + v] = values[op.offset(cathode_part, 0) + v];
    const std::size_t pixel = op.pixels(metal_part)[3];
    voxel[op.offset(metal_part) + 3] = scan.unit_amount[metal_part];
    const double x = scan.grid.coordinate(pixel % scan.grid.n),
                 y = scan.grid.coordinate(pixel / scan.grid.n);
    for (std::size_t l = 0; l < layers; ++l) {
        std::vector<float> one(factors.size(), 1e-30F);
        for (std::size_t r = 0; r < scan.rays(); ++r)
            one[r * layers + l] = 1;
        dlsr::Operator layer = make_operator(scan, all_rotations(scan), one);
        layer.set_point(values, false);
        const auto rays = predict(layer);
        for (std::size_t i = 0; i < rays.size(); ++i)
            sum[i] += static_cast<double>(factors[i / m * layers + l]) * rays[i];
        layer.set_point(voxel, false);
        const auto own = predict(layer);
        for (std::size_t i = 0; i < scan.geometry.rotation.size(); ++i) {
            const double w = scan.geometry.omega(i), z = -x * std::sin(w) + y * std::cos(w);
            const double share =
                std::max(0.0, 1 - std::abs(z - scan.layers.depth(l)) / scan.layers.spacing);
            const double found =
                norm(std::span(own).subspan(i * translations * m, translations * m));
            EXPECT_EQ(found > 1e-6, share > 1e-6) << l << ' ' << i;
        }
    }
    const std::vector<float> expected(sum.begin(), sum.end());
    EXPECT_LT(test::distance(whole, expected), 1e-5 * norm(expected));
    dlsr::Operator plain = make_operator(scan, all_rotations(scan), {});
    plain.set_point(values, false);
    EXPECT_GT(test::distance(predict(plain), expected), 0.02 * norm(expected));
}

TEST(DepthFactors, JacobianIsTheDerivativeOfThePrediction) {
    const SmallScan& scan = small();
    dlsr::Operator op = make_operator(scan, own_rotations(scan), random_factors(scan));
    check_jacobian(op, values_of(scan, op), scale_of(scan, op));
}

// ⟨J v, p⟩ = ⟨v, Jᵀ p⟩ summed over the ranks, and both as on one rank.
TEST(DepthFactors, AdjointOnAnyNumberOfRanks) {
    const SmallScan& scan = small();
    const auto factors = random_factors(scan);
    const auto range = own_rotations(scan);
    dlsr::Operator alone = make_operator(scan, all_rotations(scan), factors),
                   apart = make_operator(scan, range, factors);
    alone.set_point(values_of(scan, alone), true);
    apart.set_point(values_of(scan, apart), true);
    const auto direction = random_direction(scan, alone, 1);
    const auto rays = jacobian(alone, direction);
    auto other = random_floats(rays.size(), 2);
    const auto size = static_cast<float>(norm(rays) / norm(other));
    for (std::size_t i = 0; i < rays.size(); ++i)
        other[i] = size * other[i] + 0.3F * rays[i];
    const auto own = scan.part<float>(rays, range, scan.basis->size()),
               own_other = scan.part<float>(other, range, scan.basis->size());
    EXPECT_LE(test::distance(jacobian(apart, direction), own), 1e-6 * norm(own));
    auto back = adjoint(apart, own_other);
    world().allreduce(std::span<float>(back), mpi::Reduction::sum);
    const double products = world().allreduce(dot(own, own_other), mpi::Reduction::sum);
    EXPECT_NEAR(dot(direction, back) / products, 1, 1e-5);
    EXPECT_NEAR(dot(rays, other) / products, 1, 1e-6);
    // Group by group, so that none hides behind a larger one.
    const auto scale = scale_of(scan, alone);
    const auto expected = scaled(adjoint(alone, other), scale), found = scaled(back, scale);
    for (std::size_t p = 0; p < 4; ++p) {
        const std::size_t end = p < 3 ? alone.offset(p + 1) : alone.global_offset();
        std::vector<float> part(direction.size(), 0.0F);
        for (std::size_t i = alone.offset(p); i < end; ++i)
            part[i] = direction[i];
        const auto image = jacobian(alone, part);
        EXPECT_NEAR(dot(part, back), dot(image, other), 1e-5 * norm(image) * norm(other)) << p;
    }
    EXPECT_LT(test::distance(found, expected), 1e-5 * norm(expected));
    auto product = gauss_newton(apart, direction);
    world().allreduce(std::span<float>(product), mpi::Reduction::sum);
    auto weighted = rays;
    for (std::size_t i = 0; i < rays.size(); ++i)
        weighted[i] *= scan.weight[i / scan.basis->size()];
    const auto normal = scaled(adjoint(alone, weighted), scale);
    EXPECT_LT(test::distance(scaled(product, scale), normal), 1e-5 * norm(normal));
}

TEST(DepthFactors, CondensedProductsHaveThem) {
    const SmallScan& scan = small();
    dlsr::Operator op = make_operator(scan, own_rotations(scan), random_factors(scan)),
                   plain = make_operator(scan, own_rotations(scan), {});
    const auto scale = scale_of(scan, op);
    auto direction = random_direction(scan, op, 3);
    for (std::size_t i = op.global_offset(); i < direction.size(); ++i)
        direction[i] = 0;
    op.set_point(values_of(scan, op), true);
    plain.set_point(values_of(scan, op), true);
    const auto exact = scaled(gauss_newton(op, direction), scale);
    const double other = test::distance(scaled(gauss_newton(plain, direction), scale), exact);
    op.set_low_rank_tolerance(0.02);
    EXPECT_LT(op.low_rank_size(), op.packed_size());
    const double error = test::distance(scaled(gauss_newton(op, direction), scale), exact);
    EXPECT_LT(error, 0.02 * norm(exact));
    EXPECT_LT(error, 0.2 * other);
}

/// A sample that absorbs a third on one side only, and what leaves at 15 degrees makes of it.
std::vector<float> exit_factors(const SmallScan& scan) {
    std::vector<float> mu(scan.grid.size(), 0.0F);
    for (std::size_t i = 0; i < mu.size(); ++i) {
        const double x = scan.grid.coordinate(i % scan.grid.n),
                     y = scan.grid.coordinate(i / scan.grid.n);
        mu[i] = std::hypot(x, y) > 4 ? 0 : x > 0 ? 0.5F : 0.1F;
    }
    return absorption::exit_ray_factors(scan.geometry, scan.grid, mu, scan.layers,
                                        {.two_theta = 15});
}

/// Fits data made with factors `made` by a model with factors `fitted`: misfit over that of the
/// start, and rms error of the amounts over their sizes.
struct Fit {
    double misfit = 0, error = 0;
};
Fit fit(const SmallScan& scan, const std::vector<float>& made, const std::vector<float>& fitted) {
    const auto range = own_rotations(scan);
    dlsr::Operator maker = make_operator(scan, range, made),
                   op = make_operator(scan, range, fitted);
    auto truth = scan.values(op), start = scan.perturbed(op, 0.05, 30);
    for (auto* values : {&truth, &start})
        std::fill(values->end() - 2, values->end(), 0.0);
    maker.set_point(start, false);
    maker.set_point(truth, false);
    const auto data = predict(maker);
    dlsr::Problem problem(world(), op, scan.grid, scan.part_geometry(range), data,
                          voxel_fields(scan), {{-2, 2, 0.02}, {-0.3, 0.3, 0.01}}, start);
    for (std::size_t g = 0; g < 2; ++g)
        problem.set_global_bounds(g, 0, 0);
    problem.objective(problem.start());
    const double before = problem.last_misfit();
    const petsc::Session session(world());
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = 6;
    options.objective_tolerance = 1e-6;
    options.linear_tolerance = 1e-3;
    options.linear_max_iterations = 100;
    options.objective_noise = 1e-7;
    petsc::BoundedGaussNewton solver(session, world(), problem, problem.start(), options);
    while (solver.step().reason == petsc::StopReason::none) {
    }
    problem.objective(solver.x());
    const auto found = copy_of(problem.values(solver.x()));
    const auto size = scan.scale(op);
    Fit result{problem.last_misfit() / before, 0};
    for (std::size_t v = 0; v < op.pixels(cathode_part).size(); ++v) {
        const std::size_t i = op.offset(cathode_part) + v;
        result.error += std::pow((found[i] - truth[i]) / size[i], 2) /
                        static_cast<double>(op.pixels(cathode_part).size());
    }
    result.error = std::sqrt(result.error);
    return result;
}

TEST(DepthFactors, DataOfDeviatedRaysNeedThem) {
    if (world().size() > 1)
        GTEST_SKIP() << "what ranks do to products is tested above";
    const SmallScan scan({.n = 6, .rotations = 12, .layers = 15, .globals = false});
    const auto factors = exit_factors(scan);
    const auto right = fit(scan, factors, factors), wrong = fit(scan, factors, {});
    EXPECT_LT(right.misfit, 1e-5);
    EXPECT_LT(right.error, 1e-3);
    EXPECT_GT(wrong.misfit, 1e-3);
    EXPECT_GT(wrong.error, 1e-2);
}

TEST(DepthFactors, BadInput) {
    SmallScan scan({.n = 4, .rotations = 2, .channels = 60, .layers = 3, .globals = false});
    scan.weight[4] = 0;
    scan.transmission[4] = std::numeric_limits<float>::quiet_NaN();
    const auto message = [&](const std::function<void(std::vector<float>&)>& spoil) -> std::string {
        auto factors = random_factors(scan);
        spoil(factors);
        try {
            make_operator(scan, all_rotations(scan), {}).set_depth_factors(factors);
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(message([](auto&) {}), "no error");
    EXPECT_EQ(message([&](auto& f) { f[4 * 3 + 1] = nan; }), "no error");
    EXPECT_THAT(message([&](auto& f) { f[5 * 3] = nan; }), HasSubstr("positive and finite"));
    EXPECT_THAT(message([](auto& f) { f[5 * 3] = 0; }), HasSubstr("positive and finite"));
    EXPECT_THAT(message([](auto& f) { f.pop_back(); }), HasSubstr("35 depth factors for 12 rays"));
    const SmallScan flat({.n = 4,
                          .rotations = 2,
                          .channels = 60,
                          .distance = infinity,
                          .layers = 1,
                          .globals = false});
    dlsr::Operator op = flat.make_operator();
    const std::vector<float> factors(flat.rays(), 1.0F);
    EXPECT_THROW(op.set_depth_factors(factors), Error);
}

} // namespace
