// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/voxel_tables.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

namespace xrdct::rietveld {

namespace {

constexpr std::size_t search_limit = 200; ///< patterns of the coarse cell search

} // namespace

/// Cells of the coarse search; their patterns are rows from `first` on.
void VoxelTables::list_search(Mover& mover, std::size_t first) const {
    mover.search_first = first;
    const double range = std::min(options.cell_search, options.cell_range);
    if (mover.phase < 0 || range <= 0) {
        return;
    }
    const auto free = model.phases[mover.phase].phase.free_parameters();
    std::vector<std::size_t> axes;
    for (std::size_t j = 0; j < mover.without_widths(); ++j) {
        if (free[mover.which[j]] <= crystal::CellParameter::c) {
            axes.push_back(j);
        }
    }
    // Points so far apart that the farthest-moving strong line shifts by 0.7 FWHM.
    double relative = infinity;
    for (const std::size_t j : axes) {
        relative = std::min(relative, mover.largest_step[j] / mover.start[j]);
    }
    std::size_t half = static_cast<std::size_t>(std::ceil(range / (1.4 * relative)));
    while (std::pow(2.0 * static_cast<double>(half) + 1, static_cast<double>(axes.size())) >
               static_cast<double>(search_limit) &&
           half > 1) {
        --half;
    }
    const std::size_t points = 2 * half + 1;
    std::size_t total = 1;
    for (std::size_t i = 0; i < axes.size(); ++i) {
        total *= points;
    }
    if (total > search_limit || axes.empty()) {
        return;
    }
    for (std::size_t index = 0; index < total; ++index) {
        std::size_t rest = index;
        bool start = true;
        std::vector<double> cell = mover.start;
        for (const std::size_t j : axes) {
            const double place = static_cast<double>(rest % points) - static_cast<double>(half);
            cell[j] = std::clamp(mover.start[j] * (1 + range * place / static_cast<double>(half)),
                                 mover.lower[j], mover.upper[j]);
            start = start && place == 0;
            rest /= points;
        }
        if (!start) {
            mover.search_values.insert(mover.search_values.end(), cell.begin(), cell.end());
            ++mover.search_count;
        }
    }
}

/// The patterns of all movers' searches, in parts. Collective over the team.
void VoxelTables::make_search(const SharedMemoryTeam& team) {
    std::size_t count = 0;
    for (Mover& mover : movers) {
        list_search(mover, count);
        list_width_search(mover);
        count += mover.search_count;
    }
    search_patterns.resize(team, count * stride);
    team.run_and_sync([&] {
        std::vector<double> row(n);
        for (const Mover& mover : movers) {
            if (mover.search_count == 0) {
                continue;
            }
            PatternModel trial = model;
            PhaseModel& phase = trial.phases[mover.phase];
            phase.scale.value = 1;
            for (std::size_t i = 0; i < mover.search_count; ++i) {
                if (!team.owns(mover.search_first + i)) {
                    continue;
                }
                const double* values = &mover.search_values[i * mover.size()];
                for (std::size_t j = 0; j < mover.without_widths(); ++j) {
                    phase.cell[mover.which[j]].value = values[j];
                }
                for (std::size_t w = 0; w < mover.widths.size(); ++w) {
                    width_parameter(phase, mover.widths[w]).value =
                        width_value(mover.widths[w], values[mover.without_widths() + w]);
                }
                calculator.evaluate_phase(trial, static_cast<std::size_t>(mover.phase), row);
                float* out = search_patterns.data() + (mover.search_first + i) * stride;
                for (std::size_t k = 0; k < n; ++k) {
                    out[k] = static_cast<float>(row[k] * columns[mover.column].factor);
                }
            }
        }
    });
}

/// Marks the phases and peaks of the options as moving.
void VoxelTables::choose_movers() {
    std::set<std::string> chosen;
    const auto once = [&](const std::string& name) {
        if (!chosen.insert(name).second) {
            throw Error(fmt::format("voxel fit: '{}' is named twice", name));
        }
    };
    phase_mover.assign(model.phases.size(), -1);
    peak_mover.assign(model.peaks.size(), -1);
    for (const std::string& name : options.cell_phases) {
        once(name);
        phase_mover[model.find_phase(name)] = 0;
    }
    phase_cell_moves.assign(model.phases.size(), false);
    for (const std::string& name : options.cell_phases) {
        phase_cell_moves[model.find_phase(name)] = true;
    }
    phase_widths.assign(model.phases.size(), {});
    for (const VoxelWidths& widths : options.widths) {
        const std::size_t p = model.find_phase(widths.phase);
        if (phase_widths[p] != std::array<bool, width_count>{}) {
            throw Error(fmt::format("voxel fit: the widths of '{}' are named twice", widths.phase));
        }
        phase_widths[p] = widths.refine;
        if (widths.refine != std::array<bool, width_count>{}) {
            phase_mover[p] = 0;
        }
    }
    for (const std::string& name : options.position_peaks) {
        once(name);
        const auto found = std::find_if(model.peaks.begin(), model.peaks.end(),
                                        [&](const SinglePeak& peak) { return peak.name == name; });
        if (found == model.peaks.end()) {
            throw Error(fmt::format("there is no peak '{}' in the model", name));
        }
        peak_mover[static_cast<std::size_t>(found - model.peaks.begin())] = 0;
    }
}

VoxelTables::VoxelTables(const RadialAxis& a, const PatternModel& m, const VoxelFitOptions& o,
                         const SharedMemoryTeam& team,
                         std::shared_ptr<const PatternCalculator> earlier)
    : axis(a), model(m), options(o),
      shared_calculator(earlier ? std::move(earlier)
                                : std::make_shared<const PatternCalculator>(
                                      a, m, std::max(0.06, 1.5 * o.cell_range))),
      calculator(*shared_calculator), n(a.size()), stride(padded(n)), shapes(a, m.profile_range) {
    if (!(o.cell_range > 0) || o.cell_range > 0.1) {
        throw Error(fmt::format("voxel fit: cell_range is {}, expected a fraction up to 0.1",
                                o.cell_range));
    }
    if (!(o.cell_search >= 0) || !(o.significance >= 0) || !(o.tolerance > 0) ||
        o.max_iterations < 1 || !(o.least_size > 0)) {
        throw Error("voxel fit: cell_search ≥ 0, significance ≥ 0, tolerance > 0, least_size > 0 "
                    "and max_iterations ≥ 1 are expected");
    }
    wavelength = model.wavelength.value > 0 ? model.wavelength.value : axis.wavelength();
    choose_movers();
    add_columns();
    total_columns = columns.size();
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        if (phase_mover[p] >= 0) {
            add_phase_mover(p);
        }
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        if (peak_mover[i] >= 0) {
            add_peak_mover(i);
        }
    }
    column_mover.assign(total_columns, -1);
    std::size_t place = 0;
    for (std::size_t i = 0; i < movers.size(); ++i) {
        Mover& mover = movers[i];
        mover.place = place;
        place += mover.size();
        for (std::size_t j = 0; j < mover.size(); ++j) {
            column_mover[mover.derivative + j] = static_cast<int>(i);
        }
        if (!mover.widths.empty()) {
            check_wide(mover, metrics[i], team);
            continue;
        }
        list_lines(mover, i);
        tabulate(mover, team);
    }
    make_search(team);
    list_quantities();
}

