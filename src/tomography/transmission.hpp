#pragma once

#include <cstddef>
#include <span>

namespace xrdct::tomography {

/// Zero-order absorption correction y / T in place. sinogram [ray][channel], transmission [ray]. A
/// ray whose transmission is NaN, infinite, or not above `minimum` becomes NaN in every channel.
/// Returns the number of such rays. Throws Error on sizes that do not match or a negative minimum.
std::size_t apply_transmission(std::span<float> sinogram, std::size_t channels,
                               std::span<const float> transmission, double minimum = 0);

/// The inverse: y T in place, for models. Missing transmission gives NaN.
void multiply_transmission(std::span<float> sinogram, std::size_t channels,
                           std::span<const float> transmission);

} // namespace xrdct::tomography
