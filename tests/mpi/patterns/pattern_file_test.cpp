// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/patterns/pattern_file.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

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

/// Counts of a noisy curve at 3 + 0.01 i deg.
std::vector<std::array<double, 2>> noisy(int n = 200, double level = 400) {
    std::vector<std::array<double, 2>> points;
    for (int i = 0; i < n; ++i)
        // Neighbours differ by about a standard deviation.
        points.push_back(
            {3 + 0.01 * i, std::round(level + std::sqrt(level) * std::sin(7.0 * i * i))});
    return points;
}

std::string columns(const std::vector<std::array<double, 2>>& points,
                    const std::function<std::string(double)>& third) {
    std::string text;
    for (const auto& [x, y] : points)
        text += fmt::format("{:.4f} {} {}\n", x, y, third(y));
    return text;
}

TEST_F(PatternFileTest, TitlesOfTheFirstColumn) {
    const double q = 2 * degrees(std::asin(0.12 / (4 * pi)));
    const double q_nm = 2 * degrees(std::asin(0.1 * 0.12 / (4 * pi)));
    const double d = 2 * degrees(std::asin(0.12 / 2));
    struct Title {
        const char* line;
        double two_theta;
        bool note;
    };
    const Title titles[] = {{"Q,I(Q)", q, true},
                            {"# q I", q, true},
                            {"q-vector intensity", q, true},
                            {"DSM_Qvec\tDSM_Int", q, true},
                            {"#L Q  Counts", q, true},
                            {"# Q(A-1) I", q, false},
                            {"# q_nm^-1 I", q_nm, false},
                            {"Q/nm-1, I", q_nm, false},
                            {"q[1/nm] int", q_nm, false},
                            {"d,I", d, true},
                            {"# d-spacing(A) counts", d, false},
                            {"dspacing I", d, true},
                            {"tth I", 1, false},
                            {"2Theta Intensity", 1, false},
                            {"# x y", 1, false},
                            {"angle counts", 1, false},
                            {"# d 2019", 1, false}};
    for (const auto& title : titles) {
        const auto pattern = read("a.dat", std::string(title.line) + "\n" + rows(12));
        const auto& two_theta = pattern.axis.two_theta();
        const double found = title.two_theta == d ? two_theta.back() : two_theta.front();
        EXPECT_NEAR(found, title.two_theta, 1e-9) << title.line;
        EXPECT_EQ(pattern.notes.size(), title.note ? 1U : 0U) << title.line;
    }
    EXPECT_THAT(error("a.dat", "# theta I\n" + rows(12)),
                AllOf(HasSubstr("'theta'"), HasSubstr("pattern.unit")));
    auto stated = with_wavelength();
    stated.unit = patterns::PatternUnit::two_theta;
    for (const char* line : {"Q,I\n", "# theta I\n"}) {
        const auto pattern = read("a.dat", line + rows(12), stated);
        EXPECT_NEAR(pattern.axis.two_theta()[0], 1, 1e-12);
        EXPECT_TRUE(pattern.notes.empty());
    }
}

TEST_F(PatternFileTest, WavelengthsOfHeaders) {
    const std::pair<const char*, double> lines[] = {{"# Wavelength: 4.000e-11", 0.4},
                                                    {"Calibrated wavelength = 0.413259", 0.413259},
                                                    {"# Wavelength (A) 0.4", 0.4},
                                                    {"# wavelength [nm]: 0.04", 0.4},
                                                    {"# wavelength=0.4A", 0.4},
                                                    {"# Wavelength 40 pm", 0.4},
                                                    {"# photon energy: 30.9960497 keV", 0.4},
                                                    {"# wavelength1 = 1.5406", 1.5406}};
    for (const auto& [line, wavelength] : lines)
        EXPECT_NEAR(read("a.xy", std::string(line) + "\n" + rows(12), {}).axis.wavelength(),
                    wavelength, 1e-6)
            << line;
    EXPECT_THAT(read("a.xy", "# Wavelength: 0.4\n" + rows(12), {}).notes,
                ::testing::ElementsAre(HasSubstr("angstrom")));
    EXPECT_THAT(error("a.xy", "# Wavelength: 40\n" + rows(12), {}),
                AllOf(HasSubstr("'# Wavelength: 40'"), HasSubstr("unit")));
    EXPECT_THAT(error("a.xy", "# Energy threshold: 15 keV\n" + rows(12), {}),
                HasSubstr("no wavelength"));
}

