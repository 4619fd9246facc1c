// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/lines.hpp"

#include "base/statistics.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::inspection {

double channel_scatter(std::span<const double> y) {
    std::vector<double> bends;
    for (std::size_t k = 1; k + 1 < y.size(); ++k)
        bends.push_back(std::abs(y[k - 1] - 2 * y[k] + y[k + 1]));
    return bends.empty() ? 0 : midpoint_median(std::move(bends)) / (0.6745 * std::sqrt(6.0));
}

namespace {

/// The lowest value between a maximum and the next higher one on a side (step ±1).
double valley(std::span<const double> y, std::size_t peak, long step) {
    double lowest = y[peak];
    for (long k = static_cast<long>(peak) + step; k >= 0 && k < static_cast<long>(y.size());
         k += step) {
        const double value = y[static_cast<std::size_t>(k)];
        if (value > y[peak])
            return lowest;
        lowest = std::min(lowest, value);
    }
    return lowest;
}

/// Where the flank on a side falls to `level`, in channels.
double flank(std::span<const double> y, std::size_t peak, long step, double level) {
    long k = static_cast<long>(peak);
    while (k + step >= 0 && k + step < static_cast<long>(y.size()) &&
           y[static_cast<std::size_t>(k + step)] > level)
        k += step;
    if (k + step < 0 || k + step >= static_cast<long>(y.size()))
        return static_cast<double>(k);
    const double inner = y[static_cast<std::size_t>(k)];
    const double outer = y[static_cast<std::size_t>(k + step)];
    return static_cast<double>(k) + static_cast<double>(step) * (inner - level) / (inner - outer);
}

ObservedLine observe(std::span<const double> two_theta, std::span<const double> y,
                     std::size_t peak) {
    ObservedLine line;
    line.channel = peak;
    line.height = y[peak] - std::max(valley(y, peak, -1), valley(y, peak, 1));
    const double level = y[peak] - 0.5 * line.height;
    const double channel_width = 0.5 * (two_theta[peak + 1] - two_theta[peak - 1]);
    line.width = (flank(y, peak, 1, level) - flank(y, peak, -1, level)) * channel_width;
    const double bend = y[peak - 1] - 2 * y[peak] + y[peak + 1];
    const double shift = bend < 0 ? 0.5 * (y[peak - 1] - y[peak + 1]) / bend : 0;
    line.position = two_theta[peak] + std::clamp(shift, -0.5, 0.5) * channel_width;
    return line;
}

} // namespace

std::vector<ObservedLine> find_lines(std::span<const double> two_theta,
                                     std::span<const double> pattern, double fraction) {
    std::vector<double> x, y;
    std::vector<std::size_t> channel;
    for (std::size_t k = 0; k < pattern.size(); ++k)
        if (std::isfinite(pattern[k])) {
            x.push_back(two_theta[k]);
            y.push_back(pattern[k]);
            channel.push_back(k);
        }
    if (y.size() < 5)
        return {};
    const double scatter = channel_scatter(y);
    const double widest = 0.08 * (x.back() - x.front());
    std::vector<ObservedLine> lines;
    for (std::size_t k = 1; k + 1 < y.size(); ++k)
        if (y[k] > y[k - 1] && y[k] >= y[k + 1]) {
            ObservedLine line = observe(x, y, k);
            if (line.height > 6 * scatter && line.width <= widest) {
                line.channel = channel[k];
                lines.push_back(line);
            }
        }
    std::ranges::sort(lines, std::ranges::greater{}, &ObservedLine::height);
    while (!lines.empty() && lines.back().height < fraction * lines.front().height)
        lines.pop_back();
    return lines;
}

