// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/lines.hpp"

#include "base/statistics.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::inspection {

std::vector<double> without_shoulders(std::span<const double> two_theta,
                                      std::span<const double> pattern, double parallax) {
    std::vector<double> result(pattern.begin(), pattern.end());
    if (!(parallax > 0))
        return result;
    for (std::size_t k = 0; k < pattern.size(); ++k) {
        const double turn = radians(two_theta[k]);
        const double sigma = degrees(parallax * std::abs(std::sin(turn) * std::cos(turn)));
        if (!std::isfinite(pattern[k]) || !(sigma > 0))
            continue;
        double sum = 0, weights = 0;
        const auto add = [&](std::size_t i) {
            const double off = (two_theta[i] - two_theta[k]) / sigma;
            if (std::abs(off) > 3)
                return false;
            if (std::isfinite(pattern[i])) {
                const double weight = std::exp(-0.5 * off * off);
                sum += weight * pattern[i];
                weights += weight;
            }
            return true;
        };
        for (std::size_t i = k; i < pattern.size() && add(i); ++i) {
        }
        for (std::size_t i = k; i > 0 && add(i - 1); --i) {
        }
        result[k] = sum / weights;
    }
    return result;
}

namespace {

constexpr double weakest = 0.08; // of a phase's lines that count, relative to its strongest

struct Line {
    double spacing, weight;
};

/// The stronger lines of the phases with known cells, of each phase by itself.
std::vector<std::vector<Line>> known_lines(const Expectation& expectation) {
    std::vector<std::vector<Line>> result;
    for (const auto& phase : expectation.phases) {
        std::vector<Line> lines;
        for (std::size_t i = 0; phase.known && i < phase.spacing.size(); ++i)
            if (phase.intensity[i] >= weakest && phase.intensity[i] <= 1)
                lines.push_back({phase.spacing[i], std::sqrt(phase.intensity[i])});
        if (!lines.empty())
            result.push_back(std::move(lines));
    }
    return result;
}

struct Fit {
    double factor = 1, shift = 0; ///< of the wavelength; of 2θ [deg]
    double score = 0;             ///< 1: all lines are where they should be
};

class Comb {
  public:
    Comb(std::span<const ObservedLine> observed, const Expectation& expectation, double first,
         double last)
        : observed_(observed), phases_(known_lines(expectation)),
          wavelength_(expectation.wavelength), first_(first), last_(last) {
        std::vector<double> widths;
        for (const auto& line : observed)
            widths.push_back(line.width);
        width_ = widths.empty() ? 0 : midpoint_median(std::move(widths));
    }

    double width() const { return width_; }

    /// Distances [deg] and places [deg] of the lines in range from the nearest observed one that
    /// lies within three tolerances.
    struct Pairs {
        std::vector<double> place, off;
        std::size_t phases = 0;
    };

    double score(double factor, double shift, Pairs* pairs = nullptr) const {
        std::vector<double> hits;
        for (const auto& lines : phases_) {
            double hit = 0, all = 0;
            bool met = false;
            for (const Line& line : lines) {
                const double sine = factor * wavelength_ / (2 * line.spacing);
                const double place = sine < 1 ? 2 * degrees(std::asin(sine)) + shift : 0;
                if (!(place > first_ + width_ && place < last_ - width_))
                    continue;
                all += line.weight;
                const double off = nearest(place);
                const double tolerance = std::hypot(0.25 * width_, 6e-4 * place);
                hit += line.weight * std::exp(-0.5 * std::pow(off / tolerance, 2));
                if (pairs != nullptr && std::abs(off) < 3 * tolerance) {
                    const double given = wavelength_ / (2 * line.spacing);
                    pairs->place.push_back(2 * degrees(std::asin(given)));
                    pairs->off.push_back(place + off - pairs->place.back());
                    met = true;
                }
            }
            if (all > 0)
                hits.push_back(hit / all);
            if (met && pairs != nullptr)
                ++pairs->phases;
        }
        // A third of the phases may not be in the sample.
        std::ranges::sort(hits, std::ranges::greater{});
        hits.resize((2 * hits.size() + 2) / 3);
        double sum = 0;
        for (const double value : hits)
            sum += value / static_cast<double>(hits.size());
        return sum;
    }

