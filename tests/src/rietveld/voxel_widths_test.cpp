// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "rietveld/voxel/voxel_tables.hpp"
#include "support/structures.hpp"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <random>

namespace {

using namespace xrdct;
using rietveld::Width;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr auto size_of = static_cast<std::size_t>(Width::size);
constexpr auto strain_of = static_cast<std::size_t>(Width::microstrain);
constexpr auto gauss_of = static_cast<std::size_t>(Width::gauss_microstrain);

rietveld::PatternModel widths_model(const std::vector<crystal::Phase>& phases) {
    rietveld::PatternModel model;
    model.instrument.w.value = 0.02 * 0.02;
    for (const crystal::Phase& phase : phases) {
        model.phases.emplace_back(phase);
    }
    model.set_background(3);
    return model;
}

rietveld::VoxelFitOptions widths_of(const std::string& phase, bool size, bool strain = false,
                                    bool gauss = false) {
    rietveld::VoxelFitOptions options;
    options.cell_phases = {phase};
    options.widths = {{phase, {size, strain, gauss}}};
    return options;
}

std::vector<double> exact_pattern(const rietveld::RadialAxis& axis,
                                  const rietveld::PatternModel& model) {
    std::vector<double> y(axis.size());
    rietveld::PatternCalculator(axis, model).evaluate(model, y);
    return y;
}

/// A sample of crystals of this size, written down without the library's model.
test::SimpleSample sized(const crystal::Phase& phase, double scale, double a, double c, double size,
                         double wavelength) {
    const double lorentz = 0.94 * wavelength / size * 180 / 3.14159265358979;
    const auto profile = rietveld::pseudo_voigt({0.02, lorentz});
    return {phase, scale, a, c, profile.fwhm, profile.fwhm, profile.mixing};
}

TEST(LineShapes, AreTheChannelAverages) {
    // the widths of channels differ, as on an axis of radii
    std::vector<double> radius(397);
    for (std::size_t k = 0; k < radius.size(); ++k) {
        radius[k] = 10 + 0.2 * static_cast<double>(k);
    }
    const auto axis = rietveld::RadialAxis::from_radius(radius, 600, 0.2);
    const rietveld::LineShapes shapes(axis, 40);
    rietveld::Rows rows(3, axis.size());
    rietveld::LineShapes::FarField far(shapes, 3);
    for (const double fwhm : {0.002, 0.01, 0.02, 0.04, 0.1, 0.5, 3.0}) {
        for (const double position : {0.93, 1.0, 4.23, 4.2355, 8.3, 9.1}) {
            for (const auto& [mixing, cubics] :
                 {std::pair{0.0, false}, {1.0, false}, {1.0, true}}) {
                for (int r = 0; r < 3; ++r) {
                    std::fill_n(rows[r], rietveld::padded(axis.size()), 0.0f);
                }
                const rietveld::ShapeFactors factors[] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
                float* targets[] = {rows[0], rows[1], rows[2]};
                if (mixing > 0) {
                    shapes.add_lorentz(position, fwhm, factors, targets, cubics ? &far : nullptr);
                    shapes.add_far(far, targets);
                } else {
                    shapes.add_gauss(position, fwhm, factors, targets);
                }
                rietveld::ProfileBuffer exact;
                channel_averaged_profile(axis, position, fwhm, mixing, 40, true, exact);
                const double height = 1 / std::max(fwhm, 0.02);
                for (std::size_t k = 0; k < axis.size(); ++k) {
                    const bool in = k >= exact.first && k < exact.first + exact.size();
                    const std::size_t i = in ? k - exact.first : 0;
                    SCOPED_TRACE(testing::Message()
                                 << fwhm << " " << position << " " << mixing
                                 << (cubics ? " cubics" : "") << " channel " << k);
                    ASSERT_NEAR(rows[0][k], in ? exact.value[i] : 0, 2e-5 * height);
                    ASSERT_NEAR(rows[1][k], in ? exact.position[i] : 0, 3e-5 * height / fwhm);
                    ASSERT_NEAR(rows[2][k], in ? exact.fwhm[i] : 0, 2e-4 * height / fwhm);
                }
            }
        }
    }
}

TEST(LineShapes, CurvatureIsThatOfDifferences) {
    const auto axis = test::cell_axis();
    const rietveld::LineShapes shapes(axis, 40);
    rietveld::Rows weight(1, axis.size());
    for (std::size_t k = 0; k < axis.size(); ++k) {
        weight[0][k] = static_cast<float>(1 + 0.5 * std::sin(0.05 * static_cast<double>(k)));
    }
    const double fwhm = 0.1, step = 0.004;
    for (const double mixing : {0.0, 0.6, 1.0}) {
        const auto sum = [&](double position, double width) {
            rietveld::ProfileBuffer profile;
            channel_averaged_profile(axis, position, width, mixing, 40, false, profile);
            double total = 0;
            for (std::size_t i = 0; i < profile.size(); ++i) {
                total += static_cast<double>(weight[0][profile.first + i]) * profile.value[i];
            }
            return total;
        };
        const double x = 3.07, s0 = sum(x, fwhm);
        const auto found = shapes.curvature(x, fwhm, mixing, weight[0]);
        const double position =
            (sum(x + step, fwhm) + sum(x - step, fwhm) - 2 * s0) / (step * step);
        const double width = (sum(x, fwhm + step) + sum(x, fwhm - step) - 2 * s0) / (step * step);
        const double mixed = (sum(x + step, fwhm + step) - sum(x + step, fwhm - step) -
                              sum(x - step, fwhm + step) + sum(x - step, fwhm - step)) /
                             (4 * step * step);
        const double unit = s0 / (fwhm * fwhm);
        EXPECT_NEAR(found.position, position, 0.02 * unit) << mixing;
        EXPECT_NEAR(found.fwhm, width, 0.02 * unit) << mixing;
        EXPECT_NEAR(found.mixed, mixed, 0.02 * unit) << mixing;
    }
}

TEST(VoxelWidths, ArePartOfTheTable) {
    const auto axis = test::cell_axis();
    const rietveld::VoxelFitter fitter(axis, widths_model({test::cathode(), test::copper()}),
                                       widths_of("NMC", true, false, true));
    std::vector<std::string> names;
    for (const auto& quantity : fitter.quantities()) {
        if (quantity.group == "NMC") {
            names.push_back(quantity.quantity + " " + quantity.unit);
        }
    }
    EXPECT_THAT(names, testing::ElementsAre("scale ", "scale_errors ", "weight_fraction ",
                                            "weight_fraction_errors ", "status ", "a angstrom",
                                            "a_errors angstrom", "c angstrom", "c_errors angstrom",
                                            "size angstrom", "size_errors angstrom",
                                            "gauss_microstrain ", "gauss_microstrain_errors "));
}

TEST(VoxelWidths, CalculatedPatternsAreExact) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::cathode(), test::copper()});
    for (const double displacement : {0.0, 0.4}) {
        model.phases[0].b_overall.value = displacement;
        model.phases[0].size.value = 150;
        for (const bool second : {false, true}) {
            if (second) {
                model.second = rietveld::SecondWavelength{0.1203, 0.5};
            } else {
                model.second.reset();
            }
            EXPECT_LT(rietveld::VoxelFitter(axis, model, widths_of("NMC", true, true, true))
                          .interpolation_error(),
                      2e-5);
            EXPECT_LT(
                rietveld::VoxelFitter(axis, model, widths_of("Cu", true)).interpolation_error(),
                2e-5);
        }
    }
}

