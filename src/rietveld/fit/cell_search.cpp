#include "rietveld/fit/cell_search.hpp"

#include "base/units.hpp"
#include "rietveld/fit/least_squares.hpp"
#include "rietveld/model/line_calculator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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

/// The weighted fit of a set of columns: free (background) or non-negative.
class ColumnFit {
  public:
    explicit ColumnFit(std::vector<double> data) : data_(std::move(data)) {}
    void add(const std::vector<double>* column, bool bounded) {
        columns_.push_back(column);
        bounded_.push_back(bounded);
        products_.emplace_back(columns_.size());
        data_product_.push_back(0);
        update(columns_.size() - 1);
    }
    void remove_last() {
        columns_.pop_back();
        bounded_.pop_back();
        products_.pop_back();
        data_product_.pop_back();
    }
    void replace(std::size_t i, const std::vector<double>* column) {
        columns_[i] = column;
        update(i);
    }
    std::size_t size() const { return columns_.size(); }

    /// Gain in χ² over the empty model.
    double gain() {
        const std::size_t m = columns_.size();
        gram_.resize(m * m);
        right_ = data_product_;
        lower_.resize(m);
        x_.assign(m, 0);
        upper_.assign(m, std::numeric_limits<double>::infinity());
        state_.assign(m, 0);
        for (std::size_t i = 0; i < m; ++i) {
            std::copy(products_[i].begin(), products_[i].end(),
                      gram_.begin() + static_cast<std::ptrdiff_t>(i * m));
            lower_[i] = bounded_[i] ? 0 : -std::numeric_limits<double>::infinity();
        }
        solver_.solve(gram_.data(), static_cast<int>(m), static_cast<int>(m), right_.data(),
                      lower_.data(), upper_.data(), x_.data(), state_.data(), 1e-9);
        double gain = 0;
        for (std::size_t i = 0; i < m; ++i) {
            double row = 0;
            for (std::size_t j = 0; j < m; ++j) {
                row += (i >= j ? gram_[i * m + j] : gram_[j * m + i]) * x_[j];
            }
            gain += x_[i] * (2 * right_[i] - row);
        }
        return gain;
    }

  private:
    void update(std::size_t i) {
        for (std::size_t j = 0; j < columns_.size(); ++j) {
            products_[std::max(i, j)][std::min(i, j)] = dot(*columns_[i], *columns_[j]);
        }
        data_product_[i] = dot(*columns_[i], data_);
    }
    static double dot(const std::vector<double>& a, const std::vector<double>& b) {
        double lanes[4] = {};
        std::size_t i = 0;
        for (; i + 4 <= a.size(); i += 4) {
            for (std::size_t k = 0; k < 4; ++k) {
                lanes[k] += a[i + k] * b[i + k];
            }
        }
        for (; i < a.size(); ++i) {
            lanes[0] += a[i] * b[i];
        }
        return lanes[0] + lanes[1] + lanes[2] + lanes[3];
    }

    std::vector<double> data_;
    std::vector<const std::vector<double>*> columns_;
    std::vector<bool> bounded_;
    std::vector<std::vector<double>> products_; ///< lower triangle
    std::vector<double> data_product_;
    std::vector<double> gram_, right_, lower_, upper_, x_;
    std::vector<std::int8_t> state_;
    BoundedSolver solver_;
};

