// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/cell_search.hpp"

#include "base/units.hpp"
#include "rietveld/fit/column_fit.hpp"
#include "rietveld/model/line_calculator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace xrdct::rietveld {

namespace {

constexpr std::size_t candidate_count = 24;
constexpr std::size_t grid_limit = 60000;
constexpr double near_tie = 0.85;   ///< of the best gain counts as equal
constexpr double model_error = 0.1; ///< relative error of the model that the ranking tolerates

/// Slowly varying part below the peaks (statistics-sensitive clipping, without its transform).
std::vector<double> clip_background(std::vector<double> y, std::size_t reach) {
    std::vector<double> next(y);
    const std::size_t n = y.size();
    for (std::size_t m = reach; m >= 1; m = m * 3 / 4) {
        for (std::size_t i = m; i + m < n; ++i) {
            next[i] = std::min(y[i], 0.5 * (y[i - m] + y[i + m]));
        }
        y = next;
        if (m == 1) {
            break;
        }
    }
    return y;
}

std::vector<double> smooth(const std::vector<double>& y, std::size_t half) {
    std::vector<double> sums(y.size() + 1, 0.0), out(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
        sums[i + 1] = sums[i] + y[i];
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
        const std::size_t low = i > half ? i - half : 0, high = std::min(i + half + 1, y.size());
        out[i] = (sums[high] - sums[low]) / static_cast<double>(high - low);
    }
    return out;
}

struct Candidate {
    std::vector<double> cell;
    double score = 0;
    std::vector<double> pattern; ///< weighted column
};

struct Searched {
    std::size_t phase = 0;
    std::vector<Candidate> candidates; ///< the first is the start
    std::size_t chosen = 0;
};

/// Whether two phases have the same lines with the same intensities. The lists end at different
/// lines when the start cells differ.
bool same_structure(const PatternCalculator& calculator, const Searched& a, const Searched& b) {
    const auto& first = calculator.reflections(a.phase);
    const auto& second = calculator.reflections(b.phase);
    std::size_t common = 0;
    for (const crystal::PowderLine& x : first)
        for (const crystal::PowderLine& y : second)
            if (x.hkl == y.hkl) {
                if (x.multiplicity != y.multiplicity ||
                    std::abs(x.intensity - y.intensity) > 0.02 * x.intensity)
                    return false;
                ++common;
            }
    return a.candidates.front().cell.size() == b.candidates.front().cell.size() &&
           2 * common > std::max(first.size(), second.size());
}

/// Two phases of one structure (same lines, same intensities) can be told apart by their cells
/// only: the cells found are dealt out so that each name gets what is nearest to its start.
void give_same_structures_the_nearest_cell(const PatternCalculator& calculator,
                                           std::vector<Searched>& searched) {
    const auto distance = [](const Searched& owner, const Searched& finder) {
        const auto& start = owner.candidates.front().cell;
        const auto& cell = finder.candidates[finder.chosen].cell;
        double sum = 0;
        for (std::size_t j = 0; j < start.size(); ++j)
            sum += std::abs(cell[j] / start[j] - 1);
        return sum;
    };
    // Swapping pairs until no swap helps is exact for the two or three phases of one structure that
    // occur.
    for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t i = 0; i < searched.size(); ++i)
            for (std::size_t j = i + 1; j < searched.size(); ++j) {
                Searched& a = searched[i];
                Searched& b = searched[j];
                if (!same_structure(calculator, a, b) ||
                    distance(a, b) + distance(b, a) >= distance(a, a) + distance(b, b) - 1e-9)
                    continue;
                const Candidate found = a.candidates[a.chosen];
                a.candidates.push_back(b.candidates[b.chosen]);
                a.chosen = a.candidates.size() - 1;
                b.candidates.push_back(found);
                b.chosen = b.candidates.size() - 1;
                changed = true;
            }
    }
}

/// The data without masked channels, which are joined by straight lines; nothing if all are masked.
std::vector<double> join_masked(std::span<const double> intensity,
                                std::span<const double> weights) {
    const std::size_t n = intensity.size();
    std::vector<double> data(n, 0.0);
    std::size_t last = n;
    for (std::size_t k = 0; k < n; ++k) {
        if (weights[k] <= 0) {
            continue;
        }
        data[k] = intensity[k];
        for (std::size_t i = last == n ? 0 : last + 1; i < k; ++i) {
            const double t =
                last == n ? 1 : static_cast<double>(i - last) / static_cast<double>(k - last);
            data[i] = last == n ? intensity[k] : (1 - t) * intensity[last] + t * intensity[k];
        }
        last = k;
    }
    if (last == n) {
        return {};
    }
    for (std::size_t k = last + 1; k < n; ++k) {
        data[k] = data[last];
    }
    return data;
}

