// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/analysis.hpp"

#include "base/error.hpp"
#include "jobs/report/analysis_file.hpp"
#include "jobs/report/report.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace xrdct::report {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

const double nan = std::nan("");
constexpr std::size_t n = 41;
constexpr double centre_x = 0.2, centre_y = -0.3; ///< of the object; the image is about (0, 0)

const std::string lithium_text = R"(
[[lithium]]
electrode = "cathode"
phase = "NMC"
table = [[14.50, 0.40], [14.00, 0.90]]
[[lithium]]
electrode = "anode"
phase = "graphite"
content = 0.25
)";

std::string text_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// A disc of radius 1.5 mm: NMC with c = 14.4 − 0.1 r [mm] on its upper half, graphite below; the
/// NMC is three times as dense where x > 0.
class Analysed : public ::testing::Test {
  protected:
    test::TemporaryDirectory folder_;

    static double position(std::size_t i) { return 0.1 * (static_cast<double>(i) - 20.0); }

    using Function = std::function<double(double x, double y, double r)>;

    /// NaN outside the disc.
    static std::vector<double> map(const Function& f) {
        std::vector<double> values;
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t i = 0; i < n; ++i) {
                const double x = position(i) - centre_x, y = position(j) - centre_y;
                const double r = std::hypot(x, y);
                values.push_back(r < 1.5 ? f(x, y, r) : nan);
            }
        return values;
    }

    static void write_axes(hdf5::Group& group) {
        std::vector<double> axis;
        for (std::size_t i = 0; i < n; ++i)
            axis.push_back(position(i));
        nexus::write_axis(group, "x", axis, {"mm", "x"});
        nexus::write_axis(group, "y", axis, {"mm", "y"});
    }

    void write_product(const std::string& stage, const std::string& job,
                       const std::function<void(hdf5::Group&)>& fill) {
        auto file = hdf5::File::open(folder_ / (stage + ".nxs"), hdf5::Access::create);
        auto root = file.root();
        nexus::write_root(root, "1.2.3", "abc", nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto group = nexus::require_class(entry, stage, "NXprocess");
        group.write_string("job", job);
        fill(group);
    }

    static double nmc_scale(double x, double y) { return y > 0 ? (x > 0 ? 3.0 : 1.0) : 0.0; }
    static double graphite_scale(double, double y) { return y > 0 ? 0.5 : 2.0; }

    /// m = 2 for NMC, 0.5 for graphite.
    void write_rietveld(const std::string& job, bool density = false) {
        write_product("rietveld", job, [&](hdf5::Group& stage) {
            stage.write_string("start_model",
                               R"({"phases": [{"name": "NMC", "a": 2.86, "a_esd": 0.001},
                                 {"name": "graphite", "a": 2.465, "a_esd": 0.002, "c": 6.7}]})");
            const auto mass = [](int phase, double x, double y) {
                return phase == 0 ? 2.0 * nmc_scale(x, y) : 0.5 * graphite_scale(x, y);
            };
            for (const int p : {0, 1}) {
                auto group = nexus::require_data(stage, p == 0 ? "NMC" : "graphite",
                                                 "weight_fraction", {"y", "x"});
                nexus::write_map(group, "scale", map([&](double x, double y, double) {
                                     return p == 0 ? nmc_scale(x, y) : graphite_scale(x, y);
                                 }),
                                 map([](double, double, double) { return 0.01; }), n, n);
                nexus::write_map(group, "weight_fraction", map([&](double x, double y, double) {
                                     return mass(p, x, y) / (mass(0, x, y) + mass(1, x, y));
                                 }),
                                 n, n);
                if (density) // other amounts than the scales', to tell what was used
                    nexus::write_map(group, "density", map([&](double, double, double) {
                                         return p == 0 ? 3.0 : 1.0;
                                     }),
                                     n, n, {"g/cm^3", ""});
                if (p == 0)
                    nexus::write_map(group, "c", map([](double, double y, double r) {
                                         return y > 0 ? 14.4 - 0.1 * r : nan;
                                     }),
                                     map([](double, double, double) { return 0.004; }), n, n,
                                     {"angstrom", ""});
                // Where the phase was sought: not the sample.
                std::vector<std::int32_t> sought(n * n, 0);
                sought[n * n - 1] = 1;
                nexus::write_map(group, "mask", std::span<const std::int32_t>(sought), n, n);
                write_axes(group);
            }
            auto maps = nexus::require_data(stage, "maps", "rwp", {"y", "x"});
            nexus::write_map(maps, "rwp", map([](double, double, double) { return 0.08; }), n, n);
            const auto disc = map([](double, double, double) { return 1.0; });
            std::vector<std::int32_t> mask, status;
            for (const double v : disc) {
                mask.push_back(std::isfinite(v) ? 1 : 0);
                status.push_back(0);
            }
            nexus::write_map(maps, "mask", std::span<const std::int32_t>(mask), n, n);
            nexus::write_map(maps, "status", std::span<const std::int32_t>(status), n, n);
            maps.open_dataset("status").set_attribute("meanings", "0 converged, 1 masked");
            write_axes(maps);
        });
    }

    void write_absorption() {
        write_product("absorption", "", [&](hdf5::Group& stage) {
            for (const int p : {0, 1}) {
                auto group = nexus::require_data(stage, p == 0 ? "NMC" : "graphite",
                                                 "volume_fraction", {"y", "x"});
                const double fraction = p == 0 ? 0.4 : 0.3;
                nexus::write_map(group, "volume_fraction",
                                 map([&](double, double, double) { return fraction; }), n, n);
                nexus::write_map(group, "density", map([&](double, double, double) {
                                     return fraction * (p == 0 ? 4.75 : 2.2);
                                 }),
                                 n, n, {"g/cm^3", ""});
                write_axes(group);
            }
            auto ring = nexus::require_class(stage, "ring", "NXcollection");
            nexus::write_value(ring, "centre_x", 0.25, {"mm", ""});
            nexus::write_value(ring, "centre_y", -0.25, {"mm", ""});
        });
    }

    const report::QuantityResult& quantity(const report::StageResult& stage,
                                           const std::string& phase, const std::string& name) {
        const PhaseResult* found = stage.find(phase);
        EXPECT_NE(found, nullptr);
        for (const report::QuantityResult& q : found->quantities)
            if (q.quantity == name)
                return q;
        throw std::runtime_error("no " + name);
    }
};

