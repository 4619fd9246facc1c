// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/arrangement.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xrdct::conditioning {

namespace {

/// The range of the values without those at either end that a motor that jumped would make: a few,
/// and what lies a quarter of the range that most of them have beyond that.
struct Range {
    double low, high;
    double width() const { return high - low; }
};
Range bulk(std::span<const double> values) {
    std::vector<double> sorted(values.begin(), values.end());
    std::ranges::sort(sorted);
    const std::size_t most = sorted.size() / 20;
    const Range inner{sorted[most], sorted[sorted.size() - 1 - most]};
    std::erase_if(sorted, [&](double value) {
        return value < inner.low - 0.25 * inner.width() ||
               value > inner.high + 0.25 * inner.width();
    });
    const std::size_t trim = std::min<std::size_t>(5, sorted.size() / 100);
    return {sorted[trim], sorted[sorted.size() - 1 - trim]};
}

/// Median size of the changes from frame to frame that exceed `least`.
double typical_change(std::span<const double> values, double least) {
    std::vector<double> changes;
    for (std::size_t i = 1; i < values.size(); ++i)
        if (const double change = std::abs(values[i] - values[i - 1]); change > least)
            changes.push_back(change);
    return changes.empty() ? 0 : median(std::move(changes));
}

/// Clusters of the values, which gaps wider than `gap` part; those of fewer than `least` members
/// are dropped, and so are members farther than `gap` from the median. `member[i]` is the cluster
/// of value i, −1: none.
struct Clusters {
    std::vector<double> centres;
    std::vector<std::ptrdiff_t> member;
};
Clusters cluster(std::span<const double> values, double gap, std::size_t least) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
    Clusters result;
    result.member.assign(values.size(), -1);
    for (std::size_t begin = 0; begin < order.size();) {
        std::size_t end = begin + 1;
        while (end < order.size() && values[order[end]] - values[order[end - 1]] <= gap)
            ++end;
        if (end - begin >= least) {
            const double centre = values[order[begin + (end - begin) / 2]];
            for (std::size_t i = begin; i < end; ++i)
                if (std::abs(values[order[i]] - centre) <= gap)
                    result.member[order[i]] = static_cast<std::ptrdiff_t>(result.centres.size());
            result.centres.push_back(centre);
        }
        begin = end;
    }
    return result;
}

/// The uniform grid through the values: index of each value, −1 where it is off by more than the
/// tolerance, or at an end of the grid that fewer than `least` values reach.
struct UniformGrid {
    double first = 0, step = 0;
    std::size_t n = 0;
    std::vector<std::ptrdiff_t> index;
    double spread = 0; // steps
};
UniformGrid fit_grid(std::span<const double> values, double step, double tolerance,
                     std::size_t least) {
    const Range range = bulk(values);
    UniformGrid grid;
    const double count = std::round(range.width() / step);
    grid.step = range.width() / count;
    grid.first = range.low;
    // Two passes of least squares on the values that lie near the grid.
    for (int pass = 0; pass < 3; ++pass) {
        double n = 0, x = 0, xx = 0, y = 0, xy = 0;
        for (const double value : values) {
            const double place = (value - grid.first) / grid.step;
            const double node = std::round(place);
            if (std::abs(place - node) > tolerance || node < -0.5 || node > count + 0.5)
                continue;
            n += 1;
            x += node;
            xx += node * node;
            y += value;
            xy += node * value;
        }
        const double determinant = n * xx - x * x;
        if (!(determinant > 0))
            break;
        grid.step = (n * xy - x * y) / determinant;
        grid.first = (y - grid.step * x) / n;
    }
    grid.n = static_cast<std::size_t>(count) + 1;
    grid.index.assign(values.size(), -1);
    double squares = 0, used = 0;
    std::vector<std::size_t> members(grid.n, 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double place = (values[i] - grid.first) / grid.step;
        const double node = std::round(place);
        if (std::abs(place - node) > tolerance || node < -0.5 || node > count + 0.5)
            continue;
        grid.index[i] = static_cast<std::ptrdiff_t>(node);
        ++members[static_cast<std::size_t>(node)];
        squares += (place - node) * (place - node);
        used += 1;
    }
    const auto reached = [&](std::size_t n) { return n >= least; };
    const auto begin = std::ranges::find_if(members, reached) - members.begin();
    const auto end =
        std::find_if(members.rbegin(), members.rend(), reached).base() - members.begin();
    if (begin < end) {
        for (auto& index : grid.index)
            index = index < begin || index >= end ? -1 : index - begin;
        grid.first += grid.step * static_cast<double>(begin);
        grid.n = static_cast<std::size_t>(end - begin);
    }
    grid.spread = used > 0 ? std::sqrt(squares / used) : 0;
    return grid;
}

