// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::tomography {

/// Window multiplied onto the ramp; f is the frequency over the cutoff, 0 ≤ f ≤ 1, and zero beyond:
/// ram_lak 1, shepp_logan sinc(f/2), cosine cos(πf/2), hamming 0.54 + 0.46 cos πf, hann (1 + cos
/// πf)/2. none: no ramp at all, projections pass unchanged (plain back-projection).
enum class FilterWindow { ram_lak, shepp_logan, cosine, hamming, hann, none };

/// "ram-lak", "shepp-logan", "cosine", "hamming", "hann", "none". Throws Error naming them for
/// anything else.
FilterWindow filter_window(std::string_view name);
std::string filter_window_name(FilterWindow window);

struct RampFilterOptions {
    FilterWindow window = FilterWindow::ram_lak;
    double cutoff = 1; ///< of the Nyquist frequency, in (0, 1]
};

/// Ramp filter of parallel-beam filtered back-projection along the translation axis. The ramp is
/// the transform of the band-limited kernel sampled in space, h(0) = 1/(4τ²), h(m odd) = −1/(πmτ)²,
/// h(m even) = 0 (Kak & Slaney, Principles of Computerized Tomographic Imaging, eq. 3.61), which
/// keeps the mean of the image right; τ the step. Projections are padded with zeros to at least
/// twice their length, so that nothing wraps around.
class RampFilter {
  public:
    /// step [mm], its sign is ignored. Throws Error for no translations, a step of 0 or a cutoff
    /// outside (0, 1].
    RampFilter(std::size_t translations, double step, RampFilterOptions options = {});
    ~RampFilter();
    RampFilter(RampFilter&&) noexcept;
    RampFilter& operator=(RampFilter&&) noexcept;
    RampFilter(const RampFilter&) = delete;
    RampFilter& operator=(const RampFilter&) = delete;

    std::size_t translations() const;
    std::size_t padded_length() const;

    /// Filters in place projections [projection][translation][channel], any number of projections.
    /// Output in units of the input per mm. NaN spreads over its projection and the neighbouring
    /// channel. Calls on one object from several threads are safe.
    void apply(std::span<float> projections, std::size_t channels) const;

    /// The same for one projection [translation][channel] with row strides in floats; input and
    /// output may be one. scale: a factor per channel for the output, or null.
    void apply(const float* input, std::size_t input_stride, float* output,
               std::size_t output_stride, std::size_t channels, const float* scale = nullptr) const;

    /// Effective kernel, window included, times the step: filtered_i = Σ_j kernel[|i − j|]
    /// projection_j, in 1/mm; lags 0 … translations − 1.
    std::span<const double> kernel() const;

  private:
    struct Impl;
    std::unique_ptr<const Impl> impl_;
};

} // namespace xrdct::tomography
