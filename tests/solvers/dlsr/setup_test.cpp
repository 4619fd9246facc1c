// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/geometry.hpp"

#include "base/error.hpp"
#include "support/structures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace xrdct::dlsr {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

const double nan = std::nan("");

rietveld::RadialAxis axis() {
    std::vector<double> two_theta;
    for (int k = 0; k < 600; ++k)
        two_theta.push_back(2 + 0.01 * k);
    return rietveld::RadialAxis::from_two_theta(two_theta, 0.12);
}

/// Iron and copper, one cell each, and "layered": iron with a cell per voxel.
dlsr::Setup setup() {
    dlsr::Setup result;
    result.model.wavelength.value = 0.12;
    result.model.instrument.w.value = 1e-3;
    result.model.phases.emplace_back(test::iron("Fe"), "Fe");
    result.model.phases.emplace_back(test::copper("Cu"), "Cu");
    result.model.phases.emplace_back(test::iron("layered"), "layered");
    for (std::size_t p = 0; p < 3; ++p) {
        rietveld::PatternPart part;
        part.index = p;
        const double a = result.model.phases[p].cell[0].value;
        const rietveld::ShapeParameter shape{rietveld::ShapeParameter::Kind::cell, 0, 0.99 * a,
                                             1.01 * a};
        if (p < 2) {
            part.global.push_back({rietveld::ShapeParameter::Kind::size, 0, 1e-4, 1e-2});
            part.global.push_back(shape);
            result.globals.push_back({1e-4, 1e-2, 1e-3});
            result.globals.push_back({shape.lower, shape.upper, 1e-3});
            const auto& name = result.model.phases[p].name;
            result.global_quantities.push_back({name, "inverse_size", "1/angstrom"});
            result.global_quantities.push_back({name, "a", "angstrom"});
        } else {
            part.voxel.push_back(shape);
        }
        result.parts.push_back(part);
        result.pixels.emplace_back(SharedMemoryTeam::single(), std::vector<std::size_t>{0, 1});
        dlsr::Setup::Field scale;
        scale.quantity = {result.model.phases[p].name, "scale", ""};
        scale.field.part = p;
        scale.start = {SharedMemoryTeam::single(), std::vector<double>{1, 2}};
        result.fields.push_back(scale);
        if (p == 2) {
            dlsr::Setup::Field cell;
            cell.quantity = {"layered", "a", "angstrom"};
            cell.field = {.part = 2, .shape = 0, .lower = shape.lower, .upper = shape.upper};
            cell.start = {SharedMemoryTeam::single(), std::vector<double>{a, a}};
            result.fields.push_back(cell);
        }
    }
    return result;
}

TEST(GlobalRanges, FollowValuesThatEndAtTheirEnds) {
    auto s = setup();
    const double fe = s.model.phases[0].phase.cell().a, cu = s.model.phases[1].phase.cell().a;
    const auto given = global_ranges(s);
    ASSERT_EQ(given.start.size(), 4U);
    EXPECT_DOUBLE_EQ(given.start[1], fe);
    EXPECT_FALSE(moved_ranges(s, std::vector<double>{1e-3, fe, 1e-3, cu}));

    // A cell moves its range along; an inverse size gets room upwards.
    const std::vector<double> ended{1e-2, fe, 1e-3, 1.01 * cu};
    const auto moved = moved_ranges(s, ended);
    ASSERT_TRUE(moved);
    EXPECT_NEAR(moved->lower[3], 1.0 * cu, 1e-9);
    EXPECT_NEAR(moved->upper[3], 1.02 * cu, 1e-9);
    EXPECT_GT(moved->upper[0], 1.9e-2);
    EXPECT_GT(moved->lower[0], 0);
    EXPECT_DOUBLE_EQ(moved->lower[1], given.lower[1]);
    EXPECT_DOUBLE_EQ(moved->upper[2], given.upper[2]);
    set_global_ranges(s, *moved);
    EXPECT_NEAR(s.model.phases[1].cell[0].value, 1.01 * cu, 1e-9);
    EXPECT_DOUBLE_EQ(s.model.phases[0].cell[0].value, fe);
    EXPECT_EQ(s.globals[3].upper, moved->upper[3]);
    EXPECT_EQ(global_ranges(s).lower, moved->lower);
    EXPECT_FALSE(moved_ranges(s, ended));
    // And a patterns' table can be made of it.
    EXPECT_NO_THROW(rietveld::PatternBasis(axis(), s.model, s.parts, std::vector<double>(600, 1.0),
                                           rietveld::PatternBasisOptions{}));
}

