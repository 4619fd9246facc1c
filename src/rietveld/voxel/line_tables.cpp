// SPDX-License-Identifier: BSD-3-Clause
#include "base/numbers.hpp"
#include "base/units.hpp"
#include "rietveld/voxel/voxel_tables.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

namespace xrdct::rietveld {

namespace {

constexpr double node_spacing = 1.0 / 10; ///< of the tables, in FWHM
constexpr double table_cut = 1e-6;        ///< of a line's height, ends of a table's rows

} // namespace

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
        const LineCalculator calculator_at(model, phase, lambda, width_floor(axis));
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
            piece.first = static_cast<std::uint32_t>(first / simd_width * simd_width);
            piece.count = static_cast<std::uint32_t>(padded(last) - piece.first);
        }
        coefficients.resize(piece.offset + 4 * piece.count / simd_width, Block{});
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
        blocks += 4 * piece.count / simd_width;
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
                std::copy_n(own.data() + piece.offset, 4 * piece.count / simd_width,
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

namespace {

/// Adds a line (null: a peak) between two angles [deg].
void add_table(const crystal::PowderLine* line, double low, double high, double fwhm,
               std::vector<LineTable>& tables) {
    LineTable table;
    table.line = line;
    if (line != nullptr) {
        table.hkl = line->hkl;
    }
    table.pieces = std::max<std::size_t>(
        1, static_cast<std::size_t>(std::ceil((high - low) / (node_spacing * fwhm))));
    table.start = low;
    table.spacing = (high - low) / static_cast<double>(table.pieces);
    tables.push_back(table);
}

/// Range of 1/d [Å⁻¹] of a line over the corners of the box of cells: it is monotonic in each
/// length, and nearly so in the angles over a few per cent; a margin covers the rest.
std::pair<double, double> spacing_range(const Mover& mover, ReciprocalMetric& metric,
                                        const crystal::Miller& hkl) {
    double low = infinity, high = 0;
    std::vector<double> corner = mover.cell;
    for (std::size_t bits = 0; bits < (std::size_t{1} << mover.size()); ++bits) {
        for (std::size_t j = 0; j < mover.size(); ++j) {
            corner[mover.which[j]] = (bits >> j & 1) != 0 ? mover.upper[j] : mover.lower[j];
        }
        if (metric.set(corner)) {
            const double s = std::sqrt(metric.inverse_d_squared(hkl, nullptr));
            low = std::min(low, s);
            high = std::max(high, s);
        }
    }
    return {low, high};
}

} // namespace

/// Least FWHM [deg] of a line between two values of 1/d, or nothing if the line does not touch the
/// axis there.
std::optional<double> VoxelTables::least_width(const PhaseModel& phase,
                                               const crystal::PowderLine& line, double low,
                                               double high) const {
    const LineCalculator lines(model, phase, wavelength, width_floor(axis));
    CalculatedLine calculated;
    if (!lines.calculate_at(low, line.intensity, calculated)) {
        return std::nullopt;
    }
    const double reach = model.profile_range * calculated.profile.fwhm * 1.1;
    double low_end = calculated.position - reach;
    double fwhm = calculated.profile.fwhm;
    double high_end = infinity;
    if (lines.calculate_at(high, line.intensity, calculated)) {
        high_end = calculated.position + model.profile_range * calculated.profile.fwhm * 1.1;
        fwhm = std::min(fwhm, calculated.profile.fwhm);
    }
    if (model.second) {
        const LineCalculator other(model, phase, model.second->wavelength, width_floor(axis));
        if (other.calculate_at(low, line.intensity, calculated)) {
            low_end = std::min(low_end, calculated.position - reach);
        }
        if (other.calculate_at(high, line.intensity, calculated)) {
            high_end = std::max(high_end, calculated.position + reach);
        }
    }
    if (low_end > axis.edges().back() || high_end < axis.edges().front()) {
        return std::nullopt;
    }
    return fwhm;
}

/// Which lines are tabulated where.
void VoxelTables::list_lines(Mover& mover, std::size_t index) const {
    if (mover.peak >= 0) {
        const SinglePeak& peak = model.peaks[mover.peak];
        add_table(nullptr, mover.lower[0], mover.upper[0], peak.fwhm.value, mover.lines);
        return;
    }
    const PhaseModel& phase = model.phases[mover.phase];
    ReciprocalMetric metric = metrics[index];
    const auto angle = [&](double s) {
        return 2 * degrees(std::asin(std::min(wavelength * s / 2, 1.0)));
    };
    for (const crystal::PowderLine& line : calculator.reflections(mover.phase)) {
        auto [low, high] = spacing_range(mover, metric, line.hkl);
        const double limit = 2 * 0.9998 / wavelength;
        high = std::min(high * 1.0002, limit);
        low *= 0.9998;
        if (!(low < high)) {
            continue;
        }
        if (const auto fwhm = least_width(phase, line, low, high)) {
            // A peak far narrower than a channel moves through it at the channel's pace.
            add_table(&line, angle(low), angle(high), std::max(*fwhm, 20 * width_floor(axis)),
                      mover.lines);
        }
    }
}

namespace {

/// Adds a line and its derivatives with two parameters.
inline void add_line_and_pair(const LinePlace& line, float* pattern, float* const* derivatives) {
    const std::size_t count = line.count;
    const float t = line.t, twice = 2, thrice = 3 * t;
    const Pack* c0 = packs(line.coefficients);
    const Pack *c1 = c0 + count, *c2 = c1 + count, *c3 = c2 + count;
    Pack* target = packs(pattern + line.first);
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
}

/// Adds a line and its derivatives with `m` parameters.
inline void add_line(const LinePlace& line, std::size_t m, float* pattern,
                     float* const* derivatives) {
    const std::size_t count = line.count;
    const float t = line.t, twice = 2, thrice = 3 * t;
    const Pack* c0 = packs(line.coefficients);
    const Pack *c1 = c0 + count, *c2 = c1 + count, *c3 = c2 + count;
    Pack* target = packs(pattern + line.first);
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

} // namespace

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
        line.count = piece.count / simd_width;
        line.t = static_cast<float>(place - static_cast<double>(index));
        line.per_step = 1 / table.spacing;
        places.push_back(line);
        if (m == 2) {
            add_line_and_pair(line, pattern, derivatives);
        } else {
            add_line(line, m, pattern, derivatives);
        }
    }
}

} // namespace xrdct::rietveld
