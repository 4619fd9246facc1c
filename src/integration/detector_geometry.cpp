// SPDX-License-Identifier: BSD-3-Clause
#include "integration/detector_geometry.hpp"

#include "base/error.hpp"

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::integration {

void DetectorGeometry::check() const {
    if (rows == 0 || columns == 0)
        throw Error(fmt::format("detector: {} x {} pixels", rows, columns));
    for (const auto& [value, name] : {std::pair{pixel_1, "pixel size along axis 1"},
                                      {pixel_2, "pixel size along axis 2"},
                                      {distance, "distance"}})
        if (!(value > 0) || !std::isfinite(value))
            throw Error(fmt::format("detector: the {} must be positive, is {} mm", name, value));
    for (const auto& [value, name] : {std::pair{poni_1, "poni 1"},
                                      {poni_2, "poni 2"},
                                      {rotation_1, "rotation 1"},
                                      {rotation_2, "rotation 2"},
                                      {rotation_3, "rotation 3"}})
        if (!std::isfinite(value))
            throw Error(fmt::format("detector: {} is not finite", name));
    if (!(wavelength >= 0) || !std::isfinite(wavelength))
        throw Error(fmt::format("detector: the wavelength is {} angstrom", wavelength));
    if (orientation < 1 || orientation > 4)
        throw Error(
            fmt::format("detector: the orientation must lie between 1 and 4, is {}", orientation));
    if (!(std::cos(rotation_1) * std::cos(rotation_2) > 0))
        throw Error(fmt::format("detector: turned by {:.4g} and {:.4g} rad about axes 1 and 2, it "
                                "does not face the beam",
                                rotation_1, rotation_2));
}

double DetectorGeometry::beam_distance() const {
    return distance / (std::cos(rotation_1) * std::cos(rotation_2));
}

PixelDirections::PixelDirections(const DetectorGeometry& geometry) : geometry_(geometry) {
    geometry.check();
    rows_turned_ = geometry.orientation == 1 || geometry.orientation == 2;
    columns_turned_ = geometry.orientation == 1 || geometry.orientation == 4;
    last_row_ = static_cast<double>(geometry.rows);
    last_column_ = static_cast<double>(geometry.columns);
    const double c1 = std::cos(geometry.rotation_1), s1 = std::sin(geometry.rotation_1);
    const double c2 = std::cos(geometry.rotation_2), s2 = std::sin(geometry.rotation_2);
    const double c3 = std::cos(geometry.rotation_3), s3 = std::sin(geometry.rotation_3);
    rotation_ = {c2 * c3,
                 c3 * s1 * s2 - c1 * s3,
                 -(c1 * c3 * s2 + s1 * s3),
                 c2 * s3,
                 c1 * c3 + s1 * s2 * s3,
                 c3 * s1 - c1 * s2 * s3,
                 s2,
                 -c2 * s1,
                 c1 * c2};
}

std::array<double, 3> PixelDirections::position(double row, double column) const {
    return turned(upward(row) * geometry_.pixel_1 - geometry_.poni_1,
                  rightward(column) * geometry_.pixel_2 - geometry_.poni_2);
}

std::array<double, 3> PixelDirections::turned(double p1, double p2) const {
    const double p3 = geometry_.distance;
    const auto& r = rotation_;
    return {r[0] * p1 + r[1] * p2 + r[2] * p3, r[3] * p1 + r[4] * p2 + r[5] * p3,
            r[6] * p1 + r[7] * p2 + r[8] * p3};
}

double PixelDirections::two_theta(double row, double column) const {
    const auto x = position(row, column);
    return std::atan2(std::sqrt(x[0] * x[0] + x[1] * x[1]), x[2]);
}

double PixelDirections::centre_two_theta(std::size_t row, std::size_t column) const {
    // Products and differences are rounded one after the other, so that no compiler fuses them.
    const auto from_poni = [](double centre, double pixel, double poni) {
        const auto size = static_cast<float>(1e-3 * pixel), foot = static_cast<float>(1e-3 * poni);
        const auto place = static_cast<float>(centre * size);
        return 1e3 * static_cast<float>(static_cast<double>(place) - foot);
    };
    const double i = upward(static_cast<double>(row) + 0.5),
                 j = rightward(static_cast<double>(column) + 0.5);
    const auto x = turned(from_poni(i, geometry_.pixel_1, geometry_.poni_1),
                          from_poni(j, geometry_.pixel_2, geometry_.poni_2));
    return std::atan2(std::sqrt(x[0] * x[0] + x[1] * x[1]), x[2]);
}

double PixelDirections::azimuth(double row, double column) const {
    const auto x = position(row, column);
    return std::atan2(x[0], x[1]);
}

double PixelDirections::solid_angle(double row, double column) const {
    const double p1 = upward(row) * geometry_.pixel_1 - geometry_.poni_1,
                 p2 = rightward(column) * geometry_.pixel_2 - geometry_.poni_2,
                 p3 = geometry_.distance;
    const double square = p3 * p3 / (p1 * p1 + p2 * p2 + p3 * p3);
    return square * std::sqrt(square);
}

double PixelDirections::polarization(double row, double column, double factor, double axis) const {
    const auto x = position(row, column);
    const double across = x[0] * x[0] + x[1] * x[1];
    const double sine_squared = across / (across + x[2] * x[2]);
    return 1 - 0.5 * sine_squared * (1 + factor * std::cos(2 * (std::atan2(x[0], x[1]) + axis)));
}

} // namespace xrdct::integration