TEST(GlobalRanges, StayWithinTheBoundsOfTheModel) {
    auto s = setup();
    const double fe = s.model.phases[0].phase.cell().a, cu = s.model.phases[1].phase.cell().a;
    auto& bounds = s.model.phases[1].cell[0];
    bounds.lower = 0.9 * cu;
    bounds.upper = 1.015 * cu;
    const auto moved = moved_ranges(s, std::vector<double>{1e-3, fe, 1e-3, 1.01 * cu});
    ASSERT_TRUE(moved);
    EXPECT_EQ(moved->upper[3], bounds.upper);
    set_global_ranges(s, *moved);
    // At the bound it is held: a table of patterns can still be made, and nothing moves again.
    const std::vector<double> held{1e-3, fe, 1e-3, bounds.upper};
    EXPECT_FALSE(moved_ranges(s, held));
    auto at_bound = global_ranges(s);
    at_bound.start = held;
    set_global_ranges(s, at_bound);
    EXPECT_NO_THROW(rietveld::PatternBasis(axis(), s.model, s.parts, std::vector<double>(600, 1.0),
                                           rietveld::PatternBasisOptions{}));
}

TEST(GlobalRanges, WidthsMayBeNothing) {
    auto s = setup();
    auto& shape = s.parts[0].global[0];
    shape.lower = s.globals[0].lower = 0;
    const double fe = s.model.phases[0].phase.cell().a, cu = s.model.phases[1].phase.cell().a;
    EXPECT_FALSE(moved_ranges(s, std::vector<double>{0, fe, 1e-3, cu}));
    const auto moved = moved_ranges(s, std::vector<double>{1e-2, fe, 1e-3, cu});
    ASSERT_TRUE(moved);
    EXPECT_EQ(moved->lower[0], 0);
    EXPECT_GT(moved->upper[0], 1.5e-2);
}

/// Iron on the left pixel and copper on both of a sample of two by two, and a constant background.
ConventionalMaps conventional() {
    ConventionalMaps maps;
    maps.n = 2;
    maps.x = {-0.05, 0.05};
    maps.model.wavelength.value = 0.12;
    maps.model.phases.emplace_back(test::iron("Fe"), "Fe");
    maps.model.phases.emplace_back(test::copper("Cu"), "Cu");
    maps.model.background.resize(1);
    maps.sample = {1, 1, 0, 0};
    maps.phases.resize(2);
    maps.phases[0] = {{1, 0, 1, 0}, {2, nan, 5, 0}, {{2.87, nan, nan, nan}}};
    maps.phases[1] = {{1, 1, 0, 0}, {1, 3, 0, 0}, {{}}};
    maps.background = {{1, -1, 0, 0}};
    return maps;
}

