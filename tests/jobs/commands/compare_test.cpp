// SPDX-License-Identifier: BSD-3-Clause
#include "cell_fixture.hpp"

#include "jobs/program/provenance.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <map>

using namespace xrdct;
using namespace xrdct::test;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t n = 40;
constexpr double pixel = 0.25;

struct Quantity {
    std::vector<double> values;
    std::string units;
};
using Phases = std::map<std::string, std::map<std::string, Quantity>>;

double x_of(std::size_t i) {
    return (static_cast<double>(i % n) - 0.5 * (n - 1)) * pixel;
}
double y_of(std::size_t i) {
    return (static_cast<double>(i / n) - 0.5 * (n - 1)) * pixel;
}

/// Blobs without symmetry, `gain` high, the object turned by `angle` degrees.
std::vector<double> blobs(double gain = 1, double angle = 0) {
    std::vector<double> out(n * n);
    const double c = std::cos(angle * M_PI / 180), s = std::sin(angle * M_PI / 180);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const double x = c * x_of(i) + s * y_of(i), y = -s * x_of(i) + c * y_of(i);
        const auto blob = [&](double bx, double by, double width, double height) {
            return height *
                   std::exp(-((x - bx) * (x - bx) + (y - by) * (y - by)) / (width * width));
        };
        out[i] = gain * (blob(1.5, 0.4, 0.7, 1) + blob(-1, 1.7, 1, 0.7) +
                         blob(-0.6, -1.9, 0.5, 1.2) + blob(0, 0, 2.5, 0.4));
    }
    return out;
}

std::vector<double> constant(double value) {
    return std::vector<double>(n * n, value);
}

/// A result as `xrdct run` leaves it, with the given maps.
void write_result(const std::filesystem::path& folder, const Phases& phases,
                  double last_x_factor = 1) {
    std::filesystem::create_directories(folder);
    auto product =
        nexus::ProductFile::create(folder / "rietveld.nxs", nexus::ProductFile::Existing::refuse);
    {
        program::Provenance provenance;
        provenance.stage = "rietveld";
        provenance.date = "2024-01-01T00:00:00Z";
        auto stage = write_provenance(product.root(), provenance, "a cell");
        std::vector<double> axis;
        for (std::size_t i = 0; i < n; ++i)
            axis.push_back(x_of(i));
        std::vector<double> x = axis;
        x.back() *= last_x_factor;
        for (const auto& [name, quantities] : phases) {
            auto group = nexus::require_data(stage, name, quantities.begin()->first, {"y", "x"});
            for (const auto& [quantity, map] : quantities)
                nexus::write_map(group, quantity, map.values, n, n, {map.units, quantity});
            nexus::write_axis(group, "y", axis, {"mm", "y"});
            nexus::write_axis(group, "x", x, {"mm", "x"});
        }
    }
    product.commit();
}

Phases cathode(double gain = 1, double angle = 0) {
    std::vector<double> a = constant(2.82);
    for (std::size_t i = 0; i < a.size(); ++i)
        a[i] += 0.01 * blobs()[i];
    return {
        {"NMC532",
         {{"scale", {blobs(gain, angle), ""}},
          {"weight_fraction", {blobs(0.3, angle), ""}},
          {"a", {a, "angstrom"}}}},
        {"Cu",
         {{"scale", {blobs(2 * gain, angle), ""}}, {"weight_fraction", {blobs(0.6, angle), ""}}}}};
}

class Compare : public ::testing::Test {
  protected:
    void SetUp() override {
        write_result(path("one"), cathode());
        write_result(path("two"), cathode(3));
    }
    std::filesystem::path path(const std::string& name) const { return folder_ / name; }
    std::filesystem::path output() const { return folder_ / "compared"; }

