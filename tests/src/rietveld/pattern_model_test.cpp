// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/pattern_model.hpp"

#include "base/error.hpp"
#include "support/structures.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <numeric>

namespace {

using namespace xrdct;
using testing::HasSubstr;
using testing::ThrowsMessage;

rietveld::PatternModel synchrotron_model() {
    rietveld::PatternModel model;
    model.wavelength.value = 0.11979;
    model.instrument = rietveld::InstrumentParameters(
        rietveld::InstrumentProfile{0.02, -0.002, 4e-4, 1e-3, 0.02, 5e-4});
    model.zero.value = 0.003;
    model.displacement.value = 0.7;
    model.distance = 900;
    for (crystal::Phase phase :
         {test::cathode(), test::iron(), test::triclinic(), test::monoclinic()}) {
        model.phases.emplace_back(phase);
        rietveld::PhaseModel& last = model.phases.back();
        last.scale.value = 1e-3 * static_cast<double>(model.phases.size());
        last.size.value = 400;
        last.microstrain.value = 4e-4;
        last.gauss_microstrain.value = 7e-4;
        last.b_overall.value = 0.4;
        last.depth.value = 3 * static_cast<double>(model.phases.size()) - 7;
    }
    model.background = {{3}, {0.5}, {-0.2}};
    rietveld::SinglePeak peak;
    peak.name = "separator";
    peak.position.value = 2.1;
    peak.fwhm.value = 0.31;
    peak.mixing.value = 0.4;
    peak.area.value = 5;
    model.peaks.push_back(peak);
    return model;
}

/// Every parameter's analytic derivative against central differences.
void check_derivatives(const rietveld::RadialAxis& axis, rietveld::PatternModel model,
                       const std::vector<std::string>& excluded) {
    const rietveld::PatternCalculator calculator(axis, model);
    auto list = list_parameters(model);
    std::vector<std::size_t> indices(list.size());
    std::iota(indices.begin(), indices.end(), 0);
    const std::size_t n = axis.size();
    std::vector<double> y(n), jacobian(n * list.size()), plus(n), minus(n), plus2(n), minus2(n);
    calculator.evaluate(model, indices, y, jacobian);
    for (std::size_t j = 0; j < list.size(); ++j) {
        const std::string& name = list[j].name;
        if (std::find(excluded.begin(), excluded.end(), name) != excluded.end()) {
            continue;
        }
        rietveld::Parameter& parameter = *list[j].parameter;
        const bool size = name.ends_with("size");
        const double value = parameter.value;
        const bool square = name.ends_with("gauss_microstrain");
        const double x = size ? 1 / value : (square ? value * value : value);
        const double h =
            3e-6 *
            std::max(std::abs(x), size ? 1e-3 : (square ? 1e-7 : (name.size() == 1 ? 1e-3 : 1e-2)));
        const auto at = [&](double moved, std::vector<double>& out) {
            parameter.value = size ? 1 / moved : (square ? std::sqrt(moved) : moved);
            calculator.evaluate(model, out);
        };
        at(x + h, plus);
        at(x - h, minus);
        at(x + 2 * h, plus2);
        at(x - 2 * h, minus2);
        parameter.value = value;
        double largest = 0, highest = 0;
        for (std::size_t k = 0; k < n; ++k) {
            largest = std::max(largest, std::abs(jacobian[j * n + k]));
            highest = std::max(highest, std::abs(y[k]));
        }
        EXPECT_GT(largest, 0) << name;
        const double rounding = 1e-15 * highest / h;
        double worst = 0;
        for (std::size_t k = 0; k < n; ++k) {
            const double difference =
                (8 * (plus[k] - minus[k]) - (plus2[k] - minus2[k])) / (12 * h);
            worst = std::max(worst, std::abs(difference - jacobian[j * n + k]));
        }
        EXPECT_LT(worst, 2e-6 * largest + rounding) << name;
    }
}

TEST(PatternModel, DerivativesOfEveryParameterOnAnAreaDetector) {
    rietveld::PatternModel model = synchrotron_model();
    check_derivatives(test::cell_axis(), model, {});
    model.solid_angle_corrected = false;
    model.polarisation = 0;
    check_derivatives(test::cell_axis(500), model, {});
}

TEST(PatternModel, DerivativesOfEveryParameterInTheLaboratory) {
    std::vector<double> two_theta;
    for (int i = 0; i < 1500; ++i) {
        two_theta.push_back(15 + 0.07 * i);
    }
    const auto axis = rietveld::RadialAxis::from_two_theta(two_theta, 1.540598);
    rietveld::PatternModel model = synchrotron_model();
    model.wavelength.value = 0;
    model.instrument = rietveld::InstrumentParameters(
        rietveld::InstrumentProfile{0.01, -0.01, 0.02, 0.02, 0.03, 0.01});
    model.second = rietveld::SecondWavelength{1.544426, 0.5};
    model.geometry = rietveld::DiffractionGeometry::bragg_brentano;
    model.distance = 173;
    model.displacement.value = 0.05;
    model.polarisation = 0.8;
    model.peaks[0].position.value = 21;
    model.peaks[0].fwhm.value = 3;
    std::vector<std::string> excluded{"wavelength"};
    for (rietveld::PhaseModel& phase : model.phases) {
        phase.depth.value = 0; // there is none in this geometry
        excluded.push_back(phase.name + " depth");
    }
    check_derivatives(axis, model, excluded);
}

TEST(PatternModel, AgreesWithASimplePattern) {
    const auto axis = test::cell_axis();
    rietveld::PatternModel model;
    model.instrument.w.value = 0.02 * 0.02;
    model.phases.emplace_back(test::cathode());
    model.phases.emplace_back(test::copper());
    model.phases[0].cell[0].value = 2.8431;
    model.phases[0].cell[1].value = 14.419;
    model.phases[1].scale.value = 0.3;
    std::vector<double> y(axis.size());
    rietveld::PatternCalculator(axis, model).evaluate(model, y);
    const auto simple = test::simple_pattern(
        axis, {{test::cathode(), 1, 2.8431, 14.419, 0.02}, {test::copper(), 0.3, 3.6149, 0, 0.02}});
    const double highest = *std::max_element(simple.begin(), simple.end());
    for (std::size_t k = 0; k < y.size(); ++k) {
        EXPECT_NEAR(y[k], simple[k], 5e-4 * highest) << axis.two_theta()[k];
    }
}

TEST(PatternModel, LorentzPolarisation) {
    rietveld::PatternModel model;
    const double theta = 0.3, angle = 0.6, degree = std::acos(-1.0) / 180;
    const double lorentz = 1 / (std::pow(std::sin(theta), 2) * std::cos(theta));
    const double c2 = std::pow(std::cos(angle), 2);
    EXPECT_NEAR(lorentz_polarisation(model, angle / degree), lorentz * (1 + c2) / 2, 1e-12);
    model.polarisation = 0;
    EXPECT_NEAR(lorentz_polarisation(model, angle / degree), lorentz, 1e-12);
    model.polarisation = 0.8;
    EXPECT_NEAR(lorentz_polarisation(model, angle / degree), lorentz * (1 + 0.8 * c2) / 1.8, 1e-12);
    model.solid_angle_corrected = false;
    EXPECT_NEAR(lorentz_polarisation(model, angle / degree),
                lorentz * (1 + 0.8 * c2) / 1.8 * std::pow(std::cos(angle), 3), 1e-12);
}

TEST(PatternModel, DisplacementMovesLinesByTheGeometry) {
    rietveld::PatternModel model;
    model.distance = 1000;
    model.displacement.value = 5; // 5 mm towards the detector
    const double degree = std::acos(-1.0) / 180;
    EXPECT_NEAR(std::tan(apparent_two_theta(model, 3.4) * degree), 0.995 * std::tan(3.4 * degree),
                1e-14);
    model.geometry = rietveld::DiffractionGeometry::bragg_brentano;
    model.distance = 200;
    model.displacement.value = 0.1;
    EXPECT_NEAR(apparent_two_theta(model, 60) - 60, -2 * 0.1 / 200 * std::cos(30 * degree) / degree,
                1e-12);
    model.zero.value = 0.02;
    EXPECT_NEAR(apparent_two_theta(model, 60) - 60,
                0.02 - 2 * 0.1 / 200 * std::cos(30 * degree) / degree, 1e-12);
}

TEST(PatternModel, DepthMovesAndBrightensThePhaseAlone) {
    const auto axis = test::cell_axis();
    rietveld::PatternModel model;
    model.instrument.w.value = 4e-4;
    model.distance = 900;
    model.displacement.value = 1;
    model.phases.emplace_back(test::iron(), "centre");
    model.phases.emplace_back(test::iron(), "near");
    model.phases[1].depth.value = 5;
    const auto lines = rietveld::PatternCalculator(axis, model).lines(model);
    const std::size_t half = lines.size() / 2;
    ASSERT_GE(half, 2u);
    ASSERT_EQ(lines[half].phase, 1u);
    ASSERT_EQ(lines[0].hkl, lines[half].hkl);
    const double degree = std::acos(-1.0) / 180;
    EXPECT_NEAR(std::tan(lines[half].two_theta * degree) / std::tan(lines[0].two_theta * degree),
                (1 - 6. / 900) / (1 - 1. / 900), 1e-12);
    EXPECT_NEAR(lines[half].intensity / lines[0].intensity, std::pow(900. / 895, 2), 1e-12);
    EXPECT_EQ(apparent_two_theta(model, 4), apparent_two_theta(model, 4, 0));
    EXPECT_LT(apparent_two_theta(model, 4, 5), apparent_two_theta(model, 4));
}

TEST(PatternModel, RefusesADepthThatMeansNothing) {
    const auto axis = test::cell_axis();
    rietveld::PatternModel model;
    model.instrument.w.value = 4e-4;
    model.phases.emplace_back(test::iron());
    model.phases[0].depth.value = 5;
    const auto make = [&] { rietveld::PatternCalculator(axis, model); };
    EXPECT_THAT(make, ThrowsMessage<Error>(HasSubstr("needs the distance")));
    model.distance = 8;
    EXPECT_THAT(make, ThrowsMessage<Error>(HasSubstr("not small against the distance")));
    model.distance = 900;
    EXPECT_NO_THROW(make());
    model.geometry = rietveld::DiffractionGeometry::bragg_brentano;
    EXPECT_THAT(make, ThrowsMessage<Error>(HasSubstr("needs an area detector")));
}

TEST(PatternModel, ListsLinesInRange) {
    const auto axis = test::cell_axis();
    rietveld::PatternModel model;
    model.instrument.w.value = 4e-4;
    model.phases.emplace_back(test::iron());
    const auto lines = rietveld::PatternCalculator(axis, model).lines(model);
    ASSERT_GE(lines.size(), 2u);
    EXPECT_EQ(lines[0].multiplicity, 12); // 110
    EXPECT_NEAR(lines[0].d, 2.8665 / std::sqrt(2.0), 1e-9);
    EXPECT_EQ(lines[1].multiplicity, 6); // 200
    for (std::size_t i = 1; i < lines.size(); ++i) {
        EXPECT_GT(lines[i].two_theta, lines[i - 1].two_theta);
    }
}

TEST(PatternModel, ParameterNamesAreUniqueAndInOrder) {
    rietveld::PatternModel model = synchrotron_model();
    std::vector<std::string> names;
    for (const auto& entry : list_parameters(model)) {
        names.push_back(entry.name);
    }
    EXPECT_THAT(names, testing::IsSupersetOf({"zero", "NMC scale", "NMC c", "triclinic alpha",
                                              "background 2", "separator area"}));
    auto sorted = names;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end());
}

