#include "rietveld/model/pattern_model.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/march_dollase.hpp"
#include "rietveld/model/line_calculator.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
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

double cell_value(const crystal::UnitCell& cell, crystal::CellParameter parameter) {
    switch (parameter) {
    case crystal::CellParameter::a:
        return cell.a;
    case crystal::CellParameter::b:
        return cell.b;
    case crystal::CellParameter::c:
        return cell.c;
    case crystal::CellParameter::alpha:
        return cell.alpha;
    case crystal::CellParameter::beta:
        return cell.beta;
    case crystal::CellParameter::gamma:
        return cell.gamma;
    }
    return 0;
}

} // namespace

PhaseModel::PhaseModel(crystal::Phase structure, std::string phase_name)
    : name(std::move(phase_name)), phase(std::move(structure)) {
    if (name.empty()) {
        name = phase.name();
    }
    for (const crystal::CellParameter parameter : phase.free_parameters()) {
        const double value = cell_value(phase.cell(), parameter);
        const bool length = parameter <= crystal::CellParameter::c;
        cell.push_back({value, false, length ? 0.5 * value : 20, length ? 2 * value : 160});
    }
}

void PhaseModel::refine_cell(bool refine) {
    for (Parameter& parameter : cell) {
        parameter.refine = refine;
    }
}

crystal::UnitCell PhaseModel::unit_cell() const {
    std::vector<double> values;
    for (const Parameter& parameter : cell) {
        values.push_back(parameter.value);
    }
    return cell_from_independent(phase.crystal_system(), values, phase.unique_axis());
}

InstrumentParameters::InstrumentParameters(const InstrumentProfile& profile) {
    u.value = profile.u;
    v.value = profile.v;
    w.value = profile.w;
    x.value = profile.x;
    y.value = profile.y;
    z.value = profile.z;
}

InstrumentProfile InstrumentParameters::profile() const {
    return {u.value, v.value, w.value, x.value, y.value, z.value};
}

void PatternModel::set_background(std::size_t terms) {
    background.assign(terms, Parameter{0, true});
}

std::size_t PatternModel::find_phase(const std::string& name) const {
    for (std::size_t i = 0; i < phases.size(); ++i) {
        if (phases[i].name == name) {
            return i;
        }
    }
    throw Error(fmt::format("there is no phase '{}' in the model", name));
}

std::vector<NamedParameter> list_parameters(PatternModel& model) {
    std::vector<NamedParameter> list;
    list.push_back({"wavelength", "angstrom", -1, &model.wavelength});
    list.push_back({"zero", "deg", -1, &model.zero});
    list.push_back({"displacement", "mm", -1, &model.displacement});
    auto& instrument = model.instrument;
    list.push_back({"U", "deg^2", -1, &instrument.u});
    list.push_back({"V", "deg^2", -1, &instrument.v});
    list.push_back({"W", "deg^2", -1, &instrument.w});
    list.push_back({"X", "deg", -1, &instrument.x});
    list.push_back({"Y", "deg", -1, &instrument.y});
    list.push_back({"Z", "deg", -1, &instrument.z});
    for (std::size_t i = 0; i < model.phases.size(); ++i) {
        PhaseModel& phase = model.phases[i];
        const int index = static_cast<int>(i);
        list.push_back({phase.name + " scale", "", index, &phase.scale});
        const auto free = phase.phase.free_parameters();
        for (std::size_t j = 0; j < phase.cell.size(); ++j) {
            list.push_back({fmt::format("{} {}", phase.name, to_string(free[j])),
                            free[j] <= crystal::CellParameter::c ? "angstrom" : "deg", index,
                            &phase.cell[j]});
        }
        list.push_back({phase.name + " size", "angstrom", index, &phase.size});
        list.push_back({phase.name + " microstrain", "", index, &phase.microstrain});
        list.push_back({phase.name + " gauss_microstrain", "", index, &phase.gauss_microstrain});
        list.push_back({phase.name + " b_overall", "angstrom^2", index, &phase.b_overall});
        list.push_back({phase.name + " depth", "mm", index, &phase.depth});
    }
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        list.push_back({fmt::format("background {}", i), "", -1, &model.background[i]});
    }
    for (SinglePeak& peak : model.peaks) {
        list.push_back({peak.name + " position", "deg", -1, &peak.position});
        list.push_back({peak.name + " fwhm", "deg", -1, &peak.fwhm});
        list.push_back({peak.name + " mixing", "", -1, &peak.mixing});
        list.push_back({peak.name + " area", "deg", -1, &peak.area});
    }
    return list;
}

