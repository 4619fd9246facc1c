// SPDX-License-Identifier: BSD-3-Clause
// A body of round grains whose crystallites grow from 90 Å at the surface to 250 Å inside, without
// parallax: the chords are exact, the patterns those of the unit tests' simple generator. The job
// is a user's who takes the size for 400 Å.

#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "phantom/structures.hpp"
#include "rietveld/model/peak_profile.hpp"
#include "support/cell_maps.hpp"
#include "support/discs.hpp"
#include "support/program.hpp"
#include "support/structures.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;

namespace {

constexpr double wavelength = 0.18, step = 0.05, instrument = 0.02;
constexpr std::size_t side = 64, rotations = 96, channels = 420, shells = 16;
constexpr double smallest = 90, largest = 250;

struct Grain {
    const char* phase;
    double x, y, radius;
};
const std::vector<Grain>& grains() {
    static const std::vector<Grain> all{{"Cu", -0.45, 0.2, 0.62},
                                        {"Fe", 0.72, 0.5, 0.5},
                                        {"Al", 0.5, -0.55, 0.48},
                                        {"Cu", -0.25, -0.85, 0.4},
                                        {"Cu", 0.15, 1.05, 0.38}};
    return all;
}

/// Size [Å] at a part of a grain's radius.
double size_at(double part) {
    return smallest + (largest - smallest) * (1 - part * part);
}

crystal::Phase structure(const std::string& name) {
    return crystal::Phase::from_cif_text(phantom::structure_file(name).text, name);
}

std::vector<double> pattern_of(const rietveld::RadialAxis& axis, const std::string& name,
                               double size) {
    const auto phase = structure(name);
    const double lorentz = size > 0 ? 0.94 * wavelength / size * 57.29577951308232 : 0;
    const auto profile = rietveld::pseudo_voigt({instrument, lorentz});
    auto pattern = simple_pattern(
        axis, {{phase, 1, phase.cell().a, 0, profile.fwhm, profile.fwhm, profile.mixing}});
    // as bright as the same volume of another phase
    double sum = 0;
    for (const double value : pattern)
        sum += value;
    for (double& value : pattern)
        value *= static_cast<double>(channels) / sum;
    return pattern;
}

/// Intensities [rotation][translation][channel] without noise.
std::vector<double> sinogram(const tomography::ScanGeometry& geometry,
                             const rietveld::RadialAxis& axis) {
    std::vector<double> rays(rotations * side * channels, 1.0);
    const auto add = [&](const Disc& disc, const std::vector<double>& pattern, double factor) {
        const auto chords = project_discs(geometry, {disc});
        for (std::size_t ray = 0; ray < chords.size(); ++ray)
            for (std::size_t k = 0; chords[ray] > 0 && k < channels; ++k)
                rays[ray * channels + k] += factor * chords[ray] * pattern[k];
    };
    for (const Grain& grain : grains()) {
        const bool sized = std::string(grain.phase) == "Cu";
        for (std::size_t s = 0; s < (sized ? shells : 1); ++s) {
            // from the surface inwards: a disc of the shell's pattern, less what was there
            const double outer = 1 - static_cast<double>(s) / shells;
            const double size = sized ? size_at(outer - 0.5 / shells) : 0;
            const Disc disc{grain.x, grain.y, outer * grain.radius, 1};
            add(disc, pattern_of(axis, grain.phase, size), 1);
            if (s > 0)
                add(disc, pattern_of(axis, grain.phase, size_at(outer + 0.5 / shells)), -1);
        }
    }
    return rays;
}

void write_scan(const std::filesystem::path& path) {
    auto geometry = scan(rotations, 180, side, step);
    geometry.beam_width = step;
    std::vector<double> two_theta(channels);
    for (std::size_t k = 0; k < channels; ++k)
        two_theta[k] = 3.5 + 0.015 * static_cast<double>(k);
    auto rays = sinogram(geometry, rietveld::RadialAxis::from_two_theta(two_theta, wavelength));
    const double counts = 4000 / *std::max_element(rays.begin(), rays.end());
    std::vector<double> errors;
    std::mt19937_64 random(5);
    for (double& value : rays) {
        value = std::poisson_distribution<long>(value * counts)(random);
        errors.push_back(std::sqrt(std::max(value, 1.0)));
    }
    auto file = hdf5::File::open(path, hdf5::Access::create);
    auto root = file.root();
    auto entry = nexus::require_class(root, "entry", "NXentry");
    auto instrument_group = nexus::require_class(entry, "instrument", "NXinstrument");
    auto beam = nexus::require_class(instrument_group, "beam", "NXbeam");
    nexus::write_value(beam, "incident_wavelength", wavelength, {"angstrom", ""});
    beam.write_array("extent", {2}, std::span<const double>(std::vector{step, step}))
        .set_attribute("units", "mm");
    auto data = nexus::require_data(entry, "data", "intensity",
                                    {"rotation_angle", "translation", "two_theta"});
    const hdf5::Shape shape{rotations, side, channels};
    data.write_array("intensity", shape, std::span<const double>(rays));
    data.write_array("intensity_errors", shape, std::span<const double>(errors));
    nexus::write_axis(data, "rotation_angle", geometry.rotation, {"deg", ""});
    nexus::write_axis(data, "translation", geometry.translation, {"mm", ""});
    nexus::write_axis(data, "two_theta", two_theta, {"deg", ""});
    nexus::set_default(entry);
}

class VoxelWidthsOfAScan : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryDirectory;
        write_scan(*folder_ / "scan.nxs");
        std::string job = "stages = [\"fbp\", \"rietveld\"]\noutput = \"results\"\n[input]\nfile = "
                          "\"scan.nxs\"\n[instrument]\nw = 4e-4\n";
        for (const char* name : {"Cu", "Fe", "Al"}) {
            write_text(*folder_ / (std::string(name) + ".cif"),
                       std::string(phantom::structure_file(name).text));
            job += "[[phase]]\nname = \"" + std::string(name) + "\"\ncif = \"" + name + ".cif\"\n";
            if (std::string(name) == "Cu")
                job += "cell = \"voxel\"\nsize = 400.0\nrefine_size = \"voxel\"\n";
        }
        write_text(*folder_ / "job.toml", job);
    }
    static void TearDownTestSuite() { delete folder_; }

    static ProcessResult run(const std::string& output, int ranks,
                             const std::vector<std::string>& changes = {}) {
        std::vector<std::string> arguments{"run", (*folder_ / "job.toml").string(), "--set",
                                           "output=\"" + output + "\""};
        for (const auto& change : changes)
            arguments.insert(arguments.end(), {"--set", change});
        return run_xrdct(arguments, ranks, 300);
    }
    static std::vector<double> map(const std::string& output, const std::string& name) {
        return map_of(*folder_ / output / "rietveld.nxs", "entry/rietveld/" + name);
    }

    static TemporaryDirectory* folder_;
};
TemporaryDirectory* VoxelWidthsOfAScan::folder_ = nullptr;

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        ma += a[i] / static_cast<double>(a.size());
        mb += b[i] / static_cast<double>(a.size());
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        aa += (a[i] - ma) * (a[i] - ma);
        bb += (b[i] - mb) * (b[i] - mb);
        ab += (a[i] - ma) * (b[i] - mb);
    }
    return ab / std::sqrt(aa * bb);
}

