// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/calibration.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "base/units.hpp"
#include "rietveld/fit/calibrator.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace xrdct::rietveld {

namespace {

/// R_Bragg above which the structure's intensities are given up.
constexpr double poor_intensities = 0.1;
/// Share of the net intensity (as a weighted residual, noise taken off) that may stay unexplained.
constexpr double max_unexplained = 0.5;
/// Height of a peak that is no line of the standard, over that of the pattern's highest: above the
/// first it is mentioned, above the second it is taken for another substance.
constexpr double foreign_peak = 0.03, strange_peak = 0.2;
/// Correlation of zero and radial scale above which the range does not tell them apart.
constexpr double max_correlated = 0.98;
/// A profile term below this many e.s.d. is dropped.
constexpr double min_significance = 2;
/// Relative variation of 1/cos θ below which X and Z are one parameter.
constexpr double min_variation = 0.02;

/// Width at half height [deg] of the pattern's strongest peaks above their surroundings: median of
/// up to five.
double typical_width(const RadialAxis& axis, std::span<const double> intensity) {
    const std::size_t n = axis.size();
    const std::vector<double> finite = finite_values(intensity);
    const double channel = (axis.edges().back() - axis.edges().front()) / static_cast<double>(n);
    if (finite.empty()) {
        return 3 * channel;
    }
    const double base = median(finite);
    std::vector<bool> used(n, false);
    std::vector<double> widths;
    for (int peak = 0; peak < 5; ++peak) {
        std::size_t top = n;
        for (std::size_t k = 0; k < n; ++k) {
            if (!used[k] && std::isfinite(intensity[k]) &&
                (top == n || intensity[k] > intensity[top])) {
                top = k;
            }
        }
        if (top == n || !(intensity[top] > base)) {
            break;
        }
        const double half = 0.5 * (intensity[top] + base);
        const auto crossing = [&](int step) {
            std::size_t k = top;
            while (true) {
                const std::size_t next = k + static_cast<std::size_t>(step);
                if (next >= n || !std::isfinite(intensity[next])) {
                    return std::nan("");
                }
                used[next] = true;
                if (intensity[next] < half) {
                    const double share = (intensity[k] - half) / (intensity[k] - intensity[next]);
                    return axis.two_theta()[k] +
                           share * (axis.two_theta()[next] - axis.two_theta()[k]);
                }
                k = next;
            }
        };
        used[top] = true;
        const double left = crossing(-1), right = crossing(1);
        if (std::isfinite(right - left)) {
            widths.push_back(right - left);
            // the flanks of this peak are no peaks
            for (std::size_t k = 0; k < n; ++k) {
                used[k] = used[k] || std::abs(axis.two_theta()[k] - axis.two_theta()[top]) <
                                         2 * (right - left);
            }
        }
    }
    if (widths.empty()) {
        return 3 * channel;
    }
    return std::max(median(std::move(widths)), 1.5 * channel);
}

void check_lines_in_range(const RadialAxis& axis, const crystal::Phase& standard) {
    const double low = axis.edges().front(), high = axis.edges().back();
    const double wavelength = axis.wavelength();
    const double d_min = wavelength / (2 * std::sin(radians(std::min(high, 179.0) / 2)));
    const double d_max = low > 0 ? wavelength / (2 * std::sin(radians(low / 2)))
                                 : std::numeric_limits<double>::max();
    const auto reflections = standard.reflections(d_min);
    const bool any = std::any_of(reflections.begin(), reflections.end(),
                                 [&](const crystal::Reflection& r) { return r.d <= d_max; });
    if (!any) {
        throw Error(fmt::format("no line of {} lies between {:.4g} and {:.4g} deg 2theta at a "
                                "wavelength of {} angstrom",
                                standard.name(), low, high, wavelength));
    }
}

/// One of U, V, W, X, Y, Z.
Parameter& profile_parameter(PatternModel& model, std::size_t i) {
    auto& p = model.instrument;
    return *std::array<Parameter*, 6>{&p.u, &p.v, &p.w, &p.x, &p.y, &p.z}[i];
}

} // namespace

