// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/ray_decomposition.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "support/structures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace xrdct;
using testing::HasSubstr;

constexpr double distance = 900;

rietveld::PatternModel model() {
    rietveld::PatternModel m;
    m.instrument.w.value = 0.02 * 0.02;
    m.phases.emplace_back(test::iron());
    m.phases.emplace_back(test::cathode());
    m.phases[1].cell[0].value = 2.84;
    m.phases[1].cell[1].value = 14.40;
    m.set_background(3);
    rietveld::SinglePeak peak;
    peak.name = "separator";
    peak.position.value = 1.65;
    peak.fwhm.value = 0.3;
    m.peaks.push_back(peak);
    return m;
}

std::vector<double> depths() {
    return {-5, -2.5, 0, 2.5, 5};
}

/// Pattern of scales at depths, of the library's calculator, with background and separator.
std::vector<float> ray(const rietveld::RadialAxis& axis,
                       const std::vector<std::array<double, 3>>& parts /* phase, scale, z */,
                       double area, double c = 14.40) {
    auto m = model();
    m.phases[1].cell[1].value = c;
    m.distance = distance;
    const rietveld::PatternCalculator calculator(axis, m);
    std::vector<double> sum(axis.size(), 0.0), y(axis.size());
    for (const auto& [phase, scale, z] : parts) {
        m.displacement.value = z;
        m.phases[static_cast<std::size_t>(phase)].scale.value = scale;
        calculator.evaluate_phase(m, static_cast<std::size_t>(phase), y);
        for (std::size_t k = 0; k < y.size(); ++k)
            sum[k] += y[k] * std::pow(distance / (distance - z), 2);
    }
    for (auto& phase : m.phases)
        phase.scale.value = 0;
    m.displacement.value = 0;
    m.peaks[0].area.value = area;
    m.background[0].value = 40;
    m.background[1].value = -10;
    calculator.evaluate(m, y);
    std::vector<float> result;
    for (std::size_t k = 0; k < y.size(); ++k)
        result.push_back(static_cast<float>(sum[k] + y[k]));
    return result;
}

rietveld::RayDecompositionOptions options() {
    rietveld::RayDecompositionOptions o;
    o.depths = depths();
    o.distance = distance;
    return o;
}

TEST(RayDecomposition, DoNotDependOnTheDepth) {
    const auto axis = test::cell_axis();
    const std::vector<double> variance(axis.size(), 50.0);
    const rietveld::RayDecomposition amounts(axis, model(), variance, options());
    ASSERT_EQ(amounts.phase_count(), 2U);
    ASSERT_EQ(amounts.peak_count(), 1U);
    rietveld::RayDecomposition::Workspace workspace(amounts);
    auto many = options();
    many.depths.clear();
    for (int i = 0; i < 11; ++i)
        many.depths.push_back(i - 5.0);
    const rietveld::RayDecomposition finer(axis, model(), variance, many);
    rietveld::RayDecomposition::Workspace finer_workspace(finer);
    std::vector<double> found(3);
    // Both walls of a can, and depths between those of the columns.
    for (const double z : {0.0, 1.3, 3.1, 4.8}) {
        SCOPED_TRACE(z);
        // The second phase fills the inside.
        std::vector<std::array<double, 3>> parts{{0, 2e-3, z}, {0, 2e-3, -z}};
        for (int i = 0; i < 21; ++i)
            parts.push_back({1, 1e-2 / 21, 0.4 * i - 4});
        const auto y = ray(axis, parts, 3e4);
        amounts.fit(y, found, workspace);
        // A depth between two columns counts a little too much.
        EXPECT_NEAR(found[0], 4e-3, 0.035 * 4e-3);
        EXPECT_NEAR(found[1], 1e-2, 0.01 * 1e-2);
        EXPECT_NEAR(found[2], 3e4, 0.1 * 3e4);
        finer.fit(y, found, finer_workspace);
        EXPECT_NEAR(found[0], 4e-3, 0.006 * 4e-3);
        EXPECT_NEAR(found[1], 1e-2, 0.006 * 1e-2);
        EXPECT_NEAR(found[2], 3e4, 0.02 * 3e4);
    }
    // What one depth only would make of it.
    auto one = options();
    one.depths = {0};
    const rietveld::RayDecomposition plain(axis, model(), variance, one);
    rietveld::RayDecomposition::Workspace plain_workspace(plain);
    plain.fit(ray(axis, {{0, 2e-3, 4.8}, {0, 2e-3, -4.8}}, 0), found, plain_workspace);
    EXPECT_LT(found[0], 0.9 * 4e-3);
}

TEST(RayDecomposition, VaryingCells) {
    const auto axis = test::cell_axis();
    const std::vector<double> variance(axis.size(), 50.0);
    auto o = options();
    o.depths = {0};
    o.varying_cells = {"NMC"};
    const rietveld::RayDecomposition amounts(axis, model(), variance, o);
    rietveld::RayDecomposition::Workspace workspace(amounts);
    std::vector<double> found(3);
    for (const double c : {14.37, 14.40, 14.43}) {
        amounts.fit(ray(axis, {{1, 1e-2, 0}}, 0, c), found, workspace);
        EXPECT_NEAR(found[1], 1e-2, 0.02 * 1e-2) << c;
    }
}

TEST(RayDecomposition, MissingChannels) {
    const auto axis = test::cell_axis();
    const std::vector<double> variance(axis.size(), 50.0);
    const rietveld::RayDecomposition amounts(axis, model(), variance, options());
    rietveld::RayDecomposition::Workspace workspace(amounts);
    auto y = ray(axis, {{0, 2e-3, 1}, {1, 1e-2, 0}}, 30);
    std::vector<double> whole(3), gaps(3);
    amounts.fit(y, whole, workspace);
    for (std::size_t k = 100; k < 140; ++k)
        y[k] = std::numeric_limits<float>::quiet_NaN();
    amounts.fit(y, gaps, workspace);
    for (int i = 0; i < 2; ++i)
        EXPECT_NEAR(gaps[i], whole[i], 0.01 * whole[i]);
    std::fill(y.begin() + 5, y.end(), std::numeric_limits<float>::quiet_NaN());
    amounts.fit(y, gaps, workspace);
    EXPECT_TRUE(std::isnan(gaps[0]));
}

TEST(RayDecomposition, SaysWhatIsWrong) {
    const auto axis = test::cell_axis();
    const std::vector<double> variance(axis.size(), 50.0);
    const auto message = [&](const rietveld::RayDecompositionOptions& o,
                             std::span<const double> v) {
        try {
            const rietveld::RayDecomposition amounts(axis, model(), v, o);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    auto o = options();
    o.distance = 0;
    EXPECT_THAT(message(o, variance), HasSubstr("distance"));
    o = options();
    o.depths.clear();
    EXPECT_THAT(message(o, variance), HasSubstr("depth"));
    o = options();
    o.varying_cells = {"NMD"};
    EXPECT_THAT(message(o, variance), HasSubstr("NMD"));
    EXPECT_THAT(message(options(), std::span<const double>(variance).first(3)),
                HasSubstr("variances"));
}

} // namespace