/// The search in steps: what it works with, the candidates of every phase, their choice.
class CellSearch {
  public:
    CellSearch(const PatternCalculator& calculator, std::span<const double> intensity,
               std::span<const double> weights, double range, PatternModel& model)
        : calculator_(calculator), axis_(calculator.axis()), centres_(axis_.two_theta()),
          intensity_(intensity), weights_(weights), range_(range), model_(model), n_(axis_.size()),
          step_((centres_.back() - centres_.front()) / static_cast<double>(n_ - 1)),
          wavelength_(model_wavelength(axis_, model)) {}

    void run();

  private:
    struct StrongLine {
        crystal::Miller hkl{};
        double intensity = 0, root = 0;
    };
    /// The cells of one phase that are scored: `points` values of each of the lengths `axes`, the
    /// first of which varies fastest.
    struct Grid {
        std::vector<std::size_t> axes; ///< independent lengths to be searched
        std::vector<double> start;     ///< independent cell parameters
        std::size_t points = 1, total = 1;
    };

    double widest_line() const;
    void make_root(const std::vector<double>& data);
    void weigh();
    std::vector<double> weighted_pattern(const PatternModel& trial, std::size_t phase) const;
    std::vector<std::size_t> searched_lengths(std::size_t phase) const;
    std::vector<StrongLine> strong_lines(const PatternModel& own, std::size_t phase,
                                         double& relative_step) const;
    void set_cell(const Grid& grid, std::size_t phase, std::size_t index,
                  std::vector<double>& values) const;
    double score(const ReciprocalMetric& metric, const PatternModel& own, double depth,
                 const std::vector<StrongLine>& strong) const;
    std::vector<double> score_grid(const Grid& grid, const PatternModel& own, std::size_t phase,
                                   const std::vector<StrongLine>& strong) const;
    void add_candidates(const PatternModel& trial, std::size_t phase,
                        std::vector<std::size_t> axes);
    void add_fixed(const PatternModel& trial, ColumnFit& fit);
    std::vector<std::size_t> place_greedily(ColumnFit& fit);
    void revise(ColumnFit& fit, std::size_t base, const std::vector<std::size_t>& placed);

    const PatternCalculator& calculator_;
    const RadialAxis& axis_;
    std::span<const double> centres_, intensity_, weights_;
    double range_;
    PatternModel& model_;
    std::size_t n_;
    double step_;              ///< deg, mean of the channels
    double wavelength_;        ///< Å
    std::vector<double> root_; ///< square root of the data above their background
    std::vector<double> sqrt_weight_;
    std::vector<std::vector<double>> fixed_; ///< columns without a choice
    std::vector<Searched> searched_;
};

/// FWHM [deg] of the widest line.
double CellSearch::widest_line() const {
    CalculatedLine line;
    double widest = step_;
    for (const PhaseModel& phase : model_.phases) {
        const LineCalculator lines(model_, phase, wavelength_, 0.05 * step_);
        for (const crystal::PowderLine& powder_line :
             calculator_.reflections(&phase - model_.phases.data())) {
            if (lines.calculate(powder_line, line) && line.position < centres_.back()) {
                widest = std::max(widest, std::min(line.profile.fwhm, 100 * step_));
            }
        }
    }
    return widest;
}

void CellSearch::make_root(const std::vector<double>& data) {
    const double widest = widest_line();
    const auto reach = static_cast<std::size_t>(std::max(6.0, 3 * widest / step_));
    const auto background = clip_background(data, std::min(reach, n_ / 3));
    root_.resize(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        root_[k] = std::max(data[k] - background[k], 0.0);
    }
    root_ = smooth(root_, 1);
    for (double& value : root_) {
        value = std::sqrt(value);
    }
    double mean = 0;
    for (const double value : root_) {
        mean += value / static_cast<double>(n_);
    }
    for (double& value : root_) {
        value -= mean;
    }
}

/// Square roots of the weights, with an allowance for the error of the model.
void CellSearch::weigh() {
    sqrt_weight_.resize(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        const double allowance = model_error * intensity_[k];
        sqrt_weight_[k] =
            weights_[k] > 0 ? 1 / std::sqrt(1 / weights_[k] + allowance * allowance) : 0;
    }
}

