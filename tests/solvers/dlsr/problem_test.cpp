// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/problem.hpp"

#include "base/error.hpp"
#include "small_scan.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "support/assembled_normal_matrix.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>
#include <limits>
#include <optional>
#include <random>

namespace {

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;

const mpi::Communicator& self() {
    static const mpi::Communicator communicator = mpi::Communicator::self();
    return communicator;
}

using Fields = std::vector<dlsr::Field>;

/// Everything per voxel, both kinds of smoothness on the cells, gaps bridged for one of them.
Fields all_voxel(const SmallScan& scan) {
    Fields fields = voxel_fields(scan);
    fields[4].smoothness = 0.3;
    fields[4].max_gap = 1;
    fields[5].smoothness = 0.4;
    fields[5].edge = 0.7;
    fields[5].max_gap = 4;
    return fields;
}

/// Metal: map times a factor; peak: fixed; a cell: map times a factor.
Fields mixed(const SmallScan& scan) {
    Fields fields = all_voxel(scan);
    fields[metal_part].treatment = dlsr::FieldTreatment::scaled;
    fields[metal_part].lower = 0.1;
    fields[metal_part].upper = 10;
    fields[metal_part].unit = 0.2;
    fields[peak_part].treatment = dlsr::FieldTreatment::fixed;
    fields[4].treatment = dlsr::FieldTreatment::scaled;
    fields[4].lower = 0.99;
    fields[4].upper = 1.01;
    fields[4].unit = 0.001;
    return fields;
}

/// A problem whose rotations are spread over the ranks of a communicator, which share memory in
/// teams.
struct Spread {
    Spread(const mpi::Communicator& c, const SmallScan& s, const Fields& fields,
           const std::vector<double>& truth, const std::vector<double>& start,
           std::size_t team_size = 2)
        : communicator(c), scan(s),
          rotations(mpi::block_range(s.geometry.rotation.size(), static_cast<std::size_t>(c.size()),
                                     static_cast<std::size_t>(c.rank()))),
          team(c, team_size), op(s.make_operator(rotations, team)) {
        op.set_point(start, false); // where it chooses its functions of the depth
        op.set_point(truth, false);
        data.resize(op.coefficient_count());
        op.predict(data);
        problem.emplace(c, op, s.grid, s.part_geometry(rotations), data, fields, globals_of(s),
                        start, &team);
    }
    std::vector<double> whole(std::span<const double> share) const {
        return communicator.allgather(share);
    }
    std::vector<double> share(const std::vector<double>& all) const {
        const auto own = mpi::block_range(all.size(), static_cast<std::size_t>(communicator.size()),
                                          static_cast<std::size_t>(communicator.rank()));
        return {all.begin() + static_cast<std::ptrdiff_t>(own.begin),
                all.begin() + static_cast<std::ptrdiff_t>(own.end)};
    }
    double objective(const std::vector<double>& x) { return problem->objective(share(x)); }
    double smoothness(const std::vector<double>& x) {
        const double f = objective(x);
        return f - problem->last_misfit();
    }
    std::vector<double> gradient(const std::vector<double>& x) {
        std::vector<double> own(problem->local_size());
        problem->objective_and_gradient(share(x), own);
        return whole(own);
    }
    std::vector<double> product(const std::vector<double>& v) {
        std::vector<double> own(problem->local_size());
        problem->gauss_newton_product(share(v), own);
        return whole(own);
    }
    std::vector<double> precondition(const std::vector<double>& v) {
        std::vector<double> own(problem->local_size());
        problem->precondition(share(v), own);
        return whole(own);
    }
    void linearise(const std::vector<double>& x) { problem->linearise(share(x)); }
    std::vector<double> start() const { return whole(problem->start()); }

    const mpi::Communicator& communicator;
    const SmallScan& scan;
    mpi::BlockRange rotations;
    mpi::NodeTeam team;
    dlsr::Operator op;
    std::vector<float> data;
    std::optional<dlsr::Problem> problem;
};

const SmallScan& small() {
    static const SmallScan scan(
        {.n = 8, .rotations = 6, .channels = 60, .range = 360, .layers = 7});
    return scan;
}

Spread spread(const mpi::Communicator& communicator, const Fields& fields,
              const SmallScan& scan = small(), std::size_t team_size = 2) {
    const dlsr::Operator whole = scan.make_operator();
    return {communicator,       scan,     fields, scan.perturbed(whole, 0.15, 1),
            scan.values(whole), team_size};
}

std::vector<double> random_numbers(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(-1, 1);
    std::vector<double> data(size);
    for (double& x : data)
        x = uniform(random);
    return data;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += a[i] * b[i];
    return sum;
}
double norm(const std::vector<double>& a) {
    return std::sqrt(dot(a, a));
}
double distance(std::vector<double> a, const std::vector<double>& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        a[i] -= b[i];
    return norm(a);
}
std::vector<double> moved(std::vector<double> x, double h, const std::vector<double>& direction) {
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] += h * direction[i];
    return x;
}

