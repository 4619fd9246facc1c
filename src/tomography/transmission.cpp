#include "tomography/transmission.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.hpp"

namespace xrdct::tomography {

namespace {

void check_sizes(std::span<const float> sinogram, std::size_t channels,
                 std::span<const float> transmission) {
    if (sinogram.size() != transmission.size() * channels)
        throw Error(
            fmt::format("transmission: {} rays, but the sinogram holds {} values for {} channel(s)",
                        transmission.size(), sinogram.size(), channels));
}

} // namespace

std::size_t apply_transmission(std::span<float> sinogram, std::size_t channels,
                               std::span<const float> transmission, double minimum) {
    check_sizes(sinogram, channels, transmission);
    if (!(minimum >= 0))
        throw Error(fmt::format("transmission: minimum is {}, expected 0 or more", minimum));
    std::size_t masked = 0;
    for (std::size_t ray = 0; ray < transmission.size(); ++ray) {
        const double t = transmission[ray];
        const bool usable = std::isfinite(t) && t > minimum;
        const float factor =
            usable ? static_cast<float>(1 / t) : std::numeric_limits<float>::quiet_NaN();
        masked += !usable;
        for (float& value : sinogram.subspan(ray * channels, channels))
            value *= factor;
    }
    return masked;
}

void multiply_transmission(std::span<float> sinogram, std::size_t channels,
                           std::span<const float> transmission) {
    check_sizes(sinogram, channels, transmission);
    for (std::size_t ray = 0; ray < transmission.size(); ++ray)
        for (float& value : sinogram.subspan(ray * channels, channels))
            value *= transmission[ray];
}

} // namespace xrdct::tomography
