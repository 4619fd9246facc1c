// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/least_squares.hpp"

#include <Eigen/Dense>
#include <gtest/gtest.h>
#include <limits>
#include <random>

namespace {

using namespace xrdct;
constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(SmallCholesky, SolvesAndInverts) {
    std::mt19937 random(3);
    std::normal_distribution<double> normal;
    for (const int n : {1, 2, 5, 13}) {
        Eigen::MatrixXd j = Eigen::MatrixXd::NullaryExpr(3 * n, n, [&] { return normal(random); });
        j.col(0) *= 1e6; // badly scaled columns are usual
        const Eigen::MatrixXd a = j.transpose() * j;
        const Eigen::VectorXd b = Eigen::VectorXd::NullaryExpr(n, [&] { return normal(random); });
        rietveld::SmallCholesky cholesky;
        EXPECT_EQ(cholesky.factor(a.data(), n, n, 1e-12), 0);
        Eigen::VectorXd x(n);
        cholesky.solve(b.data(), x.data());
        EXPECT_LT((a * x - b).norm(), 1e-9 * b.norm());
        Eigen::MatrixXd inverse(n, n);
        cholesky.invert(inverse.data());
        EXPECT_LT((a * inverse - Eigen::MatrixXd::Identity(n, n)).norm(), 1e-7);
    }
}

TEST(SmallCholesky, SetsDependentColumnsAside) {
    Eigen::MatrixXd j(4, 3);
    j << 1, 2, 0, 1, 2, 1, 1, 2, 2, 1, 2, 5;
    const Eigen::MatrixXd a = j.transpose() * j;
    rietveld::SmallCholesky cholesky;
    EXPECT_EQ(cholesky.factor(a.data(), 3, 3, 1e-10), 1);
    EXPECT_FALSE(cholesky.dependent(0));
    EXPECT_TRUE(cholesky.dependent(1));
    EXPECT_FALSE(cholesky.dependent(2));
    const Eigen::VectorXd b = a.col(0) * 3 + a.col(2) * 2;
    Eigen::VectorXd x(3);
    cholesky.solve(b.data(), x.data());
    EXPECT_NEAR(x[0], 3, 1e-9);
    EXPECT_EQ(x[1], 0);
    EXPECT_NEAR(x[2], 2, 1e-9);
}

TEST(BoundedSolver, MeetsTheOptimalityConditions) {
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    for (int trial = 0; trial < 500; ++trial) {
        const int n = 2 + trial % 14;
        // correlated, all-positive columns, as patterns are
        Eigen::MatrixXd j =
            Eigen::MatrixXd::NullaryExpr(2 * n, n, [&] { return std::abs(normal(random)) + 0.5; });
        const Eigen::MatrixXd a = j.transpose() * j;
        const Eigen::VectorXd b =
            j.transpose() * Eigen::VectorXd::NullaryExpr(2 * n, [&] { return normal(random); });
        std::vector<double> lower(n), upper(n), x(n);
        std::vector<std::int8_t> state(n, 0);
        for (int i = 0; i < n; ++i) {
            lower[i] = i % 4 == 3 ? -infinity : 0;
            upper[i] = i % 3 == 2 ? 0.1 : infinity;
        }
        rietveld::BoundedSolver solver;
        ASSERT_TRUE(solver.solve(a.data(), n, n, b.data(), lower.data(), upper.data(), x.data(),
                                 state.data()));
        const Eigen::VectorXd gradient = a * Eigen::Map<Eigen::VectorXd>(x.data(), n) - b;
        const double scale = b.norm();
        for (int i = 0; i < n; ++i) {
            EXPECT_GE(x[i], lower[i]);
            EXPECT_LE(x[i], upper[i]);
            if (x[i] > lower[i]) {
                EXPECT_LT(gradient[i], 1e-9 * scale);
            }
            if (x[i] < upper[i]) {
                EXPECT_GT(gradient[i], -1e-9 * scale);
            }
        }
    }
}

TEST(BoundedSolver, KeepsFixedVariables) {
    const Eigen::Matrix2d a{{2, 1}, {1, 3}};
    const Eigen::Vector2d b{4, 5};
    const double lower[] = {0.5, -infinity}, upper[] = {0.5, infinity};
    double x[2];
    std::int8_t state[2] = {-1, 0};
    rietveld::BoundedSolver solver;
    ASSERT_TRUE(solver.solve(a.data(), 2, 2, b.data(), lower, upper, x, state));
    EXPECT_DOUBLE_EQ(x[0], 0.5);
    EXPECT_NEAR(x[1], 1.5, 1e-12);
}

} // namespace
