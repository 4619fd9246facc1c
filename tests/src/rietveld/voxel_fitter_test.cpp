// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/voxel_fitter.hpp"

#include "base/error.hpp"
#include "support/structures.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <random>

namespace {

using namespace xrdct;
using testing::HasSubstr;
using testing::ThrowsMessage;

rietveld::PatternModel voxel_model(const std::vector<crystal::Phase>& phases) {
    rietveld::PatternModel model;
    model.instrument.w.value = 0.02 * 0.02;
    for (const crystal::Phase& phase : phases) {
        model.phases.emplace_back(phase);
    }
    model.set_background(3);
    rietveld::SinglePeak peak;
    peak.name = "separator";
    peak.position.value = 1.65;
    peak.fwhm.value = 0.3;
    model.peaks.push_back(peak);
    return model;
}

rietveld::VoxelFitOptions cells(std::vector<std::string> phases) {
    rietveld::VoxelFitOptions options;
    options.cell_phases = std::move(phases);
    return options;
}

TEST(VoxelFitter, RecoversCellsOfAnIndependentPattern) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(
        axis, voxel_model({test::cathode(), test::iron(), test::copper()}), cells({"NMC"}));
    EXPECT_LT(fitter.interpolation_error(), 1e-4);
    rietveld::VoxelFitter::Workspace workspace(fitter);
    rietveld::VoxelFit fit;
    // up to 1.2 % from the start in opposite directions
    for (const auto& [a, c] :
         {std::pair{2.87, 14.25}, {2.8441, 14.4012}, {2.8950, 14.1000}, {2.8700, 14.4200}}) {
        const auto exact = test::simple_pattern(
            axis, {{test::cathode(), 2e-5, a, c, 0.02}, {test::copper(), 1e-6, 3.6149, 0, 0.02}});
        const auto p = test::noisy_pattern(exact, 1e6, 3);
        fitter.fit(p.y, p.variance, workspace, fit);
        EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
        EXPECT_EQ(fit.phases[0].status, rietveld::VoxelPhaseStatus::refined);
        EXPECT_NEAR(fit.phases[0].cell[0], a, 5 * fit.phases[0].cell_esd[0] + 2e-5);
        EXPECT_NEAR(fit.phases[0].cell[1], c, 5 * fit.phases[0].cell_esd[1] + 1e-4);
        EXPECT_NEAR(fit.phases[0].scale, 2e-5, 5 * fit.phases[0].scale_esd + 1e-3 * 2e-5);
        EXPECT_NEAR(fit.phases[2].scale, 1e-6, 5 * fit.phases[2].scale_esd + 1e-3 * 1e-6);
        EXPECT_NEAR(fit.phases[1].scale, 0, 5 * fit.phases[1].scale_esd);
        EXPECT_TRUE(std::isnan(fit.phases[1].cell[0])) << "not refined per voxel";
    }
}

TEST(VoxelFitter, AgreesWithTheFullRefinement) {
    const auto axis = test::cell_axis();
    auto model = voxel_model({test::cathode(), test::iron(), test::lithium_graphite()});
    const auto exact =
        test::simple_pattern(axis, {{test::cathode(), 1, 2.86, 14.30, 0.02},
                                    {test::lithium_graphite(), 0.3, 4.305, 3.706, 0.02}});
    const auto p = test::noisy_pattern(exact, 3000, 11);
    rietveld::VoxelFitOptions options;
    options.cell_phases = {"NMC"};
    options.tolerance = 1e-4;
    const auto fit = rietveld::VoxelFitter(axis, model, options).fit(p.y, p.variance);
    model.phases[0].refine_cell();
    const std::vector<double> y(p.y.begin(), p.y.end()), v(p.variance.begin(), p.variance.end());
    rietveld::RefinementOptions full;
    full.tolerance = 1e-8;
    const auto result = refine(axis, y, v, model, full);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(fit.phases[i].scale, result.phases[i].scale, 0.01 * result.phases[0].scale_esd);
        EXPECT_NEAR(fit.phases[i].weight_fraction, result.phases[i].weight_fraction, 1e-4);
    }
    for (std::size_t j = 0; j < 2; ++j) {
        const double esd = result.phases[0].cell_esd[j];
        EXPECT_NEAR(fit.phases[0].cell[j], result.phases[0].cell[j], 0.02 * esd);
        EXPECT_NEAR(fit.phases[0].cell_esd[j], esd, 0.02 * esd);
    }
    EXPECT_NEAR(fit.phases[0].weight_fraction_esd, result.phases[0].weight_fraction_esd,
                0.05 * result.phases[0].weight_fraction_esd);
    EXPECT_NEAR(fit.rwp, result.agreement.rwp, 1e-4);
    EXPECT_NEAR(fit.peaks[0].area_esd, result.parameters.back().esd,
                0.05 * result.parameters.back().esd);
    // and the calculated patterns are the same
    const auto calculated = rietveld::VoxelFitter(axis, model, options).calculate(fit);
    const double highest = *std::max_element(exact.begin(), exact.end());
    for (std::size_t k = 0; k < calculated.size(); ++k) {
        EXPECT_NEAR(calculated[k], result.calculated[k], 1e-3 * highest);
    }
}

