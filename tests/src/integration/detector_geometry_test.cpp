// SPDX-License-Identifier: BSD-3-Clause
#include "integration/detector_geometry.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <cmath>
#include <gmock/gmock.h>

using namespace xrdct;
using ::testing::HasSubstr;

namespace {

integration::DetectorGeometry upright() {
    integration::DetectorGeometry g;
    g.rows = 300;
    g.columns = 200;
    g.pixel_1 = 0.1;
    g.pixel_2 = 0.15;
    g.distance = 250;
    g.poni_1 = 13;
    g.poni_2 = 21;
    return g;
}

} // namespace

TEST(DetectorGeometry, UprightDetectorByTrigonometry) {
    const auto g = upright();
    const integration::PixelDirections directions(g);
    // the PONI itself, then 3 mm up and 4 mm along
    EXPECT_NEAR(directions.two_theta(130, 140), 0, 1e-12);
    EXPECT_NEAR(directions.solid_angle(130, 140), 1, 1e-12);
    const double row = 160, column = 140 + 4 / 0.15;
    EXPECT_NEAR(directions.two_theta(row, column), std::atan(5.0 / 250), 1e-12);
    EXPECT_NEAR(directions.azimuth(row, column), std::atan2(3.0, 4.0), 1e-12);
    EXPECT_NEAR(directions.solid_angle(row, column), std::pow(std::cos(std::atan(0.02)), 3), 1e-12);
    EXPECT_EQ(g.beam_distance(), 250);
    // fully polarised along the fast axis: cos²2θ there, nothing lost across
    const double angle = directions.two_theta(130, 200);
    EXPECT_NEAR(directions.polarization(130, 200, 1, 0), std::pow(std::cos(angle), 2), 1e-12);
    EXPECT_NEAR(directions.polarization(250, 140, 1, 0), 1, 1e-12);
    EXPECT_NEAR(directions.polarization(250, 140, 1, pi / 2),
                std::pow(std::cos(directions.two_theta(250, 140)), 2), 1e-12);
    EXPECT_NEAR(directions.polarization(130, 200, 0, 0), (1 + std::pow(std::cos(angle), 2)) / 2,
                1e-12);
}

/// Values of pyFAI 0.21 for pixel centres of a detector turned about all axes.
TEST(DetectorGeometry, TurnedDetectorAsPyFAI) {
    auto g = upright();
    g.rotation_1 = 0.3;
    g.rotation_2 = -0.2;
    g.rotation_3 = 0.5;
    const integration::PixelDirections directions(g);
    const struct {
        int row, column;
        double two_theta, azimuth, solid_angle, polarization;
    } expected[] = {
        {0, 0, 0.2609039700194332, 0.08876342476092365, 0.9856406531223622, 0.94198805},
        {150, 20, 0.3079650347146713, 0.22724320823219823, 0.9922383564343139, 0.92490095},
        {299, 199, 0.4279539083631006, 0.15681984210741085, 0.9912572011241955, 0.8538798},
        {7, 133, 0.33008277011991055, -0.04708923603008481, 0.996386600609451, 0.9056859}};
    for (const auto& e : expected) {
        const double i = e.row + 0.5, j = e.column + 0.5;
        EXPECT_NEAR(directions.two_theta(i, j), e.two_theta, 1e-7);
        EXPECT_NEAR(directions.azimuth(i, j), e.azimuth, 1e-6);
        EXPECT_NEAR(directions.solid_angle(i, j), e.solid_angle, 1e-7);
        EXPECT_NEAR(directions.polarization(i, j, 0.8, 0.1), e.polarization, 1e-6);
    }
    // where the beam meets the detector
    const double b = g.beam_distance();
    const double row = (g.poni_1 + std::sin(-0.2) * b) / 0.1,
                 column = (g.poni_2 - std::cos(-0.2) * std::sin(0.3) * b) / 0.15;
    EXPECT_NEAR(directions.two_theta(row, column), 0, 1e-9);
    EXPECT_NEAR(directions.position(row, column)[2], b, 1e-9);
}

/// pyFAI's two functions for the positions of pixels: one in double precision, and the one that it
/// bins with.
TEST(DetectorGeometry, CentresAreRoundedAsByPyFAI) {
    auto g = upright();
    g.rotation_1 = 0.3;
    g.rotation_2 = -0.2;
    g.rotation_3 = 0.5;
    const integration::PixelDirections directions(g);
    const struct {
        std::size_t row, column;
        double rounded, exact;
    } expected[] = {{0, 0, 0.2609039682077517, 0.2609039700194332},
                    {130, 141, 0.3597281241659647, 0.359728120038981},
                    {299, 199, 0.4279539103001654, 0.4279539083631006},
                    {17, 180, 0.3569383794926449, 0.35693837224645775}};
    for (const auto& e : expected) {
        EXPECT_NEAR(directions.centre_two_theta(e.row, e.column), e.rounded, 1e-14);
        EXPECT_NEAR(directions.two_theta(static_cast<double>(e.row) + 0.5,
                                         static_cast<double>(e.column) + 0.5),
                    e.exact, 1e-14);
    }
}

TEST(DetectorGeometry, WhatMakesNoSenseIsNamed) {
    const auto message = [](auto change) -> std::string {
        auto g = upright();
        change(g);
        try {
            g.check();
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message([](auto&) {}), "");
    EXPECT_THAT(message([](auto& g) { g.rows = 0; }), HasSubstr("pixels"));
    EXPECT_THAT(message([](auto& g) { g.pixel_2 = 0; }), HasSubstr("pixel size along axis 2"));
    EXPECT_THAT(message([](auto& g) { g.distance = -1; }), HasSubstr("distance"));
    EXPECT_THAT(message([](auto& g) { g.poni_1 = NAN; }), HasSubstr("poni 1"));
    EXPECT_THAT(message([](auto& g) { g.rotation_3 = INFINITY; }), HasSubstr("rotation 3"));
    EXPECT_THAT(message([](auto& g) { g.rotation_1 = 1.7; }), HasSubstr("face the beam"));
}

/// What orientation 3 says of a pixel, the others say of the pixel that lies there in the image
/// turned over (pyFAI: 1 turns rows and columns, 2 rows, 4 columns).
TEST(DetectorGeometry, OrientationsAreTurnedImages) {
    auto g = upright();
    g.rotation_1 = 0.01;
    g.rotation_2 = -0.015;
    g.rotation_3 = 0.02;
    const integration::PixelDirections standard(g);
    for (const int orientation : {1, 2, 4}) {
        auto turned = g;
        turned.orientation = orientation;
        const integration::PixelDirections directions(turned);
        const std::size_t row = 17, column = 151;
        const std::size_t i = orientation == 4 ? row : g.rows - 1 - row;
        const std::size_t j = orientation == 2 ? column : g.columns - 1 - column;
        EXPECT_EQ(directions.centre_two_theta(row, column), standard.centre_two_theta(i, j));
        const double x = static_cast<double>(row) + 0.5, y = static_cast<double>(column) + 0.5;
        const double u = static_cast<double>(i) + 0.5, v = static_cast<double>(j) + 0.5;
        EXPECT_DOUBLE_EQ(directions.azimuth(x, y), standard.azimuth(u, v));
        EXPECT_DOUBLE_EQ(directions.solid_angle(x, y), standard.solid_angle(u, v));
        EXPECT_DOUBLE_EQ(directions.polarization(x, y, 0.9, 0.2),
                         standard.polarization(u, v, 0.9, 0.2));
    }
    g.orientation = 5;
    EXPECT_THROW(integration::PixelDirections{g}, Error);
}
