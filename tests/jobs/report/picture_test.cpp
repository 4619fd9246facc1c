// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/picture.hpp"

#include "base/error.hpp"
#include "png.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace xrdct::report {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const double nan = std::nan("");

report::MapPicture map_of(std::size_t columns, std::size_t rows, double value) {
    report::MapPicture map;
    map.x.label = "x";
    map.y.label = "y";
    map.x.units = map.y.units = "mm";
    for (std::size_t i = 0; i < columns; ++i)
        map.x.values.push_back(0.1 * static_cast<double>(i));
    for (std::size_t j = 0; j < rows; ++j)
        map.y.values.push_back(0.1 * static_cast<double>(j));
    map.values.assign(columns * rows, value);
    map.title = "NMC532 (P): c";
    map.quantity = "c";
    map.units = "angstrom";
    return map;
}

std::string text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class ReportPicture : public ::testing::Test {
  protected:
    test::TemporaryDirectory folder_;

    fs::path stem(const std::string& name = "map") const { return folder_ / name; }
    test::Png drawn(const report::MapPicture& map) const {
        report::PictureOptions options;
        options.svg = false;
        options.force = true;
        return test::read_png(write_map_picture(map, stem(), options).at(0));
    }
};

TEST_F(ReportPicture, WritesBothFormatsAndNothingElse) {
    const auto files = write_map_picture(map_of(8, 6, 14.3), stem("a b"));
    EXPECT_EQ(files, (std::vector<fs::path>{folder_ / "a b.png", folder_ / "a b.svg"}));
    EXPECT_GT(test::read_png(files[0]).width, 400);
    const std::string svg = text_of(files[1]);
    EXPECT_THAT(svg, AllOf(HasSubstr("<svg"), HasSubstr("</svg>"), HasSubstr("NMC532 (P): c"),
                           HasSubstr("data:image/png;base64,"), HasSubstr("pixelated")));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 2);
}

TEST_F(ReportPicture, YPointsUpAndXRight) {
    report::MapPicture map = map_of(10, 10, 0.0);
    map.range = report::ColourRange{0.0, 1.0};
    // One corner block high, the opposite one missing, everything else low.
    for (std::size_t j = 7; j < 10; ++j)
        for (std::size_t i = 7; i < 10; ++i)
            map.values[j * 10 + i] = 1.0;
    map.values[9 * 10 + 0] = nan;
    const test::Png png = drawn(map);
    const auto low = palette_anchors(report::Palette::viridis).front();
    const auto high = palette_anchors(report::Palette::viridis).back();
    const auto [low_row, low_column] = png.centre(low);
    const auto [high_row, high_column] = png.centre(high);
    EXPECT_LT(high_row, low_row);
    EXPECT_GT(high_column, low_column);
    const auto [missing_row, missing_column] = png.centre(report::missing_colour);
    EXPECT_LT(missing_row, low_row);
    EXPECT_LT(missing_column, low_column);
    // Pixels are squares of one colour: areas count as the voxels do (9 and 1 of 100).
    EXPECT_NEAR(static_cast<double>(png.count(high)) / png.count(report::missing_colour), 9.0, 1.0);
}