namespace {

struct FactorAndSlope {
    double value = 0;
    double slope = 0; ///< per deg 2θ
};

FactorAndSlope lorentz_polarisation_slope(const PatternModel& model, double two_theta) {
    const double angle = radians(two_theta), theta = angle / 2;
    const double k = model.polarisation;
    const double c2 = std::cos(angle), s2 = std::sin(angle);
    const double sine = std::sin(theta), cosine = std::cos(theta);
    double value = (1 + k * c2 * c2) / (1 + k) / (sine * sine * cosine);
    double log_slope = -2 * k * c2 * s2 / (1 + k * c2 * c2) - cosine / sine + 0.5 * sine / cosine;
    if (!model.solid_angle_corrected) {
        value *= c2 * c2 * c2;
        log_slope -= 3 * s2 / c2;
    }
    return {value, radians(value * log_slope)};
}

struct Apparent {
    double two_theta = 0;
    double slope = 1;        ///< per deg of Bragg angle
    double displacement = 0; ///< deg per mm
};

Apparent apparent(const PatternModel& model, double two_theta, double depth) {
    Apparent result;
    result.two_theta = two_theta;
    if (model.distance > 0) {
        const double angle = radians(two_theta);
        if (model.geometry == DiffractionGeometry::area_detector) {
            const double factor = 1 - (model.displacement.value + depth) / model.distance;
            const double s = std::sin(angle), c = std::cos(angle);
            // atan2 keeps back reflections (2θ > 90°) where they are
            result.two_theta = degrees(std::atan2(factor * s, c));
            const double norm = factor * factor * s * s + c * c;
            result.slope = factor / norm;
            result.displacement = degrees(-s * c / norm / model.distance);
        } else {
            const double c = std::cos(angle / 2), s = std::sin(angle / 2);
            result.displacement = degrees(-2 * c / model.distance);
            result.two_theta += result.displacement * model.displacement.value;
            result.slope += model.displacement.value * s / model.distance;
        }
    }
    result.two_theta += model.zero.value;
    return result;
}

} // namespace

double lorentz_polarisation(const PatternModel& model, double two_theta) {
    return lorentz_polarisation_slope(model, two_theta).value;
}

double apparent_two_theta(const PatternModel& model, double two_theta, double depth) {
    return apparent(model, two_theta, depth).two_theta;
}

// ---- one phase's lines
// --------------------------------------------------------------------------------------------

ReciprocalMetric::ReciprocalMetric(const PhaseModel& phase) {
    std::vector<double> values;
    for (const Parameter& parameter : phase.cell) {
        values.push_back(parameter.value);
    }
    const crystal::CrystalSystem system = phase.phase.crystal_system();
    const char unique_axis = phase.phase.unique_axis();
    const auto six = [&](const std::vector<double>& v) {
        const crystal::UnitCell u = cell_from_independent(system, v, unique_axis);
        return std::array<double, 6>{u.a, u.b, u.c, u.alpha, u.beta, u.gamma};
    };
    offset_ = six(values);
    const auto base = offset_;
    for (std::size_t j = 0; j < values.size(); ++j) {
        auto moved = values;
        moved[j] += 1;
        const auto other = six(moved);
        std::array<double, 6> coefficient{};
        for (std::size_t i = 0; i < 6; ++i) {
            coefficient[i] = std::round(other[i] - base[i]);
            offset_[i] -= coefficient[i] * values[j];
        }
        coefficient_.push_back(coefficient);
    }
    metric_slope_.resize(values.size());
}