TEST(Problem, IsTheSameOnAnyNumberOfRanks) {
    const auto voxels = all_voxel(small()), some = mixed(small());
    for (const auto& [fields, team_size] :
         {std::pair(&voxels, 1), {&voxels, 2}, {&some, 1}, {&some, 2}, {&some, 99}}) {
        Spread apart = spread(world(), *fields, small(), static_cast<std::size_t>(team_size)),
               alone = spread(self(), *fields);
        EXPECT_LE(apart.team.size(), static_cast<std::size_t>(team_size));
        ASSERT_EQ(apart.problem->size(), alone.problem->size());
        EXPECT_EQ(alone.problem->local_size(), alone.problem->size());
        const auto x = moved(alone.start(), 0.1, random_numbers(alone.problem->size(), 2));
        EXPECT_EQ(apart.start(), alone.start());
        const double f = alone.objective(x);
        EXPECT_GT(f, 0);
        EXPECT_NEAR(apart.objective(x) / f, 1, 1e-6);
        EXPECT_NEAR(apart.problem->last_misfit() / alone.problem->last_misfit(), 1, 1e-6);
        const auto gradient = alone.gradient(x);
        EXPECT_LT(::distance(apart.gradient(x), gradient), 1e-6 * ::norm(gradient));
        apart.linearise(x);
        alone.linearise(x);
        const auto v = random_numbers(x.size(), 3);
        const auto product = alone.product(v), preconditioned = alone.precondition(v);
        EXPECT_LT(::distance(apart.product(v), product), 1e-6 * ::norm(product));
        EXPECT_LT(::distance(apart.precondition(v), preconditioned), 1e-5 * ::norm(preconditioned));
    }
}

TEST(Problem, IsTheSameOnAnyNumberOfRanksWithTexture) {
    const SmallScan scan({.n = 7, .rotations = 6, .layers = 5, .march = 0.7, .metal_march = 1.5});
    const dlsr::Operator whole = scan.make_operator();
    const auto truth = scan.perturbed(whole, 0.15, 1), start = scan.values(whole);
    const Fields fields = all_voxel(scan);
    Spread apart(world(), scan, fields, truth, start), alone(self(), scan, fields, truth, start);
    const auto x = moved(alone.start(), 0.1, random_numbers(alone.problem->size(), 2));
    EXPECT_NEAR(apart.objective(x) / alone.objective(x), 1, 1e-6);
    const auto gradient = alone.gradient(x);
    EXPECT_LT(::distance(apart.gradient(x), gradient), 1e-6 * ::norm(gradient));
    apart.linearise(x);
    alone.linearise(x);
    const auto v = random_numbers(x.size(), 3);
    const auto product = alone.product(v);
    EXPECT_LT(::distance(apart.product(v), product), 1e-6 * ::norm(product));
}

TEST(Problem, UnknownsAndValues) {
    Spread s = spread(world(), mixed(small()));
    const auto start = small().values(s.op);
    const auto x = s.start();
    const std::size_t n_cathode = s.op.pixels(cathode_part).size(),
                      n_term = s.op.pixels(term_part).size();
    ASSERT_EQ(x.size(), n_cathode + 1 + n_term + 1 + n_cathode + 3);
    EXPECT_DOUBLE_EQ(x[n_cathode], 1 / 0.2);
    EXPECT_DOUBLE_EQ(x[n_cathode + 1 + n_term], 1 / 0.001);
    const auto values = copy_of(s.problem->values(s.problem->start()));
    for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_NEAR(values[i], start[i], 1e-12 * std::abs(start[i]));

    auto y = moved(x, 0.3, random_numbers(x.size(), 4));
    const auto changed = copy_of(s.problem->values(s.share(y)));
    for (std::size_t v = 0; v < s.op.pixels(metal_part).size(); ++v) {
        const std::size_t i = s.op.offset(metal_part) + v;
        EXPECT_NEAR(changed[i], start[i] * 0.2 * y[n_cathode], 1e-12 * changed[i]);
    }
    for (std::size_t v = 0; v < s.op.pixels(peak_part).size(); ++v)
        EXPECT_EQ(changed[s.op.offset(peak_part) + v], start[s.op.offset(peak_part) + v]);
    const auto back = s.whole(s.problem->unknowns(changed));
    for (std::size_t i = 0; i < y.size(); ++i)
        EXPECT_NEAR(back[i], y[i], 1e-9 * std::max(1.0, std::abs(y[i]))) << i;

    std::vector<double> lower(s.problem->local_size()), upper(lower.size());
    s.problem->bounds(lower, upper);
    lower = s.whole(lower);
    upper = s.whole(upper);
    EXPECT_EQ(lower[0], -infinity);
    EXPECT_DOUBLE_EQ(lower[n_cathode], 0.1 / 0.2);
    EXPECT_DOUBLE_EQ(upper[n_cathode], 10 / 0.2);
    EXPECT_DOUBLE_EQ(upper[n_cathode + 1 + n_term], 1.01 / 0.001);
    EXPECT_DOUBLE_EQ(lower[n_cathode + 2 + n_term], 14.15 / 0.04);
    EXPECT_DOUBLE_EQ(upper.back(), 1.93 / (0.1 * 0.05));
    // f is that of the operator at the values.
    const double f = s.objective(y);
    EXPECT_GT(f, s.problem->last_misfit());
    s.op.set_point(changed, false);
    EXPECT_NEAR(world().allreduce(s.op.objective(s.data), mpi::Reduction::sum) /
                    s.problem->last_misfit(),
                1, 1e-6);
}

TEST(Problem, StartsWithinTheBounds) {
    const SmallScan& scan = small();
    dlsr::Operator whole = scan.make_operator();
    auto start = scan.values(whole);
    start[whole.offset(cathode_part, 0) + 3] = 3;
    start[whole.offset(cathode_part, 0) + 4] = 2;
    Spread s(world(), scan, all_voxel(scan), scan.values(whole), start);
    const auto values = copy_of(s.problem->values(s.problem->start()));
    EXPECT_NEAR(values[whole.offset(cathode_part, 0) + 3], 2.885, 1e-12);
    EXPECT_NEAR(values[whole.offset(cathode_part, 0) + 4], 2.855, 1e-12);
}