    ProcessResult run(const std::vector<std::string>& inputs,
                      const std::vector<std::string>& more = {}) const {
        std::vector<std::string> arguments{"compare"};
        for (const auto& input : inputs)
            arguments.push_back(path(input).string());
        arguments.insert(arguments.end(), {"--output", output().string()});
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, 0, 120);
    }
    void expect_failure(const std::vector<std::string>& words,
                        const std::vector<std::string>& inputs,
                        const std::vector<std::string>& more = {}) const {
        SCOPED_TRACE(words.empty() ? "" : words.front());
        const auto result = run(inputs, more);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        EXPECT_EQ(occurrences(result.errors, "xrdct: error:"), 1U) << result.errors;
        for (const auto& word : words)
            EXPECT_NE(result.errors.find(word), std::string::npos) << "'" << word << "' not in:\n"
                                                                   << result.errors;
        EXPECT_EQ(result.output, "");
        EXPECT_FALSE(std::filesystem::exists(output()));
    }
    nlohmann::json summary(const std::vector<std::string>& inputs,
                           const std::vector<std::string>& more = {}) const {
        auto options = more;
        options.emplace_back("--json");
        const auto result = run(inputs, options);
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        return nlohmann::json::parse(result.output, nullptr, false);
    }

  private:
    TemporaryDirectory folder_;
};

TEST_F(Compare, BadArgumentsAreRefused) {
    expect_failure({"1 result is given", "at least two"}, {"one"});
    expect_failure({"nowhere", "no such folder"}, {"one", "nowhere"});
    expect_failure({"--label", "1 labels for 2 results"}, {"one", "two"}, {"--label", "a"});
    expect_failure({"--label", "'a' is given twice"}, {"one", "two"},
                   {"--label", "a", "--label", "a"});
    expect_failure({"--reference", "'oone'", "nearest is 'one'"}, {"one", "two"},
                   {"--reference", "oone"});
    expect_failure({"--no-align excludes"}, {"one", "two"}, {"--no-align", "--angle", "two=3"});
    expect_failure({"--angle", "'three'"}, {"one", "two"}, {"--angle", "three=4"});
    expect_failure({"--angle", "one is the reference"}, {"one", "two"}, {"--angle", "one=4"});
    expect_failure({"--angle", "'much'"}, {"one", "two"}, {"--angle", "two=much"});
    expect_failure({"--angle", "NAME=degrees"}, {"one", "two"}, {"--angle", "17"});
    expect_failure({"--shift", "NAME=x,y"}, {"one", "two"}, {"--shift", "two=1"});
    expect_failure({"--pixel", "positive"}, {"one", "two"}, {"--pixel", "0"});
    expect_failure({"no stage 'dlsr'", "rietveld"}, {"one", "two"}, {"--stage", "dlsr"});
    expect_failure({"--referense", "--reference"}, {"one", "two"}, {"--referense", "one"});
    EXPECT_EQ(run_xrdct({"compare", path("one").string(), path("two").string()}).exit_code, 1);
}

TEST_F(Compare, WhatIsNoResultIsRefused) {
    std::filesystem::create_directories(path("empty"));
    expect_failure({"empty", "no product"}, {"one", "empty"});
    std::filesystem::create_directories(path("text"));
    write_text(path("text") / "rietveld.nxs", "no HDF5 at all");
    expect_failure({"rietveld.nxs"}, {"one", "text"});
    write_text(path("notes.txt"), "no HDF5 either");
    expect_failure({"notes.txt"}, {"one", "notes.txt"});
    // A product without phases.
    write_result(path("peaks"), {{"separator", {{"area", {blobs(), ""}}}}});
    expect_failure({"peaks", "no stage has maps of phases"}, {"one", "peaks"});
}

TEST_F(Compare, MapsThatCannotBeComparedAreRefused) {
    write_result(path("graphite"), {{"graphite", {{"scale", {blobs(), ""}}}}});
    expect_failure({"no phase in common", "NMC532", "graphite"}, {"one", "graphite"});

    Phases empty = cathode();
    for (auto& [name, quantities] : empty)
        for (auto& [quantity, map] : quantities)
            map.values = constant(nan);
    write_result(path("empty-maps"), empty);
    expect_failure({"empty-maps", "no voxel has a value"}, {"one", "empty-maps"});

    Phases nanometres = cathode();
    nanometres["NMC532"]["a"].units = "nm";
    write_result(path("nm"), nanometres);
    expect_failure({"NMC532", "a is in", "'angstrom' in one", "'nm' in nm"}, {"one", "nm"});

    write_result(path("uneven"), cathode(), 1.3);
    expect_failure({"uneven", "axis x", "equal steps"}, {"one", "uneven"});

    Phases flat = {{"Cu", {{"scale", {constant(1), ""}}, {"weight_fraction", {constant(1), ""}}}}};
    write_result(path("flat"), flat);
    expect_failure({"flat", "--no-align"}, {"one", "flat"});
}