PatternModel Calibrator::start_model() const {
    const double width = typical_width(axis_, intensity_);
    PatternModel model;
    model.phases.emplace_back(standard_);
    model.wavelength.value = axis_.wavelength();
    model.distance = options_.distance;
    model.polarisation = options_.polarisation_corrected ? 0 : 1;
    model.solid_angle_corrected = options_.solid_angle_corrected;
    const double limit = 25 * width;
    model.instrument.w = {0.64 * width * width, true, 0, limit * limit};
    model.instrument.x = {0.2 * width, true, 0, limit};
    model.set_background(options_.background_terms);
    return model;
}

/// Certified over apparent cell with everything else nominal; the fitted widths go into `model`.
double Calibrator::find_ratio(PatternModel& model) const {
    PatternModel free = model;
    free.phases[0].refine_cell();
    RefinementOptions options;
    options.cell_search = options_.search;
    const auto found = refine(axis_, intensity_, variance_, free, options);
    const double ratio =
        std::cbrt(standard_.cell().volume() / found.model.phases[0].unit_cell().volume());
    if (found.status == FitStatus::no_signal) {
        throw Error(fmt::format("the lines of {} are not in the pattern within {:.3g} % of their "
                                "nominal places: check standard, wavelength and distance",
                                standard_.name(), 100 * options_.search));
    }
    if (found.status == FitStatus::masked) {
        throw Error(found.message);
    }
    if (std::abs(ratio - 1) > options_.search) {
        throw Error(fmt::format(
            "the lines of {} are not within {:.3g} % of their nominal places (the best fit moves "
            "them by {:+.2f} %): check standard, wavelength and distance, or widen the search",
            standard_.name(), 100 * options_.search, 100 * (ratio - 1)));
    }
    model.instrument = found.model.instrument;
    return ratio;
}

void Calibrator::apply_scale(PatternModel& model, double ratio) const {
    const auto centres = axis_.two_theta();
    const double range = centres.back() - centres.front();
    switch (options_.scale) {
    case RadialScale::cell:
        model.phases[0].refine_cell();
        for (std::size_t i = 0; i < model.phases[0].cell.size(); ++i) {
            if (standard_.free_parameters()[i] <= crystal::CellParameter::c) {
                model.phases[0].cell[i].value /= ratio;
            }
        }
        break;
    case RadialScale::wavelength:
        model.wavelength = {axis_.wavelength() * ratio, true, 0.5 * axis_.wavelength(),
                            2 * axis_.wavelength()};
        break;
    case RadialScale::distance:
        model.displacement = {options_.distance * (1 - ratio), true, -0.5 * options_.distance,
                              0.5 * options_.distance};
        break;
    case RadialScale::none:
        if (options_.refine_zero) {
            model.zero.value =
                std::clamp((ratio - 1) * centres[centres.size() / 2], -0.05 * range, 0.05 * range);
        }
        break;
    }
    if (options_.refine_zero) {
        model.zero = {model.zero.value, true, -0.1 * range, 0.1 * range};
    }
}

RefinementResult Calibrator::fit(const PatternModel& model) const {
    PatternModel start = model;
    RefinementOptions options;
    options.scale_errors = true;
    options.max_iterations = 100;
    start.phases[0].line_factors.clear();
    if (result_.extracted) {
        options.extract_intensities = {start.phases[0].name};
        start.phases[0].b_overall.refine = false;
    } else {
        start.phases[0].b_overall.refine = true;
    }
    return refine(axis_, intensity_, variance_, start, options);
}

/// √(Σ w r² / Σ w (y − background)²) with the noise taken off.
double Calibrator::unexplained(const RefinementResult& result) const {
    double residual = 0, net = 0;
    for (std::size_t k = 0; k < axis_.size(); ++k) {
        if (std::isfinite(intensity_[k]) && variance_[k] > 0) {
            const double r = intensity_[k] - result.calculated[k];
            const double s = intensity_[k] - result.background[k];
            residual += r * r / variance_[k] - 1;
            net += s * s / variance_[k] - 1;
        }
    }
    return net > 0 ? std::sqrt(std::max(residual, 0.0) / net) : 1;
}

