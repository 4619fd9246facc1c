// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// Whether neighbouring lines of a sinogram run against each other.
struct ZigzagTest {
    double direct = 0;      ///< mean correlation of a line with its neighbours as they lie
    double mirrored = 0;    ///< the same with the line reversed
    double uncertainty = 0; ///< of the difference, one standard deviation
    bool decided = false;   ///< most lines agree which is larger: the sample is not symmetric
    bool zigzag = false;    ///< decided, and mirrored is the larger one
};

/// `sinogram` [rotation][translation], NaN where missing. Each line is correlated with the mean of
/// its two neighbours, as it lies and reversed, at the best displacement up to `reach` steps (a
/// lag). Lines with fewer than 16 common points do not enter.
ZigzagTest test_zigzag(std::span<const float> sinogram, std::size_t n_rotation,
                       std::size_t n_translation, std::size_t reach = 4);

/// Displacement of every second line, as flying scans leave it.
struct LagEstimate {
    double lag = 0; ///< steps by which odd lines lie at higher indices than even ones
    double uncertainty = 0;
    std::size_t used = 0; ///< lines that entered
    bool valid = false;
    bool significant = false; ///< at least a quarter of a step and five uncertainties
};

/// Every line is registered on the mean of its two neighbours, which run the other way and between
/// which the sample's own turning cancels; the lag is the median over the lines, odd ones counted
/// positive. Lags up to `reach` steps are found. Otherwise as test_zigzag.
LagEstimate measure_lag(std::span<const float> sinogram, std::size_t n_rotation,
                        std::size_t n_translation, std::size_t reach = 6);

/// Reverses the order of `n` groups of `width` values each (a line [translation][channel]).
void reverse_line(std::span<float> line, std::size_t width);

/// Moves a line [translation][channel] by `shift` steps towards lower indices:
/// out(t) = in(t + shift), by linear interpolation where the shift is no whole number. What comes
/// from beyond the ends is NaN. With `squared_weights` the values are variances: weights enter
/// squared.
void shift_line(std::span<float> line, std::size_t width, double shift, bool squared_weights);

} // namespace xrdct::conditioning
