// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/scan_geometry.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/units.hpp"

namespace xrdct::tomography {

double ScanGeometry::step() const {
    return translation_sense * (translation.back() - translation.front()) /
           (static_cast<double>(translation.size()) - 1);
}

double ScanGeometry::origin_index() const {
    return (axis_offset - translation_sense * translation.front()) / step();
}

double ScanGeometry::field_of_view_radius() const {
    const double origin = origin_index();
    const double last = static_cast<double>(translation.size()) - 1;
    return std::max(0.0, std::min(origin + 0.5, last + 0.5 - origin)) * std::abs(step());
}

double ScanGeometry::omega(std::size_t i_rotation) const {
    return radians(rotation_sense * rotation[i_rotation]);
}

void ScanGeometry::validate() const {
    if (rotation.empty())
        throw Error("scan geometry: there is no rotation");
    if (translation.size() < 2)
        throw Error(fmt::format("scan geometry: {} translation(s), at least 2 are needed",
                                translation.size()));
    for (const auto& [axis, name] :
         {std::pair{&rotation, "rotation"}, {&translation, "translation"}})
        for (std::size_t i = 0; i < axis->size(); ++i)
            if (!std::isfinite((*axis)[i]))
                throw Error(fmt::format("scan geometry: {}[{}] is not a finite number", name, i));
    for (const auto& [sense, name] : {std::pair{rotation_sense, "rotation_sense"},
                                      std::pair{translation_sense, "translation_sense"}})
        if (sense != 1 && sense != -1)
            throw Error(fmt::format("scan geometry: {} is {}, expected +1 or -1", name, sense));

    const double mean_step = step() * translation_sense;
    if (mean_step == 0)
        throw Error("scan geometry: the translation axis has a step of 0");
    for (std::size_t i = 1; i < translation.size(); ++i) {
        const double gap = translation[i] - translation[i - 1];
        if (std::abs(gap - mean_step) > 0.01 * std::abs(mean_step))
            throw Error(fmt::format(
                "scan geometry: the translation axis is not uniform within 1 % of its step: "
                "{} mm between points {} and {}, {} mm on average",
                gap, i - 1, i, mean_step));
    }
    if (!std::isfinite(axis_offset))
        throw Error("scan geometry: axis_offset is not a finite number");
    if (!(distance > 0))
        throw Error(
            fmt::format("scan geometry: distance is {} mm, expected a positive number", distance));
    if (!(beam_width >= 0) || !std::isfinite(beam_width))
        throw Error(
            fmt::format("scan geometry: beam_width is {} mm, expected 0 or more", beam_width));
}

void ImageGrid::validate() const {
    if (n == 0)
        throw Error("image grid: there is no pixel");
    if (!(pixel > 0) || !std::isfinite(pixel))
        throw Error(fmt::format("image grid: pixel is {} mm, expected a positive number", pixel));
}

ImageGrid default_grid(const ScanGeometry& geometry) {
    return {geometry.translation.size(), std::abs(geometry.step())};
}

std::vector<unsigned char> field_of_view_mask(const ScanGeometry& geometry, const ImageGrid& grid) {
    const double radius = geometry.field_of_view_radius();
    std::vector<unsigned char> mask(grid.size());
    for (std::size_t iy = 0; iy < grid.n; ++iy)
        for (std::size_t ix = 0; ix < grid.n; ++ix)
            mask[iy * grid.n + ix] =
                std::hypot(grid.coordinate(ix), grid.coordinate(iy)) <= radius ? 1 : 0;
    return mask;
}

} // namespace xrdct::tomography