TEST(VoxelWidths, SizesOfIndependentPatterns) {
    const auto axis = test::cell_axis();
    // the start is wrong by up to a factor of three, either way
    for (const double start : {60.0, 150.0, 450.0, 1e9}) {
        auto model = widths_model({test::copper(), test::iron()});
        model.phases[0].size.value = start;
        const rietveld::VoxelFitter fitter(axis, model, widths_of("Cu", true));
        rietveld::VoxelFitter::Workspace workspace(fitter);
        rietveld::VoxelFit fit;
        for (const double size : {50.0, 90.0, 150.0, 250.0, 600.0}) {
            const double a = 3.6149 * (1 + 0.003 * std::sin(size));
            const auto exact =
                test::simple_pattern(axis, {sized(test::copper(), 1e-5, a, 0, size, 0.11979),
                                            sized(test::iron(), 3e-6, 2.8665, 0, 1e9, 0.11979)});
            const auto p = test::noisy_pattern(exact, 1e5, 3);
            fitter.fit(p.y, p.variance, workspace, fit);
            SCOPED_TRACE(testing::Message() << "start " << start << " size " << size);
            EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
            const auto& phase = fit.phases[0];
            EXPECT_EQ(phase.status, rietveld::VoxelPhaseStatus::refined);
            EXPECT_NEAR(phase.width[size_of], size, 5 * phase.width_esd[size_of] + 0.004 * size);
            EXPECT_LT(phase.width_esd[size_of], 0.02 * size);
            EXPECT_NEAR(phase.cell[0], a, 5 * phase.cell_esd[0] + 1e-4);
            EXPECT_NEAR(phase.scale, 1e-5, 5 * phase.scale_esd + 2e-8);
            EXPECT_TRUE(std::isnan(phase.width[strain_of]));
            EXPECT_LT(fit.iterations, 12);
        }
    }
}