TEST(VoxelFitter, EstimatedDeviationsAreHonest) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(
        axis,
        voxel_model({test::cathode(), test::iron(), test::copper(), test::lithium_graphite()}),
        cells({"NMC"}));
    const auto exact =
        test::simple_pattern(axis, {{test::cathode(), 1, 2.8650, 14.2700, 0.02},
                                    {test::copper(), 0.05, 3.6149, 0, 0.02},
                                    {test::lithium_graphite(), 0.3, 4.305, 3.706, 0.02}});
    rietveld::VoxelFitter::Workspace workspace(fitter);
    rietveld::VoxelFit fit;
    const auto mass = [](const crystal::Phase& phase, double scale, double volume) {
        return scale * phase.cell_mass() * volume;
    };
    const double hexagon = std::sqrt(3.0) / 2;
    const double nmc = mass(test::cathode(), 1, hexagon * 2.865 * 2.865 * 14.27);
    const double expected =
        nmc / (nmc + mass(test::copper(), 0.05, std::pow(3.6149, 3)) +
               mass(test::lithium_graphite(), 0.3, hexagon * 4.305 * 4.305 * 3.706));
    std::vector<double> a, c, scale, weight, graphite;
    for (unsigned seed = 0; seed < 800; ++seed) {
        const auto p = test::noisy_pattern(exact, 400, seed);
        fitter.fit(p.y, p.variance, workspace, fit);
        ASSERT_EQ(fit.status, rietveld::FitStatus::converged);
        a.push_back((fit.phases[0].cell[0] - 2.8650) / fit.phases[0].cell_esd[0]);
        c.push_back((fit.phases[0].cell[1] - 14.2700) / fit.phases[0].cell_esd[1]);
        scale.push_back((fit.phases[0].scale - 1) / fit.phases[0].scale_esd);
        graphite.push_back((fit.phases[3].scale - 0.3) / fit.phases[3].scale_esd);
        weight.push_back((fit.phases[0].weight_fraction - expected) /
                         fit.phases[0].weight_fraction_esd);
    }
    for (const auto* z : {&a, &c, &scale, &graphite, &weight}) {
        EXPECT_GT(test::robust_spread(*z), 0.9);
        EXPECT_LT(test::robust_spread(*z), 1.1);
        EXPECT_LT(std::abs(test::median(*z)), 0.2);
    }
}

TEST(VoxelFitter, PeakPositionsMayMove) {
    const auto axis = test::cell_axis();
    auto model = voxel_model({test::cathode()});
    auto options = cells({"NMC"});
    options.position_peaks = {"separator"};
    const rietveld::VoxelFitter fitter(axis, model, options);
    model.peaks[0].position.value = 1.70;
    model.peaks[0].area.value = 4e7;
    model.phases[0].cell[1].value = 14.28;
    std::vector<double> exact(axis.size());
    rietveld::PatternCalculator(axis, model).evaluate(model, exact);
    const auto p = test::noisy_pattern(exact, 1e4, 5);
    const auto fit = fitter.fit(p.y, p.variance);
    EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
    EXPECT_NEAR(fit.peaks[0].position, 1.70, 5 * fit.peaks[0].position_esd);
    EXPECT_NEAR(fit.peaks[0].area, 4e7, 5 * fit.peaks[0].area_esd);
    EXPECT_LT(fit.peaks[0].position_esd, 0.05);
    EXPECT_NEAR(fit.phases[0].cell[1], 14.28, 5 * fit.phases[0].cell_esd[1]);
}

