// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/bounded_gauss_newton.hpp"

#include "base/error.hpp"
#include "dense_problem.hpp"
#include "support/assembled_normal_matrix.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace {

using namespace xrdct;
using namespace xrdct::petsc;
using test::DenseProblem;
using testing::HasSubstr;

const mpi::Communicator& world() {
    static const mpi::Communicator communicator = mpi::Communicator::world();
    return communicator;
}

struct Outcome {
    Eigen::VectorXd x;
    StepReport last;
    int linear_iterations = 0;
    int rejected = 0, non_finite = 0;
    EvaluationCounts evaluations;
};

StepReport finish(BoundedGaussNewton& solver, Outcome& outcome) {
    for (int k = 0; k < 1000; ++k) {
        outcome.last = solver.step();
        outcome.linear_iterations += outcome.last.linear_iterations;
        outcome.rejected += outcome.last.rejected_trials;
        outcome.non_finite += outcome.last.non_finite_trials;
        if (outcome.last.reason != StopReason::none)
            return outcome.last;
    }
    ADD_FAILURE() << "no end";
    return outcome.last;
}

Outcome solve(DenseProblem& problem, const Eigen::VectorXd& start,
              const BoundedGaussNewtonOptions& options = {}, std::string_view petsc = {},
              const mpi::Communicator& communicator = world()) {
    const Session session(world(), petsc);
    BoundedGaussNewton solver(session, communicator, problem, problem.own(start), options);
    Outcome outcome;
    finish(solver, outcome);
    outcome.x = problem.whole(solver.x());
    outcome.evaluations = solver.evaluations();
    return outcome;
}

BoundedGaussNewtonOptions tight() {
    BoundedGaussNewtonOptions options;
    options.max_iterations = 300;
    options.gradient_tolerance = 1e-11;
    options.objective_tolerance = 0;
    options.linear_tolerance = 1e-8;
    return options;
}

/// Minimum of ½‖A x − b‖² in a box by cyclic coordinate descent.
Eigen::VectorXd box_reference(const Eigen::MatrixXd& a, const Eigen::VectorXd& b,
                              const Eigen::VectorXd& lower, const Eigen::VectorXd& upper) {
    const Eigen::MatrixXd h = a.transpose() * a;
    const Eigen::VectorXd c = a.transpose() * b;
    Eigen::VectorXd x = Eigen::VectorXd::Zero(a.cols()).cwiseMax(lower).cwiseMin(upper);
    for (int sweep = 0; sweep < 20000; ++sweep)
        for (Eigen::Index i = 0; i < x.size(); ++i)
            x[i] = std::clamp(x[i] + (c[i] - h.row(i).dot(x)) / h(i, i), lower[i], upper[i]);
    return x;
}

struct Box {
    Eigen::MatrixXd a = test::random_matrix(60, 24, 3);
    Eigen::VectorXd b = test::random_matrix(60, 1, 4) * 3;
    Eigen::VectorXd lower = Eigen::VectorXd::Constant(24, 0);
    Eigen::VectorXd upper = Eigen::VectorXd::Constant(24, 0.4);
    std::unique_ptr<DenseProblem> problem(const mpi::Communicator& communicator = world()) const {
        auto made = std::make_unique<DenseProblem>(communicator, 24, test::linear(a, b));
        made->lower = lower;
        made->upper = upper;
        return made;
    }
};

TEST(BoundedGaussNewton, FindsTheMinimumOfRosenbrock) {
    DenseProblem problem(world(), 20, test::rosenbrock());
    const Outcome outcome = solve(problem, Eigen::VectorXd::Constant(20, -1.2), tight());
    EXPECT_EQ(outcome.last.reason, StopReason::gradient);
    EXPECT_LT((outcome.x.array() - 1).abs().maxCoeff(), 1e-8);
    EXPECT_LT(outcome.last.iteration, 40);
}