std::size_t VoxelTables::add_column(const Parameter& parameter, std::vector<double> row,
                                    std::vector<std::vector<double>>& rows) {
    Column column;
    double squares = 0;
    for (const double value : row) {
        squares += value * value;
    }
    // Columns of unit root mean square keep float32 sums well scaled.
    const double rms = std::sqrt(squares / static_cast<double>(n));
    column.factor = rms > 0 ? 1 / rms : 1;
    for (double& value : row) {
        value *= column.factor;
    }
    column.refined = parameter.refine;
    column.lower = column.refined ? parameter.lower : parameter.value;
    column.upper = column.refined ? parameter.upper : parameter.value;
    refined_columns += column.refined ? 1 : 0;
    columns.push_back(column);
    rows.push_back(std::move(row));
    return columns.size() - 1;
}

void VoxelTables::add_columns() {
    std::vector<std::vector<double>> rows;
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        PatternModel unit = model;
        unit.phases[p].scale.value = 1;
        std::vector<double> row(n);
        calculator.evaluate_phase(unit, p, row);
        phase_column.push_back(add_column(model.phases[p].scale, std::move(row), rows));
        phase_weight.push_back(model.phases[p].phase.cell_mass());
    }
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        std::vector<double> row(n);
        calculator.chebyshev(i, row);
        background_column.push_back(add_column(model.background[i], std::move(row), rows));
    }
    for (const SinglePeak& peak : model.peaks) {
        ProfileBuffer profile;
        channel_averaged_profile(axis, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model.profile_range, false, profile);
        std::vector<double> row(n, 0.0);
        std::copy(profile.value.begin(), profile.value.end(),
                  row.begin() + static_cast<std::ptrdiff_t>(profile.first));
        peak_column.push_back(add_column(peak.area, std::move(row), rows));
    }
    start_rows = Rows(rows.size(), n);
    for (std::size_t c = 0; c < rows.size(); ++c) {
        std::copy(rows[c].begin(), rows[c].end(), start_rows[c]);
    }
}

