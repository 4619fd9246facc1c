// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/ramp_filter.hpp"

#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/units.hpp"

namespace xrdct {
namespace {

TEST(RampFilter, RamLakKernelIsTheBandLimitedOne) {
    const double tau = 0.02;
    const tomography::RampFilter filter(101, tau);
    EXPECT_NEAR(filter.kernel()[0], 1 / (4 * tau), 1e-9 / tau);
    for (std::size_t m = 1; m < 101; ++m) {
        const double expected = m % 2 ? -1 / (pi * pi * static_cast<double>(m * m) * tau) : 0;
        EXPECT_NEAR(filter.kernel()[m], expected, 1e-9 / tau) << m;
    }
}

TEST(RampFilter, IsTheConvolutionWithItsKernelForEveryWindowAndChannelCount) {
    const std::size_t n = 75;
    for (const auto window :
         {tomography::FilterWindow::ram_lak, tomography::FilterWindow::shepp_logan,
          tomography::FilterWindow::cosine, tomography::FilterWindow::hamming,
          tomography::FilterWindow::hann, tomography::FilterWindow::none})
        for (const std::size_t channels : {1U, 2U, 31U, 32U, 45U}) {
            const tomography::RampFilter filter(n, -0.5, {window, 0.8});
            std::mt19937 random(7);
            std::uniform_real_distribution<float> uniform(-1, 1);
            std::vector<float> data(2 * n * channels);
            for (float& x : data)
                x = uniform(random);
            const std::vector<float> original = data;
            filter.apply(data, channels);
            double largest = 0, worst = 0;
            for (std::size_t p = 0; p < 2; ++p)
                for (std::size_t c = 0; c < channels; c += 7)
                    for (std::size_t i = 0; i < n; ++i) {
                        double expected = 0;
                        for (std::size_t j = 0; j < n; ++j)
                            expected += filter.kernel()[i > j ? i - j : j - i] *
                                        original[(p * n + j) * channels + c];
                        largest = std::max(largest, std::abs(expected));
                        worst =
                            std::max(worst, std::abs(expected - data[(p * n + i) * channels + c]));
                    }
            EXPECT_LT(worst, 2e-6 * largest) << filter_window_name(window) << ' ' << channels;
        }
}

TEST(RampFilter, WindowsHaveTheirTransferFunctions) {
    // Sum of the kernel over the whole circle of frequencies: amplitude of a cosine after
    // filtering, far from the edges.
    const std::size_t n = 4096;
    for (const double frequency : {0.1, 0.25, 0.4}) { // per sample
        const double f = 2 * frequency / 0.9;
        const std::vector<std::pair<tomography::FilterWindow, double>> expected{
            {tomography::FilterWindow::ram_lak, 1},
            {tomography::FilterWindow::shepp_logan, std::sin(0.5 * pi * f) / (0.5 * pi * f)},
            {tomography::FilterWindow::cosine, std::cos(0.5 * pi * f)},
            {tomography::FilterWindow::hamming, 0.54 + 0.46 * std::cos(pi * f)},
            {tomography::FilterWindow::hann, 0.5 + 0.5 * std::cos(pi * f)}};
        for (const auto& [window, value] : expected) {
            const tomography::RampFilter filter(n, 2.0, {window, 0.9});
            double sum = filter.kernel()[0];
            for (std::size_t m = 1; m < n; ++m)
                sum +=
                    2 * filter.kernel()[m] * std::cos(2 * pi * frequency * static_cast<double>(m));
            EXPECT_NEAR(sum, value * frequency / 2.0, 2e-4)
                << filter_window_name(window) << ' ' << frequency;
        }
    }
}

TEST(RampFilter, ScalesPerChannel) {
    const tomography::RampFilter filter(40, 1.0);
    std::vector<float> in(40 * 3), plain(40 * 3), scaled(40 * 3);
    for (std::size_t i = 0; i < in.size(); ++i)
        in[i] = static_cast<float>(i % 17);
    const std::vector<float> scale{1, 2, -3};
    filter.apply(in.data(), 3, plain.data(), 3, 3);
    filter.apply(in.data(), 3, scaled.data(), 3, 3, scale.data());
    for (std::size_t i = 0; i < in.size(); ++i)
        EXPECT_FLOAT_EQ(scaled[i], scale[i % 3] * plain[i]);
}

TEST(RampFilter, WorksFromSeveralThreads) {
    std::vector<std::vector<float>> results(4);
    std::vector<std::jthread> threads;
    for (std::vector<float>& result : results)
        threads.emplace_back([&result] {
            result.assign(333 * 8, 0);
            result[8 * 100] = 1;
            tomography::RampFilter(333, 0.1).apply(result, 8);
        });
    threads.clear();
    for (const std::vector<float>& result : results)
        EXPECT_EQ(result, results[0]);
}

TEST(RampFilter, NamesAndRefusals) {
    using testing::HasSubstr;
    using testing::ThrowsMessage;
    for (const char* name : {"ram-lak", "shepp-logan", "cosine", "hamming", "hann", "none"})
        EXPECT_EQ(tomography::filter_window_name(tomography::filter_window(name)), name);
    EXPECT_THAT([] { tomography::filter_window("han"); },
                ThrowsMessage<Error>(HasSubstr("\"hann\"")));
    EXPECT_THROW(tomography::RampFilter(0, 1.0), Error);
    EXPECT_THROW(tomography::RampFilter(4, 0.0), Error);
    EXPECT_THROW(tomography::RampFilter(4, 1.0, {tomography::FilterWindow::hann, 0.0}), Error);
    EXPECT_THROW(tomography::RampFilter(4, 1.0, {tomography::FilterWindow::hann, 1.1}), Error);
    std::vector<float> odd(13);
    EXPECT_THROW(tomography::RampFilter(4, 1.0).apply(odd, 1), Error);
}

} // namespace
} // namespace xrdct