std::vector<double> CellSearch::weighted_pattern(const PatternModel& trial,
                                                 std::size_t phase) const {
    std::vector<double> column(n_);
    calculator_.evaluate_phase(trial, phase, column);
    for (std::size_t k = 0; k < n_; ++k) {
        column[k] *= sqrt_weight_[k];
    }
    return column;
}

/// The independent lengths of a phase that are to be searched; none for a phase that is not.
std::vector<std::size_t> CellSearch::searched_lengths(std::size_t p) const {
    const PhaseModel& phase = model_.phases[p];
    std::vector<std::size_t> axes;
    const auto free = phase.phase.free_parameters();
    for (std::size_t j = 0; phase.scale.refine && j < phase.cell.size(); ++j) {
        if (phase.cell[j].refine && free[j] <= crystal::CellParameter::c) {
            axes.push_back(j);
        }
    }
    return axes;
}

/// The strong lines; `relative_step` falls to the step that moves the farthest by 0.4 FWHM.
std::vector<CellSearch::StrongLine> CellSearch::strong_lines(const PatternModel& own, std::size_t p,
                                                             double& relative_step) const {
    std::vector<StrongLine> strong;
    CalculatedLine line;
    double strongest = 0;
    const LineCalculator lines(own, own.phases[p], wavelength_, 0.05 * step_);
    for (const crystal::PowderLine& powder_line : calculator_.reflections(p)) {
        if (lines.calculate(powder_line, line) && line.position < centres_.back()) {
            strongest = std::max(strongest, line.intensity);
        }
    }
    for (const crystal::PowderLine& powder_line : calculator_.reflections(p)) {
        if (lines.calculate(powder_line, line) && line.intensity > 0.02 * strongest &&
            line.position < centres_.back() * (1 + range_)) {
            strong.push_back({powder_line.hkl, line.intensity, std::sqrt(line.intensity)});
            const double shift = degrees(2 * line.tangent); // per Δd/d
            relative_step =
                std::min(relative_step, 0.4 * std::max(line.profile.fwhm, 2 * step_) / shift);
        }
    }
    return strong;
}

/// The cell of a grid point.
void CellSearch::set_cell(const Grid& grid, std::size_t p, std::size_t index,
                          std::vector<double>& values) const {
    const PhaseModel& phase = model_.phases[p];
    const std::size_t points = grid.points;
    const auto& start = grid.start;
    for (const std::size_t j : grid.axes) {
        const double t =
            points > 1
                ? 2.0 * static_cast<double>(index % points) / static_cast<double>(points - 1) - 1
                : 0;
        values[j] =
            std::clamp(start[j] * (1 + range_ * t), phase.cell[j].lower, phase.cell[j].upper);
        index /= points;
    }
}

/// Overlap of the strong lines of a cell with the data, over the lines' norm; −infinity for no line
/// in range.
double CellSearch::score(const ReciprocalMetric& metric, const PatternModel& own, double depth,
                         const std::vector<StrongLine>& strong) const {
    double sum = 0, norm = 0;
    for (const StrongLine& strong_line : strong) {
        const double sine =
            0.5 * wavelength_ * std::sqrt(metric.inverse_d_squared(strong_line.hkl, nullptr));
        if (!(sine < 1)) {
            continue;
        }
        const double position = apparent_two_theta(own, 2 * degrees(std::asin(sine)), depth);
        if (position < centres_.front() || position > centres_.back()) {
            continue;
        }
        const auto k = static_cast<std::size_t>(
            std::lower_bound(centres_.begin(), centres_.end(), position) - centres_.begin());
        const double t = k == 0 ? 0 : (centres_[k] - position) / (centres_[k] - centres_[k - 1]);
        const double value = k == 0 ? root_[0] : t * root_[k - 1] + (1 - t) * root_[k];
        sum += strong_line.root * value;
        norm += strong_line.intensity;
    }
    return norm > 0 ? sum / std::sqrt(norm) : -std::numeric_limits<double>::infinity();
}

std::vector<double> CellSearch::score_grid(const Grid& grid, const PatternModel& own,
                                           std::size_t phase,
                                           const std::vector<StrongLine>& strong) const {
    ReciprocalMetric metric(own.phases[phase]);
    std::vector<double> scores(grid.total, -std::numeric_limits<double>::infinity());
    std::vector<double> values = grid.start;
    for (std::size_t index = 0; index < grid.total; ++index) {
        set_cell(grid, phase, index, values);
        if (metric.set(values)) {
            scores[index] = score(metric, own, own.phases[phase].depth.value, strong);
        }
    }
    return scores;
}

