// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/phase.hpp"

#include "base/error.hpp"
#include "support/test_data.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>

namespace xrdct {
namespace {

crystal::Phase read(const std::string& cell, const std::string& hm, const std::string& atoms) {
    return crystal::Phase::from_cif_text(
        "data_t\n" + cell + "_symmetry_space_group_name_H-M '" + hm +
            "'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
            "_atom_site_fract_y\n_atom_site_fract_z\n" +
            atoms,
        "t.cif");
}

crystal::Phase read_phase(const std::filesystem::path& file) {
    return crystal::Phase::from_cif_text(test::read_text(file), file.string());
}

std::string cell(double a, double b, double c, double alpha, double beta, double gamma) {
    std::ostringstream s;
    s.precision(12);
    s << "_cell_length_a " << a << "\n_cell_length_b " << b << "\n_cell_length_c " << c
      << "\n_cell_angle_alpha " << alpha << "\n_cell_angle_beta " << beta << "\n_cell_angle_gamma "
      << gamma << "\n";
    return s.str();
}

TEST(Reflections, FamiliesAndMultiplicitiesOfSimpleLattices) {
    const auto fcc = read(cell(4.05, 4.05, 4.05, 90, 90, 90), "F m -3 m", "Al Al 0 0 0\n");
    const auto list = fcc.reflections(1.2);
    ASSERT_EQ(list.size(), 4U);
    const std::array<int, 4> multiplicity{8, 6, 12, 24};
    const std::array<int, 4> n{3, 4, 8, 11};
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(list[i].multiplicity, multiplicity[i]);
        EXPECT_NEAR(list[i].d, 4.05 / std::sqrt(n[i]), 1e-12);
    }
    EXPECT_EQ(list[0].hkl, (crystal::Miller{1, 1, 1}));
    EXPECT_EQ(list[1].hkl, (crystal::Miller{2, 0, 0}));

    const auto bcc = read(cell(2.8665, 2.8665, 2.8665, 90, 90, 90), "I m -3 m", "Fe Fe 0 0 0\n");
    for (const crystal::Reflection& r : bcc.reflections(0.8))
        EXPECT_EQ((r.hkl[0] + r.hkl[1] + r.hkl[2]) % 2, 0);
}

TEST(Reflections, MultiplicitiesCountEveryAllowedIndexOnce) {
    // Whatever the group, the multiplicities add up to the number of indices that are not absent.
    const auto hcp = read(cell(2.464, 2.464, 6.711, 90, 90, 120), "P 63/m m c",
                          "C1 C 0 0 .25\nC2 C .33333 .66667 .25\n");
    const double d_min = 0.7;
    int sum = 0;
    for (const crystal::Reflection& r : hcp.reflections(d_min))
        sum += r.multiplicity;
    int expected = 0;
    for (int h = -5; h <= 5; ++h)
        for (int k = -5; k <= 5; ++k)
            for (int l = -11; l <= 11; ++l) {
                if ((h == 0 && k == 0 && l == 0) ||
                    hcp.cell().inverse_d_squared({h, k, l}) > 1 / (d_min * d_min))
                    continue;
                // c glide: h h −2h l needs l even (also in its rotated copies)
                const bool zone = h == k || h == -2 * k || k == -2 * h;
                expected += zone && l % 2 != 0 ? 0 : 1;
            }
    EXPECT_EQ(sum, expected);
}

TEST(Reflections, ForwardLimitIsTheNumberOfElectrons) {
    // A huge cell has a reflection so close to the origin that form factors reach Z.
    const auto phase = read(cell(400, 400, 400, 90, 90, 90), "P 1", "Fe Fe 0 0 0\n");
    const auto list = phase.reflections(300);
    ASSERT_FALSE(list.empty());
    EXPECT_NEAR(list[0].structure_factor_squared, 26 * 26, 1.0);
}

TEST(Reflections, AnomalousTermsOfIron) {
    const auto phase = read(cell(2.8665, 2.8665, 2.8665, 90, 90, 90), "I m -3 m", "Fe Fe 0 0 0\n");
    const double normal = phase.reflections(2)[0].structure_factor_squared;
    const double copper = phase.reflections(2, {8.0478})[0].structure_factor_squared;
    // Iron at Cu Kα: f′ ≈ −1.1 (−1.13), f″ ≈ 3.2.
    const double f = std::sqrt(normal) / 2;
    EXPECT_NEAR(copper, 4 * ((f - 1.13) * (f - 1.13) + 3.2 * 3.2), 0.01 * copper);
    const double hard = phase.reflections(2, {103.5})[0].structure_factor_squared;
    EXPECT_NEAR(hard, normal, 4e-3 * normal);
}

TEST(Reflections, FriedelMatesAreAveragedWithoutInversionCentre) {
    // Zincite and its inverted copy: 00l and 00−l change places, which an average does not notice.
    const std::string axes = cell(3.2495, 3.2495, 5.2069, 90, 90, 120);
    const auto up = read(axes, "P 63 m c", "Zn Zn .33333 .66667 0\nO O .33333 .66667 .345\n");
    const auto down = read(axes, "P 63 m c", "Zn Zn .33333 .66667 0\nO O .33333 .66667 .655\n");
    const crystal::ScatteringOptions above_edge{9.7}; // K edge of zinc: 9.659 keV
    const auto a = up.reflections(1.0, above_edge), b = down.reflections(1.0, above_edge);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].hkl, b[i].hkl);
        EXPECT_NEAR(a[i].structure_factor_squared, b[i].structure_factor_squared,
                    1e-9 * a[0].structure_factor_squared);
    }
    // Anomalous terms do matter there.
    const auto still = up.reflections(1.0);
    EXPECT_GT(std::abs(a[1].structure_factor_squared / still[1].structure_factor_squared - 1), 0.1);
}