/// Knows the curvature of Rosenbrock's valley: steps go along it.
class CurvedRosenbrock : public DenseProblem {
  public:
    CurvedRosenbrock() : DenseProblem(world(), 8, test::rosenbrock()) {}
    void retract(std::span<const double> base, std::span<double> trial) override {
        hook("retract");
        const Eigen::VectorXd from = whole(base);
        Eigen::VectorXd to = whole(trial);
        for (Eigen::Index i = 0; i < to.size(); i += 2)
            to[i + 1] += (to[i] - from[i]) * (to[i] - from[i]);
        const auto mine = own(to);
        std::copy(mine.begin(), mine.end(), trial.begin());
    }
};

TEST(BoundedGaussNewton, RetractsItsTrials) {
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(8, -1.2);
    auto options = tight();
    options.initial_trust_radius = 1e6;
    DenseProblem plain(world(), 8, test::rosenbrock());
    const auto straight = solve(plain, start, options);
    CurvedRosenbrock curved;
    const auto along = solve(curved, start, options);
    EXPECT_LT((along.x - Eigen::VectorXd::Ones(8)).norm(), 1e-8);
    EXPECT_EQ(along.rejected, 0);
    EXPECT_LE(along.last.iteration, 3);
    EXPECT_GT(straight.last.iteration + straight.rejected, along.last.iteration);
    // What it says of the point is true of the retracted one.
    EXPECT_NEAR(along.last.objective, plain.objective(plain.own(along.x)), 1e-14);
}

TEST(BoundedGaussNewton, ARetractionThatFailsEndsTheFit) {
    CurvedRosenbrock problem;
    problem.hook = [](const std::string& name) {
        if (name == "retract")
            throw Error("no way along there");
    };
    const Session session(world());
    BoundedGaussNewton solver(session, world(), problem,
                              problem.own(Eigen::VectorXd::Constant(8, -1.2)), tight());
    EXPECT_THAT([&] { solver.step(); },
                testing::ThrowsMessage<Error>(HasSubstr("no way along there")));
}

TEST(BoundedGaussNewton, KeepsBoundsOfRosenbrock) {
    DenseProblem problem(world(), 20, test::rosenbrock());
    problem.lower.setConstant(-2);
    for (Eigen::Index i = 0; i < 20; i += 2)
        problem.upper[i] = 0.8;
    const Outcome outcome = solve(problem, Eigen::VectorXd::Constant(20, -1.2), tight());
    EXPECT_TRUE(is_converged(outcome.last.reason)) << describe(outcome.last.reason);
    for (Eigen::Index i = 0; i < 20; i += 2) {
        EXPECT_EQ(outcome.x[i], 0.8);
        EXPECT_NEAR(outcome.x[i + 1], 0.64, 1e-8);
    }
}

TEST(BoundedGaussNewton, FindsTheActiveSetOfALinearProblem) {
    const Box box;
    const Eigen::VectorXd expected = box_reference(box.a, box.b, box.lower, box.upper);
    const auto problem = box.problem();
    const Outcome outcome = solve(*problem, Eigen::VectorXd::Constant(24, 0.2), tight());
    EXPECT_TRUE(is_converged(outcome.last.reason)) << describe(outcome.last.reason);
    int active = 0;
    for (Eigen::Index i = 0; i < 24; ++i) {
        EXPECT_NEAR(outcome.x[i], expected[i], 1e-9) << i;
        EXPECT_EQ(outcome.x[i] == box.lower[i], expected[i] == box.lower[i]) << i;
        EXPECT_EQ(outcome.x[i] == box.upper[i], expected[i] == box.upper[i]) << i;
        active += expected[i] == box.lower[i] || expected[i] == box.upper[i] ? 1 : 0;
    }
    EXPECT_GT(active, 4);
    EXPECT_LT(active, 20);
}

TEST(BoundedGaussNewton, OtherVariantsAgree) {
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(20, -1.2);
    DenseProblem problem(world(), 20, test::rosenbrock());
    for (Eigen::Index i = 0; i < 20; i += 4)
        problem.upper[i] = 0.8;
    const Outcome expected = solve(problem, start, tight());
    ASSERT_EQ(expected.x[0], 0.8);
    for (const char* petsc :
         {"-tao_type bnls", "-tao_type bntl", "-tao_bnk_init_type interpolation",
          "-tao_bnk_init_type direction", "-tao_bnk_max_cg_its 3", "-tao_bnk_as_type none",
          "-ksp_type gltr", "-ksp_type nash", "-tao_trust0 0.1"}) {
        const Outcome outcome = solve(problem, start, tight(), petsc);
        EXPECT_LT((outcome.x - expected.x).norm(), 1e-7)
            << petsc << ": " << describe(outcome.last.reason);
    }
}