TEST(Problem, GradientOfTheObjective) {
    for (const auto& fields : {all_voxel(small()), mixed(small())}) {
        Spread s = spread(world(), fields);
        const auto x = s.start();
        const auto gradient = s.gradient(x);
        for (const unsigned seed : {0U, 1U, 2U}) {
            auto direction = random_numbers(x.size(), 10 + seed);
            for (std::size_t i = 0; i < x.size(); ++i) {
                if (seed > 0) // downhill
                    direction[i] = std::copysign(direction[i], -gradient[i]);
                if (seed == 2 && i + 3 < x.size()) // globals alone
                    direction[i] = 0;
            }
            const auto at = [&](double h) { return s.objective(moved(x, h, direction)); };
            const double h = 0.05;
            const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
            EXPECT_NEAR(::dot(gradient, direction) / slope, 1, 2e-3) << seed;
        }
    }
}

/// Neighbours along x and y within max_gap with nothing of the part between them.
struct Link {
    std::size_t a, b;
    double strength;
};
std::vector<Link> links(const dlsr::Operator& op, std::size_t part, std::size_t n,
                        std::size_t max_gap) {
    const auto& pixels = op.pixels(part);
    const auto voxel = [&](std::size_t x, std::size_t y) {
        return static_cast<std::size_t>(std::find(pixels.begin(), pixels.end(), y * n + x) -
                                        pixels.begin());
    };
    std::vector<Link> result;
    for (std::size_t a = 0; a < pixels.size(); ++a)
        for (const bool along_x : {true, false})
            for (std::size_t gap = 1; gap <= max_gap; ++gap) {
                const std::size_t x = pixels[a] % n + (along_x ? gap : 0),
                                  y = pixels[a] / n + (along_x ? 0 : gap);
                if (x >= n || y >= n)
                    break;
                const std::size_t b = voxel(x, y);
                if (b == pixels.size())
                    continue;
                result.push_back({a, b, 1 / static_cast<double>(gap)});
                break;
            }
    return result;
}

TEST(Problem, SmoothnessOfNeighboursAndAcrossGaps) {
    const SmallScan& scan = small();
    Spread s = spread(world(), all_voxel(scan));
    auto rough = all_voxel(scan);
    for (auto& field : rough)
        field.smoothness = 0;
    Spread plain = spread(world(), rough);
    auto x = moved(s.start(), 0.4, random_numbers(s.problem->size(), 5));
    const double cost = s.smoothness(x);
    EXPECT_EQ(plain.smoothness(x), 0);

    // Unknowns are values / unit: x differs by units.
    std::size_t first = 0;
    for (std::size_t p = 0; p < 4; ++p)
        first += s.op.pixels(p).size();
    const std::size_t n = s.op.pixels(cathode_part).size();
    double expected = 0;
    std::vector<double> slope(x.size(), 0.0), curve(x.size(), 0.0);
    const auto v = random_numbers(x.size(), 6);
    const auto near = links(s.op, cathode_part, scan.grid.n, 1),
               far = links(s.op, cathode_part, scan.grid.n, 4);
    ASSERT_GT(far.size(), near.size());
    for (const Link& link : near) {
        const std::size_t a = first + link.a, b = first + link.b;
        expected += 0.5 * 0.3 * (x[a] - x[b]) * (x[a] - x[b]);
        slope[a] += 0.3 * (x[a] - x[b]);
        slope[b] -= 0.3 * (x[a] - x[b]);
        curve[a] += 0.3 * (v[a] - v[b]);
        curve[b] -= 0.3 * (v[a] - v[b]);
    }
    int beyond = 0;
    for (const Link& link : far) {
        const std::size_t a = first + n + link.a, b = first + n + link.b;
        // d voxels apart a difference of d edges is as steep as one edge between neighbours.
        const double edge = 0.7 / link.strength, difference = x[a] - x[b];
        const double root = std::sqrt(1 + difference * difference / (edge * edge));
        beyond += std::abs(difference) > edge ? 1 : 0;
        expected += 0.4 * link.strength * edge * edge * (root - 1);
        const double pull = 0.4 * link.strength / root;
        slope[a] += pull * difference;
        slope[b] -= pull * difference;
        curve[a] += pull * (v[a] - v[b]); // the weight of lagged diffusivity
        curve[b] -= pull * (v[a] - v[b]);
    }
    EXPECT_GT(beyond, 5);
    EXPECT_NEAR(cost / expected, 1, 1e-10);

    auto gradient = s.gradient(x);
    const auto without = plain.gradient(x);
    EXPECT_LT(::distance(moved(gradient, -1, without), slope), 1e-6 * ::norm(gradient));
    s.linearise(x);
    plain.linearise(x);
    const auto product = s.product(v);
    EXPECT_LT(::distance(moved(product, -1, plain.product(v)), curve), 1e-6 * ::norm(product));

    s.problem->set_smoothness(4, 0.6, infinity);
    s.problem->set_smoothness(5, 0, infinity);
    double doubled = 0;
    for (const Link& link : near)
        doubled += 0.3 * std::pow(x[first + link.a] - x[first + link.b], 2);
    EXPECT_NEAR(s.smoothness(x) / doubled, 1, 1e-10);
}