TEST_F(Analysed, WeightedMeansAndWholeFractionsFromScales) {
    write_rietveld("");
    const auto analysis = analyse(read_products(folder_.path()));
    ASSERT_EQ(analysis.stages.size(), 1U);
    const auto& stage = analysis.stages[0];
    // Truth, summed over the voxels.
    double nmc = 0, graphite = 0, weight = 0, weighted = 0;
    map([&](double x, double y, double r) {
        nmc += 2.0 * nmc_scale(x, y);
        graphite += 0.5 * graphite_scale(x, y);
        weight += nmc_scale(x, y);
        weighted += nmc_scale(x, y) * (14.4 - 0.1 * r);
        return 0.0;
    });
    EXPECT_NEAR(stage.find("NMC")->whole_weight_fraction, nmc / (nmc + graphite), 1e-12);
    EXPECT_NEAR(stage.find("graphite")->whole_weight_fraction, graphite / (nmc + graphite), 1e-12);
    EXPECT_THAT(stage.whole_method, AllOf(HasSubstr("scale"), HasSubstr("rietveld.nxs")));
    const auto& c = quantity(stage, "NMC", "c");
    EXPECT_NEAR(c.summary.mean, weighted / weight, 1e-12);
    EXPECT_DOUBLE_EQ(c.summary.median_error, 0.004);
    EXPECT_DOUBLE_EQ(c.summary.share_of_amount, 1);
    EXPECT_EQ(stage.find("NMC")->weights, "scale");
    EXPECT_NEAR(stage.find("graphite")->global_cell.at("a").value, 2.465, 1e-12);
    EXPECT_EQ(stage.outcomes.size(), 1U) << "masked voxels do not count";
    EXPECT_TRUE(stage.lithium.empty());
}

