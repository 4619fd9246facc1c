// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/ramp_filter.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/fft.hpp"
#include "base/simd.hpp"
#include "base/units.hpp"

namespace xrdct::tomography {

namespace {

constexpr std::array<std::pair<std::string_view, FilterWindow>, 6> windows{{
    {"ram-lak", FilterWindow::ram_lak},
    {"shepp-logan", FilterWindow::shepp_logan},
    {"cosine", FilterWindow::cosine},
    {"hamming", FilterWindow::hamming},
    {"hann", FilterWindow::hann},
    {"none", FilterWindow::none},
}};

/// f in [0, 1]: frequency over the cutoff.
double window_value(FilterWindow window, double f) {
    switch (window) {
    case FilterWindow::shepp_logan:
        return f > 0 ? std::sin(0.5 * pi * f) / (0.5 * pi * f) : 1;
    case FilterWindow::cosine:
        return std::cos(0.5 * pi * f);
    case FilterWindow::hamming:
        return 0.54 + 0.46 * std::cos(pi * f);
    case FilterWindow::hann:
        return 0.5 + 0.5 * std::cos(pi * f);
    default:
        return 1;
    }
}

// Two real channels make one complex one: the filter is real and even, so they do not mix.
constexpr std::size_t block_channels = 32;
constexpr std::size_t block_pairs = block_channels / 2;

/// In-place transforms of a block [padded length][pair], made once per length and kept for the life
/// of the process.
const fft::Interleaved& transform_of(std::size_t length) {
    static std::mutex mutex;
    static std::map<std::size_t, fft::Interleaved> known;
    const std::scoped_lock lock(mutex);
    return known.try_emplace(length, length, block_pairs).first->second;
}

} // namespace

FilterWindow filter_window(std::string_view name) {
    std::string expected;
    for (const auto& [known, window] : windows) {
        if (known == name)
            return window;
        expected += fmt::format("{}\"{}\"", expected.empty() ? "" : ", ", known);
    }
    throw Error(
        fmt::format("ramp filter: unknown window \"{}\", expected one of {}", name, expected));
}

std::string filter_window_name(FilterWindow window) {
    for (const auto& [name, known] : windows)
        if (known == window)
            return std::string(name);
    throw Error("ramp filter: unknown window");
}

struct RampFilter::Impl {
    std::size_t translations, padded;
    std::vector<double> kernel;  // lag 0 … translations − 1
    std::vector<float> response; // per frequency, over the padded length (FFTW does not normalise)
    const fft::Interleaved* transform;

