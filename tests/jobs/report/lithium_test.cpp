#include "jobs/report/lithium.hpp"

#include "base/error.hpp"
#include "jobs/settings/job.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

using namespace xrdct;
using namespace xrdct::report;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

namespace {

const double nan = std::nan("");

settings::LithiumSettings falling_c() {
    settings::LithiumSettings settings;
    settings.electrode = "cathode";
    settings.phase = "NMC";
    settings.table = {{14.50, 0.45}, {14.40, 0.65}, {14.20, 0.95}};
    return settings;
}

settings::LithiumSettings fixed(const std::string& phase, double content, double host_mass) {
    settings::LithiumSettings settings;
    settings.electrode = "anode";
    settings.phase = phase;
    settings.content = content;
    settings.host_mass = host_mass;
    return settings;
}

TEST(Interpolation, IsLinearBetweenThePairs) {
    const auto settings = falling_c();
    EXPECT_NEAR(interpolate_lithium(settings, {14.45, 0.01}).value, 0.55, 1e-12);
    EXPECT_NEAR(interpolate_lithium(settings, {14.45, 0.01}).error, 2.0 * 0.01, 1e-12);
    EXPECT_NEAR(interpolate_lithium(settings, {14.25, 0.01}).value, 0.875, 1e-12);
    EXPECT_NEAR(interpolate_lithium(settings, {14.25, 0.01}).error, 1.5 * 0.01, 1e-12);
    for (const auto& [value, content] : settings.table)
        EXPECT_NEAR(interpolate_lithium(settings, {value, 0.0}).value, content, 1e-12);
    auto rising = settings;
    std::reverse(rising.table.begin(), rising.table.end());
    EXPECT_EQ(interpolate_lithium(rising, {14.33, 0.02}).value,
              interpolate_lithium(settings, {14.33, 0.02}).value);
    EXPECT_TRUE(std::isnan(interpolate_lithium(settings, {14.45, nan}).error));
}

TEST(Interpolation, BeyondTheTableIsNothingUnlessClamped) {
    auto settings = falling_c();
    for (const double c : {14.51, 14.19, nan})
        EXPECT_TRUE(std::isnan(interpolate_lithium(settings, {c, 0.01}).value)) << c;
    settings.clamp = true;
    EXPECT_EQ(interpolate_lithium(settings, {15.0, 0.01}).value, 0.45);
    EXPECT_EQ(interpolate_lithium(settings, {14.0, 0.01}).value, 0.95);
    EXPECT_TRUE(std::isnan(interpolate_lithium(settings, {14.0, 0.01}).error));
    EXPECT_TRUE(std::isnan(interpolate_lithium(settings, {nan, 0.01}).value));
}

TEST(LatticeQuantity, RatioAndVolumesWithErrors) {
    settings::LithiumSettings settings;
    settings.parameter = "c/a";
    const auto ratio = lattice_quantity(settings, {{"a", {2.86, 0.001}}, {"c", {14.3, 0.01}}});
    EXPECT_NEAR(ratio.value, 5.0, 1e-12);
    EXPECT_NEAR(ratio.error, 5.0 * std::hypot(0.001 / 2.86, 0.01 / 14.3), 1e-8);
    settings.parameter = "volume";
    const auto hexagonal = lattice_quantity(settings, {{"a", {2.86, 0.001}}, {"c", {14.3, 0.01}}});
    EXPECT_NEAR(hexagonal.value, 2.86 * 2.86 * 14.3 * std::sqrt(0.75), 1e-9);
    EXPECT_NEAR(hexagonal.error, hexagonal.value * std::hypot(2 * 0.001 / 2.86, 0.01 / 14.3), 1e-6);
    settings.gamma = 90;
    EXPECT_NEAR(lattice_quantity(settings, {{"a", {3, nan}}, {"c", {5, nan}}}).value, 45, 1e-9);
    EXPECT_NEAR(lattice_quantity(settings, {{"a", {4, 0.01}}}).value, 64, 1e-9);
    EXPECT_NEAR(lattice_quantity(settings, {{"a", {4, 0.01}}}).error, 3 * 16 * 0.01, 1e-6);
    EXPECT_NEAR(
        lattice_quantity(settings, {{"a", {4, nan}}, {"b", {5, nan}}, {"c", {6, nan}}}).value, 120,
        1e-9);
    // Monoclinic: sin β; rhombohedral: a³ √(1 − 3 cos² + 2 cos³).
    EXPECT_NEAR(
        lattice_quantity(settings,
                         {{"a", {4, nan}}, {"b", {5, nan}}, {"c", {6, nan}}, {"beta", {150, nan}}})
            .value,
        60, 1e-9);
    const double k = std::cos(80.0 * std::acos(-1.0) / 180.0);
    EXPECT_NEAR(lattice_quantity(settings, {{"a", {4, nan}}, {"alpha", {80, nan}}}).value,
                64 * std::sqrt(1 - 3 * k * k + 2 * k * k * k), 1e-9);
    EXPECT_NEAR(lattice_quantity(settings, {{"cell_volume", {77, 0.5}}, {"a", {4, 1}}}).value, 77,
                1e-12);
    settings.parameter = "c";
    EXPECT_TRUE(std::isnan(lattice_quantity(settings, {{"alpha", {80, nan}}}).value));
}

LithiumPhase phase_of(const settings::LithiumSettings& settings, std::vector<double> amount,
                      std::vector<Estimate> lattice = {}) {
    return {settings, std::move(lattice), std::move(amount), {}};
}

TEST(LithiumMapOf, CathodeFollowsItsTable) {
    // Amounts 1, with too little (below 5 % of the largest) and without a lattice value.
    const auto map =
        lithium_map(std::vector<LithiumPhase>{phase_of(falling_c(), {1, 1, 0.01, 1, nan, -1, 1},
                                                       {{14.45, 0.01},
                                                        {14.25, 0.02},
                                                        {14.4, 0.01},
                                                        {nan, nan},
                                                        {14.4, 0.1},
                                                        {14.4, 0.1},
                                                        {14.6, 0.01}})});
    ASSERT_EQ(map.values.size(), 7U);
    EXPECT_NEAR(map.values[0], 0.55, 1e-12);
    EXPECT_NEAR(map.errors[0], 0.02, 1e-12);
    EXPECT_NEAR(map.values[1], 0.875, 1e-12);
    EXPECT_NEAR(map.errors[1], 0.03, 1e-12);
    for (const std::size_t i : {2U, 3U, 4U, 5U, 6U})
        EXPECT_TRUE(std::isnan(map.values[i])) << i;
    EXPECT_EQ(map.electrode, 4U);
    EXPECT_EQ(map.no_lattice, 1U);
    EXPECT_EQ(map.beyond, 1U);
    EXPECT_EQ(map.weights[2], 0);
    EXPECT_EQ(map.weights[3], 1);
}

TEST(LithiumMapOf, AnodeIsTheMeanOverMolesOfHost) {
    // 79.01 g of LiC6 and 2 · 75.54 g of LiC12 per C6: one and two moles of C6.
    auto lic6 = phase_of(fixed("LiC6", 1.0, 79.01), {79.01, 0, 79.01});
    auto lic12 = phase_of(fixed("LiC12", 0.5, 75.54), {2 * 75.54, 75.54, 0});
    auto map = lithium_map(std::vector<LithiumPhase>{lic6, lic12});
    EXPECT_NEAR(map.values[0], 2.0 / 3.0, 1e-12);
    EXPECT_NEAR(map.values[1], 0.5, 1e-12);
    EXPECT_NEAR(map.values[2], 1.0, 1e-12);
    EXPECT_NEAR(map.weights[0], 3.0, 1e-12);
    EXPECT_TRUE(std::isnan(map.errors[0])) << "nothing is known about the amounts' errors";
    // dx/dn_1 = (x_1 − x)/N with x = 2/3, N = 3.
    lic6.amount_errors = {0.1 * 79.01, 0.01, 0.01};
    lic12.amount_errors = {0.2 * 75.54, 0.01, 0.01};
    map = lithium_map(std::vector<LithiumPhase>{lic6, lic12});
    EXPECT_NEAR(map.errors[0], std::hypot(0.1 / 9.0, 0.2 / 18.0), 1e-12);
    // Below five standard deviations there is no electrode.
    lic6.amount_errors = lic12.amount_errors = {30, 30, 30};
    map = lithium_map(std::vector<LithiumPhase>{lic6, lic12});
    EXPECT_EQ(map.electrode, 1U) << "only the voxel with three moles";
}

TEST(LithiumMapOf, APhaseWithoutAContentMustBeSmall) {
    auto second = falling_c();
    second.phase = "NMC (S)";
    second.host_mass = 96;
    auto first = second;
    first.phase = "NMC";
    const auto map = lithium_map(
        std::vector<LithiumPhase>{phase_of(first, {95, 80}, {{14.4, 0.01}, {14.4, 0.01}}),
                                  phase_of(second, {5, 20}, {{nan, nan}, {nan, nan}})});
    EXPECT_NEAR(map.values[0], 0.65, 1e-12);
    EXPECT_TRUE(std::isnan(map.values[1])) << "a fifth of the host is unknown";
    EXPECT_THROW(lithium_map(std::vector<LithiumPhase>{
                     phase_of(first, {1, 1}, {{14.4, 0}, {14.4, 0}}), phase_of(second, {1}, {})}),
                 Error);
}

TEST(LithiumMapOf, OtherUnitsAreFound) {
    EXPECT_THAT(
        [] {
            lithium_map(std::vector<LithiumPhase>{
                phase_of(falling_c(), {1, 1}, {{1.44, 0.001}, {1.44, 0.001}})});
        },
        ThrowsMessage<Error>(AllOf(HasSubstr("'NMC'"), HasSubstr("1.44"), HasSubstr("14.2"))));
}

// ---- settings
// ----------------------------------------------------------------------------------------------

const std::string job_text =
    "[input]\nfile = 'scan.nxs'\n[[phase]]\nname = 'NMC532'\ncif = 'a.cif'\n"
    "[[phase]]\nname = 'LiC6'\ncif = 'b.cif'\n[[phase]]\nname = 'LiC12'\ncif = 'c.cif'\n";

std::string message_of(const std::string& lithium) {
    try {
        settings::parse_job(job_text + lithium, "job.toml");
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

std::string cathode(const std::string& rest) {
    return "[[lithium]]\nelectrode = 'cathode'\nphase = 'NMC532'\n" + rest + "\n";
}

TEST(LithiumSettingsOf, AJobKeepsThemThroughItsResolvedForm) {
    const std::string text =
        job_text + cathode("table = [[14.5, 0.45], [14.3, 0.85]]\noutside = 'clamp'") +
        "[[lithium]]\nelectrode = 'anode'\nphase = 'LiC6'\ncontent = 1\nhost_mass = 79.01\n"
        "[[lithium]]\nelectrode = 'anode'\nphase = 'LiC12'\ncontent = 0.5\nhost_mass = 75.54\n";
    const auto job = settings::parse_job(text, "job.toml");
    ASSERT_EQ(job.lithium.size(), 3U);
    EXPECT_TRUE(job.lithium[0].clamp);
    EXPECT_EQ(job.lithium[0].parameter, "c");
    EXPECT_EQ(job.lithium[0].table.at(1), std::pair(14.3, 0.85));
    EXPECT_EQ(job.lithium[2].content, 0.5);
    const auto again = settings::parse_job(job.resolved, "job.toml");
    EXPECT_EQ(again.resolved, job.resolved);
    const auto from_product = settings::lithium_of_job(job.resolved, "rietveld.nxs");
    ASSERT_EQ(from_product.size(), 3U);
    EXPECT_EQ(from_product[0].table, job.lithium[0].table);
    EXPECT_TRUE(std::isnan(from_product[0].content));
    // The report alone uses them: no stage has to run again.
    const auto without = settings::parse_job(job_text, "job.toml");
    for (const char* stage : {"absorption", "fbp", "rietveld"})
        EXPECT_EQ(job.resolved_for(stage), without.resolved_for(stage));
}

TEST(LithiumSettingsOf, MistakesAreNamed) {
    const std::string table = "table = [[14.5, 0.45], [14.3, 0.85]]";
    EXPECT_EQ(message_of(cathode(table)), "no error");
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'cathode'\nphase = 'NMC523'\n" + table),
                AllOf(HasSubstr("lithium[0].phase"), HasSubstr("'NMC523'"),
                      HasSubstr("nearest is 'NMC532'")));
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'anod'\nphase = 'LiC6'\ncontent = 1"),
                AllOf(HasSubstr("electrode"), HasSubstr("did you mean 'anode'")));
    EXPECT_THAT(message_of("[[lithium]]\nphase = 'LiC6'\ncontent = 1"),
                AllOf(HasSubstr("lithium[0].electrode"), HasSubstr("required")));
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'anode'\ncontent = 1"),
                AllOf(HasSubstr("lithium[0].phase"), HasSubstr("required")));
    EXPECT_THAT(message_of(cathode("")),
                AllOf(HasSubstr("lithium[0].table"), HasSubstr("required")));
    EXPECT_THAT(message_of(cathode(table + "\ncontent = 1")), HasSubstr("exclude each other"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45]]")), HasSubstr("at least two"));
    EXPECT_THAT(message_of(cathode("table = [14.5, 0.45]")), HasSubstr("list of pairs"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45, 1], [14, 1, 1]]")),
                HasSubstr("list of pairs"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45], [14.3, 0.85], [14.4, 0.6]]")),
                AllOf(HasSubstr("not sorted"), HasSubstr("14.4 follows 14.3")));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 0.45], [14.5, 0.85]]")),
                AllOf(HasSubstr("14.5"), HasSubstr("twice")));
    EXPECT_THAT(message_of(cathode("table = [[1.45, 0.45], [1.43, 0.85]]")),
                AllOf(HasSubstr("lithium[0].table"), HasSubstr("angstrom")));
    EXPECT_THAT(message_of(cathode("table = [[1450, 0.45], [1430, 0.85]]")), HasSubstr("angstrom"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, 45], [14.3, 85]]")), HasSubstr("per cent"));
    EXPECT_THAT(message_of(cathode("table = [[14.5, -0.1], [14.3, 0.85]]")),
                HasSubstr("between 0"));
    EXPECT_THAT(message_of(cathode("table = [[nan, 0.1], [14.3, 0.85]]")), HasSubstr("nan"));
    EXPECT_THAT(message_of(cathode("content = 100")), HasSubstr("per cent"));
    EXPECT_THAT(message_of(cathode("content = inf")), HasSubstr("content"));
    EXPECT_THAT(message_of(cathode(table + "\nparameter = 'd'")), HasSubstr("parameter"));
    EXPECT_THAT(message_of(cathode(table + "\noutside = 'extrapolate'")), HasSubstr("outside"));
    EXPECT_THAT(message_of(cathode(table + "\nhost_mass = -1")), HasSubstr("host_mass"));
    EXPECT_THAT(message_of(cathode(table + "\ngamma = 0")), HasSubstr("gamma"));
    EXPECT_THAT(message_of(cathode(table + "\nhostmass = 96")),
                AllOf(HasSubstr("hostmass"), HasSubstr("nearest is 'lithium[].host_mass'")));
    EXPECT_THAT(message_of(cathode(table) + cathode(table)), HasSubstr("given twice"));
    EXPECT_THAT(message_of("[[lithium]]\nelectrode = 'anode'\nphase = 'LiC6'\ncontent = 1\n"
                           "host_mass = 79.01\n[[lithium]]\nelectrode = 'anode'\n"
                           "phase = 'LiC12'\ncontent = 0.5\n"),
                AllOf(HasSubstr("lithium[1].host_mass"), HasSubstr("anode has several phases")));
}

TEST(LithiumSettingsOf, AFileOfItsOwn) {
    const test::TemporaryDirectory folder;
    const auto path = folder / "lithium.toml";
    const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
    write(cathode("table = [[14.5, 0.45], [14.3, 0.85]]"));
    EXPECT_EQ(settings::read_lithium_file(path).size(), 1U);
    write(job_text + cathode("content = 1"));
    EXPECT_EQ(settings::read_lithium_file(path).size(), 1U) << "a job will do";
    write(job_text);
    EXPECT_THAT([&] { settings::read_lithium_file(path); },
                ThrowsMessage<Error>(AllOf(HasSubstr("lithium.toml"), HasSubstr("[[lithium]]"))));
    write(cathode("contents = 1"));
    EXPECT_THAT([&] { settings::read_lithium_file(path); },
                ThrowsMessage<Error>(HasSubstr("lithium[].content")));
    write("[[lithium]\n");
    EXPECT_THAT([&] { settings::read_lithium_file(path); },
                ThrowsMessage<Error>(HasSubstr("line 1")));
    EXPECT_THAT([&] { settings::read_lithium_file(folder / "absent.toml"); },
                ThrowsMessage<Error>(HasSubstr("absent.toml")));
}

} // namespace