bool ReciprocalMetric::set(std::span<const double> values) {
    auto cell = offset_;
    for (std::size_t j = 0; j < coefficient_.size(); ++j) {
        for (std::size_t i = 0; i < 6; ++i) {
            cell[i] += coefficient_[j][i] * values[j];
        }
    }
    const auto cosine = [](double angle) { return angle == 90 ? 0.0 : std::cos(radians(angle)); };
    const double a = cell[0], b = cell[1], c = cell[2];
    const double ca = cosine(cell[3]), cb = cosine(cell[4]), cg = cosine(cell[5]);
    const double sa = std::sin(radians(cell[3])), sb = std::sin(radians(cell[4])),
                 sg = std::sin(radians(cell[5]));
    const double g[6] = {a * a, b * b, c * c, b * c * ca, a * c * cb, a * b * cg};
    const double determinant = g[0] * g[1] * g[2] + 2 * g[3] * g[4] * g[5] - g[0] * g[3] * g[3] -
                               g[1] * g[4] * g[4] - g[2] * g[5] * g[5];
    if (!(a > 0 && b > 0 && c > 0 && determinant > 1e-12 * g[0] * g[1] * g[2])) {
        return false;
    }
    reciprocal_ = {
        (g[1] * g[2] - g[3] * g[3]) / determinant, (g[0] * g[2] - g[4] * g[4]) / determinant,
        (g[0] * g[1] - g[5] * g[5]) / determinant, (g[4] * g[5] - g[0] * g[3]) / determinant,
        (g[3] * g[5] - g[1] * g[4]) / determinant, (g[3] * g[4] - g[2] * g[5]) / determinant};
    // ∂G / ∂(a … γ), angles per degree
    const double rad = pi / 180;
    const std::array<std::array<double, 6>, 6> full = {{{2 * a, 0, 0, 0, c * cb, b * cg},
                                                        {0, 2 * b, 0, c * ca, 0, a * cg},
                                                        {0, 0, 2 * c, b * ca, a * cb, 0},
                                                        {0, 0, 0, -b * c * sa * rad, 0, 0},
                                                        {0, 0, 0, 0, -a * c * sb * rad, 0},
                                                        {0, 0, 0, 0, 0, -a * b * sg * rad}}};
    for (std::size_t j = 0; j < coefficient_.size(); ++j) {
        metric_slope_[j].fill(0);
        for (std::size_t i = 0; i < 6; ++i) {
            if (coefficient_[j][i] != 0) {
                for (std::size_t k = 0; k < 6; ++k) {
                    metric_slope_[j][k] += coefficient_[j][i] * full[i][k];
                }
            }
        }
    }
    return true;
}

double ReciprocalMetric::inverse_d_squared(const crystal::Miller& hkl, double* slope) const {
    const double h = hkl[0], k = hkl[1], l = hkl[2];
    const auto& r = reciprocal_;
    const double q[3] = {r[0] * h + r[5] * k + r[4] * l, r[5] * h + r[1] * k + r[3] * l,
                         r[4] * h + r[3] * k + r[2] * l};
    if (slope != nullptr) {
        // dG* = −G* dG G*
        for (std::size_t j = 0; j < metric_slope_.size(); ++j) {
            const auto& m = metric_slope_[j];
            slope[j] = -(m[0] * q[0] * q[0] + m[1] * q[1] * q[1] + m[2] * q[2] * q[2] +
                         2 * (m[3] * q[1] * q[2] + m[4] * q[0] * q[2] + m[5] * q[0] * q[1]));
        }
    }
    return h * q[0] + k * q[1] + l * q[2];
}

LineCalculator::LineCalculator(const PatternModel& model, const PhaseModel& phase,
                               double wavelength, double width_floor)
    : model_(model), phase_(phase), wavelength_(wavelength), width_floor_(width_floor),
      instrument_(model.instrument.profile()), metric_(phase) {
    std::vector<double> values;
    for (const Parameter& parameter : phase.cell) {
        values.push_back(parameter.value);
    }
    valid_ = metric_.set(values);
}

bool LineCalculator::calculate(const crystal::PowderLine& line, CalculatedLine& out) const {
    if (!valid_) {
        return false;
    }
    out.cell_slope.resize(metric_.size());
    const double inverse = metric_.inverse_d_squared(line.hkl, out.cell_slope.data());
    return inverse > 0 && calculate_at(std::sqrt(inverse), line.intensity, out);
}

