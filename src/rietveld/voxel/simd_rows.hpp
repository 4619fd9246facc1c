// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter: aligned rows of floats, and the vectors they are read in.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#pragma GCC diagnostic ignored "-Wpsabi"

namespace xrdct::rietveld {

/// Floats side by side in one register.
inline constexpr std::size_t simd_width = 8;
using Pack = float __attribute__((vector_size(simd_width * sizeof(float)), may_alias));
struct alignas(simd_width * sizeof(float)) Block {
    float value[simd_width];
};

inline std::size_t padded(std::size_t n) {
    return (n + simd_width - 1) / simd_width * simd_width;
}
inline const Pack* packs(const float* p) {
    return reinterpret_cast<const Pack*>(p);
}
inline Pack* packs(float* p) {
    return reinterpret_cast<Pack*>(p);
}
inline double sum_of(const Pack& pack) {
    double sum = 0;
    for (std::size_t i = 0; i < simd_width; ++i) {
        sum += static_cast<double>(pack[i]);
    }
    return sum;
}

/// Rows of floats, each aligned for vector loads and padded with zeros.
class Rows {
  public:
    Rows() = default;
    Rows(std::size_t count, std::size_t length)
        : stride_(padded(length)),
          data_(new (std::align_val_t{64}) float[std::max<std::size_t>(count, 1) * stride_]()) {}
    float* operator[](std::size_t i) { return data_.get() + i * stride_; }
    const float* operator[](std::size_t i) const { return data_.get() + i * stride_; }

  private:
    struct Free {
        void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
    };
    std::size_t stride_ = 0;
    std::unique_ptr<float[], Free> data_;
};

} // namespace xrdct::rietveld
