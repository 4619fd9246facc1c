// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/labels.hpp"
#include "jobs/report/palette.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace xrdct::report {
namespace {

/// CIE 1976 lightness of an sRGB colour (IEC 61966-2-1), 0 … 100.
double lightness(report::Rgb colour) {
    const auto linear = [](double c) {
        c /= 255.0;
        return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
    };
    const double y =
        0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
    return y > 216.0 / 24389.0 ? 116.0 * std::cbrt(y) - 16.0 : y * 24389.0 / 27.0;
}

TEST(ReportPalette, SequentialPalettesClimbEvenlyInLightness) {
    for (const report::Palette palette : {report::Palette::viridis, report::Palette::inferno,
                                          report::Palette::magma, report::Palette::cividis}) {
        const auto anchors = palette_anchors(palette);
        ASSERT_GE(anchors.size(), 8U);
        const double low = lightness(anchors.front()), high = lightness(anchors.back());
        const double step = (high - low) / static_cast<double>(anchors.size() - 1);
        EXPECT_GT(high - low, 60.0);
        for (std::size_t i = 1; i < anchors.size(); ++i) {
            const double rise = lightness(anchors[i]) - lightness(anchors[i - 1]);
            EXPECT_NEAR(rise, step, 0.4 * step)
                << "palette " << static_cast<int>(palette) << " at " << i;
        }
    }
}

TEST(ReportPalette, DivergingPaletteIsLightestInTheMiddle) {
    const auto anchors = palette_anchors(report::Palette::diverging);
    ASSERT_EQ(anchors.size() % 2, 1U);
    for (std::size_t i = 0; i < anchors.size() / 2; ++i) {
        EXPECT_LT(lightness(anchors[i]), lightness(anchors[i + 1]));
        EXPECT_NEAR(lightness(anchors[i]), lightness(anchors[anchors.size() - 1 - i]), 8.0);
    }
}

TEST(ReportPalette, MissingVoxelsAreNoColourOfAnyPalette) {
    const auto distance = [](report::Rgb a, report::Rgb b) {
        return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
    };
    for (const report::Palette palette : {report::Palette::viridis, report::Palette::inferno,
                                          report::Palette::magma, report::Palette::cividis})
        for (const report::Rgb anchor : palette_anchors(palette))
            EXPECT_GT(distance(anchor, report::missing_colour), 60);
    for (std::size_t n = 0; n < 7; ++n)
        EXPECT_GT(distance(outcome_colour(n), report::missing_colour), 60);
    EXPECT_GT(distance(report::neutral_colour, report::missing_colour), 30);
    EXPECT_EQ(hex_colour({0, 10, 255}), "#000aff");
}

TEST(ReportLabels, KnownQuantitiesHaveTheirCustomaryForm) {
    EXPECT_EQ(describe_quantity("a").html, "<i>a</i>");
    EXPECT_EQ(describe_quantity("a").enhanced, "{/:Italic a}");
    EXPECT_EQ(describe_quantity("weight_fraction").text, "weight fraction");
    EXPECT_TRUE(describe_quantity("weight_fraction").from_zero);
    EXPECT_FALSE(describe_quantity("c").from_zero);
    EXPECT_EQ(describe_quantity("c_errors").text, "standard deviation of c");
    EXPECT_EQ(describe_quantity("c_errors").html, "standard deviation of <i>c</i>");
}

TEST(ReportLabels, UnknownQuantitiesAreShownLiterally) {
    const report::Quantity q = describe_quantity("chebyshev_0 <b>{x}^2");
    EXPECT_EQ(q.text, "chebyshev 0 <b>{x}^2");
    EXPECT_EQ(q.html, "chebyshev 0 &lt;b&gt;{x}^2");
    EXPECT_EQ(q.enhanced, "chebyshev 0 <b>\\{x\\}\\^2");
}

TEST(ReportLabels, UnitsAreWrittenAsInPrint) {
    EXPECT_EQ(enhanced_with_units("c", "angstrom"), "c [Å]");
    EXPECT_EQ(enhanced_with_units("mu", "1/mm"), "mu [mm⁻¹]");
    EXPECT_EQ(enhanced_with_units("density", "g/cm^3"), "density [g/cm³]");
    EXPECT_EQ(enhanced_with_units("weight fraction", ""), "weight fraction");
    EXPECT_EQ(enhanced_with_units("gof", "1"), "gof");
    EXPECT_EQ(enhanced_with_units("x", "a_b^2"), "x [a\\_b\\^2]");
    EXPECT_EQ(html_with_units("<i>x</i>", "<b>"), "<i>x</i> [&lt;b&gt;]");
}

TEST(ReportLabels, WhatIsLookedAtFirstComesFirst) {
    std::vector<std::string> names{"status", "scale", "c", "something", "weight_fraction", "a"};
    std::stable_sort(names.begin(), names.end(), [](const auto& l, const auto& r) {
        return quantity_order(l) < quantity_order(r);
    });
    EXPECT_EQ(names, (std::vector<std::string>{"weight_fraction", "a", "c", "something", "scale",
                                               "status"}));
}

} // namespace
} // namespace xrdct::report
