#pragma once

// Private to solvers/dlsr.

#include <cstddef>
#include <vector>

#include <fftw3.h>

namespace xrdct::dlsr {

/// Real even filters on square maps by FFT, padded with zeros so that one side hardly meets the
/// other. Threads may apply it at once, each with its own Work.
class MapFilter {
  public:
    /// Maps of n × n.
    explicit MapFilter(std::size_t n);
    ~MapFilter();
    MapFilter(const MapFilter&) = delete;
    MapFilter& operator=(const MapFilter&) = delete;

    std::size_t length() const { return length_; } ///< of a padded side
    std::size_t map_size() const { return length_ * length_; }
    std::size_t spectrum_size() const { return length_ * (length_ / 2 + 1); }
    /// Frequency in cycles per pixel of a spectrum's row or column.
    double frequency(std::size_t i) const {
        const auto signed_i = i <= length_ / 2
                                  ? static_cast<double>(i)
                                  : static_cast<double>(i) - static_cast<double>(length_);
        return signed_i / static_cast<double>(length_);
    }

    struct Work {
        explicit Work(const MapFilter& filter)
            : map(fftwf_alloc_real(filter.map_size())),
              spectrum(fftwf_alloc_complex(filter.spectrum_size())) {}
        ~Work() {
            fftwf_free(map);
            fftwf_free(spectrum);
        }
        Work(const Work&) = delete;
        Work& operator=(const Work&) = delete;
        float* map; ///< [length][length]
        fftwf_complex* spectrum;
    };
    /// Filters work.map in place; `symbol` [spectrum_size()] includes 1 / length².
    void apply(const std::vector<float>& symbol, Work& work) const;

  private:
    std::size_t length_;
    fftwf_plan forward_, backward_;
};

} // namespace xrdct::dlsr
