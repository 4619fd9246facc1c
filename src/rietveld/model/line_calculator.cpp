// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/line_calculator.hpp"

#include "base/units.hpp"

#include <cmath>

namespace xrdct::rietveld {

namespace {

struct FactorAndSlope {
    double value = 0;
    double slope = 0; ///< per deg 2θ
};

/// From the sine and cosine of θ.
FactorAndSlope lorentz_polarisation_slope(const PatternModel& model, double sine, double cosine) {
    const double k = model.polarisation;
    const double s2 = 2 * sine * cosine, c2 = 1 - 2 * sine * sine;
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
    const double theta = radians(two_theta) / 2;
    return lorentz_polarisation_slope(model, std::sin(theta), std::cos(theta)).value;
}

double apparent_two_theta(const PatternModel& model, double two_theta, double depth) {
    return apparent(model, two_theta, depth).two_theta;
}

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
    const double cosine = std::sqrt((1 - sine) * (1 + sine)), tangent = sine / cosine;
    out.inverse_d_squared = inverse_d * inverse_d;
    out.bragg = 2 * degrees(theta);
    out.bragg_slope = degrees(wavelength_ * wavelength_ / (4 * sine * cosine));
    out.bragg_wavelength = degrees(2 * tangent / wavelength_);
    const double depth = phase_.depth.value;
    const Apparent position = apparent(model_, out.bragg, depth);
    out.position = position.two_theta;
    out.position_slope = position.slope;
    out.position_displacement = position.displacement;

    const FactorAndSlope factor = lorentz_polarisation_slope(model_, sine, cosine);
    // nearer to the detector: brighter
    const double closer = depth == 0 ? 1 : model_.distance / (model_.distance - depth);
    const double damping = intensity * closer * closer *
                           std::exp(-0.5 * phase_.b_overall.value * out.inverse_d_squared);
    out.intensity = damping * factor.value;
    out.intensity_slope = damping * factor.slope;

    // peak_widths(), from what is here of the angle
    const double strain = degrees(4 * phase_.gauss_microstrain.value);
    const double gauss_squared =
        ((instrument_.u + strain * strain) * tangent + instrument_.v) * tangent + instrument_.w;
    const double size_width = degrees(scherrer_constant * wavelength_ / phase_.size.value);
    PeakWidths widths;
    // A floor far below a channel keeps the shape finite when trial widths vanish.
    out.gauss_floored = gauss_squared < width_floor_ * width_floor_;
    widths.gauss = out.gauss_floored ? width_floor_ : std::sqrt(gauss_squared);
    widths.lorentz = (instrument_.x + size_width) / cosine +
                     (instrument_.y + degrees(4 * phase_.microstrain.value)) * tangent +
                     instrument_.z;
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

} // namespace xrdct::rietveld
