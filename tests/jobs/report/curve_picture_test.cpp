// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/curve_picture.hpp"

#include "base/error.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <string>

using namespace xrdct;
using namespace xrdct::report;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

namespace {

std::string text_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

CurvePicture two_panels() {
    CurvePicture picture;
    picture.title = "Radial profile of c";
    picture.x_label = "distance from the centre";
    picture.x_units = "mm";
    const std::vector<double> x{0.1, 0.2, 0.3, 0.4, 0.5}, y{14.2, 14.3, std::nan(""), 14.3, 14.25};
    picture.panels.push_back(
        {"NMC_(P)", "c", "angstrom", {{"", x, y, {0.01, 0.01, 0.01, 0.02, 0.02}}}});
    picture.panels.push_back({"LiC6", "a", "angstrom", {{"", x, {2, 2, 2, 2, 2}, {}}}});
    return picture;
}

TEST(Curves, ShowNamesUnitsAndGaps) {
    const test::TemporaryDirectory folder;
    const auto files = write_curve_picture(two_panels(), folder / "profile");
    ASSERT_EQ(files.size(), 2U);
    const std::string svg = text_of(folder / "profile.svg");
    for (const char* wanted : {"NMC_(P)", "LiC6", "distance", "[mm]", "Å", "Radial profile of c"})
        EXPECT_THAT(svg, HasSubstr(wanted));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Curves, LogarithmicWithoutWhatIsNotPositive) {
    const test::TemporaryDirectory folder;
    CurvePicture picture;
    picture.log_scale = picture.points = true;
    picture.panels.push_back(
        {"", "change", "", {{"", {1, 2, 3, 4}, {0.5, 0.02, 0.0, 0.0004}, {}}}});
    write_curve_picture(picture, folder / "convergence");
    EXPECT_THAT(text_of(folder / "convergence.svg"), HasSubstr("change of the transmission"));
    picture.panels[0].series[0].y = {0, 0, -1, std::nan("")};
    EXPECT_EQ(write_curve_picture(picture, folder / "nothing").size(), 2U);
}

TEST(Curves, BadInputIsNamed) {
    const test::TemporaryDirectory folder;
    EXPECT_THAT([&] { write_curve_picture({}, folder / "none"); },
                ThrowsMessage<Error>(HasSubstr("picture none")));
    auto picture = two_panels();
    picture.panels[0].series[0].y.pop_back();
    EXPECT_THAT([&] { write_curve_picture(picture, folder / "short"); },
                ThrowsMessage<Error>(HasSubstr("picture short")));
    picture = two_panels();
    picture.panels[0].series[0].spread.pop_back();
    EXPECT_THROW(write_curve_picture(picture, folder / "spread"), Error);
}

} // namespace
