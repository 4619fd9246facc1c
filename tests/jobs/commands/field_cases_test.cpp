// SPDX-License-Identifier: BSD-3-Clause
// Inputs in the shape of faults that users of programs like this one have reported, with what must
// come out: frames, detectors and patterns. They are read from field/ in the folder XRDCT_DATA.
#include "mpi/hdf5/hdf5.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <cmath>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace {

/// Skips the test unless the case's file is there.
#define REQUIRE_FIELD_CASE(variable, name)                                                         \
    const auto variable = measured_data(std::string("field/") + (name));                           \
    if (!variable)                                                                                 \
    GTEST_SKIP() << measured_data_reason(std::string("field/") + (name))

class FieldFrames : public ::testing::Test {
  protected:
    /// Integrates a file of a case with its d.poni.
    ProcessResult integrate(const std::filesystem::path& file,
                            std::vector<std::string> more = {}) const {
        std::vector<std::string> arguments{
            "integrate",  file.string(), "--poni",   (file.parent_path() / "d.poni").string(),
            "--channels", "40",          "--min",    "0.5",
            "--max",      "9",           "--output", (folder_ / "out.nxs").string(),
            "--force"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, 0, 60, folder_.path());
    }
    /// Means of the patterns over their channels; NaN: no channel has a value.
    std::vector<double> means() const {
        const auto file = hdf5::File::open(folder_ / "out.nxs", hdf5::Access::read_only);
        const auto data = file.root().open_dataset("entry/patterns/intensity");
        const auto values = data.read_all<double>();
        std::vector<double> result;
        for (std::size_t frame = 0; frame < data.shape()[0]; ++frame) {
            double sum = 0, n = 0;
            for (std::size_t k = 0; k < data.shape()[1]; ++k)
                if (const double value = values[frame * data.shape()[1] + k];
                    std::isfinite(value)) {
                    sum += value;
                    ++n;
                }
            result.push_back(sum / n);
        }
        return result;
    }
    std::vector<double> invalid() const {
        return hdf5::File::open(folder_ / "out.nxs", hdf5::Access::read_only)
            .root()
            .open_dataset("entry/patterns/invalid_pixels")
            .read_all<double>();
    }
    TemporaryDirectory folder_;
};

TEST_F(FieldFrames, FramesWithoutDataAreMasked) {
    REQUIRE_FIELD_CASE(sample, "01-vds-source-missing/sample.h5");
    REQUIRE_FIELD_CASE(aborted, "03-frames-never-written/aborted.h5");
    const struct {
        std::filesystem::path file;
        std::vector<std::string> more;
        const char* why;
    } cases[] = {{*sample, {"--dataset", "/1.1/measurement/eiger"}, "scan0001_eiger_0001.h5"},
                 {*aborted, {}, "was never written"}};
    for (const auto& one : cases) {
        const auto result = integrate(one.file, one.more);
        ASSERT_EQ(result.exit_code, 0) << result.errors;
        EXPECT_THAT(result.errors, HasSubstr("frame 3 is masked"));
        EXPECT_THAT(result.errors, HasSubstr(one.why));
        const auto mean = means();
        ASSERT_EQ(mean.size(), 6U);
        for (std::size_t i = 0; i < 6; ++i)
            EXPECT_TRUE(i < 3 ? std::abs(mean[i] - 23.722) < 6e-4 : std::isnan(mean[i]))
                << i << ' ' << mean[i];
        auto refuse = one.more;
        refuse.insert(refuse.end(), {"--bad-frames", "refuse"});
        const auto refused = integrate(one.file, refuse);
        EXPECT_EQ(refused.exit_code, 1);
        EXPECT_THAT(refused.errors, HasSubstr(one.why));
    }
}

TEST_F(FieldFrames, PixelsWithoutAValueAreLeftOut) {
    REQUIRE_FIELD_CASE(lambda, "04-nxdetector-pixel-mask/lambda.nxs");
    REQUIRE_FIELD_CASE(saxs, "06-float-frames-dummies/saxs.edf");
    REQUIRE_FIELD_CASE(flat, "06-float-frames-dummies/pilatus_flat.edf");
    REQUIRE_FIELD_CASE(boolean, "09-mask-hdf5-boolean/frame.h5");
    const auto mask = (boolean->parent_path() / "mask.h5").string();
    const struct {
        std::filesystem::path file;
        std::vector<std::string> more;
        double mean, invalid; ///< invalid: 6 of 180 lie outside the range of the channels
    } cases[] = {{*lambda, {"--dataset", "/entry/instrument/detector/data"}, 23.757, -1},
                 {*saxs, {}, 23.730, 180},
                 {*flat, {}, 23.730, 180},
                 {*boolean, {"--mask", mask}, 23.730, -1},
                 {*boolean, {"--mask", mask + "::/data"}, 23.730, -1}};
    for (const auto& one : cases) {
        const auto result = integrate(one.file, one.more);
        ASSERT_EQ(result.exit_code, 0) << result.errors;
        for (const double mean : means())
            EXPECT_NEAR(mean, one.mean, 6e-4) << one.file;
        if (one.invalid >= 0) {
            EXPECT_EQ(invalid().front(), one.invalid) << one.file;
        }
    }
}

