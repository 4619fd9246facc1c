// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/pattern_model.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/march_dollase.hpp"
#include "rietveld/model/line_calculator.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <set>

namespace xrdct::rietveld {

namespace {

/// Lines weaker than this fraction of the strongest (LP included) are left out of a list.
constexpr double weakest_line = 1e-6;

void check_parameter(const std::string& name, const Parameter& parameter) {
    if (std::isnan(parameter.value) || std::isnan(parameter.lower) || std::isnan(parameter.upper)) {
        throw Error(fmt::format("parameter '{}' is not a number", name));
    }
    if (parameter.lower > parameter.upper) {
        throw Error(fmt::format("parameter '{}': lower bound {} exceeds upper bound {}", name,
                                parameter.lower, parameter.upper));
    }
    if (parameter.value < parameter.lower || parameter.value > parameter.upper) {
        throw Error(fmt::format("parameter '{}': value {} lies outside its bounds {} … {}", name,
                                parameter.value, parameter.lower, parameter.upper));
    }
}

void check_source(const RadialAxis& axis, const PatternModel& model) {
    if (model.wavelength.value < 0) {
        throw Error(fmt::format("wavelength is {} angstrom, expected a positive number",
                                model.wavelength.value));
    }
    if (model.wavelength.refine && model.wavelength.value <= 0) {
        throw Error("a refined wavelength needs a start value");
    }
    if (model.second) {
        if (!(model.second->wavelength > 0) || !(model.second->ratio >= 0)) {
            throw Error("the second wavelength must be positive and its ratio not negative");
        }
        if (model.wavelength.refine) {
            throw Error("the wavelength cannot be refined together with a second wavelength");
        }
    }
    if ((model.displacement.refine || model.displacement.value != 0) && !(model.distance > 0)) {
        throw Error("a sample displacement needs the distance (of the detector, or the goniometer "
                    "radius), which is not set");
    }
    if (model.geometry == DiffractionGeometry::area_detector && !model.solid_angle_corrected &&
        axis.two_theta().back() >= 90) {
        throw Error("a flat area detector normal to the beam ends below two_theta = 90 deg");
    }
    if (!(model.polarisation >= 0)) {
        throw Error("the polarisation constant must not be negative");
    }
    if (!(model.profile_range >= 4)) {
        throw Error("the profile range must be at least 4 FWHM");
    }
}

void check_depth(const PatternModel& model, const PhaseModel& phase) {
    if (!phase.depth.refine && phase.depth.value == 0) {
        return;
    }
    if (model.geometry != DiffractionGeometry::area_detector) {
        throw Error(
            fmt::format("phase '{}': a depth along the beam needs an area detector", phase.name));
    }
    if (!(model.distance > 0)) {
        throw Error(
            fmt::format("phase '{}': a depth needs the distance to the detector, which is not set",
                        phase.name));
    }
    if (!(std::abs(phase.depth.value) < 0.5 * model.distance)) {
        throw Error(
            fmt::format("phase '{}': a depth of {} mm is not small against the distance, {} mm",
                        phase.name, phase.depth.value, model.distance));
    }
}

void check_phase(const PatternModel& model, const PhaseModel& phase, std::set<std::string>& names) {
    if (phase.name.empty()) {
        throw Error("a phase has no name");
    }
    if (!names.insert(phase.name).second) {
        throw Error(fmt::format("the name '{}' is given to two phases or peaks", phase.name));
    }
    if (phase.cell.size() != phase.phase.free_parameters().size()) {
        throw Error(fmt::format("phase '{}': {} cell parameters, expected {}", phase.name,
                                phase.cell.size(), phase.phase.free_parameters().size()));
    }
    for (const double factor : phase.line_factors) {
        if (!(factor >= 0) || !std::isfinite(factor)) {
            throw Error(
                fmt::format("phase '{}': a line factor is negative or not finite", phase.name));
        }
    }
    check_depth(model, phase);
    if (!(phase.size.value > 0)) {
        throw Error(fmt::format("phase '{}': the size must be positive", phase.name));
    }
}

/// Throws Error for what PatternCalculator's constructor says.
void check_model(const RadialAxis& axis, const PatternModel& model) {
    check_source(axis, model);
    PatternModel copy = model;
    for (const NamedParameter& entry : list_parameters(copy)) {
        check_parameter(entry.name, *entry.parameter);
    }
    std::set<std::string> names;
    for (const PhaseModel& phase : model.phases) {
        check_phase(model, phase, names);
    }
    for (const SinglePeak& peak : model.peaks) {
        if (peak.name.empty() || !names.insert(peak.name).second) {
            throw Error(
                fmt::format("the name '{}' is empty or given to two phases or peaks", peak.name));
        }
        if (!(peak.fwhm.value > 0)) {
            throw Error(fmt::format("peak '{}': fwhm must be positive", peak.name));
        }
    }
}

/// Factors Σ_h harmonics[h] m_2h(r) of lines with these moments.
std::vector<double> ring_factors(const std::vector<std::vector<double>>& moments, double r,
                                 std::span<const double> harmonics) {
    // Tables ask for many patterns with one r.
    thread_local double last = 0;
    thread_local std::vector<double> coefficients;
    if (r != last) {
        coefficients = crystal::march_coefficients(r);
        last = r;
    }
    const auto weights = crystal::ring_weights(coefficients, harmonics);
    std::vector<double> factors;
    for (const auto& of_line : moments)
        factors.push_back(std::inner_product(weights.begin(), weights.end(), of_line.begin(), 0.0));
    return factors;
}

/// The structure knows its own cell; a model cell that is larger has shorter d in units of it.
double stretch(const PhaseModel& phase) {
    double least = 1;
    const crystal::UnitCell own = phase.phase.cell(), now = phase.unit_cell();
    for (const double ratio : {own.a / now.a, own.b / now.b, own.c / now.c}) {
        least = std::min(least, ratio);
    }
    return least;
}

/// Intensity of each line at the model's cell, 0 for lines out of reach. Throws Error when none
/// lies on the axis and for widths that vanish.
std::vector<double> line_strengths(const RadialAxis& axis, const PatternModel& model,
                                   const PhaseModel& phase, double wavelength,
                                   const std::vector<crystal::PowderLine>& lines) {
    const LineCalculator calculator(model, phase, wavelength, width_floor(axis));
    std::vector<double> strength;
    bool in_range = false;
    CalculatedLine calculated;
    for (const crystal::PowderLine& line : lines) {
        double value = 0;
        if (calculator.calculate(line, calculated)) {
            value = calculated.intensity;
            const bool inside = calculated.position >= axis.edges().front() &&
                                calculated.position <= axis.edges().back();
            if (inside && value > 0) {
                in_range = true;
                if (calculated.profile.fwhm < 1.5 * width_floor(axis)) {
                    throw Error(fmt::format(
                        "phase '{}': the peak width vanishes at two_theta = {:.3f} deg; give "
                        "the instrument's profile or a size",
                        phase.name, calculated.position));
                }
            }
        }
        strength.push_back(value);
    }
    if (!in_range) {
        throw Error(fmt::format("phase '{}' has no line between {:.3f} and {:.3f} deg two_theta",
                                phase.name, axis.edges().front(), axis.edges().back()));
    }
    return strength;
}

constexpr std::size_t left_out = std::numeric_limits<std::size_t>::max();

/// The lines that count; `place` takes the index of each among them, or left_out.
std::vector<crystal::PowderLine> strong_lines(const std::vector<crystal::PowderLine>& lines,
                                              const std::vector<double>& strength,
                                              std::vector<std::size_t>& place) {
    double strongest = 0;
    for (const double value : strength) {
        strongest = std::max(strongest, value);
    }
    std::vector<crystal::PowderLine> kept;
    place.assign(lines.size(), left_out);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        // Lines beyond the reach of the wavelength at this cell may enter with another.
        if (strength[i] > weakest_line * strongest ||
            (strength[i] == 0 && lines[i].intensity > 0)) {
            place[i] = kept.size();
            kept.push_back(lines[i]);
        }
    }
    return kept;
}

/// Moments [line][term] of the textured phase's lines: the mean of those of the families that
/// coincide, weighted with their intensities.
std::vector<std::vector<double>> line_moments(const PhaseModel& phase,
                                              const std::vector<crystal::Reflection>& families,
                                              const std::vector<std::size_t>& line_of,
                                              const std::vector<std::size_t>& place,
                                              const std::vector<crystal::PowderLine>& kept) {
    const crystal::UnitCell cell = phase.unit_cell();
    std::vector<std::vector<double>> moments(kept.size(),
                                             std::vector<double>(crystal::march_terms, 0.0));
    for (std::size_t i = 0; i < families.size(); ++i) {
        const std::size_t line = place[line_of[i]];
        if (line == left_out)
            continue;
        const double share =
            families[i].multiplicity * families[i].structure_factor_squared / kept[line].intensity;
        const auto of_family = axis_moments(phase.phase, cell, families[i].hkl, phase.texture.axis);
        for (std::size_t term = 0; term < crystal::march_terms; ++term)
            moments[line][term] += share * of_family[term];
    }
    return moments;
}

} // namespace

