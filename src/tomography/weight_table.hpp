// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the library: weights laid out for the inner loop of projection and back-projection,
// that loop, and the prefetching beside it.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/simd.hpp"

namespace xrdct::tomography::gather {

/// Weights of a few places (pixels or samples) for a run of neighbours, laid out for `accumulate`:
/// per place and group of eight neighbours, the eight offsets and the weights [tap][neighbour]; the
/// last tap, where it is optional, in a list per place of those that are not 0.
class WeightTable {
  public:
    WeightTable(std::size_t places, std::size_t neighbours, std::size_t taps)
        : weights_(places * neighbours * taps), offsets_(places * neighbours),
          extra_weights_(places * neighbours + simd::width),
          extra_offsets_(places * neighbours + simd::width), extra_end_(places) {}

    /// Fills the table from the start. A local object, so that its pointers stay in registers.
    class Writer {
      public:
        explicit Writer(WeightTable& table)
            : weight_(table.weights_.data()), offset_(table.offsets_.data()),
              extra_weight_(table.extra_weights_.data()), first_extra_(extra_weight_),
              extra_offset_(table.extra_offsets_.data()), extra_end_(table.extra_end_.data()) {}
        /// Where the weights of the next eight neighbours go, taps × 8 floats.
        float* weights() { return weight_; }
        /// Takes over eight neighbours whose weights stand in weights().
        template <bool last_is_optional>
        [[gnu::always_inline]] void append(simd::Int8 offsets, std::size_t taps,
                                           std::size_t width) {
            std::memcpy(offset_, &offsets, sizeof offsets);
            if constexpr (last_is_optional) {
                const std::size_t count =
                    simd::store_positive(simd::load(weight_ + (taps - 1) * simd::width),
                                         offsets + static_cast<std::int32_t>((taps - 1) * width),
                                         extra_weight_, extra_offset_);
                extra_weight_ += count;
                extra_offset_ += count;
                weight_ += (taps - 1) * simd::width;
            } else {
                weight_ += taps * simd::width;
            }
            offset_ += simd::width;
        }
        void end_place() {
            *extra_end_++ = static_cast<std::uint32_t>(extra_weight_ - first_extra_);
        }

      private:
        float* weight_;
        std::int32_t* offset_;
        float* extra_weight_;
        const float* first_extra_;
        std::int32_t* extra_offset_;
        std::uint32_t* extra_end_;
    };

    const float* first_weight() const { return weights_.data(); }
    const std::int32_t* first_offset() const { return offsets_.data(); }
    const float* extra_weights() const { return extra_weights_.data(); }
    const std::int32_t* extra_offsets() const { return extra_offsets_.data(); }
    std::size_t extra_end(std::size_t place) const { return extra_end_[place]; }

  private:
    std::vector<float> weights_;
    std::vector<std::int32_t> offsets_;
    std::vector<float> extra_weights_;
    std::vector<std::int32_t> extra_offsets_;
    std::vector<std::uint32_t> extra_end_;
};

/// Reads a WeightTable place by place.
struct WeightCursor {
    const float* weight;
    const std::int32_t* offset;
    std::size_t place = 0, extra = 0;
    explicit WeightCursor(const WeightTable& table)
        : weight(table.first_weight()), offset(table.first_offset()) {}
    /// At any place of a table with so many neighbours per place and so many taps beside the list.
    WeightCursor(const WeightTable& table, std::size_t index, std::size_t neighbours,
                 std::size_t taps)
        : weight(table.first_weight() + index * neighbours * taps),
          offset(table.first_offset() + index * neighbours), place(index),
          extra(index > 0 ? table.extra_end(index - 1) : 0) {}
};

/// total[set][v] += Σ weight · data for the next place, whose neighbours come in `groups` of eight.
template <std::size_t n_taps, bool last_is_optional, std::size_t V, std::size_t sets>
[[gnu::always_inline]] inline void accumulate(const WeightTable& table, WeightCursor& cursor,
                                              std::size_t groups, std::size_t run_time_taps,
                                              const float* data, simd::Float8 (&total)[sets][V]) {
    using namespace simd;
    constexpr std::size_t width = V * simd::width;
    const std::size_t taps = (n_taps ? n_taps : run_time_taps) - (last_is_optional ? 1 : 0);
    for (std::size_t g = 0; g < groups; ++g) {
        XRDCT_UNROLL(8)
        for (std::size_t a = 0; a < simd::width; ++a) {
            const float* p = data + cursor.offset[a];
            XRDCT_UNROLL(16)
            for (std::size_t t = 0; t < taps; ++t) {
                const Float8 factor = broadcast(cursor.weight[t * simd::width + a]);
                XRDCT_UNROLL(8)
                for (std::size_t v = 0; v < V; ++v)
                    total[a % sets][v] += factor * load(p + t * width + v * simd::width);
            }
        }
        cursor.weight += taps * simd::width;
        cursor.offset += simd::width;
    }
    if constexpr (last_is_optional) {
        const std::size_t end = table.extra_end(cursor.place++);
        for (; cursor.extra < end; ++cursor.extra) {
            const float* p = data + table.extra_offsets()[cursor.extra];
            const Float8 factor = broadcast(table.extra_weights()[cursor.extra]);
            XRDCT_UNROLL(8)
            for (std::size_t v = 0; v < V; ++v)
                total[0][v] += factor * load(p + v * simd::width);
        }
    }
}

/// Fetches data of the next stretch of work into the second-level cache, a few cache lines at a
/// time, while this one keeps the processor busy.
class Prefetcher {
  public:
    void clear() {
        from_.clear();
        at_ = 0;
        within_ = 0;
    }
    void add(const float* from) { from_.push_back(from); }
    /// Of each address, `channels` floats will be fetched.
    explicit Prefetcher(std::size_t channels) : channels_(channels) {}
    [[gnu::always_inline]] void fetch_line() {
        if (at_ == from_.size())
            return;
        __builtin_prefetch(from_[at_] + within_, 0, 2);
        within_ += 16;
        if (within_ >= channels_) {
            within_ = 0;
            ++at_;
        }
    }

  private:
    std::vector<const float*> from_;
    std::size_t at_ = 0, within_ = 0, channels_;
};

} // namespace xrdct::tomography::gather