TEST(BoundedGaussNewton, MeetsTheOptimalityConditionsOfManyBoxes) {
    constexpr Eigen::Index n = 120;
    for (unsigned seed = 1; seed <= 12; ++seed) {
        Eigen::MatrixXd a = test::random_matrix(150, n, seed);
        for (Eigen::Index i = 0; i < n; ++i)
            a.col(i) *= std::pow(10.0, static_cast<double>((i * 37) % n) / n);
        DenseProblem problem(world(), n,
                             test::linear(a, 10 * test::random_matrix(150, 1, seed + 100)),
                             DenseProblem::Preconditioner::diagonal);
        problem.lower.setZero();
        problem.upper.setConstant(0.3);
        BoundedGaussNewtonOptions options;
        options.gradient_tolerance = 1e-8;
        options.objective_tolerance = 0;
        const Outcome outcome = solve(problem, Eigen::VectorXd::Constant(n, 0.1), options);
        EXPECT_EQ(outcome.last.reason, StopReason::gradient)
            << seed << ": " << describe(outcome.last.reason) << " after " << outcome.last.iteration;
        EXPECT_TRUE((outcome.x.array() >= 0).all() && (outcome.x.array() <= 0.3).all());
        EXPECT_LE(outcome.evaluations.objective_and_gradient, 40) << seed;
        RecordProperty("steps_" + std::to_string(seed), outcome.last.iteration);
    }
}

TEST(BoundedGaussNewton, EndsEarlyOnANoisyObjective) {
    // Like a model in single precision: f is right to 1e-7 only.
    const Box box;
    const auto run = [&](double noise) {
        DenseProblem problem(
            world(), 24,
            [&](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
                r = box.a * x - box.b;
                r *= 1 + 1e-7 * std::sin(1e9 * x.sum());
                if (jacobian != nullptr)
                    *jacobian = box.a;
            });
        problem.lower = box.lower;
        problem.upper = box.upper;
        BoundedGaussNewtonOptions options = tight();
        options.objective_tolerance = 1e-6;
        options.objective_noise = noise;
        return solve(problem, Eigen::VectorXd::Constant(24, 0.2), options);
    };
    const Outcome told = run(1e-6);
    EXPECT_TRUE(is_converged(told.last.reason)) << describe(told.last.reason);
    EXPECT_EQ(told.rejected, 0);
    EXPECT_LT((told.x - box_reference(box.a, box.b, box.lower, box.upper)).norm(), 1e-3);
    // Not told, it ends all the same.
    EXPECT_LE(run(0).evaluations.objective_and_gradient, 60);
}

TEST(BoundedGaussNewton, HoldsUnknownsWithEqualBounds) {
    const Box box;
    const auto problem = box.problem();
    problem->lower[5] = problem->upper[5] = 0.25;
    const Outcome outcome = solve(*problem, Eigen::VectorXd::Constant(24, 0.2), tight());
    Eigen::VectorXd lower = problem->lower, upper = problem->upper;
    EXPECT_EQ(outcome.x[5], 0.25);
    EXPECT_LT((outcome.x - box_reference(box.a, box.b, lower, upper)).norm(), 1e-8);
}

TEST(BoundedGaussNewton, StopsAtOnceWhenAllUnknownsAreAtTheirBounds) {
    const Eigen::MatrixXd a = Eigen::MatrixXd::Identity(6, 6);
    DenseProblem problem(world(), 6, test::linear(a, Eigen::VectorXd::Constant(6, -1)));
    problem.lower.setZero();
    const Outcome at = solve(problem, Eigen::VectorXd::Zero(6));
    EXPECT_EQ(at.last.reason, StopReason::gradient);
    EXPECT_EQ(at.last.iteration, 0);
    EXPECT_EQ(at.evaluations.objective_and_gradient, 1);
    // Within the tolerance of the bounds, yet not on them: no unknown counts as free.
    const Outcome near = solve(problem, Eigen::VectorXd::Constant(6, 1e-7));
    EXPECT_EQ(near.last.reason, StopReason::gradient);
    EXPECT_EQ(near.x, Eigen::VectorXd::Zero(6));
}