TEST(VoxelFitter, CellsOfEverySystemMove) {
    const auto axis = test::cell_axis(900);
    auto model = voxel_model({test::triclinic(), test::monoclinic(), test::iron()});
    const rietveld::VoxelFitter fitter(axis, model, cells({"triclinic", "monoclinic", "Fe"}));
    EXPECT_LT(fitter.interpolation_error(), 1e-4);
    const double shift[3][6] = {
        {0.004, -0.003, 0.005, 0.05, -0.04, 0.06}, {0.004, -0.003, 0.002, 0.05}, {0.004}};
    for (std::size_t p = 0; p < 3; ++p) {
        model.phases[p].scale.value = p == 2 ? 0.05 : 1;
        for (std::size_t j = 0; j < model.phases[p].cell.size(); ++j) {
            model.phases[p].cell[j].value += shift[p][j];
        }
    }
    std::vector<double> exact(axis.size());
    rietveld::PatternCalculator(axis, model).evaluate(model, exact);
    const auto pattern = test::noisy_pattern(exact, 1e6, 8);
    const auto fit = fitter.fit(pattern.y, pattern.variance);
    EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
    for (std::size_t p = 0; p < 3; ++p) {
        for (std::size_t j = 0; j < model.phases[p].cell.size(); ++j) {
            EXPECT_NEAR(fit.phases[p].cell[j], model.phases[p].cell[j].value,
                        5 * fit.phases[p].cell_esd[j])
                << p << " " << j;
        }
    }
}

TEST(VoxelFitter, SecondWavelengthAndShiftsEnterTheTables) {
    std::vector<double> two_theta;
    two_theta.reserve(2000);
    for (int i = 0; i < 2000; ++i) {
        two_theta.push_back(20 + 0.04 * i);
    }
    const auto axis = rietveld::RadialAxis::from_two_theta(two_theta, 1.540598);
    auto model = voxel_model({test::cathode(), test::copper()});
    model.instrument = rietveld::InstrumentParameters(
        rietveld::InstrumentProfile{0.005, -0.01, 0.02, 0.02, 0.03, 0});
    model.second = rietveld::SecondWavelength{1.544426, 0.5};
    model.geometry = rietveld::DiffractionGeometry::bragg_brentano;
    model.distance = 200;
    model.displacement.value = 0.1;
    model.zero.value = 0.01;
    model.phases[0].b_overall.value = 0.5;
    model.peaks[0].position.value = 25;
    model.peaks[0].fwhm.value = 4;
    rietveld::VoxelFitOptions options;
    options.cell_phases = {"NMC"};
    options.cell_range = 0.006;
    const rietveld::VoxelFitter fitter(axis, model, options);
    EXPECT_LT(fitter.interpolation_error(), 1e-4);
    model.phases[0].cell[0].value *= 1.001;
    model.phases[0].cell[1].value *= 0.998;
    std::vector<double> exact(axis.size());
    rietveld::PatternCalculator(axis, model).evaluate(model, exact);
    const auto p = test::noisy_pattern(exact, 1e5, 2);
    const auto fit = fitter.fit(p.y, p.variance);
    EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
    EXPECT_NEAR(fit.gof, 1, 0.1);
    for (std::size_t j = 0; j < 2; ++j) {
        EXPECT_NEAR(fit.phases[0].cell[j], model.phases[0].cell[j].value,
                    5 * fit.phases[0].cell_esd[j]);
    }
}

TEST(VoxelFitter, AbsentPhaseHasNoCell) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(axis, voxel_model({test::cathode(), test::iron()}),
                                       cells({"NMC", "Fe"}));
    const auto exact = test::simple_pattern(axis, {{test::iron(), 1, 2.8600, 0, 0.02}});
    int with_cell = 0;
    rietveld::VoxelFitter::Workspace workspace(fitter);
    rietveld::VoxelFit fit;
    for (unsigned seed = 0; seed < 200; ++seed) {
        const auto p = test::noisy_pattern(exact, 1000, seed);
        fitter.fit(p.y, p.variance, workspace, fit);
        EXPECT_EQ(fit.phases[1].status, rietveld::VoxelPhaseStatus::refined);
        EXPECT_NEAR(fit.phases[1].cell[0], 2.8600, 6 * fit.phases[1].cell_esd[0]);
        EXPECT_GE(fit.phases[0].scale, 0);
        EXPECT_TRUE(std::isfinite(fit.phases[0].scale_esd));
        if (fit.phases[0].status == rietveld::VoxelPhaseStatus::insignificant) {
            EXPECT_TRUE(std::isnan(fit.phases[0].cell[0]));
            EXPECT_TRUE(std::isnan(fit.phases[0].cell_esd[1]));
        } else {
            ++with_cell;
        }
    }
    EXPECT_LE(with_cell, 10) << "three-sigma limit";
}