/// How a scan was taken: steps of the two axes [units of each], and how often each is visited.
struct Pattern {
    double rotation_step, translation_step;
    double per_rotation, visits; ///< frames expected per rotation, per translation
};

Pattern find_pattern(std::span<const double> rotation, std::span<const double> translation) {
    const std::size_t frames = rotation.size();
    const Range angles = bulk(rotation), places = bulk(translation);
    if (!(angles.width() > 0) || !(places.width() > 0))
        throw Error("the positions have fewer than two rotations or translations");

    // The fast axis changes from frame to frame; the slow one at the ends of its lines.
    const double fast_part = 1e-3;
    std::size_t turned = 0, moved = 0;
    for (std::size_t i = 1; i < frames; ++i) {
        turned += std::abs(rotation[i] - rotation[i - 1]) > fast_part * angles.width() ? 1 : 0;
        moved += std::abs(translation[i] - translation[i - 1]) > fast_part * places.width() ? 1 : 0;
    }
    const bool translation_is_fast = moved >= turned;
    const auto fast = translation_is_fast ? translation : rotation;
    const auto slow = translation_is_fast ? rotation : translation;
    const Range fast_range = translation_is_fast ? places : angles;
    const Range slow_range = translation_is_fast ? angles : places;
    const double fast_step = typical_change(fast, 1e-4 * fast_range.width());
    const double per_line = fast_range.width() / fast_step + 1;
    const double lines = std::max(2.0, std::round(static_cast<double>(frames) / per_line));
    const double slow_step = typical_change(slow, 0.2 * slow_range.width() / (lines - 1));
    if (!(fast_step > 0) || !(slow_step > 0))
        throw Error("the positions have fewer than two rotations or translations");

    return {translation_is_fast ? slow_step : fast_step,
            translation_is_fast ? fast_step : slow_step, translation_is_fast ? per_line : lines,
            translation_is_fast ? lines : per_line};
}

/// Puts every frame on its point of the grid.
FrameGrid place_frames(const Clusters& turns, const UniformGrid& grid, std::size_t frames) {
    FrameGrid result;
    result.rotation = turns.centres;
    for (std::size_t i = 0; i < grid.n; ++i)
        result.translation.push_back(grid.first + grid.step * static_cast<double>(i));
    result.frame.assign(turns.centres.size() * grid.n, -1);
    result.position_spread = grid.spread;
    // How many of the frames taken just before and after lie beside it: a motor that jumped onto
    // another point of the grid stands alone.
    const auto beside = [&](std::size_t i) {
        int count = 0;
        for (const std::size_t k : {i - 1, i + 1})
            if (k < frames && turns.member[k] >= 0 && grid.index[k] >= 0 &&
                std::abs(turns.member[k] - turns.member[i]) <= 1 &&
                std::abs(grid.index[k] - grid.index[i]) <= 1)
                ++count;
        return count;
    };
    for (std::size_t i = 0; i < frames; ++i) {
        if (turns.member[i] < 0 || grid.index[i] < 0) {
            result.off_grid.push_back(i);
            continue;
        }
        auto& place = result.frame[static_cast<std::size_t>(turns.member[i]) * grid.n +
                                   static_cast<std::size_t>(grid.index[i])];
        if (place < 0) {
            place = static_cast<std::ptrdiff_t>(i);
        } else if (beside(i) > beside(static_cast<std::size_t>(place))) {
            result.repeated.push_back(static_cast<std::size_t>(place));
            place = static_cast<std::ptrdiff_t>(i);
        } else {
            result.repeated.push_back(i);
        }
    }
    std::ranges::sort(result.repeated);
    result.missing = static_cast<std::size_t>(std::ranges::count(result.frame, std::ptrdiff_t{-1}));
    return result;
}