TEST_F(Analysed, ProfilesAreAboutTheMaskOrTheRing) {
    write_rietveld("");
    auto analysis = analyse(read_products(folder_.path()));
    EXPECT_NEAR(analysis.stages[0].centre_x, centre_x, 0.01);
    EXPECT_NEAR(analysis.stages[0].centre_y, centre_y, 0.01);
    EXPECT_THAT(analysis.stages[0].centre, HasSubstr("mask"));
    const auto& profile = quantity(analysis.stages[0], "NMC", "c").profile;
    EXPECT_NEAR(profile.width, 0.15, 1e-12);
    EXPECT_GE(profile.filled(), 8U);
    for (std::size_t b = 1; b < profile.radius.size(); ++b)
        if (std::isfinite(profile.mean[b])) {
            EXPECT_NEAR(profile.mean[b], 14.4 - 0.1 * profile.radius[b], 0.005) << b;
        }
    write_absorption();
    analysis = analyse(read_products(folder_.path()));
    for (const auto& stage : analysis.stages) {
        EXPECT_DOUBLE_EQ(stage.centre_x, 0.25) << stage.stage;
        EXPECT_DOUBLE_EQ(stage.centre_y, -0.25) << stage.stage;
        EXPECT_THAT(stage.centre, HasSubstr("ring"));
    }
}

TEST_F(Analysed, DensitiesAreUsedWhereTheProductHasThem) {
    write_rietveld("", true);
    write_absorption();
    const auto analysis = analyse(read_products(folder_.path()));
    ASSERT_EQ(analysis.stages.size(), 2U);
    EXPECT_EQ(analysis.stages[0].stage, "absorption");
    const double nmc = 0.4 * 4.75, graphite = 0.3 * 2.2;
    EXPECT_NEAR(analysis.stages[0].find("NMC")->whole_weight_fraction, nmc / (nmc + graphite),
                1e-12);
    EXPECT_NEAR(analysis.stages[1].find("NMC")->whole_weight_fraction, 0.75, 1e-12);
    EXPECT_EQ(analysis.stages[1].find("NMC")->weights, "density");
    for (const auto& stage : analysis.stages)
        EXPECT_THAT(stage.whole_method, HasSubstr("density"));
}

TEST_F(Analysed, APhaseThatWasNotSoughtIsAbsentFromItsRing) {
    write_product("rietveld", "", [&](hdf5::Group& stage) {
        for (const int p : {0, 1}) {
            auto group = nexus::require_data(stage, p == 0 ? "NMC" : "graphite", "weight_fraction",
                                             {"y", "x"});
            const auto only_above = [&](double value, double y) {
                return p == 0 && y < 0 ? nan : value;
            };
            nexus::write_map(group, "weight_fraction", map([&](double, double y, double) {
                                 return only_above(y < 0 ? 1.0 : 0.5, y);
                             }),
                             n, n);
            nexus::write_map(group, "density", map([&](double, double y, double) {
                                 return only_above(y < 0 ? 2.0 : 1.0, y);
                             }),
                             n, n, {"g/cm^3", ""});
            write_axes(group);
        }
    });
    const auto analysis = analyse(read_products(folder_.path()));
    const auto& fraction = quantity(analysis.stages[0], "NMC", "weight_fraction");
    ASSERT_GE(fraction.profile.filled(), 9U);
    for (std::size_t b = 3; b < 9; ++b)
        EXPECT_NEAR(fraction.profile.mean[b], 0.25, 0.04) << b;
    EXPECT_EQ(fraction.summary.share_of_voxels(), 1) << "of the voxels in which it was sought";
}

TEST_F(Analysed, WeightFractionsAloneGiveAPlainMeanThatSaysSo) {
    write_product("dlsr", "", [&](hdf5::Group& stage) {
        for (const int p : {0, 1}) {
            auto group = nexus::require_data(stage, p == 0 ? "NMC" : "graphite", "weight_fraction",
                                             {"y", "x"});
            nexus::write_map(group, "weight_fraction", map([&](double x, double, double) {
                                 return (x > 0) == (p == 0) ? 0.8 : 0.2;
                             }),
                             n, n);
            write_axes(group);
        }
    });
    const auto analysis = analyse(read_products(folder_.path()));
    EXPECT_NEAR(analysis.stages[0].find("NMC")->whole_weight_fraction, 0.5, 0.03);
    EXPECT_THAT(analysis.stages[0].whole_method, HasSubstr("counts as much"));
}