TEST(VoxelWidths, AgreeWithTheFullRefinement) {
    const auto axis = test::cell_axis();
    auto truth = widths_model({test::cathode(), test::iron()});
    truth.phases[0].size.value = 180;
    truth.phases[0].scale.value = 1;
    truth.phases[1].scale.value = 0.2;
    for (const bool gauss : {false, true}) {
        truth.phases[0].microstrain.value = gauss ? 0 : 2e-3;
        truth.phases[0].gauss_microstrain.value = gauss ? 3e-3 : 0;
        const auto p = test::noisy_pattern(exact_pattern(axis, truth), 2e5, 11);
        const std::vector<double> y(p.y.begin(), p.y.end()),
            v(p.variance.begin(), p.variance.end());
        auto model = widths_model({test::cathode(), test::iron()});
        auto& phase = model.phases[0];
        phase.size.value = 400;
        (gauss ? phase.gauss_microstrain : phase.microstrain).value = 5e-4;
        auto options = widths_of("NMC", true, !gauss, gauss);
        options.tolerance = 1e-4;
        const auto fit = rietveld::VoxelFitter(axis, model, options).fit(p.y, p.variance);
        phase.refine_cell();
        phase.size.refine = true;
        (gauss ? phase.gauss_microstrain : phase.microstrain).refine = true;
        rietveld::RefinementOptions full;
        full.tolerance = 1e-8;
        const auto result = refine(axis, y, v, model, full);
        const auto esd_of = [&](const std::string& name) {
            for (const auto& parameter : result.parameters) {
                if (parameter.name == name) {
                    return parameter.esd;
                }
            }
            return 0.0;
        };
        const auto& found = result.model.phases[0];
        const double size_esd = esd_of("NMC size");
        EXPECT_NEAR(fit.phases[0].width[size_of], found.size.value, 0.05 * size_esd);
        EXPECT_NEAR(fit.phases[0].width_esd[size_of], size_esd, 0.05 * size_esd);
        const std::size_t strain = gauss ? gauss_of : strain_of;
        const double esd = esd_of(gauss ? "NMC gauss_microstrain" : "NMC microstrain");
        EXPECT_NEAR(fit.phases[0].width[strain],
                    (gauss ? found.gauss_microstrain : found.microstrain).value, 0.05 * esd);
        EXPECT_NEAR(fit.phases[0].width_esd[strain], esd, 0.05 * esd);
        EXPECT_NEAR(fit.phases[0].cell[0], found.cell[0].value,
                    0.05 * result.phases[0].cell_esd[0]);
        EXPECT_NEAR(fit.rwp, result.agreement.rwp, 1e-4);
        const auto calculated = rietveld::VoxelFitter(axis, model, options).calculate(fit);
        const double highest = *std::max_element(y.begin(), y.end());
        for (std::size_t k = 0; k < calculated.size(); ++k) {
            EXPECT_NEAR(calculated[k], result.calculated[k], 1e-3 * highest);
        }
    }
}

