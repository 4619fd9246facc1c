// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/pattern_model.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace xrdct::rietveld {

namespace {

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

std::pair<double, double> cell_range(crystal::CellParameter parameter, double start) {
    if (parameter <= crystal::CellParameter::c)
        return {0.5 * start, 2 * start};
    return {std::min(20.0, 0.5 * start), std::max(160.0, 0.5 * (start + 180))};
}

PhaseModel::PhaseModel(crystal::Phase structure, std::string phase_name)
    : name(std::move(phase_name)), phase(std::move(structure)) {
    if (name.empty()) {
        name = phase.name();
    }
    for (const crystal::CellParameter parameter : phase.free_parameters()) {
        const double value = cell_value(phase.cell(), parameter);
        const auto range = cell_range(parameter, value);
        cell.push_back({value, false, range.first, range.second});
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

} // namespace xrdct::rietveld
