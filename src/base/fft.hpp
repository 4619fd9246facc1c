// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <complex>
#include <cstddef>
#include <memory>
#include <span>

namespace xrdct::fft {

// Plans are FFTW's estimates: plans that are chosen by measuring differ from run to run, and so
// would results in their last digits. No transform is normalised: forward and backward together
// multiply by the number of elements. Making and destroying the classes below is safe from several
// threads, and so are calls on one object with different data.

using Complex = std::complex<float>;

/// Smallest length not below `min` that is a multiple of `multiple` (a product of 2, 3, 5, 7) and
/// has no prime factor above `max_prime` (5 or 7): those are transformed fast.
std::size_t good_length(std::size_t min, std::size_t multiple = 2, std::size_t max_prime = 5);

/// Storage of fixed size, not initialised, aligned as the transforms below expect their data.
template <typename T>
class Array {
  public:
    explicit Array(std::size_t size);
    ~Array();
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;

    std::size_t size() const { return size_; }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }

  private:
    std::size_t size_;
    T* data_;
};
extern template class Array<float>;
extern template class Array<Complex>;

/// One-dimensional complex transforms, in place, of `count` sequences side by side: data
/// [length][count]. Data must be aligned to 16 bytes at least.
class Interleaved {
  public:
    /// Throws Error where FFTW has no plan.
    Interleaved(std::size_t length, std::size_t count);
    ~Interleaved();
    Interleaved(const Interleaved&) = delete;
    Interleaved& operator=(const Interleaved&) = delete;

    /// Σ_j data_j e^(−2πi jk/length).
    void forward(Complex* data) const;
    /// The same with a positive exponent.
    void backward(Complex* data) const;

  private:
    struct Plans;
    std::unique_ptr<const Plans> plans_;
};

/// Two-dimensional transforms between a real square map [n][n] and its half spectrum
/// [n][n / 2 + 1]. Data must be aligned as Array aligns it.
class RealSquare {
  public:
    /// Throws Error where FFTW has no plan.
    explicit RealSquare(std::size_t n);
    ~RealSquare();
    RealSquare(const RealSquare&) = delete;
    RealSquare& operator=(const RealSquare&) = delete;

    std::size_t length() const { return n_; }
    std::size_t map_size() const { return n_ * n_; }
    std::size_t spectrum_size() const { return n_ * (n_ / 2 + 1); }

    /// Keeps the map.
    void forward(float* map, Complex* spectrum) const;
    /// Destroys the spectrum.
    void backward(Complex* spectrum, float* map) const;

  private:
    struct Plans;
    std::size_t n_;
    std::unique_ptr<const Plans> plans_;
};

} // namespace xrdct::fft