TEST_F(FieldFrames, DetectorsAndOrientations) {
    REQUIRE_FIELD_CASE(pilatus4, "07-poni-pilatus4-pixel/p4.h5");
    REQUIRE_FIELD_CASE(turned, "08-poni-orientation/frame.h5");
    REQUIRE_FIELD_CASE(general, "11-edf-general-block/general.edf");
    const auto result = run_xrdct({"integrate", pilatus4->string(), "--poni",
                                   (pilatus4->parent_path() / "d.poni").string(), "--channels",
                                   "10", "--output", (folder_ / "out.nxs").string(), "--json"},
                                  0, 60, folder_.path());
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto range = nlohmann::json::parse(result.output)["range"];
    EXPECT_NEAR(range[1].get<double>(), 20.6451, 1e-3);
    for (const auto& file : {*turned, *general}) {
        const auto one = integrate(file);
        ASSERT_EQ(one.exit_code, 0) << one.errors;
        ASSERT_EQ(means().size(), 1U);
        EXPECT_NEAR(means()[0], 23.722, 6e-4) << file;
    }
}

class FieldPatterns : public ::testing::Test {
  protected:
    /// Fits ceria to a file of a case; what the program says of it.
    void fit(const std::filesystem::path& file, const std::vector<std::string>& more) {
        const auto cif = file.parent_path().parent_path() / "common" / "CeO2.cif";
        std::vector<std::string> arguments{
            "rietveld",         file.string(), "--phase",  "CeO2=" + cif.string(),  "--no-pictures",
            "--force",          "--json",      "--output", folder_.path().string(), "--set",
            "instrument.w=9e-4"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const auto result = run_xrdct(arguments, 0, 120, folder_.path());
        ASSERT_EQ(result.exit_code, 0) << file << result.errors;
        notes = nlohmann::json::parse(result.output)["notes"].dump();
        const auto root =
            hdf5::File::open(folder_ / "rietveld.nxs", hdf5::Access::read_only).root();
        const auto group = root.open_group("entry/refinement");
        two_theta = group.open_dataset("pattern/two_theta").read_all<double>();
        a = group.open_dataset("phases/CeO2/results/a").read_scalar();
        gof = group.open_dataset("gof").read_scalar();
    }
    void expect_axis(std::size_t n, double first, double last) const {
        ASSERT_EQ(two_theta.size(), n);
        EXPECT_NEAR(two_theta.front(), first, 1e-4);
        EXPECT_NEAR(two_theta.back(), last, 1e-4);
        EXPECT_NEAR(a, 5.4117, 2e-4);
    }
    TemporaryDirectory folder_;
    std::vector<double> two_theta;
    double a = 0, gof = 0;
    std::string notes;
};

TEST_F(FieldPatterns, TitlesThatNameQ) {
    for (const char* name : {"debyecalc.dat", "saxs.dat", "hash.dat"}) {
        REQUIRE_FIELD_CASE(file, std::string("12-pattern-q-in-title/") + name);
        fit(*file, {"--wavelength", "0.1665"});
        expect_axis(1581, 1.2, 17);
        EXPECT_THAT(notes, HasSubstr("1/angstrom")) << name;
    }
}

TEST_F(FieldPatterns, AThirdColumnOfOnes) {
    REQUIRE_FIELD_CASE(file, "14-pattern-third-column-ones/Profile0.txt");
    fit(*file, {"--wavelength", "0.4"});
    expect_axis(801, 4, 20);
    EXPECT_NEAR(gof, 2.026, 0.01);
    EXPECT_THAT(notes, HasSubstr("1 in all rows; it is no standard deviation"));
}

TEST_F(FieldPatterns, AWavelengthWithoutUnit) {
    REQUIRE_FIELD_CASE(file, "15-pattern-wavelength-without-unit/map_1.xy");
    fit(*file, {});
    expect_axis(801, 4, 20);
}

TEST_F(FieldPatterns, BanksOfGsas) {
    for (const char* name : {"11bm.fxye", "cu.gsas"}) {
        REQUIRE_FIELD_CASE(file, std::string("16-pattern-gsas-banks/") + name);
        fit(*file, {"--wavelength", "0.4"});
        expect_axis(801, 4, 20);
        EXPECT_NEAR(gof, 2.026, 0.02) << name;
    }
}

} // namespace
