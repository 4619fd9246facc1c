// SPDX-License-Identifier: BSD-3-Clause
// xrdct calibrate through the program: what it writes, what jobs make of it, bad input.

#include "base/error.hpp"
#include "cell_fixture.hpp"
#include "crystal/standards.hpp"
#include "jobs/settings/instrument_file.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/files/checksum.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "support/noise.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::AllOf;
using ::testing::HasSubstr;

namespace {

constexpr double nominal = 0.12;
constexpr double true_wavelength = nominal * (1 + 300e-6);
const rietveld::InstrumentProfile true_profile{0.07, 0, 3e-4, 3e-3, 0, 0};

/// A folder with a pattern of ceria, its wavelength 300 ppm off the nominal one.
class Calibrate : public ::testing::Test {
  protected:
    void SetUp() override {
        std::vector<double> centres;
        for (int k = 0; k < 1200; ++k)
            centres.push_back(1.8 + 0.006 * k);
        const auto axis = rietveld::RadialAxis::from_two_theta(centres, nominal);
        rietveld::PatternModel model;
        model.phases.emplace_back(crystal::powder_standard("CeO2").phase());
        model.wavelength.value = true_wavelength;
        model.instrument = rietveld::InstrumentParameters(true_profile);
        std::vector<double> y(axis.size());
        rietveld::PatternCalculator(axis, model).evaluate(model, y);
        const double factor = 1e4 / *std::max_element(y.begin(), y.end());
        for (double& value : y)
            value = value * factor + 40;
        y = poisson_counts(y, 7);
        std::ofstream file(pattern());
        for (std::size_t k = 0; k < y.size(); ++k)
            file << centres[k] << ' ' << y[k] << '\n';
    }

    std::filesystem::path pattern() const { return folder_ / "ceria.xy"; }
    std::filesystem::path output() const { return folder_ / "instrument.toml"; }
    const std::filesystem::path& folder() const { return folder_.path(); }

    ProcessResult run(const std::vector<std::string>& more,
                      const std::vector<std::string>& standard = {"--standard", "CeO2"}) const {
        std::vector<std::string> arguments{"calibrate", pattern().string(), "--output",
                                           output().string()};
        arguments.insert(arguments.end(), standard.begin(), standard.end());
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, 0, 60, folder());
    }

    /// The common failure: exit code 1, one message with all the words, nothing new in the folder.
    void expect_failure(const std::vector<std::string>& words, const std::vector<std::string>& more,
                        const std::vector<std::string>& standard = {"--standard", "CeO2"}) const {
        const auto before = list_folder(folder());
        const auto result = run(more, standard);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        EXPECT_EQ(occurrences(result.errors, "error:"), 1U) << result.errors;
        EXPECT_EQ(result.output, "");
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
        EXPECT_EQ(list_folder(folder()), before);
    }

    const std::vector<std::string> wavelength_{"--wavelength", "0.12"};

  private:
    TemporaryDirectory folder_;
};