TEST(VoxelWidths, DerivativesAreThoseOfDifferences) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::cathode()});
    model.phases[0].b_overall.value = 0.4;
    const rietveld::VoxelTables tables(axis, model, widths_of("NMC", true, true, true),
                                       SharedMemoryTeam::single(), nullptr);
    const rietveld::Mover& mover = tables.movers.at(0);
    ASSERT_EQ(mover.size(), 5U);
    auto metric = tables.metrics.at(0);
    auto scratch = tables.wide_scratch(mover);
    rietveld::Rows rows(18, axis.size());
    float* derivatives[5];
    float* others[5];
    for (int j = 0; j < 5; ++j) {
        derivatives[j] = rows[3 + j];
        others[j] = rows[8 + j];
    }
    for (const double size : {70.0, 200.0, 1500.0}) {
        std::vector<double> values{2.87, 14.23, 1 / size, 8e-4, 1e-6};
        tables.build_wide(mover, metric, values.data(), rows[0], derivatives, scratch);
        const double steps[] = {2e-4, 2e-3, 0.02 / size, 5e-5, 1e-7};
        for (std::size_t j = 0; j < 5; ++j) {
            auto moved = values;
            moved[j] += steps[j];
            tables.build_wide(mover, metric, moved.data(), rows[1], others, scratch);
            moved[j] -= 2 * steps[j];
            tables.build_wide(mover, metric, moved.data(), rows[2], others, scratch);
            double highest = 0, error = 0;
            for (std::size_t k = 0; k < axis.size(); ++k) {
                const double slope =
                    (static_cast<double>(rows[1][k]) - static_cast<double>(rows[2][k])) /
                    (2 * steps[j]);
                highest = std::max(highest, std::abs(slope));
                error = std::max(error, std::abs(slope - static_cast<double>(derivatives[j][k])));
            }
            EXPECT_LT(error, 0.01 * highest) << "parameter " << j << " at " << size;
        }
    }
}

TEST(VoxelWidths, OfOverlappingPhases) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::copper(), test::iron(), test::aluminium()});
    for (auto& phase : model.phases) {
        phase.size.value = 400;
    }
    rietveld::VoxelFitOptions options;
    options.cell_phases = {"Cu", "Fe"};
    options.widths = {
        {"Cu", {true, false, false}}, {"Fe", {true, false, false}}, {"Al", {true, false, false}}};
    const rietveld::VoxelFitter fitter(axis, model, options);
    rietveld::VoxelFitter::Workspace workspace(fitter);
    rietveld::VoxelFit fit;
    std::mt19937_64 random(7);
    std::uniform_real_distribution<double> uniform(0, 1);
    std::vector<double> z, error;
    const int count = 120;
    int converged = 0;
    for (int i = 0; i < count; ++i) {
        const double sizes[] = {90 + 160 * uniform(random), 90 + 160 * uniform(random),
                                90 + 160 * uniform(random)};
        const double scales[] = {1e-5 * (0.2 + uniform(random)), 3e-5 * (0.2 + uniform(random)),
                                 3e-5 * (0.2 + uniform(random))};
        const double a = 3.6149 * (1 + 2e-3 * (uniform(random) - 0.5));
        const auto exact = test::simple_pattern(
            axis, {sized(test::copper(), scales[0], a, 0, sizes[0], 0.11979),
                   sized(test::iron(), scales[1], 2.8665, 0, sizes[1], 0.11979),
                   sized(test::aluminium(), scales[2], 4.0495, 0, sizes[2], 0.11979)});
        const auto p = test::noisy_pattern(exact, 4000, static_cast<unsigned>(i));
        fitter.fit(p.y, p.variance, workspace, fit);
        converged += fit.status == rietveld::FitStatus::converged ? 1 : 0;
        for (std::size_t k = 0; k < 3; ++k) {
            const auto& phase = fit.phases[k];
            const double size = phase.width[size_of];
            if (std::isfinite(size)) {
                z.push_back((size - sizes[k]) / phase.width_esd[size_of]);
                error.push_back(std::abs(size / sizes[k] - 1));
            }
        }
    }
    EXPECT_GE(converged, count - 1);
    EXPECT_GE(z.size(), 3U * count * 98 / 100);
    EXPECT_LT(test::median(error), 0.04);
    EXPECT_NEAR(test::robust_spread(z), 1, 0.15);
    EXPECT_NEAR(test::median(z), 0, 0.2);
}