TEST_F(Compare, TheSameTwiceDiffersNowhere) {
    const auto json = summary({"one", "one"}, {"--label", "first", "--label", "again"});
    const auto& alignment = json["cells"][1]["alignment"];
    EXPECT_NEAR(alignment["angle_deg"], 0, 1e-3);
    EXPECT_NEAR(alignment["shift_x_mm"], 0, 1e-4);
    EXPECT_GT(alignment["correlation"], 0.999);
    EXPECT_TRUE(alignment["certain"]);
    for (const auto& d : json["differences"]) {
        EXPECT_NEAR(d["mean"], 0, 1e-4) << d;
        EXPECT_NEAR(d["spread"], 0, 1e-3) << d;
    }
    // Exposures differ, masses do not.
    std::filesystem::remove_all(output());
    for (const auto& d : summary({"one", "two"}, {"--no-align"})["differences"])
        EXPECT_NEAR(d["spread"], 0, 1e-12) << d;
}

TEST_F(Compare, MakesAllFilesAndReplacesThemOnlyByForce) {
    ASSERT_EQ(run({"one", "two"}).exit_code, 0);
    EXPECT_EQ(list_folder(output()).find("tmp"), std::string::npos) << list_folder(output());
    for (const char* name : {"comparison.html", "comparison.nxs", "comparison.json",
                             "comparison.csv", "pictures/NMC532_a.png", "pictures/NMC532_a.svg",
                             "pictures/NMC532_a_histogram.png", "pictures/Cu_relative_mass.png"})
        EXPECT_TRUE(std::filesystem::exists(output() / name)) << name;
    const auto file = hdf5::File::open(output() / "comparison.nxs", hdf5::Access::read_only);
    const auto stage = file.root().open_group("entry/compare");
    EXPECT_EQ(stage.open_dataset("reference").read_string(), "one");
    const auto inputs = nlohmann::json::parse(stage.open_dataset("inputs").read_string());
    ASSERT_EQ(inputs.size(), 2U);
    const auto expected = run_process({"sha256sum", (path("one") / "rietveld.nxs").string()});
    EXPECT_EQ(inputs.at((path("one") / "rietveld.nxs").string()).get<std::string>(),
              expected.output.substr(0, 64));
    // The reference's voxels are its own.
    const auto map = nexus::read_map(stage.open_group("one/NMC532"), "a");
    const auto x = stage.open_group("one/NMC532").open_dataset("x").read_all<double>();
    const auto y = stage.open_group("one/NMC532").open_dataset("y").read_all<double>();
    const auto original = cathode().at("NMC532").at("a").values;
    const auto index = [](double v) {
        return static_cast<std::size_t>(std::lround(v / pixel + 0.5 * (n - 1)));
    };
    for (std::size_t j = 0; j < y.size(); ++j)
        for (std::size_t i = 0; i < x.size(); ++i)
            ASSERT_EQ(map.values[j * x.size() + i], original[index(y[j]) * n + index(x[i])]);

    const auto again = run({"one", "two"});
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_NE(again.errors.find("--force"), std::string::npos) << again.errors;
    EXPECT_EQ(run({"one", "two"}, {"--force"}).exit_code, 0);
}

TEST_F(Compare, WhatOneLacksIsSaidAndLeftEmpty) {
    Phases other = cathode();
    other["NMC532"].erase("a");
    other["graphite"] = {{"scale", {blobs(), ""}}, {"weight_fraction", {blobs(0.1), ""}}};
    write_result(path("other"), other);
    const auto json = summary({"one", "other"}, {"--reference", "other"});
    EXPECT_EQ(json["reference"], "other");
    std::string notes = json["notes"].dump();
    EXPECT_NE(notes.find("graphite is in the model of other, not of one"), std::string::npos)
        << notes;
    EXPECT_NE(notes.find("a was mapped in one, not in other"), std::string::npos) << notes;
    EXPECT_TRUE(json["cells"][1]["phases"]["graphite"].is_null());
    EXPECT_TRUE(std::filesystem::exists(output() / "pictures/graphite_relative_mass.png"));
    for (const auto& d : json["differences"]) {
        EXPECT_NE(d["phase"], "graphite");
        EXPECT_NE(d["quantity"], "a");
    }
}

