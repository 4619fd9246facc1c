// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/dlsr.

#include "base/fft.hpp"

#include <cstddef>
#include <vector>

namespace xrdct::dlsr {

/// Real even filters on square maps by FFT, padded with zeros so that one side hardly meets the
/// other. Threads may apply it at once, each with its own Work.
class MapFilter {
  public:
    /// Maps of n × n.
    explicit MapFilter(std::size_t n);

    std::size_t length() const { return transform_.length(); } ///< of a padded side
    std::size_t map_size() const { return transform_.map_size(); }
    std::size_t spectrum_size() const { return transform_.spectrum_size(); }
    /// Frequency in cycles per pixel of a spectrum's row or column.
    double frequency(std::size_t i) const {
        const auto signed_i = i <= length() / 2
                                  ? static_cast<double>(i)
                                  : static_cast<double>(i) - static_cast<double>(length());
        return signed_i / static_cast<double>(length());
    }

    struct Work {
        explicit Work(const MapFilter& filter)
            : map(filter.map_size()), spectrum(filter.spectrum_size()) {}
        fft::Array<float> map; ///< [length][length]
        fft::Array<fft::Complex> spectrum;
    };
    /// Filters work.map in place; `symbol` [spectrum_size()] includes 1 / length².
    void apply(const std::vector<float>& symbol, Work& work) const;

  private:
    fft::RealSquare transform_;
};

} // namespace xrdct::dlsr
