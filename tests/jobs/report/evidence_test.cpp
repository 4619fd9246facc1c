// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/evidence.hpp"

#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace xrdct::report {
namespace {

using ::testing::ElementsAre;

constexpr std::size_t n = 10;

std::vector<double> map(const std::function<double(std::size_t)>& value) {
    std::vector<double> values;
    for (std::size_t i = 0; i < n * n; ++i)
        values.push_back(value(i));
    return values;
}

/// Rows 0 to 4 hold the phase, on its bound in the last two of these; a quarter of the voxels is
/// not explained.
void write_rietveld(hdf5::Group& stage) {
    stage.write_string("start_model",
                       R"({"phases": [{"name": "Cu", "a": 3.7227, "a_esd": 1e-4}], "parameters": [
            {"name": "separator fwhm", "value": 0.5, "at_bound": true},
            {"name": "Cu microstrain", "value": 0.0, "at_bound": true},
            {"name": "zero", "value": 0.1, "at_bound": false}]})");
    auto pattern = nexus::require_data(stage, "mean_pattern", "observed", {"two_theta"});
    std::vector<double> axis, observed, calculated, background;
    for (int k = 0; k < 20; ++k) {
        axis.push_back(k);
        observed.push_back(k == 10 ? 101 : 1);
        calculated.push_back(k == 10 ? 81 : 1);
        background.push_back(1);
    }
    nexus::write_axis(pattern, "two_theta", axis, {"deg", "2theta"});
    nexus::write_axis(pattern, "observed", observed, {"", ""});
    nexus::write_axis(pattern, "calculated", calculated, {"", ""});
    nexus::write_axis(pattern, "background", background, {"", ""});
    auto maps = nexus::require_data(stage, "maps", "rwp", {"y", "x"});
    nexus::write_map(maps, "rwp", map([](std::size_t i) { return i % 4 == 0 ? 0.9 : 0.2; }), n, n);
    nexus::write_map(maps, "gof", map([](std::size_t i) { return i % 4 == 0 ? 9.0 : 1.0; }), n, n);
    auto nmc = nexus::require_data(stage, "NMC", "scale", {"y", "x"});
    nmc.set_attribute("reference_a", 2.8);
    nexus::write_map(nmc, "scale", map([](std::size_t) { return 1.0; }), n, n);
    nexus::write_map(
        nmc, "a",
        map([](std::size_t i) { return 2.884 + 1e-4 * std::sin(static_cast<double>(i)); }), n, n);
    nexus::write_map(nmc, "size",
                     map([](std::size_t i) { return i % 10 < 8 ? 5.0 : static_cast<double>(i); }),
                     n, n);
    std::vector<std::int32_t> status;
    for (std::size_t i = 0; i < n * n; ++i)
        status.push_back(i < 10 ? 4 : i < 30 ? 0 : i < 50 ? 2 : i < 90 ? 1 : 3);
    nexus::write_map(nmc, "status", std::span<const std::int32_t>(status), n, n, {"", "status"});
    nmc.open_dataset("status").set_attribute(
        "meanings",
        "0 refined, 1 insignificant, 2 at bound, 3 not in the model, 4 width unresolved");
    auto cu = nexus::require_data(stage, "Cu", "scale", {"y", "x"});
    cu.set_attribute("reference_a", 3.6149);
    nexus::write_map(cu, "scale", map([](std::size_t) { return 1.0; }), n, n);
}

void write(const std::filesystem::path& path, const std::string& name,
           const std::function<void(hdf5::Group&)>& fill) {
    auto file = hdf5::File::open(path, hdf5::Access::create);
    auto root = file.root();
    nexus::write_root(root, "1.2.3", "abc", nexus::now_utc());
    auto entry = nexus::require_class(root, "entry", "NXentry");
    auto stage = nexus::require_class(entry, name, "NXprocess");
    fill(stage);
}

TEST(Evidence, IsReadFromTheProducts) {
    const test::TemporaryDirectory folder;
    write(folder / "rietveld.nxs", "rietveld", write_rietveld);
    write(folder / "fbp.nxs", "fbp", [](hdf5::Group& stage) {
        nexus::write_value(stage, "reprojection_misfit", 0.31, {"", ""});
    });
    const auto products = read_products(folder.path());
    const auto stage = std::find_if(products.stages.begin(), products.stages.end(),
                                    [](const ProductStage& one) { return one.name == "rietveld"; });
    ASSERT_NE(stage, products.stages.end());
    const auto evidence = find_evidence(products, *stage);
    EXPECT_NEAR(evidence.mean_pattern_rwp, 0.2, 1e-12); // a fifth of the only line
    EXPECT_DOUBLE_EQ(evidence.unexplained, 0);
    EXPECT_DOUBLE_EQ(evidence.lost_voxels, 0.25);
    EXPECT_DOUBLE_EQ(evidence.reprojection_misfit, 0.31);
    EXPECT_THAT(evidence.globals_at_bound, ElementsAre("separator fwhm"));
    ASSERT_EQ(evidence.phases.size(), 2U);
    const auto& nmc = evidence.phases[0].phase == "NMC" ? evidence.phases[0] : evidence.phases[1];
    EXPECT_TRUE(nmc.has_cell_maps);
    EXPECT_EQ(nmc.sought, 90U);
    EXPECT_EQ(nmc.found, 50U);
    EXPECT_EQ(nmc.at_bound, 20U);
    EXPECT_EQ(nmc.unresolved, 10U);
    EXPECT_THAT(nmc.stuck, ElementsAre("size"));
    ASSERT_EQ(evidence.cells.size(), 2U);
    for (const auto& cell : evidence.cells)
        EXPECT_NEAR(cell.ratio, cell.phase == "NMC" ? 1.03 : 3.7227 / 3.6149, 1e-4);
}

} // namespace
} // namespace xrdct::report