/// Two phases of one structure (same lines, same intensities) can be told apart by their cells
/// only: the cells found are dealt out so that each name gets what is nearest to its start.
void give_twins_the_nearest_cell(const PatternCalculator& calculator,
                                 std::vector<Searched>& searched) {
    // The lists end at different lines when the start cells differ.
    const auto twins = [&](const Searched& a, const Searched& b) {
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
    };
    const auto distance = [](const Searched& owner, const Searched& finder) {
        const auto& start = owner.candidates.front().cell;
        const auto& cell = finder.candidates[finder.chosen].cell;
        double sum = 0;
        for (std::size_t j = 0; j < start.size(); ++j)
            sum += std::abs(cell[j] / start[j] - 1);
        return sum;
    };
    // Swapping pairs until no swap helps is exact for the two or three twins that occur.
    for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t i = 0; i < searched.size(); ++i)
            for (std::size_t j = i + 1; j < searched.size(); ++j) {
                Searched& a = searched[i];
                Searched& b = searched[j];
                if (!twins(a, b) ||
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

} // namespace

void search_cells(const PatternCalculator& calculator, std::span<const double> intensity,
                  std::span<const double> weights, double range, PatternModel& model) {
    const RadialAxis& axis = calculator.axis();
    const auto centres = axis.two_theta();
    const std::size_t n = axis.size();
    const double step = (centres.back() - centres.front()) / static_cast<double>(n - 1);

    // Data without masked channels (joined by straight lines), background clipped, square root.
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
        return;
    }
    for (std::size_t k = last + 1; k < n; ++k) {
        data[k] = data[last];
    }

    std::vector<Searched> searched;
    const double wavelength =
        model.wavelength.value > 0 ? model.wavelength.value : axis.wavelength();
    std::vector<double> root;
    CalculatedLine line;
    double widest = step;
    for (const PhaseModel& phase : model.phases) {
        const LineCalculator lines(model, phase, wavelength, 0.05 * step);
        for (const crystal::PowderLine& powder_line :
             calculator.reflections(&phase - model.phases.data())) {
            if (lines.calculate(powder_line, line) && line.position < centres.back()) {
                widest = std::max(widest, std::min(line.profile.fwhm, 100 * step));
            }
        }
    }
    {
        const auto reach = static_cast<std::size_t>(std::max(6.0, 3 * widest / step));
        const auto background = clip_background(data, std::min(reach, n / 3));
        root.resize(n);
        for (std::size_t k = 0; k < n; ++k) {
            root[k] = std::max(data[k] - background[k], 0.0);
        }
        root = smooth(root, 1);
        for (double& value : root) {
            value = std::sqrt(value);
        }
        double mean = 0;
        for (const double value : root) {
            mean += value / static_cast<double>(n);
        }
        for (double& value : root) {
            value -= mean;
        }
    }

    std::vector<double> sqrt_weight(n);
    for (std::size_t k = 0; k < n; ++k) {
        const double allowance = model_error * intensity[k];
        sqrt_weight[k] = weights[k] > 0 ? 1 / std::sqrt(1 / weights[k] + allowance * allowance) : 0;
    }
    const auto weighted_pattern = [&](const PatternModel& trial, std::size_t phase) {
        std::vector<double> column(n);
        calculator.evaluate_phase(trial, phase, column);
        for (std::size_t k = 0; k < n; ++k) {
            column[k] *= sqrt_weight[k];
        }
        return column;
    };

    PatternModel trial = model;
    trial.profile_range = std::min(model.profile_range, 10.0);
    for (PhaseModel& phase : trial.phases) {
        phase.scale.value = 1;
    }
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const PhaseModel& phase = model.phases[p];
        std::vector<std::size_t> axes; // independent lengths to be searched
        const auto free = phase.phase.free_parameters();
        for (std::size_t j = 0; j < phase.cell.size(); ++j) {
            if (phase.cell[j].refine && free[j] <= crystal::CellParameter::c) {
                axes.push_back(j);
            }
        }
        if (axes.empty() || !phase.scale.refine) {
            continue;
        }
        // The strong lines, and the step that moves the farthest by 0.4 FWHM.
        PatternModel own = trial;
        PhaseModel& moving = own.phases[p];
        struct StrongLine {
            crystal::Miller hkl{};
            double intensity = 0, root = 0;
        };
        std::vector<StrongLine> strong;
        double strongest = 0, relative_step = range;
        {
            const LineCalculator lines(own, moving, wavelength, 0.05 * step);
            for (const crystal::PowderLine& powder_line : calculator.reflections(p)) {
                if (lines.calculate(powder_line, line) && line.position < centres.back()) {
                    strongest = std::max(strongest, line.intensity);
                }
            }
            for (const crystal::PowderLine& powder_line : calculator.reflections(p)) {
                if (lines.calculate(powder_line, line) && line.intensity > 0.02 * strongest &&
                    line.position < centres.back() * (1 + range)) {
                    strong.push_back({powder_line.hkl, line.intensity, std::sqrt(line.intensity)});
                    const double shift = degrees(2 * line.tangent); // per Δd/d
                    relative_step = std::min(relative_step,
                                             0.4 * std::max(line.profile.fwhm, 2 * step) / shift);
                }
            }
        }
        std::size_t points = 2 * static_cast<std::size_t>(std::ceil(range / relative_step)) + 1;
        const auto limit = static_cast<std::size_t>(
            std::pow(static_cast<double>(grid_limit), 1.0 / static_cast<double>(axes.size())));
        points = std::min(points, limit % 2 == 1 ? limit : limit - 1);
        std::vector<double> start;
        for (const Parameter& parameter : moving.cell) {
            start.push_back(parameter.value);
        }
        std::size_t total = 1;
        for (std::size_t i = 0; i < axes.size(); ++i) {
            total *= points;
        }
        ReciprocalMetric metric(moving);
        std::vector<double> scores(total, -std::numeric_limits<double>::infinity());
        std::vector<double> values = start;
        const auto cell_at = [&](std::size_t index) {
            for (const std::size_t j : axes) {
                const double t = points > 1 ? 2.0 * static_cast<double>(index % points) /
                                                      static_cast<double>(points - 1) -
                                                  1
                                            : 0;
                values[j] = std::clamp(start[j] * (1 + range * t), phase.cell[j].lower,
                                       phase.cell[j].upper);
                index /= points;
            }
        };
        for (std::size_t index = 0; index < total; ++index) {
            cell_at(index);
            if (!metric.set(values)) {
                continue;
            }
            double sum = 0, norm = 0;
            for (const StrongLine& strong_line : strong) {
                const double sine = 0.5 * wavelength *
                                    std::sqrt(metric.inverse_d_squared(strong_line.hkl, nullptr));
                if (!(sine < 1)) {
                    continue;
                }
                const double position =
                    apparent_two_theta(own, 2 * degrees(std::asin(sine)), moving.depth.value);
                if (position < centres.front() || position > centres.back()) {
                    continue;
                }
                const auto k = static_cast<std::size_t>(
                    std::lower_bound(centres.begin(), centres.end(), position) - centres.begin());
                const double t =
                    k == 0 ? 0 : (centres[k] - position) / (centres[k] - centres[k - 1]);
                const double value = k == 0 ? root[0] : t * root[k - 1] + (1 - t) * root[k];
                sum += strong_line.root * value;
                norm += strong_line.intensity;
            }
            if (norm > 0) {
                scores[index] = sum / std::sqrt(norm);
            }
        }
        // Local maxima of the grid, best first.
        std::vector<std::size_t> maxima;
        for (std::size_t index = 0; index < total; ++index) {
            bool highest = true;
            std::size_t stride = 1;
            for (std::size_t i = 0; i < axes.size() && highest; ++i) {
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
        Searched entry;
        entry.phase = p;
        entry.candidates.push_back({start, 0, {}});
        for (std::size_t i = 0; i < std::min(maxima.size(), candidate_count); ++i) {
            cell_at(maxima[i]);
            entry.candidates.push_back({values, scores[maxima[i]], {}});
        }
        for (Candidate& candidate : entry.candidates) {
            for (std::size_t j = 0; j < candidate.cell.size(); ++j) {
                moving.cell[j].value = candidate.cell[j];
            }
            candidate.pattern = weighted_pattern(own, p);
        }
        searched.push_back(std::move(entry));
    }
    if (searched.empty()) {
        return;
    }

    std::vector<double> target(n);
    for (std::size_t k = 0; k < n; ++k) {
        target[k] = weights[k] > 0 ? intensity[k] * sqrt_weight[k] : 0;
    }
    ColumnFit fit(target);
    std::vector<std::vector<double>> fixed;
    const std::size_t terms = std::max<std::size_t>(model.background.size(), 1);
    fixed.reserve(terms + model.phases.size() + model.peaks.size());
    for (std::size_t i = 0; i < terms; ++i) {
        std::vector<double> column(n);
        calculator.chebyshev(i, column);
        for (std::size_t k = 0; k < n; ++k) {
            column[k] *= sqrt_weight[k];
        }
        fixed.push_back(std::move(column));
        fit.add(&fixed.back(), false);
    }
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        if (std::none_of(searched.begin(), searched.end(),
                         [&](const Searched& entry) { return entry.phase == p; })) {
            fixed.push_back(weighted_pattern(trial, p));
            fit.add(&fixed.back(), true);
        }
    }
    for (const SinglePeak& peak : model.peaks) {
        ProfileBuffer profile;
        channel_averaged_profile(axis, peak.position.value, peak.fwhm.value, peak.mixing.value,
                                 model.profile_range, false, profile);
        std::vector<double> column(n, 0.0);
        for (std::size_t k = 0; k < profile.size(); ++k) {
            column[profile.first + k] = profile.value[k] * sqrt_weight[profile.first + k];
        }
        fixed.push_back(std::move(column));
        fit.add(&fixed.back(), true);
    }
    const std::size_t base = fit.size();

    std::vector<std::size_t> waiting(searched.size()), placed;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
        waiting[i] = i;
    }
    while (!waiting.empty()) {
        double best = -std::numeric_limits<double>::infinity();
        std::size_t best_place = 0;
        for (std::size_t w = 0; w < waiting.size(); ++w) {
            Searched& entry = searched[waiting[w]];
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
        fit.add(&searched[which].candidates[searched[which].chosen].pattern, true);
        placed.push_back(which);
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(best_place));
    }
    const std::vector<double> nothing(n, 0.0);
    std::vector<double> gains;
    for (int sweep = 0; sweep < 3; ++sweep) {
        bool changed = false;
        for (std::size_t i = 0; i < placed.size(); ++i) {
            Searched& entry = searched[placed[i]];
            fit.replace(base + i, &nothing);
            const double without = fit.gain();
            double best = 0;
            gains.assign(entry.candidates.size(), 0);
            for (std::size_t c = 0; c < entry.candidates.size(); ++c) {
                fit.replace(base + i, &entry.candidates[c].pattern);
                gains[c] = fit.gain() - without;
                best = std::max(best, gains[c]);
            }
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
            changed = changed || chosen != entry.chosen;
            entry.chosen = chosen;
            fit.replace(base + i, &entry.candidates[chosen].pattern);
        }
        if (!changed) {
            break;
        }
    }
    give_twins_the_nearest_cell(calculator, searched);
    for (const Searched& entry : searched) {
        PhaseModel& phase = model.phases[entry.phase];
        const auto& cell = entry.candidates[entry.chosen].cell;
        for (std::size_t j = 0; j < cell.size(); ++j) {
            phase.cell[j].value = cell[j];
        }
    }
}

} // namespace xrdct::rietveld