TEST_F(Compare, AGivenTransformIsTaken) {
    write_result(path("turned"), cathode(1, 90));
    const auto json = summary({"one", "turned"}, {"--angle", "turned=90", "--shift", "turned=0,0"});
    EXPECT_EQ(json["cells"][1]["alignment"]["angle_deg"], 90);
    EXPECT_EQ(json["cells"][1]["alignment"]["shift_x_mm"], 0);
    EXPECT_GT(json["cells"][1]["alignment"]["correlations"]["Cu"], 0.999);
    for (const auto& d : json["differences"])
        if (d["quantity"] == "weight_fraction") {
            EXPECT_NEAR(d["spread"], 0, 1e-6);
        }
    std::filesystem::remove_all(output());
    const auto found = summary({"one", "turned"})["cells"][1]["alignment"];
    EXPECT_NEAR(found["angle_deg"], 90, 0.2);
}

TEST_F(Compare, StatisticsAreWeightedWithTheAmount) {
    const auto json = summary({"one", "two"}, {"--no-align"});
    const auto phases = cathode();
    const auto& a = phases.at("NMC532").at("a").values;
    const auto& s = phases.at("NMC532").at("scale").values;
    double sum = 0, mean = 0, spread = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        sum += s[i];
        mean += s[i] * a[i];
    }
    mean /= sum;
    for (std::size_t i = 0; i < a.size(); ++i)
        spread += s[i] * (a[i] - mean) * (a[i] - mean);
    const auto& entry = json["cells"][0]["phases"]["NMC532"]["a"];
    EXPECT_NEAR(entry["mean"], mean, 1e-9);
    EXPECT_NEAR(entry["spread"], std::sqrt(spread / sum), 1e-9);
    EXPECT_EQ(entry["voxels"], n * n);
    // 0.3 to 0.6 in every voxel.
    EXPECT_NEAR(json["cells"][0]["phases"]["NMC532"]["whole_cell_weight_fraction"], 1.0 / 3, 1e-9);
}

/// Scan to comparison: the same wound cell charged and discharged, with other hot spots and another
/// lithium distribution, turned by 17° and moved by four voxels.
TEST(CompareStates, FindsTheTurnAndShiftOfARealRun) {
    const TemporaryDirectory folder;
    const auto simulate = [&](const std::string& name, const std::vector<std::string>& more) {
        std::vector<std::string> arguments{"simulate",
                                           "--output",
                                           (folder / name).string(),
                                           "--translations",
                                           "72",
                                           "--rotations",
                                           "80",
                                           "--channels",
                                           "260",
                                           "--first-channel",
                                           "1.3",
                                           "--channel-width",
                                           "0.0142",
                                           "--step",
                                           "0.165"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const auto made = run_xrdct(arguments, 2, 200);
        ASSERT_EQ(made.exit_code, 0) << made.errors;
        const auto ran = run_xrdct({"run", (folder / name / "job.toml").string()}, 2, 200);
        ASSERT_EQ(ran.exit_code, 0) << ran.errors;
    };
    simulate("charged", {"--preset", "charged"});
    simulate("discharged", {"--preset", "discharged", "--seed", "7", "--turn", "17", "--shift-x",
                            "0.54", "--shift-y=-0.43"});
    const auto result = run_xrdct({"compare", (folder / "charged" / "results").string(),
                                   (folder / "discharged" / "results").string(), "--json",
                                   "--output", (folder / "compared").string()},
                                  0, 200);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto json = nlohmann::json::parse(result.output);
    EXPECT_EQ(json["cells"][1]["label"], "discharged");
    const auto& alignment = json["cells"][1]["alignment"];
    EXPECT_NEAR(alignment["angle_deg"], 17, 0.5);
    EXPECT_NEAR(alignment["shift_x_mm"], 0.54, 0.3 * 0.165);
    EXPECT_NEAR(alignment["shift_y_mm"], -0.43, 0.3 * 0.165);
    EXPECT_TRUE(alignment["certain"]) << alignment;
    const auto cell = [&](std::size_t k, const char* quantity) {
        return json["cells"][k]["phases"]["NMC532"][quantity]["mean"].get<double>();
    };
    // The states as designed: c falls by about 0.16 Å, a rises.
    EXPECT_NEAR(cell(1, "c") - cell(0, "c"), -0.16, 0.05);
    EXPECT_NEAR(cell(1, "a") - cell(0, "a"), 0.034, 0.008);
    EXPECT_TRUE(json["cells"][1]["phases"]["LiC6"].is_null());
}

} // namespace