TEST_F(Analysed, LithiumFollowsTheJobOfTheProduct) {
    write_rietveld(lithium_text);
    const auto analysis = analyse(read_products(folder_.path()));
    ASSERT_EQ(analysis.stages[0].lithium.size(), 2U);
    const auto& cathode = analysis.stages[0].lithium[0];
    double weight = 0, weighted = 0;
    map([&](double x, double y, double r) {
        weight += nmc_scale(x, y);
        weighted += nmc_scale(x, y) * (0.4 + (0.1 + 0.1 * r)); // slope −1 per Å
        return 0.0;
    });
    EXPECT_EQ(cathode.electrode, "cathode");
    EXPECT_NEAR(cathode.summary.mean, weighted / weight, 1e-9);
    EXPECT_NEAR(cathode.summary.median_error, 0.004, 1e-9);
    EXPECT_EQ(cathode.map.beyond, 0U);
    for (std::size_t b = 0; b < cathode.profile.radius.size(); ++b)
        if (std::isfinite(cathode.profile.mean[b])) {
            EXPECT_NEAR(cathode.profile.mean[b], 0.5 + 0.1 * cathode.profile.radius[b], 0.006);
        }
    EXPECT_NEAR(analysis.stages[0].lithium[1].summary.mean, 0.25, 1e-12);
    EXPECT_TRUE(analysis.notes.empty());
}

TEST_F(Analysed, LithiumThatDoesNotFitIsRefused) {
    write_rietveld("");
    const auto products = read_products(folder_.path());
    const auto with = [&](const std::string& phase, const std::string& parameter,
                          std::vector<std::pair<double, double>> table) {
        settings::LithiumSettings s;
        s.electrode = "cathode";
        s.phase = phase;
        s.parameter = parameter;
        s.table = std::move(table);
        return analyse(products, std::vector<settings::LithiumSettings>{s}, "li.toml");
    };
    EXPECT_THAT(
        [&] {
            with("NCM", "c", {{14, 1}, {15, 0}});
        },
        ThrowsMessage<Error>(
            AllOf(HasSubstr("li.toml"), HasSubstr("'NCM'"), HasSubstr("nearest is 'NMC'"))));
    EXPECT_THAT(
        [&] {
            with("NMC", "b", {{14, 1}, {15, 0}});
        },
        ThrowsMessage<Error>(AllOf(HasSubstr("rietveld.nxs"), HasSubstr("about 2.86"))))
        << "b is a, and the table that of c";
    EXPECT_THAT(
        [&] {
            with("NMC", "c", {{28, 1}, {29, 0}});
        },
        ThrowsMessage<Error>(HasSubstr("another unit")));
    EXPECT_NEAR(with("NMC", "c/a", {{4.9, 1}, {5.2, 0}}).stages[0].lithium[0].summary.mean,
                (5.2 - 14.3 / 2.86) / 0.3, 0.05);
    // A table beside the values: no content, and a note that says so.
    const auto beside = with("NMC", "c", {{14.6, 1}, {14.7, 0}});
    EXPECT_EQ(beside.stages[0].lithium[0].summary.count, 0U);
    EXPECT_THAT(beside.notes, Contains(HasSubstr("beyond a table")));
}

TEST_F(Analysed, JsonHoldsTheNumbers) {
    write_rietveld(lithium_text);
    write_absorption();
    const auto analysis = analyse(read_products(folder_.path()));
    const auto json = nlohmann::json::parse(analysis_json(analysis, "cell \"7\""));
    EXPECT_EQ(json["format"], "xrdct report 1");
    EXPECT_EQ(json["title"], "cell \"7\"");
    ASSERT_EQ(json["stages"].size(), 2U);
    const auto& stage = json["stages"][1];
    const auto& result = analysis.stages[1];
    EXPECT_EQ(stage["stage"], "rietveld");
    EXPECT_EQ(stage["whole_weight_fractions"]["phases"]["NMC"],
              result.find("NMC")->whole_weight_fraction);
    EXPECT_THAT(stage["whole_weight_fractions"]["of"].get<std::string>(), HasSubstr("crystalline"));
    EXPECT_EQ(stage["profiles"]["bin_width"].get<double>(),
              quantity(result, "NMC", "c").profile.width);
    const auto& nmc = stage["phases"][0];
    EXPECT_EQ(nmc["phase"], "NMC");
    EXPECT_EQ(nmc["mean_pattern_cell"]["a"]["esd"], 0.001);
    bool found = false;
    for (const auto& q : nmc["quantities"])
        if (q["quantity"] == "c") {
            found = true;
            EXPECT_EQ(q["units"], "angstrom");
            EXPECT_EQ(q["mean"], quantity(result, "NMC", "c").summary.mean);
            EXPECT_EQ(q["profile"]["radius"].size(), q["profile"]["mean"].size());
        }
    EXPECT_TRUE(found);
    EXPECT_EQ(stage["lithium"][0]["mean"], result.lithium[0].summary.mean);
    EXPECT_EQ(stage["lithium"][0]["phases"][0]["table"][1][1], 0.9);
    EXPECT_EQ(stage["quality"]["status"]["converged"], result.outcomes[0].voxels);
}