TEST_F(ReportPicture, RowsShareARangeAndKeepTheOrder) {
    const auto low = palette_anchors(report::Palette::viridis).front(),
               high = palette_anchors(report::Palette::viridis).back();
    report::MapRow row;
    for (const double value : {0.0, 1.0, nan}) {
        row.panels.push_back(map_of(10, 10, value));
        row.panels.back().range = report::ColourRange{0.0, 1.0};
        row.panels.back().palette = report::Palette::viridis;
    }
    report::MapRow below;
    below.panels.push_back(map_of(10, 10, 0.0));
    below.panels.back().range = report::ColourRange{-1.0, 1.0};
    below.panels.back().palette = report::Palette::diverging;
    below.skip = 1;
    const auto files = write_map_rows(std::vector{row, below}, "NMC532: c", stem("rows"));
    ASSERT_EQ(files.size(), 2U);
    const test::Png png = test::read_png(files[0]);
    // Three panels of one size side by side: low, high, missing; zero is the palette's middle.
    EXPECT_LT(png.centre(low).second, png.centre(high).second);
    EXPECT_LT(png.centre(high).second, png.centre(report::missing_colour).second);
    // The scale bar hides some of the first.
    EXPECT_NEAR(static_cast<double>(png.count(high)) / png.count(low), 1.0, 0.25);
    const report::Rgb middle{247, 247, 247};
    EXPECT_GT(png.centre(middle).first, png.centre(high).first + 100);
    EXPECT_NEAR(png.centre(middle).second, png.centre(high).second, 40);

    below.new_line = false;
    const auto beside = write_map_rows(std::vector{row, below}, "", stem("line"));
    const test::Png line = test::read_png(beside[0]);
    EXPECT_GT(line.width, png.width);
    EXPECT_LT(line.height, png.height);
    EXPECT_THROW(write_map_rows(std::vector{report::MapRow{}}, "", stem("none")), Error);
    EXPECT_THROW(write_map_rows({}, "", stem("none")), Error);
}

TEST_F(ReportPicture, FallingAxesAreTurned) {
    report::MapPicture rising = map_of(6, 5, 0.0), falling = rising;
    rising.range = falling.range = report::ColourRange{0.0, 30.0};
    for (std::size_t i = 0; i < 30; ++i) {
        rising.values[i] = static_cast<double>(i);
        falling.values[29 - i] = static_cast<double>(i);
    }
    std::reverse(falling.x.values.begin(), falling.x.values.end());
    std::reverse(falling.y.values.begin(), falling.y.values.end());
    EXPECT_EQ(drawn(rising).pixels, drawn(falling).pixels);
}

TEST_F(ReportPicture, SameUnitsHaveEqualAspect) {
    const test::Png wide = drawn(map_of(40, 10, nan));
    const test::Png tall = drawn(map_of(10, 40, nan));
    EXPECT_GT(wide.width, 2 * wide.height);
    EXPECT_GT(tall.height, tall.width);
    // The grey of the missing voxels fills frames of the same shape, turned.
    EXPECT_NEAR(static_cast<double>(wide.count(report::missing_colour)) /
                    tall.count(report::missing_colour),
                1.0, 0.1);
}

TEST_F(ReportPicture, UnevenAxesLeaveGaps) {
    report::MapPicture map = map_of(4, 12, 5.0);
    map.y.units = "deg";
    map.y.values = {0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21}; // ten of 22 rows missing
    map.range = report::ColourRange{0.0, 5.0};
    const test::Png png = drawn(map);
    const double present = png.count(palette_anchors(report::Palette::viridis).back());
    const double missing = png.count(report::missing_colour);
    EXPECT_NEAR(missing / (missing + present), 10.0 / 22.0, 0.04);
}

TEST_F(ReportPicture, CodesHaveTheirOwnColours) {
    report::MapPicture map = map_of(20, 20, 0.0);
    map.quantity = "status";
    map.categories = {{0, "converged"}, {1, "masked"}, {2, "at bound"}, {7, "never occurs"}};
    std::fill_n(map.values.begin() + 350, 50, 2.0);
    std::fill_n(map.values.begin() + 300, 50, 1.0);
    std::fill_n(map.values.begin() + 280, 20, 99.0); // a code nobody explained
    const test::Png png = drawn(map);
    // The scale bar hides some of the lower left.
    const double good = png.count(outcome_colour(0)) / 280.0;
    EXPECT_NEAR(png.count(outcome_colour(1)) / good, 50.0, 5.0);
    EXPECT_LT(png.count(outcome_colour(2)) / good, 1.0)
        << "belongs to the code that does not occur";
    EXPECT_NEAR(png.count(outcome_colour(3)) / good, 20.0, 3.0);
    EXPECT_NEAR(png.count(report::missing_colour) / good, 50.0, 5.0);
}