void Calibrator::check(const RefinementResult& result) const {
    const std::string& name = standard_.name();
    const auto because = [&] {
        return result.message.empty() ? std::string() : " (" + result.message + ")";
    };
    if (result.status == FitStatus::no_signal) {
        throw Error(fmt::format("the lines of {} are not in the pattern: check standard, "
                                "wavelength and distance",
                                name));
    }
    if (result.status == FitStatus::masked) {
        throw Error(result.message);
    }
    const double left = unexplained(result);
    if (left > max_unexplained) {
        throw Error(fmt::format(
            "the pattern is not one of {} at this wavelength and distance: {:.0f} % of the net "
            "intensity (weighted) is left unexplained; check standard, wavelength and distance",
            name, 100 * left));
    }
    if (result.status == FitStatus::not_converged) {
        throw Error(fmt::format("the fit of {} did not converge{}", name, because()));
    }
}

/// Whether the line intensities are taken from the pattern.
void Calibrator::choose_intensities(const PatternModel& model) {
    if (options_.intensities == IntensitySource::extracted) {
        result_.extracted = true;
    } else if (options_.intensities == IntensitySource::automatic) {
        const auto first = fit(model);
        const double r_bragg = first.phases.empty() ? std::nan("") : first.phases[0].r_bragg;
        if (!(r_bragg <= poor_intensities)) {
            result_.extracted = true;
            result_.notes.push_back(fmt::format(
                "the structure's intensities do not fit (R_Bragg {:.2f}: texture, coarse grains "
                "or background removal): they are extracted from the pattern instead",
                r_bragg));
        }
    }
}

/// All profile terms free, but for one that the range cannot tell from another.
void Calibrator::start_profile(PatternModel& model) {
    auto& terms = result_.profile;
    const char* const names[] = {"U", "V", "W", "X", "Y", "Z"};
    for (std::size_t i = 0; i < terms.size(); ++i) {
        terms[i].name = names[i];
        terms[i].unit = i < 3 ? "deg^2" : "deg";
        Parameter& p = profile_parameter(model, i);
        p.refine = true;
        if (i != 1) {
            p.lower = 0;
        }
    }
    const auto centres = axis_.two_theta();
    const double secant_low = 1 / std::cos(radians(centres.front() / 2));
    const double secant_high = 1 / std::cos(radians(centres.back() / 2));
    if (secant_high / secant_low - 1 < min_variation) {
        drop(model, 5,
             fmt::format("1/cos(theta) varies by {:.2g} % over the range: X and Z are one "
                         "parameter there",
                         100 * (secant_high / secant_low - 1)));
    }
}

Calibrator::Dropped Calibrator::least_significant(PatternModel& model) const {
    // last to go: W, X; first: what is hardest to tell
    constexpr std::array<std::size_t, 6> order{5, 1, 4, 0, 3, 2};
    Dropped worst;
    std::size_t left = 0;
    double least = min_significance;
    for (const std::size_t i : order) {
        if (!profile_parameter(model, i).refine) {
            continue;
        }
        ++left;
        const auto& refined = result_.fit.parameters;
        const auto found = std::find_if(refined.begin(), refined.end(), [&](const auto& p) {
            return p.name == result_.profile[i].name;
        });
        const double value = found->value, esd = found->esd;
        const bool blind = !std::isfinite(esd);
        const double significance =
            found->at_bound || blind || value == 0 ? 0 : std::abs(value) / esd;
        if (significance < least) {
            least = significance;
            worst.term = i;
            worst.reason = found->at_bound || value == 0 ? "at its least value, 0"
                           : blind                       ? "not determined by the data"
                                   : fmt::format("{:.2g} with an e.s.d. of {:.2g}", value, esd);
        }
    }
    return left == 1 ? Dropped() : worst;
}

void Calibrator::drop(PatternModel& model, std::size_t term, const std::string& reason) {
    profile_parameter(model, term) = Parameter{};
    result_.profile[term].reason = reason;
}

/// Fits and drops the least significant profile term until all that are left are significant.
void Calibrator::reduce_profile(PatternModel& model) {
    start_profile(model);
    while (true) {
        result_.fit = fit(model);
        check(result_.fit);
        const Dropped worst = least_significant(model);
        if (worst.term == 6) {
            break;
        }
        const PatternModel refined = result_.fit.model;
        model.instrument = refined.instrument;
        model.wavelength = refined.wavelength;
        model.displacement = refined.displacement;
        model.zero = refined.zero;
        model.phases[0].cell = refined.phases[0].cell;
        model.phases[0].b_overall = refined.phases[0].b_overall;
        drop(model, worst.term, worst.reason);
    }
}