TEST(BoundedGaussNewton, PreconditionerSavesIterations) {
    Eigen::MatrixXd a = test::random_matrix(80, 30, 7);
    for (Eigen::Index i = 0; i < 30; ++i)
        a.col(i) *= std::pow(10.0, 3.0 * static_cast<double>(i) / 29.0);
    const Eigen::VectorXd truth = test::random_matrix(30, 1, 8);
    const auto run = [&](DenseProblem::Preconditioner kind, std::string_view petsc) {
        DenseProblem problem(world(), 30, test::linear(a, a * truth), kind);
        BoundedGaussNewtonOptions options = tight();
        options.gradient_tolerance = 1e-10;
        options.linear_max_iterations = 500;
        return solve(problem, Eigen::VectorXd::Zero(30), options, petsc);
    };
    const Outcome with = run(DenseProblem::Preconditioner::diagonal, "");
    const Outcome without = run(DenseProblem::Preconditioner::none, "");
    const Outcome by_option = run(DenseProblem::Preconditioner::diagonal, "-pc_type none");
    EXPECT_LT((with.x - truth).norm(), 1e-6);
    EXPECT_LT(with.linear_iterations * 2, without.linear_iterations);
    EXPECT_EQ(by_option.evaluations.preconditionings, 0);
    EXPECT_EQ(by_option.linear_iterations, without.linear_iterations);
}

TEST(BoundedGaussNewton, GivesTheSameOnAnyNumberOfRanks) {
    const Box box;
    const mpi::Communicator self = mpi::Communicator::self();
    const auto spread = box.problem();
    const auto serial = box.problem(self);
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(24, 0.2);
    const Outcome many = solve(*spread, start, tight());
    const Outcome one = solve(*serial, start, tight(), {}, self);
    EXPECT_EQ(many.last.iteration, one.last.iteration);
    EXPECT_EQ(many.linear_iterations, one.linear_iterations);
    EXPECT_LT((many.x - one.x).norm(), 1e-10);

    // Fewer unknowns than ranks.
    DenseProblem small(world(), 2, test::rosenbrock());
    const Outcome outcome = solve(small, Eigen::VectorXd::Constant(2, -1.2), tight());
    EXPECT_LT((outcome.x.array() - 1).abs().maxCoeff(), 1e-8);
}

TEST(BoundedGaussNewton, RestoredStateTakesTheSameSteps) {
    const Session session(world());
    const auto make = [] {
        auto problem = std::make_unique<DenseProblem>(world(), 20, test::rosenbrock());
        for (Eigen::Index i = 0; i < 20; i += 2)
            problem->upper[i] = 0.8;
        return problem;
    };
    const auto first_problem = make();
    const std::vector<double> start = first_problem->own(Eigen::VectorXd::Constant(20, -1.2));
    BoundedGaussNewton first(session, world(), *first_problem, start, tight());
    BoundedGaussNewton::State state;
    for (int k = 0; k < 4; ++k) {
        ASSERT_EQ(first.step().reason, StopReason::none);
        state = first.state();
    }
    Outcome one;
    finish(first, one);

    const auto second_problem = make();
    BoundedGaussNewton second(session, world(), *second_problem, start, tight());
    second.restore(state);
    EXPECT_EQ(second.evaluate().iteration, 4);
    Outcome two;
    finish(second, two);
    EXPECT_EQ(one.last.iteration, two.last.iteration);
    EXPECT_EQ(one.last.reason, two.last.reason);
    EXPECT_EQ(one.last.trust_radius, two.last.trust_radius);
    EXPECT_EQ(first_problem->whole(first.x()), second_problem->whole(second.x()));

    state = first.state();
    EXPECT_EQ(first.step().reason, state.reason) << "a stop stays a stop";
    second.restore(state);
    EXPECT_EQ(second.step().evaluations.linearise, 0);
    state.x.push_back(0);
    EXPECT_THROW(second.restore(state), Error);
    state = first.state();
    state.trust_radius = NAN;
    EXPECT_THROW(second.restore(state), Error);
    EXPECT_EQ(first_problem->whole(first.x()), second_problem->whole(second.x()));
}