/// Local maxima of a grid of `dimensions` times `points` values, best first.
std::vector<std::size_t> local_maxima(const std::vector<double>& scores, std::size_t dimensions,
                                      std::size_t points) {
    std::vector<std::size_t> maxima;
    for (std::size_t index = 0; index < scores.size(); ++index) {
        bool highest = true;
        std::size_t stride = 1;
        for (std::size_t i = 0; i < dimensions && highest; ++i) {
            const std::size_t place = index / stride % points;
            highest = (place == 0 || scores[index] >= scores[index - stride]) &&
                      (place + 1 == points || scores[index] >= scores[index + stride]);
            stride *= points;
        }
        if (highest) {
            maxima.push_back(index);
        }
    }
    std::sort(maxima.begin(), maxima.end(), [&](std::size_t a, std::size_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    return maxima;
}

/// Takes a phase in with its start cell and the best cells of its grid.
void CellSearch::add_candidates(const PatternModel& trial, std::size_t p,
                                std::vector<std::size_t> axes) {
    PatternModel own = trial;
    PhaseModel& moving = own.phases[p];
    double relative_step = range_;
    const auto strong = strong_lines(own, p, relative_step);
    Grid grid;
    grid.axes = std::move(axes);
    std::size_t points = 2 * static_cast<std::size_t>(std::ceil(range_ / relative_step)) + 1;
    const auto limit = static_cast<std::size_t>(
        std::pow(static_cast<double>(grid_limit), 1.0 / static_cast<double>(grid.axes.size())));
    points = std::min(points, limit % 2 == 1 ? limit : limit - 1);
    grid.points = points;
    for (const Parameter& parameter : moving.cell) {
        grid.start.push_back(parameter.value);
    }
    for (std::size_t i = 0; i < grid.axes.size(); ++i) {
        grid.total *= points;
    }
    const auto scores = score_grid(grid, own, p, strong);
    const auto maxima = local_maxima(scores, grid.axes.size(), points);
    Searched entry;
    entry.phase = p;
    entry.candidates.push_back({grid.start, 0, {}});
    std::vector<double> values = grid.start;
    for (std::size_t i = 0; i < std::min(maxima.size(), candidate_count); ++i) {
        set_cell(grid, p, maxima[i], values);
        entry.candidates.push_back({values, scores[maxima[i]], {}});
    }
    for (Candidate& candidate : entry.candidates) {
        for (std::size_t j = 0; j < candidate.cell.size(); ++j) {
            moving.cell[j].value = candidate.cell[j];
        }
        candidate.pattern = weighted_pattern(own, p);
    }
    searched_.push_back(std::move(entry));
}

/// Columns of the joint fit without a choice: background, phases that are not searched, peaks.
void CellSearch::add_fixed(const PatternModel& trial, ColumnFit& fit) {
    const std::size_t terms = std::max<std::size_t>(model_.background.size(), 1);
    fixed_.reserve(terms + model_.phases.size() + model_.peaks.size());
    for (std::size_t i = 0; i < terms; ++i) {
        std::vector<double> column(n_);
        calculator_.chebyshev(i, column);
        for (std::size_t k = 0; k < n_; ++k) {
            column[k] *= sqrt_weight_[k];
        }
        fixed_.push_back(std::move(column));
        fit.add(&fixed_.back(), false);
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        if (std::none_of(searched_.begin(), searched_.end(),
                         [&](const Searched& entry) { return entry.phase == p; })) {
            fixed_.push_back(weighted_pattern(trial, p));
            fit.add(&fixed_.back(), true);
        }
    }
    for (const SinglePeak& peak : model_.peaks) {
        ProfileBuffer profile;
        channel_averaged_profile(axis_, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model_.profile_range, false, profile);
        std::vector<double> column(n_, 0.0);
        for (std::size_t k = 0; k < profile.size(); ++k) {
            column[profile.first + k] = profile.value[k] * sqrt_weight_[profile.first + k];
        }
        fixed_.push_back(std::move(column));
        fit.add(&fixed_.back(), true);
    }
}

/// Takes the phases in one by one, each time the phase and cell that gain most; returns their
/// order.
std::vector<std::size_t> CellSearch::place_greedily(ColumnFit& fit) {
    std::vector<std::size_t> waiting(searched_.size()), placed;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
        waiting[i] = i;
    }
    while (!waiting.empty()) {
        double best = -std::numeric_limits<double>::infinity();
        std::size_t best_place = 0;
        for (std::size_t w = 0; w < waiting.size(); ++w) {
            Searched& entry = searched_[waiting[w]];
            for (std::size_t c = 0; c < entry.candidates.size(); ++c) {
                fit.add(&entry.candidates[c].pattern, true);
                const double gain = fit.gain();
                fit.remove_last();
                // Prefer what stands earlier on a tie, so that the result is definite.
                if (gain > best * (1 + 1e-12)) {
                    best = gain;
                    best_place = w;
                    entry.chosen = c;
                }
            }
        }
        const std::size_t which = waiting[best_place];
        fit.add(&searched_[which].candidates[searched_[which].chosen].pattern, true);
        placed.push_back(which);
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(best_place));
    }
    return placed;
}