bool LineCalculator::calculate_at(double inverse_d, double intensity, CalculatedLine& out) const {
    const double sine = wavelength_ * inverse_d / 2;
    if (!(sine > 0) || sine >= 0.9999) {
        return false;
    }
    const double theta = std::asin(sine);
    const double tangent = std::tan(theta), cosine = std::cos(theta);
    out.inverse_d_squared = inverse_d * inverse_d;
    out.bragg = 2 * degrees(theta);
    out.bragg_slope = degrees(wavelength_ * wavelength_ / (4 * sine * cosine));
    out.bragg_wavelength = degrees(2 * tangent / wavelength_);
    const double depth = phase_.depth.value;
    const Apparent position = apparent(model_, out.bragg, depth);
    out.position = position.two_theta;
    out.position_slope = position.slope;
    out.position_displacement = position.displacement;

    const FactorAndSlope factor = lorentz_polarisation_slope(model_, out.bragg);
    // nearer to the detector: brighter
    const double closer = depth == 0 ? 1 : model_.distance / (model_.distance - depth);
    const double damping = intensity * closer * closer *
                           std::exp(-0.5 * phase_.b_overall.value * out.inverse_d_squared);
    out.intensity = damping * factor.value;
    out.intensity_slope = damping * factor.slope;

    PeakWidths widths = peak_widths(instrument_, out.bragg, wavelength_, phase_.size.value,
                                    phase_.microstrain.value, phase_.gauss_microstrain.value);
    const double strain = degrees(4 * phase_.gauss_microstrain.value);
    const double gauss_squared =
        ((instrument_.u + strain * strain) * tangent + instrument_.v) * tangent + instrument_.w;
    // A floor far below a channel keeps the shape finite when trial widths vanish.
    out.gauss_floored = gauss_squared < width_floor_ * width_floor_;
    if (out.gauss_floored) {
        widths.gauss = width_floor_;
    }
    out.lorentz_floored = widths.lorentz < 0;
    out.profile = pseudo_voigt(widths);
    out.tangent = tangent;
    out.cosine = cosine;
    out.gauss = widths.gauss;
    // ∂θ / ∂(2θ in deg) = rad / 2; d tan θ = (1 + tan²θ) dθ
    const double tangent_slope = (1 + tangent * tangent) * pi / 360;
    const double secant_slope = tangent / cosine * pi / 360;
    const double gauss_slope =
        out.gauss_floored ? 0
                          : (2 * (instrument_.u + strain * strain) * tangent + instrument_.v) *
                                tangent_slope / (2 * widths.gauss);
    const double size_width = degrees(scherrer_constant * wavelength_ / phase_.size.value);
    const double lorentz_slope =
        out.lorentz_floored
            ? 0
            : (instrument_.x + size_width) * secant_slope +
                  (instrument_.y + degrees(4 * phase_.microstrain.value)) * tangent_slope;
    out.fwhm_slope =
        out.profile.fwhm_gauss * gauss_slope + out.profile.fwhm_lorentz * lorentz_slope;
    out.mixing_slope =
        out.profile.mixing_gauss * gauss_slope + out.profile.mixing_lorentz * lorentz_slope;
    return true;
}

// ---- whole pattern
// ------------------------------------------------------------------------------------------------

