// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/units.hpp"
#include "rietveld/model/chebyshev.hpp"
#include "rietveld/model/line_calculator.hpp"
#include "rietveld/model/pattern_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace xrdct::rietveld {

namespace {

/// The wavelengths of the source with their relative intensities.
std::vector<std::pair<double, double>> wavelengths(const RadialAxis& axis,
                                                   const PatternModel& model) {
    std::vector<std::pair<double, double>> list{{model_wavelength(axis, model), 1.0}};
    if (model.second) {
        list.emplace_back(model.second->wavelength, model.second->ratio);
    }
    return list;
}

/// Columns of the Jacobian by role, −1 where not wanted.
struct ColumnMap {
    std::array<int, 9> global; ///< wavelength zero displacement U V W X Y Z
    struct PhaseColumns {
        int scale = -1, size = -1, microstrain = -1, gauss = -1, b = -1, depth = -1;
        std::vector<int> cell;
        /// Whether more than the amount of the lines is wanted.
        bool shape() const {
            return size >= 0 || microstrain >= 0 || gauss >= 0 || depth >= 0 ||
                   std::any_of(cell.begin(), cell.end(), [](int c) { return c >= 0; });
        }
    };
    std::vector<PhaseColumns> phases;
    std::vector<int> background;
    std::vector<std::array<int, 4>> peaks;

    bool any_global() const {
        return std::any_of(global.begin(), global.end(), [](int column) { return column >= 0; });
    }
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

/// Adds `factor` times a profile to a pattern.
inline void add_scaled(const ProfileBuffer& profile, double factor, std::span<double> y) {
    for (std::size_t i = 0; i < profile.size(); ++i) {
        y[profile.first + i] += factor * profile.value[i];
    }
}

/// A line in a pattern, with the factors in front of its profile.
struct ScaledLine {
    const CalculatedLine& line;
    double wavelength; ///< Å
    double unit;       ///< intensity of the line at scale 1
    double amplitude;  ///< with the scale
    double slope;      ///< of the amplitude, per degree of Bragg angle at fixed d
};

/// Lists the derivatives of one line as combinations of its profile's arrays.
class LineDerivatives {
  public:
    LineDerivatives(const PatternModel& model, const ColumnMap& map)
        : model_(model), map_(map), global_(map.any_global()) {}

    const std::vector<Combination>&
    list(const PhaseModel& phase, const ColumnMap::PhaseColumns& columns, const ScaledLine& scaled);

  private:
    void add(int column, Combination c) {
        if (column >= 0) {
            c.column = column;
            combinations_.push_back(c);
        }
    }
    static Combination along_gauss(const ScaledLine& scaled, double slope) {
        const CalculatedLine& line = scaled.line;
        const double s = line.gauss_floored ? 0 : scaled.amplitude * slope;
        return {-1, 0, 0, s * line.profile.fwhm_gauss, s * line.profile.mixing_gauss};
    }
    static Combination along_lorentz(const ScaledLine& scaled, double slope) {
        const CalculatedLine& line = scaled.line;
        const double s = line.lorentz_floored ? 0 : scaled.amplitude * slope;
        return {-1, 0, 0, s * line.profile.fwhm_lorentz, s * line.profile.mixing_lorentz};
    }
    /// With the Bragg angle, which moves by `rate` degrees.
    static Combination along_bragg(const ScaledLine& scaled, double rate) {
        const CalculatedLine& line = scaled.line;
        return {-1, scaled.slope * rate, scaled.amplitude * line.position_slope * rate,
                scaled.amplitude * line.fwhm_slope * rate,
                scaled.amplitude * line.mixing_slope * rate};
    }
    void add_global(const PhaseModel& phase, const ScaledLine& scaled);

