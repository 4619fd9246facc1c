// SPDX-License-Identifier: BSD-3-Clause
#include "maps/phase_mask.hpp"

#include "base/error.hpp"
#include "maps/neighbours.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::maps {

namespace {

/// Half of a Gaussian of unit height, from its centre on.
std::vector<double> gauss_kernel(double sigma) {
    std::vector<double> kernel{1};
    for (int k = 1; k <= 3 * sigma; ++k)
        kernel.push_back(std::exp(-0.5 * k * k / (sigma * sigma)));
    return kernel;
}

/// Separable convolution with a symmetric kernel; nothing lies beyond the borders.
std::vector<double> convolve(const std::vector<double>& map, const std::vector<double>& kernel,
                             std::size_t ny, std::size_t nx) {
    const auto reach = static_cast<std::ptrdiff_t>(kernel.size()) - 1;
    const auto pass = [&](const std::vector<double>& in, std::size_t lines, std::size_t line_stride,
                          std::size_t count, std::size_t stride) {
        std::vector<double> out(in.size(), 0.0);
        for (std::size_t l = 0; l < lines; ++l)
            for (std::size_t i = 0; i < count; ++i) {
                double sum = 0;
                for (std::ptrdiff_t k = -reach; k <= reach; ++k) {
                    const std::ptrdiff_t j = static_cast<std::ptrdiff_t>(i) + k;
                    if (j >= 0 && j < static_cast<std::ptrdiff_t>(count))
                        sum += kernel[static_cast<std::size_t>(std::abs(k))] *
                               in[l * line_stride + static_cast<std::size_t>(j) * stride];
                }
                out[l * line_stride + i * stride] = sum;
            }
        return out;
    };
    return pass(pass(map, ny, nx, nx, 1), nx, 1, ny, nx);
}

} // namespace

std::vector<unsigned char> phase_mask(std::span<const double> scale, std::span<const double> esd,
                                      std::size_t ny, std::size_t nx,
                                      std::span<const unsigned char> sample,
                                      const PhaseMaskOptions& options) {
    const std::size_t size = ny * nx;
    if (scale.size() != size || esd.size() != size || sample.size() != size)
        throw Error(fmt::format("phase mask: maps of {}, {} and {} voxels for {} × {}",
                                scale.size(), esd.size(), sample.size(), ny, nx));
    // A phase that is weak everywhere is no noise: significance is judged on local means.
    std::vector<double> value(size, 0.0), variance(size, 0.0), weight(size, 0.0);
    for (std::size_t i = 0; i < size; ++i)
        if (sample[i] && std::isfinite(scale[i]) && std::isfinite(esd[i])) {
            value[i] = scale[i];
            variance[i] = esd[i] * esd[i];
            weight[i] = 1;
        }
    const auto kernel = gauss_kernel(options.smoothing);
    auto squared = kernel;
    for (double& k : squared)
        k *= k;
    value = convolve(value, kernel, ny, nx);
    weight = convolve(weight, kernel, ny, nx);
    variance = convolve(variance, squared, ny, nx);
    std::vector<unsigned char> core(size, 0);
    std::vector<double> values;
    for (std::size_t i = 0; i < size; ++i) {
        if (!sample[i] || !(weight[i] > 0))
            continue;
        value[i] /= weight[i];
        const double error = std::sqrt(variance[i]) / weight[i];
        if (value[i] > 0 && value[i] >= options.significance * error) {
            core[i] = 1;
            values.push_back(value[i]);
        }
    }
    if (values.empty())
        return core;
    const auto at =
        values.begin() + static_cast<std::ptrdiff_t>(0.95 * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    const double least = options.fraction * *at;
    for (std::size_t i = 0; i < size; ++i)
        core[i] = core[i] && value[i] >= least;
    std::vector<unsigned char> mask(size, 0);
    for (std::size_t y = 0; y < ny; ++y)
        for (std::size_t x = 0; x < nx; ++x)
            mask[y * nx + x] = core[y * nx + x] && neighbours(core, ny, nx, y, x) >= 2;
    for (int round = 0; round < options.growth; ++round) {
        const auto before = mask;
        for (std::size_t y = 0; y < ny; ++y)
            for (std::size_t x = 0; x < nx; ++x)
                mask[y * nx + x] = before[y * nx + x] ||
                                   (sample[y * nx + x] && neighbours(before, ny, nx, y, x) > 0);
    }
    return mask;
}

} // namespace xrdct::maps
