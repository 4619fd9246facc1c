// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/refiner.hpp"
#include "rietveld/model/line_calculator.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::rietveld {

/// Rietveld's partition: every channel's net intensity is shared among lines as the model shares
/// it. Needs calculated_; lines off the axis get zeros.
std::vector<Refiner::LineArea> Refiner::partition(std::size_t phase) const {
    std::vector<double> background(n_);
    calculator_.evaluate_background(model_, background);
    const LineCalculator lines(model_, model_.phases[phase], model_wavelength(axis_, model_),
                               width_floor(axis_));
    ProfileBuffer profile;
    CalculatedLine line;
    const auto& reflections = calculator_.reflections(phase);
    std::vector<LineArea> areas(reflections.size());
    for (std::size_t index = 0; index < reflections.size(); ++index) {
        if (!lines.calculate(reflections[index], line) || line.position < axis_.edges().front() ||
            line.position > axis_.edges().back()) {
            continue;
        }
        // Three FWHM hold the line; the rest of a Lorentzian says more about its neighbours.
        channel_averaged_profile(axis_, line.position, line.profile.fwhm, line.profile.mixing, 3,
                                 false, profile);
        const double amplitude = model_.phases[phase].scale.value *
                                 model_.phases[phase].line_factor(index) * line.intensity;
        for (std::size_t i = 0; i < profile.size(); ++i) {
            const std::size_t k = profile.first + i;
            const double net = calculated_[k] - background[k];
            const double part = amplitude * profile.value[i] * axis_.width(k);
            if (weights_[k] > 0 && net > 0) {
                areas[index].calculated += part;
                areas[index].observed += part * (intensity_[k] - background[k]) / net;
            }
        }
    }
    return areas;
}

double Refiner::r_bragg(std::size_t phase) const {
    double difference = 0, sum = 0;
    for (const LineArea& area : partition(phase)) {
        difference += std::abs(area.observed - area.calculated);
        sum += std::abs(area.observed);
    }
    return sum > 0 ? difference / sum : nan_value;
}

void Refiner::start_extraction() {
    for (const std::string& name : options_.extract_intensities) {
        const std::size_t p = model_.find_phase(name);
        if (frozen_[p]) {
            continue; // nothing to extract from
        }
        extracted_.push_back(p);
        model_.phases[p].line_factors.assign(calculator_.reflections(p).size(), 1.0);
        std::erase_if(free_, [&](const Free& f) {
            return f.phase == static_cast<int>(p) &&
                   (f.role == Role::scale || f.role == Role::displacement_factor);
        });
    }
}

/// One pass of the extraction; returns the sum of the intensities' changes relative to their sum.
double Refiner::extract() {
    double change = 0, sum = 0;
    evaluate({}, false);
    for (const std::size_t p : extracted_) {
        const auto areas = partition(p);
        auto& factors = model_.phases[p].line_factors;
        for (std::size_t i = 0; i < areas.size(); ++i) {
            if (areas[i].calculated > 0) {
                factors[i] *= std::clamp(areas[i].observed / areas[i].calculated, 0.1, 10.0);
                change += std::abs(areas[i].observed - areas[i].calculated);
                sum += std::abs(areas[i].observed);
            }
        }
    }
    return sum > 0 ? change / sum : 0;
}

} // namespace xrdct::rietveld
