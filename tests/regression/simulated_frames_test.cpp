// SPDX-License-Identifier: BSD-3-Clause
// Raw frames of a simulated cell, seen by a tilted detector in a polarised beam: integrated, they
// give the sinogram that was simulated without frames, and its maps.

#include "base/units.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/scan/sinogram_file.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

using namespace xrdct;
using namespace xrdct::test;

namespace {

std::vector<float> read_all(const std::filesystem::path& file, scan::SinogramArray array,
                            scan::SinogramMetadata& metadata) {
    const auto scan = scan::SinogramFile::open(file);
    metadata = scan.metadata();
    std::vector<float> values(metadata.n_rotation() * metadata.n_translation() *
                              metadata.n_channel());
    scan.read_rows({0, metadata.n_rotation()}, {0, metadata.n_channel()}, values, array);
    return values;
}

void simulate(const std::filesystem::path& output, std::vector<std::string> more) {
    std::vector<std::string> arguments{
        "simulate", "--output",   output.string(), "--translations",  "40",  "--rotations",
        "60",       "--channels", "400",           "--first-channel", "1.7", "--seed",
        "3",        "--counts",   "200",           "--diameter",      "6"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = run_xrdct(arguments, 2, 400);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
}

} // namespace

TEST(SimulatedFrames, GiveTheSinogramAndItsMaps) {
    const TemporaryDirectory folder;
    simulate(folder / "cell", {"--frames", "--frame-pixels", "300"});
    simulate(folder / "exact", {"--no-noise"});
    if (HasFatalFailure())
        return;
    scan::SinogramMetadata metadata, other;
    const auto exact =
        read_all(folder / "exact/scan.nxs", scan::SinogramArray::intensity, metadata);
    const auto cell = folder / "cell";
    const double width = metadata.two_theta[1] - metadata.two_theta[0];
    const auto result =
        run_xrdct({"integrate", (cell / "frames/line_*.h5").string(), "--poni",
                   (cell / "frames/detector.poni").string(), "--polarization", "0.95", "--channels",
                   "400", "--min", std::to_string(metadata.two_theta.front() - width / 2), "--max",
                   std::to_string(metadata.two_theta.back() + width / 2), "--output",
                   (folder / "integrated.nxs").string()},
                  2, 300);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto intensity =
        read_all(folder / "integrated.nxs", scan::SinogramArray::intensity, other);
    const auto errors = read_all(folder / "integrated.nxs", scan::SinogramArray::errors, other);
    ASSERT_EQ(intensity.size(), exact.size());
    EXPECT_EQ(other.rotation, metadata.rotation);
    EXPECT_EQ(other.translation, metadata.translation);
    EXPECT_NEAR(other.distance, metadata.distance, 1e-6);

    // The polarisation was taken out of the frames; the simulated sinogram has the unpolarised one.
    double sum = 0, expected = 0, squares = 0, shifts = 0, n = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
        const double cosine = std::cos(radians(metadata.two_theta[i % 400]));
        const double value = intensity[i] * 0.5 * (1 + cosine * cosine);
        sum += value;
        expected += exact[i];
        if (exact[i] < 1)
            continue; // too few counts for their root to be their error
        const double z = (value - exact[i]) / errors[i];
        squares += z * z;
        shifts += z;
        n += 1;
    }
    ASSERT_GT(n, 1e5);
    RecordProperty("spread", std::to_string(std::sqrt(squares / n)));
    EXPECT_NEAR(sum / expected, 1, 0.005); // some forty pixels sample the channels of sharp lines
    EXPECT_NEAR(shifts / n, 0, 0.15);
    // A little more than counting: few pixels sample a channel on the flank of a line.
    EXPECT_GT(std::sqrt(squares / n), 0.95);
    EXPECT_LT(std::sqrt(squares / n), 1.35);

    // A job that does not say what the integration took out is told so by the scan.
    const auto refused = run_xrdct({"validate", (cell / "job.toml").string(), "--set",
                                    "input.file=" + (folder / "integrated.nxs").string()});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.errors.find("set instrument.polarization_corrected = true"),
              std::string::npos)
        << refused.errors;

    // Maps of both, same job: runs are compared, not what they find.
    for (const auto& [scan, output] : {std::pair{folder / "integrated.nxs", folder / "from_frames"},
                                       {cell / "scan.nxs", folder / "direct"}}) {
        const bool frames = scan.filename() == "integrated.nxs";
        const auto run = run_xrdct(
            {"run", (cell / "job_with_truth.toml").string(), "--set", "input.file=" + scan.string(),
             "--set", "output=" + output.string(), "--set",
             std::string("instrument.polarization_corrected=") + (frames ? "true" : "false")},
            2, 300);
        ASSERT_EQ(run.exit_code, 0) << run.errors;
    }
    const auto map = [&](const char* output, const char* name) {
        const auto file =
            hdf5::File::open(folder / output / "rietveld.nxs", hdf5::Access::read_only);
        return nexus::read_map(file.root().open_group("entry/rietveld/NMC532"), name);
    };
    const auto a = map("from_frames", "c"), b = map("direct", "c");
    const auto ea = map("from_frames", "c_errors"), eb = map("direct", "c_errors");
    std::vector<double> z;
    for (std::size_t i = 0; i < a.values.size(); ++i)
        if (std::isfinite(a.values[i]) && std::isfinite(b.values[i]))
            z.push_back((a.values[i] - b.values[i]) / std::hypot(ea.values[i], eb.values[i]));
    ASSERT_GT(z.size(), 200U);
    std::sort(z.begin(), z.end());
    const auto at = [&](double q) {
        return z[static_cast<std::size_t>(q * static_cast<double>(z.size()))];
    };
    RecordProperty("median", std::to_string(at(0.5)));
    RecordProperty("cell_spread", std::to_string(0.5 * (at(0.84) - at(0.16))));
    EXPECT_NEAR(at(0.5), 0, 0.5);
    EXPECT_LT(0.5 * (at(0.84) - at(0.16)), 1.5);
    const auto sa = map("from_frames", "scale"), sb = map("direct", "scale");
    double ta = 0, tb = 0;
    for (std::size_t i = 0; i < sa.values.size(); ++i)
        if (std::isfinite(sa.values[i]) && std::isfinite(sb.values[i])) {
            ta += sa.values[i];
            tb += sb.values[i];
        }
    EXPECT_NEAR(ta / tb, 1, 0.01);
}
