// SPDX-License-Identifier: BSD-3-Clause
#include "base/fft.hpp"

#include "base/error.hpp"

#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

#include <fftw3.h>
#include <fmt/format.h>

namespace xrdct::fft {

namespace {

// FFTW's planner is not thread-safe; executing plans is.
std::mutex& planner() {
    static std::mutex mutex;
    return mutex;
}

struct Destroy {
    void operator()(fftwf_plan plan) const {
        const std::scoped_lock lock(planner());
        fftwf_destroy_plan(plan);
    }
};
using Plan = std::unique_ptr<std::remove_pointer_t<fftwf_plan>, Destroy>;

/// make(): a plan of FFTW's.
template <typename Make>
Plan make_plan(std::size_t length, Make&& make) {
    const std::scoped_lock lock(planner());
    Plan plan(make());
    if (!plan)
        throw Error(fmt::format("no Fourier transform of length {}", length));
    return plan;
}

fftwf_complex* raw(Complex* data) {
    return reinterpret_cast<fftwf_complex*>(data);
}

} // namespace

std::size_t good_length(std::size_t min, std::size_t multiple, std::size_t max_prime) {
    for (std::size_t n = (min + multiple - 1) / multiple * multiple;; n += multiple) {
        std::size_t left = n;
        for (const std::size_t prime : {2, 3, 5, 7})
            while (prime <= max_prime && left > 0 && left % prime == 0)
                left /= prime;
        if (left == 1)
            return n;
    }
}

template <typename T>
Array<T>::Array(std::size_t size)
    : size_(size), data_(static_cast<T*>(fftwf_malloc(size * sizeof(T)))) {
    if (!data_ && size > 0)
        throw std::bad_alloc();
}
template <typename T>
Array<T>::~Array() {
    fftwf_free(data_);
}
template class Array<float>;
template class Array<Complex>;

struct Interleaved::Plans {
    Plan forward, backward;
};

Interleaved::Interleaved(std::size_t length, std::size_t count) {
    Array<Complex> scratch(length * count);
    fftwf_complex* const data = raw(scratch.data());
    const int n = static_cast<int>(length), sequences = static_cast<int>(count);
    const auto make = [&](int direction) {
        return make_plan(length, [&] {
            return fftwf_plan_many_dft(1, &n, sequences, data, nullptr, sequences, 1, data, nullptr,
                                       sequences, 1, direction, FFTW_ESTIMATE);
        });
    };
    Plan forward = make(FFTW_FORWARD);
    plans_ = std::make_unique<const Plans>(Plans{std::move(forward), make(FFTW_BACKWARD)});
}
Interleaved::~Interleaved() = default;

void Interleaved::forward(Complex* data) const {
    fftwf_execute_dft(plans_->forward.get(), raw(data), raw(data));
}
void Interleaved::backward(Complex* data) const {
    fftwf_execute_dft(plans_->backward.get(), raw(data), raw(data));
}

struct RealSquare::Plans {
    Plan forward, backward;
};

RealSquare::RealSquare(std::size_t n) : n_(n) {
    Array<float> map(map_size());
    Array<Complex> spectrum(spectrum_size());
    const int side = static_cast<int>(n);
    Plan forward = make_plan(n, [&] {
        return fftwf_plan_dft_r2c_2d(side, side, map.data(), raw(spectrum.data()), FFTW_ESTIMATE);
    });
    Plan backward = make_plan(n, [&] {
        return fftwf_plan_dft_c2r_2d(side, side, raw(spectrum.data()), map.data(), FFTW_ESTIMATE);
    });
    plans_ = std::make_unique<const Plans>(Plans{std::move(forward), std::move(backward)});
}
RealSquare::~RealSquare() = default;

void RealSquare::forward(float* map, Complex* spectrum) const {
    fftwf_execute_dft_r2c(plans_->forward.get(), map, raw(spectrum));
}
void RealSquare::backward(Complex* spectrum, float* map) const {
    fftwf_execute_dft_c2r(plans_->backward.get(), raw(spectrum), map);
}

} // namespace xrdct::fft