namespace {

/// 2θ [deg] of a spacing; NaN beyond backscattering.
double bragg_angle(double wavelength, double spacing) {
    const double sine = wavelength / (2 * spacing);
    return sine < 1 ? 2 * degrees(std::asin(sine)) : Finding::none;
}

/// How far from its calculated place a line may be.
struct Tolerance {
    double strain;  ///< of the spacing
    double widths;  ///< of the observed line
    double weakest; ///< of a phase's lines that count, relative to its strongest
};

/// A few tenths of a percent are what pressure, temperature and composition do to metals; charging
/// changes spacings of electrodes by up to three percent.
constexpr Tolerance strict{0.004, 0.5, 0.02};
constexpr Tolerance generous{0.03, 1, 0.001};

/// Known cells are off by less; by a percent if the file's composition is another one.
constexpr double known_strain = 0.01;

double strain_of(const ExpectedPhase& phase, const Tolerance& tolerance) {
    return phase.known ? std::min(tolerance.strain, known_strain) : tolerance.strain;
}

/// How far [deg] from `angle` a line of a phase may lie, widths apart.
double reach_of(const Expectation& expectation, double strain, double angle) {
    const double turn = radians(angle);
    return degrees(expectation.parallax * std::abs(std::sin(turn) * std::cos(turn)) +
                   2 * std::tan(0.5 * turn) * strain);
}

struct Window {
    double first, last; // deg
};

/// Ranges of 2θ in which lines are expected, rising and not overlapping. `width` [deg] is that of
/// the observed line, `factor` multiplies the wavelength.
std::vector<Window> windows(const Expectation& expectation, const Tolerance& tolerance,
                            double width, double factor) {
    std::vector<Window> all;
    for (const auto& peak : expectation.peaks)
        all.push_back({peak.position - peak.reach - tolerance.widths * width,
                       peak.position + peak.reach + tolerance.widths * width});
    for (const auto& phase : expectation.phases)
        for (std::size_t i = 0; i < phase.spacing.size(); ++i) {
            const double angle = bragg_angle(factor * expectation.wavelength, phase.spacing[i]);
            if (std::isnan(angle) || phase.intensity[i] < tolerance.weakest)
                continue;
            const double reach = tolerance.widths * width +
                                 reach_of(expectation, strain_of(phase, tolerance), angle);
            all.push_back({angle - reach, angle + reach});
        }
    std::ranges::sort(all, {}, &Window::first);
    std::vector<Window> merged;
    for (const Window& window : all)
        if (!merged.empty() && window.first <= merged.back().last)
            merged.back().last = std::max(merged.back().last, window.last);
        else
            merged.push_back(window);
    return merged;
}

bool covered(const std::vector<Window>& list, double place) {
    const auto next = std::ranges::upper_bound(list, place, {}, &Window::first);
    return next != list.begin() && place <= std::prev(next)->last;
}

double median_width(std::span<const ObservedLine> lines) {
    std::vector<double> widths;
    for (const auto& line : lines)
        widths.push_back(line.width);
    return widths.empty() ? 0 : midpoint_median(std::move(widths));
}

struct Match {
    double share = 0, chance = 0;
    /// What is explained beyond chance.
    double gain() const { return chance < 1 ? (share - chance) / (1 - chance) : 0; }
};

struct PatternRange {
    double first, last; // deg
};

Match match(std::span<const ObservedLine> lines, const Expectation& expectation,
            const Tolerance& tolerance, PatternRange range, double factor) {
    const auto list = windows(expectation, tolerance, median_width(lines), factor);
    Match result;
    double sum = 0;
    for (const auto& line : lines) {
        const double weight = std::sqrt(line.height);
        sum += weight;
        if (covered(list, line.position))
            result.share += weight;
    }
    result.share = sum > 0 ? result.share / sum : 1;
    for (const Window& window : list)
        result.chance +=
            std::max(0.0, std::min(window.last, range.last) - std::max(window.first, range.first));
    result.chance /= range.last - range.first;
    return result;
}

std::vector<ObservedLine> strong_lines(std::span<const ObservedLine> lines) {
    std::vector<ObservedLine> strong;
    for (const auto& line : lines)
        if (line.height >= 0.05 * lines.front().height)
            strong.push_back(line);
    return strong;
}

/// Mean relative distance of the lines from the nearest one of a phase, at most three percent each;
/// weight: root of the height.
double mean_distance(std::span<const ObservedLine> lines, const Expectation& expectation,
                     double factor) {
    double sum = 0, weights = 0;
    for (const auto& line : lines) {
        double nearest = 0.03;
        for (const auto& phase : expectation.phases)
            for (std::size_t i = 0; i < phase.spacing.size(); ++i)
                if (phase.intensity[i] >= strict.weakest) {
                    const double angle =
                        bragg_angle(factor * expectation.wavelength, phase.spacing[i]);
                    nearest = std::min(nearest, std::abs(std::log(line.position / angle)));
                }
        sum += std::sqrt(line.height) * nearest;
        weights += std::sqrt(line.height);
    }
    return sum / weights;
}

} // namespace