TEST(VoxelWidths, WhatTheInstrumentDoesNotTellIsUnresolved) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::copper(), test::iron()});
    model.phases[0].size.value = 200;
    const rietveld::VoxelFitter fitter(axis, model, widths_of("Cu", true));
    const auto exact = test::simple_pattern(
        axis, {{test::copper(), 1e-5, 3.6149, 0, 0.02}, {test::iron(), 3e-6, 2.8665, 0, 0.02}});
    int unresolved = 0;
    for (unsigned i = 0; i < 20; ++i) {
        const auto p = test::noisy_pattern(exact, 3000, i);
        const auto fit = fitter.fit(p.y, p.variance);
        EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
        const auto& phase = fit.phases[0];
        EXPECT_NEAR(phase.cell[0], 3.6149, 5 * phase.cell_esd[0]);
        EXPECT_NEAR(phase.scale, 1e-5, 5 * phase.scale_esd);
        if (phase.status == rietveld::VoxelPhaseStatus::unresolved) {
            ++unresolved;
            EXPECT_TRUE(std::isnan(phase.width[size_of]));
            EXPECT_TRUE(std::isnan(phase.width_esd[size_of]));
        } else {
            EXPECT_GT(phase.width[size_of], 1500);
        }
    }
    EXPECT_GE(unresolved, 17);
}

TEST(VoxelWidths, LinesAsBroadAsTheyMayBeGoBackToTheStart) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::copper(), test::iron()});
    model.phases[0].size.value = 200;
    auto options = widths_of("Cu", true);
    options.least_size = 50;
    const rietveld::VoxelFitter fitter(axis, model, options);
    const auto p = test::noisy_pattern(
        test::simple_pattern(axis, {sized(test::copper(), 1e-5, 3.6149, 0, 20, 0.11979),
                                    {test::iron(), 3e-6, 2.8665, 0, 0.02}}),
        3000, 1);
    const auto fit = fitter.fit(p.y, p.variance);
    EXPECT_NE(fit.status, rietveld::FitStatus::masked);
    EXPECT_EQ(fit.phases[0].status, rietveld::VoxelPhaseStatus::unresolved);
    EXPECT_TRUE(std::isnan(fit.phases[0].width[size_of]));
    EXPECT_TRUE(std::isfinite(fit.phases[0].cell[0]));
    EXPECT_GT(fit.phases[0].scale, 0);
    // and its pattern has the start's width
    EXPECT_TRUE(std::isfinite(fitter.calculate(fit)[0]));
}

TEST(VoxelWidths, OfAPhaseThatIsNotThereAreNone) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::copper(), test::iron()});
    model.phases[0].size.value = 200;
    const auto options = widths_of("Cu", true, true);
    const rietveld::VoxelFitter fitter(axis, model, options);
    rietveld::VoxelFitter::Workspace workspace(fitter);
    rietveld::VoxelFit fit;
    int found = 0;
    for (unsigned i = 0; i < 40; ++i) {
        const auto p = test::noisy_pattern(
            test::simple_pattern(axis, {{test::iron(), 3e-6, 2.8665, 0, 0.02}}), 1000, i);
        fitter.fit(p.y, p.variance, workspace, fit);
        found += fit.phases[0].status == rietveld::VoxelPhaseStatus::insignificant ? 0 : 1;
        EXPECT_NEAR(fit.phases[1].scale, 3e-6, 6 * fit.phases[1].scale_esd);
        if (fit.phases[0].status == rietveld::VoxelPhaseStatus::insignificant) {
            EXPECT_TRUE(std::isnan(fit.phases[0].width[size_of]));
            EXPECT_TRUE(std::isnan(fit.phases[0].width[strain_of]));
        }
        const unsigned char present[] = {0, 1};
        fitter.fit(p.y, p.variance, workspace, fit, present);
        EXPECT_EQ(fit.phases[0].status, rietveld::VoxelPhaseStatus::absent);
        EXPECT_TRUE(std::isnan(fit.phases[0].width[size_of]));
    }
    EXPECT_LE(found, 2);
}