TEST(Problem, FinenessCostsWhatAGridCannotHold) {
    const SmallScan& scan = small();
    Spread s = spread(world(), all_voxel(scan)), plain = spread(world(), all_voxel(scan));
    constexpr double weight = 0.7;
    s.problem->set_fineness(cathode_part, weight);
    const auto fine = [&](const std::vector<double>& x) {
        return s.smoothness(x) - plain.smoothness(x);
    };
    std::size_t first = 0;
    for (std::size_t p = 0; p < cathode_part; ++p)
        first += s.op.pixels(p).size();
    const std::size_t n = s.op.pixels(cathode_part).size();
    const auto near = links(s.op, cathode_part, scan.grid.n, 1);
    const auto x = moved(s.start(), 0.4, random_numbers(s.problem->size(), 5));
    std::vector<double> twice(x.begin() + static_cast<std::ptrdiff_t>(first),
                              x.begin() + static_cast<std::ptrdiff_t>(first + n));
    for (int round = 0; round < 2; ++round) {
        std::vector<double> next(n, 0.0);
        for (const Link& link : near) {
            next[link.a] += (twice[link.a] - twice[link.b]) / 5;
            next[link.b] -= (twice[link.a] - twice[link.b]) / 5;
        }
        twice = next;
    }
    double expected = 0;
    for (const double value : twice)
        expected += 0.5 * weight * value * value;
    EXPECT_NEAR(fine(x) / expected, 1, 1e-9);

    auto constant = x;
    std::fill_n(constant.begin() + static_cast<std::ptrdiff_t>(first), n, 3.0);
    EXPECT_NEAR(fine(constant), 0, 1e-9 * expected);

    // It is quadratic: the gradient's change along v is the product with v.
    const auto v = random_numbers(x.size(), 6);
    const auto slope_of = [&](const std::vector<double>& at) {
        return moved(s.gradient(at), -1, plain.gradient(at));
    };
    const auto change = moved(slope_of(moved(x, 1, v)), -1, slope_of(x));
    s.linearise(x);
    plain.linearise(x);
    auto product = s.product(v);
    EXPECT_LT(::distance(moved(product, -1, plain.product(v)), change), 1e-6 * ::norm(product));
    EXPECT_NEAR(fine(moved(x, 1, v)) - fine(x) - ::dot(slope_of(x), v) - 0.5 * ::dot(change, v), 0,
                1e-6 * expected);
    EXPECT_THROW(s.problem->set_fineness(cathode_part, -1), Error);
    EXPECT_THROW(s.problem->set_fineness(99, 1), Error);
}

TEST(Problem, SmoothnessMatchesThePriorThatMadeAField) {
    Spread s = spread(world(), all_voxel(small()));
    constexpr double information = 1e5, noise = 1, before = 0.3;
    s.problem->set_smoothness(cathode_part, before, infinity);
    // That of a voxel in a field of such a prior; noise hardly disturbs it.
    const auto roughness = [](double prior) { return 1 / prior; };
    for (const double prior : {before / 5, before, before * 5})
        EXPECT_NEAR(
            s.problem->matching_smoothness(cathode_part, roughness(prior), information, noise) /
                prior,
            1, 0.05);
    // Noise alone asks for the strongest prior in reach, what is rougher than any for the weakest.
    EXPECT_NEAR(s.problem->matching_smoothness(cathode_part, 0, information, noise), before * 30,
                1e-9 * before);
    EXPECT_NEAR(s.problem->matching_smoothness(cathode_part, 1e9, information, noise), before / 30,
                1e-9 * before);
}

TEST(Problem, RoughnessIsThatOfTypicalNeighbours) {
    const SmallScan scan({.n = 32, .rotations = 6, .channels = 60, .range = 360, .layers = 7});
    Spread s = spread(world(), all_voxel(scan), scan);
    std::size_t first = 0;
    for (std::size_t p = 0; p < cathode_part; ++p)
        first += s.op.pixels(p).size();
    const std::size_t n = s.op.pixels(cathode_part).size();
    auto x = s.start();
    std::mt19937_64 random(3);
    std::normal_distribution<double> normal(0, 0.5);
    for (std::size_t v = 0; v < n; ++v)
        x[first + v] = normal(random);
    const auto pairs = static_cast<double>(links(s.op, cathode_part, scan.grid.n, 1).size());
    const double expected = 2 * 0.25 * pairs / static_cast<double>(n);
    EXPECT_NEAR(s.problem->roughness(cathode_part, s.share(x)) / expected, 1, 0.25);
    // A border does not count.
    for (std::size_t v = 0; v < n; ++v)
        x[first + v] += v < n / 2 ? 100 : 0;
    EXPECT_NEAR(s.problem->roughness(cathode_part, s.share(x)) / expected, 1, 0.4);
    std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(first), n, 1.0);
    EXPECT_EQ(s.problem->roughness(cathode_part, s.share(x)), 0);
}

TEST(Problem, SmoothnessAloneOfAStepAndAConstant) {
    // With an edge a step costs less than quadratically, a constant nothing.
    const SmallScan& scan = small();
    Spread s = spread(world(), all_voxel(scan));
    auto x = s.start();
    const std::size_t n = s.op.pixels(cathode_part).size();
    const std::size_t first = x.size() - 3 - 2 * n;
    std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(first), n, 2.87 / 0.005);
    std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(first + n), n, 14.2 / 0.04);
    EXPECT_EQ(s.smoothness(x), 0);
    x[first + n] += 10;
    const double at_ten = s.smoothness(x);
    x[first + n] += 10;
    const double at_twenty = s.smoothness(x);
    EXPECT_NEAR(at_twenty / at_ten, 2, 0.15);
}