TEST(BoundedGaussNewton, GoesOnAfterAnIterationLimit) {
    const Session session(world());
    DenseProblem problem(world(), 20, test::rosenbrock());
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(20, -1.2);
    const Outcome whole = solve(problem, start, tight());
    BoundedGaussNewtonOptions options = tight();
    options.max_iterations = 3;
    BoundedGaussNewton limited(session, world(), problem, problem.own(start), options);
    Outcome part;
    ASSERT_EQ(finish(limited, part).reason, StopReason::max_iterations);
    BoundedGaussNewton solver(session, world(), problem, problem.own(start), tight());
    solver.restore(limited.state());
    Outcome rest;
    finish(solver, rest);
    EXPECT_EQ(rest.last.iteration, whole.last.iteration);
    EXPECT_EQ(problem.whole(solver.x()), whole.x);
    limited.restore(limited.state());
    EXPECT_EQ(limited.step().reason, StopReason::max_iterations);
}

TEST(BoundedGaussNewton, EvaluatesNoMoreThanNeeded) {
    const Box box;
    for (const bool gradient_at_trial : {true, false}) {
        const auto problem = box.problem();
        BoundedGaussNewtonOptions options = tight();
        options.gradient_at_trial = gradient_at_trial;
        const Outcome outcome = solve(*problem, Eigen::VectorXd::Constant(24, 0.2), options);
        const std::int64_t trials = outcome.last.iteration + outcome.rejected;
        if (gradient_at_trial) {
            EXPECT_EQ(outcome.evaluations.objective_and_gradient, 1 + trials);
            EXPECT_EQ(outcome.evaluations.objective, 0);
        } else {
            EXPECT_EQ(outcome.evaluations.objective_and_gradient, 1 + outcome.last.iteration);
            EXPECT_EQ(outcome.evaluations.objective, trials);
        }
        EXPECT_EQ(outcome.evaluations.linearise, outcome.last.iteration);
    }
}

TEST(BoundedGaussNewton, ObeysIterationLimitAndObjectiveTolerance) {
    DenseProblem problem(world(), 20, test::rosenbrock());
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(20, -1.2);
    BoundedGaussNewtonOptions options = tight();
    options.max_iterations = 3;
    EXPECT_EQ(solve(problem, start, options).last.iteration, 3);
    EXPECT_EQ(solve(problem, start, options).last.reason, StopReason::max_iterations);
    EXPECT_EQ(solve(problem, start, options, "-tao_max_it 2").last.iteration, 2);
    EXPECT_EQ(solve(problem, start, options, "-tao_max_funcs 2").last.reason,
              StopReason::max_evaluations);
    EXPECT_EQ(solve(problem, start, tight(), "-tao_gttol 0.9").last.reason, StopReason::gradient);
    EXPECT_EQ(solve(problem, start, tight(), "-tao_fmin 1").last.reason,
              StopReason::objective_bound);
    options = tight();
    options.gradient_tolerance = 0;
    options.objective_tolerance = 1e-3;
    const Box box;
    const auto with_residual = box.problem();
    EXPECT_EQ(solve(*with_residual, Eigen::VectorXd::Constant(24, 0.2), options).last.reason,
              StopReason::objective_decrease);
}

TEST(BoundedGaussNewton, BacksOutOfPointsThatAreNotFinite) {
    // ln a and ln b: a full step from 3 leads to 3 − 3 ln 3 < 0, where f is NaN.
    const auto model = [](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
        r = x.array().log();
        if (jacobian != nullptr)
            *jacobian = x.cwiseInverse().asDiagonal();
    };
    DenseProblem problem(world(), 5, model);
    const Outcome outcome = solve(problem, Eigen::VectorXd::Constant(5, 3), tight());
    EXPECT_TRUE(is_converged(outcome.last.reason)) << describe(outcome.last.reason);
    EXPECT_GT(outcome.non_finite, 0);
    EXPECT_LT((outcome.x.array() - 1).abs().maxCoeff(), 1e-8);
}

