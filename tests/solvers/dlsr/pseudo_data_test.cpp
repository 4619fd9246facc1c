// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/pseudo_data.hpp"

#include "base/error.hpp"

#include <Eigen/Dense>
#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <limits>
#include <random>

namespace {

using namespace xrdct;

constexpr float nan_float = std::numeric_limits<float>::quiet_NaN();
constexpr double nan_double = std::numeric_limits<double>::quiet_NaN();

/// A linear model of rays × channels samples with variances that need not factor.
struct LinearFit {
    static constexpr int rays = 40, channels = 30, unknowns = 6;
    Eigen::MatrixXd design{rays * channels, unknowns};
    std::vector<float> intensity, variance;
    std::vector<double> channel_variance, ray_variance;
    Eigen::VectorXd truth{unknowns};
    std::mt19937 random{7};

    LinearFit() {
        std::normal_distribution<double> normal;
        for (auto& value : design.reshaped())
            value = 1 + normal(random);
        for (auto& value : truth)
            value = normal(random);
        for (int k = 0; k < channels; ++k)
            channel_variance.push_back(0.01 * (1 + k % 4));
        for (int i = 0; i < rays; ++i)
            ray_variance.push_back(0.5 + 0.1 * (i % 7));
        const Eigen::VectorXd exact = design * truth;
        for (int i = 0; i < rays; ++i)
            for (int k = 0; k < channels; ++k) {
                const auto at = static_cast<std::size_t>(i * channels + k);
                variance.push_back(
                    static_cast<float>(ray_variance[static_cast<std::size_t>(i)] *
                                       channel_variance[static_cast<std::size_t>(k)]));
                intensity.push_back(static_cast<float>(exact(i * channels + k) +
                                                       std::sqrt(variance[at]) * normal(random)));
            }
    }
    double factored(int sample) const {
        return ray_variance[static_cast<std::size_t>(sample / channels)] *
               channel_variance[static_cast<std::size_t>(sample % channels)];
    }
    dlsr::RaySamples ray(int i) const {
        const auto at = static_cast<std::size_t>(i * channels);
        return {std::span<const float>(intensity).subspan(at, channels),
                std::span<const float>(variance).subspan(at, channels),
                ray_variance[static_cast<std::size_t>(i)], 0};
    }
    /// Least squares with the factored weights alone.
    Eigen::VectorXd solve(const std::vector<float>& data) const {
        Eigen::VectorXd root(rays * channels), y(rays * channels);
        for (int s = 0; s < rays * channels; ++s) {
            root(s) = 1 / std::sqrt(factored(s));
            y(s) = root(s) * data[static_cast<std::size_t>(s)];
        }
        return (root.asDiagonal() * design).colPivHouseholderQr().solve(y);
    }
    /// Fits and replacements in turn, from the start without a model.
    Eigen::VectorXd turns(const dlsr::PseudoData& pseudo, int count) const {
        std::vector<dlsr::RaySamples> row;
        for (int i = 0; i < rays; ++i)
            row.push_back(ray(i));
        std::vector<float> data(intensity.size());
        pseudo.start(row, data);
        Eigen::VectorXd x = solve(data);
        for (int turn = 0; turn < count; ++turn) {
            const Eigen::VectorXd model = design * x;
            for (std::size_t s = 0; s < data.size(); ++s)
                data[s] = static_cast<float>(model(static_cast<Eigen::Index>(s)));
            for (int i = 0; i < rays; ++i)
                pseudo.replace(row[static_cast<std::size_t>(i)], 1,
                               std::span<float>(data).subspan(
                                   static_cast<std::size_t>(i) * channels, channels));
            x = solve(data);
        }
        return x;
    }
    /// Weighted least squares, weight(sample) ≥ 0.
    Eigen::VectorXd weighted(const std::function<double(int)>& weight) const {
        Eigen::MatrixXd normal = Eigen::MatrixXd::Zero(unknowns, unknowns);
        Eigen::VectorXd right = Eigen::VectorXd::Zero(unknowns);
        for (int s = 0; s < rays * channels; ++s) {
            const double w = weight(s);
            if (!(w > 0))
                continue;
            normal += w * design.row(s).transpose() * design.row(s);
            right += w * intensity[static_cast<std::size_t>(s)] * design.row(s).transpose();
        }
        return normal.ldlt().solve(right);
    }
};

TEST(DlsrPseudoData, MaskedSamplesHaveNoWeight) {
    LinearFit fit;
    std::bernoulli_distribution masked(0.3);
    for (std::size_t s = 0; s < fit.intensity.size(); ++s)
        if (masked(fit.random))
            (s % 2 == 0 ? fit.intensity : fit.variance)[s] = nan_float;
    const dlsr::PseudoData pseudo(fit.channel_variance, 0);
    const auto expected = fit.weighted([&](int s) {
        const auto at = static_cast<std::size_t>(s);
        return std::isfinite(fit.intensity[at] + fit.variance[at]) ? 1 / fit.factored(s) : 0.0;
    });
    EXPECT_LT((fit.turns(pseudo, 25) - expected).norm(), 1e-5);
    // An error shrinks to the masked part of itself in a turn.
    const double three = (fit.turns(pseudo, 3) - expected).norm(),
                 five = (fit.turns(pseudo, 5) - expected).norm();
    EXPECT_LT(five / three, 0.4 * 0.4);
    EXPECT_GT((fit.turns(pseudo, 0) - expected).norm(), 0.02);
}

TEST(DlsrPseudoData, HuberIsStationaryAndIgnoresSpots) {
    LinearFit fit;
    const auto clean = fit.solve(fit.intensity);
    std::bernoulli_distribution spot(0.02);
    for (float& value : fit.intensity)
        if (spot(fit.random))
            value += 500;
    const auto plain = fit.solve(fit.intensity);
    const dlsr::PseudoData pseudo(fit.channel_variance, 2);
    const auto found = fit.turns(pseudo, 30);
    EXPECT_LT((found - clean).norm(), 0.02);
    EXPECT_GT((plain - clean).norm(), 1);
    Eigen::VectorXd gradient = Eigen::VectorXd::Zero(LinearFit::unknowns);
    double all = 0;
    for (int s = 0; s < LinearFit::rays * LinearFit::channels; ++s) {
        const double sigma = std::sqrt(fit.factored(s));
        const double residual =
            (fit.intensity[static_cast<std::size_t>(s)] - fit.design.row(s).dot(found)) / sigma;
        gradient += std::clamp(residual, -2.0, 2.0) / sigma * fit.design.row(s).transpose();
        all += fit.design.row(s).norm() / sigma;
    }
    EXPECT_LT(gradient.norm(), 1e-5 * all);
}

TEST(DlsrPseudoData, Counts) {
    const dlsr::PseudoData pseudo({1, nan_double, 1, 1}, 3);
    const std::vector<float> intensity{1.5F, 7, nan_float, 9}, variance(4, 1.0F);
    std::vector<float> pattern{1, 5, 2, 3};
    const auto counts = pseudo.replace({intensity, variance, 1, 0}, 1, pattern);
    EXPECT_THAT(pattern, testing::ElementsAre(1.5F, 5, 2, 6));
    EXPECT_EQ(counts.samples, 3);
    EXPECT_EQ(counts.masked, 1);
    EXPECT_EQ(counts.outlying, 1);
    pattern = {1, 5, 2, 3};
    pseudo.replace({intensity, variance, 1, 0}, 2, pattern);
    EXPECT_EQ(pattern[3], 9);
}

// The variance of counts is that of the expectation, and their upper tail is longer.
TEST(DlsrPseudoData, FewCounts) {
    const dlsr::PseudoData pseudo({1}, 4, {0.5F});
    const std::vector<float> high{1000}, low{-1000}, variance{1000};
    std::vector<float> pattern{2};
    pseudo.replace({high, variance, 1, 2}, 1, pattern);
    EXPECT_NEAR(pattern[0], 2 + 4 * std::sqrt(2.0) + 15.0 / 6, 1e-4);
    pattern = {2};
    pseudo.replace({low, variance, 1, 2}, 1, pattern);
    EXPECT_NEAR(pattern[0], 2 - 4 * std::sqrt(2.0), 1e-4);
}

TEST(DlsrPseudoData, StartsFromNeighbours) {
    const std::vector<double> channel{1, 1, nan_double, 1, 1};
    std::vector<std::vector<float>> rays{
        {1, 2, nan_float, 4, 5}, {2, nan_float, 8, 5, 6}, {3, 4, nan_float, 6, 1000}};
    const std::vector<float> variance(5, 1.0F);
    std::vector<float> out(15);
    const auto start = [&](double threshold) {
        std::vector<dlsr::RaySamples> row;
        for (const auto& ray : rays)
            row.push_back({ray, variance, 1, 0});
        dlsr::PseudoData(channel, threshold).start(row, out);
    };
    start(0);
    EXPECT_THAT(out, testing::ElementsAre(1, 2, 0, 4, 5, 2, 3, 0, 5, 6, 3, 4, 0, 6, 1000));
    start(3);
    EXPECT_THAT(out, testing::ElementsAre(1, 2, 0, 4, 5, 2, 3, 0, 5, 6, 3, 4, 0, 6, 9));
    rays[0][1] = rays[2][1] = nan_float;
    start(0);
    EXPECT_EQ(out[6], 3.5F); // between the channels that are there: 2 and 5
    for (auto& ray : rays)
        ray.assign(5, nan_float);
    start(3);
    EXPECT_THAT(out, testing::Each(0));
}

TEST(DlsrPseudoData, Scale) {
    std::mt19937 random(3);
    std::normal_distribution<double> normal(0, 1.7);
    std::vector<double> bins(4000, 0.0);
    for (int i = 0; i < 100000; ++i)
        bins[static_cast<std::size_t>(std::abs(normal(random)) / 0.025)] += 1;
    EXPECT_NEAR(dlsr::residual_scale(bins, 0.025), 1.7, 0.02);
    bins.back() += 5000;
    EXPECT_NEAR(dlsr::residual_scale(bins, 0.025), 1.7, 0.35);
    EXPECT_EQ(dlsr::residual_scale(std::vector<double>(5, 0.0), 1), 0);
}

TEST(DlsrPseudoData, BadInput) {
    EXPECT_THROW(dlsr::PseudoData({1, 1}, -1), Error);
    EXPECT_THROW(dlsr::PseudoData({1, 1}, nan_double), Error);
    EXPECT_THROW(dlsr::PseudoData({1, 1}, 0, {1}), Error);
    std::vector<float> out(3);
    const std::vector<float> two(2, 1.0F);
    const std::vector<dlsr::RaySamples> row{{two, two, 1, 0}};
    EXPECT_THROW(dlsr::PseudoData({1, 1}, 0).start(row, out), Error);
}

} // namespace