TEST_F(ReportPicture, DegenerateMapsAreDrawn) {
    for (const auto& [columns, rows] :
         {std::pair<std::size_t, std::size_t>{1, 1}, {1, 20}, {20, 1}, {2, 2}}) {
        EXPECT_GT(drawn(map_of(columns, rows, 14.3)).width, 100) << columns << " x " << rows;
        EXPECT_GT(drawn(map_of(columns, rows, nan)).count(report::missing_colour), 100);
        EXPECT_GT(drawn(map_of(columns, rows, 0.0)).width, 100);
    }
    report::MapPicture single = map_of(1, 1, 3.0);
    single.range = report::ColourRange{2.0, 3.0};
    EXPECT_GT(drawn(single).count(palette_anchors(report::Palette::viridis).back()), 10000);
    report::MapPicture huge = map_of(5, 5, 1e300), tiny = map_of(5, 5, 1e-300);
    huge.values[3] = -1e300;
    EXPECT_GT(drawn(huge).width, 100);
    EXPECT_GT(drawn(tiny).width, 100);
    report::MapPicture codes = map_of(3, 3, nan);
    codes.categories = {{0, "converged"}};
    EXPECT_GT(drawn(codes).width, 100);
}

TEST_F(ReportPicture, TextFromUsersIsNeverACommand) {
    const fs::path witness = folder_ / "witness";
    report::MapPicture map = map_of(6, 6, 14.3);
    for (const std::string& text :
         {"`touch " + witness.string() + "`", "'; system('touch " + witness.string() + "'); '",
          "\"; system(\"touch " + witness.string() + "\") #",
          "'\nsystem 'touch " + witness.string() + "'\n",
          std::string("@x {/Symbol a}_^ ~a{.5-} \\"), std::string("\xFF\xFE broken"),
          std::string(500, 'W')}) {
        map.title = map.units = map.quantity = map.x.label = text;
        report::MapPicture codes = map;
        codes.values.assign(36, 0.0);
        codes.categories = {{0, text}};
        report::PatternPicture pattern;
        pattern.axis.values = {1, 2, 3};
        pattern.axis.label = pattern.title = pattern.subtitle = pattern.intensity_units = text;
        pattern.observed = {1, 2, 3};
        pattern.ticks = {{text, {2.0}}};
        report::HistogramPicture histogram;
        histogram.title = histogram.quantity = histogram.units = histogram.weight_label = text;
        histogram.series = {{text, {1, 2, 3}, {}}, {text, {1, 2, 3}, {}}};
        report::PictureOptions options;
        options.force = true;
        EXPECT_NO_THROW(write_map_picture(map, stem("m"), options)) << text;
        options.png = false;
        EXPECT_NO_THROW(write_map_picture(codes, stem("s"), options)) << text;
        EXPECT_NO_THROW(write_map_grid(std::vector{map, codes}, text, stem("g"), options)) << text;
        EXPECT_NO_THROW(write_pattern_picture(pattern, stem("p"), options)) << text;
        EXPECT_NO_THROW(write_histogram_picture(histogram, stem("h"), options)) << text;
        EXPECT_FALSE(fs::exists(witness)) << text;
    }
}

TEST_F(ReportPicture, ExistingPicturesAreKeptUnlessForced) {
    std::ofstream(folder_ / "map.svg") << "mine";
    EXPECT_THAT([&] { write_map_picture(map_of(4, 4, 1.0), stem()); },
                ThrowsMessage<Error>(AllOf(HasSubstr("map.svg"), HasSubstr("exists"))));
    EXPECT_EQ(text_of(folder_ / "map.svg"), "mine");
    EXPECT_FALSE(fs::exists(folder_ / "map.png"));
    report::PictureOptions options;
    options.force = true;
    write_map_picture(map_of(4, 4, 1.0), stem(), options);
    EXPECT_THAT(text_of(folder_ / "map.svg"), HasSubstr("<svg"));
}

