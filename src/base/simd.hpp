// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the library: vectors of eight floats in the compiler's own type (GCC, Clang), which
// become AVX registers where there are any and pairs of SSE or NEON registers elsewhere.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include <sys/mman.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"

// Unrolling by hand pays in the inner loops; with sanitizers it only makes compilation endless.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XRDCT_UNROLL(count)
#else
#define XRDCT_UNROLL_PRAGMA(text) _Pragma(#text)
#define XRDCT_UNROLL(count) XRDCT_UNROLL_PRAGMA(GCC unroll count)
#endif

namespace xrdct::simd {

/// Elements of a vector.
inline constexpr std::size_t width = 8;

typedef float Float8 __attribute__((vector_size(32), may_alias));
typedef std::int32_t Int8 __attribute__((vector_size(32), may_alias));

/// Half as wide, and sums of it in double precision.
typedef float Float4 __attribute__((vector_size(16)));
typedef double Double4 __attribute__((vector_size(32)));

[[gnu::always_inline]] inline Float8 load(const float* p) {
    Float8 v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
[[gnu::always_inline]] inline void store(float* p, Float8 v) {
    std::memcpy(p, &v, sizeof v);
}
[[gnu::always_inline]] inline Float8 broadcast(float x) {
    return Float8{x, x, x, x, x, x, x, x};
}
[[gnu::always_inline]] inline Float8 maximum(Float8 a, Float8 b) {
    return a > b ? a : b;
}
[[gnu::always_inline]] inline Float8 minimum(Float8 a, Float8 b) {
    return a < b ? a : b;
}
[[gnu::always_inline]] inline Float8 absolute(Float8 a) {
    return a > -a ? a : -a;
}
/// Towards zero: the floor of what is not negative.
[[gnu::always_inline]] inline Int8 truncate(Float8 a) {
    return __builtin_convertvector(a, Int8);
}
[[gnu::always_inline]] inline Float8 to_float(Int8 a) {
    return __builtin_convertvector(a, Float8);
}

[[gnu::always_inline]] inline Float8 clamp(Float8 a, Float8 limit) {
    return minimum(maximum(a, -limit), limit);
}

#ifdef __AVX2__
/// The byte order that moves the elements set in a mask to the front.
inline constexpr auto compress_order = [] {
    std::array<std::array<std::uint8_t, width>, 256> order{};
    for (std::size_t mask = 0; mask < 256; ++mask)
        for (std::size_t lane = 0, n = 0; lane < width; ++lane)
            if (mask >> lane & 1)
                order[mask][n++] = static_cast<std::uint8_t>(lane);
    return order;
}();
#endif

/// Stores the elements of `values` that are above 0, and those of `companions` beside them, one
/// after the other; writes eight of each, returns how many count.
[[gnu::always_inline]] inline std::size_t store_positive(Float8 values, Int8 companions, float* to,
                                                         std::int32_t* to_companions) {
#ifdef __AVX2__
    const auto mask =
        static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(values, __m256{}, _CMP_GT_OQ)));
    std::uint64_t packed;
    std::memcpy(&packed, compress_order[mask].data(), sizeof packed);
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(packed)));
    store(to, _mm256_permutevar8x32_ps(values, order));
    const __m256i moved = _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(companions), order);
    std::memcpy(to_companions, &moved, sizeof moved);
    return static_cast<std::size_t>(std::popcount(mask));
#else
    std::size_t n = 0;
    for (std::size_t lane = 0; lane < width; ++lane) {
        to[n] = values[lane];
        to_companions[n] = companions[lane];
        n += values[lane] > 0 ? 1 : 0;
    }
    return n;
#endif
}

/// Float storage on a cache line, not initialised; grows, never shrinks. Large storage asks for
/// huge pages: the gathers touch more small ones at a time than the processor keeps translations
/// of.
class Buffer {
  public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)),
          alignment_(other.alignment_) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(alignment_, other.alignment_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { release(); }

    float* reserve(std::size_t size) {
        if (size > size_) {
            release();
            std::size_t bytes = size * sizeof(float);
            alignment_ = 64;
            if (bytes >= huge_page / 4) {
                alignment_ = huge_page;
                bytes = (bytes + huge_page - 1) / huge_page * huge_page;
            }
            data_ = static_cast<float*>(::operator new (bytes, std::align_val_t{alignment_}));
            size_ = size;
#ifdef MADV_HUGEPAGE
            if (alignment_ == huge_page)
                madvise(data_, bytes, MADV_HUGEPAGE); // only a wish: may fail
#endif
        }
        return data_;
    }
    float* data() {
        return data_;
    }

  private:
    static constexpr std::size_t huge_page = std::size_t{1} << 21;
    void release() noexcept {
        if (data_)
            ::operator delete (data_, std::align_val_t{alignment_});
        data_ = nullptr;
        size_ = 0;
    }
    float* data_ = nullptr;
    std::size_t size_ = 0, alignment_ = 64;
};

/// Copies `channels` floats and fills up to `padded` with zeros.
[[gnu::always_inline]] inline void copy_padded(float* to, const float* from, std::size_t channels,
                                               std::size_t padded) {
    if (channels == padded) {
        for (std::size_t i = 0; i < padded; i += width)
            store(to + i, load(from + i));
    } else {
        std::memcpy(to, from, channels * sizeof(float));
        std::memset(to + channels, 0, (padded - channels) * sizeof(float));
    }
}

} // namespace xrdct::simd