PatternCalculator::PatternCalculator(const RadialAxis& axis, const PatternModel& model,
                                     double cell_margin)
    : axis_(axis) {
    check_model(axis, model);
    const double wavelength = model_wavelength(axis, model);
    double shortest = wavelength;
    if (model.second) {
        shortest = std::min(shortest, model.second->wavelength);
    }
    const double largest_angle = std::min(axis.edges()[axis.size()], 179.9);
    const double largest_sine = std::min(std::sin(radians(largest_angle) / 2) * 1.01 + 1e-4, 1.0);
    crystal::ScatteringOptions scattering;
    scattering.energy = model.anomalous ? energy_from_wavelength(wavelength) : 0;
    for (const PhaseModel& phase : model.phases) {
        const double d_min = shortest / (2 * largest_sine) * stretch(phase) / (1 + cell_margin);
        add_lines(model, phase, phase.phase.reflections(d_min, scattering));
    }
}

void PatternCalculator::add_lines(const PatternModel& model, const PhaseModel& phase,
                                  const std::vector<crystal::Reflection>& families) {
    std::vector<std::size_t> line_of, place;
    const auto lines =
        merge_coincident(families, phase.phase.crystal_system(), phase.phase.unique_axis(),
                         phase.texture.any() ? &line_of : nullptr);
    const auto strength =
        line_strengths(axis_, model, phase, model_wavelength(axis_, model), lines);
    auto kept = strong_lines(lines, strength, place);
    Texture texture;
    texture.made = phase.texture;
    if (phase.texture.any()) {
        texture.moments = line_moments(phase, families, line_of, place, kept);
        try {
            texture.factors =
                ring_factors(texture.moments, phase.texture.r, phase.texture.harmonics);
        } catch (const Error& error) {
            throw Error(fmt::format("phase '{}': {}", phase.name, error.what()));
        }
        for (std::size_t line = 0; line < kept.size(); ++line)
            kept[line].intensity *= texture.factors[line];
    }
    textures_.push_back(std::move(texture));
    lines_.push_back(std::move(kept));
}