void VoxelTables::add_phase_mover(std::size_t p) {
    const PhaseModel& phase = model.phases[p];
    Mover mover;
    mover.phase = static_cast<int>(p);
    mover.column = phase_column[p];
    mover.derivative = total_columns;
    const bool marked = std::any_of(phase.cell.begin(), phase.cell.end(),
                                    [](const Parameter& parameter) { return parameter.refine; });
    const auto free = phase.phase.free_parameters();
    for (std::size_t j = 0; j < phase.cell.size(); ++j) {
        const double value = phase.cell[j].value;
        mover.cell.push_back(value);
        if (!phase_cell_moves[p] || (marked && !phase.cell[j].refine)) {
            continue;
        }
        mover.which.push_back(j);
        const double reach = free[j] <= crystal::CellParameter::c ? options.cell_range * value
                                                                  : options.cell_range * 60;
        mover.start.push_back(value);
        mover.lower.push_back(std::max(value - reach, phase.cell[j].lower));
        mover.upper.push_back(std::min(value + reach, phase.cell[j].upper));
    }
    // A step may move the farthest-moving strong line by half its width.
    mover.largest_step.assign(mover.size(), infinity);
    const LineCalculator lines(model, phase, wavelength, width_floor(axis));
    CalculatedLine calculated;
    double strongest = 0;
    for (int pass = 0; pass < 2; ++pass) {
        for (const crystal::PowderLine& line : calculator.reflections(p)) {
            if (!lines.calculate(line, calculated) || calculated.position > axis.edges().back() ||
                calculated.position < axis.edges().front()) {
                continue;
            }
            if (pass == 0) {
                strongest = std::max(strongest, calculated.intensity);
            } else if (calculated.intensity > 0.03 * strongest) {
                for (std::size_t j = 0; j < mover.size(); ++j) {
                    const double rate =
                        std::abs(calculated.bragg_slope * calculated.cell_slope[mover.which[j]]);
                    const double width = std::max(calculated.profile.fwhm, 20 * width_floor(axis));
                    if (rate > 0) {
                        mover.largest_step[j] = std::min(mover.largest_step[j], 0.5 * width / rate);
                    }
                }
            }
        }
    }
    for (std::size_t j = 0; j < mover.size(); ++j) {
        mover.largest_step[j] =
            std::min(mover.largest_step[j], 0.5 * (mover.upper[j] - mover.lower[j]));
    }
    add_widths(mover);
    total_columns += mover.size();
    phase_mover[p] = static_cast<int>(movers.size());
    metrics.emplace_back(phase);
    movers.push_back(std::move(mover));
}

void VoxelTables::add_peak_mover(std::size_t i) {
    const SinglePeak& peak = model.peaks[i];
    Mover mover;
    mover.peak = static_cast<int>(i);
    mover.column = peak_column[i];
    mover.derivative = total_columns++;
    mover.start = {peak.position.value};
    mover.lower = {std::max(peak.position.value - peak.fwhm.value, peak.position.lower)};
    mover.upper = {std::min(peak.position.value + peak.fwhm.value, peak.position.upper)};
    mover.largest_step = {0.3 * peak.fwhm.value};
    peak_mover[i] = static_cast<int>(movers.size());
    metrics.emplace_back();
    movers.push_back(std::move(mover));
}

void VoxelTables::list_quantities() {
    const auto quantity = [&](const std::string& group, const std::string& name,
                              const std::string& unit, bool errors = true) {
        quantities.push_back({group, name, unit});
        if (errors) {
            quantities.push_back({group, name + "_errors", unit});
        }
    };
    quantity("", "status", "", false);
    quantity("", "iterations", "", false);
    quantity("", "rwp", "", false);
    quantity("", "gof", "", false);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const PhaseModel& phase = model.phases[p];
        quantity(phase.name, "scale", "");
        quantity(phase.name, "weight_fraction", "");
        quantity(phase.name, "status", "", false);
        if (phase_mover[p] >= 0) {
            const auto free = phase.phase.free_parameters();
            for (const std::size_t j : movers[phase_mover[p]].which) {
                const crystal::CellParameter parameter = free[j];
                quantity(phase.name, std::string(to_string(parameter)),
                         parameter <= crystal::CellParameter::c ? "angstrom" : "deg");
            }
            for (const Width width : movers[phase_mover[p]].widths) {
                quantity(phase.name, std::string(to_string(width)),
                         width == Width::size ? "angstrom" : "");
            }
        }
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        quantity(model.peaks[i].name, "area", "deg");
        if (peak_mover[i] >= 0) {
            quantity(model.peaks[i].name, "position", "deg");
        }
    }
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        quantity("background", fmt::format("coefficient_{}", i), "");
    }
}

VoxelScratch::VoxelScratch(const VoxelTables& tables)
    : data(5, tables.n), moving(tables.total_columns, tables.n),
      weighted(tables.total_columns, tables.n), metrics(tables.metrics) {
    const std::size_t k = tables.total_columns;
    column.resize(k);
    rows.resize(k);
    for (auto* matrix : {&gram, &joint, &inverse}) {
        matrix->resize(k * k);
    }
    for (auto* vector : {&right, &x, &lower, &upper, &gradient, &slope, &step, &dot}) {
        vector->resize(k);
    }
    state.resize(k);
    std::size_t count = 0;
    for (const Mover& mover : tables.movers) {
        count += mover.size();
    }
    values.resize(count);
    trial.resize(count);
    last.resize(count);
    active.resize(tables.movers.size());
    held.resize(tables.movers.size());
    for (const Mover& mover : tables.movers) {
        wide.push_back(tables.wide_scratch(mover));
    }
    places.resize(tables.movers.size());
    mass.resize(tables.model.phases.size());
}

} // namespace xrdct::rietveld
