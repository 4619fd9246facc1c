// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/scan_summary.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

namespace xrdct::pipeline {

namespace {

constexpr double whole_bytes = 192e6;
constexpr std::size_t least_width = 8; // channels read at a time
constexpr std::size_t wanted_rows = 48;
constexpr float missing = std::numeric_limits<float>::quiet_NaN();

/// The rotation nearest to `angle` [deg] modulo a turn.
std::size_t nearest_rotation(const std::vector<double>& rotation, double angle) {
    const auto off = [&](double other) { return std::abs(std::remainder(other - angle, 360.0)); };
    const auto nearest =
        std::ranges::min_element(rotation, [&](double a, double b) { return off(a) < off(b); });
    return static_cast<std::size_t>(nearest - rotation.begin());
}

/// Whether chunks reach over most of the rotations.
bool is_tall(const Scan& scan) {
    return 2 * scan.file().chunk()[0] > scan.geometry().rotation.size();
}

/// What to read: `rows` rising, `even` places in them.
struct Choice {
    std::vector<std::size_t> rows, even;
};

Choice rows_to_read(const Scan& scan) {
    const auto& rotation = scan.geometry().rotation;
    const std::size_t n = rotation.size();
    const double row_bytes = 4.0 * static_cast<double>(scan.geometry().translation.size()) *
                             static_cast<double>(scan.n_channel());
    Choice choice;
    if (row_bytes * static_cast<double>(n) <= whole_bytes) {
        for (std::size_t i = 0; i < n; ++i)
            choice.rows.push_back(i);
        choice.even = choice.rows;
        return choice;
    }
    // A chunk is read and unpacked as a whole; of tall ones all projections are read anyway.
    const auto chunk = std::clamp<std::size_t>(scan.file().chunk()[0], 1, n);
    const std::size_t block = is_tall(scan) ? 1 : chunk;
    const std::size_t budget =
        std::max(wanted_rows, static_cast<std::size_t>(whole_bytes / row_bytes));
    std::set<std::size_t> rows, even;
    const auto add = [&](std::size_t row) {
        if (rows.size() >= budget)
            return;
        const std::size_t first = row - row % block;
        for (std::size_t i = first; i < std::min(n, first + block); ++i)
            rows.insert(i);
    };
    const std::size_t blocks = (n + block - 1) / block;
    const std::size_t spread = std::clamp<std::size_t>(budget / 2 / block, 1, blocks);
    for (std::size_t k = 0; k < spread; ++k) {
        const std::size_t row = k * blocks / spread * block;
        add(row);
        even.insert(row);
    }
    for (const std::size_t row : {std::size_t{0}, n - 1, std::size_t{1}, n - 2})
        add(row);
    constexpr std::size_t directions = 12;
    for (std::size_t k = 0; k < directions; ++k) {
        const std::size_t row = k * n / directions;
        for (const double turn : {0.0, 180.0, 90.0})
            add(nearest_rotation(rotation, rotation[row] + turn));
        add(std::min(n - 1, row + 1));
    }
    for (const std::size_t row : even)
        add(std::min(n - 1, row + 1));
    for (const std::size_t row : rows) {
        if (even.contains(row))
            choice.even.push_back(choice.rows.size());
        choice.rows.push_back(row);
    }
    return choice;
}

using Visit = std::function<void(std::size_t row, mpi::BlockRange channels,
                                 std::span<const float> projection)>;

/// Shows the projections of `rows` [translation][channel], in blocks of channels where chunks
/// reach over the rotations. `wanted`: whether a range of channels (of those in use) is needed.
void for_each_projection(const Scan& scan, std::span<const std::size_t> rows,
                         const std::function<bool(mpi::BlockRange)>& wanted, const Visit& visit) {
    const std::size_t n_translation = scan.geometry().translation.size();
    const auto chunk = scan.file().chunk();
    const bool tall = is_tall(scan);
    const std::size_t first = scan.channels().begin;
    // Of tall chunks all rotations, a few channels at a time.
    const std::size_t width =
        tall ? std::min(scan.n_channel(), std::max(chunk[2], least_width)) : scan.n_channel();
    std::vector<float> block;
    for (std::size_t begin = 0; begin < scan.n_channel(); begin += width) {
        const mpi::BlockRange in_use{begin, std::min(scan.n_channel(), begin + width)};
        if (!wanted(in_use))
            continue;
        const mpi::BlockRange channels{first + in_use.begin, first + in_use.end};
        for (std::size_t at = 0; at < rows.size();) {
            std::size_t end = at + 1;
            while (end < rows.size() &&
                   (tall || (rows[end] == rows[end - 1] + 1 &&
                             rows[end] % std::max<std::size_t>(1, chunk[0]) != 0)))
                ++end;
            const std::size_t size = n_translation * in_use.size();
            block.resize((rows[end - 1] + 1 - rows[at]) * size);
            scan.file().read_rows({rows[at], rows[end - 1] + 1}, channels, block);
            for (std::size_t i = at; i < end; ++i)
                visit(i, in_use,
                      std::span<const float>(block).subspan((rows[i] - rows[at]) * size, size));
            at = end;
        }
    }
}

float monitor_factor(const Scan& scan, std::size_t rotation, std::size_t translation) {
    const auto& factor = scan.monitor_factor();
    return factor.empty() ? 1.0F
                          : factor[rotation * scan.geometry().translation.size() + translation];
}

struct Mean {
    std::vector<double> sum;
    std::vector<std::size_t> count;