namespace {

double width_floor(const RadialAxis& axis) {
    const auto edges = axis.edges();
    return 0.05 * (edges.back() - edges.front()) / static_cast<double>(axis.size());
}

double model_wavelength(const RadialAxis& axis, const PatternModel& model) {
    return model.wavelength.value > 0 ? model.wavelength.value : axis.wavelength();
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

/// The wavelengths of the source with their relative intensities.
std::vector<std::pair<double, double>> wavelengths(const RadialAxis& axis,
                                                   const PatternModel& model) {
    std::vector<std::pair<double, double>> list{{model_wavelength(axis, model), 1.0}};
    if (model.second) {
        list.emplace_back(model.second->wavelength, model.second->ratio);
    }
    return list;
}

} // namespace

PatternCalculator::PatternCalculator(const RadialAxis& axis, const PatternModel& model,
                                     double cell_margin)
    : axis_(axis) {
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
    PatternModel copy = model;
    for (const NamedParameter& entry : list_parameters(copy)) {
        check_parameter(entry.name, *entry.parameter);
    }
    std::set<std::string> names;
    for (const PhaseModel& phase : model.phases) {
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
        if (phase.depth.refine || phase.depth.value != 0) {
            if (model.geometry != DiffractionGeometry::area_detector) {
                throw Error(fmt::format("phase '{}': a depth along the beam needs an area detector",
                                        phase.name));
            }
            if (!(model.distance > 0)) {
                throw Error(fmt::format(
                    "phase '{}': a depth needs the distance to the detector, which is not set",
                    phase.name));
            }
            if (!(std::abs(phase.depth.value) < 0.5 * model.distance)) {
                throw Error(fmt::format(
                    "phase '{}': a depth of {} mm is not small against the distance, {} mm",
                    phase.name, phase.depth.value, model.distance));
            }
        }
        if (!(phase.size.value > 0)) {
            throw Error(fmt::format("phase '{}': the size must be positive", phase.name));
        }
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
        // The structure knows its own cell; a model cell that is larger has shorter d in units of
        // it.
        double stretch = 1;
        const crystal::UnitCell own = phase.phase.cell(), now = phase.unit_cell();
        for (const double ratio : {own.a / now.a, own.b / now.b, own.c / now.c}) {
            stretch = std::min(stretch, ratio);
        }
        const double d_min = shortest / (2 * largest_sine) * stretch / (1 + cell_margin);
        const auto families = phase.phase.reflections(d_min, scattering);
        std::vector<std::size_t> line_of;
        auto lines =
            merge_coincident(families, phase.phase.crystal_system(), phase.phase.unique_axis(),
                             phase.texture.any() ? &line_of : nullptr);
        double strongest = 0;
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
            strongest = std::max(strongest, value);
        }
        if (!in_range) {
            throw Error(
                fmt::format("phase '{}' has no line between {:.3f} and {:.3f} deg two_theta",
                            phase.name, axis.edges().front(), axis.edges().back()));
        }
        constexpr std::size_t left_out = std::numeric_limits<std::size_t>::max();
        std::vector<crystal::PowderLine> kept;
        std::vector<std::size_t> place(lines.size(), left_out);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            // Lines beyond the reach of the wavelength at this cell may enter with another.
            if (strength[i] > weakest_line * strongest ||
                (strength[i] == 0 && lines[i].intensity > 0)) {
                place[i] = kept.size();
                kept.push_back(lines[i]);
            }
        }
        Texture texture;
        texture.made = phase.texture;
        if (phase.texture.any()) {
            texture.moments.assign(kept.size(), std::vector<double>(crystal::march_terms, 0.0));
            for (std::size_t i = 0; i < families.size(); ++i) {
                const std::size_t line = place[line_of[i]];
                if (line == left_out)
                    continue;
                const double share = families[i].multiplicity *
                                     families[i].structure_factor_squared / kept[line].intensity;
                const auto moments =
                    axis_moments(phase.phase, now, families[i].hkl, phase.texture.axis);
                for (std::size_t term = 0; term < crystal::march_terms; ++term)
                    texture.moments[line][term] += share * moments[term];
            }
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
}

namespace {

/// Columns of the Jacobian by role, −1 where not wanted.
struct ColumnMap {
    std::array<int, 9> global; ///< wavelength zero displacement U V W X Y Z
    struct PhaseColumns {
        int scale = -1, size = -1, microstrain = -1, gauss = -1, b = -1, depth = -1;
        std::vector<int> cell;
        bool any = false;
    };
    std::vector<PhaseColumns> phases;
    std::vector<int> background;
    std::vector<std::array<int, 4>> peaks;
};

ColumnMap map_columns(const PatternModel& model, std::span<const std::size_t> parameters) {
    ColumnMap map;
    map.global.fill(-1);
    std::vector<int*> slots;
    for (int& slot : map.global) {
        slots.push_back(&slot);
    }
    map.phases.resize(model.phases.size());
    for (std::size_t i = 0; i < model.phases.size(); ++i) {
        auto& columns = map.phases[i];
        columns.cell.assign(model.phases[i].cell.size(), -1);
        slots.push_back(&columns.scale);
        for (int& slot : columns.cell) {
            slots.push_back(&slot);
        }
        slots.push_back(&columns.size);
        slots.push_back(&columns.microstrain);
        slots.push_back(&columns.gauss);
        slots.push_back(&columns.b);
        slots.push_back(&columns.depth);
    }
    map.background.assign(model.background.size(), -1);
    for (int& slot : map.background) {
        slots.push_back(&slot);
    }
    map.peaks.assign(model.peaks.size(), {-1, -1, -1, -1});
    for (auto& peak : map.peaks) {
        for (int& slot : peak) {
            slots.push_back(&slot);
        }
    }
    for (std::size_t j = 0; j < parameters.size(); ++j) {
        *slots.at(parameters[j]) = static_cast<int>(j);
    }
    return map;
}

/// Adds a combination of the profile's four arrays to a column.
struct Combination {
    int column = -1;
    double value = 0, position = 0, fwhm = 0, mixing = 0;
};

void accumulate(const ProfileBuffer& profile, const Combination& c, double* __restrict column) {
    const std::size_t n = profile.size();
    const double* __restrict value = profile.value.data();
    const double* __restrict position = profile.position.data();
    const double* __restrict fwhm = profile.fwhm.data();
    const double* __restrict mixing = profile.mixing.data();
    const bool shape = c.fwhm != 0 || c.mixing != 0;
    if (c.position == 0 && !shape) {
        for (std::size_t i = 0; i < n; ++i) {
            column[i] += c.value * value[i];
        }
    } else if (!shape) {
        for (std::size_t i = 0; i < n; ++i) {
            column[i] += c.value * value[i] + c.position * position[i];
        }
    } else {
        for (std::size_t i = 0; i < n; ++i) {
            column[i] += c.value * value[i] + c.position * position[i] + c.fwhm * fwhm[i] +
                         c.mixing * mixing[i];
        }
    }
}

} // namespace

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

void PatternCalculator::evaluate(const PatternModel& model, std::span<double> y) const {
    evaluate(model, {}, y, {});
}

void PatternCalculator::evaluate(const PatternModel& model, std::span<const std::size_t> parameters,
                                 std::span<double> y, std::span<double> jacobian) const {
    const std::size_t n = axis_.size();
    if (model.phases.size() != lines_.size()) {
        throw Error("the model's phases are not those the calculator was made for");
    }
    std::fill(y.begin(), y.end(), 0.0);
    std::fill(jacobian.begin(), jacobian.end(), 0.0);
    const ColumnMap map = map_columns(model, parameters);
    const auto sources = wavelengths(axis_, model);
    const double floor = width_floor(axis_);
    ProfileBuffer profile;
    CalculatedLine line;
    std::vector<Combination> combinations;
    const bool global_derivatives =
        std::any_of(map.global.begin(), map.global.end(), [](int column) { return column >= 0; });

    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const PhaseModel& phase = model.phases[p];
        const auto& columns = map.phases[p];
        const bool derivatives =
            global_derivatives || columns.size >= 0 || columns.microstrain >= 0 ||
            columns.gauss >= 0 || columns.depth >= 0 ||
            std::any_of(columns.cell.begin(), columns.cell.end(), [](int c) { return c >= 0; });
        const double scale = phase.scale.value;
        if (scale == 0 && columns.scale < 0) {
            continue;
        }
        const auto texture = texture_factors(phase, p);
        for (std::size_t source = 0; source < sources.size(); ++source) {
            const auto [wavelength, ratio] = sources[source];
            const LineCalculator calculator(model, phase, wavelength, floor);
            for (std::size_t index = 0; index < lines_[p].size(); ++index) {
                if (!calculator.calculate(lines_[p][index], line)) {
                    continue;
                }
                channel_averaged_profile(axis_, line.position, line.profile.fwhm,
                                         line.profile.mixing, model.profile_range, derivatives,
                                         profile);
                if (profile.size() == 0) {
                    continue;
                }
                const double factor =
                    phase.line_factor(index) * (texture.empty() ? 1 : texture[index]);
                const double unit = ratio * factor * line.intensity; // at scale 1
                const double amplitude = scale * unit;
                for (std::size_t i = 0; i < profile.size(); ++i) {
                    y[profile.first + i] += amplitude * profile.value[i];
                }
                if (parameters.empty()) {
                    continue;
                }
                combinations.clear();
                const auto add = [&](int column, Combination c) {
                    if (column >= 0) {
                        c.column = column;
                        combinations.push_back(c);
                    }
                };
                const auto along_gauss = [&](double slope) {
                    const double s = line.gauss_floored ? 0 : amplitude * slope;
                    return Combination{-1, 0, 0, s * line.profile.fwhm_gauss,
                                       s * line.profile.mixing_gauss};
                };
                const auto along_lorentz = [&](double slope) {
                    const double s = line.lorentz_floored ? 0 : amplitude * slope;
                    return Combination{-1, 0, 0, s * line.profile.fwhm_lorentz,
                                       s * line.profile.mixing_lorentz};
                };
                // per degree of Bragg angle
                const Combination bragg{-1, scale * ratio * factor * line.intensity_slope,
                                        amplitude * line.position_slope,
                                        amplitude * line.fwhm_slope, amplitude * line.mixing_slope};
                const auto scaled = [](Combination c, double factor) {
                    return Combination{-1, c.value * factor, c.position * factor, c.fwhm * factor,
                                       c.mixing * factor};
                };
                add(columns.scale, {-1, unit, 0, 0, 0});
                for (std::size_t j = 0; j < columns.cell.size(); ++j) {
                    if (columns.cell[j] >= 0) {
                        Combination c = scaled(bragg, line.bragg_slope * line.cell_slope[j]);
                        c.value -= 0.5 * phase.b_overall.value * amplitude * line.cell_slope[j];
                        add(columns.cell[j], c);
                    }
                }
                add(columns.size,
                    along_lorentz(degrees(scherrer_constant * wavelength / line.cosine)));
                add(columns.microstrain, along_lorentz(degrees(4 * line.tangent)));
                const double strain_rate = degrees(4 * line.tangent);
                add(columns.gauss, along_gauss(0.5 * strain_rate * strain_rate / line.gauss));
                add(columns.b, {-1, -0.5 * line.inverse_d_squared * amplitude, 0, 0, 0});
                if (columns.depth >= 0) {
                    add(columns.depth, {-1, 2 * amplitude / (model.distance - phase.depth.value),
                                        amplitude * line.position_displacement, 0, 0});
                }
                if (global_derivatives) {
                    if (map.global[0] >= 0) {
                        Combination c = scaled(bragg, line.bragg_wavelength);
                        const Combination width = along_lorentz(
                            degrees(scherrer_constant / (phase.size.value * line.cosine)));
                        c.fwhm += width.fwhm;
                        c.mixing += width.mixing;
                        add(map.global[0], c);
                    }
                    add(map.global[1], {-1, 0, amplitude, 0, 0});
                    add(map.global[2], {-1, 0, amplitude * line.position_displacement, 0, 0});
                    const double g = 0.5 / line.gauss, t = line.tangent;
                    add(map.global[3], along_gauss(t * t * g));
                    add(map.global[4], along_gauss(t * g));
                    add(map.global[5], along_gauss(g));
                    add(map.global[6], along_lorentz(1 / line.cosine));
                    add(map.global[7], along_lorentz(t));
                    add(map.global[8], along_lorentz(1));
                }
                for (const Combination& c : combinations) {
                    accumulate(profile, c,
                               jacobian.data() + static_cast<std::size_t>(c.column) * n +
                                   profile.first);
                }
            }
        }
    }