Explanation explain_lines(std::span<const ObservedLine> lines, const Expectation& expectation,
                          double first, double last) {
    const auto strong = strong_lines(lines);
    const Match given = match(strong, expectation, strict, {first, last}, 1);
    Explanation result{given.share, given.chance, 1, given.share, given.chance};
    constexpr double step = 0.001;
    std::vector<double> factors;
    std::vector<Match> matches;
    std::size_t best = 0;
    for (double logarithm = std::log(0.6); logarithm < std::log(1.7); logarithm += step) {
        factors.push_back(std::exp(logarithm));
        matches.push_back(match(strong, expectation, strict, {first, last}, factors.back()));
        if (matches.back().gain() > matches[best].gain())
            best = matches.size() - 1;
    }
    if (matches[best].gain() <= given.gain())
        return result;
    // Factors next to the best explain nearly as much: that with the lines nearest to their places.
    double least = std::numeric_limits<double>::infinity();
    const double enough = matches[best].gain() - 0.2;
    for (const long side : {-1L, 1L})
        for (long i = static_cast<long>(best); i >= 0 && i < static_cast<long>(matches.size()) &&
                                               matches[static_cast<std::size_t>(i)].gain() > enough;
             i += side) {
            const double factor = factors[static_cast<std::size_t>(i)];
            if (const double off = mean_distance(strong, expectation, factor); off < least) {
                least = off;
                result.factor = factor;
            }
        }
    result.best_share = matches[best].share;
    result.best_chance = matches[best].chance;
    return result;
}

namespace {

/// Where a 2θ [deg] would lie if the numbers of the axis had another meaning; NaN: nowhere.
double moved(double angle, RadialMeaning meaning, double wavelength, PatternRange range) {
    const auto from_q = [&](double unit) {
        const double sine = angle * unit * wavelength / (4 * pi);
        return sine > 0 && sine < 1 ? 2 * degrees(std::asin(sine)) : Finding::none;
    };
    const double q = 4 * pi * std::sin(0.5 * radians(angle)) / wavelength;
    switch (meaning) {
    case RadialMeaning::q_per_angstrom:
        return from_q(1);
    case RadialMeaning::q_per_nm:
        return from_q(0.1);
    case RadialMeaning::angle_as_q_per_angstrom:
        return q < 180 ? q : Finding::none;
    case RadialMeaning::angle_as_q_per_nm:
        return 10 * q < 180 ? 10 * q : Finding::none;
    case RadialMeaning::theta:
        return 2 * angle < 180 ? 2 * angle : Finding::none;
    case RadialMeaning::reversed:
        return range.first + range.last - angle;
    default:
        return angle;
    }
}

} // namespace

MovedLines move_lines(std::span<const ObservedLine> lines, RadialMeaning meaning, double wavelength,
                      double first, double last) {
    const auto place = [&](double angle) {
        return moved(angle, meaning, wavelength, {first, last});
    };
    MovedLines result{{}, place(first), place(last)};
    if (result.first > result.last)
        std::swap(result.first, result.last);
    if (std::isnan(result.first) || std::isnan(result.last))
        return {};
    for (auto line : lines) {
        const double half = 0.5 * line.width;
        line.width = std::abs(place(line.position + half) - place(line.position - half));
        line.position = place(line.position);
        if (std::isnan(line.position) || std::isnan(line.width))
            return {};
        result.lines.push_back(line);
    }
    return result;
}