TEST(Reflections, LimitsAreErrors) {
    const auto phase = read(cell(40, 41, 42, 90, 90, 90), "P 1", "Fe Fe 0 0 0\n");
    EXPECT_THROW(static_cast<void>(phase.reflections(0)), Error);
    EXPECT_THROW(static_cast<void>(phase.reflections(-1)), Error);
    EXPECT_THROW(static_cast<void>(phase.reflections(0.3)), Error);
    EXPECT_THROW(static_cast<void>(phase.reflections(0.01)), Error);
}

TEST(MergeCoincident, JoinsWhatAlwaysCoincidesAndNothingElse) {
    const auto ceria =
        read(cell(5.411, 5.411, 5.411, 90, 90, 90), "F m -3 m", "Ce Ce 0 0 0\nO O .25 .25 .25\n");
    const auto families = ceria.reflections(1.03);
    const auto lines = merge_coincident(families, ceria.crystal_system());
    EXPECT_EQ(lines.size() + 1, families.size());
    EXPECT_EQ(lines.back().multiplicity, 32); // 511 and 333
    EXPECT_EQ(lines.back().hkl, (crystal::Miller{5, 1, 1}));
    double all = 0, merged = 0;
    for (const auto& r : families)
        all += r.multiplicity * r.structure_factor_squared;
    for (const auto& l : lines)
        merged += l.intensity;
    EXPECT_NEAR(all, merged, 1e-9 * all);

    // An orthorhombic cell that happens to be a cube: 100, 010, 001 stay apart.
    const auto box = read(cell(4, 4, 4, 90, 90, 90), "P m m m", "Fe Fe 0 0 0\n");
    EXPECT_EQ(merge_coincident(box.reflections(3.9), box.crystal_system()).size(), 3U);
}

struct Row {
    int multiplicity;
    double f2, d;
};

std::vector<Row> read_table(const std::filesystem::path& file) {
    std::ifstream stream(file);
    std::vector<Row> rows;
    for (std::string line; std::getline(stream, line);) {
        std::istringstream fields(line);
        int h = 0, k = 0, l = 0;
        Row row{};
        if (fields >> h >> k >> l >> row.multiplicity >> row.f2 >> row.d)
            rows.push_back(row);
    }
    return rows;
}