TEST_F(PatternFileTest, ColumnsThatAreNoStandardDeviations) {
    const auto points = noisy();
    const auto with = [&](const std::function<double(double)>& sigma) {
        return read("a.xye",
                    columns(points, [&](double y) { return fmt::format("{}", sigma(y)); }));
    };
    const auto good = with([](double y) { return std::sqrt(y); });
    EXPECT_EQ(good.variance.size(), 200U);
    EXPECT_TRUE(good.notes.empty());
    // All the same, right or not.
    EXPECT_EQ(with([](double) { return 20.0; }).variance.size(), 200U);
    for (const double constant : {1.0, 0.01, 500.0}) {
        const auto pattern = with([&](double) { return constant; });
        EXPECT_TRUE(pattern.variance.empty()) << constant;
        EXPECT_THAT(pattern.notes,
                    ::testing::ElementsAre(HasSubstr(fmt::format("{} in all rows", constant))));
    }
    // A calculated curve.
    EXPECT_TRUE(with([](double y) { return 0.3 * y + 280; }).variance.empty());
    // A hundred times too small.
    const auto small = with([](double y) { return 0.01 * std::sqrt(y); });
    EXPECT_EQ(small.variance.size(), 200U);
    EXPECT_THAT(small.notes, ::testing::ElementsAre(HasSubstr("scatter by")));
}

TEST_F(PatternFileTest, AttenuatorsOfRigaku) {
    std::string head = "*RAS_DATA_START\n*FILE_COMMENT \"\"\n*RAS_INT_START\n", text;
    for (int i = 0; i < 20; ++i)
        text += fmt::format("{:.2f} {} {}\n", 10 + 0.02 * i, 100 + i, i < 10 ? 1 : 12.5);
    const auto pattern = read("a.ras", head + text + "*RAS_INT_END\n*RAS_DATA_END\n");
    EXPECT_EQ(pattern.intensity[3], 103);
    EXPECT_EQ(pattern.intensity[12], 1400);
    EXPECT_NEAR(pattern.variance[12], 12.5 * 12.5 * 112, 1e-6);
    EXPECT_EQ(pattern.notes.size(), 1U);
}

TEST_F(PatternFileTest, GsasBanks) {
    const std::string title = "CeO2\r\n# Calibrated wavelength = 0.40 A\r\n";
    std::string fxye, esd, std_records, averaged;
    for (int i = 0; i < 20; ++i) {
        fxye += fmt::format(" {:.2f} {} {}\n", 400.0 + 2 * i, 100 + i, 10 + 0.1 * i);
        esd += fmt::format("{:8d}{:8.1f}{}", 100 + i, 10 + 0.1 * i, i % 5 == 4 ? "\n" : "");
        std_records += fmt::format("{:8d}{}", 100 + i, i % 10 == 9 ? "\r\n" : "");
        averaged += fmt::format(" 4{:6d}{}", 100 + i, i % 10 == 9 ? "\r\n" : "");
    }
    const std::pair<std::string, std::string> files[] = {
        {"BANK 1 20 20 CONS 400.0 2.0 0 0 FXYE\n" + fxye, "GSAS FXYE"},
        {"BANK 1 20 4 CONST 400.0 2.0 0 0 ESD\n" + esd, "GSAS ESD"},
        {"BANK 1 20 2 CONST 400.00 2.00 0 0 STD\r\n" + std_records, "GSAS STD"},
        {"BANK 1 20 2 CONST 400.00 2.00\r\n" + averaged, "GSAS STD"}};
    for (const auto& [text, format] : files) {
        const auto pattern = read("a.gsas", title + text, {});
        ASSERT_EQ(pattern.axis.size(), 20U) << text;
        EXPECT_NEAR(pattern.axis.two_theta()[0], 4, 1e-9);
        EXPECT_NEAR(pattern.axis.two_theta()[19], 4.38, 1e-9);
        EXPECT_NEAR(pattern.axis.wavelength(), 0.4, 1e-9);
        EXPECT_EQ(pattern.intensity[7], 107);
        EXPECT_EQ(pattern.format, format);
    }
    EXPECT_NEAR(read("a.fxye", files[0].first).variance[7], 10.7 * 10.7, 1e-9);
    EXPECT_NEAR(read("a.gsas", files[1].first).variance[7], 10.7 * 10.7, 1e-9);
    EXPECT_TRUE(read("a.gsas", files[2].first).variance.empty());
    EXPECT_NEAR(read("a.gsas", files[3].first).variance[7], 107 / 4.0, 1e-9);
    EXPECT_THAT(read("a.gsas", files[0].first + files[0].first).notes,
                ::testing::ElementsAre(HasSubstr("2 banks")));
    EXPECT_THAT(error("a.gsas", "BANK 1 30 20 CONS 400 2 0 0 FXYE\n" + fxye),
                AllOf(HasSubstr("30 channels"), HasSubstr("20")));
    EXPECT_THAT(error("a.gsas", "t\nBANK 1 20 20 SLOG 400 2 0 0 FXYE\n" + fxye),
                AllOf(HasSubstr("line 2"), HasSubstr("SLOG"), HasSubstr("constant wavelength")));
    EXPECT_THAT(error("a.gsas", "BANK 1 20 20 CONS 400 2 0 0 ALT\n" + fxye), HasSubstr("ALT"));
    EXPECT_THAT(error("a.gsas", "BANK 1 20 20 CONS 400 2 0 0 FXYE\nabc 1 2\n"),
                AllOf(HasSubstr("line 2"), HasSubstr("GSAS")));
}

