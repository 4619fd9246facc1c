#include "rietveld/voxel_fitter.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "rietveld/least_squares.hpp"
#include "rietveld/line_calculator.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <set>

namespace xrdct {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t lanes = 8;
constexpr double singular_pivot = 1e-7;   ///< of float32 normal equations
constexpr double node_spacing = 1.0 / 10; ///< of the tables, in FWHM
constexpr double table_cut = 1e-6;        ///< of a line's height, ends of a table's rows
constexpr std::size_t search_limit = 200; ///< patterns of the coarse cell search
constexpr double search_gain = 20;        ///< in χ², needed to leave the start cell

using Pack = float __attribute__((vector_size(lanes * sizeof(float)), may_alias));
struct alignas(lanes * sizeof(float)) Block {
    float value[lanes];
};

std::size_t padded(std::size_t n) {
    return (n + lanes - 1) / lanes * lanes;
}

/// Rows of floats, each aligned for vector loads and padded with zeros.
class Rows {
  public:
    Rows() = default;
    Rows(std::size_t count, std::size_t length)
        : stride_(padded(length)), data_(new (std::align_val_t{64}) float[count * stride_]()) {}
    float* operator[](std::size_t i) { return data_.get() + i * stride_; }
    const float* operator[](std::size_t i) const { return data_.get() + i * stride_; }

  private:
    struct Free {
        void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
    };
    std::size_t stride_ = 0;
    std::unique_ptr<float[], Free> data_;
};

double sum_lanes(const Pack& pack) {
    double sum = 0;
    for (std::size_t i = 0; i < lanes; ++i) {
        sum += static_cast<double>(pack[i]);
    }
    return sum;
}

const Pack* packs(const float* p) {
    return reinterpret_cast<const Pack*>(p);
}
Pack* packs(float* p) {
    return reinterpret_cast<Pack*>(p);
}

/// out[j] = a · b[j] for up to many rows b; four at a time.
void dots(const float* a, const float* const* b, std::size_t count, std::size_t n, double* out) {
    const Pack* pa = packs(a);
    const std::size_t m = n / lanes;
    std::size_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const Pack *b0 = packs(b[j]), *b1 = packs(b[j + 1]), *b2 = packs(b[j + 2]),
                   *b3 = packs(b[j + 3]);
        Pack s0{}, s1{}, s2{}, s3{};
        for (std::size_t k = 0; k < m; ++k) {
            const Pack v = pa[k];
            s0 += v * b0[k];
            s1 += v * b1[k];
            s2 += v * b2[k];
            s3 += v * b3[k];
        }
        out[j] = sum_lanes(s0);
        out[j + 1] = sum_lanes(s1);
        out[j + 2] = sum_lanes(s2);
        out[j + 3] = sum_lanes(s3);
    }
    for (; j < count; ++j) {
        const Pack* b0 = packs(b[j]);
        Pack s0{};
        for (std::size_t k = 0; k < m; ++k) {
            s0 += pa[k] * b0[k];
        }
        out[j] = sum_lanes(s0);
    }
}

/// Cubic pieces of one line's channel-averaged profile, as functions of its Bragg angle (or a
/// peak's position).
struct LineTable {
    Miller hkl{};
    double start = 0, spacing = 0; ///< deg
    std::size_t pieces = 0;
    struct Piece {
        std::size_t offset = 0;             ///< into the coefficients
        std::uint32_t first = 0, count = 0; ///< channels, multiples of the lane count
    };
    std::vector<Piece> piece;
};

/// Something whose column moves: a phase with refined cell, or a peak with refined position.
struct Mover {
    int phase = -1, peak = -1;
    std::size_t column = 0;                                ///< of its pattern
    std::size_t derivative = 0;                            ///< first of its derivative columns
    std::vector<double> start, lower, upper, largest_step; ///< of what moves
    std::vector<std::size_t> which; ///< phase: its independent cell parameters that move
    std::vector<double> cell;       ///< phase: all independent cell parameters at the start
    std::vector<LineTable> lines;
    std::vector<Block> coefficients;
    const ReciprocalMetric* metric = nullptr;       ///< prototype
    std::size_t search_first = 0, search_count = 0; ///< rows of the search patterns
    std::vector<double> search_cells;               ///< [search_count, start.size()]
    std::size_t size() const { return start.size(); }
};

} // namespace

struct VoxelFitter::Implementation {
    RadialAxis axis;
    PatternModel model;
    VoxelFitOptions options;
    PatternCalculator calculator;
    std::size_t n = 0, stride = 0;
    double wavelength = 0;

    enum class Kind { phase, background, peak };
    struct Column {
        Kind kind = Kind::phase;
        std::size_t index = 0;
        double factor = 1;                  ///< of the row: parameter = coefficient · factor
        double lower = 0, upper = infinity; ///< of the parameter
        bool refined = true;
        int mover = -1;
    };
    std::vector<Column> columns; ///< linear ones
    Rows start_rows;             ///< [columns]: pattern of each at the start
    std::vector<Mover> movers;
    std::vector<ReciprocalMetric> metrics;
    std::size_t total_columns = 0;
    Rows search_rows;
    std::vector<double> phase_weight; ///< Z M of each phase
    double interpolation_error = 0;
    std::vector<VoxelQuantity> quantities;
    std::vector<std::size_t> phase_column, peak_column, background_column;
    std::vector<int> phase_mover, peak_mover;

    Implementation(const RadialAxis& a, const PatternModel& m, const VoxelFitOptions& o);
    void tabulate(Mover& mover, std::size_t index);
    void exact_row(const Mover& mover, const PowderLine* line, double at,
                   std::vector<double>& value, std::vector<double>& slope) const;
    void make_search(Mover& mover, std::size_t& rows, std::vector<std::vector<double>>& patterns);
    double width_floor() const {
        return 0.05 * (axis.edges().back() - axis.edges().front()) / static_cast<double>(n);
    }
    /// Pattern (scaled by its column's factor) and derivatives of a mover.
    void build(const Mover& mover, ReciprocalMetric& metric, const double* values, float* pattern,
               float* const* derivatives) const;
};

namespace {

/// Lines of a mover with their strength, for tables; a peak has none and is handled by its
/// position.
double relative_reach(const PatternModel& model) {
    return model.profile_range;
}

} // namespace

