// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/patterns/pattern_file.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

patterns::PatternFileOptions with_wavelength(double wavelength = 0.12) {
    patterns::PatternFileOptions options;
    options.wavelength = wavelength;
    return options;
}

class PatternFileTest : public ::testing::Test {
  protected:
    patterns::PatternFile read(const std::string& name, const std::string& text,
                               const patterns::PatternFileOptions& options = with_wavelength()) {
        test::write_text(folder_ / name, text);
        return read_pattern(folder_ / name, options);
    }
    std::string error(const std::string& name, const std::string& text,
                      const patterns::PatternFileOptions& options = with_wavelength()) {
        try {
            read(name, text, options);
        } catch (const Error& error) {
            EXPECT_THAT(error.what(), HasSubstr(name));
            return error.what();
        }
        return "no error";
    }
    /// Rows 1.0, 1.1, …, intensities 10, 11, ….
    static std::string rows(int n, const std::string& separator = " ", bool errors = false) {
        std::string text;
        for (int i = 0; i < n; ++i)
            text += fmt::format("{:.1f}{}{}", 1 + 0.1 * i, separator, 10 + i) +
                    (errors ? fmt::format("{}{}", separator, 2) : "") + "\n";
        return text;
    }
    test::TemporaryDirectory folder_;
};

TEST_F(PatternFileTest, TwoColumns) {
    for (const auto* name : {"a.xy", "a.dat", "a.prn", "a.txt", "a"}) {
        const auto pattern = read(name, "# title\n! more\n" + rows(12));
        ASSERT_EQ(pattern.axis.size(), 12U);
        EXPECT_DOUBLE_EQ(pattern.axis.two_theta()[11], 2.1);
        EXPECT_DOUBLE_EQ(pattern.axis.wavelength(), 0.12);
        EXPECT_EQ(pattern.intensity[11], 21);
        EXPECT_TRUE(pattern.variance.empty());
        EXPECT_TRUE(pattern.notes.empty());
        EXPECT_EQ(pattern.format, "xy");
    }
}

TEST_F(PatternFileTest, ThreeColumnsAreErrors) {
    const auto pattern = read("a.xye", rows(12, "\t", true));
    ASSERT_EQ(pattern.variance.size(), 12U);
    EXPECT_DOUBLE_EQ(pattern.variance[3], 4);
    EXPECT_EQ(pattern.format, "xye");
}

TEST_F(PatternFileTest, CommaSeparatedWithTitlesAndDecimalCommas) {
    EXPECT_EQ(read("a.csv", "2theta,counts\r\n" + rows(12, ",")).intensity[1], 11);
    std::string text = "angle;counts\n";
    for (int i = 0; i < 12; ++i)
        text += fmt::format("1,{:02d};{},5\n", i, i);
    const auto pattern = read("b.csv", text);
    EXPECT_DOUBLE_EQ(pattern.axis.two_theta()[11], 1.11);
    EXPECT_DOUBLE_EQ(pattern.intensity[11], 11.5);
}

TEST_F(PatternFileTest, Fit2dHeaderWithItsUnit) {
    const std::string head = "frame.cbf\n Q (Inverse Nanometres)\n Intensity\n       12\n";
    const auto pattern = read("a.chi", head + rows(12));
    EXPECT_EQ(pattern.format, "chi");
    EXPECT_NEAR(pattern.axis.two_theta()[0], 2 * degrees(std::asin(0.1 * 0.12 / (4 * pi))), 1e-12);
    EXPECT_NEAR(
        read("b.chi", "f\n 2-Theta Angle (Degrees)\n I\n 12\n" + rows(12)).axis.two_theta()[0], 1,
        1e-12);
    EXPECT_THAT(error("c.chi", "f\n 2-Theta Angle (Degrees)\n I\n 13\n" + rows(12)),
                AllOf(HasSubstr("line 4"), HasSubstr("13"), HasSubstr("12")));
}