TEST_F(PatternFileTest, NotANumberOfMicrosoft) {
    for (const char* word : {"1.#QNAN", "-1.#IND", "1.#QNAN00", "1.#INF", "-1.#INF00", "1.#J",
                             "nan", "-nan(ind)", "inf"}) {
        const auto pattern = read("a.xy", rows(12) + fmt::format("9.0 {}\n", word));
        EXPECT_TRUE(std::isnan(pattern.intensity.back())) << word;
        EXPECT_THAT(pattern.notes, ::testing::ElementsAre(HasSubstr("without a finite intensity")));
    }
    const auto pattern = read("a.xye", rows(12, " ", true) + "9.0 5 1.#QNAN\n");
    EXPECT_EQ(pattern.variance.back(), 0);
    EXPECT_EQ(read("a.xy", rows(12) + "9.0 7 # rest\n").intensity.back(), 7);
}

TEST_F(PatternFileTest, LineEndsAndEncodings) {
    const auto text = "# title\n" + rows(12);
    std::string old_mac = text, windows, wide = "\xff\xfe";
    std::replace(old_mac.begin(), old_mac.end(), '\n', '\r');
    for (const char c : text) {
        windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
        wide += std::string{c, '\0'};
    }
    for (const auto& content : {old_mac, windows, wide, "\xef\xbb\xbf" + rows(12)}) {
        const auto pattern = read("a.xy", content);
        EXPECT_EQ(pattern.axis.size(), 12U);
        EXPECT_DOUBLE_EQ(pattern.axis.two_theta()[11], 2.1);
    }
    EXPECT_THAT(error("a.xy", old_mac + "5.0 abc\r"), HasSubstr("line 14"));
}

TEST_F(PatternFileTest, OtherFormatsAreNamed) {
    EXPECT_THAT(error("a.dat", "#F file\n#S 1 ascan tth\n#L tth  det\n" + rows(12) +
                                   "\n#S 2 ascan tth\n#L tth  det\n5 1\n6 2\n"),
                AllOf(HasSubstr("SPEC"), HasSubstr("2 scans"), HasSubstr("line 17")));
    EXPECT_EQ(read("a.dat", "#S 1 ascan tth\n#L tth  det\n" + rows(12)).axis.size(), 12U);
    EXPECT_THAT(error("a.rasx", std::string("PK\x03\x04\0\0", 6)), HasSubstr("zip"));
    EXPECT_THAT(error("a.xml", "<?xml version=\"1.0\"?>\n<svg/>\n"), HasSubstr("XML"));
    EXPECT_THAT(error("a.raw", std::string("RAW1.01\0\0", 9)), HasSubstr("Bruker"));
}

TEST_F(PatternFileTest, TitlesSayWhichColumnsCount) {
    std::string four, six, weights, relative, monitor;
    for (int i = 0; i < 12; ++i) {
        const double x = 5 + 0.1 * i, y = 100 + i;
        four += fmt::format("{} {} {} 50\n", x, y, std::sqrt(y));
        six += fmt::format("{},{},{},{},50,2\n", x, y, 1 / y, y + 1);
        weights += fmt::format("{} {} {}\n", x, y, 4 / y);
        relative += fmt::format("{} {} {}\n", x, y, 1 / std::sqrt(y));
        monitor += fmt::format("{} {} 1000 {}\n", x, i, y);
    }
    const auto a = read("a.dat", "# 2theta I sigma bkg\n" + four);
    EXPECT_NEAR(a.variance[5], 105, 0.01);
    EXPECT_THAT(a.notes, ::testing::Contains(HasSubstr("'sigma'")));
    const auto b = read("b.csv", "x,y_obs,weight,y_calc,y_bkg,Q\n" + six);
    EXPECT_EQ(b.intensity[5], 105);
    EXPECT_NEAR(b.variance[5], 105, 0.01);
    EXPECT_NEAR(read("c.dat", "2theta I weight\n" + weights).variance[5], 105 / 4.0, 0.01);
    EXPECT_TRUE(read("d.dat", "2theta I relative_error\n" + relative).variance.empty());
    EXPECT_EQ(read("e.dat", "#S 1 ascan\n#L tth  Epoch  Monitor  det\n" + monitor).intensity[5],
              105);
    EXPECT_THAT(error("f.dat", four), HasSubstr("titles"));
}

