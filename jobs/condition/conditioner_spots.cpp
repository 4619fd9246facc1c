// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/conditioner.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "base/units.hpp"
#include "conditioning/counting.hpp"
#include "mpi/patterns/pattern_file.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

// What is sought in whole lines: air scatter and spots.
namespace xrdct::condition {

void Conditioner::find_air() {
    if (job_.air == AirScatter::none) {
        add_step("air", "off", "no air scatter subtracted");
        return;
    }
    if (job_.air == AirScatter::pattern)
        subtract_pattern();
    else
        subtract_edges();
    // Until here prepared lines were those with the air in them.
    lines_.forget();
}

void Conditioner::subtract_pattern() {
    const auto& dead = lines_.steps.dead;
    auto& air = lines_.steps.air;
    patterns::PatternFileOptions options;
    options.wavelength = std::isnan(input_.wavelength) ? 0 : input_.wavelength;
    options.distance = std::isnan(input_.distance) ? 0 : input_.distance;
    options.intensity = job_.air_dataset;
    const auto pattern = read_pattern(job_.air_file, options);
    const auto axis = pattern.axis.two_theta();
    if (axis.size() != n_k_)
        throw Error(fmt::format("{}: has {} channels, the scan has {}", job_.air_file.string(),
                                axis.size(), n_k_));
    const double width = (input_.two_theta.back() - input_.two_theta.front()) /
                         static_cast<double>(std::max<std::size_t>(1, n_k_ - 1));
    for (std::size_t k = 0; k < n_k_; ++k)
        if (!(std::abs(axis[k] - input_.two_theta[k]) < 0.1 * width))
            throw Error(fmt::format("{}: channel {} lies at {} deg, that of the scan at {} deg",
                                    job_.air_file.string(), k, axis[k], input_.two_theta[k]));
    for (std::size_t k = 0; k < n_k_; ++k) {
        if (std::isnan(pattern.intensity[k]) && !dead[k])
            throw Error(fmt::format("{}: channel {} has no value", job_.air_file.string(), k));
        air.pattern.push_back(dead[k] ? std::nan("") : job_.air_scale * pattern.intensity[k]);
        air.variance.push_back(pattern.variance.empty() || dead[k]
                                   ? 0
                                   : job_.air_scale * job_.air_scale * pattern.variance[k]);
    }
    add_step("air", "done",
             fmt::format("{} times the pattern {} subtracted, mean {:.4g} per channel",
                         job_.air_scale, job_.air_file.string(),
                         std::accumulate(air.pattern.begin(), air.pattern.end(), 0.0,
                                         [](double sum, double value) {
                                             return std::isnan(value) ? sum : sum + value;
                                         }) /
                             static_cast<double>(n_k_)),
             {{"file", job_.air_file.string()}, {"scale", job_.air_scale}});
}

void Conditioner::subtract_edges() {
    const auto edge = static_cast<std::size_t>(job_.air_edge);
    if (4 * edge > n_t_)
        throw Error(fmt::format("{}: key 'air.edge': {} translations on either side are more than "
                                "half of the {} there are",
                                job_.source.string(), edge, n_t_));
    const auto map = arranged(flux_total_);
    auto air = [&] {
        try {
            return conditioning::EdgeAir(map, n_t_, n_k_, edge);
        } catch (const Error& error) {
            throw Error(fmt::format("{}: {}", job_.input.file.string(), error.what()));
        }
    }();
    for (std::size_t row = 0; row < n_row(); ++row) {
        air.add(row, lines_.prepared(row));
        progress_->update(++done_);
    }
    lines_.steps.air = air.result(lines_.steps.dead);
    add_step("air", "done",
             fmt::format("mean of {} points at the {} outermost translations of either side "
                         "subtracted: {:.4g} per channel, {:.1f} % of the median inside{}",
                         air.used(), edge, air.level(), 100 * air.level() / air.median_inside(),
                         air.left_out() > 0
                             ? fmt::format("; {} points that stick out left out", air.left_out())
                             : ""),
             {{"points", air.used()},
              {"left_out", air.left_out()},
              {"level", air.level()},
              {"share_of_median_inside", air.level() / air.median_inside()}});
    if (10 * air.left_out() > air.used() + air.left_out() ||
        air.level() > 0.5 * air.median_inside())
        warnings_.push_back(fmt::format(
            "air.edge: the sample seems to reach the {} outermost translations ({} of {} points "
            "stick out, their level is {:.0f} % of the median inside): part of its own pattern is "
            "subtracted",
            edge, air.left_out(), air.used() + air.left_out(),
            100 * air.level() / air.median_inside()));
}

std::vector<conditioning::Outlier>
Conditioner::spots_of(std::size_t row, const conditioning::OutlierOptions& options) {
    const std::size_t n = n_row();
    std::vector<const float*> lines, variances;
    // References to prepared lines stay valid: there are more of them than the neighbourhood has.
    const std::size_t window = std::min(2 * options.rotation_reach + 1, n);
    const std::size_t first =
        std::min(row > options.rotation_reach ? row - options.rotation_reach : 0, n - window);
    for (std::size_t at = first; at < first + window; ++at) {
        const auto& line = lines_.prepared(at);
        lines.push_back(line.values.data());
        variances.push_back(line.variances.data());
    }
    return find_outliers(lines, variances, row - first, n_t_, n_k_, options);
}

void Conditioner::find_spots() {
    const std::size_t n = n_row();
    total_.resize(n * n_t_);
    spots_.assign(n, {});
    auto options = job_.spot_options;
    std::vector<double> gaps;
    for (std::size_t row = 1; row < n; ++row)
        gaps.push_back(std::abs(rotation_[row] - rotation_[row - 1]));
    options.motion = 0.5 * static_cast<double>(n_t_) * radians(median(gaps));
    const std::uint64_t values = static_cast<std::uint64_t>(n) * n_t_ * n_k_;
    std::uint64_t found = 0;
    std::size_t high = 0, points = 0, rows = 0;
    std::vector<float> before(n * n_t_);
    std::vector<float> corrected;
    for (std::size_t row = 0; row < n; ++row) {
        if (job_.spots != Treat::off) {
            spots_[row] = spots_of(row, options);
            found += spots_[row].size();
            if (found > 10000 && 50 * found > values)
                throw Error(fmt::format(
                    "{}: key 'spots.method': more than 2 % of all values differ from their "
                    "neighbours in rotation by {} standard deviations: the variances are too "
                    "small, or lines are out of place; raise spots.threshold or switch it off",
                    job_.source.string(), options.threshold));
        }
        const auto& line = lines_.prepared(row);
        corrected = line.values;
        std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
        rows += spots_[row].empty() ? 0 : 1;
        for (const auto& spot : spots_[row]) {
            high += spot.observed > spot.expected ? 1 : 0;
            points += spot.translation != last ? 1 : 0;
            last = spot.translation;
            float& value = corrected[spot.translation * n_k_ + spot.channel];
            if (job_.spots == Treat::correct)
                value = down_weight(spot).value;
            else if (job_.spots == Treat::mask)
                value = missing_value;
        }
        for (std::size_t t = 0; t < n_t_; ++t) {
            before[row * n_t_ + t] = static_cast<float>(conditioning::mean_of_usable(
                {line.values.data() + t * n_k_, n_k_}, lines_.steps.dead));
            total_[row * n_t_ + t] = static_cast<float>(conditioning::mean_of_usable(
                {corrected.data() + t * n_k_, n_k_}, lines_.steps.dead));
        }
        progress_->update(++done_);
    }
    report_spots(before, found, high, points, rows);
}

void Conditioner::report_spots(const std::vector<float>& before, std::uint64_t found,
                               std::size_t high, std::size_t points, std::size_t rows) {
    const std::size_t n = n_row();
    const std::uint64_t values = static_cast<std::uint64_t>(n) * n_t_ * n_k_;
    if (!lines_.steps.air.empty())
        add_map("air_subtracted", "after air scatter", before);
    if (job_.spots == Treat::off) {
        add_step("spots", "off", "not asked for");
        return;
    }
    const bool treated = job_.spots == Treat::correct || job_.spots == Treat::mask;
    add_step("spots",
             found == 0 ? "nothing found"
             : treated  ? "done"
                        : "found, left as they are",
             fmt::format("{} values ({} too high, {} too low) at {} points in {} rotations, {:.2g} "
                         "% of all{}",
                         found, high, found - high, points, rows,
                         100 * static_cast<double>(found) / static_cast<double>(values),
                         found == 0                     ? ""
                         : job_.spots == Treat::correct ? ", weighted down"
                         : job_.spots == Treat::mask    ? ", masked"
                                                        : ""),
             {{"values", found}, {"high", high}, {"low", found - high}, {"points", points}});
    if (found > 0) {
        std::vector<float> map(n * n_t_, 0);
        for (std::size_t row = 0; row < n; ++row)
            for (const auto& spot : spots_[row])
                map[row * n_t_ + spot.translation] += spot.observed - spot.expected;
        add_map("spots", "spots found: sum of what exceeds the neighbours", map);
        if (treated && lines_.steps.air.empty())
            add_map("before_spots", "before spots", before);
        if (treated)
            add_map("after_spots", "after spots", total_);
    }
}

} // namespace xrdct::condition