    std::vector<double> term(n);
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        const double coefficient = model.background[i].value;
        const int column = map.background[i];
        if (coefficient == 0 && column < 0) {
            continue;
        }
        chebyshev(i, term);
        for (std::size_t k = 0; k < n; ++k) {
            y[k] += coefficient * term[k];
        }
        if (column >= 0) {
            std::copy(term.begin(), term.end(),
                      jacobian.begin() + static_cast<std::ptrdiff_t>(column * n));
        }
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        const SinglePeak& peak = model.peaks[i];
        const auto& columns = map.peaks[i];
        const bool wanted = columns[0] >= 0 || columns[1] >= 0 || columns[2] >= 0;
        channel_averaged_profile(axis_, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model.profile_range, wanted, profile);
        const double area = peak.area.value;
        const auto add = [&](int column, Combination c) {
            if (column >= 0) {
                accumulate(profile, c,
                           jacobian.data() + static_cast<std::size_t>(column) * n + profile.first);
            }
        };
        for (std::size_t k = 0; k < profile.size(); ++k) {
            y[profile.first + k] += area * profile.value[k];
        }
        add(columns[0], {-1, 0, area, 0, 0});
        add(columns[1], {-1, 0, 0, area, 0});
        add(columns[2], {-1, 0, 0, 0, area});
        add(columns[3], {-1, 1, 0, 0, 0});
    }
}