/// Families of equal d and multiplicity are the same up to order: sort both lists alike.
template <typename List, typename Multiplicity, typename F2>
std::vector<Row> sorted(const List& list, Multiplicity multiplicity, F2 f2) {
    std::vector<Row> rows;
    for (const auto& r : list)
        rows.push_back({multiplicity(r), f2(r), r.d});
    std::sort(rows.begin(), rows.end(), [](const Row& p, const Row& q) {
        if (std::abs(p.d - q.d) > 2e-6)
            return p.d > q.d;
        return p.multiplicity != q.multiplicity ? p.multiplicity < q.multiplicity : p.f2 < q.f2;
    });
    return rows;
}

class ReferenceTables : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(ReferenceTables, Agree) {
    const char* data = std::getenv("XRDCT_DATA");
    if (data == nullptr || *data == '\0')
        GTEST_SKIP() << "XRDCT_DATA, the folder of reference data, is not set";
    const auto [table, file] = GetParam();
    const std::filesystem::path folder(data);
    const auto expected_raw = read_table(folder / "reference" / table);
    ASSERT_FALSE(expected_raw.empty()) << folder / "reference" / table;
    const auto phase = read_phase(folder / "cif" / file);

    double d_min = 1e9;
    for (const Row& row : expected_raw)
        d_min = std::min(d_min, row.d);
    const auto list = phase.reflections(d_min - 1e-5);
    const auto expected = sorted(
        expected_raw, [](const Row& r) { return r.multiplicity; },
        [](const Row& r) { return r.f2; });
    const auto found = sorted(
        list, [](const crystal::Reflection& r) { return r.multiplicity; },
        [](const crystal::Reflection& r) { return r.structure_factor_squared; });
    ASSERT_EQ(found.size(), expected.size());
    double strongest_f2 = 0, strongest = 0;
    for (const Row& row : expected) {
        strongest_f2 = std::max(strongest_f2, row.f2);
        strongest = std::max(strongest, row.multiplicity * row.f2);
    }
    for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].multiplicity, expected[i].multiplicity) << "d = " << expected[i].d;
        EXPECT_NEAR(found[i].d, expected[i].d, 1e-6);
        EXPECT_NEAR(found[i].f2, expected[i].f2, 1e-4 * strongest_f2) << "d = " << expected[i].d;
        EXPECT_NEAR(found[i].multiplicity * found[i].f2, expected[i].multiplicity * expected[i].f2,
                    1e-4 * strongest);
    }
}

INSTANTIATE_TEST_SUITE_P(Measured, ReferenceTables,
                         testing::Values(std::pair{"Al.txt", "Al-Aluminum.cif"},
                                         std::pair{"Cu.txt", "Cu-Copper.cif"},
                                         std::pair{"Fe.txt", "Fe-Iron-alpha.cif"},
                                         std::pair{"CeO2.txt", "CeO2-Cerianite.cif"},
                                         std::pair{"NMC532.txt", "NMC532.cif"},
                                         std::pair{"LiC6.txt", "LiC6.cif"},
                                         std::pair{"LiC12.txt", "LiC12.cif"},
                                         std::pair{"graphite.txt", "graphite2H.cif"}),
                         [](const auto& info) {
                             std::string name = info.param.first;
                             return name.substr(0, name.find('.'));
                         });

TEST(MeasuredCifs, AllAreReadWithSensibleDensities) {
    const char* data = std::getenv("XRDCT_DATA");
    if (data == nullptr || *data == '\0')
        GTEST_SKIP() << "XRDCT_DATA, the folder of reference data, is not set";
    const std::map<std::string, double> density{
        {"Al-Aluminum.cif", 2.699},      {"Al2O3_hex.cif", 3.987},
        {"CaF2-Fluorite.cif", 3.181},    {"CeO2-Cerianite.cif", 7.216},
        {"Cu-Copper.cif", 8.935},        {"Fe-Iron-alpha.cif", 7.874},
        {"LaB6_cod_1000055.cif", 4.709}, {"LiCoO2_cod_1550397.cif", 5.038},
        {"Si_ori2.cif", 2.329},          {"ZnO-Zincite.cif", 5.677}};
    for (const auto& [file, value] : density) {
        const auto phase = read_phase(std::filesystem::path(data) / "cif" / file);
        EXPECT_NEAR(phase.density() / value, 1, 2e-3) << file;
        EXPECT_TRUE(phase.warnings().empty()) << file << ": " << phase.warnings().front();
    }
}

} // namespace
} // namespace xrdct
