// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/image_levels.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"

#include <utility>

namespace xrdct::absorption {

double plateau_constant(std::span<const float> image, std::size_t n, double fraction) {
    std::vector<float> positive;
    for (const float value : image)
        if (value > 0)
            positive.push_back(value);
    const float half = positive.empty() ? 0 : 0.5F * lower_quantile(std::move(positive), 0.995);
    std::vector<float> inside;
    for (std::size_t y = 1; y + 1 < n; ++y)
        for (std::size_t x = 1; x + 1 < n; ++x) {
            bool all = half > 0;
            for (std::size_t v = y - 1; v <= y + 1 && all; ++v)
                for (std::size_t u = x - 1; u <= x + 1; ++u)
                    all = all && image[v * n + u] > half;
            if (all)
                inside.push_back(image[y * n + x]);
        }
    if (inside.size() < 5)
        throw Error("absorption: the reference phase fills no region of three by three voxels; a "
                    "can wall (\"ring\") or a given constant calibrates thin layers");
    return fraction / lower_quantile(std::move(inside), 0.5);
}

std::vector<unsigned char> sample_mask(std::span<const double> total, double threshold) {
    std::vector<double> values;
    for (const double value : total)
        if (value > 0)
            values.push_back(value);
    std::vector<unsigned char> mask(total.size(), 0);
    if (values.empty())
        return mask;
    const double high = lower_quantile(std::move(values), 0.99);
    for (std::size_t i = 0; i < total.size(); ++i)
        mask[i] = total[i] > threshold * high;
    return mask;
}

} // namespace xrdct::absorption