namespace {

/// The findings on wavelength and radial axis.
std::vector<Finding> check_scale(std::span<const ObservedLine> strong,
                                 const Expectation& expectation, PatternRange range) {
    const auto explanation = explain_lines(strong, expectation, range.first, range.last);
    const double gain = Match{explanation.share, explanation.chance}.gain();
    const double best = Match{explanation.best_share, explanation.best_chance}.gain();
    const Match freely = match(strong, expectation, generous, range, 1);
    Finding finding{.kind = Kind::lines_unexplained, .value = explanation.share};
    const double off = std::abs(std::log(explanation.factor));
    if (best > gain + 0.3 && best > 0.9 && off > 0.02) {
        finding.factor = explanation.factor;
        finding.limit = explanation.best_share;
    }
    Finding radial{.kind = Kind::radial_axis, .value = explanation.share};
    double better = 0;
    for (const auto meaning : other_meanings) {
        const auto moved =
            move_lines(strong, meaning, expectation.wavelength, range.first, range.last);
        if (moved.lines.empty())
            continue;
        const Match other = match(moved.lines, expectation, strict, {moved.first, moved.last}, 1);
        if (other.gain() > better) {
            better = other.gain();
            radial.limit = other.share;
            radial.meaning = meaning;
        }
    }
    if (gain < 0.5 && better > gain + 0.3 && better > 0.6 && better > best - 0.05)
        return {radial};
    if (gain >= 0.5)
        return std::isnan(finding.factor) ? std::vector<Finding>{} : std::vector{finding};
    if (best > gain + 0.3 && best > 0.6 && off > 0.03) {
        finding.factor = explanation.factor;
        finding.limit = explanation.best_share;
        return {finding};
    }
    // Cells may be off by more than the strict tolerance, all of them in a sample of one phase.
    return freely.share < 0.6 || (gain < 0.2 && freely.gain() < 0.3) ? std::vector{finding}
                                                                     : std::vector<Finding>{};
}

/// Height that the strongest line of a phase can have by its three strongest, of what is seen near
/// them: each must not exceed it. `rank` 0: the least, 1: the middle one.
double room_for(const ExpectedPhase& phase, std::span<const ObservedLine> lines,
                const Expectation& expectation, PatternRange range, std::size_t rank) {
    const double unseen = lines.back().height;
    const double width = median_width(lines);
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < phase.spacing.size(); ++i) {
        const double angle = bragg_angle(expectation.wavelength, phase.spacing[i]);
        if (angle > range.first + width && angle < range.last - width)
            order.push_back(i);
    }
    std::ranges::sort(order, std::ranges::greater{},
                      [&](std::size_t i) { return phase.intensity[i]; });
    std::vector<double> room;
    for (std::size_t k = 0; k < std::min<std::size_t>(3, order.size()); ++k) {
        const double angle = bragg_angle(expectation.wavelength, phase.spacing[order[k]]);
        const double reach = width + reach_of(expectation, strain_of(phase, generous), angle);
        double height = unseen;
        for (const auto& line : lines)
            if (std::abs(line.position - angle) < reach)
                height = std::max(height, line.height);
        room.push_back(height / phase.intensity[order[k]]);
    }
    if (room.empty())
        return std::numeric_limits<double>::infinity();
    std::ranges::sort(room);
    return room[std::min(rank, room.size() - 1)];
}

/// Lines that no phase has, or of which the phases' other lines leave room for a third only.
std::vector<Finding> strange_lines(std::span<const ObservedLine> lines,
                                   const Expectation& expectation, PatternRange range) {
    std::vector<double> room;
    for (const auto& phase : expectation.phases)
        room.push_back(room_for(phase, lines, expectation, range, 0));
    std::vector<Finding> findings;
    const double usual = median_width(strong_lines(lines));
    for (const auto& line : lines) {
        if (findings.size() == 5)
            break;
        if (line.width >= 5 * usual)
            continue;
        Finding found{.kind = Kind::strange_line,
                      .value = line.height / lines.front().height,
                      .position = line.position,
                      .index = line.channel};
        const bool nothing = !covered(windows(expectation, generous, line.width, 1), line.position);
        const bool peak = std::ranges::any_of(expectation.peaks, [&](const ExpectedPeak& p) {
            return std::abs(p.position - line.position) <= p.reach + line.width;
        });
        if (!nothing && !peak && found.value > 0.05) {
            double possible = 0;
            for (std::size_t p = 0; p < expectation.phases.size(); ++p) {
                const auto& phase = expectation.phases[p];
                for (std::size_t i = 0; i < phase.spacing.size(); ++i) {
                    const double angle = bragg_angle(expectation.wavelength, phase.spacing[i]);
                    if (std::abs(angle - line.position) <=
                        line.width + reach_of(expectation, strain_of(phase, generous), angle))
                        possible += room[p] * phase.intensity[i];
                }
            }
            if (possible < line.height / 3)
                found.limit = possible / line.height;
        }
        if (nothing || !std::isnan(found.limit))
            findings.push_back(found);
    }
    return findings;
}

} // namespace

std::vector<Finding> check_presence(std::span<const ObservedLine> lines,
                                    const Expectation& expectation, double first, double last) {
    std::vector<Finding> findings;
    if (lines.size() < 3)
        return findings;
    for (std::size_t p = 0; p < expectation.phases.size(); ++p) {
        const double room = room_for(expectation.phases[p], lines, expectation, {first, last}, 1);
        if (room < 0.01 * lines.front().height)
            findings.push_back(
                {.kind = Kind::phase_absent, .value = room / lines.front().height, .index = p});
    }
    return findings;
}

std::vector<Finding> check_lines(std::span<const ObservedLine> lines,
                                 const Expectation& expectation, double first, double last) {
    if (lines.empty() || expectation.phases.empty())
        return {};
    const auto strong = strong_lines(lines);
    if (strong.size() >= 3)
        if (auto findings = check_scale(strong, expectation, {first, last}); !findings.empty())
            return findings;
    return strange_lines(lines, expectation, {first, last});
}

} // namespace xrdct::inspection