TEST(MakeSetup, RefinesWhatTheOptionsSay) {
    Options options;
    options.phases.resize(2);
    options.phases[0].cell[0] = Treatment::voxel;
    options.phases[1].cell[0] = Treatment::global;
    options.phases[1].scale = Treatment::global;
    options.smoothness = 0.5;
    options.gap = 0.3;
    options.bounded = true;
    const auto s = make_setup(SharedMemoryTeam::single(), options, conventional(), 0.1);
    ASSERT_EQ(s.parts.size(), 3U);
    EXPECT_EQ(s.pixels[0].size(), 1U); // in the phase's mask and in the sample
    EXPECT_EQ(s.pixels[1].size(), 2U);
    ASSERT_EQ(s.fields.size(), 4U); // scale, cell; scale; background
    EXPECT_EQ(s.fields[0].field.treatment, FieldTreatment::voxel);
    EXPECT_EQ(s.fields[0].field.lower, 0);
    EXPECT_EQ(s.fields[0].start[1], 0); // not a number there
    const auto& cell = s.fields[1];
    EXPECT_EQ(cell.quantity.name, "a");
    EXPECT_DOUBLE_EQ(cell.start[0], 2.87);
    EXPECT_LT(cell.field.lower, 2.87);
    EXPECT_GT(cell.field.upper, 2.87);
    EXPECT_EQ(cell.field.smoothness, 0.5);
    EXPECT_EQ(cell.field.max_gap, 3U);
    EXPECT_EQ(s.fields[2].field.treatment, FieldTreatment::scaled);
    EXPECT_TRUE(std::isinf(s.fields[3].field.lower)); // a background may be negative
    ASSERT_EQ(s.globals.size(), 1U);
    EXPECT_EQ(s.global_quantities[0].group, "Cu");
    EXPECT_DOUBLE_EQ(s.layer_centre[0], 0);
    EXPECT_DOUBLE_EQ(s.layer_centre[1], -0.05);
}

// A width per voxel starts at the conventional map; where there is none, at the mean pattern's.
TEST(MakeSetup, WidthsPerVoxelAreMaps) {
    using Kind = rietveld::ShapeParameter::Kind;
    Options options;
    options.phases.resize(2);
    options.phases[0].cell[0] = options.phases[0].size = Treatment::voxel;
    options.phases[1].gauss_microstrain = Treatment::voxel;
    auto maps = conventional();
    maps.phases[0].mask = {1, 1, 0, 0};
    maps.phases[0].size = {100, nan, nan, nan};
    maps.model.phases[0].size.value = 200;
    maps.model.phases[1].gauss_microstrain.value = 2e-3;
    const auto s = make_setup(SharedMemoryTeam::single(), options, maps, 0.1);
    ASSERT_EQ(s.fields.size(), 6U); // scale, cell, size; scale, strain; background
    ASSERT_EQ(s.parts[0].voxel.size(), 2U);
    EXPECT_EQ(s.parts[0].voxel[1].kind, Kind::size);
    const auto& size = s.fields[2];
    EXPECT_EQ(size.quantity.name, "inverse_size");
    EXPECT_EQ(size.field.shape, 1);
    EXPECT_DOUBLE_EQ(size.start[0], 0.01);
    EXPECT_DOUBLE_EQ(size.start[1], 0.01); // the median of those that are known
    EXPECT_LE(size.field.lower, 0.0075);
    EXPECT_GE(size.field.upper, 0.0125);
    const auto& strain = s.fields[4];
    EXPECT_EQ(s.parts[1].voxel[0].kind, Kind::gauss_microstrain);
    EXPECT_DOUBLE_EQ(strain.start[1], 4e-6);
    EXPECT_EQ(strain.field.lower, std::max(0.0, strain.field.lower));
    EXPECT_TRUE(s.globals.empty());
}