TEST_F(Calibrate, WritesInstrumentAndPictures) {
    const auto result = run({"--wavelength", "0.12", "--refine", "wavelength", "--noise", "counts",
                             "--exclude", "3.0:3.2", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    for (const char* word : {"\"wavelength_angstrom\"", "\"dropped\"", "\"rwp\"", "\"lines\""})
        EXPECT_THAT(result.output, HasSubstr(word));
    EXPECT_THAT(result.errors, AllOf(HasSubstr("dropped"), HasSubstr("wavelength  0.12003")));
    for (const char* name : {"instrument-fit.png", "instrument-fit.svg", "instrument-widths.png",
                             "instrument-widths.svg"})
        EXPECT_GT(std::filesystem::file_size(folder() / name), 1000U) << name;

    const auto file = settings::read_instrument_file(output());
    EXPECT_NEAR(file.wavelength, true_wavelength, 4 * file.wavelength_error);
    EXPECT_LT(file.wavelength_error, 2e-5 * nominal);
    EXPECT_EQ(file.calibrated, std::vector<std::string>{"wavelength"});
    EXPECT_NEAR(file.profile.w, true_profile.w, 4 * file.profile_errors.w);
    EXPECT_EQ(file.profile.z, 0);
    EXPECT_EQ(file.standard, "CeO2");
    EXPECT_EQ(file.cell[0], 5.411651);
    EXPECT_EQ(file.excluded, (std::vector<double>{3.0, 3.2}));
    EXPECT_EQ(file.pattern_sha256, files::sha256_of_file(pattern()));
    EXPECT_NEAR(file.two_theta_min, 1.8, 1e-9);
    EXPECT_EQ(file.fwhm.size(), 6U);
    EXPECT_THAT(file.program, HasSubstr("xrdct"));
    // the text is the record: reading and writing it changes nothing
    EXPECT_EQ(settings::to_toml(file), read_text(output()));
}

TEST_F(Calibrate, NothingIsReplacedWithoutForce) {
    write_text(output(), "precious");
    expect_failure({"instrument.toml", "exists", "--force"}, wavelength_);
    EXPECT_EQ(read_text(output()), "precious");
    std::filesystem::remove(output());
    write_text(folder() / "instrument-widths.png", "precious");
    expect_failure({"instrument-widths.png", "exists"}, wavelength_);
    EXPECT_EQ(run({"--wavelength", "0.12", "--no-pictures"}).exit_code, 0);
    EXPECT_EQ(read_text(folder() / "instrument-widths.png"), "precious");
    EXPECT_EQ(run({"--wavelength", "0.12", "--force"}).exit_code, 0);
    EXPECT_NE(read_text(folder() / "instrument-widths.png"), "precious");
}

TEST_F(Calibrate, AStandardFromACif) {
    write_text(folder() / "ceria.cif", crystal::powder_standard("CeO2").cif);
    const auto result =
        run({"--wavelength", "0.12", "--cell", "5.4115", "--no-pictures"}, {"--cif", "ceria.cif"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto file = settings::read_instrument_file(output());
    EXPECT_EQ(file.cell[1], 5.4115);
    EXPECT_TRUE(file.calibrated.empty());
    // the cell of the truth is 28 ppm above the one given; the wavelength takes 300 ppm off
    EXPECT_NEAR(file.cell_deviation, 27.9 - 300, 4 * file.cell_deviation_error + 1);
}

TEST_F(Calibrate, Pattern) {
    std::filesystem::remove(pattern());
    expect_failure({"ceria.xy", "no such file"}, wavelength_);
    write_text(pattern(), "");
    expect_failure({"ceria.xy", "empty"}, wavelength_);
    write_text(pattern(), "2.0 zero\n2.1 nothing\n");
    expect_failure({"ceria.xy"}, wavelength_);
}

TEST_F(Calibrate, FlatPattern) {
    std::ofstream file(pattern());
    for (int k = 0; k < 500; ++k)
        file << 2 + 0.01 * k << " 100\n";
    file.close();
    expect_failure({"ceria.xy", "CeO2", "check standard"}, wavelength_);
}

TEST_F(Calibrate, Standard) {
    expect_failure({"'CeO'", "nearest is 'CeO2'"}, wavelength_, {"--standard", "CeO"});
    expect_failure({"--standard", "--cif"}, wavelength_, {});
    expect_failure({"--standard", "--cif"}, wavelength_, {"--standard", "CeO2", "--cif", "a.cif"});
    expect_failure({"a.cif"}, wavelength_, {"--cif", "a.cif"});
    expect_failure({"ceria.xy", "no line of Si", "check standard"}, wavelength_,
                   {"--standard", "Si"});
    expect_failure({"--cell", "'5,5'"}, {"--wavelength", "0.12", "--cell", "5,5"});
    expect_failure({"--cell", "'a'"}, {"--wavelength", "0.12", "--cell", "a"});
    expect_failure({"--cell", "6.2"}, {"--wavelength", "0.12", "--cell", "6.2"});
}

TEST_F(Calibrate, Wavelength) {
    expect_failure({"ceria.xy", "wavelength"}, {});
    expect_failure({"--wavelength", "-0.12"}, {"--wavelength", "-0.12"});
    expect_failure({"--energy"}, {"--wavelength", "0.12", "--energy", "103"});
    for (const char* wrong : {"0.08", "0.115", "0.125", "0.2"})
        expect_failure({"ceria.xy", "CeO2", "check standard, wavelength"},
                       {"--wavelength", wrong, "--refine", "wavelength"});
}

TEST_F(Calibrate, NoLineInRange) {
    expect_failure({"no line of CeO2", "2.60", "3.39"},
                   {"--wavelength", "0.12", "--min", "2.6", "--max", "3.4"});
    expect_failure({"--max"}, {"--wavelength", "0.12", "--min", "3.4", "--max", "2.6"});
    expect_failure({"ceria.xy"}, {"--wavelength", "0.12", "--min", "40"});
    expect_failure({"--exclude", "3.4"}, {"--wavelength", "0.12", "--exclude", "3.4"});
    expect_failure({"--exclude", "5:4"}, {"--wavelength", "0.12", "--exclude", "5:4"});
    expect_failure({"ceria.xy"}, {"--wavelength", "0.12", "--exclude", "0:20"});
}

TEST_F(Calibrate, Combinations) {
    expect_failure(
        {"--refine", "wavelength and distance", "cannot be refined together"},
        {"--wavelength", "0.12", "--distance", "1000", "--refine", "wavelength,distance"});
    expect_failure({"--refine distance", "--distance"},
                   {"--wavelength", "0.12", "--refine", "distance"});
    expect_failure({"--refine", "'wavelenght'", "wavelength"},
                   {"--wavelength", "0.12", "--refine", "wavelenght"});
    expect_failure(
        {"zero and distance", "cannot be refined together"},
        {"--wavelength", "0.12", "--distance", "1000", "--refine", "distance,zero", "--min", "7"});
    expect_failure({"--intensities", "extracted"},
                   {"--wavelength", "0.12", "--intensities", "extract"});
    expect_failure({"--noise errors", "ceria.xy"}, {"--wavelength", "0.12", "--noise", "errors"});
    expect_failure({"--background"}, {"--wavelength", "0.12", "--background", "-1"});
    expect_failure({"--outptu", "--output"}, {"--wavelength", "0.12", "--outptu", "x"});
}

TEST_F(Calibrate, OutputFolderMissing) {
    const auto result =
        run_xrdct({"calibrate", pattern().string(), "--standard", "CeO2", "--wavelength", "0.12",
                   "--output", (folder() / "nowhere" / "i.toml").string()});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.errors, HasSubstr("nowhere"));
}

settings::InstrumentFile sample_file() {
    settings::InstrumentFile file;
    file.profile = {0.07, -0.001, 3e-4, 3e-3, 0.01, 0};
    file.wavelength = 0.1234;
    file.distance = 876.5;
    file.standard = "a \"name\"";
    file.cell = {5, 5, 5, 90, 90, 90};
    file.two_theta_min = 1;
    file.two_theta_max = 9;
    return file;
}

std::string message_of(const std::filesystem::path& path) {
    try {
        settings::read_instrument_file(path);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(InstrumentFiles, RoundTrip) {
    const TemporaryDirectory folder;
    write_instrument_file(folder / "i.toml", sample_file());
    const auto read = settings::read_instrument_file(folder / "i.toml");
    EXPECT_EQ(settings::to_toml(read), settings::to_toml(sample_file()));
    EXPECT_EQ(read.profile.v, -0.001);
    EXPECT_EQ(read.standard, "a \"name\"");
    EXPECT_THROW(write_instrument_file(folder / "i.toml", sample_file()), Error);
    EXPECT_NO_THROW(write_instrument_file(folder / "i.toml", sample_file(), true));
    EXPECT_EQ(list_folder(folder.path()), "i.toml");
}

TEST(InstrumentFiles, BadOnesAreRefused) {
    const TemporaryDirectory folder;
    const auto path = folder / "i.toml";
    const std::string good = to_toml(sample_file());
    const auto message = [&](const std::string& from, const std::string& to) {
        auto text = good;
        const auto at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        write_text(path, text.replace(at, from.size(), to));
        return message_of(path);
    };
    EXPECT_THAT(message_of(folder / "none.toml"), HasSubstr("no such file"));
    EXPECT_THAT(message("\nu = 0.07", ""),
                AllOf(HasSubstr("i.toml"), HasSubstr("instrument.u"), HasSubstr("required")));
    EXPECT_THAT(message("\nu = 0.07", "\nuu = 0.07"),
                AllOf(HasSubstr("instrument.uu"), HasSubstr("nearest is 'instrument.u'")));
    EXPECT_THAT(message("\nu = 0.07", "\nu = 'wide'"), HasSubstr("instrument.u"));
    EXPECT_THAT(message("\nu = 0.07", "\nu = nan"), HasSubstr("instrument.u"));
    EXPECT_THAT(message("wavelength = 0.1234", "wavelength = -1.0"),
                HasSubstr("instrument.wavelength"));
    EXPECT_THAT(message("wavelength = 0.1234", "wavelength = "), HasSubstr("line"));
    EXPECT_THAT(message("instrument 1", "instrument 9"), HasSubstr("format"));
    EXPECT_THAT(message("calibrated = []", "calibrated = ['u']"), HasSubstr("calibrated"));
    EXPECT_THAT(message("cell = [", "cell = [1.0, "), HasSubstr("standard.cell"));
    write_text(path, "title = 'a job'\n");
    EXPECT_THAT(message_of(path), HasSubstr("not an instrument file"));
}

class InstrumentInJob : public CellTest {
  protected:
    void SetUp() override {
        CellTest::SetUp();
        write_instrument_file(folder() / "i.toml", sample_file());
    }
    settings::Job with(const std::vector<std::string>& more) {
        std::vector<std::string> overrides{"instrument.file=i.toml"};
        overrides.insert(overrides.end(), more.begin(), more.end());
        return settings::parse_job(
            "[input]\nfile = 'scan.nxs'\n[[phase]]\nname = 'Fe'\ncif = 'a.cif'\n", job(),
            overrides);
    }
};

TEST_F(InstrumentInJob, GivesWhatTheJobDoesNotState) {
    const auto all = with({});
    EXPECT_EQ(all.instrument.u, 0.07);
    EXPECT_EQ(all.instrument.v, -0.001);
    EXPECT_EQ(all.instrument.w, 3e-4);
    EXPECT_EQ(all.instrument.x, 3e-3);
    EXPECT_EQ(all.instrument.y, 0.01);
    EXPECT_EQ(all.geometry.wavelength, 0.1234);
    EXPECT_EQ(all.geometry.distance, 876.5);
    EXPECT_THAT(all.resolved, AllOf(HasSubstr("u = 0.07"), HasSubstr("wavelength = 0.1234"),
                                    HasSubstr("distance = 876.5")));
    EXPECT_THAT(all.notes, ::testing::ElementsAre(AllOf(HasSubstr("i.toml"), HasSubstr("0.1234"),
                                                        HasSubstr("876.5"))));
    const auto some = with({"instrument.w=1e-3", "geometry.energy=100", "geometry.distance=500"});
    EXPECT_EQ(some.instrument.w, 1e-3);
    EXPECT_EQ(some.instrument.u, 0.07);
    EXPECT_TRUE(std::isnan(some.geometry.wavelength));
    EXPECT_EQ(some.geometry.energy, 100);
    EXPECT_EQ(some.geometry.distance, 500);
    ASSERT_EQ(some.notes.size(), 2U);
    EXPECT_THAT(some.notes[1], AllOf(HasSubstr("instrument.w"), HasSubstr("geometry.energy"),
                                     HasSubstr("geometry.distance")));
}

TEST_F(InstrumentInJob, BadFileNamesTheKey) {
    xrdct::test::CellTest::expect_failure({"job.toml", "instrument.file", "none.toml"},
                                          {"--set", "instrument.file=none.toml"});
    write_text(folder() / "i.toml", "nonsense = 1\n");
    xrdct::test::CellTest::expect_failure({"job.toml", "instrument.file", "i.toml"},
                                          {"--set", "instrument.file=i.toml"});
}

TEST_F(InstrumentInJob, ValidateShowsItAndProductsRememberIt) {
    edit_job("file = \"instrument.toml\"", "file = \"i.toml\"\nu = 0.06");
    const auto validated = run_xrdct({"validate", job().string()});
    ASSERT_EQ(validated.exit_code, 0) << validated.errors;
    EXPECT_THAT(validated.output,
                AllOf(HasSubstr("file = 'i.toml'"), HasSubstr("wavelength = 0.1234"),
                      HasSubstr("of the job and not of"), HasSubstr("instrument.u")));
    const auto run = run_xrdct({"run", job().string(), "--stages", "absorption,fbp"}, 2, 60);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_THAT(run.errors, HasSubstr("i.toml gives"));
    const auto info = read_text(results() / "fbp.nxs");
    EXPECT_NE(info.find(files::sha256_of_file(folder() / "i.toml")), std::string::npos);
}

} // namespace