TEST(VoxelFitter, MaskedChannelsDoNotCount) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(axis, voxel_model({test::cathode(), test::iron()}),
                                       cells({"NMC"}));
    const auto exact = test::simple_pattern(axis, {{test::cathode(), 1, 2.8650, 14.2700, 0.02}});
    auto p = test::noisy_pattern(exact, 5000, 3);
    auto q = p;
    const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
    for (std::size_t k = 100; k < 130; ++k) {
        p.variance[k] = 0;
        p.y[k] = 1e6f;
        q.y[k] = k % 2 == 0 ? nan : infinity;
        q.variance[k] = k % 3 == 0 ? nan : (k % 3 == 1 ? -1.0f : infinity);
    }
    const auto first = fitter.fit(p.y, p.variance), second = fitter.fit(q.y, q.variance);
    EXPECT_EQ(first.status, rietveld::FitStatus::converged);
    EXPECT_EQ(first.phases[0].cell[1], second.phases[0].cell[1]);
    EXPECT_NEAR(first.phases[0].cell[1], 14.2700, 5 * first.phases[0].cell_esd[1]);
}

TEST(VoxelFitter, DegenerateInputGivesAStatus) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(axis, voxel_model({test::cathode(), test::iron()}),
                                       cells({"NMC"}));
    const std::size_t n = axis.size();
    const std::vector<float> zeros(n, 0), ones(n, 1), nan(n, std::nanf("")), huge(n, 1e30f),
        negative(n, -5);
    EXPECT_EQ(fitter.fit(zeros, ones).status, rietveld::FitStatus::no_signal);
    EXPECT_EQ(fitter.fit(zeros).status, rietveld::FitStatus::no_signal);
    EXPECT_EQ(fitter.fit(nan, ones).status, rietveld::FitStatus::masked);
    EXPECT_EQ(fitter.fit(ones, zeros).status, rietveld::FitStatus::masked);
    EXPECT_EQ(fitter.fit(ones, nan).status, rietveld::FitStatus::masked);
    EXPECT_EQ(fitter.fit(negative, ones).status, rietveld::FitStatus::no_signal);
    EXPECT_TRUE(std::isnan(fitter.fit(zeros, ones).phases[0].cell[0]));
    EXPECT_TRUE(std::isnan(fitter.fit(nan, ones).phases[0].scale));
    EXPECT_NO_THROW(fitter.fit(huge, ones));
    auto few = ones;
    for (std::size_t k = 6; k < n; ++k) {
        few[k] = std::nanf("");
    }
    EXPECT_EQ(fitter.fit(few, ones).status, rietveld::FitStatus::masked);
    EXPECT_THAT([&] { fitter.fit(std::vector<float>(5, 1)); },
                ThrowsMessage<Error>(HasSubstr("5 channels")));
}

TEST(VoxelFitter, ScaleOfDataAndVarianceDoesNotMatter) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(axis, voxel_model({test::cathode(), test::iron()}),
                                       cells({"NMC"}));
    const auto exact = test::simple_pattern(axis, {{test::cathode(), 1, 2.8650, 14.2700, 0.02}});
    const auto p = test::noisy_pattern(exact, 500, 3);
    const auto reference = fitter.fit(p.y, p.variance);
    for (const float factor : {1e-12f, 1e9f}) {
        auto q = p;
        for (std::size_t k = 0; k < q.y.size(); ++k) {
            q.y[k] *= factor;
            q.variance[k] *= factor * factor;
        }
        const auto fit = fitter.fit(q.y, q.variance);
        EXPECT_NEAR(fit.phases[0].cell[1], reference.phases[0].cell[1],
                    0.01 * reference.phases[0].cell_esd[1]);
        EXPECT_NEAR(fit.phases[0].scale / static_cast<double>(factor), reference.phases[0].scale,
                    1e-4 * reference.phases[0].scale);
        EXPECT_NEAR(fit.gof, reference.gof, 1e-3);
    }
    // without variance the deviations follow from the scatter
    const auto free = fitter.fit(p.y);
    EXPECT_EQ(free.status, rietveld::FitStatus::converged);
    EXPECT_NEAR(free.phases[0].cell[1], 14.27, 6 * free.phases[0].cell_esd[1]);
}