TEST_F(Analysed, CsvHasOneRowPerQuantity) {
    write_rietveld(lithium_text);
    auto analysis = analyse(read_products(folder_.path()));
    analysis.stages[0].phases[1].phase = "graphite, \"natural\"";
    std::istringstream lines(analysis_csv(analysis));
    std::string header, line, all;
    std::getline(lines, header);
    const auto columns = std::count(header.begin(), header.end(), ',');
    bool found = false;
    while (std::getline(lines, line)) {
        ASSERT_FALSE(line.empty());
        EXPECT_EQ(line.back(), '\r');
        all += line;
        if (line.find('"') == std::string::npos) {
            EXPECT_EQ(std::count(line.begin(), line.end(), ','), columns) << line;
        }
        if (line.starts_with("rietveld,NMC,c,angstrom,scale,")) {
            found = true;
            EXPECT_NEAR(std::stod(line.substr(30)),
                        quantity(analysis.stages[0], "NMC", "c").summary.mean, 1e-8);
        }
    }
    EXPECT_TRUE(found);
    EXPECT_THAT(all, HasSubstr("rietveld,cathode,lithium,"));
    EXPECT_THAT(all, HasSubstr("\"graphite, \"\"natural\"\"\",whole_weight_fraction"));
    EXPECT_THAT(all, Not(HasSubstr("nan")));
}

TEST_F(Analysed, ThePageShowsThem) {
    write_rietveld(lithium_text);
    write_absorption();
    const auto result = make_report(folder_.path());
    const std::string page = text_of(result.page);
    for (const char* wanted :
         {"<b>Table 1.</b>", "wt % <small>(rietveld)</small>", "wt % <small>(absorption)</small>",
          "2.8600(10)", "Lithium content", "crystalline part only", "Radial profiles",
          "centre of the ring in absorption.nxs", "x = 0.250 mm"})
        EXPECT_THAT(page, HasSubstr(wanted));
    for (const char* name : {"rietveld_lithium_cathode", "rietveld_lithium_cathode_errors",
                             "rietveld_lithium_cathode_histogram", "rietveld_profile_lithium",
                             "rietveld_profile_c", "rietveld_profile_weight_fraction"})
        for (const char* suffix : {".png", ".svg"})
            EXPECT_TRUE(
                std::filesystem::exists(folder_ / "pictures" / (std::string(name) + suffix)))
                << name;
    EXPECT_EQ(nlohmann::json::parse(text_of(folder_ / "report.json"))["stages"].size(), 2U);
    std::size_t inside = 0;
    map([&](double, double, double) { return static_cast<double>(++inside); });
    EXPECT_THAT(page, HasSubstr("<th scope=\"row\">converged</th><td>" + std::to_string(inside)))
        << "of the voxels of the sample, whatever the masks of the phases";
    EXPECT_THAT(text_of(folder_ / "report.csv"), HasSubstr("rietveld,NMC,c,angstrom,scale,"));
    // Neither file is overwritten unasked.
    std::filesystem::remove(folder_ / "report.html");
    std::filesystem::remove_all(folder_ / "pictures");
    EXPECT_THAT([&] { make_report(folder_.path()); },
                ThrowsMessage<Error>(HasSubstr("report.json")));
}