TEST(PatternModel, Misuse) {
    const auto axis = test::cell_axis();
    const auto refused = [&](auto&& change, const char* text) {
        rietveld::PatternModel model = synchrotron_model();
        change(model);
        EXPECT_THAT([&] { rietveld::PatternCalculator(axis, model); },
                    ThrowsMessage<Error>(HasSubstr(text)));
    };
    refused([](rietveld::PatternModel& m) { m.phases.emplace_back(test::iron()); },
            "'Fe' is given to two");
    refused([](rietveld::PatternModel& m) { m.peaks[0].name = "Fe"; }, "'Fe'");
    refused([](rietveld::PatternModel& m) { m.distance = 0; }, "distance");
    refused([](rietveld::PatternModel& m) { m.wavelength.value = -1; }, "wavelength");
    refused([](rietveld::PatternModel& m) { m.phases[0].scale.upper = -1; }, "NMC scale");
    refused([](rietveld::PatternModel& m) { m.phases[0].scale.value = std::nan(""); }, "NMC scale");
    refused([](rietveld::PatternModel& m) { m.phases[1].cell[0].value = 0.3; }, "Fe a");
    refused(
        [](rietveld::PatternModel& m) {
            m.peaks[0].fwhm = {0, false, 0, 1};
        },
        "fwhm must be positive");
    refused(
        [](rietveld::PatternModel& m) {
            m.instrument = {};
            m.phases[0].size.value = rietveld::infinite_size;
            m.phases[0].microstrain.value = 0;
            m.phases[0].gauss_microstrain.value = 0;
        },
        "width vanishes");
    rietveld::PatternModel model = synchrotron_model();
    const auto narrow =
        rietveld::RadialAxis::from_two_theta(std::vector<double>{0.40, 0.41, 0.42}, 0.11979);
    EXPECT_THAT([&] { rietveld::PatternCalculator(narrow, model); },
                ThrowsMessage<Error>(HasSubstr("no line between")));
    EXPECT_THAT([&] { model.find_phase("Si"); }, ThrowsMessage<Error>(HasSubstr("'Si'")));
}

TEST(PatternModel, EveryAngleOfACellLiesWithinItsRange) {
    for (const double angle : {3.0, 13.93, 19.22, 60.0, 90.0, 120.0, 165.0, 179.0}) {
        const auto [lower, upper] = rietveld::cell_range(crystal::CellParameter::alpha, angle);
        EXPECT_GT(lower, 0);
        EXPECT_LT(lower, angle);
        EXPECT_GT(upper, angle);
        EXPECT_LT(upper, 180);
    }
}

} // namespace
