#include "rietveld/voxel/voxel_tables.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <set>

namespace xrdct::rietveld {

namespace {

constexpr double node_spacing = 1.0 / 10; ///< of the tables, in FWHM
constexpr double table_cut = 1e-6;        ///< of a line's height, ends of a table's rows
constexpr std::size_t search_limit = 200; ///< patterns of the coarse cell search

} // namespace

double VoxelTables::width_floor() const {
    return 0.05 * (axis.edges().back() - axis.edges().front()) / static_cast<double>(n);
}

/// Value and total derivative of one line (Σ over wavelengths) or unit-area peak at coordinate
/// `at`.
void VoxelTables::exact_row(const Mover& mover, const crystal::PowderLine* line, double at,
                            std::vector<double>& value, std::vector<double>& slope) const {
    value.assign(n, 0);
    slope.assign(n, 0);
    ProfileBuffer profile;
    if (line == nullptr) {
        const SinglePeak& peak = model.peaks[mover.peak];
        channel_averaged_profile(axis, at, peak.fwhm.value, peak.mixing.value, model.profile_range,
                                 true, profile);
        for (std::size_t i = 0; i < profile.size(); ++i) {
            value[profile.first + i] = profile.value[i];
            slope[profile.first + i] = profile.position[i];
        }
        return;
    }
    const PhaseModel& phase = model.phases[mover.phase];
    const double line_factor = phase.line_factor(
        static_cast<std::size_t>(line - calculator.reflections(mover.phase).data()));
    const double inverse_d = 2 * std::sin(radians(at) / 2) / wavelength;
    double first_slope = 0;
    for (int source = 0; source < (model.second ? 2 : 1); ++source) {
        const double lambda = source == 0 ? wavelength : model.second->wavelength;
        const double ratio = line_factor * (source == 0 ? 1 : model.second->ratio);
        const LineCalculator calculator_at(model, phase, lambda, width_floor());
        CalculatedLine calculated;
        if (!calculator_at.calculate_at(inverse_d, line->intensity, calculated)) {
            continue;
        }
        if (source == 0) {
            first_slope = calculated.bragg_slope;
        }
        if (first_slope == 0) {
            continue;
        }
        // of this wavelength's Bragg angle per that of the first
        const double chain = calculated.bragg_slope / first_slope;
        channel_averaged_profile(axis, calculated.position, calculated.profile.fwhm,
                                 calculated.profile.mixing, model.profile_range, true, profile);
        const double amplitude = ratio * calculated.intensity;
        const double damping = -0.5 * phase.b_overall.value / first_slope;
        for (std::size_t i = 0; i < profile.size(); ++i) {
            value[profile.first + i] += amplitude * profile.value[i];
            slope[profile.first + i] +=
                chain * (ratio * calculated.intensity_slope * profile.value[i] +
                         amplitude * (calculated.position_slope * profile.position[i] +
                                      calculated.fwhm_slope * profile.fwhm[i] +
                                      calculated.mixing_slope * profile.mixing[i])) +
                damping * amplitude * profile.value[i];
        }
    }
}

/// Coefficients of a line's pieces, whose offsets count from the first of them; appends to
/// `coefficients`. Returns the largest error half-way between the nodes.
double VoxelTables::tabulate(const Mover& mover, const LineTable& table, LineTable::Piece* pieces,
                             std::vector<Block>& coefficients) const {
    const double factor = columns[mover.column].factor;
    std::vector<double> value, slope, next_value, next_slope, middle, ignored;
    double largest_error = 0;
    exact_row(mover, table.line, table.start, value, slope);
    for (std::size_t j = 0; j < table.pieces; ++j) {
        const double at = table.start + table.spacing * static_cast<double>(j + 1);
        exact_row(mover, table.line, at, next_value, next_slope);
        double height = 0;
        for (std::size_t k = 0; k < n; ++k) {
            height = std::max({height, std::abs(value[k]), std::abs(next_value[k])});
        }
        std::size_t first = n, last = 0;
        for (std::size_t k = 0; k < n; ++k) {
            if (std::max(std::abs(value[k]), std::abs(next_value[k])) > table_cut * height) {
                first = std::min(first, k);
                last = k + 1;
            }
        }
        LineTable::Piece& piece = pieces[j];
        piece.offset = coefficients.size();
        if (first < last) {
            piece.first = static_cast<std::uint32_t>(first / lanes * lanes);
            piece.count = static_cast<std::uint32_t>(padded(last) - piece.first);
        }
        coefficients.resize(piece.offset + 4 * piece.count / lanes, Block{});
        float* rows = coefficients.data()[piece.offset].value;
        const bool check = j % 4 == 0;
        if (check) {
            exact_row(mover, table.line, at - 0.5 * table.spacing, middle, ignored);
        }
        for (std::size_t i = 0; i < piece.count && piece.first + i < n; ++i) {
            const std::size_t k = piece.first + i;
            const double v0 = value[k] * factor, v1 = next_value[k] * factor;
            const double d0 = slope[k] * table.spacing * factor;
            const double d1 = next_slope[k] * table.spacing * factor;
            const double c[4] = {v0, d0, 3 * (v1 - v0) - 2 * d0 - d1, 2 * (v0 - v1) + d0 + d1};
            for (std::size_t q = 0; q < 4; ++q) {
                rows[q * piece.count + i] = static_cast<float>(c[q]);
            }
            if (check) {
                const double interpolated = c[0] + 0.5 * (c[1] + 0.5 * (c[2] + 0.5 * c[3]));
                largest_error =
                    std::max(largest_error, std::abs(interpolated - middle[k] * factor));
            }
        }
        value.swap(next_value);
        slope.swap(next_slope);
    }
    return largest_error;
}

/// The lines of a mover in parts, one after the other. Collective over the team.
void VoxelTables::tabulate(Mover& mover, const SharedMemoryTeam& team) {
    std::size_t count = 0;
    for (LineTable& table : mover.lines) {
        table.first = count;
        count += table.pieces;
    }
    mover.pieces.resize(team, count);
    SharedArray<double> errors;
    errors.resize(team, mover.lines.size());
    // Neighbours have as many pieces; each member's lines follow each other in `own`.
    std::vector<Block> own;
    std::vector<std::size_t> own_first(mover.lines.size());
    team.run_and_sync([&] {
        for (std::size_t l = 0; l < mover.lines.size(); ++l) {
            if (team.owns(l)) {
                own_first[l] = own.size();
                errors[l] = tabulate(mover, mover.lines[l],
                                     mover.pieces.data() + mover.lines[l].first, own);
            }
        }
    });
    std::vector<std::size_t> place; // of each piece among all
    std::size_t blocks = 0;
    for (const LineTable::Piece& piece : mover.pieces) {
        place.push_back(blocks);
        blocks += 4 * piece.count / lanes;
    }
    mover.coefficients.resize(team, blocks);
    team.run_and_sync([&] {
        for (std::size_t l = 0; l < mover.lines.size(); ++l) {
            if (!team.owns(l)) {
                continue;
            }
            const LineTable& table = mover.lines[l];
            for (std::size_t j = table.first; j < table.first + table.pieces; ++j) {
                LineTable::Piece& piece = mover.pieces[j];
                std::copy_n(own.data() + piece.offset, 4 * piece.count / lanes,
                            mover.coefficients.data() + place[j]);
                piece.offset = place[j];
            }
        }
    });
    double highest_pattern = 0, largest_error = 0;
    for (std::size_t k = 0; k < n; ++k) {
        highest_pattern =
            std::max(highest_pattern, std::abs(static_cast<double>(start_rows[mover.column][k])));
    }
    for (const double error : errors) {
        largest_error = std::max(largest_error, error);
    }
    interpolation_error =
        std::max(interpolation_error, highest_pattern > 0 ? largest_error / highest_pattern : 0);
}

/// Which lines are tabulated where.
void VoxelTables::list_lines(Mover& mover, std::size_t index) const {
    const auto add = [&](const crystal::PowderLine* line, double low, double high, double fwhm) {
        LineTable table;
        table.line = line;
        if (line != nullptr) {
            table.hkl = line->hkl;
        }
        table.pieces = std::max<std::size_t>(
            1, static_cast<std::size_t>(std::ceil((high - low) / (node_spacing * fwhm))));
        table.start = low;
        table.spacing = (high - low) / static_cast<double>(table.pieces);
        mover.lines.push_back(table);
    };

    if (mover.peak >= 0) {
        const SinglePeak& peak = model.peaks[mover.peak];
        add(nullptr, mover.lower[0], mover.upper[0], peak.fwhm.value);
    } else {
        const PhaseModel& phase = model.phases[mover.phase];
        const LineCalculator lines(model, phase, wavelength, width_floor());
        CalculatedLine calculated;
        ReciprocalMetric metric = metrics[index];
        for (const crystal::PowderLine& line : calculator.reflections(mover.phase)) {
            // Range of 1/d over the corners of the box of cells: it is monotonic in each length,
            // and nearly so in the angles over a few per cent; a margin covers the rest.
            double low = infinity, high = 0;
            std::vector<double> corner = mover.cell;
            for (std::size_t bits = 0; bits < (std::size_t{1} << mover.size()); ++bits) {
                for (std::size_t j = 0; j < mover.size(); ++j) {
                    corner[mover.which[j]] = (bits >> j & 1) != 0 ? mover.upper[j] : mover.lower[j];
                }
                if (metric.set(corner)) {
                    const double s = std::sqrt(metric.inverse_d_squared(line.hkl, nullptr));
                    low = std::min(low, s);
                    high = std::max(high, s);
                }
            }
            const double limit = 2 * 0.9998 / wavelength;
            high = std::min(high * 1.0002, limit);
            low *= 0.9998;
            if (!(low < high)) {
                continue;
            }
            const auto angle = [&](double s) {
                return 2 * degrees(std::asin(std::min(wavelength * s / 2, 1.0)));
            };
            if (!lines.calculate_at(low, line.intensity, calculated)) {
                continue;
            }
            const double reach = model.profile_range * calculated.profile.fwhm * 1.1;
            double low_end = calculated.position - reach;
            double fwhm = calculated.profile.fwhm;
            double high_end = infinity;
            if (lines.calculate_at(high, line.intensity, calculated)) {
                high_end =
                    calculated.position + model.profile_range * calculated.profile.fwhm * 1.1;
                fwhm = std::min(fwhm, calculated.profile.fwhm);
            }
            if (model.second) {
                const LineCalculator other(model, phase, model.second->wavelength, width_floor());
                if (other.calculate_at(low, line.intensity, calculated)) {
                    low_end = std::min(low_end, calculated.position - reach);
                }
                if (other.calculate_at(high, line.intensity, calculated)) {
                    high_end = std::max(high_end, calculated.position + reach);
                }
            }
            if (low_end > axis.edges().back() || high_end < axis.edges().front()) {
                continue;
            }
            // A peak far narrower than a channel moves through it at the channel's pace.
            fwhm = std::max(fwhm, 20 * width_floor());
            add(&line, angle(low), angle(high), fwhm);
        }
    }
}

void VoxelTables::build(const Mover& mover, ReciprocalMetric& metric, const double* values,
                        float* pattern, float* const* derivatives,
                        std::vector<LinePlace>& places) const {
    const std::size_t m = mover.size();
    std::memset(pattern, 0, stride * sizeof(float));
    for (std::size_t j = 0; j < m; ++j) {
        std::memset(derivatives[j], 0, stride * sizeof(float));
    }
    std::array<double, 6> cell{}, all_slopes{};
    if (mover.phase >= 0) {
        std::copy(mover.cell.begin(), mover.cell.end(), cell.begin());
        for (std::size_t j = 0; j < m; ++j) {
            cell[mover.which[j]] = values[j];
        }
        metric.set({cell.data(), mover.cell.size()});
    }
    places.clear();
    for (const LineTable& table : mover.lines) {
        LinePlace line;
        double at = values[0];
        line.slope[0] = 1;
        if (mover.phase >= 0) {
            const double inverse = metric.inverse_d_squared(table.hkl, all_slopes.data());
            const double sine = 0.5 * wavelength * std::sqrt(inverse);
            if (!(sine < 0.9999)) {
                continue;
            }
            at = 2 * degrees(std::asin(sine));
            const double chain =
                degrees(wavelength * wavelength) / (4 * sine * std::sqrt(1 - sine * sine));
            for (std::size_t j = 0; j < m; ++j) {
                line.slope[j] = chain * all_slopes[mover.which[j]];
            }
        }
        const double place = (at - table.start) / table.spacing;
        const auto index = static_cast<std::size_t>(
            std::clamp(place, 0.0, static_cast<double>(table.pieces) - 1e-9));
        const LineTable::Piece& piece = mover.pieces[table.first + index];
        if (piece.count == 0) {
            continue;
        }
        line.coefficients = mover.coefficients.data()[piece.offset].value;
        line.first = piece.first;
        line.count = piece.count / lanes;
        line.t = static_cast<float>(place - static_cast<double>(index));
        line.per_step = 1 / table.spacing;
        places.push_back(line);

        const std::size_t count = line.count;
        const float t = line.t, twice = 2, thrice = 3 * t;
        const Pack* c0 = packs(line.coefficients);
        const Pack *c1 = c0 + count, *c2 = c1 + count, *c3 = c2 + count;
        Pack* target = packs(pattern + line.first);
        if (m == 2) {
            Pack* first = packs(derivatives[0] + line.first);
            Pack* second = packs(derivatives[1] + line.first);
            const auto f0 = static_cast<float>(line.slope[0] * line.per_step);
            const auto f1 = static_cast<float>(line.slope[1] * line.per_step);
            for (std::size_t i = 0; i < count; ++i) {
                const Pack q1 = c1[i], q2 = c2[i], q3 = c3[i];
                target[i] += c0[i] + t * (q1 + t * (q2 + t * q3));
                const Pack d = q1 + t * (twice * q2 + thrice * q3);
                first[i] += f0 * d;
                second[i] += f1 * d;
            }
        } else {
            for (std::size_t i = 0; i < count; ++i) {
                target[i] += c0[i] + t * (c1[i] + t * (c2[i] + t * c3[i]));
            }
            for (std::size_t j = 0; j < m; ++j) {
                Pack* column = packs(derivatives[j] + line.first);
                const auto f = static_cast<float>(line.slope[j] * line.per_step);
                for (std::size_t i = 0; i < count; ++i) {
                    column[i] += f * (c1[i] + t * (twice * c2[i] + thrice * c3[i]));
                }
            }
        }
    }
}

/// Cells of the coarse search; their patterns are rows from `first` on.
void VoxelTables::list_search(Mover& mover, std::size_t first) const {
    mover.search_first = first;
    const double range = std::min(options.cell_search, options.cell_range);
    if (mover.phase < 0 || range <= 0) {
        return;
    }
    const auto free = model.phases[mover.phase].phase.free_parameters();
    std::vector<std::size_t> axes;
    for (std::size_t j = 0; j < mover.size(); ++j) {
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
    if (total > search_limit) {
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
            mover.search_cells.insert(mover.search_cells.end(), cell.begin(), cell.end());
            ++mover.search_count;
        }
    }
}

/// The patterns of all movers' searches, in parts. Collective over the team.
void VoxelTables::make_search(const SharedMemoryTeam& team) {
    std::size_t count = 0;
    for (Mover& mover : movers) {
        list_search(mover, count);
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
                for (std::size_t j = 0; j < mover.size(); ++j) {
                    phase.cell[mover.which[j]].value = mover.search_cells[i * mover.size() + j];
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

VoxelTables::VoxelTables(const RadialAxis& a, const PatternModel& m, const VoxelFitOptions& o,
                         const SharedMemoryTeam& team,
                         std::shared_ptr<const PatternCalculator> earlier)
    : axis(a), model(m), options(o),
      shared_calculator(earlier ? std::move(earlier)
                                : std::make_shared<const PatternCalculator>(
                                      a, m, std::max(0.06, 1.5 * o.cell_range))),
      calculator(*shared_calculator), n(a.size()), stride(padded(n)) {
    if (!(o.cell_range > 0) || o.cell_range > 0.1) {
        throw Error(fmt::format("voxel fit: cell_range is {}, expected a fraction up to 0.1",
                                o.cell_range));
    }
    if (!(o.cell_search >= 0) || !(o.significance >= 0) || !(o.tolerance > 0) ||
        o.max_iterations < 1) {
        throw Error("voxel fit: cell_search ≥ 0, significance ≥ 0, tolerance > 0 and "
                    "max_iterations ≥ 1 are expected");
    }
    wavelength = model.wavelength.value > 0 ? model.wavelength.value : axis.wavelength();
    std::set<std::string> chosen;
    const auto once = [&](const std::string& name) {
        if (!chosen.insert(name).second) {
            throw Error(fmt::format("voxel fit: '{}' is named twice", name));
        }
    };
    phase_mover.assign(model.phases.size(), -1);
    peak_mover.assign(model.peaks.size(), -1);
    for (const std::string& name : o.cell_phases) {
        once(name);
        phase_mover[model.find_phase(name)] = 0;
    }
    for (const std::string& name : o.position_peaks) {
        once(name);
        const auto found = std::find_if(model.peaks.begin(), model.peaks.end(),
                                        [&](const SinglePeak& peak) { return peak.name == name; });
        if (found == model.peaks.end()) {
            throw Error(fmt::format("there is no peak '{}' in the model", name));
        }
        peak_mover[static_cast<std::size_t>(found - model.peaks.begin())] = 0;
    }

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
        if (marked && !phase.cell[j].refine) {
            continue;
        }
        mover.which.push_back(j);
        const double reach = free[j] <= crystal::CellParameter::c ? options.cell_range * value
                                                                  : options.cell_range * 60;
        mover.start.push_back(value);
        mover.lower.push_back(std::max(value - reach, phase.cell[j].lower));
        mover.upper.push_back(std::min(value + reach, phase.cell[j].upper));
    }
    total_columns += mover.size();
    // A step may move the farthest-moving strong line by half its width.
    mover.largest_step.assign(mover.size(), infinity);
    const LineCalculator lines(model, phase, wavelength, width_floor());
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
                    const double width = std::max(calculated.profile.fwhm, 20 * width_floor());
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
    active.resize(tables.movers.size());
    places.resize(tables.movers.size());
    mass.resize(tables.model.phases.size());
}

} // namespace xrdct::rietveld