TEST_F(PatternFileTest, PyfaiHeaderWithWavelengthAndDistance) {
    const std::string head = "# == pyFAI calibration ==\n"
                             "# Distance Sample to Detector: 0.5 m\n"
                             "# Wavelength: 2e-11 m\n"
                             "#       r_mm             I\n";
    const auto pattern = read("a.dat", head + rows(12), {});
    EXPECT_NEAR(pattern.axis.wavelength(), 0.2, 1e-12);
    EXPECT_NEAR(pattern.axis.two_theta()[0], degrees(std::atan2(1.0, 500.0)), 1e-12);
    EXPECT_NEAR(read("b.dat", "# q_A^-1 I\n" + rows(12)).axis.two_theta()[0],
                2 * degrees(std::asin(0.12 / (4 * pi))), 1e-12);
    // What the caller says wins.
    EXPECT_NEAR(read("c.dat", head + rows(12), with_wavelength(0.3)).axis.wavelength(), 0.3, 1e-12);
}

TEST_F(PatternFileTest, EveryUnit) {
    const auto first = [&](const char* unit) {
        auto options = with_wavelength(0.5);
        options.unit = patterns::parse_radial_unit(unit, "here");
        options.distance = 100;
        return read("a.xy", rows(12), options).axis.two_theta()[0];
    };
    EXPECT_NEAR(first("deg"), 1, 1e-12);
    EXPECT_NEAR(first("rad"), degrees(1.0), 1e-12);
    EXPECT_NEAR(first("1/angstrom"), 2 * degrees(std::asin(0.5 / (4 * pi))), 1e-12);
    EXPECT_NEAR(first("1/nm"), 2 * degrees(std::asin(0.05 / (4 * pi))), 1e-12);
    // Spacings fall as angles rise: the last row comes first.
    EXPECT_NEAR(first("d"), 2 * degrees(std::asin(0.5 / (2 * 2.1))), 1e-12);
    EXPECT_NEAR(first("mm"), degrees(std::atan2(1.0, 100.0)), 1e-12);
    EXPECT_THROW(patterns::parse_radial_unit("1/angstom", "here"), Error);
    try {
        patterns::parse_radial_unit("1/angstom", "here");
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("here"), HasSubstr("'1/angstrom'")));
    }
}

TEST_F(PatternFileTest, StartStepEndList) {
    const auto pattern =
        read("a.dat", "title of the run\n 10.0 0.5 16.0\n 1 2 3 4 5\n 6 7 8 9 10\n 11 12 \n 13\n");
    ASSERT_EQ(pattern.axis.size(), 13U);
    EXPECT_EQ(pattern.format, "start-step-end");
    EXPECT_DOUBLE_EQ(pattern.axis.two_theta()[12], 16);
    EXPECT_EQ(pattern.intensity[12], 13);
    EXPECT_THAT(error("b.dat", "10.0 0.5 16.0\n 1 2 3 4 5\n 6 7 8 9 10\n 11 12\n"),
                AllOf(HasSubstr("line 1"), HasSubstr("13"), HasSubstr("12")));
}

TEST_F(PatternFileTest, MissingAndNegativeIntensities) {
    const auto pattern = read("a.xy", "0.8 nan\n0.9 -3\n" + rows(12));
    ASSERT_EQ(pattern.axis.size(), 14U);
    EXPECT_TRUE(std::isnan(pattern.intensity[0]));
    EXPECT_EQ(pattern.intensity[1], -3);
    ASSERT_EQ(pattern.notes.size(), 2U);
    EXPECT_THAT(pattern.notes[0], HasSubstr("1 channels without a finite intensity"));
    EXPECT_THAT(pattern.notes[1], HasSubstr("1 intensities are negative"));
}

TEST_F(PatternFileTest, UnsortedIsSortedWithANote) {
    const auto pattern = read("a.xy", rows(12) + "0.5 99\n");
    EXPECT_DOUBLE_EQ(pattern.axis.two_theta()[0], 0.5);
    EXPECT_EQ(pattern.intensity[0], 99);
    ASSERT_EQ(pattern.notes.size(), 1U);
    EXPECT_THAT(pattern.notes[0], HasSubstr("sorted"));
}

TEST_F(PatternFileTest, RangeIsKept) {
    auto options = with_wavelength();
    options.minimum = 1.15;
    options.maximum = 2.85;
    const auto pattern = read("a.xy", "0 7\n" + rows(30), options);
    EXPECT_NEAR(pattern.axis.two_theta().front(), 1.2, 1e-12);
    EXPECT_NEAR(pattern.axis.two_theta().back(), 2.8, 1e-12);
    options.maximum = 1.5;
    EXPECT_THAT(error("b.xy", rows(30), options),
                AllOf(HasSubstr("4 channels"), HasSubstr("1.15"), HasSubstr("3.9")));
}