TEST(BoundedGaussNewton, ReportsAnObjectiveThatIsNotFinite) {
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(4, 1);
    const auto model = [&](double value, bool everywhere) {
        return [=](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
            r = x;
            if (jacobian != nullptr)
                jacobian->setIdentity(4, 4);
            if (everywhere || x != start)
                r[0] = value;
        };
    };
    for (const double value : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
        DenseProblem nowhere(world(), 4, model(value, true));
        const Outcome at_start = solve(nowhere, start);
        EXPECT_EQ(at_start.last.reason, StopReason::non_finite_objective);
        EXPECT_EQ(at_start.evaluations.objective_and_gradient, 1);
        DenseProblem one_point(world(), 4, model(value, false));
        const Outcome after = solve(one_point, start);
        EXPECT_EQ(after.last.reason, StopReason::non_finite_objective);
        EXPECT_FALSE(after.last.accepted);
        EXPECT_EQ(after.x, start);
        EXPECT_EQ(after.last.objective, 2);
        EXPECT_LE(after.evaluations.objective_and_gradient, 2 + 12);
    }
    // The gradient alone, which only an accepted point needs.
    DenseProblem gradient(
        world(), 4, [&](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
            r = x;
            if (jacobian != nullptr) {
                jacobian->setIdentity(4, 4);
                if (x != start)
                    (*jacobian)(3, 3) = NAN;
            }
        });
    BoundedGaussNewtonOptions options;
    options.gradient_at_trial = false;
    const Outcome outcome = solve(gradient, start, options);
    EXPECT_EQ(outcome.last.reason, StopReason::non_finite_objective);
    EXPECT_EQ(outcome.x, start);
}

TEST(BoundedGaussNewton, GivesUpWhenNoStepLowersTheObjective) {
    // A gradient of the wrong sign.
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(4, 1);
    DenseProblem problem(
        world(), 4, [](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
            r = x;
            if (jacobian != nullptr)
                *jacobian = -Eigen::MatrixXd::Identity(4, 4);
        });
    BoundedGaussNewtonOptions options;
    options.max_rejections = 5;
    const Outcome outcome = solve(problem, start, options);
    EXPECT_EQ(outcome.last.reason, StopReason::no_decrease);
    EXPECT_EQ(outcome.x, start);
    EXPECT_EQ(outcome.last.rejected_trials, 6);
}

struct Unforeseen : std::exception {
    const char* what() const noexcept override { return "something broke"; }
};

TEST(BoundedGaussNewton, ExceptionsTravelOutUnchanged) {
    const Session session(world());
    const Box box;
    const Eigen::VectorXd start = Eigen::VectorXd::Constant(24, 0.2);
    for (const std::string member : {"objective", "objective_and_gradient", "linearise",
                                     "gauss_newton_product", "precondition"})
        for (const bool one_rank : {false, true}) {
            SCOPED_TRACE(member + (one_rank ? ", one rank" : ", all ranks"));
            const auto problem = box.problem();
            BoundedGaussNewtonOptions options = tight();
            options.gradient_at_trial = member != "objective";
            BoundedGaussNewton solver(session, world(), *problem, problem->own(start), options);
            const int thrower = world().size() - 1;
            int calls = 0;
            // The members that make collective calls agree before one rank alone throws, as the
            // interface asks for; precondition() makes none and just throws.
            const bool agrees = one_rank && member != "precondition";
            problem->hook = [&](const std::string& name) {
                if (name != member || ++calls != 2)
                    return;
                const bool throws = !one_rank || world().rank() == thrower;
                if (agrees)
                    world().agree(throws ? std::optional<std::string>("agreed") : std::nullopt);
                if (throws)
                    throw Unforeseen();
            };
            std::string seen;
            std::vector<double> before;
            while (seen.empty()) {
                before = solver.state().x;
                try {
                    ASSERT_EQ(solver.step().reason, StopReason::none);
                } catch (const Unforeseen&) {
                    seen = "unchanged";
                } catch (const Error& error) {
                    seen = error.what();
                }
            }
            if (agrees)
                EXPECT_THAT(seen, HasSubstr("agreed"));
            else if (!one_rank || world().rank() == thrower)
                EXPECT_EQ(seen, "unchanged");
            else
                EXPECT_THAT(seen, HasSubstr("something broke (on rank " + std::to_string(thrower)));
            EXPECT_EQ(solver.state().x, before);
            problem->hook = [](const std::string&) {};
            Outcome outcome;
            finish(solver, outcome);
            EXPECT_LT(
                (problem->whole(solver.x()) - box_reference(box.a, box.b, box.lower, box.upper))
                    .norm(),
                1e-8);
        }
}

