// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "registration/image_grid.hpp"
#include "registration/rigid_transform.hpp"

#include <span>
#include <vector>

namespace xrdct::registration {

/// A map with its standard deviations on a grid; `errors` may be empty.
struct ResampledMap {
    std::vector<double> values; ///< [y, x]; NaN: no value
    std::vector<double> errors;
};

/// The map seen in the reference's frame: target pixel p takes the source's value at transform(p).
///
/// Bilinear interpolation between the neighbours that are finite, their weights renormalised;
/// where less than half of the weight is on finite neighbours, or outside the source, the result is
/// NaN. A target pixel larger than the source's averages over its area. Standard deviations are
/// propagated with the same weights for independent neighbours; an error that is not finite makes
/// the result's error NaN. A transform that maps pixel centres on pixel centres of equal size
/// changes no value.
/// `errors` is as long as `values` or empty. @throws Error when lengths do not match the grid.
ResampledMap resample_map(std::span<const double> values, std::span<const double> errors,
                          const PixelGrid& source, const RigidTransform& transform,
                          const PixelGrid& target);

/// The same for codes: nearest neighbour, NaN outside the source.
std::vector<double> resample_codes(std::span<const double> values, const PixelGrid& source,
                                   const RigidTransform& transform, const PixelGrid& target);

} // namespace xrdct::registration