// Lines of three cells at once, as parallax and layers make them: no width fits, and steps along
// the widths come out too long.
TEST(VoxelWidths, ConvergeWhereNoShapeFits) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::copper(), test::iron()});
    model.phases[0].size.value = 110;
    model.phases[0].gauss_microstrain.value = 1.8e-3;
    for (const std::array<bool, 3> which : {std::array{true, false, true}, {true, true, true}}) {
        rietveld::VoxelFitOptions options;
        options.significance = 5;
        options.cell_phases = {"Cu"};
        options.widths = {{"Cu", which}};
        const rietveld::VoxelFitter fitter(axis, model, options);
        rietveld::VoxelFitter::Workspace workspace(fitter);
        rietveld::VoxelFit fit;
        std::mt19937_64 random(3);
        std::uniform_real_distribution<double> uniform(0, 1);
        const int count = 150;
        int converged = 0;
        for (int i = 0; i < count; ++i) {
            std::vector<test::SimpleSample> samples{{test::iron(), 3e-6, 2.8665, 0, 0.02}};
            for (int part = 0; part < 3; ++part) {
                const double a = 3.6149 * (1 + 0.03 * (uniform(random) - 0.5));
                samples.push_back(sized(test::copper(), 4e-6 * uniform(random), a, 0,
                                        90 + 300 * uniform(random), 0.11979));
            }
            const auto p = test::noisy_pattern(test::simple_pattern(axis, samples), 3000,
                                               static_cast<unsigned>(i));
            fitter.fit(p.y, p.variance, workspace, fit);
            converged += fit.status == rietveld::FitStatus::converged ? 1 : 0;
        }
        EXPECT_GE(converged, which[1] ? count - 5 : count - 2);
    }
}

TEST(VoxelWidths, OfAPhaseWithAFixedCell) {
    const auto axis = test::cell_axis();
    auto model = widths_model({test::copper()});
    model.phases[0].cell[0].value = 3.6149;
    model.phases[0].microstrain.value = 1e-3;
    auto truth = model;
    truth.phases[0].microstrain.value = 3e-3;
    rietveld::VoxelFitOptions options;
    options.widths = {{"Cu", {false, true, false}}};
    const auto p = test::noisy_pattern(exact_pattern(axis, truth), 20000, 2);
    const rietveld::VoxelFitter fitter(axis, model, options);
    const auto fit = fitter.fit(p.y, p.variance);
    EXPECT_EQ(fit.status, rietveld::FitStatus::converged);
    EXPECT_NEAR(fit.phases[0].width[strain_of], 3e-3, 5 * fit.phases[0].width_esd[strain_of]);
    EXPECT_TRUE(std::isnan(fit.phases[0].cell[0]));
    std::vector<double> row(fitter.quantities().size());
    fitter.flatten(fit, row);
    for (std::size_t i = 0; i < row.size(); ++i) {
        if (fitter.quantities()[i].quantity == "microstrain") {
            EXPECT_EQ(row[i], fit.phases[0].width[strain_of]);
            EXPECT_EQ(row[i + 1], fit.phases[0].width_esd[strain_of]);
        }
    }
}

TEST(VoxelWidths, BadOptions) {
    const auto axis = test::cell_axis();
    const auto model = widths_model({test::copper()});
    auto options = widths_of("Cu", true);
    options.widths.push_back(options.widths[0]);
    EXPECT_THAT([&] { rietveld::VoxelFitter(axis, model, options); },
                ThrowsMessage<Error>(HasSubstr("the widths of 'Cu' are named twice")));
    options.widths = {{"Zn", {true, false, false}}};
    EXPECT_THAT([&] { rietveld::VoxelFitter(axis, model, options); },
                ThrowsMessage<Error>(HasSubstr("Zn")));
    options = widths_of("Cu", true);
    options.least_size = 0;
    EXPECT_THAT([&] { rietveld::VoxelFitter(axis, model, options); },
                ThrowsMessage<Error>(HasSubstr("least_size")));
}

} // namespace
