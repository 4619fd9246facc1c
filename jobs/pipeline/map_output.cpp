// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/map_output.hpp"

#include "jobs/pipeline/solver_options.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::pipeline {

nexus::ProductFile::Existing existing(const RunOptions& options) {
    return options.force ? nexus::ProductFile::Existing::replace
                         : nexus::ProductFile::Existing::refuse;
}

void describe_errors(const hdf5::Group& group, bool scaled) {
    for (const auto& entry : group.entries())
        if (entry.kind == hdf5::Kind::dataset && entry.name.ends_with("_errors"))
            group.open_dataset(entry.name)
                .set_attribute("meaning", scaled ? "e.s.d. from the scatter about the model: "
                                                   "counting noise of unknown size, scaled by GoF"
                                                 : counting_esd_meaning);
}

void write_map_axes(hdf5::Group& group, const std::vector<double>& x) {
    nexus::write_axis(group, "y", x, {"mm", "y"});
    nexus::write_axis(group, "x", x, {"mm", "x"});
}

void write_image_axes(hdf5::Group& group, const tomography::ImageGrid& grid) {
    std::vector<double> axis(grid.n);
    for (std::size_t i = 0; i < grid.n; ++i)
        axis[i] = grid.coordinate(i);
    write_map_axes(group, axis);
}

void write_mask_map(hdf5::Group& group, const std::vector<unsigned char>& mask, std::size_t n,
                    const std::string& long_name) {
    const std::vector<std::int32_t> values(mask.begin(), mask.end());
    nexus::write_map(group, "mask", std::span<const std::int32_t>(values), n, n, {"", long_name});
}

void write_amounts(hdf5::Group& group, std::size_t n, const rietveld::PhaseModel& phase,
                   const PhaseMapView& view, double constant) {
    const auto amounts = phase_amounts(phase, view, constant);
    const auto write = [&](const std::string& name, const maps::ValuesWithErrors& map,
                           const nexus::Labels& labels) {
        if (map.errors.empty())
            nexus::write_map(group, name, map.values, n, n, labels);
        else
            nexus::write_map(group, name, map.values, map.errors, n, n, labels);
    };
    write("volume_fraction", amounts.volume_fraction, {"", "volume fraction"});
    write("density", amounts.density, {"g/cm^3", "mass of the phase per volume of the voxel"});
}

void write_reference_cell(hdf5::Group& group, const rietveld::PhaseModel& phase) {
    const auto& cell = phase.phase.cell();
    for (const auto parameter : phase.phase.free_parameters())
        switch (parameter) {
        case crystal::CellParameter::a:
            group.set_attribute("reference_a", cell.a);
            break;
        case crystal::CellParameter::b:
            group.set_attribute("reference_b", cell.b);
            break;
        case crystal::CellParameter::c:
            group.set_attribute("reference_c", cell.c);
            break;
        default: // angles
            break;
        }
}

namespace {

/// Sum of a map over the voxels that have a value.
double sum_of(const hdf5::Group& group, const std::string& name) {
    double sum = 0;
    for (const double value : group.open_dataset(name).read_all<double>())
        sum += std::isfinite(value) ? value : 0;
    return sum;
}

/// What is shown of a phase, and what can be chosen beside it.
void choose_signals(hdf5::Group& group) {
    std::vector<std::string> maps;
    for (const char* name : {"volume_fraction", "density", "weight_fraction", "scale"})
        if (maps.empty() && group.has_dataset(name))
            maps.emplace_back(name);
    for (const char* name :
         {"c", "a", "b", "alpha", "beta", "gamma", "size", "microstrain", "gauss_microstrain"})
        if (group.has_dataset(name))
            maps.emplace_back(name);
    if (maps.empty())
        return;
    group.set_attribute("signal", maps.front());
    maps.erase(maps.begin());
    if (!maps.empty())
        group.set_attribute("auxiliary_signals", maps);
}

} // namespace

void set_default_phase(hdf5::Group& stage, const settings::Job& job) {
    std::vector<std::string> names;
    for (const auto& phase : job.phases)
        if (stage.has_group(phase.name))
            names.push_back(phase.name);
    if (names.empty())
        return;
    const bool dense = std::all_of(names.begin(), names.end(), [&](const std::string& name) {
        return stage.open_group(name).has_dataset("density");
    });
    std::vector<maps::PhaseRole> roles;
    for (const auto& phase : job.phases) {
        if (!stage.has_group(phase.name))
            continue;
        auto group = stage.open_group(phase.name);
        choose_signals(group);
        const std::string amount = dense ? "density" : "scale";
        roles.push_back({group.has_dataset(amount) ? sum_of(group, amount) : 0, cell_varies(phase),
                         phase.name == job.absorption.reference_phase});
    }
    nexus::set_default(stage.open_group(names[maps::main_phase(roles)]));
}

void write_mean_pattern(hdf5::Group& stage, const MeanPatternView& pattern,
                        const std::vector<rietveld::PhaseModel>& phases,
                        const std::vector<rietveld::PatternLine>& lines) {
    auto group = nexus::require_data(stage, "mean_pattern", "observed", {"two_theta"});
    const hdf5::Shape shape{pattern.two_theta.size()};
    const auto write = [&](const std::string& name, const std::vector<double>& values) {
        group.write_array(name, shape, std::span<const double>(values))
            .set_attribute("units", pattern.units);
    };
    write("observed", pattern.observed);
    write("calculated", pattern.calculated);
    write("background", pattern.background);
    std::vector<double> difference(pattern.observed.size());
    for (std::size_t k = 0; k < difference.size(); ++k)
        difference[k] = pattern.observed[k] - pattern.calculated[k];
    write("difference", difference);
    nexus::write_axis(group, "two_theta", pattern.two_theta, {"deg", "2theta"});
    group.set_attribute("auxiliary_signals", std::vector<std::string>{"calculated", "background"});
    group.set_attribute("rwp", pattern.rwp);
    group.set_attribute("gof", pattern.gof);
    for (std::size_t p = 0; p < phases.size(); ++p) {
        std::vector<double> ticks;
        for (const auto& line : lines)
            if (line.phase == p)
                ticks.push_back(line.two_theta);
        if (!ticks.empty())
            group
                .write_array("ticks_" + phases[p].name, {ticks.size()},
                             std::span<const double>(ticks))
                .set_attribute("units", "deg");
    }
}

} // namespace xrdct::pipeline