  private:
    double nearest(double place) const {
        double off = 1e3;
        for (const auto& line : observed_)
            if (std::abs(line.position - place) < std::abs(off))
                off = line.position - place;
        return off;
    }

    std::span<const ObservedLine> observed_;
    std::vector<std::vector<Line>> phases_;
    double wavelength_, first_, last_, width_ = 0;
};

/// The best stretch and the best shift, each alone, beginning at none; what is farther has to be
/// better by a hundredth, and a stretch by much more than a tenth by more.
Fit best_of(const Comb& comb) {
    Fit best{1, 0, comb.score(1, 0)};
    const auto seek = [&](const Fit& trial) {
        const double score =
            comb.score(trial.factor, trial.shift) - 0.2 * std::abs(std::log(trial.factor));
        if (score > best.score + 0.01)
            best = {trial.factor, trial.shift, score};
    };
    for (double off = 0.0005; off < 0.4; off += 0.0005)
        for (const double sign : {1.0, -1.0})
            seek({std::exp(sign * off), 0, 0});
    for (double off = 0.002; off < 0.08; off += 0.002)
        for (const double sign : {1.0, -1.0})
            seek({1, sign * off, 0});
    return best;
}

/// Median of the values and their mean distance from it.
struct Middle {
    double value, spread;
};

Middle middle_of(const std::vector<double>& values) {
    const double value = midpoint_median(values);
    double sum = 0;
    for (const double one : values)
        sum += std::abs(one - value);
    return {value, sum / static_cast<double>(values.size())};
}

} // namespace

std::vector<Finding> check_stretch(std::span<const ObservedLine> lines,
                                   const Expectation& expectation, double first, double last) {
    if (lines.size() < 4)
        return {};
    const Comb comb(lines, expectation, first, last);
    const double given = comb.score(1, 0);
    const Fit best = best_of(comb);
    Finding axis{.kind = Kind::radial_axis, .value = given, .limit = 0};
    for (const auto meaning : other_meanings) {
        const auto moved = move_lines(lines, meaning, expectation.wavelength, first, last);
        const double score =
            moved.lines.empty()
                ? 0
                : Comb(moved.lines, expectation, moved.first, moved.last).score(1, 0);
        if (score > axis.limit) {
            axis.limit = score;
            axis.meaning = meaning;
        }
    }
    if (given < 0.6 * axis.limit && axis.limit > 0.55 && axis.limit > best.score - 0.03)
        return {axis};
    if (!(given < 0.8 * best.score) || !(best.score > 0.55))
        return {};
    Comb::Pairs pairs;
    comb.score(best.factor, best.shift, &pairs);
    if (pairs.place.size() < 4)
        return {};
    std::vector<double> ratios;
    double mean_place = 0;
    for (std::size_t i = 0; i < pairs.place.size(); ++i) {
        ratios.push_back(pairs.off[i] / pairs.place[i]);
        mean_place += pairs.place[i] / static_cast<double>(pairs.place.size());
    }
    const Middle stretch = middle_of(ratios), shift = middle_of(pairs.off);
    Finding finding{
        .kind = Kind::stretch, .value = given, .limit = best.score, .index = pairs.phases};
    if (stretch.spread * mean_place <= shift.spread) {
        if (std::abs(stretch.value) < 0.003)
            return {};
        finding.factor = 1 + stretch.value;
    } else {
        if (std::abs(shift.value) < 0.12 * comb.width())
            return {};
        finding.position = shift.value;
    }
    return {finding};
}

} // namespace xrdct::inspection