TEST(Problem, ProductsStayAtTheLinearisation) {
    Spread s = spread(world(), all_voxel(small()));
    const auto x = s.start(), v = random_numbers(x.size(), 7);
    s.gradient(x);
    s.linearise(x);
    const auto product = s.product(v), preconditioned = s.precondition(v);
    const auto elsewhere = moved(x, 0.5, random_numbers(x.size(), 8));
    s.objective(elsewhere);
    EXPECT_EQ(s.product(v), product);
    s.gradient(elsewhere);
    EXPECT_EQ(s.precondition(v), preconditioned);
    EXPECT_EQ(s.product(v), product);
    s.linearise(elsewhere);
    EXPECT_GT(::distance(s.product(v), product), 1e-3 * ::norm(product));
}

/// Whole trial that a step from x leads to.
std::vector<double> retracted(Spread& s, const std::vector<double>& x,
                              const std::vector<double>& trial) {
    auto own = s.share(trial);
    s.problem->retract(s.share(x), own);
    return s.whole(own);
}

TEST(Problem, ShapesMoveByWhatTheAmountsBecome) {
    Fields fields = all_voxel(small());
    fields[4].smoothness = 0; // a of the cathode: the data alone say
    Spread s = spread(world(), fields), alone = spread(self(), fields);
    const auto x = s.start();
    // Before there is a linearisation nothing is known.
    auto step = random_numbers(x.size(), 5);
    EXPECT_EQ(retracted(s, x, moved(x, 0.1, step)), moved(x, 0.1, step));
    s.linearise(x);
    alone.linearise(x);

    const auto amounts = s.problem->field_unknowns(0), shapes = s.problem->field_unknowns(4),
               smooth = s.problem->field_unknowns(5);
    ASSERT_EQ(amounts.size(), shapes.size());
    // Ten times shorter steps are changed a hundred times less.
    const auto change = [&](double h) {
        const auto trial = moved(x, h, step);
        return ::distance(retracted(s, x, trial), trial);
    };
    EXPECT_GT(change(0.1), 0);
    EXPECT_NEAR(change(1e-3) / change(1e-2), 0.01, 1e-3);

    const auto trial = moved(x, 0.2, step), there = retracted(s, x, trial);
    const auto same = retracted(alone, x, trial);
    EXPECT_LT(::distance(there, same), 1e-6 * ::norm(step));
    for (std::size_t i = 0; i < x.size(); ++i)
        if ((i < shapes.begin || i >= shapes.end) && (i < smooth.begin || i >= smooth.end)) {
            EXPECT_EQ(there[i], trial[i]) << i;
        }
    int told = 0;
    for (std::size_t v = 0; v < shapes.size(); ++v) {
        const double before = x[amounts.begin + v], after = trial[amounts.begin + v];
        if (std::abs(before) < 0.5 || std::abs(after) < 0.5)
            continue;
        const std::size_t i = shapes.begin + v;
        const double meant = before * (trial[i] - x[i]);
        EXPECT_LT(std::abs(after * (there[i] - x[i]) - meant),
                  0.8 * std::abs(after * (trial[i] - x[i]) - meant))
            << v;
        ++told;
    }
    EXPECT_GT(told, 10);

    // An amount that nearly vanishes does not throw its shape out of the range.
    auto far = x;
    for (std::size_t v = 0; v < shapes.size(); ++v) {
        far[amounts.begin + v] = -1e-3;
        far[shapes.begin + v] += 0.5;
    }
    const auto held = retracted(s, x, far);
    const double unit = fields[4].unit;
    for (std::size_t i = shapes.begin; i < shapes.end; ++i) {
        EXPECT_GE(held[i], 2.855 / unit - 1e-9);
        EXPECT_LE(held[i], 2.885 / unit + 1e-9);
        EXPECT_LT(std::abs(held[i] - x[i]), 40);
    }
}

TEST(Problem, RetractedStepsKeepWhatTheyPromise) {
    // Amounts grow several times, as where a phase was not expected.
    Fields fields = all_voxel(small());
    fields[4].smoothness = fields[5].smoothness = 0;
    Spread s = spread(self(), fields);
    auto x = s.start();
    const auto amounts = s.problem->field_unknowns(0), shapes = s.problem->field_unknowns(4);
    s.linearise(x);
    auto trial = x;
    for (std::size_t v = 0; v < amounts.size(); v += 3) {
        trial[amounts.begin + v] = 4 * x[amounts.begin + v];
        trial[shapes.begin + v] += v % 2 == 0 ? 1 : -1;
    }
    const auto predicted = [&] {
        std::vector<double> step(x.size());
        for (std::size_t i = 0; i < x.size(); ++i)
            step[i] = trial[i] - x[i];
        return s.objective(x) + dot(s.gradient(x), step) + 0.5 * dot(s.product(step), step);
    }();
    const double plain = s.objective(trial), moved_there = s.objective(retracted(s, x, trial));
    EXPECT_LT(std::abs(moved_there - predicted), 0.3 * std::abs(plain - predicted))
        << plain << " " << moved_there << " " << predicted;
}

TEST(Problem, DataMayBeReplaced) {
    Spread s = spread(world(), all_voxel(small()));
    const auto x = s.start();
    EXPECT_GT(s.objective(x), 0);
    s.op.set_point(s.problem->values(s.share(x)), false);
    std::vector<float> own(s.op.coefficient_count());
    s.op.predict(own);
    s.problem->set_data(own);
    s.objective(x);
    EXPECT_LT(s.problem->last_misfit(), 1e-9 * test::dot(own, own));
    EXPECT_THROW(s.problem->set_data(std::span(own).first(own.size() - 1)), Error);
}