TEST_F(Analysed, AFileReplacesTheLithiumOfTheJob) {
    write_rietveld(lithium_text);
    std::ofstream(folder_ / "li.toml") << "[[lithium]]\nelectrode = 'anode'\nphase = 'graphite'\n"
                                          "content = 0.5\n";
    report::ReportOptions options;
    options.lithium = folder_ / "li.toml";
    make_report(folder_.path(), options);
    const auto json = nlohmann::json::parse(text_of(folder_ / "report.json"));
    ASSERT_EQ(json["stages"][0]["lithium"].size(), 1U);
    EXPECT_EQ(json["stages"][0]["lithium"][0]["mean"], 0.5);
    options.lithium = folder_ / "absent.toml";
    options.force = true;
    EXPECT_THAT([&] { make_report(folder_.path(), options); },
                ThrowsMessage<Error>(HasSubstr("absent.toml")));
}

TEST_F(Analysed, TheProductHoldsAllNumbersToTheLastBit) {
    write_absorption();
    write_rietveld(lithium_text, true);
    const auto products = read_products(folder_.path());
    const auto made = analyse(products);
    const auto path = folder_ / analysis_file;
    EXPECT_FALSE(read_analysis(path, products, std::nullopt)) << "there is none yet";
    EXPECT_TRUE(refresh_analysis(folder_.path()).notes.empty());
    const auto read = read_analysis(path, products, std::nullopt);
    ASSERT_TRUE(read);
    EXPECT_EQ(analysis_json(*read, "t"), analysis_json(made, "t"));
    EXPECT_EQ(analysis_csv(*read), analysis_csv(made));
    ASSERT_EQ(read->stages.size(), made.stages.size());
    const auto same = [](const std::vector<double>& a, const std::vector<double>& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double u, double v) {
            return u == v || (std::isnan(u) && std::isnan(v));
        });
    };
    for (std::size_t s = 0; s < made.stages.size(); ++s)
        for (std::size_t e = 0; e < made.stages[s].lithium.size(); ++e) {
            const auto &a = made.stages[s].lithium[e], &b = read->stages[s].lithium[e];
            EXPECT_TRUE(same(a.map.values, b.map.values));
            EXPECT_TRUE(same(a.map.errors, b.map.errors));
            EXPECT_TRUE(same(a.map.weights, b.map.weights));
            EXPECT_EQ(a.settings.size(), b.settings.size());
        }
    EXPECT_EQ(read_products(folder_.path()).stages.size(), 2U) << "it is no stage of its own";
}

TEST_F(Analysed, TheProductPlotsTheLithiumAndStatesAmounts) {
    write_absorption();
    write_rietveld(lithium_text);
    refresh_analysis(folder_.path());
    const auto file = hdf5::File::open(folder_ / analysis_file, hdf5::Access::read_only);
    const auto shown = nexus::default_data(file.root());
    ASSERT_TRUE(shown);
    EXPECT_EQ(shown->path(), "/entry/analysis/rietveld/lithium_cathode/map");
    EXPECT_EQ(nexus::signal_of(*shown), "lithium");
    // A disc of radius 1.5 mm, of which 40 % are NMC of 4.75 g/cm³.
    const auto phase = file.root().open_group("entry/analysis/absorption/phases/NMC");
    const double voxels = 0.01 * 709; // within 1.5 mm
    EXPECT_NEAR(*nexus::read_value(phase, "cross_section"), 0.4 * voxels, 0.02 * voxels);
    EXPECT_NEAR(*nexus::read_value(phase, "mass_per_length"),
                4.75 * *nexus::read_value(phase, "cross_section"), 1e-9);
}

TEST_F(Analysed, AProductOfOtherMapsOrSettingsIsNotUsed) {
    write_rietveld(lithium_text);
    refresh_analysis(folder_.path());
    const auto path = folder_ / analysis_file;
    auto products = read_products(folder_.path());
    EXPECT_TRUE(read_analysis(path, products, std::nullopt));
    settings::LithiumSettings other;
    other.electrode = "anode";
    other.phase = "graphite";
    other.content = 0.5;
    EXPECT_FALSE(read_analysis(path, products, GivenLithium(std::vector{other})));
    EXPECT_THROW(read_analysis(path, products, std::nullopt, "dlsr"), Error);
    write_rietveld("");
    products = read_products(folder_.path());
    EXPECT_FALSE(read_analysis(path, products, std::nullopt));
    refresh_analysis(folder_.path());
    EXPECT_TRUE(read_analysis(path, products, std::nullopt));
}

} // namespace
} // namespace xrdct::report