TEST(VoxelFitter, ResultsDependOnThePatternAlone) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(axis, voxel_model({test::cathode(), test::iron()}),
                                       cells({"NMC"}));
    rietveld::VoxelFitter::Workspace used(fitter);
    rietveld::VoxelFit first, second;
    std::vector<test::NoisyPattern> patterns;
    for (unsigned i = 0; i < 20; ++i) {
        patterns.push_back(test::noisy_pattern(
            test::simple_pattern(axis,
                                 {{test::cathode(), i % 5 * 0.2, 2.8650 + 0.001 * i, 14.27, 0.02},
                                  {test::iron(), 0.01 * i, 2.8665, 0, 0.02}}),
            300, i));
    }
    for (std::size_t i = 0; i < patterns.size(); ++i) {
        fitter.fit(patterns[i].y, patterns[i].variance, used, first);
        std::vector<double> a(fitter.quantities().size()), b(a.size());
        fitter.flatten(first, a);
        fitter.flatten(fitter.fit(patterns[i].y, patterns[i].variance), b);
        EXPECT_THAT(a, testing::Pointwise(testing::NanSensitiveDoubleEq(), b));
    }
}

TEST(VoxelFitter, FixedScalesStayAndFreeAreasMayBeNegative) {
    const auto axis = test::cell_axis();
    auto model = voxel_model({test::cathode(), test::copper()});
    model.phases[1].scale = {0.05, false, 0, 10};
    model.peaks[0].area.lower = -std::numeric_limits<double>::infinity();
    auto truth = model;
    truth.peaks[0].area.value = -2e3;
    std::vector<double> exact(axis.size());
    rietveld::PatternCalculator(axis, truth).evaluate(truth, exact);
    const auto p = test::noisy_pattern(exact, 1e5, 3);
    const auto fit = rietveld::VoxelFitter(axis, model, cells({"NMC"})).fit(p.y, p.variance);
    EXPECT_NEAR(fit.phases[1].scale, 0.05, 1e-9);
    EXPECT_EQ(fit.phases[1].scale_esd, 0);
    EXPECT_NEAR(fit.peaks[0].area, -2e3, 5 * fit.peaks[0].area_esd);
}

TEST(VoxelFitter, OneCellParameterMayMoveAlone) {
    const auto axis = test::cell_axis();
    auto model = voxel_model({test::cathode(), test::iron()});
    model.phases[0].cell[1].refine = true;
    const rietveld::VoxelFitter fitter(axis, model, cells({"NMC"}));
    const auto exact = test::simple_pattern(axis, {{test::cathode(), 1, 2.8700, 14.2900, 0.02}});
    const auto p = test::noisy_pattern(exact, 1e5, 3);
    const auto fit = fitter.fit(p.y, p.variance);
    EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
    EXPECT_TRUE(std::isnan(fit.phases[0].cell[0]));
    EXPECT_NEAR(fit.phases[0].cell[1], 14.2900, 5 * fit.phases[0].cell_esd[1]);
    std::vector<double> row(fitter.quantities().size());
    fitter.flatten(fit, row);
    for (std::size_t i = 0; i < row.size(); ++i) {
        const auto& q = fitter.quantities()[i];
        EXPECT_FALSE(q.group == "NMC" && q.quantity == "a");
        if (q.group == "NMC" && q.quantity == "c") {
            EXPECT_EQ(row[i], fit.phases[0].cell[1]);
        }
    }
}

TEST(VoxelFitter, TableOfQuantities) {
    const rietveld::VoxelFitter fitter(
        test::cell_axis(), voxel_model({test::cathode(), test::iron()}), cells({"NMC"}));
    std::vector<std::string> names;
    for (const auto& q : fitter.quantities()) {
        names.push_back(q.group + "/" + q.quantity);
    }
    EXPECT_THAT(names,
                testing::IsSupersetOf({"/status", "/rwp", "NMC/scale", "NMC/scale_errors", "NMC/a",
                                       "NMC/c_errors", "Fe/weight_fraction", "separator/area",
                                       "background/coefficient_2_errors"}));
    EXPECT_THAT(names, testing::Not(testing::Contains("Fe/a")));
}

TEST(VoxelFitter, Misuse) {
    const auto axis = test::cell_axis();
    const auto model = voxel_model({test::cathode(), test::iron()});
    const auto refused = [&](const rietveld::VoxelFitOptions& options, const char* text) {
        EXPECT_THAT([&] { rietveld::VoxelFitter(axis, model, options); },
                    ThrowsMessage<Error>(HasSubstr(text)));
    };
    refused(cells({"Si"}), "'Si'");
    refused(cells({"NMC", "NMC"}), "named twice");
    auto options = cells({});
    options.position_peaks = {"NMC"};
    refused(options, "no peak 'NMC'");
    options = cells({"NMC"});
    options.cell_range = 0.5;
    refused(options, "cell_range");
    options = cells({"NMC"});
    options.max_iterations = 0;
    refused(options, "max_iterations");
}

} // namespace