/// Columns of a linear map.
Eigen::MatrixXd columns(std::size_t n,
                        const std::function<std::vector<double>(const std::vector<double>&)>& map) {
    Eigen::MatrixXd matrix(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(n));
    for (std::size_t i = 0; i < n; ++i) {
        std::vector<double> unit(n, 0.0);
        unit[i] = 1;
        const auto column = map(unit);
        matrix.col(static_cast<Eigen::Index>(i)) =
            Eigen::Map<const Eigen::VectorXd>(column.data(), static_cast<Eigen::Index>(n));
    }
    return matrix;
}

TEST(Problem, PreconditionerIsSymmetricAndPositive) {
    const SmallScan scan({.n = 6, .rotations = 5, .channels = 60, .layers = 9});
    for (const auto& fields : {all_voxel(scan), mixed(scan)}) {
        Spread s = spread(world(), fields, scan);
        const auto x = moved(s.start(), 0.1, random_numbers(s.problem->size(), 9));
        s.linearise(x);
        const std::size_t n = x.size();
        const Eigen::MatrixXd p = columns(n, [&](const auto& v) { return s.precondition(v); });
        // In the scale of its own diagonal.
        ASSERT_GT(p.diagonal().minCoeff(), 0);
        const Eigen::VectorXd size = p.diagonal().cwiseSqrt().cwiseInverse();
        const Eigen::MatrixXd scaled = size.asDiagonal() * p * size.asDiagonal();
        EXPECT_LT((scaled - scaled.transpose()).norm(), 1e-5 * scaled.norm());
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(0.5 *
                                                                   (scaled + scaled.transpose()));
        EXPECT_GT(eigen.eigenvalues().minCoeff(), 1e-4 * eigen.eigenvalues().maxCoeff());

        // And M resembles H: what is to be inverted is better conditioned than by the diagonal.
        const Eigen::MatrixXd h = columns(n, [&](const auto& v) { return s.product(v); });
        EXPECT_LT((h - h.transpose()).norm(), 1e-5 * h.norm());
        const auto ratio = [&](const Eigen::MatrixXd& inverse) {
            const Eigen::MatrixXd root = inverse.llt().matrixL();
            const Eigen::VectorXd values = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(
                                               root.transpose() * (h + h.transpose()) * root)
                                               .eigenvalues();
            return values.maxCoeff() / values.minCoeff();
        };
        const Eigen::MatrixXd diagonal = h.diagonal().cwiseInverse().asDiagonal();
        EXPECT_LT(ratio(0.5 * (p + p.transpose())), 0.5 * ratio(diagonal));
    }
}

TEST(Problem, ManyUnknownsInAPixel) {
    SmallScan scan({.n = 3, .rotations = 4, .layers = 2});
    scan.model.set_background(65);
    std::vector<rietveld::PatternPart> parts;
    Fields fields;
    scan.pixels.clear();
    for (std::size_t p = 0; p < 65; ++p) {
        parts.push_back({rietveld::PatternPart::Kind::background, p, {}, {}});
        scan.pixels.push_back({0, 4, 5});
        fields.push_back({.part = p, .lower = -infinity, .upper = infinity});
    }
    scan.basis = std::make_unique<rietveld::PatternBasis>(
        scan.axis, scan.model, parts, std::vector<double>(scan.axis.size(), 1.0),
        rietveld::PatternBasisOptions{});
    scan.layers = {};
    dlsr::Operator whole = scan.make_operator();
    const std::vector<double> values(whole.value_count(), 1.0);
    EXPECT_THROW(Spread(world(), scan, fields, values, values), Error);
    fields.back().treatment = dlsr::FieldTreatment::fixed;
    Spread s(world(), scan, fields, values, values);
    ASSERT_EQ(s.problem->size(), 192U);
    s.linearise(s.start());
    const auto v = random_numbers(192, 1), w = random_numbers(192, 2);
    const auto pv = s.precondition(v), pw = s.precondition(w);
    EXPECT_NEAR(::dot(v, pw), ::dot(w, pv), 1e-5 * ::norm(v) * ::norm(pw));
    EXPECT_GT(::dot(v, pv), 0);
}

TEST(Problem, AssembledJacobianGivesTheSameProducts) {
    const SmallScan scan({.n = 6, .rotations = 5, .channels = 60, .layers = 9});
    for (const auto& fields : {all_voxel(scan), mixed(scan)}) {
        Spread s = spread(world(), fields, scan);
        const auto x = moved(s.start(), 0.1, random_numbers(s.problem->size(), 9));
        s.linearise(x);
        const std::size_t n = x.size(), m = scan.basis->size();
        // Columns of ∂values/∂x by the values, which are linear in x.
        const auto origin = copy_of(s.problem->values(s.share(x)));
        s.op.set_point(origin, true);
        std::vector<test::JacobianEntry> entries;
        std::vector<float> rays(s.op.coefficient_count());
        for (std::size_t i = 0; i < n; ++i) {
            auto next = x;
            next[i] += 1;
            const auto values = copy_of(s.problem->values(s.share(next)));
            std::vector<float> direction(values.size());
            for (std::size_t k = 0; k < values.size(); ++k)
                direction[k] = static_cast<float>(values[k] - origin[k]);
            s.op.jacobian(direction, rays);
            for (std::size_t k = 0; k < rays.size(); ++k)
                if (rays[k] != 0) {
                    const std::size_t ray =
                        s.rotations.begin * scan.geometry.translation.size() + k / m;
                    entries.push_back({k, i, std::sqrt(scan.weight[ray]) * rays[k]});
                }
        }
        std::size_t rows = rays.size();
        if (world().is_root()) {
            std::size_t first = 0;
            for (const auto& field : fields) {
                const std::size_t count = s.op.pixels(field.part).size();
                if (field.treatment == dlsr::FieldTreatment::voxel && field.smoothness > 0)
                    for (const Link& link : links(s.op, field.part, scan.grid.n, field.max_gap)) {
                        const double edge = field.edge / link.strength,
                                     difference = x[first + link.a] - x[first + link.b];
                        const double root =
                            std::sqrt(field.smoothness * link.strength /
                                      std::sqrt(1 + difference * difference / (edge * edge)));
                        entries.push_back({rows, first + link.a, root});
                        entries.push_back({rows++, first + link.b, -root});
                    }
                if (field.treatment == dlsr::FieldTreatment::voxel)
                    first += count;
                else if (field.treatment == dlsr::FieldTreatment::scaled)
                    first += 1;
            }
        }
        EXPECT_LT(entries.size(), rows * n / 2);
        const petsc::Session session(world());
        const test::AssembledNormalMatrix matrix(session, world(), rows, s.problem->local_size(),
                                                 entries);
        for (unsigned seed = 0; seed < 3; ++seed) {
            const auto v = random_numbers(n, 20 + seed);
            std::vector<double> own(s.problem->local_size());
            matrix.normal_product(s.share(v), own);
            const auto expected = s.whole(own);
            EXPECT_LT(::distance(s.product(v), expected), 1e-5 * ::norm(expected));
        }
    }
}