/// The highest residual away from all lines.
void Calibrator::find_foreign_peaks() {
    constexpr double clear = 3; // FWHM from any line
    const auto& fit = result_.fit;
    double highest = 0, strange = 0, place = 0;
    for (std::size_t k = 1; k + 1 < axis_.size(); ++k) {
        const double angle = axis_.two_theta()[k];
        if (!std::isfinite(intensity_[k]) || !(variance_[k] > 0)) {
            continue;
        }
        highest = std::max(highest, intensity_[k] - fit.background[k]);
        const double residual = intensity_[k] - fit.calculated[k];
        const double reach =
            clear * line_fwhm(result_.instrument(), angle, result_.wavelength.value);
        if (residual > strange && residual > 5 * std::sqrt(variance_[k]) &&
            std::none_of(fit.lines.begin(), fit.lines.end(), [&](const PatternLine& line) {
                return std::abs(line.two_theta - angle) < reach;
            })) {
            strange = residual;
            place = angle;
        }
    }
    const std::string text =
        fmt::format("the peak at {:.3f} deg, {:.0f} % as high as the highest, is no line of {}",
                    place, 100 * strange / highest, standard_.name());
    if (strange > strange_peak * highest) {
        throw Error(text + ": check standard, wavelength and distance, or leave this part of the "
                           "pattern out");
    }
    if (strange > foreign_peak * highest) {
        result_.notes.push_back(text);
    }
}

void Calibrator::collect() {
    const auto& fit = result_.fit;
    const auto esd_of = [&](const std::string& name) {
        const auto found = std::find_if(fit.parameters.begin(), fit.parameters.end(),
                                        [&](const auto& p) { return p.name == name; });
        return found != fit.parameters.end() ? std::optional(found->esd) : std::nullopt;
    };
    const auto& instrument = fit.model.instrument;
    const Parameter* const parameters[] = {&instrument.u, &instrument.v, &instrument.w,
                                           &instrument.x, &instrument.y, &instrument.z};
    for (std::size_t i = 0; i < result_.profile.size(); ++i) {
        auto& term = result_.profile[i];
        term.value = parameters[i]->value;
        term.refined = parameters[i]->refine;
        term.esd = esd_of(term.name).value_or(0);
    }
    const auto set = [&](CalibratedValue& target, double value, const std::string& name) {
        const auto esd = esd_of(name);
        target = {value, esd.value_or(0), esd.has_value()};
    };
    set(result_.wavelength, fit.model.wavelength.value, "wavelength");
    set(result_.zero, fit.model.zero.value, "zero");
    // r = D tan 2θ was turned into an angle with the nominal distance D₀: tan 2θ' = (D / D₀) tan 2θ
    set(result_.distance, options_.distance - fit.model.displacement.value, "displacement");
    const PhaseResult& phase = fit.phases[0];
    for (std::size_t i = 0; i < phase.cell.size(); ++i) {
        const bool refined = options_.scale == RadialScale::cell;
        result_.cell.push_back({phase.cell[i], refined ? phase.cell_esd[i] : 0, refined});
    }
    if (options_.scale == RadialScale::cell) {
        result_.cell_ppm =
            1e6 * (std::cbrt(phase.unit_cell.volume() / standard_.cell().volume()) - 1);
        double sum = 0;
        for (std::size_t i = 0; i < phase.cell.size(); ++i) {
            sum += std::pow(phase.cell_esd[i] / phase.cell[i], 2);
        }
        result_.cell_ppm_esd = 1e6 * std::sqrt(sum / static_cast<double>(phase.cell.size()));
    }
}

