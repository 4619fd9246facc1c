// SPDX-License-Identifier: BSD-3-Clause
// A simulated cell with everything that spoils a scan planted into it.
#include "condition_fixture.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

using namespace xrdct;
using namespace xrdct::test;

namespace {

constexpr std::size_t n = 48, channels = 260;
constexpr std::size_t lost_line = 20;
const std::vector<std::size_t> dead = {40, 121};
constexpr std::size_t gap_begin = 200, gap_end = 204;
constexpr std::size_t stripe_strong = 14, stripe_weak = 27;
constexpr double strong = 1.15, weak = 0.88;
struct Planted {
    std::size_t r, t, k;
};
const std::vector<Planted> spots = {{5, 20, 9}, {11, 30, 147}, {30, 12, 64}, {41, 25, 178}};
constexpr double air_level = 3;

double air_of(std::size_t k) {
    return air_level * std::exp(-static_cast<double>(k) / 100) + 1;
}

/// What the beam line would have recorded: frames in zigzag, one step of lag, decaying beam.
PatternsFile spoil(const Scan3& clean, double mean_monitor) {
    Scan3 scan = clean;
    for (std::size_t r = 0; r < scan.n_r; ++r)
        for (std::size_t t = 0; t < scan.n_t; ++t) {
            const double gain = t == stripe_strong ? strong : t == stripe_weak ? weak : 1.0;
            for (std::size_t k = 0; k < scan.n_k; ++k)
                scan.at(r, t, k) = static_cast<float>(gain * scan.at(r, t, k) + air_of(k));
        }
    for (const auto& spot : spots)
        for (std::size_t k = spot.k - 1; k <= spot.k + 1; ++k)
            scan.at(spot.r, spot.t, k) += 9000;
    const auto frames = ConditionTest::frames_of(scan, 1);
    // Not all frames are in the file: the line that was lost is absent.
    PatternsFile file = frames;
    file.intensity.clear();
    std::mt19937 random(7);
    std::normal_distribution<double> jitter(0, 0.01);
    for (std::size_t i = 0; i < n * n; ++i) {
        const double flux =
            std::exp(-0.6 * static_cast<double>(i) / (n * n)) * (1 + jitter(random)) * mean_monitor;
        if (i / n == lost_line)
            continue;
        file.monitor.push_back(1e6 * flux);
        const bool back = (i / n) % 2 == 1;
        const auto t = std::clamp<std::ptrdiff_t>(
            static_cast<std::ptrdiff_t>(back ? n - 1 - i % n : i % n) - (back ? 1 : 0), 0, n - 1);
        file.transmission.push_back(2e4 * flux *
                                    clean.transmission[i / n * n + static_cast<std::size_t>(t)]);
        for (std::size_t k = 0; k < channels; ++k) {
            const bool is_dead = std::ranges::find(dead, k) != dead.end();
            const float value = static_cast<float>(frames.intensity[i * channels + k] * flux);
            file.intensity.push_back(k >= gap_begin && k < gap_end
                                         ? std::numeric_limits<float>::quiet_NaN()
                                     : is_dead ? 0.0F
                                               : value);
        }
    }
    return file;
}

struct Maps {
    std::vector<double> values, errors;
};
Maps read_maps(const std::filesystem::path& product, const std::string& name) {
    const auto file = hdf5::File::open(product, hdf5::Access::read_only);
    const auto group = file.root().open_group("entry/rietveld");
    return {group.open_dataset(name).read_all<double>(),
            group.open_dataset(name + "_errors").read_all<double>()};
}

double median(std::vector<double> values) {
    std::ranges::nth_element(values,
                             values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
}

class PlantedScan : public ConditionTest {};

TEST_F(PlantedScan, EverythingIsFoundCorrectedOrMaskedAndReported) {
    const auto cell = folder() / "cell";
    const auto made =
        run_xrdct({"simulate", "--output", cell.string(), "--translations", std::to_string(n),
                   "--rotations", std::to_string(n), "--channels", std::to_string(channels),
                   "--first-channel", "1.3", "--channel-width", "0.0142", "--step", "0.26"},
                  0, 120);
    ASSERT_EQ(made.exit_code, 0) << made.errors;
    const auto clean = read_scan(cell / "scan.nxs");
    auto frames = spoil(clean, 1.35);
    {
        const auto file = hdf5::File::open(cell / "scan.nxs", hdf5::Access::read_only);
        const auto instrument = file.root().open_group("entry/instrument");
        frames.wavelength = instrument.open_dataset("beam/incident_wavelength").read_scalar();
        frames.distance = instrument.open_dataset("detector/distance").read_scalar();
    }
    frames.write(cell / "frames.nxs");
    std::string lost;
    for (std::size_t i = lost_line * n; i < (lost_line + 1) * n; ++i)
        lost += (lost.empty() ? "" : ", ") + std::to_string(i);
    const double half = -clean.translation.front();
    const auto scan =
        conditioned("[input]\nfile = 'cell/frames.nxs'\nrotation_range = [0.0, 180.0]\n"
                    "rotation_range_closed = false\ntranslation_range = [" +
                        std::to_string(-half) + ", " + std::to_string(half) +
                        "]\n[arrange]\nrotations = 48\ntranslations = 48\nlost = [" + lost +
                        "]\n[normalise]\ntransmission = true\n[air]\nmethod = 'edges'\nedge = 3\n"
                        "[spots]\nmethod = 'weight'\n[stripes]\nmethod = 'correct'\n[noise]\nmodel "
                        "= 'counts'\n",
                    {});
    ASSERT_EQ(scan.n_r, n);
    ASSERT_EQ(scan.n_t, n);
    ASSERT_EQ(scan.n_k, channels);

    // Found and reported.
    const auto json = nlohmann::json::parse(read_text(folder() / "conditioned" / "condition.json"));
    std::map<std::string, nlohmann::json> steps;
    for (const auto& step : json["steps"])
        steps[step["step"]] = step;
    EXPECT_EQ(steps["missing"]["details"]["lines"], 1);
    EXPECT_EQ(steps["zigzag"]["details"]["turned"], "odd");
    EXPECT_EQ(steps["lag"]["details"]["undone"], 1.0);
    EXPECT_NEAR(steps["monitor"]["details"]["last_over_first"].get<double>(), 0.58, 0.02);
    std::vector<std::size_t> found_dead = steps["channels"]["details"]["dead"];
    EXPECT_EQ(found_dead, (std::vector<std::size_t>{40, 121, 200, 201, 202, 203}));
    EXPECT_EQ(steps["stripes"]["details"]["translations"],
              (nlohmann::json{stripe_strong, stripe_weak}));
    EXPECT_TRUE(steps["axis"]["details"]["agree"].get<bool>()) << steps["axis"].dump(1);
    EXPECT_TRUE(json["warnings"].empty()) << json["warnings"].dump(1);
    EXPECT_TRUE(std::filesystem::exists(folder() / "conditioned" / "condition.html"));
    const auto record = hdf5::File::open(product(), hdf5::Access::read_only);
    const auto list = record.root().open_group("entry/condition/spots_list");
    const auto at_r = list.open_dataset("rotation").read_all<std::int32_t>();
    const auto at_t = list.open_dataset("translation").read_all<std::int32_t>();
    const auto at_k = list.open_dataset("channel").read_all<std::int32_t>();
    std::set<std::array<std::int32_t, 3>> found;
    for (std::size_t i = 0; i < at_r.size(); ++i)
        found.insert({at_r[i], at_t[i], at_k[i]});
    for (const auto& spot : spots)
        for (std::size_t k = spot.k - 1; k <= spot.k + 1; ++k)
            EXPECT_TRUE(
                found.contains({static_cast<std::int32_t>(spot.r),
                                static_cast<std::int32_t>(spot.t), static_cast<std::int32_t>(k)}))
                << spot.r << " " << spot.t << " " << k;
    // Few others: of Poisson noise in half a million values, or sharp structure.
    EXPECT_LE(found.size(), 3 * spots.size() + 10);

    // Masked.
    for (std::size_t t = 0; t < n; ++t)
        for (std::size_t k = 0; k < channels; ++k)
            ASSERT_TRUE(std::isnan(scan.at(lost_line, t, k)));
    for (std::size_t r = 0; r < n; ++r)
        for (std::size_t t = 0; t < n; ++t) {
            ASSERT_TRUE(std::isnan(scan.at(r, t, 40)) && std::isnan(scan.at(r, t, 121)));
            ASSERT_TRUE(std::isnan(scan.at(r, t, gap_begin)) &&
                        std::isnan(scan.at(r, t, gap_end - 1)));
        }

    // Corrected: what is left of all this is small against the noise of the clean counts.
    double squares = 0, count = 0;
    std::size_t absent = 0;
    const double level = scan.at(2, 24, 9) / clean.at(2, 24, 9);
    for (std::size_t r = 0; r < n; ++r)
        for (std::size_t t = 0; t < n; ++t)
            for (std::size_t k = 0; k < channels; ++k) {
                const double value = scan.at(r, t, k) / level, truth = clean.at(r, t, k);
                const bool masked = std::ranges::find(found_dead, k) != found_dead.end() ||
                                    r == lost_line || (r % 2 == 1 && t == n - 1);
                if (masked)
                    continue;
                absent += std::isnan(value) ? 1 : 0;
                const bool spot =
                    found.contains({static_cast<std::int32_t>(r), static_cast<std::int32_t>(t),
                                    static_cast<std::int32_t>(k)});
                // Spots end where their neighbours are, and say so by their error.
                if (spot)
                    EXPECT_LT(std::abs(value - truth),
                              4 * scan.error(r, t, k) / level + 8 * std::sqrt(truth + 4))
                        << r << " " << t << " " << k;
                else {
                    const double z = (value - truth) / std::sqrt(truth + 4);
                    squares += z * z;
                    count += 1;
                }
            }
    EXPECT_EQ(absent, 0U);
    EXPECT_LT(std::sqrt(squares / count), 0.25);
    std::printf("left of what was planted: %.3f of the noise of the counts\n",
                std::sqrt(squares / count));
    // Transmission comes back as I/I0, turned and moved with the lines.
    double worst = 0;
    for (std::size_t i = 0; i < n * n; ++i)
        if (std::isfinite(scan.transmission[i]))
            worst = std::max(worst, std::abs(scan.transmission[i] / clean.transmission[i] - 1));
    EXPECT_LT(worst, 0.02);

    // The maps that follow.
    const auto first = run_xrdct({"run", (cell / "job.toml").string()}, 0, 300);
    ASSERT_EQ(first.exit_code, 0) << first.errors;
    const auto second =
        run_xrdct({"run", (cell / "job.toml").string(), "--set", "input.file=" + product().string(),
                   "--set", "output=results-conditioned"},
                  0, 300);
    ASSERT_EQ(second.exit_code, 0) << second.errors;
    for (const std::string name :
         {"NMC532/a", "NMC532/c", "Cu/scale", "Fe/scale", "NMC532/scale"}) {
        SCOPED_TRACE(name);
        const auto truth = read_maps(cell / "results" / "rietveld.nxs", name),
                   maps = read_maps(cell / "results-conditioned" / "rietveld.nxs", name);
        const double factor = name.ends_with("scale") ? level : 1;
        std::vector<double> deviations;
        std::size_t there = 0;
        for (std::size_t i = 0; i < truth.values.size(); ++i) {
            if (!std::isfinite(truth.values[i]) || !std::isfinite(truth.errors[i]) ||
                !(truth.errors[i] > 0))
                continue;
            ++there;
            if (std::isfinite(maps.values[i]))
                deviations.push_back(std::abs(maps.values[i] / factor - truth.values[i]) /
                                     truth.errors[i]);
        }
        ASSERT_GT(there, 100U);
        EXPECT_GT(deviations.size(), 0.95 * static_cast<double>(there));
        std::ranges::sort(deviations);
        EXPECT_LT(median(deviations), 0.7);
        EXPECT_LT(deviations[deviations.size() * 95 / 100], name == "Fe/scale" ? 3.5 : 2.0);
        std::printf("%s: |difference| / e.s.d. median %.2f, 95 %% %.2f of %zu voxels\n",
                    name.c_str(), median(deviations), deviations[deviations.size() * 95 / 100],
                    deviations.size());
    }
}

} // namespace