TEST_F(ReportPicture, FailuresOfThePlottingProgramNameThePicture) {
    const auto attempt = [&](const std::string& program) {
        report::PictureOptions options;
        options.gnuplot = program;
        write_map_picture(map_of(4, 4, 1.0), stem("rietveld_NMC_c"), options);
    };
    EXPECT_THAT(
        [&] { attempt("no-such-gnuplot"); },
        ThrowsMessage<Error>(AllOf(HasSubstr("rietveld_NMC_c"), HasSubstr("no-such-gnuplot"),
                                   HasSubstr("install gnuplot"))));
    EXPECT_THAT([&] { attempt("/bin/false"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("rietveld_NMC_c"), HasSubstr("status 1"))));
    EXPECT_THAT([&] { attempt("/bin/true"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("rietveld_NMC_c"), HasSubstr("left no png"))));
    const fs::path script = folder_ / "complains";
    std::ofstream(script) << "#!/bin/sh\necho 'unknown terminal pngcairo' >&2\nexit 3\n";
    fs::permissions(script, fs::perms::owner_all);
    EXPECT_THAT([&] { attempt(script.string()); },
                ThrowsMessage<Error>(AllOf(HasSubstr("status 3"), HasSubstr("unknown terminal"))));
    std::ofstream(script) << "#!/bin/sh\nkill -9 $$\n";
    EXPECT_THAT([&] { attempt(script.string()); }, ThrowsMessage<Error>(HasSubstr("status 137")));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1)
        << "only the script is left";
}

TEST_F(ReportPicture, AnEmptySearchPathIsReported) {
    const std::string path = std::getenv("PATH");
    setenv("PATH", folder_.path().c_str(), 1);
    EXPECT_THAT([&] { write_map_picture(map_of(4, 4, 1.0), stem()); },
                ThrowsMessage<Error>(HasSubstr("gnuplot-nox")));
    setenv("PATH", path.c_str(), 1);
}

TEST_F(ReportPicture, WrongDataAreRefused) {
    report::MapPicture map = map_of(4, 4, 1.0);
    map.values.pop_back();
    EXPECT_THAT([&] { drawn(map); }, ThrowsMessage<Error>(HasSubstr("15 values")));
    map = map_of(4, 4, 1.0);
    map.x.values[2] = map.x.values[1];
    EXPECT_THAT([&] { drawn(map); }, ThrowsMessage<Error>(HasSubstr("monotonic")));
    map = map_of(4, 4, 1.0);
    map.y.values[3] = nan;
    EXPECT_THAT([&] { drawn(map); }, ThrowsMessage<Error>(HasSubstr("monotonic")));
    map = map_of(4, 4, 1.0);
    map.range = report::ColourRange{1.0, 1.0};
    EXPECT_THAT([&] { drawn(map); }, ThrowsMessage<Error>(HasSubstr("range")));
    EXPECT_THROW(drawn(report::MapPicture{}), Error);
    EXPECT_THROW(write_map_grid({}, "", stem()), Error);
    report::PatternPicture pattern;
    EXPECT_THROW(write_pattern_picture(pattern, stem()), Error);
    pattern.axis.values = {1, 2, 3};
    pattern.calculated = {1, 2};
    EXPECT_THAT([&] { write_pattern_picture(pattern, stem()); },
                ThrowsMessage<Error>(HasSubstr("calculated has 2 channels")));
    EXPECT_THAT([&] { write_map_picture(map_of(2, 2, 1.0), folder_ / "none" / "map"); },
                ThrowsMessage<Error>(HasSubstr("none")));
}