TEST_F(PatternFileTest, MoreNamesOfPositionsAndWavelengths) {
    const auto q = read("q.dat", "Momentum transfer (A-1)  Intensity\n" + rows(12));
    EXPECT_NEAR(q.axis.two_theta()[0], 2 * degrees(std::asin(0.12 / (4 * pi))), 1e-9);
    EXPECT_THAT(error("s.dat", "sin(theta)/lambda I\n" + rows(12)), HasSubstr("4 pi"));
    EXPECT_NEAR(read("w.dat", "# lambda = 40 pm\n" + rows(12), {}).axis.wavelength(), 0.4, 1e-9);
    EXPECT_NEAR(read("w.txt", "[Measurement]\nWL1=,0.4\n[Data]\nAngle,Det1\n" + rows(12, ","), {})
                    .axis.wavelength(),
                0.4, 1e-9);
    EXPECT_EQ(read("quoted.csv", "\"2theta\",\"I\"\n\"5\",\"1\"\n" + rows(12, ",")).axis.size(),
              13U);
}

TEST_F(PatternFileTest, UxdIsRead) {
    std::string list = "; made here\n_FILEVERSION=2\n_WL1=1.5406\n; Data for range 1\n"
                       "_STEPTIME=4.0\n_STEPSIZE=0.02\n_START=10.0\n";
    const std::string numbers = " 100 101 102 103 104 105 106 107\n 108 109 110\n";
    const auto counts = read("a.uxd", list + "_COUNTS\n" + numbers, {});
    ASSERT_EQ(counts.axis.size(), 11U);
    EXPECT_NEAR(counts.axis.two_theta()[10], 10.2, 1e-9);
    EXPECT_NEAR(counts.axis.wavelength(), 1.5406, 1e-9);
    EXPECT_EQ(counts.intensity[10], 110);
    EXPECT_TRUE(counts.variance.empty());
    EXPECT_NEAR(read("b.uxd", list + "_CPS\n" + numbers, {}).variance[0], 25, 1e-9);
    const auto pairs =
        read("c.uxd", list + "_2THETACOUNTS\n" + rows(12) + "_START=30\n_2THETACOUNTS\n5 5\n", {});
    EXPECT_EQ(pairs.axis.size(), 12U);
    EXPECT_THAT(pairs.notes, ::testing::Contains(HasSubstr("2 ranges")));
    EXPECT_THAT(error("d.uxd", list + "_COUNTS\n 1 2 x\n"), HasSubstr("'x'"));
    EXPECT_THAT(error("e.uxd", "_WL1=1.5\n_COUNTS\n" + numbers), HasSubstr("_START"));
}

/// An XRDML file with one scan of 11 points from 10 to 12 deg.
std::string xrdml(const std::string& data, const std::string& more_scans = "") {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xrdMeasurements "
           "xmlns=\"http://www.xrdml.com/XRDMeasurement/2.1\"><xrdMeasurement>"
           "<usedWavelength intended=\"K-Alpha\"><kAlpha1 unit=\"Angstrom\">1.540598</kAlpha1>"
           "<kAlpha2 unit=\"Angstrom\">1.544426</kAlpha2></usedWavelength><scan><dataPoints>"
           "<positions axis=\"Omega\" unit=\"deg\"><startPosition>5</startPosition>"
           "<endPosition>6</endPosition></positions><positions axis=\"2Theta\" unit=\"deg\">"
           "<startPosition>10</startPosition><endPosition>12</endPosition></positions>" +
           data + "</dataPoints></scan>" + more_scans + "</xrdMeasurement></xrdMeasurements>\n";
}