TEST_F(PatternFileTest, BadFilesAreNamedWithTheLine) {
    EXPECT_THAT(error("a.xy", ""), HasSubstr("is empty"));
    EXPECT_THAT(error("a.xy", "\n\n"), HasSubstr("no numbers"));
    EXPECT_THAT(error("a.xy", "not a pattern\nat all\n"), HasSubstr("no numbers"));
    EXPECT_THAT(error("a.xy", "1\n2\n3\n"), AllOf(HasSubstr("line 1"), HasSubstr("one number")));
    EXPECT_THAT(error("a.xy", rows(3)), HasSubstr("3 channels"));
    EXPECT_THAT(error("a.xy", rows(12) + "5.0 abc\n"),
                AllOf(HasSubstr("line 13"), HasSubstr("'abc'")));
    EXPECT_THAT(error("a.xy", rows(12) + "5.0 1 2\n"),
                AllOf(HasSubstr("line 13"), HasSubstr("3 column")));
    EXPECT_THAT(error("a.xy", "1 2 3 4\n1 2 3 4\n"),
                AllOf(HasSubstr("line 1"), HasSubstr("4 columns")));
    EXPECT_THAT(error("a.xy", rows(12) + "1.1 7\n"),
                AllOf(HasSubstr("line 13"), HasSubstr("twice"), HasSubstr("line 2")));
    EXPECT_THAT(error("a.xy", rows(12) + "nan 7\n"),
                AllOf(HasSubstr("line 13"), HasSubstr("finite")));
    EXPECT_THAT(error("a.xy", rows(12) + "200 7\n"),
                AllOf(HasSubstr("line 13"), HasSubstr("180"), HasSubstr("pattern.unit")));
    EXPECT_THAT(error("a.xy", rows(12), {}), HasSubstr("no wavelength"));
    auto q = with_wavelength(10);
    q.unit = patterns::PatternUnit::q;
    EXPECT_THAT(error("a.xy", rows(12), q),
                AllOf(HasSubstr("line 4"), HasSubstr("cannot be reached")));
    auto radius = with_wavelength();
    radius.unit = patterns::PatternUnit::radius;
    EXPECT_THAT(error("a.xy", rows(12), radius), HasSubstr("geometry.distance"));
    EXPECT_THAT(error("a.xy", std::string("\x01\x00\x02", 3)), HasSubstr("no text"));
    EXPECT_THAT(error("a.h5", rows(12)), HasSubstr("HDF5"));
    auto dataset = with_wavelength();
    dataset.intensity = "entry/data";
    EXPECT_THAT(error("a.xy", rows(12), dataset), HasSubstr("no HDF5 file"));
    EXPECT_THROW(patterns::read_pattern(folder_ / "absent.xy"), Error);
    EXPECT_THROW(patterns::read_pattern(folder_.path()), Error);
}

TEST_F(PatternFileTest, StandardDeviationsThatAreNone) {
    std::string text = rows(12, " ", true);
    text += "9.0 5 0\n";
    const auto pattern = read("a.xye", text);
    EXPECT_EQ(pattern.variance.back(), 0);
    ASSERT_EQ(pattern.notes.size(), 1U);
    std::string zeros;
    for (int i = 0; i < 12; ++i)
        zeros += fmt::format("{} 1 0\n", 1 + i);
    EXPECT_TRUE(read("b.xye", zeros).variance.empty());
}

void write_nexus(const std::filesystem::path& path, const std::string& name,
                 const std::string& unit, double wavelength, const hdf5::Shape& shape = {20}) {
    auto file = hdf5::File::open(path, hdf5::Access::create);
    auto root = file.root();
    nexus::write_root(root, "test", "abc", nexus::now_utc());
    auto entry = nexus::require_class(root, "entry", "NXentry");
    if (wavelength > 0) {
        auto beam = nexus::require_class(entry, "beam", "NXbeam");
        nexus::write_value(beam, "incident_wavelength", wavelength, {"nm", ""});
    }
    auto data = nexus::require_data(entry, "data", "intensity", {name});
    std::vector<double> axis(20), values(20), errors(20, 3.0);
    for (int i = 0; i < 20; ++i) {
        axis[i] = 1 + 0.1 * i;
        values[i] = i;
    }
    data.write_array("intensity", shape, std::span<const double>(values).first(shape[0]));
    data.write_array("intensity_errors", {20}, std::span<const double>(errors));
    nexus::write_axis(data, name, axis, {unit, ""});
    data.write_array("plane", {4, 5}, std::span<const double>(values));
    data.write_array("short", {5}, std::span<const double>(values).first(5));
    nexus::set_default(data);
}

