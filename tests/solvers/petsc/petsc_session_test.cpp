// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/session.hpp"

#include "base/error.hpp"
#include "dense_problem.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>

namespace {

using namespace xrdct;
using namespace xrdct::petsc;
using test::DenseProblem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const mpi::Communicator& world() {
    static const mpi::Communicator communicator = mpi::Communicator::world();
    return communicator;
}

std::string error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

/// The iterations of the linear solver in the first step.
int first_step(const Session& session) {
    DenseProblem problem(world(), 12, test::rosenbrock());
    BoundedGaussNewtonOptions options;
    options.linear_tolerance = 1e-10;
    Eigen::VectorXd start = test::random_matrix(12, 1, 2);
    BoundedGaussNewton solver(session, world(), problem, problem.own(start), options);
    return solver.step().linear_iterations;
}

TEST(Session, StartsMoreThanOnce) {
    for (int k = 0; k < 3; ++k) {
        const Session session(world());
        EXPECT_GT(first_step(session), 1);
    }
}

TEST(Session, OptionsBelongToOneSession) {
    const Session one(world(), "-ksp_max_it 1");
    const Session two(world());
    EXPECT_EQ(first_step(one), 1);
    EXPECT_GT(first_step(two), 1);
    EXPECT_EQ(first_step(one), 1);
    {
        const Session three(world(), "-ksp_max_it 3 -ksp_max_it 2");
        EXPECT_EQ(first_step(three), 2);
    }
    EXPECT_GT(first_step(two), 1);
}

TEST(Session, MovesAndOutlivedBySolvers) {
    Session session(world(), "-ksp_max_it 1");
    Session moved(std::move(session));
    DenseProblem problem(world(), 12, test::rosenbrock());
    auto solver = std::make_unique<BoundedGaussNewton>(moved, world(), problem,
                                                       problem.own(test::random_matrix(12, 1, 2)));
    { const Session end = std::move(moved); }
    EXPECT_EQ(solver->step().linear_iterations, 1);
}

TEST(Session, RefusesMalformedOptions) {
    EXPECT_THAT(error_of([] { Session(world(), "ksp_rtol 1e-3"); }), HasSubstr("'ksp_rtol'"));
    EXPECT_THAT(error_of([] { Session(world(), "-ksp_rtol 1e-3 7"); }), HasSubstr("'7'"));
    EXPECT_THAT(error_of([] { Session(world(), "-ksp_rtol -1 -- x"); }), HasSubstr("'--'"));
    // On one rank only.
    EXPECT_THAT(error_of([] { Session(world(), world().rank() == 0 ? "7" : ""); }),
                HasSubstr("'7'"));
    EXPECT_NO_THROW(Session(world(), "-tao_fmin -1e3"));
}

TEST(Session, MisspeltOptionsAreErrors) {
    const auto solve = [](const char* options) {
        return error_of([&] { first_step(Session(world(), options)); });
    };
    EXPECT_THAT(solve("-ksp_rtoll 1e-3"),
                AllOf(HasSubstr("-ksp_rtoll"), HasSubstr("did you mean -ksp_rtol?")));
    EXPECT_THAT(solve("-ksp_rtol 1e-3 -tao_bnk_astol 1"), HasSubstr("-tao_bnk_as_tol?"));
    EXPECT_THAT(solve("-tao_mointor"), HasSubstr("did you mean -tao_monitor?"));
    EXPECT_THAT(solve("-ksp_wiew"), HasSubstr("-ksp_view?"));
    EXPECT_THAT(solve("-something_else"),
                AllOf(HasSubstr("-something_else"), Not(HasSubstr("mean"))));
    // Read after the solver was made, so noticed after the first step.
    EXPECT_THAT(solve("-other_view"), HasSubstr("-other_view"));
    EXPECT_THAT(solve("-tao_type blmvm"), HasSubstr("bntr, bntl or bnls"));
    EXPECT_THAT(solve("-ksp_type gmres"), HasSubstr("trust-region CG"));
    EXPECT_EQ(solve("-ksp_type nash -tao_bnk_as_type none -tao_bnk_init_type interpolation"),
              "no error");

    const Session session(world(), "-a_b 1 -ksp_rtol 0.5");
    EXPECT_THAT(session.unused_options(), ElementsAre("-a_b", "-ksp_rtol"));
    EXPECT_THROW(session.require_used_options(false), Error);
}

TEST(Session, RefusesOtherRanks) {
    if (world().size() == 1)
        GTEST_SKIP() << "needs two ranks";
    const Session session(world());
    EXPECT_THROW(Session(mpi::Communicator::self()), Error);
}

TEST(Session, ErrorsCarryPetscsText) {
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    const std::string plain =
        error_of([] { first_step(Session(world(), "-ksp_rtol not_a_number")); });
    const std::string traced =
        error_of([] { first_step(Session(world(), "-ksp_rtol not_a_number", ErrorTrace::yes)); });
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
    EXPECT_THAT(plain,
                AllOf(HasSubstr("PETSc: "), HasSubstr("not_a_number"), Not(HasSubstr("\n"))));
    EXPECT_THAT(traced, AllOf(HasSubstr("not_a_number"), HasSubstr("\n  in ")));
}

TEST(Session, LeavesSignalsAlone) {
    const auto handler = std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGSEGV, handler);
    const Session session(world());
    const auto now = std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGSEGV, now);
    EXPECT_EQ(handler, now);
}

TEST(Session, PetscIsSilentAndShowsWhatIsAskedFor) {
    if (world().size() > 1)
        GTEST_SKIP() << "looks at the output of one rank";
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    first_step(Session(world()));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    testing::internal::CaptureStderr();
    first_step(Session(world(), "-tao_monitor"));
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("1 TAO"));
    testing::internal::CaptureStderr();
    first_step(Session(world(), "-tao_view -ksp_converged_reason"));
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("Linear solve"), HasSubstr("bntr")));
    std::fflush(stdout);
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

} // namespace
