// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

namespace xrdct::tomography {

/// Parallel pencil-beam scan. A point (x, y) of the sample sits, at rotation ω, at lateral position
/// s = x cos ω + y sin ω and depth z = −x sin ω + y cos ω (positive towards the detector); it is
/// hit when translation = s + axis_offset, with ω = rotation_sense · rotation and the file's
/// translation multiplied by translation_sense before anything else.
struct ScanGeometry {
    std::vector<double> rotation;    ///< degrees, as in the file
    std::vector<double> translation; ///< mm, uniform step, as in the file
    double axis_offset = 0; ///< mm, translation at which the rotation axis is hit (after the sense)
    int rotation_sense = 1; ///< +1 or −1
    int translation_sense = 1;                                 ///< +1 or −1
    double distance = std::numeric_limits<double>::infinity(); ///< mm, axis to detector
    double beam_width = 0; ///< mm, full width of the beam's box profile, which a ray is blurred
                           ///< with besides the step; 0: a thin beam

    double step() const; ///< mm, signed (after translation_sense)

    /// Position of a lateral coordinate s [mm] on the translation axis, in steps: the index of the
    /// nearest translation and its fraction. index = origin_index() + s / step().
    double origin_index() const;

    /// Radius [mm] of the disc about the axis that every projection sees: the distance from the
    /// axis to the nearer end of the translation range, outer half steps included. 0 when the axis
    /// lies outside the range.
    double field_of_view_radius() const;

    /// ω in radians, with the sense: rotation_sense · rotation.
    double omega(std::size_t i_rotation) const;

    /// Throws Error for empty or non-finite axes, a translation axis that is not uniform within 1 %
    /// of the step, senses other than ±1, a distance that is not positive.
    void validate() const;
};

/// Square image grid, index order [y, x]. Pixel (iy, ix) is centred at
/// (x, y) = ((ix − (n−1)/2) pixel, (iy − (n−1)/2) pixel) mm.
struct ImageGrid {
    std::size_t n = 0;
    double pixel = 1; ///< mm

    double coordinate(std::size_t i) const {
        return (static_cast<double>(i) - 0.5 * (static_cast<double>(n) - 1)) * pixel;
    }
    std::size_t size() const { return n * n; }

    /// Throws Error for an empty grid or a pixel that is not positive and finite.
    void validate() const;
};

/// Grid with one pixel per translation and pixel = |step|.
ImageGrid default_grid(const ScanGeometry& geometry);

/// [y, x], 1 for the pixels whose centre lies in the field of view of the scan, 0 elsewhere.
std::vector<unsigned char> field_of_view_mask(const ScanGeometry& geometry, const ImageGrid& grid);

} // namespace xrdct::tomography
