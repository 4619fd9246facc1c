// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "crystal/march_dollase.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "rietveld/model/pattern_basis_impl.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace xrdct::rietveld {

double shape_value(const PatternModel& model, bool phase, std::size_t part,
                   const ShapeParameter& parameter) {
    using Kind = ShapeParameter::Kind;
    if (!phase)
        return parameter.kind == Kind::fwhm ? model.peaks.at(part).fwhm.value
                                            : model.peaks.at(part).position.value;
    const PhaseModel& p = model.phases.at(part);
    switch (parameter.kind) {
    case Kind::cell:
        return p.cell.at(parameter.index).value;
    case Kind::size:
        return 1 / p.size.value;
    case Kind::microstrain:
        return p.microstrain.value;
    case Kind::gauss_microstrain:
        return p.gauss_microstrain.value * p.gauss_microstrain.value;
    case Kind::march:
        return p.texture.r;
    default:
        throw Error("pattern basis: a phase has no such parameter");
    }
}

std::pair<double, double> shape_bounds(const PatternModel& model, bool phase, std::size_t part,
                                       const ShapeParameter& parameter) {
    using Kind = ShapeParameter::Kind;
    const auto of = [](const Parameter& p) { return std::pair{p.lower, p.upper}; };
    if (!phase)
        return of(parameter.kind == Kind::fwhm ? model.peaks.at(part).fwhm
                                               : model.peaks.at(part).position);
    const PhaseModel& p = model.phases.at(part);
    const auto inverse = [](double size) {
        return size > 0 ? 1 / size : std::numeric_limits<double>::infinity();
    };
    switch (parameter.kind) {
    case Kind::cell:
        return of(p.cell.at(parameter.index));
    case Kind::size:
        return {inverse(p.size.upper), inverse(p.size.lower)};
    case Kind::microstrain:
        return {std::max(0.0, p.microstrain.lower), p.microstrain.upper};
    case Kind::gauss_microstrain:
        return {std::pow(std::max(0.0, p.gauss_microstrain.lower), 2),
                std::pow(p.gauss_microstrain.upper, 2)};
    case Kind::march:
        return {crystal::min_march, crystal::largest_march};
    default:
        throw Error("pattern basis: a phase has no such parameter");
    }
}

void set_shape_value(PatternModel& model, bool phase, std::size_t part,
                     const ShapeParameter& parameter, double value) {
    using Kind = ShapeParameter::Kind;
    if (!phase) {
        (parameter.kind == Kind::fwhm ? model.peaks.at(part).fwhm : model.peaks.at(part).position)
            .value = value;
        return;
    }
    PhaseModel& p = model.phases.at(part);
    switch (parameter.kind) {
    case Kind::cell:
        p.cell.at(parameter.index).value = value;
        break;
    case Kind::size:
        p.size.value = value > 0 ? 1 / value : infinite_size;
        break;
    case Kind::microstrain:
        p.microstrain.value = std::max(0.0, value);
        break;
    case Kind::gauss_microstrain:
        p.gauss_microstrain.value = std::sqrt(std::max(0.0, value));
        break;
    case Kind::march:
        p.texture.r = value;
        break;
    default:
        throw Error("pattern basis: a phase has no such parameter");
    }
}

/// Throws Error unless the model has the part and the part the parameters.
void require_part(const PatternModel& model, const PatternPart& part) {
    using Kind = ShapeParameter::Kind;
    const bool phase = part.kind == PatternPart::Kind::phase,
               peak = part.kind == PatternPart::Kind::peak;
    const std::size_t count = phase  ? model.phases.size()
                              : peak ? model.peaks.size()
                                     : model.background.size();
    if (part.index >= count)
        throw Error(fmt::format("pattern basis: part {} of {} that the model has of its kind",
                                part.index, count));
    for (const auto* list : {&part.voxel, &part.global})
        for (const auto& parameter : *list) {
            const bool of_peak = parameter.kind == Kind::position || parameter.kind == Kind::fwhm;
            if ((phase &&
                 (of_peak ||
                  (parameter.kind == Kind::cell &&
                   parameter.index >= model.phases[part.index].cell.size()) ||
                  (parameter.kind == Kind::march && !model.phases[part.index].texture.any()))) ||
                (peak && !of_peak) || (!phase && !peak))
                throw Error("pattern basis: a part has no such parameter");
            if (!(parameter.upper > parameter.lower))
                throw Error("pattern basis: the range of a shape parameter is empty");
        }
}

} // namespace xrdct::rietveld