TEST(BoundedGaussNewton, SolvesLinearSystems) {
    const Session session(world(), "-linear_ksp_rtol 1e-12");
    const Box box;
    const auto problem = box.problem();
    BoundedGaussNewton solver(session, world(), *problem, problem->own(box.upper));
    const Eigen::VectorXd rhs = test::random_matrix(24, 1, 11);
    const Eigen::MatrixXd h = box.a.transpose() * box.a;
    std::vector<double> x(problem->local_size());
    LinearSolveReport report = solver.solve_linear(problem->own(rhs), x);
    EXPECT_TRUE(report.converged);
    EXPECT_LT((problem->whole(x) - h.llt().solve(rhs)).norm(), 1e-9);

    // Every third unknown held: the system of the others, whatever the rest of rhs is.
    std::vector<std::uint8_t> held(x.size());
    Eigen::MatrixXd reduced = h;
    Eigen::VectorXd right = rhs;
    for (Eigen::Index i = 0; i < 24; i += 3) {
        reduced.row(i).setZero();
        reduced.col(i).setZero();
        reduced(i, i) = 1;
        right[i] = 0;
        if (problem->range().contains(static_cast<std::size_t>(i)))
            held[static_cast<std::size_t>(i) - problem->range().begin] = 1;
    }
    report = solver.solve_linear(problem->own(rhs), x, held);
    EXPECT_LT((problem->whole(x) - reduced.llt().solve(right)).norm(), 1e-9);

    std::fill(held.begin(), held.end(), std::uint8_t{1});
    report = solver.solve_linear(problem->own(rhs), x, held);
    EXPECT_EQ(problem->whole(x).norm(), 0);
    EXPECT_EQ(solver.evaluations().linearise, 1);

    EXPECT_THROW(solver.solve_linear(std::vector<double>(x.size() + 1), x), Error);
    std::vector<double> bad(x.size(), NAN);
    EXPECT_THROW(solver.solve_linear(bad, x), Error);
    EXPECT_THROW(solver.solve_linear(problem->own(rhs), x, {}, {2.0, 5}), Error);
}

TEST(BoundedGaussNewton, LinearSolveReportsTooFewIterations) {
    const Session session(world());
    const Box box;
    const auto problem = box.problem();
    BoundedGaussNewton solver(session, world(), *problem, problem->own(box.upper));
    std::vector<double> x(problem->local_size());
    const Eigen::VectorXd rhs = test::random_matrix(24, 1, 11);
    const LinearSolveReport report =
        solver.solve_linear(problem->own(rhs), x, {}, {.tolerance = 1e-12, .max_iterations = 3});
    EXPECT_FALSE(report.converged);
    EXPECT_EQ(report.iterations, 3);
    EXPECT_GT(report.residual_norm, 0);
}