TEST_F(VoxelWidthsOfAScan, SizesFollowTheTruth) {
    const auto result = run("results", 2);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr("Cu size"));
    const auto size = map("results", "Cu/size"), errors = map("results", "Cu/size_errors"),
               status = map("results", "Cu/status");
    std::vector<double> found, truth, deviation;
    std::size_t inside = 0;
    for (std::size_t i = 0; i < size.size(); ++i) {
        EXPECT_EQ(std::isfinite(size[i]), std::isfinite(errors[i]));
        EXPECT_EQ(std::isfinite(size[i]), status[i] == 0) << "status " << status[i];
        const std::size_t column = i % side, row = i / side;
        const double x = (static_cast<double>(column) - 0.5 * (side - 1)) * step,
                     y = (static_cast<double>(row) - 0.5 * (side - 1)) * step;
        for (const Grain& grain : grains()) {
            const double part = std::hypot(x - grain.x, y - grain.y) / grain.radius;
            if (std::string(grain.phase) != "Cu" || part > 0.95)
                continue;
            ++inside;
            if (std::isfinite(size[i])) {
                found.push_back(size[i]);
                truth.push_back(size_at(part));
                deviation.push_back(std::abs(found.back() / truth.back() - 1));
            }
        }
    }
    ASSERT_GT(inside, 500U);
    EXPECT_GE(static_cast<double>(found.size()), 0.99 * static_cast<double>(inside));
    RecordProperty("median", std::to_string(median(deviation)));
    RecordProperty("correlation", std::to_string(correlation(found, truth)));
    EXPECT_LE(median(deviation), 0.06);
    EXPECT_GE(correlation(found, truth), 0.95);
}

TEST_F(VoxelWidthsOfAScan, OneRankOrTwo) {
    ASSERT_EQ(run("one", 1).exit_code, 0);
    ASSERT_EQ(run("two", 2).exit_code, 0);
    const auto one = map("one", "Cu/size"), two = map("two", "Cu/size"),
               esd = map("one", "Cu/size_errors");
    for (std::size_t i = 0; i < one.size(); ++i) {
        ASSERT_EQ(std::isfinite(one[i]), std::isfinite(two[i]));
        if (std::isfinite(one[i])) {
            EXPECT_NEAR(one[i], two[i], 0.01 * esd[i]);
        }
    }
}

TEST_F(VoxelWidthsOfAScan, StrainsInTheirPlace) {
    const auto result =
        run("strains", 2,
            {"phase.Cu.refine_size=\"fixed\"", "phase.Cu.size=0.0",
             "phase.Cu.refine_microstrain=\"voxel\"", "phase.Cu.microstrain=0.002"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr("Cu microstrain"));
    std::vector<double> strains;
    for (const double value : map("strains", "Cu/microstrain"))
        if (std::isfinite(value))
            strains.push_back(value);
    EXPECT_GT(strains.size(), 500U);
    // 150 Å widen lines at 7° by 0.065°: 4 ε tan θ
    EXPECT_NEAR(median(strains), 4.6e-3, 1.5e-3);
}

TEST_F(VoxelWidthsOfAScan, WrongWordsAreRefused) {
    const auto result = run("wrong", 1, {"phase.Cu.refine_size=\"voxels\""});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.errors, HasSubstr("refine_size"));
    EXPECT_THAT(result.errors, HasSubstr("voxel"));
}

} // namespace
