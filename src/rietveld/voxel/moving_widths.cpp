// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/units.hpp"
#include "rietveld/voxel/voxel_tables.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <utility>

namespace xrdct::rietveld {

namespace {

constexpr double least_broadening = 0.02; ///< of the instrument's width
constexpr double search_factors[] = {0.25, 0.35, 0.5, 0.7, 1.4, 2, 2.8, 4};

/// ∂FWHM_L or ∂FWHM_G [deg] of a line per unit of a width's variable.
double broadening(Width width, const CalculatedLine& line, double wavelength) {
    switch (width) {
    case Width::size:
        return line.lorentz_floored ? 0 : degrees(scherrer_constant * wavelength) / line.cosine;
    case Width::microstrain:
        return line.lorentz_floored ? 0 : degrees(4.0) * line.tangent;
    case Width::gauss_microstrain:
        break;
    }
    const double strain = degrees(4.0) * line.tangent;
    return line.gauss_floored ? 0 : strain * strain / (2 * line.gauss);
}

} // namespace

std::string_view to_string(Width width) {
    switch (width) {
    case Width::size:
        return "size";
    case Width::microstrain:
        return "microstrain";
    case Width::gauss_microstrain:
        break;
    }
    return "gauss_microstrain";
}

double width_variable(Width width, double value) {
    return width == Width::size                ? 1 / value
           : width == Width::gauss_microstrain ? value * value
                                               : value;
}

double width_value(Width width, double variable) {
    return width == Width::size                ? 1 / variable
           : width == Width::gauss_microstrain ? std::sqrt(variable)
                                               : variable;
}

Parameter& width_parameter(PhaseModel& phase, Width width) {
    return width == Width::size                ? phase.size
           : width == Width::gauss_microstrain ? phase.gauss_microstrain
                                               : phase.microstrain;
}

/// Adds the widths of a phase to its mover, with bounds from what the instrument adds to its
/// strongest line.
void VoxelTables::add_widths(Mover& mover) {
    const auto& moves = phase_widths[static_cast<std::size_t>(mover.phase)];
    PhaseModel phase = model.phases[static_cast<std::size_t>(mover.phase)];
    PhaseModel sharp = phase;
    sharp.size.value = infinite_size;
    sharp.microstrain.value = sharp.gauss_microstrain.value = 0;
    const LineCalculator lines(model, sharp, wavelength, width_floor(axis));
    CalculatedLine line, strongest;
    for (const crystal::PowderLine& each : calculator.reflections(mover.phase)) {
        if (lines.calculate(each, line) && line.position >= axis.edges().front() &&
            line.position <= axis.edges().back() && line.intensity > strongest.intensity) {
            strongest = line;
        }
    }
    if (!(strongest.intensity > 0)) {
        throw Error(fmt::format(
            "voxel fit: '{}' has no line on the axis that could tell its widths", phase.name));
    }
    const double channel = 20 * width_floor(axis);
    const double instrument = std::max(strongest.profile.fwhm, channel);
    for (std::size_t w = 0; w < width_count; ++w) {
        if (!moves[w]) {
            continue;
        }
        const auto width = static_cast<Width>(w);
        const Parameter& parameter = width_parameter(phase, width);
        const double strain = degrees(4.0) * strongest.tangent;
        const double unit = width == Width::gauss_microstrain
                                ? strain * strain / instrument
                                : broadening(width, strongest, wavelength);
        const double as_wide = instrument / unit;
        double lower = parameter.lower, upper = parameter.upper;
        if (width == Width::size) {
            lower = std::isfinite(parameter.upper) ? 1 / parameter.upper : 0;
            upper = 1 / std::max(parameter.lower, options.least_size);
        } else {
            lower = width_variable(width, std::max(lower, 0.0));
            upper = width_variable(width, upper);
        }
        // Gaussians add as squares.
        lower = std::max(lower, as_wide * least_broadening *
                                    (width == Width::gauss_microstrain ? least_broadening : 1));
        upper = std::max(upper, 2 * lower);
        mover.widths.push_back(width);
        mover.instrument.push_back(as_wide);
        mover.lower.push_back(lower);
        mover.upper.push_back(upper);
        mover.start.push_back(std::clamp(width_variable(width, parameter.value), lower, upper));
        mover.largest_step.push_back(upper - lower);
    }
}

WideScratch VoxelTables::wide_scratch(const Mover& mover) const {
    WideScratch scratch;
    if (mover.widths.empty()) {
        return scratch;
    }
    scratch.phase =
        std::make_unique<PhaseModel>(model.phases[static_cast<std::size_t>(mover.phase)]);
    scratch.calculators.reserve(2);
    scratch.calculators.emplace_back(model, *scratch.phase, wavelength, width_floor(axis));
    if (model.second) {
        scratch.calculators.emplace_back(model, *scratch.phase, model.second->wavelength,
                                         width_floor(axis));
    }
    scratch.far.emplace_back(shapes, mover.size() + 1);
    return scratch;
}

namespace {

/// Factors and derivatives of a line of the wavelength `lambda`, `amplitude` times as bright;
/// `moved` has its Bragg angle's derivatives with the mover's cell parameters.
WidePlace place_of(const Mover& mover, const CalculatedLine& line, double lambda, double amplitude,
                   double damping, const double* moved, WideFactors& factors) {
    const PseudoVoigt& profile = line.profile;
    const double area = amplitude * line.intensity;
    WidePlace place;
    place.position = line.position;
    place.fwhm = profile.fwhm;
    place.mixing = profile.mixing;
    place.amplitude = area;
    factors.set(0, 0, area, profile.mixing, 0, 0, 0);
    const std::size_t cells = mover.without_widths();
    for (std::size_t j = 0; j < cells; ++j) {
        place.moved[j] = moved[j] * line.position_slope;
        place.widened[j] = moved[j] * line.fwhm_slope;
        factors.set(j + 1, area, moved[j] * (amplitude * line.intensity_slope + damping * area),
                    profile.mixing, moved[j] * line.mixing_slope, place.moved[j], place.widened[j]);
    }
    for (std::size_t w = 0; w < mover.widths.size(); ++w) {
        const bool gauss = mover.widths[w] == Width::gauss_microstrain;
        const double slope = broadening(mover.widths[w], line, lambda);
        const double widened = slope * (gauss ? profile.fwhm_gauss : profile.fwhm_lorentz);
        place.widened[cells + w] = widened;
        factors.set(cells + w + 1, area, 0, profile.mixing,
                    slope * (gauss ? profile.mixing_gauss : profile.mixing_lorentz), 0, widened);
    }
    return place;
}

} // namespace

/// Adds the last of the lines to the targets.
void VoxelTables::add_wide(WideScratch& scratch, const WideFactors& factors, std::size_t count,
                           float* const* targets) const {
    const WidePlace& place = scratch.places.back();
    if (place.mixing > 0) {
        shapes.add_lorentz(place.position, place.fwhm, {factors.lorentz.data(), count}, targets,
                           &scratch.far.front());
    }
    if (place.mixing < 1) {
        shapes.add_gauss(place.position, place.fwhm, {factors.gauss.data(), count}, targets);
    }
}

void VoxelTables::build_wide(const Mover& mover, ReciprocalMetric& metric, const double* values,
                             float* pattern, float* const* derivatives,
                             WideScratch& scratch) const {
    const std::size_t m = mover.size(), cells = mover.without_widths();
    std::array<float*, most_moving + 1> targets{pattern};
    std::copy_n(derivatives, m, targets.begin() + 1);
    for (std::size_t j = 0; j <= m; ++j) {
        std::memset(targets[j], 0, stride * sizeof(float));
    }
    std::array<double, 6> cell{}, slopes{}, moved{};
    std::copy(mover.cell.begin(), mover.cell.end(), cell.begin());
    for (std::size_t j = 0; j < cells; ++j) {
        cell[mover.which[j]] = values[j];
    }
    metric.set({cell.data(), mover.cell.size()});
    PhaseModel& phase = *scratch.phase;
    for (std::size_t w = 0; w < mover.widths.size(); ++w) {
        width_parameter(phase, mover.widths[w]).value =
            width_value(mover.widths[w], values[cells + w]);
    }
    const double factor = columns[mover.column].factor;
    const auto& reflections = calculator.reflections(mover.phase);
    scratch.places.clear();
    CalculatedLine line;
    WideFactors factors;
    for (std::size_t l = 0; l < reflections.size(); ++l) {
        const double inverse = metric.inverse_d_squared(reflections[l].hkl, slopes.data());
        const double line_factor = factor * phase.line_factor(l);
        for (std::size_t source = 0; source < scratch.calculators.size(); ++source) {
            if (!(inverse > 0) || !scratch.calculators[source].calculate_at(
                                      std::sqrt(inverse), reflections[l].intensity, line)) {
                continue;
            }
            const double reach = model.profile_range * line.profile.fwhm;
            if (line.position - reach > axis.edges().back() ||
                line.position + reach < axis.edges().front()) {
                continue;
            }
            for (std::size_t j = 0; j < cells; ++j) {
                moved[j] = line.bragg_slope * slopes[mover.which[j]];
            }
            const bool first = source == 0;
            scratch.places.push_back(
                place_of(mover, line, first ? wavelength : model.second->wavelength,
                         first ? line_factor : line_factor * model.second->ratio,
                         -0.5 * phase.b_overall.value / line.bragg_slope, moved.data(), factors));
            add_wide(scratch, factors, m + 1, targets.data());
        }
    }
    shapes.add_far(scratch.far.front(), targets.data());
    for (std::size_t j = 0; j <= m; ++j) {
        std::fill(targets[j] + n, targets[j] + stride, 0.0f);
    }
}

/// Compares patterns between the bounds with exact ones. Collective over the team.
void VoxelTables::check_wide(const Mover& mover, const ReciprocalMetric& prototype,
                             const SharedMemoryTeam& team) {
    constexpr std::size_t places = 9;
    SharedArray<double> errors;
    errors.resize(team, places);
    team.run_and_sync([&] {
        ReciprocalMetric metric = prototype;
        WideScratch scratch = wide_scratch(mover);
        Rows rows(mover.size() + 1, n);
        std::array<float*, most_moving> derivatives{};
        for (std::size_t j = 0; j < mover.size(); ++j) {
            derivatives[j] = rows[j + 1];
        }
        std::vector<double> values(mover.size()), exact(n);
        for (std::size_t i = 0; i < places; ++i) {
            if (!team.owns(i)) {
                continue;
            }
            const double part = static_cast<double>(i) / (places - 1);
            PatternModel trial = model;
            PhaseModel& phase = trial.phases[static_cast<std::size_t>(mover.phase)];
            phase.scale.value = 1;
            for (std::size_t j = 0; j < mover.without_widths(); ++j) {
                values[j] = mover.lower[j] +
                            (mover.upper[j] - mover.lower[j]) * std::fmod(part * 3 + 0.37, 1.0);
                phase.cell[mover.which[j]].value = values[j];
            }
            for (std::size_t j = mover.without_widths(); j < mover.size(); ++j) {
                const Width width = mover.widths[j - mover.without_widths()];
                values[j] = mover.lower[j] * std::pow(mover.upper[j] / mover.lower[j], part);
                width_parameter(phase, width).value = width_value(width, values[j]);
            }
            build_wide(mover, metric, values.data(), rows[0], derivatives.data(), scratch);
            calculator.evaluate_phase(trial, static_cast<std::size_t>(mover.phase), exact);
            double highest = 0, error = 0;
            for (std::size_t k = 0; k < n; ++k) {
                const double wanted = exact[k] * columns[mover.column].factor;
                highest = std::max(highest, wanted);
                error = std::max(error, std::abs(static_cast<double>(rows[0][k]) - wanted));
            }
            errors[i] = highest > 0 ? error / highest : 0;
        }
    });
    interpolation_error =
        std::max(interpolation_error, *std::max_element(errors.begin(), errors.end()));
}

/// Widths for the coarse search, the cell at its start.
void VoxelTables::list_width_search(Mover& mover) const {
    for (const double factor : search_factors) {
        if (mover.widths.empty()) {
            return;
        }
        std::vector<double> values = mover.start;
        for (std::size_t w = 0; w < mover.widths.size(); ++w) {
            const std::size_t j = mover.without_widths() + w;
            values[j] =
                std::clamp(factor * mover.start[j] + (factor - 1) * 0.25 * mover.instrument[w],
                           mover.lower[j], mover.upper[j]);
        }
        mover.search_values.insert(mover.search_values.end(), values.begin(), values.end());
        ++mover.search_count;
    }
}

} // namespace xrdct::rietveld