    const PatternModel& model_;
    const ColumnMap& map_;
    bool global_;
    std::vector<Combination> combinations_;
};

const std::vector<Combination>& LineDerivatives::list(const PhaseModel& phase,
                                                      const ColumnMap::PhaseColumns& columns,
                                                      const ScaledLine& scaled) {
    const CalculatedLine& line = scaled.line;
    const double amplitude = scaled.amplitude;
    combinations_.clear();
    add(columns.scale, {-1, scaled.unit, 0, 0, 0});
    for (std::size_t j = 0; j < columns.cell.size(); ++j) {
        if (columns.cell[j] >= 0) {
            Combination c = along_bragg(scaled, line.bragg_slope * line.cell_slope[j]);
            c.value -= 0.5 * phase.b_overall.value * amplitude * line.cell_slope[j];
            add(columns.cell[j], c);
        }
    }
    add(columns.size,
        along_lorentz(scaled, degrees(scherrer_constant * scaled.wavelength / line.cosine)));
    add(columns.microstrain, along_lorentz(scaled, degrees(4 * line.tangent)));
    const double strain_rate = degrees(4 * line.tangent);
    add(columns.gauss, along_gauss(scaled, 0.5 * strain_rate * strain_rate / line.gauss));
    add(columns.b, {-1, -0.5 * line.inverse_d_squared * amplitude, 0, 0, 0});
    if (columns.depth >= 0) {
        add(columns.depth, {-1, 2 * amplitude / (model_.distance - phase.depth.value),
                            amplitude * line.position_displacement, 0, 0});
    }
    if (global_) {
        add_global(phase, scaled);
    }
    return combinations_;
}

void LineDerivatives::add_global(const PhaseModel& phase, const ScaledLine& scaled) {
    const CalculatedLine& line = scaled.line;
    const double amplitude = scaled.amplitude;
    const auto& columns = map_.global;
    if (columns[0] >= 0) {
        Combination c = along_bragg(scaled, line.bragg_wavelength);
        const Combination width =
            along_lorentz(scaled, degrees(scherrer_constant / (phase.size.value * line.cosine)));
        c.fwhm += width.fwhm;
        c.mixing += width.mixing;
        add(columns[0], c);
    }
    add(columns[1], {-1, 0, amplitude, 0, 0});
    add(columns[2], {-1, 0, amplitude * line.position_displacement, 0, 0});
    const double g = 0.5 / line.gauss, t = line.tangent;
    add(columns[3], along_gauss(scaled, t * t * g));
    add(columns[4], along_gauss(scaled, t * g));
    add(columns[5], along_gauss(scaled, g));
    add(columns[6], along_lorentz(scaled, 1 / line.cosine));
    add(columns[7], along_lorentz(scaled, t));
    add(columns[8], along_lorentz(scaled, 1));
}

/// A pattern and its derivatives while they are summed up.
class PatternSum {
  public:
    PatternSum(const PatternCalculator& calculator, const PatternModel& model,
               std::span<const std::size_t> parameters, std::span<double> y,
               std::span<double> jacobian)
        : calculator_(calculator), axis_(calculator.axis()), model_(model),
          map_(map_columns(model, parameters)), differentiate_(!parameters.empty()), y_(y),
          jacobian_(jacobian), line_derivatives_(model, map_) {}

    /// `texture`: factors on the lines, or empty.
    void add_phase(std::size_t phase, const std::vector<double>& texture);
    void add_background();
    void add_peaks();
    bool wants(std::size_t phase) const {
        return model_.phases[phase].scale.value != 0 || map_.phases[phase].scale >= 0;
    }

  private:
    double* column(int index) {
        return jacobian_.data() + static_cast<std::size_t>(index) * axis_.size();
    }