TEST(Problem, RecoversThePhantomItMade) {
    const SmallScan scan({.n = 6, .rotations = 12, .layers = 15, .globals = false});
    Fields fields = all_voxel(scan);
    for (auto& field : fields)
        field.smoothness = 0;
    const dlsr::Operator whole = scan.make_operator();
    const auto truth = scan.values(whole), start = scan.perturbed(whole, 0.1, 30),
               size = scan.scale(whole);
    Spread s(world(), scan, fields, truth, start);
    const petsc::Session session(world());
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = 40;
    options.objective_tolerance = 0;
    options.gradient_tolerance = 1e-6;
    options.linear_tolerance = 1e-4;
    options.linear_max_iterations = 400;
    options.objective_noise = 1e-7;
    petsc::BoundedGaussNewton solver(session, world(), *s.problem, s.problem->start(), options);
    petsc::StepReport report;
    double first = 0;
    for (int k = 0; k < 40 && report.reason == petsc::StopReason::none; ++k) {
        report = solver.step();
        if (k == 0)
            first = report.objective;
    }
    const auto found = copy_of(s.problem->values(solver.x()));
    double before = 0, after = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        before += std::pow((start[i] - truth[i]) / size[i], 2);
        after += std::pow((found[i] - truth[i]) / size[i], 2);
    }
    EXPECT_LT(std::sqrt(after / before), 1e-4)
        << petsc::describe(report.reason) << " after " << report.iteration << " steps, f " << first
        << " to " << report.objective;
    EXPECT_LE(report.iteration, 12);
}

// Amounts of a ring of textured particles, and their March coefficient, from data that a model with
// texture predicts; without texture the amounts err and the misfit stays.
TEST(Problem, TextureIsFoundAndMissed) {
    const SmallScanOptions options{
        .n = 7, .rotations = 24, .distance = infinity, .layers = 1, .march = 0.75};
    auto without = options;
    without.march = 1;
    const SmallScan scan(options), plain(without);
    Fields fields = all_voxel(scan);
    fields.resize(4);
    fields[peak_part].treatment = fields[term_part].treatment = dlsr::FieldTreatment::fixed;
    for (std::size_t p : {cathode_part, metal_part})
        fields[p].smoothness = 0;
    const dlsr::Operator whole = scan.make_operator();
    const auto truth = scan.values(whole);
    auto start = truth;
    for (std::size_t v = 0; v < whole.pixels(cathode_part).size(); ++v)
        start[whole.offset(cathode_part) + v] = scan.unit_amount[cathode_part];
    // The March coefficient is the second global parameter of the cathode.
    const std::size_t march = whole.global_offset() + 1;
    start[march] += 0.06;
    const petsc::Session session(world());
    const auto fit = [&](dlsr::Operator& op, const SmallScan& of, const std::vector<float>& data,
                         const std::vector<double>& from) {
        const auto rotations =
            mpi::block_range(of.geometry.rotation.size(), static_cast<std::size_t>(world().size()),
                             static_cast<std::size_t>(world().rank()));
        dlsr::Problem problem(world(), op, of.grid, of.part_geometry(rotations), data, fields,
                              globals_of(of), from);
        petsc::BoundedGaussNewtonOptions solver_options;
        solver_options.max_iterations = 20;
        solver_options.objective_tolerance = 0;
        solver_options.gradient_tolerance = 1e-5;
        solver_options.linear_tolerance = 1e-4;
        solver_options.linear_max_iterations = 200;
        solver_options.objective_noise = 1e-7;
        petsc::BoundedGaussNewton solver(session, world(), problem, problem.start(),
                                         solver_options);
        while (solver.step().reason == petsc::StopReason::none) {
        }
        problem.objective(solver.x());
        return std::pair(copy_of(problem.values(solver.x())), problem.last_misfit());
    };
    const auto rotations =
        mpi::block_range(scan.geometry.rotation.size(), static_cast<std::size_t>(world().size()),
                         static_cast<std::size_t>(world().rank()));
    dlsr::Operator op = scan.make_operator(rotations), other = plain.make_operator(rotations);
    op.set_point(truth, false);
    std::vector<float> data(op.coefficient_count());
    op.predict(data);
    const std::size_t m = scan.basis->size(), channels = scan.axis.size(), rays = op.ray_count();
    std::vector<float> patterns(rays * channels), plain_data(rays * plain.basis->size());
    scan.basis->expand(data, patterns);
    for (std::size_t r = 0; r < rays; ++r)
        plain.basis->compress({patterns.data() + r * channels, channels},
                              {plain_data.data() + r * plain.basis->size(), plain.basis->size()});
    double square = 0;
    for (std::size_t r = 0; r < rays; ++r)
        for (std::size_t i = 0; i < m; ++i)
            square += 0.5 * std::pow(data[r * m + i], 2);
    square = world().allreduce(square, mpi::Reduction::sum);

    const auto [found, misfit] = fit(op, scan, data, start);
    auto plain_start = start;
    plain_start.erase(plain_start.begin() + static_cast<std::ptrdiff_t>(march));
    const auto [missed, plain_misfit] = fit(other, plain, plain_data, plain_start);
    double error = 0, plain_error = 0;
    const std::size_t first = whole.offset(cathode_part), count = whole.pixels(cathode_part).size();
    for (std::size_t v = first; v < first + count; ++v) {
        error += std::pow(found[v] / truth[v] - 1, 2) / static_cast<double>(count);
        plain_error += std::pow(missed[v] / truth[v] - 1, 2) / static_cast<double>(count);
    }
    EXPECT_LT(std::sqrt(error), 1e-3);
    EXPECT_NEAR(found[march], truth[march], 2e-4);
    EXPECT_GT(std::sqrt(plain_error), 0.05);
    EXPECT_LT(misfit, 1e-7 * square);
    EXPECT_GT(plain_misfit, 4e-4 * square);
    EXPECT_GT(plain_misfit, 5000 * misfit);
    testing::Test::RecordProperty("figures", fmt::format("{} {} {} {}", std::sqrt(error),
                                                         std::sqrt(plain_error), misfit / square,
                                                         plain_misfit / square));
}