void PatternCalculator::evaluate_phase(const PatternModel& model, std::size_t phase,
                                       std::span<double> y) const {
    std::fill(y.begin(), y.end(), 0.0);
    const auto texture = texture_factors(model.phases[phase], phase);
    ProfileBuffer profile;
    CalculatedLine line;
    for (const auto& [wavelength, ratio] : wavelengths(axis_, model)) {
        const LineCalculator calculator(model, model.phases[phase], wavelength, width_floor(axis_));
        for (std::size_t index = 0; index < lines_[phase].size(); ++index) {
            if (!calculator.calculate(lines_[phase][index], line)) {
                continue;
            }
            channel_averaged_profile(axis_, line.position, line.profile.fwhm, line.profile.mixing,
                                     model.profile_range, false, profile);
            const double amplitude = model.phases[phase].scale.value * ratio *
                                     model.phases[phase].line_factor(index) *
                                     (texture.empty() ? 1 : texture[index]) * line.intensity;
            for (std::size_t i = 0; i < profile.size(); ++i) {
                y[profile.first + i] += amplitude * profile.value[i];
            }
        }
    }
}

void PatternCalculator::chebyshev(std::size_t order, std::span<double> y) const {
    const auto centres = axis_.two_theta();
    const double middle = 0.5 * (centres.front() + centres.back());
    const double half = 0.5 * (centres.back() - centres.front());
    for (std::size_t k = 0; k < centres.size(); ++k) {
        const double x = (centres[k] - middle) / half;
        double previous = 1, current = x;
        for (std::size_t i = 1; i < order; ++i) {
            const double next = 2 * x * current - previous;
            previous = current;
            current = next;
        }
        y[k] = order == 0 ? 1 : current;
    }
}

