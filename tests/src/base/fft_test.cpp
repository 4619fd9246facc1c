// SPDX-License-Identifier: BSD-3-Clause
#include "base/fft.hpp"

#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include <gtest/gtest.h>

namespace {

using xrdct::fft::Complex;

std::complex<double> turn(std::size_t product, std::size_t length) {
    return std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(product % length) /
                               static_cast<double>(length));
}

/// Numbers without a pattern, between −½ and ½.
float number(std::size_t i) {
    return static_cast<float>((i * 7919 + 13) % 101) / 100.0F - 0.5F;
}

TEST(Fft, GoodLengthsAreTheNextWithSmallPrimeFactors) {
    EXPECT_EQ(xrdct::fft::good_length(2), 2U);
    EXPECT_EQ(xrdct::fft::good_length(13), 16U);
    EXPECT_EQ(xrdct::fft::good_length(14, 2, 7), 14U);
    EXPECT_EQ(xrdct::fft::good_length(97, 16), 128U);
}

TEST(Fft, InterleavedSequencesAreTransformedEachByItself) {
    constexpr std::size_t length = 12, count = 3;
    const xrdct::fft::Interleaved transform(length, count);
    xrdct::fft::Array<Complex> data(length * count);
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = {number(2 * i), number(2 * i + 1)};
    const std::vector<Complex> before(data.begin(), data.end());
    transform.forward(data.data());
    for (std::size_t c = 0; c < count; ++c)
        for (std::size_t k = 0; k < length; ++k) {
            std::complex<double> sum = 0;
            for (std::size_t j = 0; j < length; ++j)
                sum += std::complex<double>(before[j * count + c]) * turn(j * k, length);
            EXPECT_NEAR(std::abs(std::complex<double>(data[k * count + c]) - sum), 0, 1e-5);
        }
    transform.backward(data.data());
    for (std::size_t i = 0; i < data.size(); ++i)
        EXPECT_NEAR(std::abs(data[i] / static_cast<float>(length) - before[i]), 0, 1e-6);
}

TEST(Fft, RealSquareGivesHalfTheSpectrumAndTheMapBack) {
    constexpr std::size_t n = 10, half = n / 2 + 1;
    const xrdct::fft::RealSquare transform(n);
    ASSERT_EQ(transform.map_size(), n * n);
    ASSERT_EQ(transform.spectrum_size(), n * half);
    xrdct::fft::Array<float> map(n * n);
    xrdct::fft::Array<Complex> spectrum(n * half);
    for (std::size_t i = 0; i < map.size(); ++i)
        map[i] = number(i);
    transform.forward(map.data(), spectrum.data());
    for (std::size_t v = 0; v < n; ++v)
        for (std::size_t u = 0; u < half; ++u) {
            std::complex<double> sum = 0;
            for (std::size_t y = 0; y < n; ++y)
                for (std::size_t x = 0; x < n; ++x)
                    sum += static_cast<double>(number(y * n + x)) * turn(y * v + x * u, n);
            EXPECT_NEAR(std::abs(std::complex<double>(spectrum[v * half + u]) - sum), 0, 1e-4);
        }
    transform.backward(spectrum.data(), map.data());
    for (std::size_t i = 0; i < map.size(); ++i)
        EXPECT_NEAR(map[i] / static_cast<float>(n * n), number(i), 1e-6);
}

} // namespace