TEST_F(PatternFileTest, Nexus) {
    const auto path = folder_ / "a.nxs";
    write_nexus(path, "two_theta", "degree", 0.02);
    auto pattern = patterns::read_pattern(path);
    EXPECT_EQ(pattern.format, "nexus");
    EXPECT_NEAR(pattern.axis.wavelength(), 0.2, 1e-12);
    EXPECT_DOUBLE_EQ(pattern.axis.two_theta()[0], 1);
    EXPECT_DOUBLE_EQ(pattern.variance[7], 9);
    EXPECT_DOUBLE_EQ(pattern.intensity[7], 7);

    patterns::PatternFileOptions named;
    named.intensity = "/entry/data/intensity";
    EXPECT_EQ(read_pattern(path, named).axis.size(), 20U);

    const auto message = [&](const std::string& dataset) -> std::string {
        patterns::PatternFileOptions options;
        options.intensity = dataset;
        try {
            read_pattern(path, options);
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_THAT(message("entry/data/intensty"), HasSubstr("intensity"));
    EXPECT_THAT(message("entry/data/plane"), HasSubstr("[4, 5]"));
    EXPECT_THAT(message("entry/data/short"), HasSubstr("no radial axis of 5 elements"));
}

TEST_F(PatternFileTest, NexusUnits) {
    const auto path = folder_ / "a.h5";
    write_nexus(path, "q", "1/nm", 0.02);
    EXPECT_NEAR(patterns::read_pattern(path).axis.two_theta()[0],
                2 * degrees(std::asin(0.1 * 0.2 / (4 * pi))), 1e-12);
    write_nexus(path, "d", "angstrom", 0.02);
    EXPECT_NEAR(patterns::read_pattern(path).axis.two_theta()[19], 2 * degrees(std::asin(0.2 / 2)),
                1e-12);
    write_nexus(path, "two_theta", "furlong", 0.02);
    EXPECT_THROW(patterns::read_pattern(path), Error);
    write_nexus(path, "two_theta", "deg", 0);
    EXPECT_THROW(patterns::read_pattern(path), Error);
    EXPECT_EQ(read_pattern(path, with_wavelength()).axis.size(), 20U);
}

TEST(MeasuredPatternFiles, AllAreRead) {
    struct Case {
        const char* name;
        std::size_t channels;
        double first, last;
        const char* format;
    };
    const Case cases[] = {
        {"cells/Pristine_summed.xy", 2048, 0.42720509, 12.013808, "xy"},
        {"cells/Charged_C2_summed.xy", 2048, 0.42720509, 12.013808, "xy"},
        {"cells/Discharged_C20_summed.xy", 2048, 0.42720509, 12.013808, "xy"},
        {"cells/CeO2_instrument.xy", 2048, 0.42720509, 12.013808, "xy"},
        {"powder/LaB6_660c_74p5keV.chi", 4096, 0.64726557, 15.86732137, "chi"},
        {"powder/LiCoO2_CuKa.dat", 4001, 16, 136, "start-step-end"},
        {"powder/cpd-1a.prn", 7251, 5, 150, "xy"},
        {"powder/cpd-1d.prn", 7251, 5, 150, "xy"},
        {"powder/cpd-1h.prn", 7251, 5, 150, "xy"},
        {"powder/corundum.prn", 7251, 5, 150, "xy"},
        {"powder/fluorite.prn", 7251, 5, 150, "xy"},
        {"powder/zincite.prn", 7251, 5, 150, "xy"},
    };
    for (const auto& one : cases) {
        const auto path = test::measured_data(one.name);
        if (!path)
            GTEST_SKIP() << test::measured_data_reason(one.name);
        const auto pattern = read_pattern(*path, with_wavelength());
        EXPECT_EQ(pattern.axis.size(), one.channels) << one.name;
        EXPECT_NEAR(pattern.axis.two_theta().front(), one.first, 1e-6) << one.name;
        EXPECT_NEAR(pattern.axis.two_theta().back(), one.last, 1e-6) << one.name;
        EXPECT_EQ(pattern.format, one.format) << one.name;
    }
}

} // namespace
} // namespace xrdct