void PatternCalculator::evaluate_background(const PatternModel& model, std::span<double> y) const {
    std::fill(y.begin(), y.end(), 0.0);
    std::vector<double> term(axis_.size());
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        if (model.background[i].value != 0) {
            chebyshev(i, term);
            for (std::size_t k = 0; k < term.size(); ++k) {
                y[k] += model.background[i].value * term[k];
            }
        }
    }
}

std::vector<PatternLine> PatternCalculator::lines(const PatternModel& model) const {
    std::vector<PatternLine> result;
    const double low = axis_.edges().front(), high = axis_.edges().back();
    CalculatedLine line;
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const std::size_t start = result.size();
        const auto texture = texture_factors(model.phases[p], p);
        const LineCalculator calculator(model, model.phases[p], model_wavelength(axis_, model),
                                        width_floor(axis_));
        for (std::size_t index = 0; index < lines_[p].size(); ++index) {
            const crystal::PowderLine& powder_line = lines_[p][index];
            if (calculator.calculate(powder_line, line) && line.position >= low &&
                line.position <= high) {
                result.push_back({p, powder_line.hkl, powder_line.multiplicity,
                                  1 / std::sqrt(line.inverse_d_squared), line.position,
                                  model.phases[p].scale.value * model.phases[p].line_factor(index) *
                                      (texture.empty() ? 1 : texture[index]) * line.intensity});
            }
        }
        std::sort(
            result.begin() + static_cast<std::ptrdiff_t>(start), result.end(),
            [](const PatternLine& a, const PatternLine& b) { return a.two_theta < b.two_theta; });
    }
    return result;
}

} // namespace xrdct::rietveld
