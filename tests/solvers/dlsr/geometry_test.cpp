// SPDX-License-Identifier: BSD-3-Clause
// Axis offset and distance as parameters of the DLSR's model.

#include "base/error.hpp"
#include "mpi/comm/communicator.hpp"
#include "small_scan.hpp"
#include "solvers/dlsr/geometry.hpp"
#include "solvers/dlsr/problem.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"
#include "solvers/petsc/unknown_estimate.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <optional>

namespace {

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;

dlsr::Operator make_operator(const SmallScan& scan, const tomography::ScanGeometry& geometry,
                             const mpi::BlockRange& rotations,
                             std::span<const dlsr::GeometryParameter> parameters) {
    tomography::ScanGeometry own = scan.part_geometry(rotations);
    own.axis_offset = geometry.axis_offset;
    return {own,
            scan.grid,
            *scan.basis,
            scan.layers,
            scan.places(),
            scan.part<float>(scan.weight, rotations),
            scan.part<float>(scan.transmission, rotations),
            parameters};
}
dlsr::Operator whole_operator(const SmallScan& scan) {
    return make_operator(scan, scan.geometry, {0, scan.geometry.rotation.size()}, both);
}

/// The scan's values with changes of axis [mm] and distance (relative).
std::vector<double> values_of(const SmallScan& scan, const dlsr::Operator& op, double axis,
                              double distance) {
    auto values = scan.values(op);
    values[op.value_count() - 2] = axis;
    values[op.value_count() - 1] = distance;
    return values;
}

/// As patterns in the channels, which scans with other bases have in common.
std::vector<float> patterns(const SmallScan& scan, const std::vector<float>& rays) {
    const std::size_t m = scan.basis->size(), n = scan.axis.size();
    std::vector<float> result(rays.size() / m * n);
    for (std::size_t r = 0; r < rays.size() / m; ++r)
        scan.basis->expand({rays.data() + r * m, m}, {result.data() + r * n, n});
    return result;
}

const SmallScan& small() {
    static const SmallScan scan(
        {.n = 8, .rotations = 6, .channels = 80, .range = 360, .layers = 15});
    return scan;
}

TEST(DlsrGeometry, TheAxisOffsetIsThatOfTheScan) {
    auto op = whole_operator(small());
    EXPECT_EQ(op.global_count(), small().basis->global_count() + 2);
    EXPECT_EQ(op.value_count(), op.global_offset() + op.global_count());
    const auto centred = predict(op, values_of(small(), op, 0, 0));
    for (const double change : {0.3, -0.7}) {
        tomography::ScanGeometry geometry = small().geometry;
        geometry.axis_offset += change;
        auto other = make_operator(small(), geometry, {0, geometry.rotation.size()}, both);
        const auto expected = predict(other, values_of(small(), other, 0, 0));
        const auto found = predict(op, values_of(small(), op, change, 0));
        EXPECT_LT(test::distance(found, expected), 1e-5 * norm(expected)) << change;
        EXPECT_GT(test::distance(found, centred), 0.05 * norm(expected)) << change;
    }
    // And back.
    EXPECT_LT(test::distance(predict(op, values_of(small(), op, 0, 0)), centred),
              1e-6 * norm(centred));
}

TEST(DlsrGeometry, TheDistanceIsTheLeverArmOfTheDepths) {
    const SmallScanOptions options{
        .n = 8, .rotations = 6, .channels = 80, .range = 360, .distance = 300, .layers = 61};
    SmallScanOptions further = options;
    further.distance = 375;
    const SmallScan near(options), far(further);
    auto op = whole_operator(near), other = whole_operator(far);
    const auto expected = patterns(far, predict(other, values_of(far, other, 0, 0)));
    const double moved = test::distance(patterns(near, predict(op, values_of(near, op, 0, 0.25))),
                                        expected),
                 kept = test::distance(patterns(near, predict(op, values_of(near, op, 0, 0))),
                                       expected);
    EXPECT_LT(moved, 8e-3 * norm(expected));
    EXPECT_GT(kept, 3 * moved);
}

TEST(DlsrGeometry, ColumnsAreDerivativesOfThePrediction) {
    auto op = whole_operator(small());
    const double axis = 0.12, distance = -0.03;
    for (std::size_t g = 0; g < 2; ++g) {
        const double h = g == 0 ? 0.03 : 1e-2;
        const std::size_t place = op.value_count() - 2 + g;
        auto values = values_of(small(), op, axis, distance);
        values[place] += h;
        auto difference = predict(op, values);
        values[place] -= 2 * h;
        const auto lower = predict(op, values);
        for (std::size_t i = 0; i < difference.size(); ++i)
            difference[i] = (difference[i] - lower[i]) / static_cast<float>(2 * h);
        op.set_point(values_of(small(), op, axis, distance), true);
        std::vector<float> direction(op.value_count(), 0.0F), column(op.coefficient_count());
        direction[place] = 1;
        op.jacobian(direction, column);
        EXPECT_GT(norm(column), 0);
        EXPECT_LT(test::distance(column, difference), 0.01 * norm(column)) << g;
    }
}

TEST(DlsrGeometry, AdjointAndGradient) {
    auto op = whole_operator(small());
    const auto values = values_of(small(), op, 0.2, 0.02);
    op.set_point(values, true);
    const auto scale = small().scale(op);
    auto direction = random_floats(op.value_count(), 1);
    for (std::size_t i = 0; i + 2 < direction.size(); ++i)
        direction[i] *= static_cast<float>(scale[i]);
    const auto rays = random_floats(op.coefficient_count(), 2);
    std::vector<float> forward(rays.size()), back(direction.size());
    op.jacobian(direction, forward);
    op.adjoint(rays, back);
    EXPECT_NEAR(dot(forward, rays), dot(direction, back), 1e-4 * norm(forward) * norm(rays));

    const auto data = predict(op, values_of(small(), op, 0, 0));
    op.set_point(values, true);
    std::vector<float> gradient(op.value_count());
    op.objective(data, gradient);
    for (std::size_t g = 0; g < 2; ++g) {
        const std::size_t place = op.value_count() - 2 + g;
        const double h = g == 0 ? 0.02 : 0.01;
        auto beside = values;
        beside[place] += h;
        op.set_point(beside, false);
        const double upper = op.objective(data);
        beside[place] -= 2 * h;
        op.set_point(beside, false);
        const double slope = (upper - op.objective(data)) / (2 * h);
        EXPECT_NEAR(gradient[place], slope, 0.03 * std::abs(slope)) << g;
    }
}

TEST(DlsrGeometry, BadInput) {
    const auto error = [](const SmallScan& scan, std::vector<dlsr::GeometryParameter> parameters) {
        try {
            make_operator(scan, scan.geometry, {0, scan.geometry.rotation.size()}, parameters);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string("no error");
    };
    using enum dlsr::GeometryParameter;
    EXPECT_THAT(error(small(), {axis_offset, axis_offset}), HasSubstr("twice"));
    const SmallScan flat(
        {.n = 4, .rotations = 2, .channels = 60, .distance = infinity, .layers = 1});
    EXPECT_THAT(error(flat, {distance}), HasSubstr("without depth"));
    EXPECT_EQ(error(flat, {axis_offset}), "no error");
    auto op = whole_operator(small());
    EXPECT_THROW(op.set_point(values_of(small(), op, 0, -1), false), Error);
    EXPECT_THROW(op.set_point(std::vector<double>(op.value_count() - 1), false), Error);
}

/// A problem whose data have another axis and distance than its start.
struct Problem {
    Problem(const SmallScan& s, double axis, double distance)
        : scan(s), rotations(own_rotations(s)), op(make_operator(s, s.geometry, rotations, both)) {
        const auto start = scan.values(op);
        op.set_point(start, false);
        data = predict(op, values_of(scan, op, axis, distance));
        auto fields = voxel_fields(scan);
        fields.resize(4); // the amounts
        for (auto& field : fields)
            field.smoothness = 1e-4;
        auto globals = globals_of(scan);
        globals.push_back({-2, 2, 0.02});
        globals.push_back({-0.3, 0.3, 0.01});
        problem.emplace(world(), op, scan.grid, scan.part_geometry(rotations), data, fields,
                        globals, start);
    }
    std::size_t unknown(std::size_t g) const { return problem->size() - 2 + g; }
    const SmallScan& scan;
    mpi::BlockRange rotations;
    dlsr::Operator op;
    std::vector<float> data;
    std::optional<dlsr::Problem> problem;
};

TEST(DlsrGeometry, MapsAndGeometryAreFoundTogether) {
    const SmallScan scan({.n = 8, .rotations = 16, .channels = 80, .layers = 15});
    Problem p(scan, 0.3, 0.04);
    const petsc::Session session(world());
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = 12;
    options.objective_tolerance = 1e-5;
    options.linear_tolerance = 1e-3;
    options.linear_max_iterations = 200;
    options.objective_noise = 1e-7;
    petsc::BoundedGaussNewton solver(session, world(), *p.problem, p.problem->start(), options);
    while (solver.step().reason == petsc::StopReason::none) {
    }
    const auto values = copy_of(p.problem->values(solver.x()));
    EXPECT_NEAR(values[values.size() - 2], 0.3, 0.01);
    EXPECT_NEAR(values[values.size() - 1], 0.04, 0.01);
}

// What a parameter that is held would become, and how surely.
TEST(DlsrGeometry, EstimateOfAHeldParameter) {
    const SmallScan scan({.n = 8, .rotations = 16, .channels = 80, .layers = 15});
    Problem p(scan, 0.1, 0);
    for (std::size_t g = 0; g < 2; ++g)
        p.problem->set_global_bounds(p.op.global_count() - 2 + g, 0, 0);
    const petsc::Session session(world());
    const petsc::LinearSolveOptions options{.tolerance = 1e-4, .max_iterations = 300};
    const auto x = p.problem->start();
    const auto axis =
        petsc::estimate_unknown(session, world(), *p.problem, x, p.unknown(0), options);
    EXPECT_NEAR(0.02 * axis.change, 0.1, 0.01);
    // e = H u by its definition: the e.s.d. is that of the unknown when everything adapts, larger
    // than that of the column alone.
    const auto diagonal = world().allgather(p.problem->block_variances());
    EXPECT_GT(axis.esd, 1.05 * std::sqrt(diagonal[p.unknown(0)]));
    EXPECT_LT(axis.esd, 100 * std::sqrt(diagonal[p.unknown(0)]));
    const auto distance =
        petsc::estimate_unknown(session, world(), *p.problem, x, p.unknown(1), options);
    EXPECT_LT(std::abs(0.01 * distance.change), 0.02);
    EXPECT_GT(distance.esd, 0);
    EXPECT_THROW(
        petsc::estimate_unknown(session, world(), *p.problem, x, p.problem->size(), options),
        Error);
    EXPECT_THROW(p.problem->set_global_bounds(p.op.global_count(), 0, 1), Error);
    EXPECT_THROW(p.problem->set_global_bounds(0, 1, 0), Error);
}

TEST(DlsrGeometry, TheDistanceCarriesWhatTheModelMakesOfIt) {
    // Voxels of a small part of the radius leave what maps and lines do.
    EXPECT_NEAR(dlsr::distance_systematic(1e-6, 5), 0.005, 1e-6);
    EXPECT_NEAR(dlsr::distance_systematic(0.2, 5), std::hypot(0.005, 0.012), 1e-12);
    dlsr::GeometryResult result;
    result.distance = dlsr::GeometryEstimate{1000, 960, 0.4, false, 15};
    EXPECT_THAT(result.remarks(),
                testing::Contains(HasSubstr("960.0 +- 0.4 mm (noise) +- 15.0 mm (model)")));
    EXPECT_THAT(result.remarks(), testing::Not(testing::Contains(HasSubstr("DISTANCE"))));
    result.distance->found = 950; // more than three times both
    EXPECT_THAT(result.remarks(), testing::Contains(HasSubstr("DISTANCE")));
}

} // namespace