/// The guard against combinations that move all lines alike.
void Calibrator::note_correlations() {
    const auto& fit = result_.fit;
    const auto& names = fit.parameters;
    const auto place = [&](const std::string& name) {
        return std::find_if(names.begin(), names.end(),
                            [&](const auto& p) { return p.name == name; }) -
               names.begin();
    };
    if (!options_.refine_zero || options_.scale == RadialScale::none) {
        return;
    }
    const std::string scale = options_.scale == RadialScale::wavelength ? "wavelength"
                              : options_.scale == RadialScale::distance ? "displacement"
                                                                        : "";
    const auto zero = place("zero");
    for (std::ptrdiff_t j = 0; j < static_cast<std::ptrdiff_t>(names.size()); ++j) {
        const auto& other = names[static_cast<std::size_t>(j)].name;
        const bool is_cell = scale.empty() && other.starts_with(standard_.name() + " ") &&
                             other != standard_.name() + " scale" &&
                             other != standard_.name() + " b_overall";
        if (other != scale && !is_cell) {
            continue;
        }
        const double r = fit.correlation[static_cast<std::size_t>(zero) * names.size() +
                                         static_cast<std::size_t>(j)];
        if (std::abs(r) > max_correlated) {
            throw Error(fmt::format(
                "zero and {} cannot be refined together over this range: they move the lines "
                "alike (correlation {:.3f}); refine one of them, or use a longer range",
                other == "displacement" ? "distance" : other, r));
        }
        result_.notes.push_back(
            fmt::format("zero and {} are correlated by {:.2f}: neither is better than its e.s.d.",
                        other == "displacement" ? "distance" : other, r));
    }
}

void Calibrator::note_vanishing_width() {
    const InstrumentProfile profile = result_.instrument();
    const double turning = -profile.v / (2 * profile.u);
    const auto centres = axis_.two_theta();
    if (profile.u > 0 && turning > std::tan(radians(centres.front() / 2)) &&
        turning < std::tan(radians(centres.back() / 2)) &&
        profile.v * profile.v > 4 * profile.u * profile.w) {
        result_.notes.push_back(fmt::format("the Gaussian width vanishes at {:.2f} deg",
                                            2 * degrees(std::atan(turning))));
    }
}

Calibration Calibrator::run() {
    check_lines_in_range(axis_, standard_);
    PatternModel model = start_model();
    const double ratio = find_ratio(model);
    apply_scale(model, ratio);
    choose_intensities(model);
    reduce_profile(model);
    const auto& fit = result_.fit;
    if (fit.status == FitStatus::singular) {
        throw Error(fmt::format("the pattern does not determine the calibration: {}", fit.message));
    }
    collect();
    find_foreign_peaks();
    note_correlations();
    if (!fit.message.empty()) {
        result_.notes.push_back(fit.message);
    }
    if (result_.extracted) {
        result_.notes.push_back("e.s.d. of the widths do not contain the uncertainty of the "
                                "extracted intensities");
    }
    if (options_.single_lines) {
        fit_single_lines();
        explain_shifts();
    }
    note_vanishing_width();
    return std::move(result_);
}

InstrumentProfile Calibration::instrument() const {
    return fit.model.instrument.profile();
}

double Calibration::fwhm(double two_theta) const {
    return line_fwhm(instrument(), two_theta, wavelength.value);
}

int Calibration::worst_line() const {
    int worst = -1;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (worst < 0 || std::abs(lines[i].deviation()) >
                             std::abs(lines[static_cast<std::size_t>(worst)].deviation())) {
            worst = static_cast<int>(i);
        }
    }
    return worst;
}

Calibration calibrate(const RadialAxis& axis, std::span<const double> intensity,
                      std::span<const double> variance, const crystal::Phase& standard,
                      const CalibrationOptions& options) {
    if (intensity.size() != axis.size() || variance.size() != axis.size()) {
        throw Error(fmt::format("calibration: {} intensities and {} variances for {} channels",
                                intensity.size(), variance.size(), axis.size()));
    }
    if (options.scale == RadialScale::distance && !(options.distance > 0)) {
        throw Error("a nominal distance is needed to calibrate the distance");
    }
    if (!(options.search > 0) || options.search > 0.1) {
        throw Error(
            fmt::format("the search range must lie between 0 and 0.1, is {}", options.search));
    }
    return Calibrator(axis, intensity, variance, standard, options).run();
}

} // namespace xrdct::rietveld