std::string message(const std::function<void(Fields&, std::vector<dlsr::Global>&,
                                             std::vector<double>&, std::vector<float>&)>& spoil) {
    static const SmallScan scan({.n = 4, .rotations = 4, .channels = 60, .layers = 3});
    const auto rotations = mpi::block_range(4, static_cast<std::size_t>(world().size()),
                                            static_cast<std::size_t>(world().rank()));
    dlsr::Operator op = scan.make_operator(rotations);
    auto fields = all_voxel(scan);
    auto globals = globals_of(scan);
    auto values = scan.values(op);
    std::vector<float> data(op.coefficient_count());
    spoil(fields, globals, values, data);
    try {
        const dlsr::Problem problem(world(), op, scan.grid, scan.part_geometry(rotations), data,
                                    fields, globals, values);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(Problem, BadInput) {
    using Globals = std::vector<dlsr::Global>;
    using Values = std::vector<double>;
    EXPECT_EQ(message([](auto&...) {}), "no error");
    // One rank's mistake is everybody's error.
    EXPECT_THAT(message([](Fields&, Globals&, Values&, std::vector<float>& d) {
                    if (world().rank() == world().size() - 1)
                        d.pop_back();
                }),
                HasSubstr("wrong sizes"));
    EXPECT_THAT(message([](Fields&, Globals&, Values& v, auto&) { v.pop_back(); }),
                HasSubstr("wrong sizes"));
    EXPECT_THAT(message([](Fields&, Globals& g, Values&, auto&) { g.pop_back(); }),
                HasSubstr("wrong sizes"));
    EXPECT_THAT(message([](Fields&, Globals& g, Values&, auto&) { g[0].unit = 0; }),
                HasSubstr("global parameter without a unit"));
    EXPECT_THAT(message([](Fields&, Globals& g, Values&, auto&) { g[1].upper = g[1].lower; }),
                HasSubstr("global parameter without a unit or range"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[0].part = 4; }),
                HasSubstr("does not exist"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[4].shape = 2; }),
                HasSubstr("does not exist"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[1].shape = 0; }),
                HasSubstr("does not exist"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[0].unit = -1; }),
                HasSubstr("without a unit"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[0].lower = infinity; }),
                HasSubstr("bounds that exclude each other"));
}

TEST(Problem, GridOfAnotherSize) {
    Spread s = spread(world(), all_voxel(small()));
    EXPECT_THROW(dlsr::Problem(world(), s.op, {9, 1}, s.scan.part_geometry(s.rotations), s.data,
                               all_voxel(small()), globals_of(small()), small().values(s.op)),
                 Error);
}

TEST(Problem, BadFields) {
    using Globals = std::vector<dlsr::Global>;
    using Values = std::vector<double>;
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[5].edge = 0; }),
                HasSubstr("smoothness"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[5].smoothness = -1; }),
                HasSubstr("smoothness"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) {
                    f[5].smoothness = std::numeric_limits<double>::quiet_NaN();
                }),
                HasSubstr("smoothness"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[5] = f[4]; }),
                HasSubstr("twice"));
    EXPECT_THAT(message([](Fields& f, Globals&, Values&, auto&) { f[4].shape = -2; }),
                HasSubstr("does not exist"));
    EXPECT_EQ(dlsr::Field{}.edge, infinity);
    Spread s = spread(world(), all_voxel(small()));
    EXPECT_THROW(s.problem->set_smoothness(4, 1, 0), Error);
    EXPECT_THROW(s.problem->set_smoothness(4, -1, 1), Error);
    EXPECT_THROW(s.problem->set_smoothness(6, 1, 1), Error);
}

} // namespace