    explicit Mean(std::size_t n) : sum(n, 0.0), count(n, 0) {}
    void add(std::size_t i, float value) {
        sum[i] += value;
        ++count[i];
    }
    double value(std::size_t i) const {
        return count[i] > 0 ? sum[i] / static_cast<double>(count[i])
                            : std::numeric_limits<double>::quiet_NaN();
    }
};

} // namespace

ScanSummary summarise(const Scan& scan) {
    const std::size_t n_translation = scan.geometry().translation.size();
    const std::size_t n_channel = scan.n_channel();
    ScanSummary summary;
    auto choice = rows_to_read(scan);
    summary.rows = std::move(choice.rows);
    summary.even = std::move(choice.even);
    Mean pattern(n_channel), air(n_channel), sinogram(summary.rows.size() * n_translation);
    for_each_projection(
        scan, summary.rows, [](mpi::BlockRange) { return true; },
        [&](std::size_t row, mpi::BlockRange channels, std::span<const float> projection) {
            const std::size_t width = channels.size();
            for (std::size_t t = 0; t < n_translation; ++t) {
                const float factor = monitor_factor(scan, summary.rows[row], t);
                const bool outermost = t == 0 || t + 1 == n_translation;
                for (std::size_t k = 0; k < width; ++k) {
                    const float value = factor * projection[t * width + k];
                    if (!std::isfinite(value))
                        continue;
                    summary.counts.add(projection[t * width + k]);
                    pattern.add(channels.begin + k, value);
                    if (outermost)
                        air.add(channels.begin + k, value);
                    sinogram.add(row * n_translation + t, value);
                }
            }
        });
    for (std::size_t k = 0; k < n_channel; ++k) {
        summary.pattern.push_back(pattern.value(k));
        summary.air_pattern.push_back(air.value(k));
    }
    for (std::size_t ray = 0; ray < summary.rows.size() * n_translation; ++ray)
        summary.sinogram.push_back(static_cast<float>(sinogram.value(ray)));
    return summary;
}

std::vector<std::vector<float>> weighted_sinograms(const Scan& scan,
                                                   std::span<const std::size_t> rows,
                                                   std::span<const std::vector<double>> weights) {
    const std::size_t n_translation = scan.geometry().translation.size();
    const auto counts = [&](std::size_t channel) {
        return std::ranges::any_of(weights, [&](const auto& of) { return of[channel] != 0; });
    };
    std::vector<std::vector<double>> sums(weights.size(),
                                          std::vector<double>(rows.size() * n_translation, 0.0));
    for_each_projection(
        scan, rows,
        [&](mpi::BlockRange channels) {
            bool any = false;
            for (std::size_t k = channels.begin; k < channels.end; ++k)
                any = any || counts(k);
            return any;
        },
        [&](std::size_t row, mpi::BlockRange channels, std::span<const float> projection) {
            const std::size_t width = channels.size();
            for (std::size_t w = 0; w < weights.size(); ++w)
                for (std::size_t t = 0; t < n_translation; ++t) {
                    double total = 0;
                    for (std::size_t k = 0; k < width; ++k)
                        if (const double weight = weights[w][channels.begin + k]; weight != 0)
                            total += weight * projection[t * width + k];
                    sums[w][row * n_translation + t] += total * monitor_factor(scan, rows[row], t);
                }
        });
    std::vector<std::vector<float>> result;
    for (const auto& sum : sums) {
        result.emplace_back();
        for (const double value : sum)
            result.back().push_back(std::isfinite(value) ? static_cast<float>(value) : missing);
    }
    return result;
}

} // namespace xrdct::pipeline