TEST(BoundedGaussNewton, RefusesBadInput) {
    const Session session(world());
    DenseProblem problem(world(), 8, test::rosenbrock());
    const std::vector<double> start = problem.own(Eigen::VectorXd::Zero(8));
    const auto make = [&](const std::vector<double>& from,
                          const BoundedGaussNewtonOptions& options = {}) {
        BoundedGaussNewton(session, world(), problem, from, options);
    };
    EXPECT_NO_THROW(make(start));
    // One rank's mistake is an error on all.
    std::vector<double> longer = start;
    if (world().rank() == 0)
        longer.push_back(0);
    EXPECT_THROW(make(longer), Error);
    std::vector<double> nan = start;
    if (world().rank() == 0)
        nan[0] = NAN;
    EXPECT_THROW(make(nan), Error);
    for (double BoundedGaussNewtonOptions::*field :
         {&BoundedGaussNewtonOptions::objective_tolerance,
          &BoundedGaussNewtonOptions::gradient_tolerance,
          &BoundedGaussNewtonOptions::initial_trust_radius,
          &BoundedGaussNewtonOptions::linear_tolerance,
          &BoundedGaussNewtonOptions::active_set_tolerance}) {
        BoundedGaussNewtonOptions options;
        options.*field = -1;
        EXPECT_THROW(make(start, options), Error);
        options.*field = NAN;
        EXPECT_THROW(make(start, options), Error);
    }
    problem.lower[0] = 2;
    problem.upper[0] = 1;
    EXPECT_THROW(make(start), Error);
    DenseProblem empty(world(), 0, test::rosenbrock());
    EXPECT_THROW(BoundedGaussNewton(session, world(), empty, {}), Error);
}

TEST(AssembledNormalMatrix, AgreesWithTheShellProducts) {
    const Session session(world());
    // A banded Jacobian of 50 × 30; duplicate entries add up.
    const Eigen::Index rows = 50, columns = 30;
    const Eigen::MatrixXd noise = test::random_matrix(rows, 4, 5);
    Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(rows, columns);
    const mpi::BlockRange own_rows = mpi::block_range(50, static_cast<std::size_t>(world().size()),
                                                      static_cast<std::size_t>(world().rank()));
    std::vector<test::JacobianEntry> entries;
    for (Eigen::Index i = 0; i < rows; ++i)
        for (Eigen::Index k = 0; k < 4; ++k) {
            const Eigen::Index j = (i * 7 + k * k * 5) % columns;
            dense(i, j) += noise(i, k);
            if (own_rows.contains(static_cast<std::size_t>(i)))
                entries.push_back({static_cast<std::size_t>(i) - own_rows.begin,
                                   static_cast<std::uint64_t>(j), noise(i, k)});
        }
    DenseProblem problem(world(), 30, test::linear(dense, Eigen::VectorXd::Zero(rows)));
    test::AssembledNormalMatrix matrix(session, world(), own_rows.size(), problem.local_size(),
                                       entries);
    EXPECT_EQ(matrix.local_rows(), own_rows.size());
    EXPECT_EQ(matrix.local_columns(), problem.local_size());

    const Eigen::VectorXd v = test::random_matrix(columns, 1, 6);
    std::vector<double> residual(own_rows.size()), out(problem.local_size()),
        shell(problem.local_size());
    matrix.multiply(problem.own(v), residual);
    const Eigen::VectorXd expected = dense * v;
    for (std::size_t i = 0; i < residual.size(); ++i)
        EXPECT_NEAR(residual[i], expected[static_cast<Eigen::Index>(own_rows.begin + i)], 1e-12);
    matrix.multiply_transpose(residual, out);
    matrix.normal_product(problem.own(v), shell);
    EXPECT_LT((problem.whole(out) - problem.whole(shell)).norm(), 1e-11);
    problem.linearise(problem.own(v));
    problem.gauss_newton_product(problem.own(v), shell);
    EXPECT_LT((problem.whole(out) - problem.whole(shell)).norm(), 1e-11);
    EXPECT_GT(problem.whole(out).norm(), 1);

    // The shell's inverse undoes the assembled product.
    BoundedGaussNewton solver(session, world(), problem, problem.own(v));
    std::vector<double> back(out.size());
    EXPECT_TRUE(solver.solve_linear(out, back, {}, {1e-13, 1000}).converged);
    EXPECT_LT((problem.whole(back) - v).norm(), 1e-8);

    EXPECT_THROW(matrix.multiply(residual, {}), Error);
    std::vector<test::JacobianEntry> outside = entries;
    if (world().rank() == 0)
        outside.push_back({0, 30, 1.0});
    EXPECT_THROW(test::AssembledNormalMatrix(session, world(), own_rows.size(),
                                             problem.local_size(), outside),
                 Error);
}

} // namespace