/// Of the candidates that do nearly as well as the best one, the nearest to the start.
std::size_t nearest_of_best(const Searched& entry, const std::vector<double>& gains, double best) {
    std::size_t chosen = entry.chosen;
    double nearest = std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < entry.candidates.size(); ++c) {
        double distance = 0;
        for (std::size_t j = 0; j < entry.candidates[c].cell.size(); ++j) {
            const double start = entry.candidates.front().cell[j];
            distance += std::abs(entry.candidates[c].cell[j] / start - 1);
        }
        if (gains[c] >= near_tie * best && distance < nearest) {
            nearest = distance;
            chosen = c;
        }
    }
    return chosen;
}

/// Chooses every phase's cell anew while the others stay, until nothing changes. Column `base` + i
/// of the fit is that of phase placed[i].
void CellSearch::revise(ColumnFit& fit, std::size_t base, const std::vector<std::size_t>& placed) {
    const std::vector<double> nothing(n_, 0.0);
    std::vector<double> gains;
    for (int sweep = 0; sweep < 3; ++sweep) {
        bool changed = false;
        for (std::size_t i = 0; i < placed.size(); ++i) {
            Searched& entry = searched_[placed[i]];
            fit.replace(base + i, &nothing);
            const double without = fit.gain();
            double best = 0;
            gains.assign(entry.candidates.size(), 0);
            for (std::size_t c = 0; c < entry.candidates.size(); ++c) {
                fit.replace(base + i, &entry.candidates[c].pattern);
                gains[c] = fit.gain() - without;
                best = std::max(best, gains[c]);
            }
            const std::size_t chosen = nearest_of_best(entry, gains, best);
            changed = changed || chosen != entry.chosen;
            entry.chosen = chosen;
            fit.replace(base + i, &entry.candidates[chosen].pattern);
        }
        if (!changed) {
            break;
        }
    }
}

void CellSearch::run() {
    const std::vector<double> data = join_masked(intensity_, weights_);
    if (data.empty()) {
        return;
    }
    make_root(data);
    weigh();
    PatternModel trial = model_;
    trial.profile_range = std::min(model_.profile_range, 10.0);
    for (PhaseModel& phase : trial.phases) {
        phase.scale.value = 1;
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        if (auto axes = searched_lengths(p); !axes.empty()) {
            add_candidates(trial, p, std::move(axes));
        }
    }
    if (searched_.empty()) {
        return;
    }
    std::vector<double> target(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        target[k] = weights_[k] > 0 ? intensity_[k] * sqrt_weight_[k] : 0;
    }
    ColumnFit fit(target);
    add_fixed(trial, fit);
    const std::size_t base = fit.size();
    const auto placed = place_greedily(fit);
    revise(fit, base, placed);
    give_same_structures_the_nearest_cell(calculator_, searched_);
    for (const Searched& entry : searched_) {
        PhaseModel& phase = model_.phases[entry.phase];
        const auto& cell = entry.candidates[entry.chosen].cell;
        for (std::size_t j = 0; j < cell.size(); ++j) {
            phase.cell[j].value = cell[j];
        }
    }
}

} // namespace

void search_cells(const PatternCalculator& calculator, std::span<const double> intensity,
                  std::span<const double> weights, double range, PatternModel& model) {
    CellSearch(calculator, intensity, weights, range, model).run();
}

} // namespace xrdct::rietveld