// Its voxels are those of the phase it may be taken for, too, and its cell comes late.
TEST(MakeSetup, APhaseThatStartsAbsentMayBeWhereItsLeaderIs) {
    Options options;
    options.phases.resize(2);
    options.phases[0].cell[0] = Treatment::global;
    options.phases[0].starts_absent = true;
    options.phases[0].leader = 1;
    options.phases[1].cell[0] = Treatment::global;
    auto maps = conventional();
    maps.share_masks(options);
    EXPECT_EQ(maps.phases[0].mask, (std::vector<unsigned char>{1, 1, 1, 0}));
    const auto s = make_setup(SharedMemoryTeam::single(), options, maps, 0.1);
    EXPECT_EQ(s.pixels[0].size(), 2U);
    EXPECT_TRUE(s.fields[0].late);
    EXPECT_FALSE(s.fields[1].late);
    EXPECT_EQ(s.fields[0].start[0], 0);
    EXPECT_EQ(s.fields[1].start[0], 1);
    EXPECT_EQ(s.late, (std::vector<unsigned char>{1, 0}));
}

using Standards = std::vector<std::size_t>;

TEST(RadialStandards, AreElementsWithOneGlobalCell) {
    auto s = setup();
    EXPECT_EQ(radial_standards(s, {}), (Standards{0, 1}));
    EXPECT_EQ(radial_standards(s, {"Cu"}), (Standards{1}));
    EXPECT_THAT([&] { radial_standards(s, {"cu"}); },
                ThrowsMessage<Error>(AllOf(HasSubstr("dlsr.standards"), HasSubstr("'cu'"),
                                           HasSubstr("nearest is 'Cu'"))));
    EXPECT_THAT([&] { radial_standards(s, {"layered"}); },
                ThrowsMessage<Error>(AllOf(HasSubstr("layered"), HasSubstr("global"))));
    s.pixels[0].clear(); // nowhere in the sample
    EXPECT_EQ(radial_standards(s, {}), (Standards{1}));
    EXPECT_EQ(radial_standards(s, {"Fe"}), (Standards{}));
}

/// Cell that lines of `a` seem to have when tan 2θ of the axis is too large by `factor`, by one
/// line near the middle of the axis.
double seeming(double a, double factor) {
    const double d = a / std::sqrt(6.0), theta = std::asin(0.12 / (2 * d));
    const double wrong = 0.5 * std::atan(factor * std::tan(2 * theta));
    return 0.12 / (2 * std::sin(wrong)) * std::sqrt(6.0);
}

TEST(RadialStandards, TellTheScale) {
    const auto s = setup();
    const double fe = s.model.phases[0].phase.cell().a, cu = s.model.phases[1].phase.cell().a;
    const Standards both{0, 1};
    for (const double factor : {1.0, 1.001, 0.997}) {
        const std::vector<double> cells{seeming(fe, factor), seeming(cu, factor)},
            esds{2e-5 * fe, nan};
        const auto scale = compare_standards(s, axis(), both, cells, esds, 1e-4);
        EXPECT_NEAR(scale.factor, factor, 1e-2 * std::abs(factor - 1) + 1e-9);
        EXPECT_NEAR(scale.standards[0].uncertainty, std::hypot(2e-5, 1e-4), 1e-7);
        EXPECT_NEAR(scale.uncertainty, 7.1e-5, 2e-6);
        EXPECT_TRUE(scale.agree());
        EXPECT_EQ(scale.is_off(), factor != 1);
    }
    // One of them is an alloy.
    const std::vector<double> cells{fe * 1.002, cu}, esds{1e-5, 1e-5};
    EXPECT_FALSE(compare_standards(s, axis(), both, cells, esds, 1e-4).agree());
    const auto none = compare_standards(s, axis(), Standards{}, {}, {}, 1e-4);
    EXPECT_TRUE(std::isnan(none.factor));
    EXPECT_FALSE(none.is_off());
}