/// Value and total derivative of one line (Σ over wavelengths) or unit-area peak at coordinate
/// `at`.
void VoxelFitter::Implementation::exact_row(const Mover& mover, const PowderLine* line, double at,
                                            std::vector<double>& value,
                                            std::vector<double>& slope) const {
    value.assign(n, 0);
    slope.assign(n, 0);
    ProfileBuffer profile;
    if (line == nullptr) {
        const SinglePeak& peak = model.peaks[mover.peak];
        channel_averaged_profile(axis, at, peak.fwhm.value, peak.mixing.value,
                                 relative_reach(model), true, profile);
        for (std::size_t i = 0; i < profile.size(); ++i) {
            value[profile.first + i] = profile.value[i];
            slope[profile.first + i] = profile.position[i];
        }
        return;
    }
    const PhaseModel& phase = model.phases[mover.phase];
    const double inverse_d = 2 * std::sin(radians(at) / 2) / wavelength;
    double first_slope = 0;
    for (int source = 0; source < (model.second ? 2 : 1); ++source) {
        const double lambda = source == 0 ? wavelength : model.second->wavelength;
        const double ratio = source == 0 ? 1 : model.second->ratio;
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
                                 calculated.profile.mixing, relative_reach(model), true, profile);
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

void VoxelFitter::Implementation::tabulate(Mover& mover, std::size_t index) {
    const double factor = columns[mover.column].factor;
    std::vector<double> value, slope, next_value, next_slope, middle, ignored;
    double highest_pattern = 0, largest_error = 0;
    for (std::size_t k = 0; k < n; ++k) {
        highest_pattern =
            std::max(highest_pattern, std::abs(static_cast<double>(start_rows[mover.column][k])));
    }
    const auto add = [&](const PowderLine* line, double low, double high, double fwhm) {
        LineTable table;
        if (line != nullptr) {
            table.hkl = line->hkl;
        }
        table.pieces = std::max<std::size_t>(
            1, static_cast<std::size_t>(std::ceil((high - low) / (node_spacing * fwhm))));
        table.start = low;
        table.spacing = (high - low) / static_cast<double>(table.pieces);
        exact_row(mover, line, low, value, slope);
        for (std::size_t j = 0; j < table.pieces; ++j) {
            const double at = low + table.spacing * static_cast<double>(j + 1);
            exact_row(mover, line, at, next_value, next_slope);
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
            LineTable::Piece piece;
            piece.offset = mover.coefficients.size();
            if (first < last) {
                piece.first = static_cast<std::uint32_t>(first / lanes * lanes);
                piece.count = static_cast<std::uint32_t>(padded(last) - piece.first);
            }
            mover.coefficients.resize(piece.offset + 4 * piece.count / lanes, Block{});
            float* rows = mover.coefficients.data()[piece.offset].value;
            const bool check = j % 4 == 0;
            if (check) {
                exact_row(mover, line, at - 0.5 * table.spacing, middle, ignored);
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
            table.piece.push_back(piece);
            value.swap(next_value);
            slope.swap(next_slope);
        }
        mover.lines.push_back(std::move(table));
    };

    if (mover.peak >= 0) {
        const SinglePeak& peak = model.peaks[mover.peak];
        add(nullptr, mover.lower[0], mover.upper[0], peak.fwhm.value);
    } else {
        const PhaseModel& phase = model.phases[mover.phase];
        const LineCalculator lines(model, phase, wavelength, width_floor());
        CalculatedLine calculated;
        ReciprocalMetric metric = metrics[index];
        for (const PowderLine& line : calculator.reflections(mover.phase)) {
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
            const double reach = relative_reach(model) * calculated.profile.fwhm * 1.1;
            double low_end = calculated.position - reach;
            double fwhm = calculated.profile.fwhm;
            double high_end = infinity;
            if (lines.calculate_at(high, line.intensity, calculated)) {
                high_end =
                    calculated.position + relative_reach(model) * calculated.profile.fwhm * 1.1;
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
    interpolation_error =
        std::max(interpolation_error, highest_pattern > 0 ? largest_error / highest_pattern : 0);
}

void VoxelFitter::Implementation::build(const Mover& mover, ReciprocalMetric& metric,
                                        const double* values, float* pattern,
                                        float* const* derivatives) const {
    const std::size_t m = mover.size();
    std::memset(pattern, 0, stride * sizeof(float));
    for (std::size_t j = 0; j < m; ++j) {
        std::memset(derivatives[j], 0, stride * sizeof(float));
    }
    std::array<double, 6> cell{}, all_slopes{}, slope{};
    if (mover.phase >= 0) {
        std::copy(mover.cell.begin(), mover.cell.end(), cell.begin());
        for (std::size_t j = 0; j < m; ++j) {
            cell[mover.which[j]] = values[j];
        }
        metric.set({cell.data(), mover.cell.size()});
    }
    for (const LineTable& table : mover.lines) {
        double at = values[0];
        slope[0] = 1;
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
                slope[j] = chain * all_slopes[mover.which[j]];
            }
        }
        const double place = (at - table.start) / table.spacing;
        const auto piece_index = static_cast<std::size_t>(
            std::clamp(place, 0.0, static_cast<double>(table.pieces) - 1e-9));
        const LineTable::Piece& piece = table.piece[piece_index];
        const auto t = static_cast<float>(place - static_cast<double>(piece_index));
        const std::size_t count = piece.count / lanes;
        if (count == 0) {
            continue;
        }
        const Pack* c0 = packs(mover.coefficients[piece.offset].value);
        const Pack *c1 = c0 + count, *c2 = c1 + count, *c3 = c2 + count;
        Pack* target = packs(pattern + piece.first);
        const auto per_step = static_cast<float>(1 / table.spacing);
        const float twice = 2, thrice = 3 * t;
        if (m == 2) {
            Pack* first = packs(derivatives[0] + piece.first);
            Pack* second = packs(derivatives[1] + piece.first);
            const auto f0 = static_cast<float>(slope[0]) * per_step;
            const auto f1 = static_cast<float>(slope[1]) * per_step;
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
                Pack* column = packs(derivatives[j] + piece.first);
                const auto f = static_cast<float>(slope[j]) * per_step;
                for (std::size_t i = 0; i < count; ++i) {
                    column[i] += f * (c1[i] + t * (twice * c2[i] + thrice * c3[i]));
                }
            }
        }
    }
}

void VoxelFitter::Implementation::make_search(Mover& mover, std::size_t& rows,
                                              std::vector<std::vector<double>>& patterns) {
    mover.search_first = rows;
    const double range = std::min(options.cell_search, options.cell_range);
    if (mover.phase < 0 || range <= 0) {
        return;
    }
    PatternModel trial = model;
    PhaseModel& phase = trial.phases[mover.phase];
    phase.scale.value = 1;
    const auto free = phase.phase.free_parameters();
    std::vector<std::size_t> axes;
    for (std::size_t j = 0; j < mover.size(); ++j) {
        if (free[mover.which[j]] <= CellParameter::c) {
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
    std::vector<double> row(n);
    for (std::size_t index = 0; index < total; ++index) {
        std::size_t rest = index;
        bool start = true;
        for (std::size_t j = 0; j < mover.size(); ++j) {
            phase.cell[mover.which[j]].value = mover.start[j];
        }
        for (const std::size_t j : axes) {
            const double place = static_cast<double>(rest % points) - static_cast<double>(half);
            phase.cell[mover.which[j]].value =
                std::clamp(mover.start[j] * (1 + range * place / static_cast<double>(half)),
                           mover.lower[j], mover.upper[j]);
            start = start && place == 0;
            rest /= points;
        }
        if (start) {
            continue;
        }
        calculator.evaluate_phase(trial, static_cast<std::size_t>(mover.phase), row);
        for (double& v : row) {
            v *= columns[mover.column].factor;
        }
        patterns.push_back(row);
        for (std::size_t j = 0; j < mover.size(); ++j) {
            mover.search_cells.push_back(phase.cell[mover.which[j]].value);
        }
        ++rows;
    }
    mover.search_count = rows - mover.search_first;
}

VoxelFitter::Implementation::Implementation(const RadialAxis& a, const PatternModel& m,
                                            const VoxelFitOptions& o)
    : axis(a), model(m), options(o), calculator(a, m, std::max(0.06, 1.5 * o.cell_range)),
      n(a.size()), stride(padded(n)) {
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

    std::vector<std::vector<double>> patterns;
    const auto add = [&](Kind kind, std::size_t index, const Parameter& parameter,
                         std::vector<double> row) {
        Column column;
        column.kind = kind;
        column.index = index;
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
        column.lower = parameter.lower;
        column.upper = parameter.upper;
        column.refined = parameter.refine;
        if (!column.refined) {
            column.lower = column.upper = parameter.value;
        }
        columns.push_back(column);
        patterns.push_back(std::move(row));
        return columns.size() - 1;
    };
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        PatternModel unit = model;
        unit.phases[p].scale.value = 1;
        std::vector<double> row(n);
        calculator.evaluate_phase(unit, p, row);
        phase_column.push_back(add(Kind::phase, p, model.phases[p].scale, std::move(row)));
        phase_weight.push_back(model.phases[p].phase.cell_mass());
    }
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        std::vector<double> row(n);
        calculator.chebyshev(i, row);
        background_column.push_back(add(Kind::background, i, model.background[i], std::move(row)));
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        const SinglePeak& peak = model.peaks[i];
        ProfileBuffer profile;
        channel_averaged_profile(axis, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model.profile_range, false, profile);
        std::vector<double> row(n, 0.0);
        std::copy(profile.value.begin(), profile.value.end(),
                  row.begin() + static_cast<std::ptrdiff_t>(profile.first));
        peak_column.push_back(add(Kind::peak, i, peak.area, std::move(row)));
    }
    start_rows = Rows(std::max<std::size_t>(columns.size(), 1), n);
    for (std::size_t c = 0; c < columns.size(); ++c) {
        std::copy(patterns[c].begin(), patterns[c].end(), start_rows[c]);
    }

    total_columns = columns.size();
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        if (phase_mover[p] < 0) {
            continue;
        }
        const PhaseModel& phase = model.phases[p];
        Mover mover;
        mover.phase = static_cast<int>(p);
        mover.column = phase_column[p];
        mover.derivative = total_columns;
        const bool marked =
            std::any_of(phase.cell.begin(), phase.cell.end(),
                        [](const Parameter& parameter) { return parameter.refine; });
        const auto free = phase.phase.free_parameters();
        for (std::size_t j = 0; j < phase.cell.size(); ++j) {
            const double value = phase.cell[j].value;
            mover.cell.push_back(value);
            if (marked && !phase.cell[j].refine) {
                continue;
            }
            mover.which.push_back(j);
            const double reach =
                free[j] <= CellParameter::c ? o.cell_range * value : o.cell_range * 60;
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
            for (const PowderLine& line : calculator.reflections(p)) {
                if (!lines.calculate(line, calculated) ||
                    calculated.position > axis.edges().back() ||
                    calculated.position < axis.edges().front()) {
                    continue;
                }
                if (pass == 0) {
                    strongest = std::max(strongest, calculated.intensity);
                } else if (calculated.intensity > 0.03 * strongest) {
                    for (std::size_t j = 0; j < mover.size(); ++j) {
                        const double rate = std::abs(calculated.bragg_slope *
                                                     calculated.cell_slope[mover.which[j]]);
                        const double width = std::max(calculated.profile.fwhm, 20 * width_floor());
                        if (rate > 0) {
                            mover.largest_step[j] =
                                std::min(mover.largest_step[j], 0.5 * width / rate);
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
        columns[mover.column].mover = phase_mover[p];
        metrics.emplace_back(phase);
        movers.push_back(std::move(mover));
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        if (peak_mover[i] < 0) {
            continue;
        }
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
        columns[mover.column].mover = peak_mover[i];
        if (!model.phases.empty()) {
            metrics.emplace_back(model.phases.front());
        }
        movers.push_back(std::move(mover));
    }
    std::size_t rows = 0;
    std::vector<std::vector<double>> search;
    for (std::size_t i = 0; i < movers.size(); ++i) {
        tabulate(movers[i], i);
        make_search(movers[i], rows, search);
    }
    search_rows = Rows(std::max<std::size_t>(rows, 1), n);
    for (std::size_t i = 0; i < rows; ++i) {
        std::copy(search[i].begin(), search[i].end(), search_rows[i]);
    }

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
                const CellParameter parameter = free[j];
                quantity(phase.name, std::string(to_string(parameter)),
                         parameter <= CellParameter::c ? "angstrom" : "deg");
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

// ---- one voxel
// ----------------------------------------------------------------------------------------------------

struct VoxelFitter::Workspace::State {
    Rows data;   ///< 0 intensity, 1 weight, 2 residual, 3 weight · residual, 4 weight · intensity
    Rows moving; ///< patterns and derivatives of movers: [total_columns]
    Rows weighted; ///< weight · column, [total_columns]
    std::vector<const float*> column;
    std::vector<double> gram, accepted_gram, right, x, lower, upper, joint, joint_gradient, step,
        inverse;
    std::vector<std::int8_t> state;
    std::vector<double> values, trial, accepted_values, dot;
    std::vector<bool> active;
    std::vector<int> list;
    std::vector<ReciprocalMetric> metrics;
    BoundedSolver solver;
    SmallCholesky cholesky;
    std::vector<const float*> rows;
};

VoxelFitter::Workspace::Workspace(const VoxelFitter& fitter) : state_(std::make_unique<State>()) {
    const Implementation& f = *fitter.implementation_;
    State& s = *state_;
    const std::size_t k = f.total_columns;
    s.data = Rows(5, f.n);
    s.moving = Rows(std::max<std::size_t>(k, 1), f.n);
    s.weighted = Rows(std::max<std::size_t>(k, 1), f.n);
    s.column.resize(k);
    s.rows.resize(k);
    s.gram.resize(k * k);
    s.joint.resize(k * k);
    s.inverse.resize(k * k);
    for (auto* v : {&s.right, &s.x, &s.lower, &s.upper, &s.joint_gradient, &s.step, &s.dot}) {
        v->resize(k);
    }
    s.state.resize(k);
    std::size_t count = 0;
    for (const Mover& mover : f.movers) {
        count += mover.size();
    }
    s.values.resize(count);
    s.trial.resize(count);
    s.accepted_values.resize(count);
    s.active.resize(f.movers.size());
    s.metrics = f.metrics;
}
VoxelFitter::Workspace::~Workspace() = default;
VoxelFitter::Workspace::Workspace(Workspace&&) noexcept = default;
VoxelFitter::Workspace& VoxelFitter::Workspace::operator=(Workspace&&) noexcept = default;

VoxelFitter::VoxelFitter(const RadialAxis& axis, const PatternModel& start,
                         const VoxelFitOptions& options)
    : implementation_(std::make_unique<const Implementation>(axis, start, options)) {}
VoxelFitter::~VoxelFitter() = default;
VoxelFitter::VoxelFitter(VoxelFitter&&) noexcept = default;
VoxelFitter& VoxelFitter::operator=(VoxelFitter&&) noexcept = default;

std::size_t VoxelFitter::channel_count() const {
    return implementation_->n;
}
const RadialAxis& VoxelFitter::axis() const {
    return implementation_->axis;
}
const PatternModel& VoxelFitter::model() const {
    return implementation_->model;
}
const VoxelFitOptions& VoxelFitter::options() const {
    return implementation_->options;
}
double VoxelFitter::interpolation_error() const {
    return implementation_->interpolation_error;
}
const std::vector<VoxelQuantity>& VoxelFitter::quantities() const {
    return implementation_->quantities;
}

VoxelFit VoxelFitter::fit(std::span<const float> intensity, std::span<const float> variance) const {
    Workspace workspace(*this);
    VoxelFit result;
    fit(intensity, variance, workspace, result);
    return result;
}

void VoxelFitter::fit(std::span<const float> intensity, std::span<const float> variance,
                      Workspace& workspace, VoxelFit& result) const {
    const Implementation& f = *implementation_;
    Workspace::State& s = *workspace.state_;
    const std::size_t n = f.n, stride = f.stride, linear = f.columns.size();
    const std::size_t total = f.total_columns;
    if (intensity.size() != n || (!variance.empty() && variance.size() != n)) {
        throw Error(
            fmt::format("a voxel's pattern has {} channels and its variance {}, expected {}",
                        intensity.size(), variance.size(), n));
    }
    const bool unit_weights = variance.empty();

    result.status = FitStatus::masked;
    result.iterations = 0;
    result.rwp = result.gof = nan_value;
    result.phases.resize(f.model.phases.size());
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        VoxelPhaseFit& phase = result.phases[p];
        phase.scale = phase.scale_esd = phase.weight_fraction = phase.weight_fraction_esd =
            nan_value;
        phase.cell.fill(nan_value);
        phase.cell_esd.fill(nan_value);
        phase.status = VoxelPhaseStatus::insignificant;
    }
    result.peaks.assign(f.model.peaks.size(), {nan_value, nan_value, nan_value, nan_value});
    result.background.assign(f.model.background.size(), nan_value);
    result.background_esd.assign(f.model.background.size(), nan_value);

    // Load, bringing intensities and weights to the order of 1: y = data_scale · y', w = w' /
    // smallest variance.
    float* y = s.data[0];
    float* w = s.data[1];
    float* residual = s.data[2];
    float* weighted_residual = s.data[3];
    float* wy = s.data[4];
    constexpr float largest = std::numeric_limits<float>::max();
    std::copy(intensity.begin(), intensity.end(), y);
    if (unit_weights) {
        std::fill(w, w + n, 1.0f);
    } else {
        std::copy(variance.begin(), variance.end(), w);
    }
    std::size_t valid = 0;
    float highest = 0, least = largest;
    for (std::size_t k = 0; k < n; ++k) {
        // Written without branches; comparisons with NaN are false.
        const bool good = static_cast<int>(std::abs(y[k]) <= largest) & static_cast<int>(w[k] > 0) &
                          static_cast<int>(w[k] <= largest);
        y[k] = good ? y[k] : 0.0f;
        w[k] = good ? w[k] : 0.0f;
        valid += static_cast<std::size_t>(good);
        highest = std::max(highest, std::abs(y[k]));
        least = std::min(least, good ? w[k] : largest);
    }
    std::size_t refined = 0;
    for (const auto& column : f.columns) {
        refined += column.refined ? 1 : 0;
    }
    if (valid <= total || valid <= refined) {
        return;
    }
    if (highest < 1e-36f) {
        highest = 1;
    }
    const double data_scale = static_cast<double>(highest);
    const double chi_unit =
        data_scale * data_scale / static_cast<double>(least); ///< χ² = chi_unit · Σ w' r'²
    {
        const float inverse_scale = 1 / highest;
        for (std::size_t k = 0; k < n; ++k) {
            y[k] *= inverse_scale;
            w[k] = w[k] > 0 ? least / w[k] : 0.0f;
            wy[k] = w[k] * y[k];
        }
    }
    double weighted_squares = 0;
    {
        Pack sum{};
        for (std::size_t k = 0; k < stride / lanes; ++k) {
            sum += packs(wy)[k] * packs(y)[k];
        }
        weighted_squares = sum_lanes(sum);
    }

    // Columns at the start.
    for (std::size_t c = 0; c < linear; ++c) {
        s.column[c] = f.start_rows[c];
    }
    for (std::size_t m = 0; m < f.movers.size(); ++m) {
        for (std::size_t j = 0; j < f.movers[m].size(); ++j) {
            s.column[f.movers[m].derivative + j] = s.moving[f.movers[m].derivative + j];
        }
    }
    const auto weigh = [&](std::size_t c) {
        const Pack* source = packs(s.column[c]);
        const Pack* weight = packs(w);
        Pack* target = packs(s.weighted[c]);
        for (std::size_t k = 0; k < stride / lanes; ++k) {
            target[k] = weight[k] * source[k];
        }
    };
    // Row `c` of the normal matrix against the columns in `others`.
    const auto gram_row = [&](std::size_t c, const std::vector<int>& others) {
        for (std::size_t i = 0; i < others.size(); ++i) {
            s.rows[i] = s.column[others[i]];
        }
        dots(s.weighted[c], s.rows.data(), others.size(), stride, s.dot.data());
        for (std::size_t i = 0; i < others.size(); ++i) {
            const auto o = static_cast<std::size_t>(others[i]);
            s.gram[c * total + o] = s.gram[o * total + c] = s.dot[i];
        }
    };
    for (std::size_t c = 0; c < linear; ++c) {
        weigh(c);
        s.list.resize(c + 1);
        for (std::size_t i = 0; i <= c; ++i) {
            s.list[i] = static_cast<int>(i);
        }
        gram_row(c, s.list);
        const double unit = f.columns[c].factor * data_scale; // parameter = coefficient · unit
        s.lower[c] = f.columns[c].lower / unit;
        s.upper[c] = f.columns[c].upper / unit;
        s.state[c] = s.lower[c] == s.upper[c] ? -1 : 0;
    }
    dots(wy, s.column.data(), linear, stride, s.right.data());

    const auto solve_linear = [&] {
        s.solver.solve(s.gram.data(), static_cast<int>(linear), static_cast<int>(total),
                       s.right.data(), s.lower.data(), s.upper.data(), s.x.data(), s.state.data(),
                       singular_pivot);
    };
    // Residual of the current linear solution; returns Σ w' r'².
    const auto update_residual = [&]() -> double {
        Pack* r = packs(residual);
        Pack* wr = packs(weighted_residual);
        const Pack* pw = packs(w);
        const std::size_t m = stride / lanes;
        std::memcpy(residual, y, stride * sizeof(float));
        std::size_t c = 0;
        for (; c + 2 <= linear; c += 2) {
            const auto x0 = static_cast<float>(s.x[c]), x1 = static_cast<float>(s.x[c + 1]);
            const Pack *c0 = packs(s.column[c]), *c1 = packs(s.column[c + 1]);
            for (std::size_t k = 0; k < m; ++k) {
                r[k] -= x0 * c0[k] + x1 * c1[k];
            }
        }
        if (c < linear) {
            const auto x0 = static_cast<float>(s.x[c]);
            const Pack* c0 = packs(s.column[c]);
            for (std::size_t k = 0; k < m; ++k) {
                r[k] -= x0 * c0[k];
            }
        }
        Pack sum{};
        for (std::size_t k = 0; k < m; ++k) {
            wr[k] = pw[k] * r[k];
            sum += wr[k] * r[k];
        }
        return sum_lanes(sum);
    };
    const auto degrees_of_freedom = [&](std::size_t nonlinear) {
        return std::max(1.0, static_cast<double>(valid) - static_cast<double>(refined + nonlinear));
    };
    // Variance of unit weight in units of w' r'²; at least the given one unless none was given.
    const auto unit_variance = [&](double objective, std::size_t nonlinear) {
        const double reduced = objective / degrees_of_freedom(nonlinear);
        return unit_weights ? reduced : std::max(reduced, 1 / chi_unit);
    };

    solve_linear();
    double objective = update_residual();

    // Which moving phases carry enough signal for a cell? Judged with the others free.
    std::size_t offset = 0;
    const auto place_of = [&](std::size_t mover) {
        std::size_t place = 0;
        for (std::size_t i = 0; i < mover; ++i) {
            place += f.movers[i].size();
        }
        return place;
    };
    for (std::size_t m = 0; m < f.movers.size(); ++m) {
        std::copy(f.movers[m].start.begin(), f.movers[m].start.end(),
                  s.values.begin() + static_cast<std::ptrdiff_t>(offset));
        offset += f.movers[m].size();
        s.active[m] = true;
    }
    std::fill(s.accepted_values.begin(), s.accepted_values.end(), 0.0);

    // Coarse search: the pattern of another cell against what the other columns leave.
    for (std::size_t m = 0; m < f.movers.size(); ++m) {
        const Mover& mover = f.movers[m];
        if (mover.search_count == 0) {
            continue;
        }
        const std::size_t c = mover.column;
        // weight · (residual with this phase's part put back)
        const auto x = static_cast<float>(s.x[c]);
        float* target = s.weighted[mover.derivative]; // free until the first iteration
        for (std::size_t k = 0; k < stride; ++k) {
            target[k] = weighted_residual[k] + x * s.weighted[c][k];
        }
        const auto gain = [&](const float* row) {
            const Pack *p = packs(row), *t = packs(target), *pw = packs(w);
            Pack a{}, b{};
            for (std::size_t k = 0; k < stride / lanes; ++k) {
                a += p[k] * t[k];
                b += pw[k] * p[k] * p[k];
            }
            const double projection = sum_lanes(a), norm = sum_lanes(b);
            return projection > 0 && norm > 0 ? projection * projection / norm : 0;
        };
        double best = gain(s.column[c]) + search_gain * unit_variance(objective, 0);
        std::size_t found = mover.search_count;
        for (std::size_t i = 0; i < mover.search_count; ++i) {
            const double value = gain(f.search_rows[mover.search_first + i]);
            if (value > best) {
                best = value;
                found = i;
            }
        }
        if (found < mover.search_count) {
            const std::size_t place = place_of(m);
            std::copy_n(mover.search_cells.begin() +
                            static_cast<std::ptrdiff_t>(found * mover.size()),
                        mover.size(), s.values.begin() + static_cast<std::ptrdiff_t>(place));
        }
    }

    std::vector<int>& list = s.list;
    const auto refresh = [&](const std::vector<double>& values) {
        // Moving columns at `values`, their rows of the normal matrix and right-hand side.
        std::array<float*, 6> derivatives{};
        for (std::size_t m = 0; m < f.movers.size(); ++m) {
            const Mover& mover = f.movers[m];
            if (!s.active[m]) {
                continue;
            }
            for (std::size_t j = 0; j < mover.size(); ++j) {
                derivatives[j] = s.moving[mover.derivative + j];
            }
            f.build(mover, m < s.metrics.size() ? s.metrics[m] : s.metrics.front(),
                    values.data() + place_of(m), s.moving[mover.column], derivatives.data());
            s.column[mover.column] = s.moving[mover.column];
        }
        list.clear();
        for (std::size_t c = 0; c < linear; ++c) {
            list.push_back(static_cast<int>(c));
        }
        for (std::size_t m = 0; m < f.movers.size(); ++m) {
            const Mover& mover = f.movers[m];
            if (!s.active[m]) {
                continue;
            }
            for (std::size_t j = 0; j < mover.size(); ++j) {
                list.push_back(static_cast<int>(mover.derivative + j));
            }
        }
        for (std::size_t m = 0; m < f.movers.size(); ++m) {
            const Mover& mover = f.movers[m];
            if (!s.active[m]) {
                continue;
            }
            weigh(mover.column);
            gram_row(mover.column, list);
            const float* row = s.column[mover.column];
            dots(wy, &row, 1, stride, &s.right[mover.column]);
            for (std::size_t j = 0; j < mover.size(); ++j) {
                weigh(mover.derivative + j);
                gram_row(mover.derivative + j, list);
            }
        }
    };
    const auto rest = [&](std::size_t m) {
        const Mover& mover = f.movers[m];
        s.active[m] = false;
        s.column[mover.column] = f.start_rows[mover.column];
        weigh(mover.column);
        list.clear();
        for (std::size_t c = 0; c < linear; ++c) {
            list.push_back(static_cast<int>(c));
        }
        gram_row(mover.column, list);
        const float* row = s.column[mover.column];
        dots(wy, &row, 1, stride, &s.right[mover.column]);
        std::copy(mover.start.begin(), mover.start.end(),
                  s.values.begin() + static_cast<std::ptrdiff_t>(place_of(m)));
    };

    // Joint normal matrix of free linear and active moving parameters; fills `list` with column
    // indices.
    const auto make_joint = [&](double damping) {
        list.clear();
        for (std::size_t c = 0; c < linear; ++c) {
            if (s.state[c] == 0) {
                list.push_back(static_cast<int>(c));
            }
        }
        for (std::size_t m = 0; m < f.movers.size(); ++m) {
            if (s.active[m] && s.x[f.movers[m].column] > 0) {
                for (std::size_t j = 0; j < f.movers[m].size(); ++j) {
                    list.push_back(static_cast<int>(f.movers[m].derivative + j));
                }
            }
        }
        const std::size_t count = list.size();
        const auto amplitude = [&](int column) {
            if (static_cast<std::size_t>(column) < linear) {
                return 1.0;
            }
            std::size_t m = f.movers.size();
            while (m-- > 0) {
                if (f.movers[m].derivative <= static_cast<std::size_t>(column)) {
                    break;
                }
            }
            return s.x[f.movers[m].column];
        };
        std::array<double, 64> stack{};
        std::vector<double> heap;
        double* scale = stack.data();
        if (count > stack.size()) {
            heap.resize(count);
            scale = heap.data();
        }
        for (std::size_t i = 0; i < count; ++i) {
            scale[i] = amplitude(list[i]);
        }
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t j = 0; j <= i; ++j) {
                s.joint[i * count + j] = s.gram[static_cast<std::size_t>(list[i]) * total +
                                                static_cast<std::size_t>(list[j])] *
                                         scale[i] * scale[j];
            }
            if (static_cast<std::size_t>(list[i]) >= linear) {
                s.joint[i * count + i] *= 1 + damping;
            }
            s.joint_gradient[i] = scale[i];
        }
        return count;
    };

    bool converged = true;
    std::size_t nonlinear = 0;
    for (std::size_t round = 0; round <= f.movers.size(); ++round) {
        nonlinear = 0;
        for (std::size_t m = 0; m < f.movers.size(); ++m) {
            nonlinear += s.active[m] ? f.movers[m].size() : 0;
        }
        if (nonlinear > 0) {
            converged = false;
            double damping = 0;
            objective = infinity;
            s.trial = s.values;
            for (int iteration = 0; iteration < f.options.max_iterations; ++iteration) {
                ++result.iterations;
                refresh(s.trial);
                solve_linear();
                const double trial_objective = update_residual();
                if (!(trial_objective <= objective * (1 + 1e-6))) {
                    damping = damping == 0 ? 0.3 : damping * 8;
                    if (damping > 1e6) {
                        // No descent within rounding: the accepted point is the minimum.
                        s.trial = s.values;
                        refresh(s.trial);
                        solve_linear();
                        objective = update_residual();
                        converged = true;
                        break;
                    }
                    // Half-way back needs no stored matrices and stays on the same line.
                    bool same = true;
                    for (std::size_t i = 0; i < s.trial.size(); ++i) {
                        const double back = s.values[i] + 0.3 * (s.trial[i] - s.values[i]);
                        same = same && back == s.trial[i];
                        s.trial[i] = back;
                    }
                    if (same) {
                        converged = true;
                        break;
                    }
                    continue;
                }
                objective = std::min(trial_objective, objective);
                s.values = s.trial;
                damping = damping > 1e-2 ? damping * 0.2 : 0;
                const std::size_t count = make_joint(damping);
                s.cholesky.factor(s.joint.data(), static_cast<int>(count), static_cast<int>(count),
                                  singular_pivot);
                double predicted = 0;
                for (std::size_t i = 0; i < count; ++i) {
                    const auto c = static_cast<std::size_t>(list[i]);
                    s.rows[i] = s.column[c];
                }
                dots(weighted_residual, s.rows.data(), count, stride, s.dot.data());
                for (std::size_t i = 0; i < count; ++i) {
                    s.dot[i] *= s.joint_gradient[i];
                    if (static_cast<std::size_t>(list[i]) < linear) {
                        s.dot[i] = 0; // at its optimum
                    }
                }
                s.cholesky.solve(s.dot.data(), s.step.data());
                for (std::size_t i = 0; i < count; ++i) {
                    predicted += s.step[i] * s.dot[i];
                }
                // Move, no farther than the tables and the trust in linearity allow.
                bool moved = false;
                for (std::size_t m = 0, i = 0; m < f.movers.size(); ++m) {
                    const Mover& mover = f.movers[m];
                    if (!s.active[m]) {
                        continue;
                    }
                    while (i < count && static_cast<std::size_t>(list[i]) < mover.derivative) {
                        ++i;
                    }
                    if (i >= count || static_cast<std::size_t>(list[i]) != mover.derivative) {
                        continue;
                    }
                    double shrink = 1;
                    for (std::size_t j = 0; j < mover.size(); ++j) {
                        const double size = std::abs(s.step[i + j]);
                        if (size > mover.largest_step[j]) {
                            shrink = std::min(shrink, mover.largest_step[j] / size);
                        }
                    }
                    const std::size_t place = place_of(m);
                    for (std::size_t j = 0; j < mover.size(); ++j) {
                        const double before = s.values[place + j];
                        s.trial[place + j] = std::clamp(before + shrink * s.step[i + j],
                                                        mover.lower[j], mover.upper[j]);
                        moved = moved || s.trial[place + j] != before;
                    }
                }
                const double tolerance =
                    f.options.tolerance * f.options.tolerance * unit_variance(objective, nonlinear);
                if (!moved || predicted < tolerance) {
                    converged = true;
                    break;
                }
            }
            if (!converged) {
                s.trial = s.values;
                refresh(s.trial);
                solve_linear();
                objective = update_residual();
            }
        }

        // Significance of what moved; the weakest that fails rests, and the others are fitted
        // again.
        const std::size_t count = make_joint(0);
        s.cholesky.factor(s.joint.data(), static_cast<int>(count), static_cast<int>(count),
                          singular_pivot);
        s.cholesky.invert(s.inverse.data());
        const double unit = unit_variance(objective, nonlinear);
        double weakest = f.options.significance;
        std::size_t failing = f.movers.size();
        for (std::size_t m = 0; m < f.movers.size(); ++m) {
            if (!s.active[m]) {
                continue;
            }
            double ratio = 0;
            const auto c = static_cast<int>(f.movers[m].column);
            if (f.columns[f.movers[m].column].refined) {
                for (std::size_t i = 0; i < count; ++i) {
                    if (list[i] == c && s.inverse[i * count + i] > 0) {
                        ratio = s.x[c] / std::sqrt(s.inverse[i * count + i] * unit);
                    }
                }
            } else {
                ratio = infinity;
            }
            if (!(ratio >= weakest)) {
                weakest = ratio;
                failing = m;
            }
        }
        if (failing == f.movers.size()) {
            break;
        }
        rest(failing);
        solve_linear();
        objective = update_residual();
    }

    // ---- results
    nonlinear = 0;
    for (std::size_t m = 0; m < f.movers.size(); ++m) {
        nonlinear += s.active[m] ? f.movers[m].size() : 0;
    }
    const std::size_t count = make_joint(0);
    const int dependent = s.cholesky.factor(s.joint.data(), static_cast<int>(count),
                                            static_cast<int>(count), singular_pivot);
    s.cholesky.invert(s.inverse.data());
    const double reduced = objective / degrees_of_freedom(nonlinear);
    double variance_factor = 1 / chi_unit;
    if (unit_weights || (f.options.scale_errors && reduced > variance_factor)) {
        variance_factor = reduced;
    }
    result.rwp = weighted_squares > 0 ? std::sqrt(objective / weighted_squares) : nan_value;
    result.gof = unit_weights ? nan_value : std::sqrt(reduced * chi_unit);
    if (unit_weights) {
        result.gof = 1;
    }

    // Position of each column among the free ones.
    const auto position_of = [&](std::size_t column) -> int {
        for (std::size_t i = 0; i < count; ++i) {
            if (list[i] == static_cast<int>(column)) {
                return static_cast<int>(i);
            }
        }
        return -1;
    };
    const auto coefficient_esd = [&](std::size_t c) {
        if (!f.columns[c].refined) {
            return 0.0;
        }
        const double unit = f.columns[c].factor * data_scale;
        const int i = position_of(c);
        if (i >= 0) {
            const double v =
                s.inverse[static_cast<std::size_t>(i) * count + static_cast<std::size_t>(i)];
            return v > 0 ? unit * std::sqrt(v * variance_factor) : nan_value;
        }
        // On its bound: what it would be if free, from the Schur complement.
        double schur = s.gram[c * total + c];
        for (std::size_t a = 0; a < count; ++a) {
            for (std::size_t b = 0; b < count; ++b) {
                const double ga =
                    s.gram[c * total + static_cast<std::size_t>(list[a])] * s.joint_gradient[a];
                const double gb =
                    s.gram[c * total + static_cast<std::size_t>(list[b])] * s.joint_gradient[b];
                schur -= ga * gb * s.inverse[a * count + b];
            }
        }
        return schur > 0 ? unit * std::sqrt(variance_factor / schur) : nan_value;
    };

    bool any_significant = false, any_bound = false;
    double mass = 0;
    std::array<double, 64> mass_stack{};
    std::vector<double> mass_heap;
    double* phase_mass = mass_stack.data();
    if (result.phases.size() > mass_stack.size()) {
        mass_heap.resize(result.phases.size());
        phase_mass = mass_heap.data();
    }
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        VoxelPhaseFit& phase = result.phases[p];
        const std::size_t c = f.phase_column[p];
        phase.scale = s.x[c] * f.columns[c].factor * data_scale;
        phase.scale_esd = coefficient_esd(c);
        const double judged =
            phase.scale_esd * std::sqrt(unit_variance(objective, nonlinear) / variance_factor);
        const bool significant = phase.scale > 0 && phase.scale >= f.options.significance * judged;
        any_significant = any_significant || significant;
        phase.status = significant ? VoxelPhaseStatus::refined : VoxelPhaseStatus::insignificant;
        const PhaseModel& model_phase = f.model.phases[p];
        std::array<double, 6> cell{};
        for (std::size_t j = 0; j < model_phase.cell.size(); ++j) {
            cell[j] = model_phase.cell[j].value;
        }
        const int m = f.phase_mover[p];
        if (m >= 0 && s.active[m] && significant) {
            const Mover& mover = f.movers[m];
            const std::size_t place = place_of(static_cast<std::size_t>(m));
            bool bound = false;
            for (std::size_t j = 0; j < mover.size(); ++j) {
                const double value = s.values[place + j];
                bound = bound || value <= mover.lower[j] || value >= mover.upper[j];
            }
            if (bound) {
                phase.status = VoxelPhaseStatus::at_bound;
                any_bound = true;
            } else {
                for (std::size_t j = 0; j < mover.size(); ++j) {
                    const int i = position_of(mover.derivative + j);
                    const double v = i >= 0 ? s.inverse[static_cast<std::size_t>(i) * count +
                                                        static_cast<std::size_t>(i)]
                                            : 0;
                    if (v > 0) {
                        cell[mover.which[j]] = phase.cell[mover.which[j]] = s.values[place + j];
                        phase.cell_esd[mover.which[j]] = std::sqrt(v * variance_factor);
                    }
                }
            }
        }
        const UnitCell unit_cell =
            cell_from_independent(model_phase.phase.crystal_system(),
                                  std::span<const double>(cell.data(), model_phase.cell.size()),
                                  model_phase.phase.unique_axis());
        phase_mass[p] = f.phase_weight[p] * unit_cell.volume();
        mass += phase.scale * phase_mass[p];
    }
    for (std::size_t p = 0; p < result.phases.size() && mass > 0; ++p) {
        VoxelPhaseFit& phase = result.phases[p];
        phase.weight_fraction = phase.scale * phase_mass[p] / mass;
        double variance_sum = 0;
        for (std::size_t q = 0; q < result.phases.size(); ++q) {
            const int i = position_of(f.phase_column[q]);
            if (i < 0) {
                continue;
            }
            for (std::size_t r = 0; r < result.phases.size(); ++r) {
                const int j = position_of(f.phase_column[r]);
                if (j < 0) {
                    continue;
                }
                const auto slope = [&](std::size_t t) {
                    return phase_mass[t] / mass * ((t == p ? 1.0 : 0.0) - phase.weight_fraction) *
                           f.columns[f.phase_column[t]].factor * data_scale;
                };
                variance_sum +=
                    slope(q) * slope(r) *
                    s.inverse[static_cast<std::size_t>(i) * count + static_cast<std::size_t>(j)];
            }
        }
        phase.weight_fraction_esd = std::sqrt(std::max(variance_sum, 0.0) * variance_factor);
    }
    for (std::size_t i = 0; i < result.peaks.size(); ++i) {
        VoxelPeakFit& peak = result.peaks[i];
        const std::size_t c = f.peak_column[i];
        peak.area = s.x[c] * f.columns[c].factor * data_scale;
        peak.area_esd = coefficient_esd(c);
        peak.position = f.model.peaks[i].position.value;
        peak.position_esd = nan_value;
        const int m = f.peak_mover[i];
        if (m >= 0) {
            peak.position = nan_value;
            const int j = position_of(f.movers[m].derivative);
            const double v =
                j >= 0
                    ? s.inverse[static_cast<std::size_t>(j) * count + static_cast<std::size_t>(j)]
                    : 0;
            if (s.active[m] && v > 0) {
                peak.position = s.values[place_of(static_cast<std::size_t>(m))];
                peak.position_esd = std::sqrt(v * variance_factor);
            }
        }
    }
    for (std::size_t i = 0; i < result.background.size(); ++i) {
        const std::size_t c = f.background_column[i];
        result.background[i] = s.x[c] * f.columns[c].factor * data_scale;
        result.background_esd[i] = coefficient_esd(c);
    }
    if (!result.phases.empty() && !any_significant) {
        result.status = FitStatus::no_signal;
    } else if (dependent > 0) {
        result.status = FitStatus::singular;
    } else if (!converged) {
        result.status = FitStatus::not_converged;
    } else {
        result.status = any_bound ? FitStatus::at_bound : FitStatus::converged;
    }
}

std::vector<double> VoxelFitter::calculate(const VoxelFit& result) const {
    const Implementation& f = *implementation_;
    PatternModel model = f.model;
    const auto number = [](double value, double otherwise) {
        return std::isfinite(value) ? value : otherwise;
    };
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        model.phases[p].scale.value = number(result.phases[p].scale, 0);
        for (std::size_t j = 0; j < model.phases[p].cell.size(); ++j) {
            double& value = model.phases[p].cell[j].value;
            value = number(result.phases[p].cell[j], value);
        }
    }
    for (std::size_t i = 0; i < model.peaks.size(); ++i) {
        model.peaks[i].area.value = number(result.peaks[i].area, 0);
        model.peaks[i].position.value =
            number(result.peaks[i].position, model.peaks[i].position.value);
    }
    for (std::size_t i = 0; i < model.background.size(); ++i) {
        model.background[i].value = number(result.background[i], 0);
    }
    std::vector<double> y(f.n);
    f.calculator.evaluate(model, y);
    return y;
}

void VoxelFitter::flatten(const VoxelFit& result, std::span<double> row) const {
    const Implementation& f = *implementation_;
    if (row.size() != f.quantities.size()) {
        throw Error(fmt::format("a row of {} numbers is expected, not {}", f.quantities.size(),
                                row.size()));
    }
    std::size_t i = 0;
    row[i++] = static_cast<double>(result.status);
    row[i++] = result.iterations;
    row[i++] = result.rwp;
    row[i++] = result.gof;
    for (std::size_t p = 0; p < result.phases.size(); ++p) {
        const VoxelPhaseFit& phase = result.phases[p];
        row[i++] = phase.scale;
        row[i++] = phase.scale_esd;
        row[i++] = phase.weight_fraction;
        row[i++] = phase.weight_fraction_esd;
        row[i++] = static_cast<double>(phase.status);
        if (f.phase_mover[p] >= 0) {
            for (const std::size_t j : f.movers[f.phase_mover[p]].which) {
                row[i++] = phase.cell[j];
                row[i++] = phase.cell_esd[j];
            }
        }
    }
    for (std::size_t k = 0; k < result.peaks.size(); ++k) {
        row[i++] = result.peaks[k].area;
        row[i++] = result.peaks[k].area_esd;
        if (f.peak_mover[k] >= 0) {
            row[i++] = result.peaks[k].position;
            row[i++] = result.peaks[k].position_esd;
        }
    }
    for (std::size_t k = 0; k < result.background.size(); ++k) {
        row[i++] = result.background[k];
        row[i++] = result.background_esd[k];
    }
}

} // namespace xrdct