TEST_F(PatternFileTest, XrdmlIsRead) {
    const std::string counts = "100 101 102 103 104 105 106 107 108 109 110";
    const auto pattern =
        read("a.xrdml", xrdml("<intensities unit=\"counts\">" + counts + "</intensities>"), {});
    ASSERT_EQ(pattern.axis.size(), 11U);
    EXPECT_NEAR(pattern.axis.two_theta()[1], 10.2, 1e-9);
    EXPECT_NEAR(pattern.axis.wavelength(), 1.540598, 1e-9);
    EXPECT_EQ(pattern.intensity[10], 110);
    EXPECT_TRUE(pattern.variance.empty()); // counts
    EXPECT_EQ(pattern.format, "xrdml");
    const auto attenuated =
        read("b.xrdml",
             xrdml("<beamAttenuationFactors>1 1 1 1 8 8 1 1 1 1 1</beamAttenuationFactors>"
                   "<counts unit=\"counts\">" +
                   counts + "</counts>"),
             {});
    EXPECT_EQ(attenuated.intensity[4], 8 * 104);
    EXPECT_NEAR(attenuated.variance[4], 64 * 104, 1e-6);
    EXPECT_NEAR(attenuated.variance[0], 100, 1e-6);
    const auto rate = read("c.xrdml",
                           xrdml("<commonCountingTime unit=\"seconds\">4</commonCountingTime>"
                                 "<intensities unit=\"cps\">" +
                                 counts + "</intensities>"),
                           {});
    EXPECT_NEAR(rate.variance[0], 25, 1e-6);
}

TEST_F(PatternFileTest, XrdmlThatIsNoPatternIsRefused) {
    EXPECT_THAT(error("a.xrdml", "<?xml version=\"1.0\"?>\n<xrdMeasurements/>\n"),
                HasSubstr("no scan"));
    EXPECT_THAT(error("a.xrdml", xrdml("<intensities>1 2 x</intensities>")), HasSubstr("'x'"));
    EXPECT_THAT(error("a.xrdml", xrdml("")), HasSubstr("<intensities>"));
    EXPECT_THAT(error("a.xrdml", "<?xml version=\"1.0\"?>\n<xrdMeasurements>\n<scan>\n"),
                HasSubstr("valid XML"));
}

TEST_F(PatternFileTest, PowderCifsAreRead) {
    const std::string wavelength = "data_publ\n_pd_block_id x\n"
                                   "data_pattern\nloop_\n_diffrn_radiation_wavelength\n"
                                   "_diffrn_radiation_wavelength_wt\n1.5444 0.5\n1.5406 1.0\n";
    std::string list = "loop_\n_pd_meas_2theta_scan\n_pd_meas_counts_total\n"
                       "_pd_calc_intensity_total\n_pd_proc_ls_weight\n";
    for (int i = 0; i < 12; ++i)
        list += fmt::format("{:.2f} {} 5.5 0.01\n", 10 + 0.1 * i, 100 + i);
    const auto scan = read("a.cif", wavelength + list, {});
    ASSERT_EQ(scan.axis.size(), 12U);
    EXPECT_NEAR(scan.axis.two_theta()[1], 10.1, 1e-9);
    EXPECT_NEAR(scan.axis.wavelength(), 1.5406, 1e-9);
    EXPECT_EQ(scan.intensity[3], 103);
    EXPECT_TRUE(scan.variance.empty());
    EXPECT_EQ(scan.format, "pdCIF");
    std::string range = "data_a\n_diffrn_radiation_wavelength 0.4\n"
                        "_pd_proc_2theta_range_min 2.0\n_pd_proc_2theta_range_max 4.2\n"
                        "_pd_proc_2theta_range_inc 0.2\nloop_\n_pd_proc_intensity_total\n";
    std::string short_range = range;
    for (int i = 0; i < 12; ++i) {
        range += fmt::format("{}({})\n", 1000 + i, 30 + i);
        short_range += i < 11 ? "10\n" : "";
    }
    const auto steps = read("b.cif", range, {});
    ASSERT_EQ(steps.axis.size(), 12U);
    EXPECT_NEAR(steps.axis.two_theta()[11], 4.2, 1e-9);
    EXPECT_NEAR(std::sqrt(steps.variance[1]), 31, 1e-9);
    EXPECT_THAT(error("c.cif", short_range, {}), HasSubstr("another number"));
    EXPECT_THAT(error("d.cif", "data_a\nloop_\n_pd_meas_counts_total\n" + rows(12)),
                HasSubstr("positions"));
    EXPECT_THAT(error("e.cif", "data_a\n_pd_meas_number_of_points 3\nloop_\n_cell_x\n1\n"),
                HasSubstr("without a measured pattern"));
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
        {"powder/mixture_In2O3_0.3022-LaOH3_0.5014-TiO2_0.2004.xrdml", 8282, 10.00943322,
         99.99442286, "xrdml"},
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
