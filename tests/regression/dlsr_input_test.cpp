// SPDX-License-Identifier: BSD-3-Clause
// Bad and unusual input of the dlsr stage.

#include "dlsr_fixture.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "support/test_data.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace xrdct;
using namespace xrdct::test;

namespace {

class DlsrInput : public DlsrTest {
  protected:
    void expect_failure(const std::filesystem::path& results, const std::vector<std::string>& more,
                        int ranks, const std::vector<std::string>& words) {
        const auto run = run_dlsr(results, more, ranks);
        expect_one_error(run, words);
        EXPECT_FALSE(std::filesystem::exists(results / "dlsr.nxs"));
    }
};

/// Few steps, no e.s.d.: whether it runs, not what it finds.
const std::vector<std::string> hasty{"--set", "dlsr.smoothness=1",
                                     "--set", "dlsr.error_samples=0",
                                     "--set", "dlsr.max_iterations=1"};

TEST_F(DlsrInput, WithoutConventionalProduct) {
    const auto results = new_results("without");
    std::filesystem::remove(results / "rietveld.nxs");
    for (const int ranks : {0, 2})
        expect_failure(results, hasty, ranks, {"rietveld.nxs", "missing"});
}

TEST_F(DlsrInput, ConventionalProductOfOtherSettings) {
    auto more = hasty;
    more.insert(more.end(), {"--set", "rietveld.background_terms=4"});
    expect_failure(new_results("other"), more, 2, {"rietveld.nxs", "other settings"});
}

TEST_F(DlsrInput, Settings) {
    const auto results = new_results("settings");
    const std::vector<std::pair<std::string, std::vector<std::string>>> cases{
        {"dlsr.smoothnes=1", {"dlsr.smoothnes", "dlsr.smoothness"}},
        {"dlsr.error_sample=1", {"dlsr.error_samples"}},
        {"dlsr.scales=voxels", {"dlsr.scales", "voxel"}},
        {"dlsr.smoothness=-1", {"dlsr.smoothness", "negative"}},
        {"dlsr.smoothness=automatic", {"dlsr.smoothness", "auto"}},
        {"dlsr.amount_smoothness=-1", {"dlsr.amount_smoothness", "negative"}},
        {"dlsr.edge=-1", {"dlsr.edge", "negative"}},
        {"dlsr.gap=-0.1", {"dlsr.gap", "negative"}},
        {"dlsr.held_out=1", {"dlsr.held_out", "at least 2"}},
        {"dlsr.error_samples=-1", {"dlsr.error_samples", "between 0 and 1000"}},
        {"dlsr.tolerance=0.5", {"dlsr.tolerance", "0.1"}},
        {"dlsr.layers=-1", {"dlsr.layers", "1000"}},
        {"dlsr.max_iterations=0", {"dlsr.max_iterations", "at least 1"}},
        {"dlsr.convergence=0", {"dlsr.convergence", "between 0 and 1"}},
        {"dlsr.bounded=2", {"dlsr.bounded"}},
        {"dlsr.axis_offset=0.1", {"dlsr.axis_offset"}},
        {"dlsr.axis_offset=refined", {"dlsr.axis_offset", "refine"}},
        {"dlsr.distance=auto", {"dlsr.distance", "refine"}},
        {"dlsr.radial_scale=metal", {"dlsr.radial_scale", "metals"}},
        {"dlsr.standard_uncertainty=0", {"dlsr.standard_uncertainty", "0.1"}},
        {"dlsr.exit_ray=deviate", {"dlsr.exit_ray", "deviated"}},
    };
    for (const auto& [setting, words] : cases) {
        SCOPED_TRACE(setting);
        expect_failure(results, {"--set", setting}, 0, words);
    }
    expect_failure(results, {"--set", "stages=[\"dslr\"]"}, 0, {"dslr", "nearest is 'dlsr'"});
    const std::string deviated = "dlsr.exit_ray=deviated";
    expect_failure(results, {"--set", deviated, "--set", "absorption.method=none"}, 0,
                   {"dlsr.exit_ray", "absorption.method", "none"});
    expect_failure(results, {"--set", deviated, "--set", "dlsr.layers=1"}, 0,
                   {"dlsr.exit_ray", "dlsr.layers"});
    expect_failure(results,
                   {"--set", "phase.NMC532.refine_size=\"voxel\"", "--set",
                    "phase.NMC532.refine_microstrain=\"voxel\""},
                   0, {"NMC532", "4 values", "3 at most"});
    // What only the model can tell.
    expect_failure(results, {"--set", "dlsr.standards=[\"Fee\"]"}, 2,
                   {"dlsr.standards", "'Fee'", "nearest is 'Fe'"});
    expect_failure(results, {"--set", "dlsr.standards=[\"NMC532\"]"}, 2,
                   {"dlsr.standards", "NMC532", "2 free cell parameters"});
}

TEST_F(DlsrInput, PetscOptions) {
    const auto results = new_results("petsc");
    auto more = hasty;
    more.insert(more.end(), {"--set", "dlsr.petsc=\"-tao_bogus 3\""});
    expect_failure(results, more, 2, {"-tao_bogus"});
    more.back() = "dlsr.petsc=\"-ksp_rtoll 1e-3\"";
    expect_failure(results, more, 2, {"-ksp_rtoll", "-ksp_rtol"});
    more.back() = "dlsr.petsc=\"3 -ksp_rtol\"";
    expect_failure(results, more, 2, {"'3'"});
    more.back() = "dlsr.petsc=\"-ksp_max_it 1\"";
    const auto run = run_dlsr(results, more);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_NE(run.errors.find(" 1 matrix-vector products"), std::string::npos) << run.errors;
}

/// Replaces the content of a mask image: all black but the brightest voxel of the original, or all
/// black.
void blacken(const std::filesystem::path& from, const std::filesystem::path& to, bool keep_one) {
    auto image = read_text(from);
    const std::size_t pixels = 36 * 36;
    const auto begin = image.end() - static_cast<std::ptrdiff_t>(pixels);
    const auto white = std::find_if(begin, image.end(), [](char c) { return c != 0; });
    ASSERT_NE(white, image.end()) << from;
    const char value = *white;
    const auto at = white - begin;
    std::fill(begin, image.end(), '\0');
    if (keep_one)
        *(begin + at) = value;
    write_text(to, image);
}

TEST_F(DlsrInput, AbsentPhaseAndMaskOfOneVoxel) {
    const auto edited = cell() / "edited", masks = cell() / "results" / "masks";
    std::filesystem::create_directory(edited);
    blacken(masks / "LiC6.pgm", edited / "LiC6.pgm", false);
    blacken(masks / "NMC532_secondary.pgm", edited / "NMC532_secondary.pgm", true);
    const auto results = new_results("masks");
    auto more = hasty;
    more[3] = "dlsr.error_samples=1";
    more.insert(more.end(), {"--set", "mask.images=edited", "--set",
                             "stages=[\"rietveld\",\"dlsr\"]", "--force"});
    const auto run = run_dlsr(results, more);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_NE(run.errors.find("phase 'LiC6' is nowhere significant"), std::string::npos)
        << run.errors;
    EXPECT_EQ(run.errors.find("phase 'NMC532_secondary' is nowhere"), std::string::npos)
        << run.errors;
    const auto count = [&](const std::string& phase) {
        const auto scale = map_of(results / "dlsr.nxs", "entry/dlsr/" + phase + "/scale");
        return std::count_if(scale.begin(), scale.end(), [](double v) { return std::isfinite(v); });
    };
    EXPECT_EQ(count("LiC6"), 0);
    EXPECT_EQ(count("NMC532_secondary"), 1);
    EXPECT_GT(count("NMC532"), 100);
    const auto fraction = map_of(results / "dlsr.nxs", "entry/dlsr/LiC6/weight_fraction");
    for (const double value : fraction)
        EXPECT_FALSE(value > 0);
}

TEST_F(DlsrInput, DeviatedExitRays) {
    std::vector<std::vector<double>> maps;
    for (const int ranks : {0, 1, 2}) {
        const auto results = new_results("exit-" + std::to_string(ranks));
        auto more = hasty;
        more.insert(more.end(),
                    {"--set", ranks > 0 ? "dlsr.exit_ray=deviated" : "dlsr.exit_ray=straight"});
        const auto run = run_dlsr(results, more, std::max(ranks, 1));
        ASSERT_EQ(run.exit_code, 0) << run.errors;
        EXPECT_EQ(run.errors.find("exit rays leave at 2theta = ") != std::string::npos, ranks > 0)
            << run.errors;
        EXPECT_NE(run.errors.find("senses given are right"), std::string::npos) << run.errors;
        maps.push_back(map_of(results / "dlsr.nxs", "entry/dlsr/NMC532/scale"));
    }
    const auto difference = [&](std::size_t a, std::size_t b) {
        double square = 0, size = 0;
        for (std::size_t i = 0; i < maps[a].size(); ++i)
            if (std::isfinite(maps[a][i])) {
                square += std::pow(maps[a][i] - maps[b][i], 2);
                size += maps[b][i] * maps[b][i];
            }
        return std::sqrt(square / size);
    };
    // A few hundredths of a change, the same on both numbers of ranks.
    EXPECT_GT(difference(1, 0), 1e-4);
    EXPECT_LT(difference(1, 0), 0.2);
    EXPECT_LT(difference(2, 1), 0.1 * difference(1, 0));
}

/// Restores the scan of the shared cell.
class SpoiltScan {
  public:
    explicit SpoiltScan(const std::filesystem::path& scan) : scan_(scan), kept_(scan) {
        kept_ += ".kept";
        std::filesystem::copy_file(scan_, kept_);
    }
    ~SpoiltScan() { std::filesystem::rename(kept_, scan_); }
    SpoiltScan(const SpoiltScan&) = delete;
    SpoiltScan& operator=(const SpoiltScan&) = delete;

