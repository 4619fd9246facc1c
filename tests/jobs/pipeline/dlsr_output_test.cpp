// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/dlsr_output.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/report/analysis.hpp"
#include "jobs/report/products.hpp"
#include "jobs/report/report.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/structures.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>

namespace xrdct {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

const double nan = std::nan("");
constexpr std::size_t n = 12;

std::string text_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Iron in the left half with a cell of its own per voxel, copper everywhere with one cell.
dlsr::Result small_result() {
    dlsr::Result result;
    result.n = n;
    for (std::size_t i = 0; i < n; ++i)
        result.x.push_back(0.1 * (static_cast<double>(i) - 5.5));
    result.model.wavelength.value = 0.5;
    result.model.instrument.w.value = 0.01;
    result.model.phases.emplace_back(test::iron("Fe"), "Fe");
    result.model.phases.emplace_back(test::copper("Cu"), "Cu");
    result.sample.assign(n * n, 1);
    result.masks.assign(2, std::vector<unsigned char>(n * n, 1));
    const auto map = [](const std::function<double(std::size_t x, std::size_t y)>& f) {
        std::vector<double> values;
        for (std::size_t y = 0; y < n; ++y)
            for (std::size_t x = 0; x < n; ++x)
                values.push_back(f(x, y));
        return values;
    };
    for (std::size_t i = 0; i < n * n; ++i)
        result.masks[0][i] = i % n < n / 2;
    const auto left = [](double value) {
        return [value](std::size_t x, std::size_t y) {
            return x >= n / 2 ? nan : value * (y == 0 ? 0.0 : 1.0);
        };
    };
    result.maps.push_back({{"Fe", "scale", ""}, map(left(2.0)), map(left(0.1)), 0, 0.12});
    result.maps.push_back({{"Fe", "a", "angstrom"},
                           map([](std::size_t x, std::size_t y) {
                               return x >= n / 2 ? nan : 2.86 + 0.001 * static_cast<double>(y);
                           }),
                           map(left(1e-4)),
                           0.5,
                           0.31});
    result.maps.push_back({{"Cu", "scale", ""},
                           map([](std::size_t x, std::size_t) { return x == 11 ? 0.2 : 1.0; }),
                           map([](std::size_t, std::size_t) { return 0.1; }),
                           0,
                           0});
    result.maps.push_back({{"binder", "area", "intensity deg/mm"},
                           map([](std::size_t x, std::size_t) { return 1.0 * double(x); }),
                           {},
                           0,
                           0});
    result.maps.push_back({{"background", "coefficient_0", "intensity/mm"},
                           map([](std::size_t, std::size_t y) { return 1.0 * double(y); }),
                           {},
                           0,
                           0});
    result.globals.push_back({{"Cu", "a", "angstrom"}, 3.6151, 2e-4, false});
    result.globals.push_back({{"Fe", "inverse_size", "1/angstrom"}, 0.002, 1e-4, false});
    result.globals.push_back({{"Fe", "microstrain", ""}, 0.0, nan, true});
    result.rotation = {90, 45, 0};
    result.translation = {-0.5, 0, 0.5, 1};
    for (int i = 0; i < 12; ++i)
        result.residual_sinogram.push_back(i == 5 ? nan : 1 + 0.1 * i);
    for (int k = 0; k < 60; ++k)
        result.two_theta.push_back(10 + 0.1 * k);
    result.observed.assign(60, 5);
    result.calculated.assign(60, 4);
    result.background.assign(60, 1);
    result.lines.push_back({"Fe", "1 1 0", 14.2, {0.1, -0.1, 7.0}, {0.02, 0.02, 0.9}});
    result.lines.push_back({"Cu", "1 1 1", 13.8, {0.3, 0.3, 0.3}, {0.1, 0.1, 0.1}});
    result.history = {{0, 400, 390, 50, 0, 0.2, 0}, {1, 200, 180, 5, 1, 0.1, 9}};
    result.validation = {{1.0, 1.3, 0.02, {}}, {0.1, 1.1, 0.0, {}}, {0.0, 1.2, 0.01, {}}};
    result.rwp = 0.1;
    result.gof = 1.5;
    result.converged = true;
    result.stop_reason = "small change";
    result.geometry.emplace();
    result.geometry->step = 0.1;
    result.geometry->axis_offset = {0.0, 0.03, 0.002, true};
    result.geometry->distance = dlsr::GeometryEstimate{1000, 990, 2, false, 14};
    result.geometry->radial.standards.push_back({"Cu", 3.6149, 3.6113, 1e-5, 1.001, 1e-4});
    result.geometry->radial.factor = 1.001;
    result.geometry->radial.uncertainty = 1e-4;
    result.remarks = {"the axis offset is 0", "second remark"};
    return result;
}

class DlsrOutput : public ::testing::Test {
  protected:
    test::TemporaryDirectory folder_;