/// The same where some frames have no position.
FrameGrid arrange_known(std::span<const double> rotation, std::span<const double> translation,
                        const std::vector<std::size_t>& known, double tolerance) {
    const std::size_t frames = rotation.size();
    if (10 * (frames - known.size()) > frames)
        throw Error(fmt::format("{} of {} frames have no position", frames - known.size(), frames));
    std::vector<double> angles, places;
    for (const std::size_t i : known) {
        angles.push_back(rotation[i]);
        places.push_back(translation[i]);
    }
    auto grid = arrange_by_position(angles, places, tolerance);
    for (auto& frame : grid.frame)
        if (frame >= 0)
            frame = static_cast<std::ptrdiff_t>(known[static_cast<std::size_t>(frame)]);
    for (auto* list : {&grid.off_grid, &grid.repeated})
        for (std::size_t& frame : *list)
            frame = known[frame];
    for (std::size_t i = 0; i < frames; ++i)
        if (!std::ranges::binary_search(known, i))
            grid.unknown.push_back(i);
    return grid;
}

} // namespace

FrameGrid arrange_by_position(std::span<const double> rotation, std::span<const double> translation,
                              double tolerance) {
    const std::size_t frames = rotation.size();
    if (translation.size() != frames)
        throw Error(fmt::format("{} rotation angles and {} translations: one each per frame is "
                                "expected",
                                frames, translation.size()));
    if (frames < 4)
        throw Error(fmt::format("{} frames are no scan", frames));
    std::vector<std::size_t> known;
    for (std::size_t i = 0; i < frames; ++i)
        if (std::isfinite(rotation[i]) && std::isfinite(translation[i]))
            known.push_back(i);
    if (known.size() < frames)
        return arrange_known(rotation, translation, known, tolerance);
    const Pattern pattern = find_pattern(rotation, translation);
    const auto min_members = [](double expected) {
        return static_cast<std::size_t>(std::max(std::min(2.0, expected), 0.05 * expected));
    };
    const auto turns =
        cluster(rotation, 0.3 * pattern.rotation_step, min_members(pattern.per_rotation));
    const auto grid = fit_grid(translation, pattern.translation_step, tolerance,
                               pattern.visits < 4 ? 1 : min_members(pattern.visits));
    if (turns.centres.size() < 2 || grid.n < 2)
        throw Error("the positions have fewer than two rotations or translations");
    FrameGrid result = place_frames(turns, grid, frames);
    if (10 * result.off_grid.size() > frames || 10 * result.repeated.size() > frames)
        throw Error(fmt::format(
            "{} of {} frames lie on no grid of {} rotations and {} translations, and {} lie on a "
            "point that is taken: check the positions, or state the order of the frames",
            result.off_grid.size(), frames, result.n_rotation(), result.n_translation(),
            result.repeated.size()));
    return result;
}

FrameGrid arrange_in_order(std::size_t frames, std::vector<double> rotation,
                           std::vector<double> translation, std::span<const std::size_t> lost) {
    FrameGrid grid;
    grid.rotation = std::move(rotation);
    grid.translation = std::move(translation);
    const std::size_t places = grid.n_rotation() * grid.n_translation();
    std::vector<unsigned char> is_lost(places, 0);
    for (const std::size_t place : lost) {
        if (place >= places)
            throw Error(fmt::format("there is no place {} in a scan of {} × {}", place,
                                    grid.n_rotation(), grid.n_translation()));
        is_lost[place] = 1;
    }
    const auto missing = static_cast<std::size_t>(std::ranges::count(is_lost, 1));
    if (frames + missing != places)
        throw Error(fmt::format(
            "{} frames do not make {} rotations of {} translations ({} places{}): a frame that was "
            "lost shifts all that follow; give the positions of the frames, or say which places "
            "were lost",
            frames, grid.n_rotation(), grid.n_translation(), places,
            missing > 0 ? fmt::format(", {} of them lost", missing) : ""));
    std::ptrdiff_t next = 0;
    for (const unsigned char one : is_lost)
        grid.frame.push_back(one ? -1 : next++);
    grid.missing = missing;
    return grid;
}

} // namespace xrdct::conditioning