    /// NaN in the first `rays` of the intensities.
    void spoil(double share) {
        auto file = hdf5::File::open(scan_, hdf5::Access::read_write);
        auto dataset = file.root().open_dataset("entry/data/intensity");
        auto values = dataset.read_all<float>();
        const auto end = static_cast<std::size_t>(share * static_cast<double>(values.size()));
        std::fill(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(end),
                  std::numeric_limits<float>::quiet_NaN());
        dataset.write(values);
    }

  private:
    std::filesystem::path scan_, kept_;
};

TEST_F(DlsrInput, ScanOfNaN) {
    SpoiltScan scan(cell() / "scan.nxs");
    scan.spoil(1);
    expect_failure(new_results("nan"), hasty, 2, {"scan.nxs", "no intensity is finite"});
    auto forced = hasty;
    forced.emplace_back("--force-data");
    expect_failure(new_results("forced"), forced, 2, {"scan.nxs", "axis offset"});
}

TEST_F(DlsrInput, SomeRotationsAreNaN) {
    SpoiltScan scan(cell() / "scan.nxs");
    scan.spoil(5.0 / 44);
    const auto results = new_results("partly");
    const auto run = run_dlsr(results, hasty);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_NE(run.errors.find("180 of 1584 rays are left out"), std::string::npos) << run.errors;
    const auto misfit = map_of(results / "dlsr.nxs", "entry/dlsr/residuals/chi_squared");
    ASSERT_EQ(misfit.size(), 1584U);
    for (std::size_t ray = 0; ray < misfit.size(); ++ray)
        EXPECT_EQ(std::isfinite(misfit[ray]), ray >= 180) << ray;
    const auto c = map_of(results / "dlsr.nxs", "entry/dlsr/NMC532/c");
    EXPECT_GT(std::count_if(c.begin(), c.end(), [](double v) { return std::isfinite(v); }), 100);
}

TEST_F(DlsrInput, MissingRotations) {
    const TemporaryDirectory folder;
    const auto spoilt = folder / "cell";
    simulate_cell(spoilt, {"--translations", "36", "--rotations", "44", "--channels", "240",
                           "--channel-width", "0.0163", "--diameter", "5", "--core", "0.8",
                           "--distance", "480", "--missing-rotations", "0,9,20-23"});
    std::vector<std::string> arguments{"run", (spoilt / "job.toml").string(), "--set",
                                       "stages=[\"absorption\",\"fbp\",\"rietveld\",\"dlsr\"]"};
    arguments.insert(arguments.end(), {"--set", "dlsr.smoothness=0.5", "--set",
                                       "dlsr.error_samples=0", "--set", "dlsr.max_iterations=4"});
    const auto run = run_xrdct(arguments, 2, 200);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto results = spoilt / "results";
    EXPECT_EQ(map_of(results / "dlsr.nxs", "entry/dlsr/residuals/chi_squared").size(), 38U * 36U);
    const auto c = compare_cathode(spoilt, results / "dlsr.nxs", "dlsr", "c");
    EXPECT_GE(c.coverage, 0.98);
    EXPECT_LE(c.median, 0.01);
    const auto gof = map_of(results / "dlsr.nxs", "entry/dlsr/gof").at(0);
    EXPECT_LE(gof, 1.3);
}

} // namespace