TEST_F(ReportPicture, PatternsShowModelTicksAndDifference) {
    report::PatternPicture pattern;
    pattern.axis.label = "two_theta";
    pattern.axis.units = "deg";
    for (int i = 0; i < 300; ++i) {
        const double t = 1.0 + 0.01 * i;
        pattern.axis.values.push_back(t);
        pattern.background.push_back(10.0);
        pattern.calculated.push_back(10.0 + 500.0 * std::exp(-std::pow((t - 2.0) / 0.05, 2)));
        pattern.observed.push_back(pattern.calculated.back() + (i % 2 ? 1.0 : -1.0));
    }
    pattern.ticks = {{"NMC532 (P)", {2.0}}, {"Cu", {3.0, 3.5}}, {"out of range", {}}};
    const auto colour_area = [&](report::Rgb colour) {
        report::PictureOptions options;
        options.force = true;
        return test::read_png(write_pattern_picture(pattern, stem("p"), options).at(0))
            .count(colour, 60);
    };
    const report::Rgb calculated{213, 94, 0}, difference{0, 114, 178}, cu = category_colour(1);
    EXPECT_GT(colour_area(calculated), 500);
    EXPECT_GT(colour_area(difference), 1000);
    EXPECT_GT(colour_area(cu), 20);
    EXPECT_THAT(text_of(stem("p.svg")), AllOf(HasSubstr("NMC532 (P)"), HasSubstr("obs. − calc.")));
    pattern.calculated.clear();
    pattern.background.clear();
    pattern.ticks.clear();
    EXPECT_EQ(colour_area(calculated), 0);
    EXPECT_EQ(colour_area(difference), 0) << "no difference without a model";
    for (const double level : {0.0, -5.0, nan, 1e-30, 1e30}) {
        pattern.observed.assign(300, level);
        EXPECT_NO_THROW(colour_area(calculated)) << level;
    }
    pattern.axis.values = {1.5};
    pattern.observed = {3.0};
    EXPECT_NO_THROW(colour_area(calculated));
}

TEST_F(ReportPicture, HistogramsAreWeighted) {
    // All of the weight lies in the upper half: the filled area is there.
    report::HistogramPicture histogram;
    histogram.quantity = "c";
    histogram.units = "angstrom";
    report::HistogramPicture::Series series{"NMC532", {}, {}};
    for (int i = 0; i < 2000; ++i) {
        series.values.push_back(14.0 + 0.001 * i);
        series.weights.push_back(i >= 1000 ? 1.0 : 1e-9);
    }
    histogram.series = {series};
    const test::Png png = test::read_png(write_histogram_picture(histogram, stem("h")).at(0));
    const auto [row, column] = png.centre({201, 227, 240}, 12);
    EXPECT_GT(column, 0.6 * png.width);
    histogram.series[0].values.assign(2000, nan);
    EXPECT_NO_THROW(write_histogram_picture(histogram, stem("h2")));
    histogram.series[0].values.assign(2000, 14.0);
    EXPECT_NO_THROW(write_histogram_picture(histogram, stem("h3")));
    histogram.series[0].weights.pop_back();
    EXPECT_THROW(write_histogram_picture(histogram, stem("h4")), Error);
}

TEST_F(ReportPicture, GridsHoldEveryPanel) {
    std::vector<report::MapPicture> panels;
    for (int k = 0; k < 5; ++k) {
        panels.push_back(map_of(12, 12, 1.0));
        panels.back().title = "phase " + std::to_string(k);
        panels.back().range = report::ColourRange{0.0, 1.0};
    }
    panels[3].values.assign(144, nan);
    const auto files = write_map_grid(panels, "All phases", stem("grid"));
    const test::Png png = test::read_png(files.at(0));
    const double full = png.count(palette_anchors(report::Palette::viridis).back());
    const double empty = png.count(report::missing_colour);
    EXPECT_NEAR(full / empty, 4.0, 0.5);
    EXPECT_THAT(text_of(files.at(1)), AllOf(HasSubstr("All phases"), HasSubstr("(a) phase 0"),
                                            HasSubstr("(e) phase 4"), HasSubstr("no values")));
}

} // namespace
} // namespace xrdct::report