TEST(StandardsScale, MovesLinesAndCellsTogether) {
    auto s = setup();
    const auto before = setup(); // copies share their maps
    const double factor = 1.002;
    apply_radial_scale(SharedMemoryTeam::single(), s, factor, 800);
    EXPECT_NEAR(1 - s.model.displacement.value / s.model.distance, factor, 1e-12);
    EXPECT_EQ(s.model.distance, 800);
    EXPECT_NEAR(s.globals[1].lower, factor * before.globals[1].lower, 1e-12);
    EXPECT_EQ(s.globals[0].lower, before.globals[0].lower); // a size is no cell
    for (std::size_t i = 0; i < 2; ++i)                     // an amount is none either
        EXPECT_EQ(s.fields[0].start[i], before.fields[0].start[i]);
    EXPECT_NEAR(s.fields[3].start[1], factor * before.fields[3].start[1], 1e-12);
    EXPECT_NEAR(s.parts[2].voxel[0].upper, factor * before.parts[2].voxel[0].upper, 1e-12);
    // The lines stay where they were, but for what separates tan 2θ from sin θ.
    const auto lines = [](const dlsr::Setup& of) {
        return rietveld::PatternCalculator(axis(), of.model).lines(of.model);
    };
    const auto now = lines(s), then = lines(before);
    ASSERT_EQ(now.size(), then.size());
    for (std::size_t i = 0; i < now.size(); ++i)
        EXPECT_NEAR(now[i].two_theta, then[i].two_theta, 2e-2 * 2e-3 * then[i].two_theta);
    apply_radial_scale(SharedMemoryTeam::single(), s, 1 / factor, 800);
    EXPECT_NEAR(s.model.displacement.value, 0, 1e-9);
    EXPECT_NEAR(s.model.phases[2].cell[0].value, before.model.phases[2].cell[0].value, 1e-12);
}

GeometryResult geometry() {
    GeometryResult g;
    g.step = 0.1;
    g.axis_offset = {0.02, 0.021, 0.001, false};
    g.sinogram_axis = GeometryEstimate{0.02, 0.0205, 0.002, false};
    g.distance = GeometryEstimate{1000, 985, 1, false, 15};
    const auto s = setup();
    const std::vector<double> cells{s.model.phases[0].cell[0].value,
                                    s.model.phases[1].cell[0].value},
        esds{1e-5, 1e-5};
    g.radial = compare_standards(s, axis(), Standards{0, 1}, cells, esds, 1e-4);
    return g;
}

std::string joined(const GeometryResult& g) {
    std::string all;
    for (const auto& remark : g.remarks())
        all += remark + "\n";
    return all;
}

TEST(DlsrGeometryRemarks, AreLoudOnlyWhenSomethingIsWrong) {
    EXPECT_THAT(joined(geometry()), AllOf(Not(HasSubstr("AXIS")), Not(HasSubstr("DISTANCE")),
                                          Not(HasSubstr("RADIAL"))));
    auto g = geometry();
    g.axis_offset.found = 0.03; // a tenth of a step, ten e.s.d.
    EXPECT_THAT(joined(g),
                AllOf(HasSubstr("AXIS: "), HasSubstr("geometry.axis_offset = \"auto\"")));
    g.axis_offset.refined = true;
    EXPECT_THAT(joined(g), AllOf(HasSubstr("AXIS: "), HasSubstr("refined with the maps"),
                                 HasSubstr("geometry.axis_offset = 0.03")));
    g.axis_offset.esd = 0.01; // not sure enough
    EXPECT_THAT(joined(g), Not(HasSubstr("AXIS")));
    g = geometry();
    g.distance->found = 930;
    EXPECT_THAT(joined(g), HasSubstr("DISTANCE: "));
    g = geometry();
    g.radial.factor = 1.001;
    EXPECT_THAT(joined(g), AllOf(HasSubstr("RADIAL SCALE: "), HasSubstr("+1000 "),
                                 HasSubstr("off by about -1000 ppm"), HasSubstr("metals")));
    g.applied_scale = 1.001;
    EXPECT_THAT(joined(g), AllOf(Not(HasSubstr("RADIAL")), HasSubstr("corrected by +1000 ppm")));
    g.radial.chi_squared = 20;
    EXPECT_THAT(joined(g), HasSubstr("do not agree"));
}

} // namespace
} // namespace xrdct::dlsr