    void write(const dlsr::Result& result, std::optional<double> constant = {},
               const std::string& stage = "dlsr") {
        auto file = hdf5::File::open(folder_ / (stage + ".nxs"), hdf5::Access::create);
        auto root = file.root();
        nexus::write_root(root, "1.2.3", "abc", nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto group = nexus::require_class(entry, stage, "NXprocess");
        pipeline::write_dlsr_result(group, result, constant);
    }

    hdf5::Group stage() {
        return hdf5::File::open(folder_ / "dlsr.nxs", hdf5::Access::read_only)
            .root()
            .open_group("entry/dlsr");
    }

    double at(const std::string& group, const std::string& name, std::size_t x, std::size_t y) {
        return nexus::read_map(stage().open_group(group), name).values[y * n + x];
    }
};

TEST_F(DlsrOutput, MapsComeBackWithWhatFollowsFromThem) {
    const auto result = small_result();
    const double constant = 1e-4;
    write(result, constant);
    EXPECT_EQ(at("Fe", "scale", 3, 4), 2.0);
    EXPECT_EQ(at("Fe", "scale_errors", 3, 4), 0.1);
    EXPECT_EQ(at("Fe", "a_errors", 3, 4), 1e-4);
    EXPECT_TRUE(std::isnan(at("Fe", "scale", 8, 4)));

    const double a = 2.864, volume = a * a * a;
    EXPECT_NEAR(at("Fe", "volume_fraction", 3, 4), constant * 2.0 * volume * volume, 1e-9);
    EXPECT_NEAR(at("Fe", "volume_fraction_errors", 3, 4), constant * 0.1 * volume * volume, 1e-9);
    const double iron_mass = result.model.phases[0].phase.cell_mass();
    EXPECT_NEAR(at("Fe", "density", 3, 4),
                atomic_mass_g_per_cm3 * iron_mass / volume * constant * 2.0 * volume * volume,
                1e-9);

    const double copper =
        result.model.phases[1].phase.cell_mass() * result.model.phases[1].unit_cell().volume();
    const double iron = iron_mass * volume, total = 2 * iron + copper;
    EXPECT_NEAR(at("Fe", "weight_fraction", 3, 4), 2 * iron / total, 1e-12);
    EXPECT_NEAR(at("Cu", "weight_fraction", 3, 4), copper / total, 1e-12);
    const double share = 2 * iron / total;
    EXPECT_NEAR(at("Fe", "weight_fraction_errors", 3, 4),
                0.1 * std::hypot(iron * (1 - share), copper * share) / total, 1e-12);
    // Without iron in the model copper is everything, and certain.
    EXPECT_NEAR(at("Cu", "weight_fraction", 8, 4), 1, 1e-12);
    EXPECT_NEAR(at("Cu", "weight_fraction_errors", 8, 4), 0, 1e-12);
    EXPECT_TRUE(std::isnan(at("Fe", "weight_fraction", 8, 4)));

    EXPECT_EQ(at("Fe", "status", 3, 4), 0);
    EXPECT_EQ(at("Fe", "status", 3, 0), 2);  // nothing of it
    EXPECT_EQ(at("Fe", "status", 8, 4), 3);  // not sought
    EXPECT_EQ(at("Cu", "status", 11, 4), 1); // two e.s.d.
    EXPECT_EQ(at("Fe", "mask", 3, 4), 1);
    EXPECT_EQ(at("maps", "mask", 11, 4), 1);
    EXPECT_EQ(at("binder", "area", 7, 2), 7);
    EXPECT_EQ(at("background", "coefficient_0", 7, 2), 2);
    EXPECT_EQ(nexus::read_map(stage().open_group("Fe"), "a").units, "angstrom");
    const auto cell = stage().open_dataset("Fe/a");
    EXPECT_EQ(cell.number_attribute("smoothness"), 0.5);
    EXPECT_EQ(cell.number_attribute("resolution"), 0.31);
    EXPECT_FALSE(stage().open_dataset("Cu/scale").has_attribute("resolution"));
}

TEST_F(DlsrOutput, WithoutDeviationsOrConstantNoneAreMadeUp) {
    auto result = small_result();
    for (auto& map : result.maps)
        map.errors.clear();
    write(result);
    for (const char* name : {"scale_errors", "weight_fraction_errors", "volume_fraction",
                             "volume_fraction_errors", "density"})
        EXPECT_FALSE(stage().open_group("Fe").has_dataset(name)) << name;
    EXPECT_EQ(at("Cu", "status", 11, 4), 0);
}

TEST_F(DlsrOutput, ViewersOpenThePhaseWhoseCellIsMappedAndItsVolumeFraction) {
    settings::Job job;
    for (const char* name : {"Fe", "Cu"})
        job.phases.emplace_back().name = name;
    const auto opened = [&](std::optional<double> constant, const std::string& to) {
        const auto path = folder_ / (to + ".nxs");
        auto file = hdf5::File::open(path, hdf5::Access::create);
        auto root = file.root();
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto group = nexus::require_class(entry, "dlsr", "NXprocess");
        pipeline::write_dlsr_result(group, small_result(), constant);
        pipeline::set_default_phase(group, job);
        const auto phase = group.string_attribute("default").value_or("");
        return phase + "/" + group.open_group(phase).string_attribute("signal").value_or("");
    };
    job.phases[1].cell[0] = settings::Treatment::voxel;
    EXPECT_EQ(opened(1e-5, "voxel"), "Cu/volume_fraction");
    EXPECT_EQ(opened({}, "relative"), "Cu/weight_fraction");
    job.phases[1].cell[0] = settings::Treatment::global;
    job.absorption.reference_phase = "Cu";
    EXPECT_EQ(opened(1e-5, "reference"), "Fe/volume_fraction");
}

TEST_F(DlsrOutput, NumbersSayWhatTheyAreOf) {
    write(small_result(), 1e-5);
    const auto meaning = [&](const char* name) {
        return stage().open_dataset(name).string_attribute("meaning").value_or("");
    };
    EXPECT_THAT(meaning("rwp"), testing::HasSubstr("all channels of all rays"));
    EXPECT_THAT(meaning("convergence/rwp"), testing::HasSubstr("all channels of all rays"));
    EXPECT_THAT(meaning("Fe/a_errors"), testing::HasSubstr("counting noise alone"));
    EXPECT_THAT(meaning("Fe/volume_fraction_errors"), testing::HasSubstr("counting noise alone"));
    EXPECT_THAT(meaning("geometry/distance_errors"), testing::HasSubstr("counting noise alone"));
    EXPECT_GT(stage().open_group("Fe").number_attribute("reference_a").value_or(0), 2.8);
}

TEST_F(DlsrOutput, DiagnosticsComeBack) {
    write(small_result());
    const auto products = report::read_products(folder_.path());
    ASSERT_EQ(products.stages.size(), 1U);
    EXPECT_TRUE(products.notes.empty()) << products.notes.front();
    const auto d = report::read_dlsr_diagnostics(products.stages.front());
    ASSERT_TRUE(d.has_value());
    EXPECT_EQ(d->rwp, 0.1);
    EXPECT_EQ(d->gof, 1.5);
    EXPECT_TRUE(d->converged);
    EXPECT_EQ(d->stop_reason, "small change");
    EXPECT_THAT(d->remarks, ElementsAre("the axis offset is 0", "second remark"));
    const auto geometry = [&](const std::string& quantity) {
        for (const auto& entry : d->geometry)
            if (entry.quantity == quantity)
                return entry;
        ADD_FAILURE() << quantity;
        return report::DlsrDiagnostics::Geometry{};
    };
    EXPECT_EQ(geometry("axis_offset").value, 0.03);
    EXPECT_EQ(geometry("axis_offset").esd, 0.002);
    EXPECT_EQ(geometry("axis_offset").given, 0);
    EXPECT_TRUE(geometry("axis_offset").refined);
    EXPECT_EQ(geometry("axis_offset").units, "mm");
    EXPECT_EQ(geometry("distance").given, 1000);
    EXPECT_FALSE(geometry("distance").refined);
    EXPECT_EQ(geometry("distance").systematic, 14);
    EXPECT_TRUE(std::isnan(geometry("axis_offset").systematic));
    EXPECT_EQ(geometry("radial_scale").value, 1.001);
    EXPECT_EQ(geometry("radial_scale").esd, 1e-4);
    EXPECT_EQ(geometry("radial_scale_applied").value, 1);
    EXPECT_EQ(stage().open_dataset("geometry/standard_factor").read_all<double>(),
              std::vector<double>{1.001});
    ASSERT_EQ(d->globals.size(), 3U);
    EXPECT_EQ(d->globals[0].group, "Fe"); // order of the model
    EXPECT_EQ(d->globals[2].group, "Cu");
    EXPECT_EQ(d->globals[2].value, 3.6151);
    EXPECT_EQ(d->globals[2].esd, 2e-4);
    EXPECT_EQ(d->globals[2].units, "angstrom");
    const auto size = report::customary(d->globals[0]);
    EXPECT_EQ(size.quantity, "size");
    EXPECT_NEAR(size.value, 500, 1e-9);
    EXPECT_NEAR(size.esd, 25, 1e-9);
    EXPECT_TRUE(d->globals[1].at_bound);
    EXPECT_TRUE(std::isnan(d->globals[1].esd));

    ASSERT_EQ(d->lines.size(), 2U);
    EXPECT_EQ(d->lines[0].hkl, "1 1 0");
    EXPECT_EQ(d->lines[1].two_theta, 13.8);
    EXPECT_EQ(d->lines[0].ratio[2], 7.0);
    EXPECT_NEAR(d->lines[0].rms(), 0.1, 1e-12); // the last rotation is not determined
    EXPECT_NEAR(d->lines[0].excess(), 5, 1e-12);
    EXPECT_THAT(d->rotation, ElementsAre(90, 45, 0));
    EXPECT_THAT(d->held_out,
                ElementsAre(std::pair(0.0, 1.2), std::pair(0.1, 1.1), std::pair(1.0, 1.3)));
    ASSERT_EQ(d->history.size(), 2U);
    EXPECT_EQ(d->history[1].linear_iterations, 9);
    ASSERT_NE(d->find("Fe", "a"), nullptr);
    EXPECT_EQ(d->find("Fe", "a")->resolution, 0.31);

    const auto residuals = nexus::read_map(stage().open_group("residuals"), "chi_squared");
    EXPECT_EQ(residuals.ny, 3U);
    EXPECT_EQ(residuals.nx, 4U);
    EXPECT_TRUE(std::isnan(residuals.values[5]));
    EXPECT_THAT(stage().open_dataset("mean_pattern/ticks_Fe").read_all<double>(),
                Contains(testing::DoubleNear(14.19, 0.1)));
}

TEST_F(DlsrOutput, AnalysisTakesTheGlobalCell) {
    write(small_result());
    const auto analysis = report::analyse(report::read_products(folder_.path()));
    EXPECT_EQ(analysis.main, "dlsr");
    const auto* copper = analysis.stages.front().find("Cu");
    ASSERT_NE(copper, nullptr);
    EXPECT_EQ(copper->global_cell.at("a").error, 2e-4);
    const auto csv = report::analysis_csv(analysis);
    EXPECT_THAT(csv, HasSubstr("dlsr,Cu,a,angstrom,all projections,"));
    EXPECT_THAT(csv,
                HasSubstr("dlsr,Fe,inverse_size,1/angstrom,all projections,0.002,,0.002,0.0001"));
}

TEST_F(DlsrOutput, WhatDoesNotFitIsRefused) {
    const auto refused = [&](const std::function<void(dlsr::Result&)>& spoil, const char* word) {
        auto result = small_result();
        spoil(result);
        EXPECT_THAT([&] { write(result); },
                    ThrowsMessage<Error>(AllOf(HasSubstr("dlsr.nxs"), HasSubstr(word))));
    };
    refused([](dlsr::Result& r) { r.maps[1].values.pop_back(); }, "Fe/a");
    refused([](dlsr::Result& r) { r.maps[0].errors.pop_back(); }, "e.s.d. of Fe/scale");
    refused([](dlsr::Result& r) { r.maps.erase(r.maps.begin()); }, "scale of Fe");
    refused([](dlsr::Result& r) { r.x.pop_back(); }, "axis");
    refused([](dlsr::Result& r) { r.sample.pop_back(); }, "sample mask");
    refused([](dlsr::Result& r) { r.masks.pop_back(); }, "phase masks");
    refused([](dlsr::Result& r) { r.masks[1].pop_back(); }, "mask of Cu");
    refused([](dlsr::Result& r) { r.residual_sinogram.pop_back(); }, "sinogram");
    refused([](dlsr::Result& r) { r.calculated.pop_back(); }, "mean pattern");
    refused([](dlsr::Result& r) { r.lines[0].ratio.pop_back(); }, "1 1 0");
    refused([](dlsr::Result& r) { r.lines[1].error.pop_back(); }, "1 1 1");
}

TEST_F(DlsrOutput, ReportNeedsNoConventionalResult) {
    auto result = small_result();
    result.converged = false;
    for (auto& map : result.maps)
        map.smoothness = 0;
    write(result);
    const std::string page = text_of(report::make_report(folder_.path()).page);
    EXPECT_THAT(page, AllOf(HasSubstr("has not converged"), HasSubstr("No smoothness was used"),
                            Not(HasSubstr("Conventional analysis and DLSR"))));
    EXPECT_TRUE(std::filesystem::exists(folder_ / "pictures" / "dlsr_Fe_deviations.png"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "pictures" / "dlsr_Fe_comparison.png"));
}

/// The same maps shifted serve as the conventional result.
TEST_F(DlsrOutput, ReportShowsBothAnalyses) {
    auto conventional = small_result();
    for (auto& map : conventional.maps)
        if (map.quantity.name == "a")
            for (double& v : map.values)
                v -= 0.002;
    write(conventional, 1e-4, "rietveld");
    write(small_result(), 1e-4);
    const auto result = report::make_report(folder_.path());
    const std::string page = text_of(result.page);
    for (const char* word :
         {"Values with one for the whole object", "3.6151(2)", "500(25)",
          "Smoothness and resolution", "correlated", "not determined", "1 1 0", "small change",
          "second remark", "of the stage dlsr (dlsr.nxs)", "Residuals of all rays"})
        EXPECT_THAT(page, HasSubstr(word));
    for (const char* name : {"dlsr_Fe_comparison", "dlsr_Fe_deviations", "dlsr_binder_comparison",
                             "dlsr_Cu_lines", "dlsr_residuals_chi_squared", "dlsr_convergence",
                             "dlsr_convergence_steps", "dlsr_held_out"})
        for (const char* suffix : {".png", ".svg"})
            EXPECT_TRUE(
                std::filesystem::exists(folder_ / "pictures" / (name + std::string(suffix))))
                << name << suffix;
    EXPECT_THAT(text_of(folder_ / "pictures" / "dlsr_Fe_comparison.svg"),
                HasSubstr("DLSR − conventional"));
    const auto json = nlohmann::json::parse(text_of(folder_ / "report.json"));
    EXPECT_EQ(json["main_stage"], "dlsr");
    nlohmann::json stage;
    for (const auto& entry : json["stages"])
        if (entry["stage"] == "dlsr")
            stage = entry;
    EXPECT_EQ(stage["dlsr"]["rwp"], 0.1);
    EXPECT_EQ(stage["dlsr"]["held_out"].size(), 3U);
    EXPECT_EQ(stage["dlsr"]["geometry"][0]["quantity"], "axis_offset");
    EXPECT_EQ(stage["dlsr"]["geometry"][0]["refined"], true);
    EXPECT_TRUE(stage["dlsr"]["globals"][1]["esd"].is_null());
    bool found = false;
    for (const auto& difference : stage["differences"])
        if (difference["phase"] == "Fe" && difference["quantity"] == "a") {
            found = true;
            EXPECT_NEAR(difference["dlsr_mean"].get<double>() -
                            difference["conventional_mean"].get<double>(),
                        0.002, 1e-9);
            EXPECT_NEAR(difference["rms_difference"].get<double>(), 0.002, 1e-9);
            EXPECT_NEAR(difference["correlation"].get<double>(), 1, 1e-9);
            EXPECT_EQ(difference["voxels"], 66); // one row has no iron
        }
    EXPECT_TRUE(found);

    report::ReportOptions options;
    options.force = true;
    options.stage = "rietveld";
    EXPECT_THAT(text_of(make_report(folder_.path(), options).page),
                HasSubstr("of the stage rietveld (rietveld.nxs)"));
    options.stage = "dslr";
    EXPECT_THAT([&] { make_report(folder_.path(), options); },
                ThrowsMessage<Error>(AllOf(HasSubstr("'dslr'"), HasSubstr("rietveld"))));
}

} // namespace
} // namespace xrdct