std::vector<double> PatternCalculator::texture_factors(const PhaseModel& phase,
                                                       std::size_t index) const {
    const Texture& texture = textures_[index];
    if (phase.texture == texture.made) {
        return {};
    }
    if (!texture.made.any() || phase.texture.axis != texture.made.axis) {
        throw Error(fmt::format("phase '{}': the axis of its texture is not the one the calculator "
                                "was made for",
                                phase.name));
    }
    auto factors = ring_factors(texture.moments, phase.texture.r, phase.texture.harmonics);
    for (std::size_t line = 0; line < factors.size(); ++line) {
        factors[line] /= texture.factors[line];
    }
    return factors;
}

std::vector<std::vector<double>> PatternCalculator::ring_harmonics(std::size_t phase, double r,
                                                                   std::size_t count) const {
    const Texture& texture = textures_.at(phase);
    if (!texture.made.any()) {
        throw Error("a phase without texture has no harmonics");
    }
    std::vector<std::vector<double>> result(texture.moments.size());
    for (std::size_t h = 0; h < count; ++h) {
        std::vector<double> only(h + 1, 0.0);
        only[h] = 1;
        const auto factors = ring_factors(texture.moments, r, only);
        for (std::size_t line = 0; line < factors.size(); ++line) {
            result[line].push_back(factors[line]);
        }
    }
    return result;
}

} // namespace xrdct::rietveld