    Impl(std::size_t n, double step, const RampFilterOptions& options);
    void filter_block(const float* input, std::size_t input_stride, float* output,
                      std::size_t output_stride, std::size_t channels, const float* scale) const;
};

RampFilter::Impl::Impl(std::size_t n, double step, const RampFilterOptions& options)
    : translations(n) {
    if (n == 0)
        throw Error("ramp filter: there is no translation");
    if (!(std::abs(step) > 0) || !std::isfinite(step))
        throw Error(
            fmt::format("ramp filter: step is {} mm, expected a finite number other than 0", step));
    if (!(options.cutoff > 0) || options.cutoff > 1)
        throw Error(fmt::format("ramp filter: cutoff is {}, expected above 0 and at most 1",
                                options.cutoff));

    padded = fft::good_length(std::max<std::size_t>(2 * n, 16), 16);
    transform = &transform_of(padded);
    std::vector<double> cosine(padded);
    for (std::size_t i = 0; i < padded; ++i)
        cosine[i] = std::cos(2 * pi * static_cast<double>(i) / static_cast<double>(padded));

    const double tau = std::abs(step), length = static_cast<double>(padded);
    std::vector<double> spectrum(padded / 2 + 1, 1);
    if (options.window != FilterWindow::none) {
        for (std::size_t k = 0; k < spectrum.size(); ++k) {
            double sum = 0.25;
            for (std::size_t m = 1; m < padded / 2; m += 2)
                sum -= 2 / (pi * pi * static_cast<double>(m * m)) * cosine[k * m % padded];
            const double f = static_cast<double>(k) / (0.5 * length) / options.cutoff;
            spectrum[k] =
                f <= 1 + 1e-12 ? sum / tau * window_value(options.window, std::min(f, 1.0)) : 0;
        }
    }
    kernel.resize(n);
    for (std::size_t m = 0; m < n; ++m) {
        double sum = spectrum.front() + spectrum.back() * (m % 2 ? -1 : 1);
        for (std::size_t k = 1; k < padded / 2; ++k)
            sum += 2 * spectrum[k] * cosine[k * m % padded];
        kernel[m] = sum / length;
    }
    response.resize(padded);
    for (std::size_t k = 0; k < padded; ++k)
        response[k] = static_cast<float>(spectrum[std::min(k, padded - k)] / length);
}

void RampFilter::Impl::filter_block(const float* input, std::size_t input_stride, float* output,
                                    std::size_t output_stride, std::size_t channels,
                                    const float* scale) const {
    using namespace simd;
    static thread_local Buffer buffer;
    float* const work = buffer.reserve(padded * block_channels);
    for (std::size_t t = 0; t < translations; ++t)
        copy_padded(work + t * block_channels, input + t * input_stride, channels, block_channels);
    std::memset(work + translations * block_channels, 0,
                (padded - translations) * block_channels * sizeof(float));

    auto* const complex = reinterpret_cast<fft::Complex*>(work);
    transform->forward(complex);
    for (std::size_t k = 0; k < padded; ++k) {
        const Float8 factor = broadcast(response[k]);
        for (std::size_t c = 0; c < block_channels; c += simd::width) {
            float* p = work + k * block_channels + c;
            store(p, load(p) * factor);
        }
    }
    transform->backward(complex);

    alignas(64) float factors[block_channels];
    for (std::size_t c = 0; c < block_channels; ++c)
        factors[c] = scale && c < channels ? scale[c] : 1;
    for (std::size_t t = 0; t < translations; ++t) {
        const float* from = work + t * block_channels;
        float* to = output + t * output_stride;
        if (channels == block_channels)
            for (std::size_t c = 0; c < block_channels; c += simd::width)
                store(to + c, load(from + c) * load(factors + c));
        else
            for (std::size_t c = 0; c < channels; ++c)
                to[c] = from[c] * factors[c];
    }
}

RampFilter::RampFilter(std::size_t translations, double step, RampFilterOptions options)
    : impl_(std::make_unique<const Impl>(translations, step, options)) {}
RampFilter::~RampFilter() = default;
RampFilter::RampFilter(RampFilter&&) noexcept = default;
RampFilter& RampFilter::operator=(RampFilter&&) noexcept = default;

std::size_t RampFilter::translations() const {
    return impl_->translations;
}
std::size_t RampFilter::padded_length() const {
    return impl_->padded;
}
std::span<const double> RampFilter::kernel() const {
    return impl_->kernel;
}

void RampFilter::apply(const float* input, std::size_t input_stride, float* output,
                       std::size_t output_stride, std::size_t channels, const float* scale) const {
    for (std::size_t first = 0; first < channels; first += block_channels)
        impl_->filter_block(input + first, input_stride, output + first, output_stride,
                            std::min(block_channels, channels - first),
                            scale ? scale + first : nullptr);
}

void RampFilter::apply(std::span<float> projections, std::size_t channels) const {
    const std::size_t size = impl_->translations * channels;
    if (channels == 0 || projections.size() % size != 0)
        throw Error(
            fmt::format("ramp filter: {} values are no whole number of projections of {} × {}",
                        projections.size(), impl_->translations, channels));
    for (std::size_t first = 0; first < projections.size(); first += size)
        apply(projections.data() + first, channels, projections.data() + first, channels, channels);
}

} // namespace xrdct::tomography
