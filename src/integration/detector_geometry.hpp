// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>

namespace xrdct::integration {

/// A flat detector in pyFAI's convention (Kieffer & Karkoulis 2013): axis 1 is the slow one of the
/// image (rows, up the detector), axis 2 the fast one (columns), axis 3 points along the beam. The
/// point of normal incidence (PONI) is the foot of the perpendicular from the sample onto the
/// detector plane; the detector is turned about axis 1, then axis 2, then axis 3 through the
/// sample: x = R3(rot3) R2(−rot2) R1(−rot1) (p1 − poni1, p2 − poni2, distance).
///
/// Positions on the detector are in pixels; the centre of pixel (i, j) is (i + ½, j + ½).
///
/// Which corner the first pixel of the image lies in is the orientation (pyFAI since 2023.12, the
/// numbers of EXIF), seen from the sample: 3 (lower left) is what is said above; with 1 (upper left
/// of an image turned by 180 degrees) both indices count from the far end, with 2 those of the
/// rows, with 4 those of the columns. PONI and rotations mean the same with all.
struct DetectorGeometry {
    std::size_t rows = 0;
    std::size_t columns = 0;
    double pixel_1 = 0;    ///< mm along axis 1
    double pixel_2 = 0;    ///< mm along axis 2
    double distance = 0;   ///< mm, sample to detector plane, perpendicular
    double poni_1 = 0;     ///< mm from the outer edge of the first row
    double poni_2 = 0;     ///< mm from the outer edge of the first column
    double rotation_1 = 0; ///< rad
    double rotation_2 = 0; ///< rad
    double rotation_3 = 0; ///< rad
    double wavelength = 0; ///< Å; 0: not known
    int orientation = 3;   ///< 1 to 4

    std::size_t pixels() const { return rows * columns; }

    /// Throws Error, naming the quantity, for what makes no sense (sizes and lengths that are not
    /// positive, values that are not finite).
    void check() const;

    /// mm along the beam from the sample to where the beam meets the detector plane; the distance
    /// that parallax is reckoned with.
    double beam_distance() const;
};

/// The geometry with the rotation matrix worked out: what a pixel sees.
class PixelDirections {
  public:
    /// Throws what DetectorGeometry::check throws.
    explicit PixelDirections(const DetectorGeometry& geometry);

    /// Position in space relative to the sample: (axis 1, axis 2, along the beam) [mm].
    std::array<double, 3> position(double row, double column) const;
    /// rad
    double two_theta(double row, double column) const;
    /// rad, of the centre of pixel (row, column). Its distances from the PONI are rounded to single
    /// precision [m] as pyFAI rounds them: by less than 0.1 µm on any detector, but of two million
    /// centres some hundred lie nearer than that to the border of a channel, and fall on the same
    /// side of it as with pyFAI.
    double centre_two_theta(std::size_t row, std::size_t column) const;
    /// rad, from axis 2 towards axis 1
    double azimuth(double row, double column) const;
    /// Solid angle of a pixel over that at the PONI, cos³ of the angle of incidence.
    double solid_angle(double row, double column) const;
    /// (1 + cos²2θ − factor · cos(2 (χ + axis)) · (1 − cos²2θ)) / 2 (Kahn et al. 1982); `factor` is
    /// 1 for a beam polarised along axis 2, −1 along axis 1, 0 for none; `axis` in rad.
    double polarization(double row, double column, double factor, double axis) const;

  private:
    std::array<double, 3> turned(double p1, double p2) const;
    /// Row and column as orientation 3 counts them, of positions in pixels.
    double upward(double row) const { return rows_turned_ ? last_row_ - row : row; }
    double rightward(double column) const {
        return columns_turned_ ? last_column_ - column : column;
    }

    DetectorGeometry geometry_;
    std::array<double, 9> rotation_{}; ///< row-major
    bool rows_turned_ = false, columns_turned_ = false;
    double last_row_ = 0, last_column_ = 0; ///< the far edges
};

} // namespace xrdct::integration