    const PatternCalculator& calculator_;
    const RadialAxis& axis_;
    const PatternModel& model_;
    const ColumnMap map_;
    const bool differentiate_;
    std::span<double> y_, jacobian_;
    LineDerivatives line_derivatives_;
    ProfileBuffer profile_;
    CalculatedLine line_;
};

void PatternSum::add_phase(std::size_t p, const std::vector<double>& texture) {
    const PhaseModel& phase = model_.phases[p];
    const auto& columns = map_.phases[p];
    const auto& reflections = calculator_.reflections(p);
    const bool derivatives = map_.any_global() || columns.shape();
    const double scale = phase.scale.value;
    for (const auto& [wavelength, ratio] : wavelengths(axis_, model_)) {
        const LineCalculator lines(model_, phase, wavelength, width_floor(axis_));
        for (std::size_t index = 0; index < reflections.size(); ++index) {
            if (!lines.calculate(reflections[index], line_)) {
                continue;
            }
            channel_averaged_profile(axis_, line_.position, line_.profile.fwhm,
                                     line_.profile.mixing, model_.profile_range, derivatives,
                                     profile_);
            if (profile_.size() == 0) {
                continue;
            }
            const double factor = phase.line_factor(index) * (texture.empty() ? 1 : texture[index]);
            const double unit = ratio * factor * line_.intensity;
            const double amplitude = scale * unit;
            add_scaled(profile_, amplitude, y_);
            if (!differentiate_) {
                continue;
            }
            const ScaledLine scaled{line_, wavelength, unit, amplitude,
                                    scale * ratio * factor * line_.intensity_slope};
            for (const Combination& c : line_derivatives_.list(phase, columns, scaled)) {
                accumulate(profile_, c, column(c.column) + profile_.first);
            }
        }
    }
}

void PatternSum::add_background() {
    std::vector<double> term(axis_.size());
    for (std::size_t i = 0; i < model_.background.size(); ++i) {
        const double coefficient = model_.background[i].value;
        const int index = map_.background[i];
        if (coefficient == 0 && index < 0) {
            continue;
        }
        calculator_.chebyshev(i, term);
        for (std::size_t k = 0; k < term.size(); ++k) {
            y_[k] += coefficient * term[k];
        }
        if (index >= 0) {
            std::copy(term.begin(), term.end(), column(index));
        }
    }
}

void PatternSum::add_peaks() {
    for (std::size_t i = 0; i < model_.peaks.size(); ++i) {
        const SinglePeak& peak = model_.peaks[i];
        const auto& columns = map_.peaks[i];
        const bool derivatives = columns[0] >= 0 || columns[1] >= 0 || columns[2] >= 0;
        channel_averaged_profile(axis_, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model_.profile_range, derivatives, profile_);
        const double area = peak.area.value;
        const auto add = [&](int index, const Combination& c) {
            if (index >= 0) {
                accumulate(profile_, c, column(index) + profile_.first);
            }
        };
        add_scaled(profile_, area, y_);
        add(columns[0], {-1, 0, area, 0, 0});
        add(columns[1], {-1, 0, 0, area, 0});
        add(columns[2], {-1, 0, 0, 0, area});
        add(columns[3], {-1, 1, 0, 0, 0});
    }
}

} // namespace

void PatternCalculator::evaluate(const PatternModel& model, std::span<double> y) const {
    evaluate(model, {}, y, {});
}

void PatternCalculator::evaluate(const PatternModel& model, std::span<const std::size_t> parameters,
                                 std::span<double> y, std::span<double> jacobian) const {
    if (model.phases.size() != lines_.size()) {
        throw Error("the model's phases are not those the calculator was made for");
    }
    std::fill(y.begin(), y.end(), 0.0);
    std::fill(jacobian.begin(), jacobian.end(), 0.0);
    PatternSum sum(*this, model, parameters, y, jacobian);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        if (sum.wants(p)) {
            sum.add_phase(p, texture_factors(model.phases[p], p));
        }
    }
    sum.add_background();
    sum.add_peaks();
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
            add_scaled(profile, amplitude, y);
        }
    }
}

void PatternCalculator::chebyshev(std::size_t order, std::span<double> y) const {
    const auto centres = axis_.two_theta();
    const double middle = 0.5 * (centres.front() + centres.back());
    const double half = 0.5 * (centres.back() - centres.front());
    for (std::size_t k = 0; k < centres.size(); ++k) {
        const double x = (centres[k] - middle) / half;
        y[k] = chebyshev_polynomial(order, x);
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
